"""Jobs that go on without their program: begun here, and taken up here or elsewhere; each result exactly once."""

from __future__ import annotations

import collections
import heapq
import threading
import time
from typing import Any, Callable, Generic, Iterable, Optional, TypeVar, Union

from . import connection, leftovers, plotting
from . import options as options_
from .answers import Answer
from .errors import JobError, ServerLost
from .frames import Frame
from .job import MapFeed
from .options import Options
from .run import RECORDS_MAX
from .stream import Stream, plain_socket_error

T = TypeVar("T")


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
) -> "Detached[T]":
    """Begins a map that goes on without this program. Returns when the server has all of it on disk."""
    # Chunks of a job that nobody watches do not grow with what is learnt from it.
    feed = MapFeed(items, total, 1 if chunksize == "auto" else chunksize)
    feed.read_all()
    run = options_.start(function, options.but(progress=False), feed)
    run.leave()
    return Detached(run.endpoint, str(run.id), return_exceptions)


class Detached(Generic[T]):
    """A job that does not need this program. An iterator over its results; the first one asked for connects to it."""

    def __init__(self, endpoint: connection.Endpoint, job: str, return_exceptions: bool) -> None:
        self.id = job
        self._endpoint = endpoint
        self._return_exceptions = return_exceptions
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Answer]] = []
        self._records: collections.deque[dict[str, Any]] = collections.deque(maxlen=RECORDS_MAX)
        self._next = 0
        self._unconfirmed: Optional[tuple[int, Optional[str]]] = None
        self._present: collections.deque[tuple[Answer, int]] = collections.deque()
        self._summary: Optional[dict[str, Any]] = None
        self._error: Optional[BaseException] = None
        self._over = False
        self._stream: Optional[Stream] = None

    def __repr__(self) -> str:
        return f"<dayfly.Detached {self.id}>"

    def __iter__(self) -> "Detached[T]":
        return self

    def __next__(self) -> T:
        if not self._present:
            self._confirm()
            self._take()
        answer, place = self._present.popleft()
        try:
            return answer.value(place)  # type: ignore[no-any-return]
        except Exception as error:
            if self._return_exceptions:
                return error  # type: ignore[return-value]
            raise

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
        """Leaves the job. What was not taken stays there."""
        stream = self._connected()
        self._confirm()
        stream.finish()
        stream.close(1.0)

    @property
    def cost(self) -> float:
        """What the calls whose results came cost, in USD."""
        return sum(float(record.get("cost_usd") or 0.0) for record in self._records)

    def records(self) -> list[dict[str, Any]]:
        """See `Job.records`."""
        return list(self._records)

    def stats(self) -> Any:
        """See `Job.stats`."""
        return plotting.frame(self.records())

    def plot(self, path: Optional[str] = None, width: float = 9.0, height: float = 6.0) -> Any:
        """See `Job.plot`."""
        return plotting.plot(self.records(), self.id, path, width, height)

    def _connected(self) -> Stream:
        if self._stream is None:
            try:
                self._stream = Stream(self._endpoint, f"/jobs/{self.id}/outcomes", self)
            except OSError as error:
                raise ServerLost(f"{self._endpoint.url}: {error}") from error
        return self._stream

    def _confirm(self) -> None:
        if self._unconfirmed is not None:
            number, key = self._unconfirmed
            self._unconfirmed = None
            self._connected().send("A", {"n": [number]})
            if key is not None:
                leftovers.remove(self._endpoint.store, key)

    def _take(self) -> None:
        stream = self._connected()
        with self._changed:
            while not (self._waiting and (self._waiting[0][0] == self._next or self._over or self._summary)):
                if self._over or self._summary is not None:
                    self._leave(stream)
                self._changed.wait()
            number, _, answer = heapq.heappop(self._waiting)
        self._next = number + 1
        self._unconfirmed = number, answer.key
        self._present.extend((answer, place) for place in range(answer.count()))

    def _leave(self, stream: Stream) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
        if not self._over:
            stream.finish()
            deadline = time.monotonic() + 5.0
            # The last confirmations have to arrive.
            while not self._over and time.monotonic() < deadline:
                self._changed.wait(0.5)
            stream.close()
        raise StopIteration

    # Stream's thread.

    def frame(self, frame: Frame) -> None:
        """A frame from the server."""
        with self._changed:
            if frame.kind == "R":
                number = frame.header["n"]
                answer = Answer(str(frame.header.get("status")), frame.body, frame.header, self._endpoint.store, False)
                self._records.append(frame.header)
                heapq.heappush(self._waiting, (number, len(self._records), answer))
            elif frame.kind == "D":
                self._summary = frame.header
            elif frame.kind == "E":
                self._error = JobError(str(frame.header.get("message")), str(frame.header.get("type")))
                self._summary = {}
            self._changed.notify_all()

    def ended(self, status: Optional[int], answer: bytes, error: Optional[BaseException]) -> None:
        """The connection is over."""
        with self._changed:
            self._over = True
            if status is not None and status != 200:
                self._error = connection.refusal(status, answer)
            elif self._summary is None:
                self._error = ServerLost(f"the server was lost before the job's end: {plain_socket_error(error)}")
            self._changed.notify_all()
