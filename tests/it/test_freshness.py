"""A fresh instance per call: nothing that a call did, made or left is seen by another."""

import os
import sys
import threading

import calls
import harness
import pytest
from calls import call, do, log_of, together

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the function that leaves traces, and looks for them."""
    with harness.Server(tmp_path_factory.mktemp("freshness") / "data") as server:
        server.create("traces", calls.source_of("traces.py"), MemorySize=512, Timeout=20)
        yield server
        assert server.stop() == 0
    assert server.leftovers() == {}


def test_what_is_made_of_randomness_at_first_use_does_not_come_twice(server):
    """The values of `test_random.py` are drawn in a thousand calls; here is what libraries keep from their first use."""
    source = """
        import os, random, tempfile
        own = random.Random()
        own.random()
        tempfile.mktemp()
        def handler(event, context):
            return {
                "tempfile": tempfile.mktemp(), "system": random.SystemRandom().random(), "bits": random.getrandbits(64),
                "pid and time": "%d %s" % (os.getpid(), context.aws_request_id),
            }
    """
    server.create("random", source, MemorySize=512, Timeout=60)
    made = together(lambda _: call(server, "random", tail=False), range(100), threads=4)
    assert not any(one.failed for one in made), next(one.payload for one in made if one.failed)
    for kind in made[0].payload:
        values = {one.payload[kind] for one in made}
        assert len(values) == len(made), f"{kind}: {len(made) - len(values)} of {len(made)} values came before"
    assert len({one.instance_id for one in made}) == len({one.request_id for one in made}) == len(made)


def test_nothing_of_a_call_is_seen_by_the_next(server):
    untouched = do(server, "traces", "look")
    assert set(untouched["files"]) == {"/tmp", "/dev/shm"} and not any(untouched["files"].values())
    left = do(server, "traces", "leave_traces")
    assert left != untouched and all(left[kind] != untouched[kind] for kind in left), "every trace can be seen where it was left"
    for seen in together(lambda _: do(server, "traces", "look"), range(16), threads=4):
        assert seen == untouched


def test_calls_at_the_same_time_do_not_see_each_other(server):
    """One keeps everything it left while others look."""
    untouched = do(server, "traces", "look")
    thread = threading.Thread(target=do, args=(server, "traces", "leave_traces_and_stay"), kwargs={"seconds": 2})
    thread.start()
    for seen in together(lambda _: do(server, "traces", "look"), range(12), threads=3):
        assert seen == untouched
    thread.join()


@pytest.mark.parametrize("how", ["child", "daemon", "thread", "ignoring_child"])
def test_what_a_call_started_ends_with_it(server, how):
    marker = f"marker-{os.getpid()}-{how}"
    pids = do(server, "traces", "start", how=how, marker=marker)
    assert pids > 1
    # The answer does not wait for the clean-up, but the clean-up does not wait for anything either.
    harness.wait_until(lambda: not calls.processes_with(marker), seconds=2, what="the end of what the call started")


def test_what_a_call_started_is_really_there_while_it_runs(server):
    marker = f"marker-{os.getpid()}-while"
    thread = threading.Thread(
        target=do, args=(server, "traces", "start"), kwargs={"how": "daemon", "marker": marker, "seconds": 3}
    )
    thread.start()
    harness.wait_until(lambda: calls.processes_with(marker), what="the daemon")
    thread.join()
    harness.wait_until(lambda: not calls.processes_with(marker), seconds=2, what="its end")


def test_what_init_read_is_there_for_every_call_and_what_calls_change_is_not(server):
    source = """
        import os, tempfile
        TABLE = {n: n * n for n in range(1000)}
        COUNT = [0]
        DATA = open("/var/task/data.txt", "rb", buffering=0)
        DATA.read(2)
        def handler(event, context):
            COUNT[0] += 1
            TABLE[event] = None
            return [COUNT[0], sum(v for v in TABLE.values() if v), DATA.read(3).decode(), DATA.tell()]
    """
    server.create("loaded", source, {"data.txt": "0123456789" * 10}, MemorySize=256)
    made = together(lambda n: call(server, "loaded", n, tail=False).payload, range(40), threads=4)
    whole = sum(n * n for n in range(1000))
    # Where init had read to, every call goes on: the place in an open file is not shared either.
    assert made == [[1, whole - n * n, "234", 5] for n in range(40)]


# What cannot be cloned ---------------------------------------------------------------------------------------------------

UNCLONABLE = {
    "thread": ("threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()", "init left 1 more thread(s) running"),
    "pipe": ("ENDS = os.pipe()", "init left open pipe:"),
    "socket": ("PAIR = socket.socketpair()", "init left open socket:"),
    "listener": ("L = socket.create_server(('127.0.0.1', 0))", "init left open socket:"),
    "writable file": ("F = open('/tmp/f', 'w')", "init left open /tmp/f"),
    "file of /tmp": ("open('/tmp/f', 'w').close(); F = open('/tmp/f')", "init left open /tmp/f"),
    "file of shm": ("F = open('/dev/shm/f', 'w+b')", "init left open /dev/shm/f"),
    "folder of /tmp": ("D = os.open('/tmp', os.O_RDONLY)", "init left open /tmp"),
    "memfd": ("M = os.memfd_create('m')", "init left open /memfd:m"),
    "epoll": ("E = select.epoll()", "init left open anon_inode:[eventpoll]"),
    "shared memory": ("S = mmap.mmap(-1, 4096)", "init left shared writable memory"),
    "working folder": ("os.chdir('/tmp')", "init changed the working folder to /tmp"),
    "child": ("subprocess.Popen(['sleep', '3600'])", "init left child processes running"),
    "daemon": ("(os.fork() or (os.setsid(), os.fork() or os.execv('/bin/sleep', ['sleep', '3600']), os._exit(0))) and os.wait()", "init left child processes running"),
}


def test_a_zygote_that_cannot_be_cloned_correctly_is_not_cloned(server):
    head = "import mmap, os, select, socket, subprocess, threading, time\n"
    tail = """
import json
def handler(event, context):
    names = ["/tmp/left", "left", "/dev/shm/left"]
    seen = [name for name in names if os.path.exists(name)]
    for name in names:
        try:
            open(name, "w").close()
        except OSError:
            pass
    return [seen, sorted(os.listdir("/tmp")), threading.active_count()]
"""

    def one(kind):
        name = "unclonable-" + kind.replace(" ", "-").replace("/", "-")
        server.create(name, head + UNCLONABLE[kind][0] + tail, MemorySize=512, Timeout=20)
        return [call(server, name) for _ in range(3)]

    for kind, made in zip(UNCLONABLE, together(one, UNCLONABLE, threads=3)):
        why = UNCLONABLE[kind][1]
        first = made[0].payload
        assert not made[0].failed and first[0] == [], (kind, made[0])
        # The same as in the first call: what a call made is not there for the next.
        assert [one.payload for one in made] == [first] * 3, kind
        assert len({one.instance_id for one in made}) == 3
        name = "unclonable-" + kind.replace(" ", "-").replace("/", "-")
        lines = log_of(server, name)
        told = [line for line in lines if line.startswith("[dayfly] this version is not cloned")]
        assert told and why in told[0], (kind, lines)


def test_what_can_be_cloned_is_cloned(server):
    """The fallback is for those that need it: init that opens its own files for reading is cloned."""
    source = "F = open('/var/task/app.py')\nimport ssl, sqlite3, decimal\ndef handler(event, context): return F.read(4)\n"
    server.create("clonable", source, MemorySize=512)
    assert [do_plain(server, "clonable") for _ in range(4)] == ["F = "] * 4
    assert not [line for line in log_of(server, "clonable") if "not cloned" in line]


def do_plain(server, name):
    return call(server, name, tail=False).payload


def test_environment_and_argument_vector_are_those_of_lambda(server):
    seen = do(server, "traces", "environment")
    assert seen["LAMBDA_TASK_ROOT"] == "/var/task" and seen["_HANDLER"] == "app.handler"
    assert not {"PYTHONMALLOC", "GLIBC_TUNABLES", "LD_PRELOAD", "LD_BIND_NOW", "HOSTNAME", "DAYFLY_BIN"} & set(seen)
    assert not [name for name in seen if name in os.environ and name.startswith(("PYTEST", "CARGO", "SSH", "SUDO"))]
    assert sys.executable not in seen.values()


PLACES = """
import os, subprocess
made = [object() for _ in range(100_000)]
HUGE = 2 << 20

def handler(event, context):
    spans = []
    for line in open("/proc/self/maps"):
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        spans.append((start, end))
    whole = 0
    for one in made:
        page = id(one) // HUGE * HUGE
        whole += any(start <= page and page + HUGE <= end for start, end in spans)
    child = subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout
    return [whole / len(made), [name for name in ("LD_PRELOAD", "LD_BIND_NOW") if name in child], os.environ.get("LD_PRELOAD")]
"""


def test_objects_of_init_lie_where_huge_pages_may_be(server):
    """A clone's page table entries are few then. What sees to that is not seen by the function and what it starts."""
    server.create("places", PLACES, MemorySize=512)
    assert do_plain(server, "places") == [1.0, [], None]
    # One of the function's own stays its own.
    server.create("preloads", PLACES, MemorySize=512, Environment={"Variables": {"LD_PRELOAD": "libm.so.6"}})
    assert do_plain(server, "preloads")[1:] == [["LD_PRELOAD"], "libm.so.6"]
