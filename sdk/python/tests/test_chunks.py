"""Items that share calls: nothing is lost, nothing is done twice, whatever a call leaves undone."""

import concurrent.futures
import itertools
import pickle
import sys
import threading
import time

import peer
import pytest

import dayfly

def slow(x):
    # The function goes by value, and what it refers to with it; but a module of the library does not.
    vars(sys).setdefault("items_done", []).append(x)
    time.sleep(0.04)
    return [x] if x % 2 else x


def calls_of(found):
    return [frame for frame in found.jobs[0].received if frame.kind == "C"]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_what_a_call_leaves_undone_is_done_by_another(serve, ordered, sized):
    found = serve()
    sys.items_done = []
    items = range(40)
    job = dayfly.map(slow, items if sized else iter(items), chunksize="auto", ordered=ordered, max_in_flight=16)
    results = [x[0] if isinstance(x, list) else x for x in job]
    assert (results if ordered else sorted(results)) == list(items)
    assert sorted(sys.items_done) == list(items), "each item once"
    assert job.wait(10) and job.counts == {"calls": 40, "running": 0, "done": 40, "failed": 0}
    assert sum(record["calls"] for record in job.records()) == 40
    assert 10 <= len(calls_of(found)) <= 40


def test_short_calls_share_few_instances(serve):
    found = serve()
    assert list(dayfly.map(abs, range(-5000, 0), chunksize="auto", max_in_flight=16)) == list(range(5000, 0, -1))
    assert len(calls_of(found)) <= 16


def test_large_arguments_are_sent_a_few_at_a_time(serve):
    found = serve()
    items = [bytes(300_000)] * 20
    assert list(dayfly.map(len, items, chunksize="auto", max_in_flight=8)) == [300_000] * 20
    assert max(len(frame.body) for frame in calls_of(found)) < 2 << 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_futures_of_items_that_share_calls(serve, when):
    go = threading.Event()

    def script(connection):
        go.wait(20)
        peer.Connection.serve(connection)

    serve(script) if when == "before" else serve()
    # The job begins with its first frame from the server, so a thread asks for it.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        begun = pool.submit(dayfly.map, slow, range(12), chunksize="auto", max_in_flight=16)
        go.set()
        job = begun.result(20)
    if when == "after":
        assert job.wait(20)
    futures = job.futures
    assert len(futures) == 12 and job.futures == futures
    assert [future.result(20) for future in futures] == [[x] if x % 2 else x for x in range(12)]
    assert all(future.done() and future.record["status"] == "success" for future in futures)


def fails(x):
    if x == 7:
        raise KeyError(x)
    return x


@pytest.mark.parametrize("chunksize", [4, "auto"])
def test_one_that_raises_does_so_alone(serve, chunksize):
    serve()
    results = list(dayfly.map(fails, range(20), chunksize=chunksize, return_exceptions=True))
    assert [x for x in results if not isinstance(x, KeyError)] == [x for x in range(20) if x != 7]
    futures = dayfly.map(fails, range(20), chunksize=chunksize).futures
    assert isinstance(futures[7].exception(10), KeyError) and futures[8].result(10) == 8


def test_results_are_as_they_were_when_the_item_was_done(serve):
    serve()
    kept = []

    def grow(x):
        kept.append(x)
        return kept

    assert list(dayfly.map(grow, range(3), chunksize=3)) == [[0], [0, 1], [0, 1, 2]]


def test_who_cancels_all_items_of_a_call_cancels_it(serve):
    def script(connection):
        connection.begin()
        while connection.next():
            pass

    found = serve(script)
    futures = dayfly.map(abs, range(8), chunksize=4).futures
    deadline = time.monotonic() + 10
    while len(calls_of(found)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(future.cancel() for future in futures[:4])
    while not any(frame.kind == "X" for frame in found.jobs[0].received) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [frame.header for frame in found.jobs[0].received if frame.kind == "X"] == [{"calls": [0]}]
    assert not futures[4].done()
    futures[4].cancel()
    assert not futures[5].done()


def test_a_lost_server_ends_every_item(serve):
    def script(connection):
        connection.begin()
        connection.next()

    serve(script)
    results = list(dayfly.map(abs, range(50), chunksize="auto", return_exceptions=True, max_in_flight=8))
    assert len(results) == 50 and {type(x) for x in results} == {dayfly.ServerLost}
    results = list(itertools.islice(dayfly.map(abs, itertools.count(), chunksize="auto", return_exceptions=True), 1))
    assert type(results[0]) is dayfly.ServerLost


def test_an_iterable_that_gives_too_little(serve):
    class Short:
        def __len__(self):
            return 10

        def __iter__(self):
            return iter(range(6))

    serve()
    results = list(dayfly.map(abs, Short(), chunksize=4, return_exceptions=True))
    assert results[:6] == list(range(6)) and {type(x) for x in results[6:]} == {ValueError} and len(results) == 10


def dying(*deadly):
    """A server whose calls die over these items."""

    def script(connection):
        function = connection.begin()
        while True:
            frame = connection.next()
            if frame is None:
                return
            if frame.kind == "C":
                data = pickle.loads(frame.body[1:])
                items = [args[0] for args in (data[1] if frame.body[:1] == b"T" else data)]
                number = frame.header["n"]
                if set(items) & set(deadly):
                    connection.outcome(number, "exit", peer.died("Runtime.ExitError", "exit status 3"))
                else:
                    connection.outcome(number, "success", function(frame.body))
            elif frame.kind in "ZX" and frame.header == {}:
                connection.send("D", {"calls": 1})
                connection.finish()
                return

    return script


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_an_item_dies_alone(serve, ordered, sized):
    found = serve(dying(7, 911))
    items = range(2_000)
    job = dayfly.map(
        abs, items if sized else iter(items), chunksize="auto", ordered=ordered, return_exceptions=True, max_in_flight=16
    )
    results = list(job)
    if ordered:
        assert [place for place, x in enumerate(results) if isinstance(x, dayfly.InstanceDied)] == [7, 911]
    assert sorted(x for x in results if isinstance(x, int)) == [x for x in items if x not in (7, 911)]
    assert job.wait(10) and job.counts == {"calls": 2_000, "running": 0, "done": 1_998, "failed": 2}
    assert sum(record["calls"] for record in job.records()) == 2_000
    assert len(calls_of(found)) < 600


def test_items_of_a_call_that_died_have_futures_of_their_own(serve):
    serve(dying(3))
    futures = dayfly.map(abs, range(10), chunksize="auto").futures
    assert isinstance(futures[3].exception(10), dayfly.InstanceDied)
    assert [future.result(10) for future in futures if future is not futures[3]] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_call_of_a_given_size_dies_as_one(serve):
    found = serve(dying(3))
    results = list(dayfly.map(abs, range(8), chunksize=4, return_exceptions=True))
    assert {type(x) for x in results[:4]} == {dayfly.InstanceDied} and results[4:] == [4, 5, 6, 7]
    assert len(calls_of(found)) == 2
