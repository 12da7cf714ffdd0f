"""A map: one job whose results come back in order, or as they are done."""

from __future__ import annotations

import collections
import itertools
import sys
import threading
import time
import weakref
from typing import Any, Callable, Generic, Iterable, Optional, TypeVar, Union

from . import options as options_
from . import forks, pickling, plotting
from .answers import Future
from .chunks import Chunk, Reader
from .errors import Cancelled
from .options import Options
from .run import Call, Run

T = TypeVar("T")

# A map over something of this size or less runs to its end by itself, and keeps its results until they are asked for.
KEPT_MAX = 100_000
# Of others, so many results per call in flight are kept unread; then the job waits for its reader.
_UNREAD_PER_CALL = 4
# What `chunksize="auto"` aims at: chunks long enough to hide what a call costs, short enough to share them out. A call leaves
# undone what it cannot begin in this time.
_CHUNK_S = 0.1
_CHUNK_MAX = 10_000
# Of arguments that are not numbers, text and the like, and of items without end, there is no telling.
_CHUNK_GROWTH = 4
# Into how many calls the items of one that died go: ten thousand are tried alone after the second death.
_CHUNK_PIECES = 100
_CHUNK_BYTES = 1 << 20
# What the server runs at a time by default, for each of its processors.
_IN_FLIGHT_PER_PROCESSOR = 8


class Job(Generic[T]):
    """The results of a `map`, as an iterator; and the job that makes them.

    Like the built-in `map`, it gives each result once. A result whose call failed raises, and cancels the rest, unless
    `return_exceptions` was set. A job that nobody holds any more is cancelled.
    """

    def __init__(self, run: Run, feed: "MapFeed", return_exceptions: bool = False) -> None:
        self._run = run
        self._feed = feed
        self._reader = Reader(feed)
        self._return_exceptions = return_exceptions
        self._finalizer = weakref.finalize(self, run.cancel, "nobody holds the job any more")
        self._finalizer.atexit = False

    def __iter__(self) -> "Job[T]":
        return self

    def __next__(self) -> T:
        try:
            return self._reader.next()  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            self.cancel("interrupted")
            raise
        except StopIteration:
            raise
        except Exception as error:
            if self._return_exceptions:
                return error  # type: ignore[return-value]
            self._run.cancel(f"another call of the job failed: {type(error).__name__}")
            raise

    def __len__(self) -> int:
        if self._feed.total is None:
            raise TypeError("this job is over an iterable whose length is not known")
        return self._feed.total

    def __length_hint__(self) -> int:
        return self._feed.total or 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self._run.counts.items())
        return f"<dayfly.Job {self.id} {self.name}: {counts}>"

    @property
    def id(self) -> str:
        """The job's id, for `attach` and `dayfly jobs`."""
        return str(self._run.id)

    @property
    def name(self) -> str:
        """The function's name in bill and logs."""
        return str(self._run.function or self._run.description["name"])

    @property
    def futures(self) -> list[Future[T]]:
        """A future for each item, in order. Not there for a job over an iterable without a length."""
        futures = self._feed.futures()
        if futures is None:
            raise TypeError("a job over an iterable without a length keeps no futures: iterate over it")
        # From now on the futures matter, not this object.
        self._finalizer.detach()
        return futures

    def results(self, timeout: Optional[float] = None) -> list[T]:
        """All results that have not been taken, in order. Raises as iterating does, or the standard `TimeoutError`."""
        if not self.wait(timeout):
            raise TimeoutError(f"the job is not done after {timeout} s")
        return list(self)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the end of all calls; whether it came within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._feed.read_all()
        try:
            while not self._run.over.is_set():
                left = 3600.0 if deadline is None else min(3600.0, deadline - time.monotonic())
                if left <= 0:
                    return False
                self._run.over.wait(left)
        except KeyboardInterrupt:
            self.cancel("interrupted")
            raise
        return True

    def done(self) -> bool:
        """Whether all calls have ended."""
        return self._run.over.is_set()

    def cancel(self, message: str = "the job was cancelled") -> None:
        """Stops all calls; those that run are killed. Their futures raise `Cancelled`."""
        self._run.cancel(message)

    @property
    def cost(self) -> float:
        """What the calls that have ended cost, in USD at the server's prices."""
        return self._run.cost_usd

    @property
    def counts(self) -> dict[str, int]:
        """How many items were sent, run now, are done, and have failed."""
        return dict(self._run.counts)

    def records(self) -> list[dict[str, Any]]:
        """What each call that has ended used, as in `docs/jobs.md` (the outcome); of a long job, the last 100,000."""
        return list(self._run.records)

    def stats(self) -> Any:
        """`records` as a pandas frame with a row per call, or as they are where pandas is not installed."""
        return plotting.frame(self.records())

    def plot(self, path: Optional[str] = None, width: float = 9.0, height: float = 6.0) -> Any:
        """Draws when each call waited and ran, and how many ran at a time. Needs matplotlib.

        With `path` (ending in .png, .svg or .pdf) saves it there. Sizes are inches. Returns the figure.
        """
        return plotting.plot(self.records(), f"{self.name}: {self._run.counts['done']} calls", path, width, height)


class MapFeed:
    """The calls of a map, cut into chunks as they are sent; and their futures, as the reader takes them."""

    def __init__(
        self,
        items: Iterable[tuple[Any, ...]],
        total: Optional[int],
        chunksize: Union[int, str],
        ordered: bool = True,
    ) -> None:
        if chunksize != "auto" and (not isinstance(chunksize, int) or chunksize < 1):
            raise ValueError(f'chunksize is a number from 1, or "auto", not {chunksize!r}')
        self.total = total
        self.keep = total is not None and total <= KEPT_MAX
        # A future for each item of what is kept: where items share calls, when somebody has asked for them.
        self._kept: Optional[list[Future[Any]]] = None
        self._chunks: list[Chunk] = []
        self._items = iter(items)
        self._automatic = chunksize == "auto"
        self._chunked = chunksize != 1
        self._size = 1 if self._automatic else int(chunksize)
        self._ordered = ordered
        # What the server runs at a time is known when the job has begun.
        self._in_flight = 1
        self._waits_for_reader = not self.keep
        self._changed = threading.Condition()
        # Futures for the reader: in the order of the items, or as they are done.
        self._ready: collections.deque[Future[Any]] = collections.deque()
        # What calls have left undone, and how many calls may yet do so.
        self._again: collections.deque[Chunk] = collections.deque()
        self._out = 0
        self._seconds_per_item: Optional[float] = None
        self._made, self._sent, self._read = 0, 0, 0
        self._made_all, self._read_items = False, False
        self._error: Optional[BaseException] = None
        if self.keep and not self._chunked:
            self._kept = [Future() for _ in range(total or 0)]
            self._announce(self._kept)
            self._made_all = True

    # For the run.

    def begin(self, in_flight: int) -> None:
        """See `Feed`."""
        self._in_flight = in_flight

    def take(self) -> Optional[Call]:
        """See `Feed`."""
        while True:
            size = self._next_size()
            with self._changed:
                while self._error is None and not self._again and self._must_wait(size):
                    self._changed.wait()
                if self._error is not None:
                    return None
                if self._again:
                    return self._call_of(self._again.popleft())
            if self._read_items:
                return None
            if self.keep:
                size = min(size, (self.total or 0) - self._sent)
            many = list(itertools.islice(self._items, size if not self._automatic else min(size, 1)))
            if many and self._automatic:
                self._add_similar(many, size - 1)
            if not many:
                self._end_of_items()
            elif self._chunked:
                chunk = self._chunk_of(many)
                return None if chunk is None else self._call_of(chunk)
            else:
                future = self._kept[self._sent] if self._kept is not None else Future()
                if self._kept is None:
                    self._announce([future])
                self._sent += 1
                return Call([future], lambda: pickling.call(many[0], {}))

    def stop(self, error: BaseException) -> None:
        """See `Feed`."""
        with self._changed:
            self._error = error
        self._end_again()
        _end(self._unsent(), error)
        with self._changed:
            self._made_all = True
            self._changed.notify_all()

    def forget(self) -> None:
        """See `Feed`."""
        self._changed = threading.Condition()
        self._waits_for_reader = False
        self._made_all = True
        self._error = forks.error()
        futures = list(self._ready) if not self.keep else [*self._chunks, *self._unsent()] if self._chunked else self._kept or []
        lost = [future for future in futures if not future.done()]
        for future in futures:
            future.forget()
        if not self._ordered:
            # Those that the reader would get when they are done.
            self._ready.extend(lost)
            self._made = self._read + sum(future.weight for future in self._ready)

    def _must_wait(self, size: int) -> bool:
        if self._read_items:
            # What is on its way may come back undone.
            return self._automatic and self._out > 0
        return self._is_ahead(size)

    def _next_size(self, more: int = 0) -> int:
        """Items of the next call, where `more` are to be sent than the feed knows of."""
        if not self._automatic:
            return self._size
        each = self._seconds_per_item
        processors = max(1, self._in_flight // _IN_FLIGHT_PER_PROCESSOR)
        if self.total is None:
            wanted = self._size
        elif each is None:
            wanted = -(-self.total // (2 * processors))
        else:
            # Everybody gets some, also at the end.
            with self._changed:
                more += self.total - self._sent + sum(chunk.size for chunk in self._again)
            wanted = -(-more // (4 * processors))
        if each is not None:
            wanted = min(wanted, int(_CHUNK_S / max(each, 1e-7)))
        return max(1, min(wanted, _CHUNK_MAX))

    def _add_similar(self, many: list[tuple[Any, ...]], more: int) -> None:
        """Adds up to `more` items to the first one: as many as can be sent together."""
        if not pickling.is_plain(many[0]):
            # Their number grows with what is known of them.
            more = min(more, self._size - 1)
        room = _CHUNK_BYTES
        for item in itertools.islice(self._items, more):
            many.append(item)
            room -= 64 + sum(map(sys.getsizeof, item))
            if room < 0:
                break

    def _chunk_of(self, many: list[tuple[Any, ...]], lost: bool = False) -> Optional[Chunk]:
        """The next items as a chunk; None when the job has ended, unless it is to hold what that has `lost`."""
        with self._changed:
            if self._error is not None and not lost:
                return None
            chunk = Chunk(self._sent, many, self._left_undone if self._automatic else None)
            self._sent += len(many)
            if self._kept is not None:
                chunk.give_futures(self._kept[chunk.first : self._sent])
            if self.keep:
                self._chunks.append(chunk)
        self._announce([chunk])
        return chunk

    def _call_of(self, chunk: Chunk) -> Call:
        """A call for the chunk; of one that was left undone, for as much of it as is wanted now."""
        if not self._automatic:
            return Call([chunk], lambda: pickling.calls(chunk.arguments))
        with self._changed:
            size = self._next_size(chunk.size) if self._seconds_per_item is not None else chunk.size
            if size < chunk.size:
                self._cut(chunk, size)
            first, chunk.called = not chunk.called, True
            self._out += first
        if first:
            chunk.add_done_callback(self._tune)
        return Call([chunk], lambda: pickling.calls(chunk.arguments, _CHUNK_S))

    def _left_undone(self, chunk: Chunk, done: int) -> None:
        """Has the items after those that are `done` sent again; where none is, because the call died, all of them in pieces."""
        with self._changed:
            if done > 0:
                self._cut(chunk, done)
            else:
                size = max(1, chunk.size // _CHUNK_PIECES)
                self._again.append(chunk)
                while chunk.size > size:
                    chunk = self._cut(chunk, size)
                self._changed.notify_all()
            ended = self._error is not None
        if ended:
            self._end_again()

    def _end_again(self) -> None:
        """The job has ended, and what was to be sent again with it."""
        with self._changed:
            again, error = list(self._again), self._error
            self._again.clear()
        if error is not None:
            _end(again, error)

    def _cut(self, chunk: Chunk, at: int) -> Chunk:
        """Has the items from `at` on sent by themselves, as the chunk it gives. With the lock held."""
        rest = chunk.cut(at)
        rest.rest, chunk.rest = chunk.rest, None
        if self.keep:
            self._chunks.append(rest)
        if self._ordered:
            chunk.rest = rest
            rest.weight = 0
        else:
            chunk.weight = at
            rest.add_done_callback(self._completed)
        self._again.append(rest)
        self._changed.notify_all()
        return rest

    def _unsent(self) -> list[Future[Any]]:
        """Futures of what no call was made for. Those of chunks are made for the reader, who is to hear of each item."""
        if not self.keep or self._sent == self.total:
            return []
        if not self._chunked:
            return (self._kept or [])[self._sent :]
        chunk = self._chunk_of([()] * ((self.total or 0) - self._sent), lost=True)
        return [] if chunk is None else [chunk]

    def futures(self) -> Optional[list[Future[Any]]]:
        """One for each item; None where they are not kept."""
        if not self.keep:
            return None
        with self._changed:
            if self._kept is None:
                self._kept = [Future() for _ in range(self.total or 0)]
                for chunk in self._chunks:
                    chunk.give_futures(self._kept[chunk.first : chunk.first + chunk.size])
        return list(self._kept)

    def _is_ahead(self, size: int) -> bool:
        unread = self._made - self._read
        return self._waits_for_reader and unread >= _UNREAD_PER_CALL * self._in_flight * size

    def _end_of_items(self) -> None:
        with self._changed:
            self._read_items = True
        for future in self._unsent():
            future.set_lost(ValueError("the iterable gave fewer items than its length"))
        with self._changed:
            self._made_all = True
            self._changed.notify_all()

    def _announce(self, futures: list[Future[Any]]) -> None:
        """Futures that the reader will get."""
        with self._changed:
            self._made += sum(future.size for future in futures)
            if self._ordered:
                self._ready.extend(futures)
                self._changed.notify_all()
        if not self._ordered:
            for future in futures:
                future.add_done_callback(self._completed)

    def _completed(self, future: Any) -> None:
        with self._changed:
            self._ready.append(future)
            self._changed.notify_all()

    def _tune(self, chunk: Any) -> None:
        """A call of several items has ended: it tells how long one takes."""
        record = chunk.record
        with self._changed:
            if record is not None and record.get("status") == "success":
                each = float(record["duration_us"]) / 1e6 / max(1, record["calls"])
                known = self._seconds_per_item
                # The first calls take longest.
                self._seconds_per_item = each if known is None else min(each, (known + each) / 2)
                self._size = max(1, min(self._size * _CHUNK_GROWTH, int(_CHUNK_S / max(each, 1e-7)), _CHUNK_MAX))
            self._out -= 1
            self._changed.notify_all()

    # For the reader.

    def next(self) -> Future[Any]:
        """The next future. Raises `StopIteration` after the last, and what ended an iterable that keeps no futures."""
        with self._changed:
            while not self._ready:
                if self._made_all and self._read == self._made:
                    error, self._error = self._error, self._error if self.keep else None
                    if error is not None and not self.keep:
                        raise error
                    raise StopIteration
                self._changed.wait()
            future = self._ready.popleft()
            self._read += future.weight
            self._changed.notify_all()
            return future

    def read_all(self) -> None:
        """Somebody waits for the end: the job no longer waits for its reader."""
        with self._changed:
            self._waits_for_reader = False
            self._changed.notify_all()


def _end(futures: Iterable[Future[Any]], error: BaseException) -> None:
    for future in futures:
        if isinstance(error, Cancelled):
            future.cancel()
        else:
            future.set_lost(error)


def run_map(
    function: Callable[..., T],
    items: Iterable[tuple[Any, ...]],
    total: Optional[int],
    options: Options,
    chunksize: Union[int, str] = 1,
    ordered: bool = True,
    return_exceptions: bool = False,
    setup: Optional[Callable[[], Any]] = None,
) -> "Job[T]":
    """Begins a map over tuples of arguments; `total` of them, where that is known."""
    feed = MapFeed(items, total, chunksize, ordered)
    run = options_.start(function, options, feed, setup=setup)
    return Job(run, feed, return_exceptions)
