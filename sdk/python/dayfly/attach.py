"""Taking up a detached job: its results, from this program or another, each exactly once."""

from __future__ import annotations

import collections
import heapq
import threading
import time
from typing import Any, Generic, Optional, TypeVar

from . import connection, leftovers, plotting
from .answers import Answer
from .errors import JobError, ServerLost
from .frames import Frame
from .run import RECORDS_MAX, refusal
from .stream import Stream, plain_socket_error

T = TypeVar("T")


def attach(job: str, *, endpoint: Optional[str] = None, return_exceptions: bool = False) -> "Attached[Any]":
    """The results of a detached job that nobody has taken yet, as an iterator in the order of its items.

    A result counts as taken when the next one is asked for: a program that dies over one gets it again.
    Raises `NoServer` or `JobError`.
    """
    return Attached(connection.find(endpoint), job, return_exceptions)


class Attached(Generic[T]):
    """The results of a detached job. Made by `attach`."""

    def __init__(self, endpoint: connection.Endpoint, job: str, return_exceptions: bool) -> None:
        self.id = job
        self._endpoint = endpoint
        self._return_exceptions = return_exceptions
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, Answer]] = []
        self._records: collections.deque[dict[str, Any]] = collections.deque(maxlen=RECORDS_MAX)
        self._next = 0
        self._unconfirmed: Optional[tuple[int, Optional[str]]] = None
        self._present: collections.deque[tuple[Answer, int]] = collections.deque()
        self._summary: Optional[dict[str, Any]] = None
        self._error: Optional[BaseException] = None
        self._over = False
        try:
            self._stream = Stream(endpoint, f"/jobs/{job}/outcomes", self)
        except OSError as error:
            raise ServerLost(f"{endpoint.url}: {error}") from error

    def __iter__(self) -> "Attached[T]":
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

    def close(self) -> None:
        """Leaves the job. What was not taken stays there."""
        self._confirm()
        self._stream.finish()
        self._stream.close(1.0)

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

    def _confirm(self) -> None:
        if self._unconfirmed is not None:
            number, key = self._unconfirmed
            self._unconfirmed = None
            self._stream.send("A", {"n": [number]})
            if key is not None:
                leftovers.remove(self._endpoint.store, key)

    def _take(self) -> None:
        with self._changed:
            while not (self._waiting and (self._waiting[0][0] == self._next or self._over or self._summary)):
                if self._over or self._summary is not None:
                    self._leave()
                self._changed.wait()
            number, answer = heapq.heappop(self._waiting)
        self._next = number + 1
        self._unconfirmed = number, answer.key
        self._present.extend((answer, place) for place in range(answer.count()))

    def _leave(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
        if not self._over:
            self._stream.finish()
            deadline = time.monotonic() + 5.0
            # The last confirmations have to arrive.
            while not self._over and time.monotonic() < deadline:
                self._changed.wait(0.5)
            self._stream.close()
        raise StopIteration

    # Stream's thread.

    def frame(self, frame: Frame) -> None:
        """A frame from the server."""
        with self._changed:
            if frame.kind == "R":
                number = frame.header["n"]
                answer = Answer(str(frame.header.get("status")), frame.body, frame.header, self._endpoint.store, False)
                self._records.append(frame.header)
                heapq.heappush(self._waiting, (number, answer))
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
                self._error = refusal(status, answer)
            elif self._summary is None:
                self._error = ServerLost(f"the server was lost before the job's end: {plain_socket_error(error)}")
            self._changed.notify_all()
