"""`Pool`: the shape of `multiprocessing.Pool`, over jobs."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, Generic, Iterable, Iterator, Optional, TypeVar, Union

from . import forks
from .executor import Executor, total_of
from .job import Job, run_map
from .options import Options

T = TypeVar("T")


class AsyncResult(Generic[T]):
    """What `apply_async` and `map_async` return."""

    def __init__(
        self,
        get: Callable[[], T],
        callback: Optional[Callable[[T], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> None:
        self._done = threading.Event()
        self._value: Any = None
        self._error: Optional[BaseException] = None

        def work() -> None:
            try:
                self._value = get()
            except BaseException as error:
                self._error = error
            self._done.set()
            if self._error is None and callback is not None:
                callback(self._value)
            if self._error is not None and error_callback is not None:
                error_callback(self._error)

        threading.Thread(target=work, name="dayfly-pool", daemon=True).start()
        forks.held(self)

    def get(self, timeout: Optional[float] = None) -> T:
        """The result. Raises what the call raised, or the standard `TimeoutError`."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"no result after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits for the result."""
        self._done.wait(timeout)

    def forget(self) -> None:
        """In the child of a fork: the thread that waits is the parent's."""
        if not self._done.is_set():
            self._error = forks.error()
        self._done = threading.Event()
        self._done.set()

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether it has ended without an exception. Raises `ValueError` when it has not ended."""
        if not self.ready():
            raise ValueError("the call has not ended")
        return self._error is None


class Pool:
    """Calls in instances of their own, with the methods of `multiprocessing.Pool`.

    `processes` is how many calls run at the same time. `initializer` runs once for each job, and every call finds what it
    did. `options` are those of `Options`.
    """

    def __init__(
        self,
        processes: Optional[int] = None,
        initializer: Optional[Callable[..., Any]] = None,
        initargs: tuple[Any, ...] = (),
        maxtasksperchild: Optional[int] = None,
        **options: Any,
    ) -> None:
        # Every call has an instance of its own, so `maxtasksperchild` is always 1.
        del maxtasksperchild
        self._options = Options().but(max_in_flight=processes, **options)
        self._setup = functools.partial(initializer, *initargs) if initializer is not None else None
        self._executor = Executor(options=self._options, initializer=initializer, initargs=initargs)
        self._jobs: list[Job[Any]] = []
        self._open = True

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: Optional[dict[str, Any]] = None) -> T:
        """One call; waits for its result."""
        return self._executor.submit(func, *args, **(kwds or {})).result()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Optional[dict[str, Any]] = None,
        callback: Optional[Callable[[T], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult[T]:
        """One call; its result is to come."""
        return AsyncResult(self._executor.submit(func, *args, **(kwds or {})).result, callback, error_callback)

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: Optional[int] = None) -> list[T]:
        """`func` over the items; waits for all results, in order."""
        return list(self._map(func, _ones(iterable), chunksize))

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[list[T]], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult[list[T]]:
        """`map`, whose results are to come."""
        return AsyncResult(self._map(func, _ones(iterable), chunksize).results, callback, error_callback)

    def starmap(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: Optional[int] = None) -> list[T]:
        """`func` over tuples of arguments; waits for all results, in order."""
        return list(self._map(func, _tuples(iterable), chunksize))

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[list[T]], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult[list[T]]:
        """`starmap`, whose results are to come."""
        return AsyncResult(self._map(func, _tuples(iterable), chunksize).results, callback, error_callback)

    def imap(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[T]:
        """Results in order, as they come. The iterable may be infinite."""
        return self._map(func, ((item,) for item in iterable), chunksize)

    def imap_unordered(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1) -> Iterator[T]:
        """Results as they are done. The iterable may be infinite."""
        return self._map(func, ((item,) for item in iterable), chunksize, ordered=False)

    def close(self) -> None:
        """Takes no more calls."""
        self._open = False
        self._executor.shutdown(wait=False)

    def terminate(self) -> None:
        """Stops all calls."""
        self._open = False
        self._executor.shutdown(wait=False, cancel_futures=True)
        for job in self._jobs:
            job.cancel("the pool was terminated")

    def join(self) -> None:
        """Waits for the end of all calls, after `close` or `terminate`."""
        if self._open:
            raise ValueError("the pool is still open: close or terminate it first")
        self._executor.shutdown()
        for job in self._jobs:
            job.wait()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        self.terminate()

    def _map(
        self, func: Callable[..., T], items: Iterable[Any], chunksize: Union[int, str, None], ordered: bool = True
    ) -> Job[T]:
        if not self._open:
            raise ValueError("the pool is closed")
        total = total_of([items])
        job: Job[T] = run_map(func, items, total, self._options, chunksize or "auto", ordered, setup=self._setup)
        self._jobs = [one for one in self._jobs if not one.done()] + [job]
        return job


def _ones(iterable: Iterable[Any]) -> list[tuple[Any]]:
    return [(item,) for item in iterable]


def _tuples(iterable: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [tuple(item) for item in iterable]
