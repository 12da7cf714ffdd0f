"""Taking up detached jobs."""

import pickle
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
