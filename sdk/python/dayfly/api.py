"""The verbs: one function each, over `Executor` and `Job`."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import threading
from typing import Any, Callable, Generic, Iterable, Iterator, Optional, TypeVar, Union, overload

from . import _pieces, mapreduce
from . import data as data_
from .answers import Future
from .attach import run_detached
from .environment import Environment
from .executor import Executor, total_of
from .job import Job, run_map
from .options import Options, name_of

T = TypeVar("T")
R = TypeVar("R")
Futures = Union["Job[T]", "Future[T]", Iterable["Future[T]"]]

ALL_COMPLETED = concurrent.futures.ALL_COMPLETED
FIRST_COMPLETED = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION


def submit(f: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
    """Calls `f(*args, **kwargs)` in an instance of its own; returns its future at once.

    For memory, timeout and the like, use `function` or `Executor`.
    """
    function, options = _unwrap(f)
    return _executor(options).submit(function, *args, **kwargs)


def map(
    f: Callable[..., T],
    /,
    *iterables: Iterable[Any],
    chunksize: Union[int, str] = 1,
    retries: Optional[int] = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    **options: Any,
) -> Job[T]:
    """Calls `f` with each item of the iterable (or with one of each), an instance per call, as one job.

    Returns the job, an iterator over the results: in order, or as they come when not `ordered`. `chunksize` items share an
    instance, one after the other; "auto" finds a number. `options` are those of `Options`.

    Iterables are read as calls are made: an infinite one is fine. What has a length (up to 100,000) runs to its end by
    itself; of anything else a bounded number of results waits for the reader. With `detach=True`, returns a `Detached` when
    the server has all calls: it has the methods for results and records, and needs this program no more.
    """
    if not iterables:
        raise TypeError("map needs at least one iterable")
    function, own = _unwrap(f)
    settings = own.but(retries=retries, **options)
    total = total_of(iterables)
    sent, items, has_pieces = data_.packed(function, iterables)
    if has_pieces:
        settings = settings.but(name=settings.name or name_of(function))
    setup = _pieces.prepare if has_pieces else None
    if settings.detach:
        return run_detached(sent, zip(*items), total, settings, chunksize, return_exceptions, setup)  # type: ignore
    return run_map(sent, zip(*items), total, settings, chunksize, ordered, return_exceptions, setup)


def starmap(
    f: Callable[..., T],
    items: Iterable[Iterable[Any]],
    /,
    *,
    chunksize: Union[int, str] = 1,
    retries: Optional[int] = None,
    ordered: bool = True,
    return_exceptions: bool = False,
    total: Optional[int] = None,
    **options: Any,
) -> Job[T]:
    """Like `map`, with the arguments of each call as a tuple."""
    function, own = _unwrap(f)
    settings = own.but(retries=retries, **options)
    if total is None:
        total = total_of([items])
    tuples = (tuple(item) for item in items)
    if settings.detach:
        return run_detached(function, tuples, total, settings, chunksize, return_exceptions)  # type: ignore
    return run_map(function, tuples, total, settings, chunksize, ordered, return_exceptions)


@overload
def map_reduce(
    f: Callable[..., T],
    data: Iterable[Any],
    g: Callable[[list[T]], R],
    /,
    *,
    chunksize: Union[int, str] = 1,
    retries: Optional[int] = None,
    **options: Any,
) -> R: ...


@overload
def map_reduce(
    f: Callable[..., Any],
    data: Iterable[Any],
    g: Callable[[list[Any]], R],
    /,
    *,
    reducers: int,
    key: Optional[Callable[[Any], Any]] = None,
    combine: Optional[Callable[[list[Any]], Any]] = None,
    chunksize: Union[int, str] = 1,
    retries: Optional[int] = None,
    **options: Any,
) -> dict[Any, R]: ...


def map_reduce(
    f: Callable[..., Any],
    data: Iterable[Any],
    g: Callable[[list[Any]], Any],
    /,
    *,
    reducers: Optional[int] = None,
    key: Optional[Callable[[Any], Any]] = None,
    combine: Optional[Callable[[list[Any]], Any]] = None,
    chunksize: Union[int, str] = 1,
    retries: Optional[int] = None,
    **options: Any,
) -> Any:
    """`g` over the list of the results of `f` over `data`. Each call of `f`, and that of `g`, has an instance of its own.

    The order of the list is that of `data`. Raises what a call raises.

    With `reducers`, by key: `f` gives pairs of key and value (a dictionary, or any iterable of them), and the result is a
    dictionary of each key with `g` over the list of its values, made by so many calls. With `key`, a function of a record,
    `f` gives records. `combine(values)` gives one value that stands for several, where `f` runs and any number of times: for
    sums it is `sum`. Keys are text, bytes, numbers, dates, enums, UUIDs, None, and tuples of these.

    >>> dayfly.map_reduce(lambda line: ((word, 1) for word in line.split()), ["a b", "a"], sum, reducers=2, combine=sum)
    {'a': 2, 'b': 1}
    """
    function, own = _unwrap(f)
    reducer, reduce_own = _unwrap(g)
    own = own.but(retries=retries, **options)
    reduce_own = reduce_own.but(retries=retries, **options)
    if reducers is not None:
        plain = None if combine is None else _unwrap(combine)[0]
        return mapreduce.by_key(function, data, reducer, own, reduce_own, reducers, key, plain, chunksize)
    if key is not None or combine is not None:
        raise TypeError("key and combine need reducers: how many calls share the keys")
    results = list(map(f, data, chunksize=chunksize, retries=retries, **options))
    job: Job[Any] = run_map(reducer, iter([(results,)]), 1, reduce_own)
    return next(job)


def wait(
    futures: Futures[T], timeout: Optional[float] = None, return_when: str = ALL_COMPLETED
) -> "tuple[set[Future[T]], set[Future[T]]]":
    """Waits for futures, or those of a job; returns those that are done and those that are not.

    `timeout` is seconds; `return_when` as in `concurrent.futures.wait`. Ctrl-C cancels them.
    """
    many = _futures(futures)
    with _cancelled_by_interrupt(many):
        done, not_done = concurrent.futures.wait(many, timeout, return_when)
    return done, not_done  # type: ignore[return-value]


def as_completed(futures: Futures[T], timeout: Optional[float] = None) -> Iterator[Future[T]]:
    """Futures, or those of a job, as they are done. `timeout` is seconds for all of them. Ctrl-C cancels them."""
    many = _futures(futures)

    def waiting() -> Iterator[Future[T]]:
        completed = concurrent.futures.as_completed(many, timeout)
        while True:
            with _cancelled_by_interrupt(many):
                try:
                    future = next(completed)
                except StopIteration:
                    return
            yield future  # type: ignore[misc]

    return waiting()


@overload
def get_result(futures: "Future[T]", timeout: Optional[float] = None) -> T: ...


@overload
def get_result(futures: "Union[Job[T], Iterable[Future[T]]]", timeout: Optional[float] = None) -> list[T]: ...


def get_result(futures: Any, timeout: Optional[float] = None) -> Any:
    """The result of a future, or the list of those of a job or of many futures. Raises what a call raised."""
    if isinstance(futures, concurrent.futures.Future):
        return futures.result(timeout)
    if isinstance(futures, Job):
        return futures.results(timeout)
    many = list(futures)
    with _cancelled_by_interrupt(many):
        concurrent.futures.wait(many, timeout)
    return [future.result(0 if timeout is not None else None) for future in many]


class Function(Generic[T]):
    """A function with the settings of its calls. Called as usual it runs here; the methods run it on Dayfly."""

    def __init__(self, function: Callable[..., T], options: Options) -> None:
        self.function = function
        self.options = options
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> T:
        return self.function(*args, **kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> Future[T]:
        """See `dayfly.submit`."""
        return submit(self, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], **options: Any) -> Job[T]:
        """See `dayfly.map`."""
        return map(self, *iterables, **options)

    def starmap(self, items: Iterable[Iterable[Any]], **options: Any) -> Job[T]:
        """See `dayfly.starmap`."""
        return starmap(self, items, **options)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else Function(self.function.__get__(instance, owner), self.options)

    def __reduce__(self) -> Any:
        # In a call it is the plain function: this package need not be there.
        return (functools.partial, (self.function,))


@overload
def function(f: Callable[..., T], /) -> Function[T]: ...


@overload
def function(
    *,
    memory: Optional[int] = None,
    timeout: Optional[float] = None,
    env: Optional[Environment] = None,
    **options: Any,
) -> Callable[[Callable[..., T]], Function[T]]: ...


def function(f: Any = None, /, **options: Any) -> Any:
    """Decorator: fixes how the calls of a function run, with the words of `Options`.

    >>> @dayfly.function(memory=1024, timeout=60)
    ... def simulate(seed): ...
    >>> results = list(simulate.map(range(100)))
    """
    settings = Options().but(**options)
    if f is not None:
        return Function(f, settings)
    return lambda plain: Function(plain, settings)


def _unwrap(f: Callable[..., T]) -> tuple[Callable[..., T], Options]:
    if isinstance(f, Function):
        return f.function, f.options
    if not callable(f):
        raise TypeError(f"a function is needed, not {type(f).__name__}")
    return f, Options()


@contextlib.contextmanager
def _cancelled_by_interrupt(futures: Iterable[Future[Any]]) -> Iterator[None]:
    """Who interrupts the wait for calls wants no more of them."""
    try:
        yield
    except KeyboardInterrupt:
        for future in futures:
            future.cancel()
        raise


def _futures(futures: Any) -> list[Future[Any]]:
    if isinstance(futures, Job):
        return futures.futures
    if isinstance(futures, concurrent.futures.Future):
        return [futures]  # type: ignore[list-item]
    return list(futures)


_lock = threading.Lock()
_executors: dict[Any, Executor] = {}
# Whoever changes these means another server.
_SERVER_VARIABLES = ("DAYFLY_ENDPOINT", "DAYFLY_DATA", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID")


def _executor(options: Options) -> Executor:
    """The executor of single calls with these settings."""
    key = (options.key(), *(os.environ.get(name) for name in _SERVER_VARIABLES))
    with _lock:
        found = _executors.get(key)
        if found is None:
            found = _executors[key] = Executor(options=options)
        return found


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _executors.clear()


os.register_at_fork(after_in_child=_after_fork)
