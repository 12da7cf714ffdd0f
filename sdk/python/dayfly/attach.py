"""Jobs that go on without their program: begun here, and taken up here or elsewhere; each result exactly once."""

from __future__ import annotations

import collections
import heapq
import threading
import weakref
from typing import Any, Callable, Generic, Iterable, Optional, TypeVar, Union

from . import connection, forks, leftovers, plotting
from . import options as options_
from .answers import Answer
from .errors import JobError, ServerLost
from .frames import Frame
from .job import MapFeed
from .options import Options
from .run import RECORDS_MAX
from .stream import Stream, plain_socket_error

T = TypeVar("T")

_LEAVE_S = 5.0


def attach(job: str, *, endpoint: Optional[str] = None, return_exceptions: bool = False) -> "Detached[Any]":
    """A detached job by its id, from any program: its results that nobody has taken yet, in the order of its items.

    A result counts as taken when the next one is asked for: a program that dies over one gets it again.
    Raises `NoServer`.
    """
    return Detached(connection.find(endpoint), job, return_exceptions)


def run_detached(
    function: Callable[..., T],
    items: Iterable[tuple[Any, ...]],
    total: Optional[int],
    options: Options,
    chunksize: Union[int, str] = 1,
    return_exceptions: bool = False,
    setup: Optional[Callable[[], Any]] = None,
) -> "Detached[T]":
    """Begins a map that goes on without this program. Returns when the server has all of it on disk."""
    # Chunks of a job that nobody watches do not grow with what is learnt from it.
    feed = MapFeed(items, total, 1 if chunksize == "auto" else chunksize)
    feed.read_all()
    run = options_.start(function, options.but(progress=False), feed, setup=setup)
    run.leave()
    return Detached(run.endpoint, str(run.id), return_exceptions)


class Detached(Generic[T]):
    """A job that does not need this program. An iterator over its results; the first one asked for connects to it."""

    def __init__(self, endpoint: connection.Endpoint, job: str, return_exceptions: bool) -> None:
        self.id = job
        self._endpoint = endpoint
        self._return_exceptions = return_exceptions
        self._inbox = _Inbox(endpoint)
        self._unconfirmed: Optional[tuple[int, Optional[str]]] = None
        self._present: collections.deque[tuple[Answer, int]] = collections.deque()
        self._connected: Optional[Stream] = None

    def __iter__(self) -> "Detached[T]":
        return self

    def __next__(self) -> T:
        if not self._present:
            self._confirm()
            number, answer = self._inbox.next(self._stream())
            self._unconfirmed = number, answer.key
            self._present.extend((answer, place) for place in range(answer.count()))
        answer, place = self._present.popleft()
        try:
            return answer.value(place)  # type: ignore[no-any-return]
        except Exception as error:
            if self._return_exceptions:
                return error  # type: ignore[return-value]
            raise

    def __repr__(self) -> str:
        return f"<dayfly.Detached {self.id}>"

    def results(self) -> list[T]:
        """All that is left, in order; waits for the job's end."""
        return list(self)

    def status(self) -> dict[str, Any]:
        """What the server says of the job: its state and its counts (`GetJob` of `docs/jobs.md`)."""
        return self._endpoint.ask("GetJob", {"job": self.id})

    def cancel(self) -> None:
        """Stops all its calls."""
        self._endpoint.ask("CancelJob", {"job": self.id})

    def close(self) -> None:
        """Leaves the job: the last result that was given counts as taken, the others stay there."""
        self._confirm()
        if self._connected is not None:
            self._inbox.leave(self._connected)
            self._connected = None
            self._inbox = _Inbox(self._endpoint)

    @property
    def cost(self) -> float:
        """What the calls whose results came cost, in USD."""
        return sum(float(record.get("cost_usd") or 0.0) for record in self.records())

    def records(self) -> list[dict[str, Any]]:
        """See `Job.records`."""
        return list(self._inbox.records)

    def stats(self) -> Any:
        """See `Job.stats`."""
        return plotting.frame(self.records())

    def plot(self, path: Optional[str] = None, width: float = 9.0, height: float = 6.0) -> Any:
        """See `Job.plot`."""
        return plotting.plot(self.records(), self.id, path, width, height)

    def _stream(self) -> Stream:
        if self._connected is None:
            try:
                self._connected = Stream(self._endpoint, f"/jobs/{self.id}/outcomes", self._inbox)
            except OSError as error:
                raise ServerLost(f"{self._endpoint.url}: {error}") from error
            # The stream's thread knows the inbox, not this object: when nobody holds it, the connection ends.
            weakref.finalize(self, self._connected.close).atexit = False
        return self._connected

    def _confirm(self) -> None:
        if self._unconfirmed is not None:
            number, key = self._unconfirmed
            self._unconfirmed = None
            self._stream().send("A", {"n": [number]})
            if key is not None:
                leftovers.remove(self._endpoint.store, key)


class _Inbox:
    """What has come of a job, until it is asked for. The receiver of a stream."""

    def __init__(self, endpoint: connection.Endpoint) -> None:
        self.records: collections.deque[dict[str, Any]] = collections.deque(maxlen=RECORDS_MAX)
        self._endpoint = endpoint
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Answer]] = []
        self._next = 0
        self._ended = False
        self._over = False
        self._error: Optional[BaseException] = None
        forks.held(self)

    def forget(self) -> None:
        """In the child of a fork: the connection is the parent's, and so are the results."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._error = forks.error()
        self._over = self._ended = True

    def next(self, stream: Stream) -> tuple[int, Answer]:
        """The next call in order. Raises `StopIteration` after the last, and what ended the job early."""
        with self._changed:
            # The next number is waited for as long as it may still come.
            while not (self._waiting and (self._waiting[0][0] == self._next or self._ended)):
                if self._ended:
                    error, self._error = self._error, None
                    if error is not None:
                        raise error
                    break
                self._changed.wait()
            else:
                number, _, answer = heapq.heappop(self._waiting)
                self._next = number + 1
                return number, answer
        self.leave(stream)
        raise StopIteration

    def leave(self, stream: Stream) -> None:
        """Ends the connection when the last confirmations have arrived."""
        stream.finish()
        stream.close(_LEAVE_S)
        with self._changed:
            while not self._over:
                self._changed.wait()

    # Stream's thread.

    def frame(self, frame: Frame) -> None:
        """A frame from the server."""
        with self._changed:
            if frame.kind == "R":
                number = frame.header["n"]
                answer = Answer(str(frame.header.get("status")), frame.body, frame.header, self._endpoint.store, False)
                self.records.append(frame.header)
                heapq.heappush(self._waiting, (number, len(self.records), answer))
            elif frame.kind == "D":
                self._ended = True
            elif frame.kind == "E":
                self._error = JobError(str(frame.header.get("message")), str(frame.header.get("type")))
                self._ended = True
            self._changed.notify_all()

    def ended(self, status: Optional[int], answer: bytes, error: Optional[BaseException]) -> None:
        """The connection is over."""
        with self._changed:
            if status is not None and status != 200:
                self._error = connection.refusal(status, answer)
            elif not self._ended:
                self._error = ServerLost(f"the server was lost before the job's end: {plain_socket_error(error)}")
            self._over = self._ended = True
            self._changed.notify_all()
