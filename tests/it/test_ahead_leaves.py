"""Zygotes that are booted ahead of jobs leave in time, and leave nothing."""

import os
import re
import time

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


def sandboxes(server):
    """Names of the zygotes' cgroups that have a process: of a zygote, or one that calls keep."""
    found = set()
    for path, _, files in os.walk("/sys/fs/cgroup"):
        name = re.search(f"dayfly-{server.keys['server_id']}/(zygote-[0-9]+)", path)
        if name and "cgroup.procs" in files:
            with open(f"{path}/cgroup.procs") as file:
                found.update([name[1]] if file.read() else [])
    return found


def settled(server, count):
    """The zygotes, when there are so many and have been for a while."""
    found = [set(), set(), set(), set()]

    def are():
        time.sleep(0.2)
        found[:] = [*found[1:], sandboxes(server)]
        return len(found[0]) == count and all(one == found[0] for one in found)

    harness.wait_until(are, what=f"{count} zygotes")
    return found[0]


def test_calls_that_would_wait_get_the_memory_of_those_that_were_not_used_for_longest(tmp_path, packages):
    # Room for some of them, and for nothing else.
    with harness.Server(tmp_path / "data", config="memory_mb = 512\n") as server:
        # Their variables differ, so that each has a zygote of its own.
        run(server, packages, environment_variables={"ASKED_AT_IMPORT": "first"})
        (oldest,) = settled(server, 1)
        run(server, packages, environment_variables={"ASKED_AT_IMPORT": "second"})
        (newest,) = settled(server, 2) - {oldest}
        # Two of them have 256 MB of the 512: one has to go, and only one.
        run(server, packages, memory_mb=384)
        harness.wait_until(lambda: oldest not in sandboxes(server), what="the end of the oldest")
        assert newest in sandboxes(server)
        # All of the memory: the others too.
        source = "import marker, time\ndef call(arguments):\n    time.sleep(600)"
        environment = own_environment([str(packages), *own_environment()["path"]])
        stream, _ = jobs.begin(server, source, memory_mb=512, environment=environment, imports=["marker"])
        with stream:
            stream.send(frame("C", {"n": 0}))
            kind, header, _ = stream.read()
            assert (kind, header) == ("W", {"n": [0]}), "it did not wait for memory"
            assert newest not in settled(server, 1), "that of the call, and none ahead"
            stream.send(frame("X", {}), frame("Z", {}))
            stream.rest()
            stream.end()
        # There is room again: for one of the last job's kind.
        settled(server, 1)
        assert server.stop() == 0
    assert server.leftovers() == {}
