"""Maps, futures and failures over a scripted server: what does not depend on sandboxes."""

import concurrent.futures
import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
import traceback

import peer
import pytest

import dayfly


def test_results_come_in_order(serve):
    serve()
    job = dayfly.map(lambda x, y: x + y, range(100), itertools.count())
    assert list(job) == [2 * x for x in range(100)]
    assert job.wait(10) and job.done() and job.counts == {"calls": 100, "running": 0, "done": 100, "failed": 0}
    assert job.cost == 50.0 and len(job.records()) == 100
    assert list(dayfly.starmap(pow, [(2, 3), (3, 2)])) == [8, 9]
    assert dayfly.map_reduce(lambda x: x + 1, [1, 2, 3], sum) == 9


def test_unordered_results_all_come(serve):
    serve()
    assert sorted(dayfly.map(str, range(50), ordered=False)) == sorted(map(str, range(50)))
    assert set(dayfly.map(str, (x for x in range(50)), ordered=False)) == set(map(str, range(50)))


@pytest.mark.parametrize("chunksize", [1, 3, 100, "auto"])
@pytest.mark.parametrize("items", [range(0), range(1), range(10)])
def test_chunks_give_what_single_calls_give(serve, chunksize, items):
    found = serve()
    assert list(dayfly.map(lambda x: x, items, chunksize=chunksize)) == list(items)
    assert list(dayfly.map(lambda x: x, iter(items), chunksize=chunksize)) == list(items)
    assert len(found.jobs) == 2


def test_a_bad_chunksize_is_refused(serve):
    serve()
    for bad in (0, -1, 1.5, "many"):
        with pytest.raises(ValueError):
            dayfly.map(str, [1], chunksize=bad)
    with pytest.raises(TypeError, match="at least one"):
        dayfly.map(str)
    with pytest.raises(TypeError, match="'memroy' is not an option"):
        dayfly.map(str, [1], memroy=3)
    with pytest.raises(TypeError, match="function is needed"):
        dayfly.map(3, [1])


def fails(x):
    if x % 3 == 1:
        raise KeyError(x)
    return x


def test_exceptions_come_back_with_the_remote_traceback(serve):
    serve()
    job = dayfly.map(fails, range(6))
    assert next(job) == 0
    with pytest.raises(KeyError) as caught:
        next(job)
    assert caught.value.args == (1,)
    assert isinstance(caught.value.__cause__, dayfly.RemoteTraceback)
    assert "raise KeyError(x)" in str(caught.value.__cause__) and "_remote.py" not in str(caught.value.__cause__)


@pytest.mark.parametrize("chunksize", [1, 2, "auto"])
def test_exceptions_can_be_results(serve, chunksize):
    serve()
    found = list(dayfly.map(fails, range(5), return_exceptions=True, chunksize=chunksize))
    assert found[0] == 0 and found[2:4] == [2, 3]
    assert [type(found[place]) for place in (1, 4)] == [KeyError, KeyError]


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def test_an_exception_that_cannot_be_pickled_is_told_as_text(serve):
    serve()

    def raises(x):
        raise Odd(1, 2)

    with pytest.raises(dayfly.RemoteError, match="Odd: 1") as caught:
        dayfly.submit(raises, 0).result(10)
    assert caught.value.type == "Odd" and "raise Odd(1, 2)" in caught.value.traceback


def test_results_that_cannot_leave_have_a_type(serve):
    serve()
    with pytest.raises(dayfly.ResultError, match="cannot be sent.*_thread.lock"):
        dayfly.submit(threading.Lock).result(10)
    with pytest.raises(dayfly.ResultError, match="returned an iterator .generator., .* return a list"):
        dayfly.submit(lambda: (x for x in [1])).result(10)


def test_a_result_that_cannot_be_unpickled_here_has_a_type(serve):
    def script(connection):
        connection.begin()
        connection.outcome(connection.next().header["n"], "success", b"V\x80\x05cno_such_module\nthing\n.")
        while connection.next():
            pass

    serve(script)
    with pytest.raises(dayfly.ResultError, match="no_such_module"):
        dayfly.submit(str, 1).result(10)


@pytest.mark.parametrize(
    "status, kind, base",
    [
        ("timeout", dayfly.Timeout, TimeoutError),
        ("out_of_memory", dayfly.OutOfMemory, MemoryError),
        ("exit", dayfly.InstanceDied, dayfly.CallDied),
        ("init_error", dayfly.InitError, dayfly.CallDied),
        ("refused", dayfly.Refused, dayfly.CallDied),
        ("cancelled", dayfly.Cancelled, concurrent.futures.CancelledError),
        ("lost", dayfly.ServerLost, ConnectionError),
        ("new_in_2030", dayfly.CallDied, dayfly.DayflyError),
    ],
)
def test_a_call_that_died_has_a_type(serve, status, kind, base):
    def script(connection):
        connection.begin()
        connection.outcome(connection.next().header["n"], status, peer.died("X", "because"), billed_ms=7)
        connection.next()

    serve(script)
    future = dayfly.submit(str, 1)
    with pytest.raises(kind, match="because") as caught:
        future.result(10)
    assert isinstance(caught.value, base)
    assert future.record["billed_ms"] == 7


def test_an_infinite_iterable_is_read_as_far_as_needed(serve):
    serve()
    drawn = itertools.count()
    job = dayfly.map(lambda x: x, drawn, max_in_flight=4)
    assert list(itertools.islice(job, 1000)) == list(range(1000))
    time.sleep(0.2)
    assert next(drawn) < 1000 + 4 * 4 + 2 * 4 + 2
    with pytest.raises(TypeError):
        len(job)
    job.cancel()
    with pytest.raises(dayfly.Cancelled):
        list(job)


def test_no_more_than_the_server_reads_ahead_is_sent(serve):
    gate = threading.Event()

    def script(connection):
        function = connection.begin()
        calls = [connection.next() for _ in range(7)]
        connection.socket.settimeout(0.3)
        with pytest.raises(OSError):
            connection.next()
        connection.socket.settimeout(None)
        gate.set()
        for frame in calls:
            connection.call(function, frame)
        for frame in iter(connection.next, None):
            if frame.kind == "C":
                connection.call(function, frame)

    serve(script)
    job = dayfly.map(lambda x: x, range(20), max_in_flight=4)
    assert list(job) == list(range(20)) and gate.is_set()


def test_an_iterable_that_raises_raises_here(serve):
    serve()

    def items():
        yield 1
        raise LookupError("no more")

    job = dayfly.map(lambda x: x, items())
    with pytest.raises(LookupError, match="no more"):
        list(job)


def test_an_argument_that_cannot_be_pickled_fails_its_call_alone(serve):
    serve()
    found = list(dayfly.map(lambda x: 1, [1, threading.Lock(), 3], return_exceptions=True))
    assert found[0] == found[2] == 1 and isinstance(found[1], dayfly.NotPicklable)


@pytest.mark.parametrize("ending", ["close", "half", "garbage", "silence after the head"])
def test_a_server_that_is_lost_ends_every_future(serve, ending):
    def script(connection):
        function = connection.begin()
        connection.call(function, connection.next())
        connection.next()
        if ending == "half":
            connection.socket.sendall(b"40\r\nR\0\0")
        if ending == "garbage":
            connection.socket.sendall(b"what is this?\r\n")

    serve(script)
    job = dayfly.map(lambda x: x, range(50))
    futures = job.futures
    assert futures[0].result(10) == 0
    for future in futures[1:]:
        with pytest.raises(dayfly.ServerLost):
            future.result(10)
    assert job.wait(10)


def test_a_server_that_ends_before_a_job_begins_is_asked_again(serve):
    tries = []

    def script(connection):
        tries.append(connection)
        if len(tries) > 1:
            connection.serve()

    serve(script)
    assert list(dayfly.map(lambda x: x + 1, range(3))) == [1, 2, 3] and len(tries) == 2
    tries.clear()
    with dayfly.Executor() as pool:
        assert pool.submit(str, 5).result(10) == "5" and len(tries) == 2


def test_a_server_that_always_ends_is_given_up(serve):
    found = serve(lambda connection: None)
    with pytest.raises(dayfly.ServerLost):
        dayfly.map(str, [1])
    assert len(found.jobs) == 3


def test_a_streaming_job_does_not_end_quietly_when_the_server_is_lost(serve):
    serve(lambda connection: connection.begin() and None)
    with pytest.raises(dayfly.ServerLost):
        list(dayfly.map(lambda x: x, itertools.count()))


def test_a_job_that_is_refused_raises_at_once(serve):
    def script(connection):
        connection.next()
        connection.answer(400)
        connection.socket.sendall(b"".join(peer.frames.chunk([b'{"__type":"ValidationException","message":"no python9"}'])))
        connection.finish()

    serve(script)
    with pytest.raises(dayfly.JobError, match="ValidationException: no python9") as caught:
        dayfly.map(str, [1])
    assert (caught.value.type, caught.value.status) == ("ValidationException", 400)


def test_a_job_that_the_server_gives_up_ends_every_future(serve):
    def script(connection):
        connection.begin()
        connection.send("E", {"type": "InvalidEnvironment", "message": "gone"})
        connection.finish()

    serve(script)
    with pytest.raises(dayfly.JobError, match="InvalidEnvironment: gone"):
        list(dayfly.map(str, [1, 2]))


def test_cancel_stops_a_call_that_runs(serve):
    stopped = threading.Event()

    def script(connection):
        connection.begin()
        connection.send("W", {"n": [connection.next().header["n"]]})
        for frame in iter(connection.next, None):
            if frame.kind == "X":
                assert frame.header == {"calls": [0]}
                connection.outcome(0, "cancelled", b"")
                stopped.set()

    serve(script)
    future = dayfly.submit(time.sleep, 100)
    while not future.running():
        time.sleep(0.01)
    assert future.cancel() and future.cancelled() and stopped.wait(5)
    with pytest.raises(dayfly.Cancelled):
        future.result()
    done, _ = dayfly.wait([future], 1)
    assert done == {future}


def hangs(connection):
    connection.begin()
    while connection.next():
        pass


def test_cancelling_a_job_ends_all_futures_at_once(serve):
    found = serve(hangs)
    job = dayfly.map(time.sleep, range(50), max_in_flight=2)
    futures = job.futures
    began = time.monotonic()
    job.cancel()
    done, not_done = concurrent.futures.wait(futures, 5)
    assert len(done) == 50 and not not_done and time.monotonic() - began < 1
    with pytest.raises(dayfly.Cancelled):
        futures[49].result()
    wait_for(lambda: found.jobs[0].received[-1].kind == "X")


def test_a_job_that_nobody_holds_is_cancelled(serve):
    found = serve()
    for value in dayfly.map(lambda x: x, itertools.count()):
        if value == 3:
            break
    gc.collect()
    wait_for(lambda: any(frame.kind == "X" for frame in found.jobs[0].received))


def test_interrupting_stops_the_job(serve):
    found = serve(hangs)
    job = dayfly.map(lambda x: x, range(3))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(job)
    wait_for(lambda: found.jobs[0].received[-1].kind == "X")


@pytest.mark.parametrize(
    "wait",
    [
        dayfly.wait,
        lambda futures: list(dayfly.as_completed(futures)),
        dayfly.get_result,
        lambda futures: futures[0].result(),
    ],
)
def test_interrupting_a_wait_cancels_what_is_waited_for(serve, wait):
    found = serve(hangs)
    futures = [dayfly.submit(time.sleep, 100 + number) for number in range(3)]
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        wait(futures)
    assert futures[0].cancelled()
    wait_for(lambda: any(frame.kind == "X" for job in found.jobs for frame in job.received))
    for future in futures:
        future.cancel()


def test_as_completed_gives_each_once_and_keeps_its_time(serve):
    serve()
    futures = [dayfly.submit(str, number) for number in range(5)]
    assert sorted(future.result() for future in dayfly.as_completed(futures)) == list("01234")
    never = concurrent.futures.Future()
    with pytest.raises(concurrent.futures.TimeoutError):
        list(dayfly.as_completed([*futures, never], timeout=0.1))


def test_logs_are_printed_with_their_call(serve, capsys):
    def script(connection):
        function = connection.begin()
        frame = connection.next()
        connection.send("L", {"n": 0}, "häuser\nzwei\n".encode())
        connection.call(function, frame)
        connection.next()

    serve(script)
    assert dayfly.map(str, [1], logs=True, name="printer").futures[0].result(10) == "1"
    assert capsys.readouterr().out == "[printer 0] häuser\n[printer 0] zwei\n"
    lines = []
    dayfly.map(str, [1], logs=lambda number, line: lines.append((number, line))).futures[0].result(10)
    assert lines == [(0, "häuser\nzwei\n")]


def test_a_failure_of_the_logs_function_is_told_once_and_ends_nothing(serve, caplog):
    def script(connection):
        function = connection.begin()
        for frame in iter(connection.next, None):
            if frame.kind == "C":
                connection.send("L", {"n": frame.header["n"]}, b"line\n")
                connection.call(function, frame)

    serve(script)
    seen = []

    def listens(number, line):
        seen.append(number)
        raise SystemExit("not today")

    assert list(dayfly.map(str, range(5), logs=listens)) == ["0", "1", "2", "3", "4"]
    assert seen == [0, 1, 2, 3, 4] and caplog.text.count("SystemExit: not today") == 1, caplog.text


def test_the_job_says_what_was_asked_for(serve):
    found = serve()

    @dayfly.function(memory=1024, timeout=2.5, variables={"A": "b"}, tags={"team": "x"}, storage=600)
    def measured(x):
        "Its text."
        return x

    assert measured(3) == 3 and measured.__doc__ == "Its text." and measured.__name__ == "measured"
    assert list(measured.map([1, 2], retries=2, max_in_flight=3)) == [1, 2]
    job = found.jobs[0].job
    assert (job["name"], job["memory_mb"], job["timeout_s"], job["retries"]) == ("measured", 1024, 3, 2)
    assert (job["max_in_flight"], job["environment_variables"], job["tags"]) == (3, {"A": "b"}, {"team": "x"})
    assert (job["ephemeral_storage_mb"], job["detach"], job["logs"]) == (600, False, False)
    assert job["environment"]["kind"] == "local" and all(os.path.isabs(path) for path in job["environment"]["path"])
    # In a call it is the plain function.
    assert list(dayfly.map(lambda x: measured(x), [5])) == [5]
    assert measured.submit(4).result(10) == 4


def test_a_fork_does_not_take_the_parents_job_with_it(serve):
    serve()
    job = dayfly.map(lambda x: x, itertools.count())
    assert next(job) == 0
    future = dayfly.submit(str, 7)
    pid = os.fork()
    if pid == 0:
        try:
            # The child has jobs of its own; the parent's goes on.
            ok = list(dayfly.map(lambda x: x, range(5))) == list(range(5)) and dayfly.submit(str, 8).result(10) == "8"
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert list(itertools.islice(job, 500)) == list(range(1, 501))
    assert future.result(10) == "7"


def waits_for_ever(connection):
    connection.begin()
    connection.send("W", {"n": [connection.next().header["n"]]})
    while connection.next():
        pass


def in_child(check):
    """Whether `check()` is true in the child of a fork, and soon."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(20)
            os._exit(0 if check() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def is_lost(ask):
    try:
        ask()
    except dayfly.ServerLost as error:
        return "forked" in str(error)
    return False


def test_what_the_parent_waits_for_ends_in_a_child(serve):
    serve(waits_for_ever)
    kept = dayfly.map(time.sleep, range(200))
    streaming = dayfly.map(time.sleep, itertools.count())
    unordered = [dayfly.map(time.sleep, items, ordered=False) for items in (range(200), itertools.count())]
    single = dayfly.submit(time.sleep, 100)
    called = []
    single.add_done_callback(called.append)
    with dayfly.Pool() as pool:
        waited = pool.apply_async(time.sleep, (100,))
        checks = [
            lambda: all(is_lost(future.result) for future in kept.futures),
            lambda: is_lost(lambda: next(streaming)),
            lambda: kept.wait() and kept.done() and streaming.wait() and is_lost(kept.results),
            lambda: all(is_lost(lambda job=job: next(job)) for job in unordered),
            lambda: is_lost(single.result) and not single.running() and called == [],
            lambda: is_lost(waited.get),
            lambda: kept.cancel() is None and single.cancel() is False and pool.terminate() is None,
        ]
        assert [number for number, check in enumerate(checks) if not in_child(check)] == []
        assert not kept.done() and not single.done() and not waited.ready(), "the parent's go on"
    for job in (kept, streaming, *unordered):
        job.cancel()
    assert single.cancel()


def test_a_child_closes_nothing_that_is_not_its_own(serve):
    serve()
    job = dayfly.map(str, range(3))
    assert list(job) == ["0", "1", "2"] and job.wait(10)
    # They have the numbers that the job's connection had.
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(32)]
    try:
        assert in_child(lambda: all(os.fstat(file) for file in files))
    finally:
        for file in files:
            os.close(file)


def doubled(x):
    return list(dayfly.map(lambda y: y * 2, range(x)))


def test_the_workers_of_multiprocessing_have_jobs_of_their_own(serve):
    serve()
    job = dayfly.map(lambda x: x, itertools.count())
    assert next(job) == 0
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(doubled, range(4)).get(20) == [[2 * y for y in range(x)] for x in range(4)]
    assert next(job) == 1


def test_a_fork_while_threads_are_busy_does_not_hang(serve):
    serve()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            list(dayfly.map(str, range(20)))
            dayfly.submit(str, 1).result(10)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        own = lambda: dayfly.submit(str, 8).result(10) == "8" and list(dayfly.map(str, range(3))) == ["0", "1", "2"]  # noqa: E731
        assert [in_child(own) for _ in range(15)] == [True] * 15
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_many_threads_use_it_at_once(serve):
    serve()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        sums = list(threads.map(lambda n: sum(dayfly.map(lambda x: x, range(n))), range(16)))
        assert sums == [sum(range(n)) for n in range(16)]
        assert list(threads.map(lambda n: dayfly.submit(str, n).result(10), range(50))) == [str(n) for n in range(50)]


def wait_for(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
