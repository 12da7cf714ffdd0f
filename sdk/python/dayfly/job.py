"""A map: one job whose results come back in order, or as they are done."""

from __future__ import annotations

import collections
import itertools
import threading
import time
import weakref
from typing import Any, Callable, Generic, Iterable, Optional, TypeVar, Union

from . import options as options_
from . import forks, pickling, plotting
from .answers import Future
from .errors import Cancelled
from .options import Options
from .run import Call, Run

T = TypeVar("T")

# A map over something of this size or less runs to its end by itself, and keeps its results until they are asked for.
KEPT_MAX = 100_000
# Of others, so many results per call in flight are kept unread; then the job waits for its reader.
_UNREAD_PER_CALL = 4
# What `chunksize="auto"` aims at: chunks long enough to hide what a call costs, short enough to share them out.
_CHUNK_S = 0.1
_CHUNK_GROWTH = 4
_CHUNK_MAX = 1_000


class Job(Generic[T]):
    """The results of a `map`, as an iterator; and the job that makes them.

    Like the built-in `map`, it gives each result once. A result whose call failed raises, and cancels the rest, unless
    `return_exceptions` was set. A job that nobody holds any more is cancelled.
    """

    def __init__(self, run: Run, feed: "MapFeed", return_exceptions: bool = False) -> None:
        self._run = run
        self._feed = feed
        self._return_exceptions = return_exceptions
        self._finalizer = weakref.finalize(self, run.cancel, "nobody holds the job any more")
        self._finalizer.atexit = False

    def __iter__(self) -> "Job[T]":
        return self

    def __next__(self) -> T:
        try:
            return self._feed.next().result()  # type: ignore[no-any-return]
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
        if self._feed.kept is None:
            raise TypeError("a job over an iterable without a length keeps no futures: iterate over it")
        # From now on the futures matter, not this object.
        self._finalizer.detach()
        return list(self._feed.kept)

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
        keep = total is not None and total <= KEPT_MAX
        self.kept: Optional[list[Future[Any]]] = [Future() for _ in range(total or 0)] if keep else None
        self._items = iter(items)
        self._automatic = chunksize == "auto"
        self._size = 1 if self._automatic else int(chunksize)
        self._ordered = ordered
        # What the server runs at a time is known when the job has begun.
        self._in_flight = 1
        self._waits_for_reader = not keep
        self._changed = threading.Condition()
        # Futures for the reader: in the order of the items, or as they are done.
        self._ready: collections.deque[Future[Any]] = collections.deque()
        self._made, self._sent, self._read = 0, 0, 0
        self._made_all = False
        self._error: Optional[BaseException] = None
        if self.kept is not None:
            self._announce(self.kept)
            self._made_all = True

    # For the run.

    def begin(self, in_flight: int) -> None:
        """See `Feed`."""
        self._in_flight = in_flight

    def take(self) -> Optional[Call]:
        """See `Feed`."""
        size = self._size
        with self._changed:
            while self._is_ahead(size) and self._error is None:
                self._changed.wait()
            if self._error is not None:
                return None
        if self.kept is not None:
            size = min(size, len(self.kept) - self._sent)
        many = list(itertools.islice(self._items, size))
        if not many:
            self._end_of_items()
            return None
        if self.kept is not None:
            futures = self.kept[self._sent : self._sent + len(many)]
        else:
            futures = [Future() for _ in many]
            self._announce(futures)
        self._sent += len(many)
        if self._automatic:
            futures[0].add_done_callback(self._tune)
        elif len(many) == 1:
            return Call(futures, lambda: pickling.call(many[0], {}))
        return Call(futures, lambda: pickling.calls(many))

    def stop(self, error: BaseException) -> None:
        """See `Feed`."""
        with self._changed:
            self._error = error
            self._made_all = True
            self._changed.notify_all()
        for future in self.kept[self._sent :] if self.kept is not None else ():
            if isinstance(error, Cancelled):
                future.cancel()
            else:
                future.set_lost(error)

    def forget(self) -> None:
        """See `Feed`."""
        self._changed = threading.Condition()
        self._waits_for_reader = False
        self._made_all = True
        self._error = forks.error()
        futures = list(self._ready) if self.kept is None else self.kept
        lost = [future for future in futures if not future.done()]
        for future in futures:
            future.forget()
        if not self._ordered:
            # Those that the reader would get when they are done.
            self._ready.extend(lost)
            self._made = self._read + len(self._ready)

    def _is_ahead(self, size: int) -> bool:
        unread = self._made - self._read
        return self._waits_for_reader and unread >= _UNREAD_PER_CALL * self._in_flight * size

    def _end_of_items(self) -> None:
        with self._changed:
            self._made_all = True
            self._changed.notify_all()
        for future in self.kept[self._sent :] if self.kept is not None else ():
            future.set_lost(ValueError("the iterable gave fewer items than its length"))

    def _announce(self, futures: list[Future[Any]]) -> None:
        """Futures that the reader will get."""
        with self._changed:
            self._made += len(futures)
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

    def _tune(self, future: Any) -> None:
        """Grows chunks while they are shorter than they should be."""
        record = future.record
        if record is None or record.get("status") != "success":
            return
        per_item_s = float(record["duration_us"]) / 1e6 / record["calls"]
        wanted = int(_CHUNK_S / max(per_item_s, 1e-6))
        if self.total is not None:
            # Everybody gets some, also at the end.
            wanted = min(wanted, (self.total - self._sent) // (2 * self._in_flight))
        self._size = max(1, min(wanted, self._size * _CHUNK_GROWTH, _CHUNK_MAX))

    # For the reader.

    def next(self) -> Future[Any]:
        """The next future. Raises `StopIteration` after the last, and what ended an iterable that keeps no futures."""
        with self._changed:
            while not self._ready:
                if self._made_all and self._read == self._made:
                    error, self._error = self._error, None if self.kept is None else self._error
                    if error is not None and self.kept is None:
                        raise error
                    raise StopIteration
                self._changed.wait()
            self._read += 1
            self._changed.notify_all()
            return self._ready.popleft()

    def read_all(self) -> None:
        """Somebody waits for the end: the job no longer waits for its reader."""
        with self._changed:
            self._waits_for_reader = False
            self._changed.notify_all()


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
