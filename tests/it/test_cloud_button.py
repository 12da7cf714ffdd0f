"""The cloud button: the Python package against the real server, with real sandboxes."""

import concurrent.futures
import itertools
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import calls
import harness
import pytest
from button import PACKAGE, button, dayfly, output_of, own, script, stop_server_of

assert button and own, "fixtures"


# What a call is ------------------------------------------------------------------------------------------------------

counter = 0


def count(x):
    global counter
    counter += 1
    return counter, os.getpid(), x


def test_every_call_has_an_instance_of_its_own(button):
    job = dayfly.map(count, range(20))
    assert list(job) == [(1, 1, x) for x in range(20)]
    assert counter == 0
    assert job.wait(10)
    records = job.records()
    assert len({record["instance_id"] for record in records}) == 20
    assert job.cost == pytest.approx(sum(record["cost_usd"] for record in records)) and job.cost > 0
    assert all(record["started_at_ms"] >= record["queued_at_ms"] for record in records)


def test_a_call_sees_the_callers_environment(button):
    def look():
        import numpy
        import pytest as there

        return sys.executable, numpy.__version__, there.__file__, sys.version_info[:3]

    import numpy

    expected = (sys.executable, numpy.__version__, pytest.__file__, sys.version_info[:3])
    assert dayfly.submit(look).result(60) == expected


def test_heavy_packages_are_imported_once_for_all_calls(button):
    import pandas
    import pyarrow
    import sklearn.svm

    def look(_):
        names = [module.__name__ for module in (pandas, pyarrow, sklearn.svm)]
        return names, len(os.listdir("/proc/self/task"))

    # A library that starts threads when it is imported would make every call a boot.
    job = dayfly.map(look, range(6))
    assert list(job) == [(["pandas", "pyarrow", "sklearn.svm"], 1)] * 6
    assert job.wait(10)
    inits = [record["init_us"] for record in job.records()]
    assert len([init for init in inits if init]) <= 1, inits


def test_who_starts_threads_in_an_import_is_told(button, tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    (site / "threads_at_import.py").write_text(text)
    program = """
        import dayfly, sys, warnings
        import threads_at_import
        def f(x):
            return threads_at_import.__name__, x
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert list(dayfly.map(f, range(3))) == [("threads_at_import", x) for x in range(3)]
            assert list(dayfly.map(lambda x: x, range(3))) == [0, 1, 2]
        print(*[f"{one.category.__name__}: {one.message}" for one in caught], sep="\\n")
    """
    said = output_of(script(program, environment={"PYTHONPATH": f"{PACKAGE}:{site}"})).splitlines()
    assert len(said) == 1 and said[0].startswith("SlowStart: each call of f starts"), said
    assert "importing threads_at_import has started 1 thread(s)" in said[0], said


def test_what_a_function_imports_in_its_body_is_imported_ahead(button, tmp_path):
    site = tmp_path / "site-packages"
    (site / "heavy").mkdir(parents=True)
    for folder in (tmp_path, site, site / "heavy"):
        folder.chmod(0o755)
    (site / "heavy" / "__init__.py").write_text("")
    (site / "heavy" / "inner.py").write_text("")
    # One that cannot be cloned is left to the calls.
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"
    (site / "threads_at_import.py").write_text(text)
    (site / "after_settings.py").write_text("import os\n\nfound = os.environ.get('SETTING')\n")
    program = """
        import dayfly, sys, warnings
        def f(x):
            import sys
            before = sorted({"heavy", "heavy.inner", "threads_at_import"} & set(sys.modules))
            import heavy
            from heavy import inner
            import threads_at_import
            return before
        def g(x):
            import os
            os.environ["SETTING"] = x
            import after_settings
            return after_settings.found
        warnings.simplefilter("error")
        job = dayfly.map(f, range(4))
        assert list(job) == [["heavy", "heavy.inner"]] * 4
        job.wait()
        inits = [record["init_us"] for record in job.records()]
        assert len([init for init in inits if init]) <= 1, inits
        assert list(dayfly.map(g, ["a", "b"])) == ["a", "b"]
        assert not {"heavy", "threads_at_import"} & set(sys.modules)
    """
    output_of(script(program, environment={"PYTHONPATH": f"{PACKAGE}:{site}"}))


@pytest.mark.parametrize("memory, threads", [(512, 1), (1769, 1), (3538, 2)])
def test_numerical_libraries_have_a_thread_for_each_processor_of_a_call(button, memory, threads):
    def look():
        import numpy
        import threadpoolctl

        numpy.ones((300, 300)) @ numpy.ones((300, 300))
        return {library["num_threads"] for library in threadpoolctl.threadpool_info()}, os.environ["OMP_NUM_THREADS"]

    if (os.cpu_count() or 1) < threads:
        pytest.skip("this machine has fewer processors")
    assert dayfly.function(memory=memory)(look).submit().result(60 * harness.SLOW) == ({threads}, str(threads))


def test_local_modules_go_along(button, tmp_path, monkeypatch):
    (tmp_path / "helpers_of_mine.py").write_text("FACTOR = 3\ndef triple(x):\n    return FACTOR * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import helpers_of_mine

    # No other user may look into the folder: what is in the module goes by value.
    assert list(dayfly.map(lambda x: helpers_of_mine.triple(x), range(3))) == [0, 3, 6]
    assert list(dayfly.map(helpers_of_mine.triple, range(3))) == [0, 3, 6]


class Point:
    def __init__(self, x):
        self.x = x


def test_classes_of_the_script_come_back_as_themselves(button):
    found = list(dayfly.map(lambda p: Point(p.x + 1), [Point(1), Point(2)]))
    assert [type(point) for point in found] == [Point, Point] and [point.x for point in found] == [2, 3]


def test_duplicates_none_and_nothing(button):
    assert list(dayfly.map(lambda x: x, [])) == []
    assert list(dayfly.map(lambda x: x, iter([]))) == []
    assert list(dayfly.map(lambda x: x, [None, 1, 1, None, 1])) == [None, 1, 1, None, 1]
    assert list(dayfly.map(lambda x, y: x * y, [1, 2, 3], [4, 5])) == [4, 10]
    assert list(dayfly.starmap(pow, [(2, 5), (3, 2)])) == [32, 9]
    assert dayfly.map_reduce(lambda x: x * x, range(10), sum) == 285


@pytest.mark.parametrize("chunksize", [7, "auto"])
def test_chunks_share_an_instance(button, chunksize):
    job = dayfly.map(lambda x: x * x, range(100), chunksize=chunksize)
    assert list(job) == [x * x for x in range(100)]
    assert job.wait(10) and sum(record["calls"] for record in job.records()) == 100 and len(job.records()) < 100


def test_an_item_that_dies_takes_no_other_with_it(button):
    def die(x):
        return os._exit(3) if x == 57 else x

    job = dayfly.map(die, range(300), chunksize="auto", return_exceptions=True)
    results = list(job)
    assert isinstance(results.pop(57), dayfly.InstanceDied) and results == [x for x in range(300) if x != 57]
    assert job.wait(10) and job.counts == {"calls": 300, "running": 0, "done": 299, "failed": 1}


# What goes wrong -----------------------------------------------------------------------------------------------------


class Own(Exception):
    def __init__(self, word, number):
        super().__init__(word, number)


def fail(kind):
    if kind == "own":
        raise Own("spam", 3)
    raise ZeroDivisionError(f"with {kind}")


def test_exceptions_come_back_as_themselves(button):
    with pytest.raises(Own) as caught:
        dayfly.submit(fail, "own").result(60)
    assert caught.value.args == ("spam", 3)
    text = str(caught.value.__cause__)
    assert "in fail" in text and "Own" in text and "_remote" not in text
    found = list(dayfly.map(fail, ["a", "b"], return_exceptions=True))
    assert [str(error) for error in found] == ["with a", "with b"]


def eat():
    held = []
    while True:
        held.append(b"x" * (8 << 20))


@pytest.mark.parametrize(
    "end, kind",
    [
        (lambda: time.sleep(60), dayfly.Timeout),
        (eat, dayfly.OutOfMemory),
        (lambda: os._exit(3), dayfly.InstanceDied),
        (lambda: sys.exit(4), dayfly.InstanceDied),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), dayfly.InstanceDied),
        (lambda: threading.Lock(), dayfly.ResultError),
        (lambda: (x for x in "abc"), dayfly.ResultError),
        (lambda: dayfly.submit(str, 1).result(), dayfly.JobError),
    ],
)
def test_a_call_that_dies_has_a_type(button, end, kind):
    seconds = 2 if kind is dayfly.Timeout else 60
    limited = dayfly.function(memory=128, timeout=seconds * harness.SLOW)(end)
    with pytest.raises(kind):
        limited.submit().result(60 * harness.SLOW)
    assert dayfly.submit(str, 1).result(60) == "1"


def test_a_call_that_died_is_tried_again(button):
    future = dayfly.map(lambda x: os._exit(3), [1], retries=2).futures[0]
    with pytest.raises(dayfly.InstanceDied):
        future.result(60 * harness.SLOW)
    assert future.record["attempt"] == 3
    # An exception is an answer.
    future = dayfly.map(fail, ["x"], retries=2).futures[0]
    assert isinstance(future.exception(60 * harness.SLOW), ZeroDivisionError) and future.record["attempt"] == 1


def test_what_cannot_be_pickled_is_told_before_anything_runs(button):
    lock = threading.Lock()
    with pytest.raises(dayfly.NotPicklable, match=r"<closure>\['lock'\] is a _thread.lock"):
        dayfly.map(lambda x: lock, [1])
    with pytest.raises(dayfly.NotPicklable, match=r"arguments\[0\] is a _thread.lock"):
        dayfly.submit(lambda x: 1, lock)


def test_a_job_that_the_server_refuses_says_why(button):
    with pytest.raises(dayfly.JobError, match="memory_mb is 1,?"):
        dayfly.map(str, [1], memory=1)
    with pytest.raises(dayfly.JobError, match="max_in_flight"):
        dayfly.map(str, [1], max_in_flight=0)


def test_an_infinite_iterable_stays_bounded(button):
    drawn = itertools.count()
    job = dayfly.map(lambda x: len(x[1]), ((n, bytes(100_000)) for n in drawn), max_in_flight=4)
    assert list(itertools.islice(job, 100)) == [100_000] * 100
    time.sleep(0.5)
    assert next(drawn) < 100 + 4 * 4 + 2 * 4 + 2
    job.cancel()


# Cancelling ----------------------------------------------------------------------------------------------------------


def state_of(server, job):
    return calls.dayfly(server, "GetJob", job=job)


def started(job, count):
    harness.wait_until(lambda: job.counts["running"] >= count, 60, f"{count} calls run")


def test_cancel_stops_what_runs_within_a_second(button):
    job = dayfly.map(lambda x: time.sleep(600), range(8), max_in_flight=2)
    futures = job.futures
    started(job, 2)
    began = time.monotonic()
    job.cancel()
    concurrent.futures.wait(futures, 5)
    assert all(future.cancelled() for future in futures)
    assert job.wait(5 * harness.SLOW) and time.monotonic() - began < 1.5 * harness.SLOW
    killed = [record for record in job.records() if record.get("duration_us")]
    assert killed and all(record["status"] == "cancelled" for record in killed)


def test_one_call_can_be_cancelled_while_others_go_on(button):
    with dayfly.Executor(max_in_flight=2) as pool:
        long = pool.submit(time.sleep, 600)
        harness.wait_until(long.running, 60)
        assert long.cancel()
        with pytest.raises(dayfly.Cancelled):
            long.result(1)
        assert pool.submit(pow, 2, 3).result(60) == 8


def test_interrupting_a_program_stops_its_calls(button):
    program = """
        import dayfly, time
        job = dayfly.map(lambda x: time.sleep(600), range(4), max_in_flight=2)
        while job.counts["running"] < 2:
            time.sleep(0.02)
        print(job.id, flush=True)
        list(job)
    """
    for number in (signal.SIGINT, signal.SIGKILL):
        process = script(program)
        job = process.stdout.readline().strip()
        assert job, process.communicate()[1]
        began = time.monotonic()
        process.send_signal(number)
        process.wait(10 * harness.SLOW)
        harness.wait_until(lambda job=job: state_of(button, job)["state"] != "running", 10, "the end")
        assert time.monotonic() - began < 1.5 * harness.SLOW
        err = process.communicate()[1]
        assert number != signal.SIGINT or "KeyboardInterrupt" in err


# Servers that die, and start -----------------------------------------------------------------------------------------


def test_a_server_that_dies_ends_every_future(own):
    job = dayfly.map(lambda x: time.sleep(600), range(50))
    single = dayfly.submit(time.sleep, 600)
    started(job, 1)
    own.kill()
    began = time.monotonic()
    for future in [*job.futures, single]:
        with pytest.raises(dayfly.ServerLost):
            future.result(10)
    assert time.monotonic() - began < 5
    with harness.Server(own.folder):
        assert list(dayfly.map(lambda x: x + 1, range(3))) == [1, 2, 3]


def test_a_server_is_started_for_whoever_needs_it(tmp_path):
    data = tmp_path / "data"
    program = "import dayfly; print(list(dayfly.map(lambda x: x * x, range(10))))"
    expected = f"{[x * x for x in range(10)]}\n"
    try:
        # Two at the same time: one server.
        processes = [script(program, data=data) for _ in range(2)]
        assert [output_of(process) for process in processes] == [expected] * 2
        first = (data / "server.json").read_text()
        assert output_of(script(program, data=data)) == expected
        assert (data / "server.json").read_text() == first
    finally:
        stop_server_of(data)


# Ways in -------------------------------------------------------------------------------------------------------------


def test_every_python_of_this_machine_can_use_it(button):
    import cloudpickle

    tried = []
    program = """
        import sys
        import dayfly
        def square(x):
            return x * x, sys.version_info[:2]
        def bad(x):
            raise LookupError(x)
        assert list(dayfly.map(square, range(5))) == [(x * x, sys.version_info[:2]) for x in range(5)]
        with dayfly.Executor() as pool:
            try:
                pool.submit(bad, 7).result()
            except LookupError as error:
                assert "bad" in str(error.__cause__)
        print("fine")
    """
    for minor, python in others().items():
        # Only pure Python packages can be shared between versions: this one is copied out.
        folder = pathlib.Path(button.folder).parent / f"packages-{minor}"
        folder.mkdir(mode=0o755)
        shutil.copytree(pathlib.Path(cloudpickle.__file__).parent, folder / "cloudpickle")
        process = script(program, python=python, environment={"PYTHONPATH": f"{PACKAGE}:{folder}"})
        tried.append(minor)
        assert output_of(process) == "fine\n"
    if not tried:
        pytest.skip("this machine has no other Python")


def others():
    """Interpreters of this machine by their minor version, but for the one that runs the tests."""
    found = {}
    for minor in range(9, 15):
        pyenv = pathlib.Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}")
        for python in [f"/usr/bin/python3.{minor}", f"/usr/local/bin/python3.{minor}", *map(str, pyenv)]:
            if minor != sys.version_info.minor and os.access(python, os.X_OK):
                found[minor] = os.path.realpath(python)
    return found


def test_it_works_from_a_prompt_a_thread_and_a_child(button):
    prompt = subprocess.run(
        [sys.executable, "-i", "-q"],
        input="import dayfly\ndef f(x):\n    return x + 1\n\nlist(dayfly.map(f, range(3)))\n",
        capture_output=True,
        text=True,
        timeout=60 * harness.SLOW,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    assert "[1, 2, 3]" in prompt.stdout
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda n: sum(dayfly.map(lambda x: x, range(n))), range(6))) == [0, 0, 1, 3, 6, 10]
    found = list(dayfly.map(str, range(3)))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if list(dayfly.map(str, range(3))) == found else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_endpoint_of_an_own_server_is_enough(button, monkeypatch):
    for name, value in button.variables().items():
        monkeypatch.setenv(name, value)
    assert list(dayfly.map(lambda x: x, range(3))) == [0, 1, 2]
    # From elsewhere the same server is reached through its port, where this environment cannot be had.
    monkeypatch.setenv("DAYFLY_DATA", "/nowhere")
    with pytest.raises(dayfly.JobError, match="own socket"):
        dayfly.map(lambda x: x, [1], env=dayfly.Environment.local())
    with pytest.raises(dayfly.InitError):
        dayfly.submit(dayfly.function(env=dayfly.Environment.bare())(lambda x: x), 1).result(60)


def test_lines_are_streamed_with_their_call(button, capsys):
    def talk(n):
        print("hello from", n)
        logging.getLogger("mine").warning("careful, %d", n)
        return n

    lines = []
    assert list(dayfly.map(talk, range(3), logs=lambda n, line: lines.append((n, line)))) == [0, 1, 2]
    for n in range(3):
        text = "".join(line for call, line in lines if call == n)
        assert f"hello from {n}" in text and f"careful, {n}" in text
    assert dayfly.function(logs=True, name="talker")(talk).submit(5).result(60) == 5
    assert "[talker 0] hello from 5\n" in capsys.readouterr().out


# Others' shapes ------------------------------------------------------------------------------------------------------


def test_a_grid_search_gives_what_a_plain_one_gives(button):
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    data, target = load_digits(return_X_y=True)
    data, target = data[:300], target[:300]

    def search(jobs):
        return GridSearchCV(SVC(), {"C": [1, 10], "gamma": [1e-3, 1e-4]}, cv=2, n_jobs=jobs).fit(data, target)

    plain = search(None)
    with joblib.parallel_config("dayfly", memory=1024):
        there = search(2)
        assert there.best_params_ == plain.best_params_
        assert list(there.cv_results_["mean_test_score"]) == list(plain.cv_results_["mean_test_score"])
        # Parallelism within parallelism.
        forest = RandomForestClassifier(5, random_state=0, n_jobs=2)
        scores = cross_val_score(forest, data, target, cv=2, n_jobs=2)
    assert list(scores) == list(cross_val_score(RandomForestClassifier(5, random_state=0), data, target, cv=2))


def test_a_captured_array_is_there_in_every_call(button):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(2_000_000, dtype="f8")

    def touch(n):
        array[n] = -1.0
        return float(array[n]), float(array.sum())

    total = float(array.sum())
    assert list(dayfly.map(touch, range(5))) == [(-1.0, total - n - 1.0) for n in range(5)]


def test_a_pool_and_an_executor(button):
    with dayfly.Pool(2) as pool:
        assert pool.map(abs, range(-4, 0)) == [4, 3, 2, 1]
        assert sorted(pool.imap_unordered(abs, iter([-1, -2]))) == [1, 2]
    with dayfly.Executor(memory=256) as pool:
        futures = [pool.submit(pow, 2, n) for n in range(6)]
        assert {future.result(60) for future in concurrent.futures.as_completed(futures)} == {1, 2, 4, 8, 16, 32}
        assert list(pool.map(pow, [2, 3], [3, 2])) == [8, 9]


# Large things --------------------------------------------------------------------------------------------------------


def test_large_arguments_and_results_go_through_the_object_store(button):
    import hashlib

    big = os.urandom(10 << 20)

    def turn(data, times):
        return hashlib.sha256(data).hexdigest(), data[::-1] * times

    job = dayfly.map(turn, [big, b"small", big], [1, 1, 10], memory=2048)
    digest, back = next(job)
    assert digest == hashlib.sha256(big).hexdigest() and back == big[::-1]
    assert next(job)[1] == b"llams"
    assert len(next(job)[1]) == 100 << 20
    assert job.wait(10)
    # Nothing of a job stays in the store.
    harness.wait_until(lambda: stored(button) == [], 5, "an empty bucket")


def stored(server):
    return [entry["Key"] for entry in server.client("s3").list_objects_v2(Bucket="dayfly-jobs").get("Contents", [])]
