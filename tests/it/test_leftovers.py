"""What a server leaves: nothing, however it ends and whatever its functions do."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import botocore.exceptions
import calls
import harness
import pytest
from calls import call, together

SLOW = """
    import os, subprocess, sys, time
    def handler(event, context):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
        with open("/tmp/left", "wb") as file:
            file.write(b"x" * (1 << 20))
        time.sleep(event)
        return "finished"
"""


def everything(server):
    """Counts on the host: processes, mounts, cgroups in every hierarchy, network namespaces, temporary files."""
    table = harness.process_table()
    networks = set()
    for pid in table:
        try:
            networks.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            pass
    return {
        "mounts": pathlib.Path("/proc/self/mounts").read_text(),
        "cgroups": {path for path, _, _ in os.walk("/sys/fs/cgroup") if f"dayfly-{server.keys['server_id']}" in path},
        "networks": networks & harness.networks(),
    }


def load(server, functions=3, calls_each=4, seconds=2.0, prefix="load"):
    """Functions of several kinds, with calls under way; their threads and results."""
    results = []

    def one(name):
        try:
            results.append(call(server, name, seconds, tail=False).payload)
        except Exception as error:  # noqa: BLE001  (the server may go away under it: how is part of the result)
            results.append(error)

    names = [f"{prefix}-{number}" for number in range(functions)]
    for name in names:
        server.create(name, SLOW, MemorySize=256, Timeout=60)
    together(lambda name: call(server, name, 0, tail=False), names)
    threads = [threading.Thread(target=one, args=(name,)) for name in names for _ in range(calls_each)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    return threads, results


def test_a_stop_under_load_finishes_what_runs_refuses_what_comes_and_leaves_nothing(folder):
    temporary = set(os.listdir("/tmp"))
    with harness.Server(folder) as server:
        server.create("unclonable", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n" + "def handler(event, context): time.sleep(event)\n", MemorySize=256, Timeout=20)
        call(server, "unclonable", 0)
        threads, results = load(server)
        running = everything(server)
        assert len(running["cgroups"]) > 6 and running["networks"]
        mounts = pathlib.Path("/proc/self/mounts").read_text()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        refused = []
        try:
            call(server, "load-0", 0)
        except (botocore.exceptions.ClientError, botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectionClosedError) as error:
            refused.append(error)
        assert refused, "no new call after SIGTERM"
        for thread in threads:
            thread.join(30)
        assert server.process.wait(30) == 0
        assert results == ["finished"] * 12
    assert server.leftovers() == {}
    after = everything(server)
    assert after["cgroups"] == set() and after["networks"] - harness.networks() == set()
    assert after["mounts"] == mounts == pathlib.Path("/proc/self/mounts").read_text()
    assert not [name for name in set(os.listdir("/tmp")) - temporary if "dayfly" in name]


def test_every_call_before_a_stop_is_on_the_bill(folder):
    with harness.Server(folder) as server:
        threads, results = load(server, functions=2, calls_each=3, seconds=1.0)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert server.process.wait(30) == 0
    with harness.Server(folder) as again:
        records = [record for name in ("load-0", "load-1") for record in calls.usage_of(again, name).values()]
        # A slow machine may have had no time to begin all of them.
        assert results.count("finished") > 0
        assert len(records) == 2 + results.count("finished") and {record["status"] for record in records} == {"success"}
        assert again.stop() == 0


def test_after_a_kill_under_load_the_next_start_reaps_everything(folder):
    with harness.Server(folder) as server:
        before = server.before
        threads, results = load(server, seconds=30.0)
        assert everything(server)["cgroups"]
        server.kill()
        for thread in threads:
            thread.join(30)
        assert not any(result == "finished" for result in results)
        # Without any help, what ran is gone: the launchers end with their server.
        harness.wait_until(lambda: processes_of(before) == [], seconds=10, what="the end of all processes")
    with harness.Server(folder) as again:
        assert call(again, "load-0", 0).payload == "finished"
        names = {pathlib.Path(path).name for path in everything(again)["cgroups"]}
        assert len([name for name in names if name.startswith(("zygote-", "instance-"))]) < 8
        assert again.stop() == 0
    again.before = before
    assert again.leftovers() == {}
    assert everything(again)["cgroups"] == set()


def processes_of(before):
    return sorted(harness.Traces({**before.found, "processes": harness.descendants(os.getpid())}).without(before).get("processes", []))


def test_a_stopped_launcher_does_not_outlive_its_server(folder):
    """Even one that does not listen: SIGSTOP stands for any bug or attack that makes it deaf."""
    with harness.Server(folder) as server:
        before = server.before
        server.create("deaf", SLOW, MemorySize=256)
        call(server, "deaf", 0)
        launchers = [int(line.split()[0]) for line in harness.descendants(server.pid) if "launcher" in line]
        assert len(launchers) >= 2
        for pid in launchers:
            os.kill(pid, signal.SIGSTOP)
        assert server.stop() == 0
    server.before = before
    assert server.leftovers(15) == {}


def test_a_deleted_function_leaves_nothing(folder):
    with harness.Server(folder) as server:
        before = everything(server)["cgroups"]
        idle = harness.descendants(os.getpid())
        for number in range(3):
            server.create(f"gone-{number}", SLOW, MemorySize=256)
            call(server, f"gone-{number}", 0)
        assert everything(server)["cgroups"] > before
        for number in range(3):
            server.client().delete_function(FunctionName=f"gone-{number}")
        harness.wait_until(lambda: everything(server)["cgroups"] == before, what="no cgroups")
        harness.wait_until(lambda: harness.descendants(os.getpid()) == idle, what="no processes")
        assert server.stop() == 0
    assert server.leftovers() == {}


def test_an_idle_zygote_leaves(folder):
    with harness.Server(folder, config="zygote_idle_s = 1\n") as server:
        idle = harness.descendants(os.getpid())
        server.create("idle", SLOW, MemorySize=256)
        assert call(server, "idle", 0).payload == "finished"
        harness.wait_until(lambda: harness.descendants(os.getpid()) == idle, seconds=15, what="the end of the zygote")
        harness.wait_until(lambda: len(everything(server)["cgroups"]) <= 4, what="the end of its cgroups")
        assert call(server, "idle", 0).payload == "finished"
        assert server.stop() == 0
    assert server.leftovers() == {}


@pytest.mark.parametrize("ending", ["timeout", "exit", "memory"])
def test_a_call_that_ends_badly_leaves_no_process(folder, ending):
    source = """
        import os, subprocess, sys, time
        def handler(event, context):
            for _ in range(3):
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "marker-of-a-bad-end"], start_new_session=True)
            if event == "timeout": time.sleep(60)
            if event == "exit": os._exit(1)
            if event == "memory": return len(bytearray(400 << 20))
    """
    with harness.Server(folder) as server:
        server.create("bad", source, MemorySize=256, Timeout=2)
        assert call(server, "bad", ending).failed
        harness.wait_until(
            lambda: not [line for line in harness.descendants(server.pid) if "marker-of-a-bad-end" in line], seconds=3, what="the end"
        )
        assert server.stop() == 0
    assert server.leftovers() == {}


def test_a_second_server_on_the_folder_is_refused_also_under_load(folder):
    with harness.Server(folder) as server:
        threads, results = load(server, functions=1, calls_each=2, seconds=1.5)
        second = subprocess.run(
            [harness.BINARY, "serve", "--data", str(folder), "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=20
        )
        assert second.returncode == 1 and str(server.pid) in second.stderr
        for thread in threads:
            thread.join(30)
        assert results == ["finished"] * 2, "the second start took nothing from the first"
        assert json.loads((folder / "server.json").read_text())["pid"] == server.pid
        assert server.stop() == 0
    assert server.leftovers() == {}
