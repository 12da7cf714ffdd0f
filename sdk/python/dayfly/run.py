"""A job's calls: sends them, keeps what was sent, and gives each future its end.

A run has two threads: the feeder takes calls from its `Feed` and sends them while there is room; the stream's thread
hands out what comes back. Calls that are sent and not ended are fewer than the server reads ahead, so that a
cancellation is never stuck behind calls.
"""

from __future__ import annotations

import collections
import logging
import sys
import threading
import warnings
import weakref
from typing import Any, Callable, NamedTuple, Optional, Protocol

from . import _remote, forks, leftovers
from .answers import Answer, Future
from .connection import Endpoint, refusal
from .errors import Cancelled, JobError, ServerLost, SlowStart
from .frames import Buffer, Frame
from .stream import Stream, plain_socket_error

_log = logging.getLogger("dayfly")
RECORDS_MAX = 100_000
_CANCEL_S = 5.0
# The server keeps 64 MiB of a job's arguments; small ones do not matter beside the number of calls.
_ARGUMENT_BYTES_MAX = 48 << 20
_SMALL_BYTES = 64 << 10
# While a job lasts the server writes something at least three times in a second.
_SILENCE_S = 60.0


class Call(NamedTuple):
    """What a feed gives: the futures of one call, and how to make its body."""

    futures: list[Future[Any]]
    body: Callable[[], bytes]


class Feed(Protocol):
    """Where a run's calls come from."""

    def begin(self, in_flight: int) -> None:
        """The job has begun; the server runs so many calls at a time."""

    def take(self) -> Optional[Call]:
        """The next call; waits for it. None when there are no more. Raises what the user's iterable raises."""

    def stop(self, error: BaseException) -> None:
        """The run takes no more: `take` ends, and what was not taken fails with `error`."""

    def forget(self) -> None:
        """In the child of a fork: nobody is waited for any more."""


class Run:
    """One job on the server, from its first frame to its last."""

    def __init__(self, endpoint: Endpoint, description: dict[str, Any], file: list[Buffer], feed: Feed) -> None:
        self.endpoint = endpoint
        self.description = description
        self.id: Optional[str] = None
        self.function: Optional[str] = None
        self.in_flight = 1
        self.counts = {"calls": 0, "running": 0, "done": 0, "failed": 0}
        self.cost_usd = 0.0
        self.records: collections.deque[dict[str, Any]] = collections.deque(maxlen=RECORDS_MAX)
        self.watchers: list[Callable[["Run"], None]] = []
        self.on_log: Callable[[int, str], None] = self._print
        self.summary: Optional[dict[str, Any]] = None
        self.over = threading.Event()
        # All calls of a detached job are on disk; or it has failed.
        self.kept = threading.Event()
        self._feed = feed
        self._file = file
        self._room = 1
        self._lock = threading.Condition()
        self._pending: dict[int, Call] = {}
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        # Arguments in the store. A call that answers has removed its own.
        self._stored: dict[int, str] = {}
        self._running: set[int] = set()
        self._told_failure = False
        self._warned = False
        self._begun = threading.Event()
        self._fed_all = False
        self._error: Optional[BaseException] = None
        self._stream: Stream

    def start(self) -> "Run":
        """Opens the job and waits for its id. Raises `JobError`, `ServerLost` or `OSError`."""
        self._stream = Stream(self.endpoint, "/jobs", self)
        forks.held(self)
        try:
            self._stream.send("S", self.description, self._file)
            self._file = []
            while not self._begun.wait(0.5):
                pass
        except BaseException:
            self._stream.close()
            raise
        if self.id is None:
            raise self._error or ServerLost("the server ended the connection before the job began")
        self._feed.begin(self.in_flight)
        threading.Thread(target=self._send_calls, name="dayfly-feeder", daemon=True).start()
        return self

    def cancel(self, message: str = "the job was cancelled") -> None:
        """Stops all calls that run or wait. Futures end at once."""
        if self.over.is_set():
            return
        error = Cancelled(message)
        self._end(error)
        self._stream.send("X", {})
        # The server answers with the calls' records; one that does not is left.
        self._stream.close(_CANCEL_S)

    def leave(self) -> None:
        """Waits until a detached job is the server's, and leaves it there. Raises what went wrong with it."""
        try:
            while not self.kept.wait(0.5):
                pass
        except BaseException:
            self.cancel("interrupted")
            raise
        if self._error is not None:
            raise self._error
        self._end(ServerLost("this program has left the job"))
        self._stream.close()

    def busy(self) -> bool:
        """Whether calls are sent and not ended."""
        with self._lock:
            return bool(self._pending)

    # Feeder's thread.

    def _send_calls(self) -> None:
        number = 0
        try:
            while True:
                with self._lock:
                    while self._is_full() and self._error is None:
                        self._lock.wait()
                    if self._error is not None:
                        return
                call = self._feed.take()
                if call is None:
                    break
                if self._send_call(number, call):
                    number += 1
        except BaseException as error:
            # The user's iterable raised: its consumer gets that, and what was sent is of no use.
            self._end(error)
            self._stream.send("X", {})
            self._stream.close(_CANCEL_S)
            return
        # The body stays open until the server has said its last: a cancellation may still come.
        self._fed_all = True
        self._stream.send("Z", {})

    def _is_full(self) -> bool:
        return len(self._pending) >= self._room or self._bytes >= _ARGUMENT_BYTES_MAX

    def _send_call(self, number: int, call: Call) -> bool:
        if all(future.done() for future in call.futures):
            return False
        try:
            body = call.body()
            if len(body) > _remote.INLINE_BYTES_MAX:
                body = self._put(number, body)
        except Exception as error:
            if self.description["detach"]:
                # Nobody would hear of it.
                raise
            for future in call.futures:
                future.set_lost(error)
            return False
        with self._lock:
            if self._error is not None:
                for future in call.futures:
                    future.set_lost(self._error)
                return False
            self._pending[number] = call
            if len(body) > _SMALL_BYTES:
                self._sizes[number] = len(body)
                self._bytes += len(body)
            self.counts["calls"] += _items(call)
            for future in call.futures:
                future._stop = _Stopper(self, number)
        self._stream.send("C", {"n": number}, body, wait=True)
        return True

    def _put(self, number: int, body: bytes) -> bytes:
        key = f"{self.id}/in/{number}"
        self.endpoint.store().put(key, body)
        self._stored[number] = key
        return b"@" + key.encode()

    def stop_call(self, number: int) -> None:
        """All futures of a call were cancelled here: stops it there."""
        with self._lock:
            call = self._pending.get(number)
            if call is None or not all(future.done() for future in call.futures):
                return
        self._stream.send("X", {"calls": [number]})

    # Stream's thread.

    def frame(self, frame: Frame) -> None:
        """A frame from the server."""
        header = frame.header
        if frame.kind == "R":
            self._outcome(header, frame.body)
        elif frame.kind == "W":
            self._started(header["n"])
        elif frame.kind == "L":
            self._tell(self.on_log, header["n"], frame.body.decode("utf-8", "replace"))
        elif frame.kind == "N":
            self._tell(self._warn, str(header.get("type")), str(header.get("message")))
        elif frame.kind == "J":
            self.id, self.function = header["job"], header["function"]
            self.in_flight = int(header["max_in_flight"])
            self._room = max(1, 2 * self.in_flight - 1)
            self._stream.silence_s = _SILENCE_S
            self._begun.set()
        elif frame.kind == "D":
            self.summary = header
            self._stream.finish()
        elif frame.kind == "Z":
            self.kept.set()
        elif frame.kind == "E":
            self._end(JobError(str(header.get("message")), str(header.get("type"))))

    def ended(self, status: Optional[int], answer: bytes, error: Optional[BaseException]) -> None:
        """The connection is over."""
        if self._error is None:
            if status is not None and status != 200:
                self._end(refusal(status, answer))
            elif error is not None and not isinstance(error, OSError):
                self._end(ServerLost(f"the server and this program do not understand each other: {error!r}"))
            elif self.summary is not None and self._fed_all and not self._pending:
                pass
            elif self.summary is None:
                self._end(ServerLost(f"the server was lost before the job's end: {plain_socket_error(error)}"))
            else:
                self._end(ServerLost("the job ended without an outcome of this call"))
        if not self.description["detach"]:
            for key in self._stored.values():
                leftovers.remove(self.endpoint.store, key)
        self._begun.set()
        self.kept.set()
        self.over.set()
        self._changed()

    def _started(self, numbers: list[int]) -> None:
        with self._lock:
            calls = [self._pending[number] for number in numbers if number in self._pending]
            self._running.update(number for number in numbers if number in self._pending)
        for call in calls:
            for future in call.futures:
                future.set_started()
        self._changed()

    def _outcome(self, header: dict[str, Any], body: bytes) -> None:
        number = header["n"]
        with self._lock:
            call = self._pending.pop(number, None)
            self._bytes -= self._sizes.pop(number, 0)
            self._running.discard(number)
            self._lock.notify_all()
        if call is None:
            return
        store = self.endpoint.store
        record = {**header, "calls": 0}
        answer = Answer(str(header.get("status")), body, record, store)
        again = sum(future.undone(answer) for future in call.futures)
        self.counts["calls"] -= again
        record["calls"] = count = _items(call) - again
        self.records.append(record)
        self.cost_usd += float(header.get("cost_usd") or 0.0)
        status = str(header.get("status"))
        key = self._stored.pop(number, None)
        if key is not None and status not in ("success", "raised"):
            leftovers.remove(self.endpoint.store, key)
        self.counts["done" if status == "success" else "failed"] += count
        # Who has the last result may end the program: the bar is full by then.
        self._changed()
        for place, future in enumerate(call.futures):
            future.set_answer(answer, place)

    # Any thread.

    def _end(self, error: BaseException) -> None:
        """Nothing more is sent, and whatever has no outcome fails with `error`."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            lost = [future for call in self._pending.values() for future in call.futures]
            self._lock.notify_all()
        if isinstance(error, Cancelled):
            for future in lost:
                future._stop = None  # The whole job is stopped, with one frame.
                future.cancel()
        for future in lost:
            future.set_lost(error)
        if self.id is not None:
            # A job that has not begun may be begun again, with the same feed.
            self._feed.stop(error)
        self._begun.set()
        self.kept.set()

    def _changed(self) -> None:
        self.counts["running"] = len(self._running)
        for watcher in self.watchers:
            self._tell(watcher, self)

    def _tell(self, listener: Callable[..., None], *what: Any) -> None:
        """Calls what is not ours. The job does not end with its failure, which is told once."""
        try:
            listener(*what)
        except BaseException:
            if not self._told_failure:
                self._told_failure = True
                _log.exception("%s: what shows this job's lines or progress has failed; the job goes on", self.id)

    def _warn(self, kind: str, message: str) -> None:
        if kind == "NotCloned" and not self._warned:
            self._warned = True
            warnings.warn(
                f"each call of {self.description['name']} starts an interpreter of its own, which takes longer than a clone: "
                f"{message}. Import inside the function what starts threads, or see to it that it starts none",
                SlowStart,
                stacklevel=1,
            )

    def _print(self, number: int, text: str) -> None:
        lines = (f"[{self.description['name']} {number}] {line}\n" for line in text.splitlines())
        sys.stdout.write("".join(lines))
        sys.stdout.flush()

    def forget(self) -> None:
        """This is the child of a fork: the connection is the parent's, which goes on with it."""
        self._lock = threading.Condition()
        self._error = self._error or forks.error()
        for call in self._pending.values():
            for future in call.futures:
                future.forget()
        self._feed.forget()
        self._begun, self.kept, self.over = (threading.Event() for _ in range(3))
        for event in (self._begun, self.kept, self.over):
            event.set()


def _items(call: Call) -> int:
    return sum(future.size for future in call.futures)


class _Stopper:
    """Stops a call when its futures are cancelled. Does not keep the run alive."""

    def __init__(self, run: Run, number: int) -> None:
        self._run = weakref.ref(run)
        self._number = number

    def __call__(self, future: Future[Any]) -> None:
        run = self._run()
        if run is not None:
            run.stop_call(self._number)
