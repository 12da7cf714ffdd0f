"""The joblib backend: `with joblib.parallel_config("dayfly"):`, and every `n_jobs` in it runs on Dayfly.

Inside a call, joblib runs what is nested one after the other: the call has its share of the processors already.
"""

from __future__ import annotations

import concurrent.futures
import operator
import os
from typing import Any, Callable, Optional

from joblib.parallel import (  # type: ignore[import-untyped, unused-ignore]
    AutoBatchingMixin,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from .executor import Executor
from .options import Options

# A batch of joblib's calls itself.
_call = operator.methodcaller("__call__")


class DayflyBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """joblib's calls, as calls of one `Executor` per `Parallel`. Takes the words of `Options`."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = False
    default_n_jobs = -1

    def __init__(self, nesting_level: Optional[int] = None, inner_max_num_threads: Any = None, **options: Any) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=None)
        if inner_max_num_threads is not None:
            raise ValueError("threads in a call follow its share of the processors: set memory= instead")
        self._options = Options().but(**options)
        self._executor: Optional[Executor] = None
        self._callbacks: Optional[concurrent.futures.ThreadPoolExecutor] = None

    def effective_n_jobs(self, n_jobs: Optional[int]) -> int:
        """How many calls run at a time: -1 is one for each processor here, or the backend's `max_in_flight`."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        most = self._options.max_in_flight or os.cpu_count() or 1
        return max(1, most + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Called by `Parallel` before its first call."""
        self.parallel = parallel
        count = self.effective_n_jobs(n_jobs)
        self._executor = Executor(options=self._options.but(max_in_flight=count))
        self._callbacks = concurrent.futures.ThreadPoolExecutor(1, "dayfly-joblib")
        return count

    def submit(self, func: Callable[[], Any], callback: Optional[Callable[[Any], Any]] = None) -> Any:
        """One batch."""
        assert self._executor is not None
        future = self._executor._submit(_call, (func,), {}, "joblib")
        if callback is not None:
            # joblib unpickles results and sends further batches in it: not in the thread that receives.
            future.add_done_callback(lambda done: self._tell(callback, done))
        return future

    def _tell(self, callback: Callable[[Any], Any], done: Any) -> None:
        try:
            assert self._callbacks is not None
            self._callbacks.submit(callback, done)
        except (RuntimeError, AssertionError):
            callback(done)  # The `Parallel` is over; it counts its batches all the same.

    def retrieve_result_callback(self, out: Any) -> Any:
        """The batch's results, or what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A batch raised, or Ctrl-C: stops the others."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        if ensure_ready and self.parallel is not None:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def terminate(self) -> None:
        """The `Parallel` is over."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
        if self._callbacks is not None:
            self._callbacks.shutdown(wait=False)
        self.reset_batch_stats()

    def get_nested_backend(self) -> Any:
        """For `n_jobs` inside a call."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


def register() -> None:
    """Makes the backend known to joblib."""
    register_parallel_backend("dayfly", DayflyBackend)
