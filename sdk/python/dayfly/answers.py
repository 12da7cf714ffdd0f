"""What comes back: futures, and the bytes of an outcome as values or exceptions.

A result is unpickled where it is asked for, not where it arrives: unpickling runs code, and may need a lock that the
thread which asks holds (that of an import, for example).
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pickle
import threading
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar

from . import forks, leftovers
from ._s3 import Store
from .errors import DIED, Cancelled, CallDied, RemoteError, RemoteTraceback, ResultError, ServerLost

T = TypeVar("T")


class Answer:
    """The body of an outcome, which holds the answer of one call or those of several."""

    def __init__(
        self,
        status: str,
        body: bytes,
        record: dict[str, Any],
        store: Optional[Callable[[], Store]],
        drop: bool = True,
    ) -> None:
        """With `drop`, a large answer is removed from the `store` when it was fetched, or nobody can ask for it."""
        self.record = record
        self._drop = drop
        self._pid = os.getpid()
        self._status = status
        self._body = body
        self._store = store
        self._lock = threading.Lock()
        self._parts: Optional[list[tuple[bool, Any]]] = None
        # Or the values themselves.
        self._values: Optional[list[Any]] = None
        # Of how many items it is the answer, where that may be fewer than the call had.
        self.done: Optional[int] = None
        if status == "success" and body[:1] == b"T":
            self.done, self._body = int.from_bytes(body[1:5], "little"), body[5:]

    def __del__(self) -> None:
        # Nobody asked for it: nobody will.
        if self._body[:1] == b"@" and self._store is not None and self._may_drop():
            leftovers.remove(self._store, self._body[1:].decode())

    def forget(self) -> None:
        """In the child of a fork: who held the lock is not there."""
        self._lock = threading.Lock()

    @property
    def key(self) -> Optional[str]:
        """Where the answer lies in the store, until it is fetched."""
        return self._body[1:].decode() if self._body[:1] == b"@" else None

    def died(self) -> bool:
        """Whether the call had an instance and did not answer."""
        return self._status in ("timeout", "out_of_memory", "exit")

    def count(self) -> int:
        """How many calls it answers, as far as it tells: of those that died together, one."""
        with self._lock:
            if self._status == "success" and self._body[:1] in (b"@", b"B", b"L"):
                self._read()
            many = self._parts if self._values is None else self._values
            return len(many) if many is not None else 1

    def values(self) -> Optional[list[Any]]:
        """All values of a call with several items, where none of them has to be unpickled by itself."""
        if self._status != "success":
            return None
        with self._lock:
            self._read()
            return self._values

    def value(self, place: int) -> Any:
        """The value at `place`. Raises what its call raised, or the typed error of its end."""
        if self._status not in ("success", "raised"):
            raise _died(self._status, self._body, self.record)
        with self._lock:
            worked, part = self._one(place)
            if self._values is not None:
                return part
        if not worked:
            raise exception(part)
        try:
            return pickle.loads(part)
        except Exception as error:
            raise ResultError(f"a result cannot be unpickled here: {type(error).__name__}: {error}") from error

    def _one(self, place: int) -> tuple[bool, Any]:
        if self._status == "raised":
            return False, self._body
        self._read()
        if self._body[:1] == b"V":
            return True, memoryview(self._body)[1:]
        if self._values is not None:
            return True, self._values[place]
        assert self._parts is not None
        return self._parts[place]

    def _read(self) -> None:
        """Fetches a large answer, and takes one of several items apart. With the lock held."""
        if self._body[:1] == b"@":
            self._body = self._fetch()
        if self._body[:1] == b"V" or self._parts is not None or self._values is not None:
            return
        try:
            many = pickle.loads(memoryview(self._body)[1:])
        except Exception as error:
            raise ResultError(f"an answer cannot be read: {error}") from error
        if self._body[:1] == b"L":
            self._values = many
        else:
            self._parts = many
        self._body = b"B"

    def _fetch(self) -> bytes:
        key, store = self._body[1:].decode(), self._store
        if store is None:
            raise ResultError("a large result cannot be fetched: there is no object store")
        try:
            data = store().get(key)
        except Exception as error:
            raise ResultError(f"a large result cannot be fetched: {error}") from error
        if self._may_drop():
            leftovers.remove(store, key)
        return data

    def _may_drop(self) -> bool:
        """Not in the child of a fork: its parent may still ask."""
        return self._drop and self._pid == os.getpid()


class _Held(NamedTuple):
    """What a future has until somebody asks for its result."""

    answer: Answer
    place: int


class Future(concurrent.futures.Future, Generic[T]):  # type: ignore[type-arg]
    """A call's result to come. It is a standard future; `cancel` also stops a call that runs."""

    # How many items it stands for, and how many of those that a reader waits for: see `Chunk`.
    size = 1
    weight = 1

    def __init__(self) -> None:
        super().__init__()
        self._record: Optional[dict[str, Any]] = None
        self._stop: Optional[Callable[["Future[Any]"], None]] = None

    @property
    def record(self) -> Optional[dict[str, Any]]:
        """What the call used (as in `Job.stats`), once it is done."""
        return self._record

    def cancel(self) -> bool:
        """Cancels the call, also when it runs: its instance is killed. False when it is done."""
        with self._condition:
            if self._state in ("FINISHED", "CANCELLED", "CANCELLED_AND_NOTIFIED"):
                return self._state != "FINISHED"
            self._state = "CANCELLED"
        # As an executor does when it comes to a cancelled call: tells those who wait.
        self.set_running_or_notify_cancel()
        with self._condition:
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]
        if self._stop is not None:
            self._stop(self)
        return True

    def result(self, timeout: Optional[float] = None) -> T:
        """The call's value. Raises what it raised, the typed error of its end, or the standard `TimeoutError`."""
        self._settle(timeout)
        return super().result(0)  # type: ignore[no-any-return]

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What the call raised, or None."""
        self._settle(timeout)
        return super().exception(0)

    def _settle(self, timeout: Optional[float]) -> None:
        try:
            super().exception(timeout)
        except concurrent.futures.CancelledError:
            raise Cancelled("the call was cancelled") from None
        except KeyboardInterrupt:
            self.cancel()
            raise
        # The state is final now; only what it holds is still bytes.
        held = self._result
        if not isinstance(held, _Held):
            return
        try:
            value, failure = held.answer.value(held.place), None
        except Exception as error:
            value, failure = None, error
        with self._condition:
            if self._result is held:
                self._exception = failure
                self._result = value

    def answer(self) -> Optional[Answer]:
        """What came back of a call whose result nobody has asked this future for."""
        held = self._result
        return held.answer if isinstance(held, _Held) else None

    def ended(self, timeout: Optional[float]) -> Optional[BaseException]:
        """Waits for the end: why there is no answer, where there is none."""
        try:
            return super().exception(timeout)
        except concurrent.futures.CancelledError:
            return Cancelled("the call was cancelled")
        except KeyboardInterrupt:
            self.cancel()
            raise

    # Called by the job.

    def set_started(self) -> None:
        """The call has an instance."""
        with self._condition:
            if self._state == "PENDING":
                self._state = "RUNNING"

    def undone(self, answer: Answer) -> int:
        """How many of its items are sent again after this answer."""
        return 0

    def set_answer(self, answer: Answer, place: int) -> None:
        """The call has ended. Does nothing when it was cancelled here."""
        self.set_started()
        with self._condition:
            self._record = answer.record
            if self._state != "RUNNING":
                return
        try:
            self.set_result(_Held(answer, place))
        except concurrent.futures.InvalidStateError:
            pass  # Cancelled just now.

    def set_lost(self, error: BaseException) -> None:
        """The call has no answer, for `error`. Does nothing when it is done."""
        self.set_started()
        try:
            self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            pass

    def forget(self) -> None:
        """In the child of a fork: nobody tells this future anything any more, nor it anybody."""
        self._condition = threading.Condition()
        self._done_callbacks: list[Any] = []
        self._waiters: list[Any] = []
        self._stop = None
        if isinstance(self._result, _Held):
            self._result.answer.forget()
        if self._state != "CANCELLED":
            self.set_lost(forks.error())


def exception(payload: Any) -> BaseException:
    """The exception that a call raised, with the remote traceback as its cause."""
    try:
        what, pickled, kind, message, text = pickle.loads(payload)
    except Exception as error:
        return ResultError(f"an exception cannot be read: {error}")
    found: Optional[BaseException] = None
    if what == "result":
        found = ResultError(f"the result cannot be sent: {message}")
    elif what == "arguments":
        found = ResultError(f"the call could not read its arguments: {kind}: {message}")
    elif pickled is not None:
        try:
            found = pickle.loads(pickled)
        except Exception:
            found = None
    if not isinstance(found, BaseException):
        found = RemoteError(message, kind, text)
    found.__cause__ = RemoteTraceback(text)
    return found


def _died(status: str, body: bytes, record: dict[str, Any]) -> BaseException:
    try:
        error = json.loads(body) if body else {}
    except ValueError:
        error = {}
    if not isinstance(error, dict):
        error = {}
    message = str(error.get("errorMessage") or error.get("errorType") or status.replace("_", " "))
    trace = error.get("stackTrace")
    if isinstance(trace, list) and trace:
        message += "\n" + "".join(str(line) for line in trace)
    if status == "lost":
        return ServerLost(f"the call was lost: {message}")
    return DIED.get(status, CallDied)(message, record)
