"""`Executor`: the standard library's, whose calls run on Dayfly.

Calls that were submitted one by one share a job while that is open, and bring their function along. A function that has
much with it (a captured array) gets a job of its own, which loads it once; so do large arrays that calls have in common.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import threading
import time
from typing import Any, Callable, Iterable, Iterator, Optional, TypeVar, Union

from . import options as options_
from . import forks, pickling
from .answers import Future
from .environment import Environment
from .errors import Cancelled
from .job import Job, run_map
from .options import Logs, Options
from .run import Call, Run

T = TypeVar("T")

# A job without calls is closed after this; the next call opens another.
_IDLE_S = 5.0
_LANES_MAX = 16
_LIGHT_BYTES = 64 << 10
_SEEN_MAX = 256


class Executor(concurrent.futures.Executor):
    """Runs calls on Dayfly: `submit`, `map` and `shutdown` as in `concurrent.futures`.

    Its futures work with `concurrent.futures.wait` and `as_completed` and with `asyncio.wrap_future`. Their `cancel` also
    stops a call that runs.
    """

    def __init__(
        self,
        memory: Optional[int] = None,
        timeout: Optional[float] = None,
        environment: Optional[Environment] = None,
        endpoint: Optional[str] = None,
        max_in_flight: Optional[int] = None,
        *,
        logs: Optional[Logs] = None,
        initializer: Optional[Callable[..., Any]] = None,
        initargs: tuple[Any, ...] = (),
        options: Optional[Options] = None,
        **others: Any,
    ) -> None:
        """`memory` in MB, `timeout` in seconds. `initializer` runs once for each job; every call finds what it did."""
        self._options = (options or Options()).but(
            memory=memory, timeout=timeout, env=environment, endpoint=endpoint, max_in_flight=max_in_flight, logs=logs, **others
        )
        if self._options.detach:
            raise ValueError("only a map can be detached")
        self._setup = functools.partial(initializer, *initargs) if initializer is not None else None
        self._lock = threading.RLock()
        self._lanes: collections.OrderedDict[Any, _Lane] = collections.OrderedDict()
        self._seen: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self._jobs: list[Job[Any]] = []
        self._open = True
        forks.held(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Runs `fn(*args, **kwargs)` in an instance of its own. Raises `NotPicklable` at once."""
        return self._submit(fn, args, kwargs)

    def _submit(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], name: Optional[str] = None
    ) -> "Future[T]":
        with self._lock:
            if not self._open:
                raise RuntimeError("the executor is shut down")
        options_.refuse_inside()
        name = name or options_.name_of(fn)
        function = pickling.dumps(fn, name, _LIGHT_BYTES)
        future: Future[T] = Future()
        if function.size > _LIGHT_BYTES:
            body = pickling.call(args, kwargs)
            self._put((name, function.digest()), Call([future], lambda: body), fn, name, function.modules)
            return future
        arguments = pickling.large_buffers(args, kwargs)
        digests = arguments.digests()
        if self._many_have(digests):
            brought = pickling.call_with_function(function, arguments)
            call = Call([future], lambda: brought.data)
            self._put((name, digests), call, None, name, brought.modules, arguments.buffers)
            return future
        if digests:
            arguments = pickling.dumps((args, kwargs), "arguments")
        brought = pickling.call_with_function(function, arguments)
        self._put((name, brought.modules), Call([future], lambda: brought.data), None, name, brought.modules)
        return future

    def _many_have(self, digests: tuple[bytes, ...]) -> bool:
        """Whether earlier calls had these buffers too: then they get a job that holds them, once for all calls."""
        with self._lock:
            known = bool(digests) and all(digest in self._seen for digest in digests)
            for digest in digests:
                self._seen[digest] = None
                self._seen.move_to_end(digest)
            while len(self._seen) > _SEEN_MAX:
                self._seen.popitem(last=False)
        return known

    def _put(
        self,
        key: Any,
        call: Call,
        function: Any,
        name: str,
        modules: frozenset[str],
        shared: Optional[list[Any]] = None,
    ) -> None:
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None and function is None and shared is None:
                # Any job that has imported these modules already will do.
                lane = next((one for one in self._lanes.values() if one.serves(name, modules)), None)
            if lane is not None and lane.put(call):
                return
            feed = _Lane(name, modules if function is None and shared is None else None)
            feed.put(call)
            feed.run = options_.start(function, self._options, feed, name, modules, self._setup, shared)
            self._lanes[key] = feed
            self._lanes.move_to_end(key)
            for old in [key for key, one in self._lanes.items() if one.closed]:
                del self._lanes[old]
            while len(self._lanes) > _LANES_MAX:
                self._lanes.popitem(last=False)[1].close()

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: Union[int, str] = 1,
        buffersize: Optional[int] = None,
    ) -> Iterator[T]:
        """`fn` over the iterables, in order, as one job. `timeout` in seconds from now, for all results.

        `buffersize` is taken for the standard library's sake: a job never reads far ahead.
        """
        del buffersize
        with self._lock:
            if not self._open:
                raise RuntimeError("the executor is shut down")
        job: Job[T] = run_map(fn, zip(*iterables), total_of(iterables), self._options, chunksize, setup=self._setup)
        with self._lock:
            self._jobs = [one for one in self._jobs if not one.done()] + [job]
        return job if timeout is None else _until(job, time.monotonic() + timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls. With `wait`, returns when all have ended; `cancel_futures` ends them now."""
        with self._lock:
            self._open = False
            lanes, jobs = list(self._lanes.values()), list(self._jobs)
        for lane in lanes:
            lane.close()
        runs = [lane.run for lane in lanes if lane.run is not None] + [job._run for job in jobs]
        if cancel_futures:
            for run in runs:
                run.cancel("the executor is shut down")
        if wait:
            for job in jobs:
                job._feed.read_all()
            try:
                for run in runs:
                    while not run.over.wait(3600):
                        pass
            except KeyboardInterrupt:
                for run in runs:
                    run.cancel("interrupted")
                raise

    def forget(self) -> None:
        """In the child of a fork: it goes on with jobs of its own."""
        self._lock = threading.RLock()
        self._lanes.clear()
        self._jobs.clear()


class _Lane:
    """An open job that takes calls one by one. The feed of its run."""

    def __init__(self, name: str, modules: Optional[frozenset[str]]) -> None:
        self.run: Optional[Run] = None
        self.closed = False
        self._name = name
        # None: it is for calls of one function, or with the same buffers.
        self._modules = modules
        self._waiting: collections.deque[Call] = collections.deque()
        self._changed = threading.Condition()

    def serves(self, name: str, modules: frozenset[str]) -> bool:
        """Whether calls of `name` that need `modules` are at home here."""
        return not self.closed and self._modules is not None and self._name == name and modules <= self._modules

    def put(self, call: Call) -> bool:
        """Takes a call; False when it takes no more."""
        with self._changed:
            if self.closed:
                return False
            self._waiting.append(call)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Takes no more calls; those that it has are made."""
        with self._changed:
            self.closed = True
            self._changed.notify()

    def begin(self, in_flight: int) -> None:
        """See `Feed`."""

    def take(self) -> Optional[Call]:
        """See `Feed`."""
        with self._changed:
            while not self._waiting and not self.closed:
                told = self._changed.wait(_IDLE_S)
                if not told and not self._waiting and not (self.run is not None and self.run.busy()):
                    self.closed = True
            return self._waiting.popleft() if self._waiting else None

    def stop(self, error: BaseException) -> None:
        """See `Feed`."""
        with self._changed:
            self.closed = True
            calls = list(self._waiting)
            self._waiting.clear()
            self._changed.notify()
        for call in calls:
            for future in call.futures:
                if isinstance(error, Cancelled):
                    future.cancel()
                else:
                    future.set_lost(error)

    def forget(self) -> None:
        """See `Feed`."""
        self._changed = threading.Condition()
        self.closed = True
        for call in self._waiting:
            for future in call.futures:
                future.forget()
        self._waiting.clear()


def total_of(iterables: Iterable[Any]) -> Optional[int]:
    """How many items a map over `iterables` has; None when one of them does not know."""
    lengths = []
    for iterable in iterables:
        try:
            lengths.append(len(iterable))
        except TypeError:
            return None
    return min(lengths, default=0)


def _until(job: Job[T], deadline: float) -> Iterator[T]:
    while True:
        try:
            yield job._reader.next(deadline)
        except StopIteration:
            return
        except BaseException as error:
            job.cancel(f"the map ended: {type(error).__name__}")
            raise
