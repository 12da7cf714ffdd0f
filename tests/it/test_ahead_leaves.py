"""Zygotes that are booted ahead of jobs leave in time, and leave nothing."""

import os

import harness
import jobs
from ahead import TELLS, packages, run, run_ahead, zygotes  # noqa: F401
from jobs import frame
from test_job_environments import own_environment


def test_they_leave_when_they_are_idle_and_with_the_server(tmp_path, packages):
    with harness.Server(tmp_path / "data", config="zygote_idle_s = 1\n") as server:
        idle = harness.descendants(os.getpid())
        run(server, packages)
        harness.wait_until(lambda: harness.descendants(os.getpid()) == idle, seconds=15, what="the end of all zygotes")
        harness.wait_until(lambda: os.listdir(server.folder / "cache/tasks") == [], what="no folders of jobs")
        assert server.stop() == 0
    assert server.leftovers() == {}
    with harness.Server(tmp_path / "data") as server:
        run_ahead(server, packages)
        assert server.stop() == 0
    assert server.leftovers() == {}
    with harness.Server(tmp_path / "data") as killed:
        run_ahead(killed, packages)
        killed.kill()
    with harness.Server(tmp_path / "data") as server:
        assert os.listdir(server.folder / "cache/tasks") == []
        assert server.stop() == 0
    server.before = killed.before
    assert server.leftovers() == {}


def test_a_job_that_is_cancelled_while_it_boots_leaves_nothing(tmp_path, packages):
    (packages / "marker.py").write_text("import time\ntime.sleep(600)\n")
    with harness.Server(tmp_path / "data") as server:
        idle = harness.descendants(os.getpid())
        environment = own_environment([str(packages), *own_environment()["path"]])
        stream, _ = jobs.begin(server, TELLS, environment=environment, imports=["marker"])
        with stream:
            stream.send(frame("C", {"n": 0}))
            harness.wait_until(lambda: zygotes(server), what="a zygote that boots")
            stream.send(frame("X", {}))
            assert stream.rest()[-1][1]["cancelled"] == 1
            stream.end()
        harness.wait_until(lambda: harness.descendants(os.getpid()) == idle, what="no processes")
        assert server.stop() == 0
    assert server.leftovers() == {}


def test_a_server_that_ends_when_it_is_idle_does_not_wait_for_them(tmp_path, packages):
    with harness.Server(tmp_path / "data", "--exit-when-idle", "2") as server:
        run_ahead(server, packages)
        assert server.process.wait(30 * harness.SLOW) == 0
    assert server.leftovers() == {}
