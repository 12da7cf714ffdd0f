"""Jobs that go on without their program."""

import pickle
import threading
import time

import pytest

import dayfly


def value(x):
    return b"V" + pickle.dumps(x)


def test_results_come_in_order_and_are_confirmed_when_the_next_is_asked_for(serve):
    def script(connection):
        connection.answer()
        connection.outcome(1, "success", value("b"))
        connection.outcome(0, "success", value("a"))
        connection.outcome(2, "success", b"B" + pickle.dumps([(True, pickle.dumps("c")), (True, pickle.dumps("d"))]))
        assert connection.next().header == {"n": [0]}
        connection.send("D", {"calls": 3})
        while connection.next():
            pass
        connection.finish()

    found = serve(script)
    job = dayfly.attach("some-id")
    assert next(job) == "a"
    time.sleep(0.1)
    assert found.jobs[0].received == []
    assert job.results() == ["b", "c", "d"]
    assert [frame.header["n"] for frame in found.jobs[0].received] == [[0], [1], [2]]
    assert job.cost == 1.5


def test_a_detached_map_returns_when_the_server_has_all_of_it(serve):
    paths = []

    def script(connection):
        paths.append(connection.path)
        if connection.path != "/jobs":
            connection.answer()
            connection.send("R", {"n": 0, "status": "success"}, value("0"))
            connection.send("D", {"calls": 5})
            while connection.next():
                pass
            return connection.finish()
        connection.begin()
        while connection.next().kind != "Z":
            pass
        time.sleep(0.2)
        connection.send("Z", {"calls": 5})
        assert connection.next() is None, "it leaves"

    found = serve(script)
    began = time.monotonic()
    job = dayfly.map(str, range(5), detach=True)
    assert time.monotonic() - began > 0.2 and isinstance(job, dayfly.Detached)
    assert found.jobs[0].job["detach"] is True and sum(f.kind == "C" for f in found.jobs[0].received) == 5
    assert paths == ["/jobs"], "nothing is fetched that nobody asks for"
    assert job.results() == ["0"] and paths[1:] == [f"/jobs/{job.id}/outcomes"]


def test_a_detached_map_that_cannot_be_sent_raises(serve):
    def script(connection):
        connection.begin()
        while connection.next():
            pass

    found = serve(script)
    with pytest.raises(dayfly.NotPicklable):
        dayfly.map(lambda x: 1, [1, threading.Lock()], detach=True)
    deadline = time.monotonic() + 5
    while found.jobs[0].received[-1].kind != "X":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ValueError, match="only a map"):
        dayfly.Executor(detach=True)


def test_the_server_can_be_asked(serve):
    def script(connection):
        assert b'"job": "some-id"' in connection.request
        text = b'{"state":"running"}' if b"Dayfly_20261101.GetJob" in connection.request else b'{"__type":"NoSuch"}'
        status = b"200" if b"GetJob" in connection.request else b"404"
        connection.socket.sendall(b"HTTP/1.1 %s X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(text), text))

    serve(script)
    assert dayfly.attach("some-id").status() == {"state": "running"}
    with pytest.raises(dayfly.JobError, match="NoSuch"):
        dayfly.attach("some-id").cancel()


def test_what_others_took_is_not_waited_for(serve):
    def script(connection):
        connection.answer()
        connection.outcome(7, "success", value(7))
        connection.outcome(5, "success", value(5))
        connection.send("D", {"calls": 9})
        while connection.next():
            pass
        connection.finish()

    serve(script)
    assert dayfly.attach("some-id").results() == [5, 7]


def test_failures_have_their_types(serve):
    def script(connection):
        connection.answer(404)
        connection.socket.sendall(b'2f\r\n{"__type":"ResourceNotFoundException","message"\r\n7\r\n:"gone"\r\n1\r\n}\r\n0\r\n\r\n')

    serve(script)
    with pytest.raises(dayfly.JobError, match="ResourceNotFoundException: gone"):
        next(dayfly.attach("no-such"))


def test_a_server_that_is_lost_is_told(serve):
    def script(connection):
        connection.answer()
        connection.outcome(0, "timeout", b"")

    serve(script)
    job = dayfly.attach("some-id")
    with pytest.raises(dayfly.Timeout):
        next(job)
    with pytest.raises(dayfly.ServerLost):
        next(job)
