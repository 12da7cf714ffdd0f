"""`Executor`, `Pool` and the joblib backend over a scripted server."""

import asyncio
import concurrent.futures
import operator
import subprocess
import sys
import threading
import time

import pytest

import dayfly
from dayfly import executor


def test_an_executor_is_a_standard_one(serve):
    found = serve()
    with dayfly.Executor(memory=256) as pool:
        assert isinstance(pool, concurrent.futures.Executor)
        futures = [pool.submit(pow, 2, exp=n) for n in range(5)]
        done, not_done = concurrent.futures.wait(futures, 10)
        assert not not_done and {future.result() for future in done} == {1, 2, 4, 8, 16}
        assert len(list(concurrent.futures.as_completed(futures))) == 5
        assert list(pool.map(operator.add, [1, 2], [3, 4])) == [4, 6]
        assert list(pool.map(str, range(7), chunksize=3, timeout=10)) == [str(n) for n in range(7)]
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(str)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.map(str, [1])
    # One job took all that was submitted one by one.
    assert len(found.jobs) == 3 and {job.job["memory_mb"] for job in found.jobs} == {256}


def test_futures_work_with_asyncio(serve):
    serve()

    async def main():
        with dayfly.Executor() as pool:
            wrapped = asyncio.wrap_future(pool.submit(pow, 2, 3))
            return await wrapped, await asyncio.get_running_loop().run_in_executor(pool, str, 5)

    assert asyncio.run(main()) == (8, "5")


def test_a_call_is_pickled_when_it_is_submitted(serve):
    serve()
    with dayfly.Executor() as pool:
        box = [1]
        first = pool.submit(lambda: list(box))
        box.append(2)
        assert (first.result(10), pool.submit(lambda: list(box)).result(10)) == ([1], [1, 2])
        with pytest.raises(dayfly.NotPicklable):
            pool.submit(len, threading.Lock())


def test_a_heavy_function_has_a_job_that_loads_it_once(serve):
    found = serve()
    heavy = bytes(200_000)

    def size(x):
        return len(heavy) + x

    with dayfly.Executor() as pool:
        assert [future.result(10) for future in [pool.submit(size, n) for n in range(4)]] == list(range(200_000, 200_004))
    assert len(found.jobs) == 1
    assert all(len(frame.body) < 1000 for frame in found.jobs[0].received if frame.kind == "C")


def test_large_arguments_that_calls_have_in_common_are_sent_once(serve):
    numpy = pytest.importorskip("numpy")
    found = serve()
    array, other = numpy.zeros(200_000), numpy.ones(200_000)
    with dayfly.Executor() as pool:
        futures = [pool.submit(lambda a, n: float(a[n]), array, n) for n in range(5)]
        array[4] = 7.0
        # Not what it was: it is sent again.
        futures += [pool.submit(lambda a, n: float(a[n]), array, 4), pool.submit(lambda a: float(a[0]), other)]
        assert [future.result(10) for future in futures] == [0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 1.0]
    plain, sharing = sorted(found.jobs, key=lambda job: len(job.received[0].body))
    sizes = [[len(frame.body) for frame in job.received if frame.kind == "C"] for job in (plain, sharing)]
    assert len(sizes[0]) == 3 and min(sizes[0]) > 1_600_000
    assert len(sizes[1]) == 4 and max(sizes[1]) < 5_000


def test_calls_that_need_other_modules_get_another_job(serve):
    found = serve()
    with dayfly.Executor() as pool:
        call = operator.methodcaller("__call__")
        for value in (str, pytest.importorskip("packaging.version").parse, str):
            pool.submit(call, lambda value=value: value("1")).result(10)
    plain, other = (set(job.job["imports"]) for job in found.jobs)
    assert "cloudpickle.cloudpickle" in plain and other - plain == {"packaging.version"}


def test_a_job_without_calls_is_closed_and_another_opened(serve, monkeypatch):
    monkeypatch.setattr(executor, "_IDLE_S", 0.1)
    found = serve()
    with dayfly.Executor() as pool:
        assert pool.submit(str, 1).result(10) == "1"
        time.sleep(0.5)
        assert pool.submit(str, 2).result(10) == "2"
    assert len(found.jobs) == 2


def test_shutdown_can_cancel(serve):
    def script(connection):
        connection.begin()
        while connection.next():
            pass

    serve(script)
    pool = dayfly.Executor(max_in_flight=1)
    futures = [pool.submit(str, n) for n in range(10)]
    # This server never says its last.
    pool.shutdown(wait=False, cancel_futures=True)
    assert len(concurrent.futures.wait(futures, 5).done) == 10 and all(future.cancelled() for future in futures)


def test_an_initializer_runs_where_the_calls_are(serve):
    serve()
    with dayfly.Executor(initializer=_remember, initargs=("yes",)) as pool:
        assert pool.submit(_remembered).result(10) == "yes"


def _remember(word):
    import builtins

    builtins.dayfly_word = word


def _remembered():
    import builtins

    return vars(builtins).pop("dayfly_word")


def test_the_time_of_a_map_can_be_bounded(serve):
    def script(connection):
        function = connection.begin()
        connection.call(function, connection.next())
        while connection.next():
            pass

    serve(script)
    pool = dayfly.Executor()
    results = pool.map(str, range(3), timeout=0.3)
    assert next(results) == "0"
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    pool.shutdown(wait=False, cancel_futures=True)


def test_get_result_wait_and_as_completed(serve):
    serve()
    assert dayfly.get_result(dayfly.submit(str, 1)) == "1"
    assert dayfly.get_result([dayfly.submit(str, n) for n in range(3)]) == ["0", "1", "2"]
    assert dayfly.get_result(dayfly.map(str, range(3)), 10) == ["0", "1", "2"]
    done, not_done = dayfly.wait(dayfly.map(str, range(3)), timeout=10, return_when=dayfly.ALL_COMPLETED)
    assert len(done) == 3 and not not_done
    assert {future.result() for future in dayfly.as_completed(dayfly.map(str, range(3)))} == {"0", "1", "2"}


def test_a_pool_has_the_methods_of_multiprocessing(serve):
    serve()
    with dayfly.Pool(4) as pool:
        assert pool.map(str, range(5)) == [str(n) for n in range(5)]
        assert pool.starmap(pow, [(2, 3), (3, 2)], chunksize=1) == [8, 9]
        assert list(pool.imap(str, (n for n in range(4)), chunksize=2)) == ["0", "1", "2", "3"]
        assert sorted(pool.imap_unordered(str, range(4))) == ["0", "1", "2", "3"]
        assert pool.apply(pow, (2,), {"exp": 5}) == 32
        told = []
        result = pool.apply_async(pow, (2, 6), callback=told.append)
        assert result.get(10) == 64 and result.ready() and result.successful()
        assert pool.map_async(str, [1, 2]).get(10) == ["1", "2"]
        assert pool.starmap_async(pow, [(1, 2)]).get(10) == [1]
        broken = pool.apply_async(int, ("x",))
        with pytest.raises(ValueError):
            broken.get(10)
        assert not broken.successful()
        with pytest.raises(ValueError, match="still open"):
            pool.join()
        pool.close()
        pool.join()
    assert told == [64]
    with pytest.raises(ValueError, match="closed"):
        pool.map(str, [1])


def test_joblib_runs_on_it(serve):
    joblib = pytest.importorskip("joblib")
    found = serve()
    with joblib.parallel_config("dayfly", memory=300):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(2, n) for n in range(20)) == [2**n for n in range(20)]
        generator = joblib.Parallel(n_jobs=2, return_as="generator")(joblib.delayed(str)(n) for n in range(5))
        assert list(generator) == list("01234")
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel(n_jobs=2)(joblib.delayed(operator.truediv)(1, n) for n in range(3))
    assert found.jobs[0].job["name"] == "joblib" and found.jobs[0].job["memory_mb"] == 300


def test_what_is_nested_in_joblib_runs_in_the_call(serve):
    joblib = pytest.importorskip("joblib")
    serve()

    def inner(n):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(n, k) for k in range(3)))

    with joblib.parallel_config("dayfly"):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(inner)(n) for n in range(4)) == [1, 3, 7, 13]


@pytest.mark.parametrize("order", ["import dayfly, joblib", "import joblib, dayfly"])
def test_the_backend_is_known_whoever_is_imported_first(order):
    pytest.importorskip("joblib")
    program = f"{order}\nfrom joblib.parallel import BACKENDS\nassert 'dayfly' in BACKENDS"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)})


def test_joblib_is_not_imported_for_nothing():
    program = "import dayfly, sys\nassert not {'joblib', 'numpy', 'pandas', 'matplotlib', 'tqdm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)})
