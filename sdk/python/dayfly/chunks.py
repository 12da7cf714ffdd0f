"""Chunks: calls that stand for several items of a map, one after the other in one instance.

An item has a future of its own only where somebody asks for one: making ten thousand takes longer than ten thousand
small calls. A call with a time limit answers as many items as it got done, at least one; the others are sent again. So are
all items of such a call that died, a hundredth of them in each call, until one that dies does so alone.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Iterator, Optional

from . import forks
from .answers import Answer, Future


class Chunk(Future[Any]):
    """The future of one call with several items."""

    def __init__(
        self, first: int, arguments: list[tuple[Any, ...]], left: Optional[Callable[["Chunk", int], None]]
    ) -> None:
        """The items from number `first` on. `left` is told of how many were done where the others can be sent again."""
        super().__init__()
        self.first = first
        self.size = self.weight = len(arguments)
        # Until the call has ended.
        self.arguments = arguments
        # Whether a call was made for it.
        self.called = False
        # What this call left undone, where results are read in order.
        self.rest: Optional[Chunk] = None
        self._left = left
        self._items: list[Future[Any]] = []

    def cut(self, at: int) -> "Chunk":
        """Makes the items from `at` on a chunk of their own."""
        rest = Chunk(self.first + at, self.arguments[at:], self._left)
        if self._items:
            rest._hold(self._items[at:])
            del self._items[at:]
        self.size = at
        del self.arguments[at:]
        return rest

    def give_futures(self, items: list[Future[Any]]) -> None:
        """Gives each item a future."""
        self._hold(items)
        if self.done():
            self._tell()

    def values(self) -> Optional[list[Any]]:
        """All values, where that is simple."""
        answer = self.answer()
        return None if answer is None else answer.values()

    # As a future, for the run.

    def set_started(self) -> None:
        """See `Future`."""
        super().set_started()
        for item in self._items:
            item.set_started()

    def set_answer(self, answer: Answer, place: int) -> None:
        """See `Future`."""
        left = self.undone(answer)
        if left and self._left is not None:
            done = self.size - left
            self._left(self, done)
            if done == 0:
                return
        super().set_answer(answer, place)
        self.arguments = []
        self._tell()

    def undone(self, answer: Answer) -> int:
        """See `Future`."""
        if self._left is None or self.done():
            return 0
        if answer.done is not None:
            return max(0, self.size - max(1, answer.done))
        return self.size if self.size > 1 and answer.died() else 0

    def set_lost(self, error: BaseException) -> None:
        """See `Future`."""
        super().set_lost(error)
        self._tell()

    def cancel(self) -> bool:
        """See `Future`."""
        cancelled = super().cancel()
        for item in list(self._items):
            item.cancel()
        return cancelled

    def forget(self) -> None:
        """See `Future`."""
        for item in self._items:
            item.forget()
        super().forget()

    def _hold(self, items: list[Future[Any]]) -> None:
        self._items = items
        for item in items:
            item._stop = self._item_cancelled

    def _item_cancelled(self, _: Future[Any]) -> None:
        if all(item.done() for item in self._items):
            self.cancel()

    def _tell(self) -> None:
        """Items end as their call has."""
        if not self._items:
            return
        answer, failure = self.answer(), self.ended(0)
        for place, item in enumerate(list(self._items)):
            if answer is not None:
                item.set_answer(answer, place)
            elif self.cancelled() or failure is None:
                item._stop = None
                item.cancel()
            else:
                item.set_lost(failure)


class Reader:
    """The results of a feed, one item at a time."""

    def __init__(self, feed: Any) -> None:
        self._feed = feed
        self._lock = threading.RLock()
        self._chunk: Optional[Chunk] = None
        self._place = 0
        self._values: Iterator[Any] = iter(())
        forks.held(self)

    def forget(self) -> None:
        """In the child of a fork: who held the lock is not there."""
        self._lock = threading.RLock()

    def next(self, deadline: Optional[float] = None) -> Any:
        """The next result. Raises `StopIteration` after the last, what its call raised, or the standard `TimeoutError`."""
        for value in self._values:
            return value
        with self._lock:
            while True:
                for value in self._values:
                    return value
                if self._chunk is None:
                    future = self._feed.next()
                    if not isinstance(future, Chunk):
                        return future.result(_left(deadline))
                    self._chunk, self._place = future, 0
                found, value = self._of_chunk(self._chunk, deadline)
                if found:
                    return value

    def _of_chunk(self, chunk: Chunk, deadline: Optional[float]) -> tuple[bool, Any]:
        failure = chunk.ended(_left(deadline))
        if self._place == 0:
            values = chunk.values()
            if values is not None and len(values) == chunk.size:
                self._chunk, self._values = chunk.rest, iter(values)
                return False, None
        if self._place == chunk.size:
            self._chunk, self._place = chunk.rest, 0
            return False, None
        place, self._place = self._place, self._place + 1
        answer = chunk.answer()
        if answer is None:
            raise failure if failure is not None else RuntimeError("a call has ended without an end")
        return True, answer.value(place)


def _left(deadline: Optional[float]) -> Optional[float]:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
