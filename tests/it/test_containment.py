"""Function code is hostile, at init and in a call: it cannot read, signal, starve or outlive what is not its own.

docs/threat-model.md says which attack is held by what, and names these tests.
"""

import errno
import http.server
import io
import json
import os
import pathlib
import sys
import threading
import time
import zipfile

import botocore.exceptions
import calls
import harness
import pytest
from calls import call, do, record_of, together


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with the function that attacks, and a neighbour that does its work."""
    with harness.Server(tmp_path_factory.mktemp("containment") / "data") as server:
        server.create("attacks", calls.source_of("attacks.py"), MemorySize=512, Timeout=30)
        server.create("neighbour", calls.source_of("attacks.py"), MemorySize=512, Timeout=10)
        server.create("victim", calls.source_of("attacks.py"), MemorySize=256)
        yield server
        assert server.stop() == 0
    assert server.leftovers() == {}


@pytest.fixture(scope="module")
def at_init(server):
    """Runs an attack of `attacks.py` at init, and gives what it found."""
    made = {}

    def run(what):
        if what not in made:
            name = "init-" + what.replace("_", "-")
            settings = {"Environment": {"Variables": {"ATTACK": what}}}
            server.create(name, calls.source_of("attacks.py"), MemorySize=512, Timeout=20, **settings)
            made[what] = do(server, name, "found_at_init")
        return made[what]

    return run


def both(server, at_init, what):
    """What an attack finds in a call, and at init."""
    return [("call", do(server, "attacks", what)), ("init", at_init(what))]


# What is there ------------------------------------------------------------------------------------------------------------


def test_no_capabilities_no_new_privileges_and_a_filter(server, at_init):
    program = ("program", do(server, "attacks", "status", of_a_program=True))
    for when, found in [*both(server, at_init, "status"), program]:
        # A new user namespace has a full bounding set; with no_new_privs and without an id of root it is a bound of nothing.
        names = ("CapInh", "CapPrm", "CapEff", "CapAmb") + (("CapBnd",) if when == "init" else ())
        assert [found[name] for name in names] == ["0" * 16] * len(names), when
        assert found["NoNewPrivs"] == "1" and found["Seccomp"] == "2", when
        assert set(found["Uid"].split()) | set(found["Gid"].split()) <= {"993", "0"}, when
        # An ordinary user cannot give their groups up: the kernel refuses setgroups in their namespace.
        assert os.getuid() != 0 or found["Groups"] == "", when


def test_on_the_host_a_function_is_nobody(server):
    marker = f"marker-{os.getpid()}-nobody"
    server.create("sleeper", "import subprocess\ndef handler(event, context):\n    subprocess.run(['sleep', '2', ], executable='/bin/sleep')\n    subprocess.run(['/bin/sh', '-c', 'sleep 2', event])\n")
    thread = threading.Thread(target=call, args=(server, "sleeper", marker))
    thread.start()
    pid = harness.wait_until(lambda: calls.processes_with(marker), what="the shell")[0]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    uid = int(status.split("Uid:\t")[1].split()[0])
    if os.getuid() == 0:
        assert uid > 1 << 24, "an id that nobody has"
    namespaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("user", "pid", "mnt", "ipc", "uts", "net")}
    assert not set(namespaces.values()) & {os.readlink(f"/proc/self/ns/{kind}") for kind in namespaces}
    thread.join()


def test_dev_has_what_programs_need_and_no_more(server, at_init):
    for when, found in both(server, at_init, "devices"):
        links = {"fd": "link", "stdin": "link", "stdout": "link", "stderr": "link"}
        nodes = {name: "char" for name in ("null", "zero", "full", "random", "urandom")}
        assert found == {**links, **nodes, "shm": "dir"}, when


def test_a_call_sees_its_own_processes_only(server):
    assert do(server, "attacks", "processes") == [1]


def test_init_sees_no_process_of_the_host(server, at_init):
    # The launcher hides itself, and clones of others are in other namespaces.
    assert len(at_init("processes")) <= 2


def test_nothing_of_the_host_is_there(server):
    def look(path):
        return do(server, "attacks", "listing", path=path)

    root = set(look("/"))
    assert root <= {"bin", "dev", "etc", "lib", "lib64", "opt", "proc", "tmp", "usr", "var", "root", "home"}
    # Where an interpreter lives in a home folder, the way to it is there, and nothing beside it.
    way = pathlib.Path(sys.base_prefix)
    for folder in [*way.parents]:
        if folder in (pathlib.Path("/root"), pathlib.Path("/home")) or folder.parent == pathlib.Path("/home"):
            assert look(str(folder)) == [way.relative_to(folder).parts[0]], folder
    for folder in ("/root", "/home", "/var/lib", "/var/log", "/run", "/sys", "/boot", "/srv", "/mnt", "/usr/share/doc"):
        if pathlib.Path(folder) not in way.parents:
            assert look(folder) in ("ENOENT", "EACCES", []), folder
    for file in ("/etc/shadow", "/etc/sudoers", "/etc/machine-id", "/etc/ssh", "/proc/kcore", "/proc/1/root" "/etc/shadow"):
        assert do(server, "attacks", "read", path=file) in ("ENOENT", "EACCES", "EPERM", "EISDIR"), file
    assert set(look("/var")) <= {"lang", "runtime", "task"}
    secret = server.keys["secret_access_key"]
    for path in (server.folder, server.folder / "credentials.json"):
        assert look(str(path)) == "ENOENT"
    assert do(server, "attacks", "search", texts=[secret]) == []
    assert secret not in json.dumps(do(server, "attacks", "read", path="/proc/self/environ"))
    assert "root:x" in do(server, "attacks", "read", path="/etc/passwd")
    assert do(server, "attacks", "read", path="/etc/passwd").count("\n") == 3


def test_only_tmp_and_shm_can_be_written(server, at_init):
    for when, found in both(server, at_init, "writable_places"):
        assert found == ["/dev/shm", "/tmp"], when
    task = do(server, "attacks", "write", paths=["/var/task/app.py", "/var/runtime/bootstrap.py", "/etc/passwd", "/usr/bin/env", "/bin/sh"])
    assert set(task.values()) <= {"EROFS", "EACCES"}, task


def test_the_kernels_knobs_cannot_be_turned(server, at_init):
    paths = [
        "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/drop_caches", "/proc/sys/fs/file-max", "/proc/sys/kernel/panic",
        "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/core/somaxconn", "/proc/sys/user/max_user_namespaces",
        "/proc/sys/kernel/ns_last_pid", "/proc/1/oom_score_adj", "/proc/acpi/wakeup", "/proc/irq/0/smp_affinity", "/proc/mtrr",
        "/proc/self/uid_map", "/proc/self/setgroups",
    ]
    found = do(server, "attacks", "write", paths=paths)
    # One's own score may be raised, and lowered to where it was.
    found.pop("/proc/1/oom_score_adj")
    if os.getuid() != 0:
        # The network namespace's own, of nobody else's network.
        found = {path: what for path, what in found.items() if "/sys/net/" not in path}
    assert "written" not in found.values(), found


REFUSED_WITH_ANY = {errno.EPERM, errno.ENOSYS}


def test_system_calls_that_reach_further_are_refused(server, at_init):
    for when, found in both(server, at_init, "system_calls"):
        allowed = {name: errno.errorcode.get(code, code) for name, code in found.items() if code not in REFUSED_WITH_ANY}
        assert allowed == {}, f"in {when}"


def test_sockets_that_reach_further_are_refused(server, at_init):
    for when, found in both(server, at_init, "sockets"):
        made = {name for name, code in found.items() if code == 0}
        assert not made, f"in {when}: {made}"
        assert {found[name] for name in ("vsock", "packet", "alg")} <= REFUSED_WITH_ANY


# Signals ------------------------------------------------------------------------------------------------------------------


def test_nothing_else_can_be_signalled(server, at_init):
    marker = f"marker-{os.getpid()}-victim"
    source = "import subprocess\ndef handler(event, context):\n    return subprocess.run(['/bin/sh', '-c', 'sleep 4', event]).returncode\n"
    server.create("signalled", source, Timeout=20)
    results = []
    thread = threading.Thread(target=lambda: results.append(call(server, "signalled", marker).payload))
    thread.start()
    harness.wait_until(lambda: calls.processes_with(marker), what="the victim")
    assert do(server, "attacks", "signal_others") == []
    at_init("signal_others")
    thread.join()
    assert results == [0]
    assert server.process.poll() is None


# Network ------------------------------------------------------------------------------------------------------------------


class _Secret(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"secret of the host")

    def log_message(self, *_):
        pass


def test_the_network_is_the_platforms_endpoint_and_nothing_else(server, at_init):
    listener = http.server.HTTPServer(("127.0.0.1", 0), _Secret)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        host = [["127.0.0.1", listener.server_port], ["localhost", listener.server_port]]
        outside = [["1.1.1.1", 443], ["169.254.169.254", 80], ["10.0.0.1", 80], ["2606:4700:4700::1111", 443]]
        own_port = int(server.endpoint.rsplit(":", 1)[1])
        found = do(server, "attacks", "connect", addresses=[*host, *outside, ["::1", own_port]])
        assert "connected" not in found.values(), found
        assert do(server, "attacks", "interfaces") == ["lo"]
        assert do(server, "attacks", "connect", addresses=[["127.0.0.1", 4566]]) == {"127.0.0.1": "connected"}
        assert at_init("interfaces") == ["lo"]
    finally:
        listener.shutdown()


def test_the_endpoint_wants_a_signature_and_tells_nothing_without(server):
    status, body = do(server, "attacks", "get", path="/2015-03-31/functions/")
    assert status == 403 and "Missing Authentication Token" in body
    for path in ("/-/metrics", "/-/health"):
        assert do(server, "attacks", "get", path=path)[0] in (403, 404), path


def test_a_function_can_call_another_with_its_roles_credentials(server):
    result = do(server, "attacks", "invoke", function="neighbour", payload={"do": "echo", "value": "called"})
    assert result == [200, "called"]


def test_one_that_holds_all_its_connections_does_not_hold_others(server):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(do(server, "attacks", "hold_connections", count=900, seconds=3))
    )
    thread.start()
    time.sleep(1)
    started = time.monotonic()
    for _ in range(5):
        assert do(server, "neighbour", "echo", value=1) == 1
    assert do(server, "neighbour", "invoke", function="victim", payload={"do": "echo", "value": 2}) == [200, 2]
    assert time.monotonic() - started < 8 * harness.SLOW
    thread.join()
    assert results[0] > 100


# Starving others ----------------------------------------------------------------------------------------------------------

BOMBS = {
    "fork bomb": dict(do="fork_bomb", seconds=3),
    "memory bomb": dict(do="memory_bomb", children=20),
    "disk bomb": dict(do="disk_bomb", seconds=3),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_does_not_stop_the_neighbours(server, bomb):
    name = bomb.replace(" ", "-")
    server.create(name, calls.source_of("attacks.py"), MemorySize=256, Timeout=5)
    do(server, "neighbour", "echo", value=0)
    thread = threading.Thread(target=call, args=(server, name, BOMBS[bomb]))
    thread.start()
    times = []
    while thread.is_alive() and len(times) < 200:
        started = time.monotonic()
        assert do(server, "neighbour", "echo", value=1) == 1
        times.append(time.monotonic() - started)
        time.sleep(0.05)
    thread.join(20 * harness.SLOW)
    assert not thread.is_alive()
    assert times and max(times) < 5 * harness.SLOW, f"a neighbour's call took {max(times):.1f} s"


def test_a_bomb_at_init_does_not_stop_the_neighbours(server):
    source = """
        import os
        generation = 0
        while True:
            try:
                os.fork()
                generation += 1
                if generation == 5:
                    os.write(1, b"five generations\\n")
            except OSError:
                pass
    """
    server.create("init-bomb", source, MemorySize=256, Timeout=2)
    do(server, "neighbour", "echo", value=0)
    made = []
    thread = threading.Thread(target=lambda: made.append(call(server, "init-bomb")))
    thread.start()
    while thread.is_alive():
        assert do(server, "neighbour", "echo", value=1) == 1
    thread.join()
    assert made[0].failed
    lines = harness.wait_until(lambda: server.cli("logs", "init-bomb").stdout, what="the bomb's log")
    assert "five generations" in lines, "the bomb went off"


# Its own code and runtime ---------------------------------------------------------------------------------------------------


def test_set_user_id_programs_of_a_package_give_nothing(server):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("app.py", calls.source_of("attacks.py"))
        for name, mode in (("suid.sh", 0o104755), ("sgid.sh", 0o102755), ("both.sh", 0o106777)):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            # A Unix extra field that says that root owns it.
            entry.extra = b"ux\x0b\x00\x01\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00"
            archive.writestr(entry, "#!/bin/sh\nid -u\n")
    client = server.client()
    client.create_function(
        FunctionName="suid", Runtime=harness.RUNTIME, Role=harness.ROLE, Handler="app.handler", Code={"ZipFile": content.getvalue()},
        Timeout=min(900, round(10 * harness.SLOW)),
    )
    client.get_waiter("function_active_v2").wait(FunctionName="suid", WaiterConfig={"Delay": 0.1})
    found = do(server, "suid", "set_user_id", paths=["/var/task/suid.sh", "/var/task/sgid.sh", "/var/task/both.sh"])
    own = do(server, "suid", "status")["Uid"].split()[0]
    for path, (mode, uid) in found.items():
        assert int(mode, 8) & 0o6000 == 0, f"{path} has mode {mode}"
        assert uid == own


PATCHES = {
    "json": "import json\njson.dumps = json.loads = None\njson.JSONEncoder.default = None",
    "os": "import os\nos._exit = lambda code: None\nos.kill = os.close = os.dup2 = None",
    "sys.modules": "import sys\nsys.modules.clear()",
    "main": "import sys\nmain = sys.modules['__main__']\nfor name in dir(main):\n    setattr(main, name, None)",
    "struct": "import struct\nstruct.pack = lambda *a: b'\\xff' * 100",
    "descriptors": "import os\nos.closerange(0, 64)",
    "socket": "import _socket\n_socket.socket = None",
    "built-ins": "import builtins\nbuiltins.len = lambda x: -1\nbuiltins.open = None",
    "recursion": "import sys\nsys.setrecursionlimit(60)",
    "signals": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.alarm(1)",
    "exit": "import atexit, os\natexit.register(os.abort)",
}


def test_init_that_breaks_its_own_runtime_harms_only_itself(server):
    def one(patch):
        name = "patch-" + patch.replace(".", "-").replace(" ", "-")
        server.create(name, PATCHES[patch] + "\ndef handler(event, context):\n    return event\n", Timeout=3)
        return attempt(server, name)

    do(server, "neighbour", "echo", value=1)
    for patch, outcome in zip(PATCHES, together(one, PATCHES, threads=3)):
        assert outcome is not None, patch
    assert do(server, "neighbour", "echo", value=1) == 1


def attempt(server, name, seconds=45):
    """Calls a function that may be broken in any way: an answer, or a server error, but in time."""
    started = time.monotonic()
    try:
        return call(server, name, {"value": 1})
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 502), error
        return error
    finally:
        assert time.monotonic() - started < seconds * harness.SLOW


SEND = "import os, socket, struct, sys, threading, time\ncontrol = socket.socket(fileno=os.dup(3))\n"
REPLACED = "main = sys.modules['__main__']\ndef handler(event, context): return 'served'\n"

ZYGOTES = {
    "says garbage": SEND + "control.send(b'\\xff\\x00garbage'); time.sleep(60)",
    "is ready and says nothing more": SEND + "control.send(b'R'); time.sleep(600)",
    "answers with the launcher's pid": SEND + "control.send(b'R')\nwhile True:\n    control.recv(64); control.send(b'C1')",
    "answers with its own pid": SEND + "control.send(b'R')\nwhile True:\n    control.recv(64); control.send(b'C%d' % os.getpid())",
    "answers with a pid that is not": SEND + "control.send(b'R')\nwhile True:\n    control.recv(64); control.send(b'C2147483647')",
    "answers with a negative pid": SEND + "control.send(b'R')\nwhile True:\n    control.recv(64); control.send(b'C-1')",
    "answers with a child that is no clone": SEND + "control.send(b'R')\nwhile True:\n    control.recv(64); pid = os.fork() or time.sleep(600); control.send(b'C%d' % pid)",
    "answers with a sibling that is no clone": SEND
    + "import ctypes\nlibc = ctypes.CDLL(None)\ncontrol.send(b'R')\nwhile True:\n    control.recv(64); pid = libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0) or time.sleep(600); control.send(b'C%d' % pid)",
    "answers before it is asked": SEND + "control.send(b'R')\nfor n in range(1000): control.send(b'C5')\ntime.sleep(600)",
    "floods": SEND
    + "control.send(b'R')\ndef flood():\n    while True:\n        try: control.send(b'Eno')\n        except OSError: time.sleep(0.001)\nfor n in range(4):\n    if os.fork() == 0: flood()\nflood()",
    "floods with large words": SEND + "control.send(b'R')\nwhile True: control.send(b'E' + b'\\0' * 65000)",
    "gives a long reason": SEND + "control.send(b'R' + b'\\0' * 65000); time.sleep(600)",
    "gives a long error": SEND + "control.send(b'F' + b'\\0' * 65000); os._exit(1)",
    "sends descriptors": SEND + "fd = os.open('/dev/null', 0)\nfor n in range(50): socket.send_fds(control, [b'Eno'], [fd] * 8)\ntime.sleep(600)",
    "closes its socket": "import os, time\nos.close(3)\ntime.sleep(600)",
    "exits when asked": SEND + "control.send(b'R')\ncontrol.recv(64)\nos._exit(0)",
}


def test_a_hostile_zygote_harms_only_its_own_function(server):
    """Whatever a zygote says, its function's calls get an answer in time, and others do not notice."""
    do(server, "neighbour", "echo", value=1)

    def one(kind):
        name = "zygote-" + str(list(ZYGOTES).index(kind))
        server.create(name, ZYGOTES[kind] + "\ndef handler(event, context): return 1\n", MemorySize=256, Timeout=3)
        return attempt(server, name)

    stop, worst = threading.Event(), [0.0]

    def neighbour():
        while not stop.is_set():
            started = time.monotonic()
            assert do(server, "neighbour", "echo", value=1) == 1
            worst[0] = max(worst[0], time.monotonic() - started)
            time.sleep(0.1)

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        outcomes = together(one, ZYGOTES, threads=8)
    finally:
        stop.set()
        thread.join()
    for kind, outcome in zip(ZYGOTES, outcomes):
        assert not isinstance(outcome, calls.Call) or outcome.failed, kind
    assert worst[0] < 5 * harness.SLOW
    for number in range(len(ZYGOTES)):
        server.client().delete_function(FunctionName=f"zygote-{number}")


ANSWERS = {
    "garbage": "call.sendall(b'\\xff' * 1000)",
    "a huge length": "call.sendall(struct.pack('<BI', 82, 0xFFFFFFFF)); time.sleep(60)",
    "a huge log": "call.sendall(struct.pack('<BI', 76, 0xFFFFFFFF)); time.sleep(60)",
    "a huge error": "call.sendall(struct.pack('<BI', 69, 0x7FFFFFFF)); time.sleep(60)",
    "half a frame": "call.sendall(struct.pack('<BI', 82, 100) + b'{}'); time.sleep(60)",
    "half a frame and an end": "call.sendall(struct.pack('<BI', 82, 100) + b'{}'); os._exit(0)",
    "two logs": "call.sendall(struct.pack('<BI', 76, 1) + b'a' + struct.pack('<BI', 76, 1) + b'b'); time.sleep(60)",
    "that init is done": "call.sendall(struct.pack('<BI', 73, 0)); time.sleep(60)",
    "that init failed": "call.sendall(struct.pack('<BI', 70, 2) + b'{}'); time.sleep(60)",
    "an error that is not JSON": "call.sendall(struct.pack('<BI', 69, 3) + b'\\xff\\x00{'); time.sleep(60)",
    "one byte at a time, for ever": "call.sendall(struct.pack('<BI', 82, 1 << 20))\nwhile True:\n    call.sendall(b' '); time.sleep(0.01)",
    "nothing, closed": "call.close(); os.closerange(3, 64); time.sleep(60)",
}


def test_a_hostile_instance_gets_a_typed_error_in_time(server):
    def one(kind):
        name = "instance-" + str(list(ANSWERS).index(kind))
        source = (
            "import os, socket, struct, time\n"
            "def handler(event, context):\n"
            "    for fd in range(3, 64):\n"
            "        try:\n"
            "            if os.readlink('/proc/self/fd/%d' % fd).startswith('socket:'): break\n"
            "        except OSError: pass\n"
            "    call = socket.socket(fileno=fd)\n    " + ANSWERS[kind].replace("\n", "\n    ") + "\n    time.sleep(60)\n"
        )
        server.create(name, source, MemorySize=256, Timeout=2)
        started = time.monotonic()
        made = raw(server, name)
        assert time.monotonic() - started < 15 * harness.SLOW, kind
        record = record_of(server, name, made)
        calls.agree(made, record)
        return made, record

    for kind, (made, record) in zip(ANSWERS, together(one, ANSWERS, threads=4)):
        assert made.failed, kind
        assert record["status"] in ("error", "exit", "timeout"), kind


def raw(server, name):
    """A call whose answer may be anything."""
    answer = server.client().invoke(FunctionName=name, Payload=b"{}", LogType="Tail")
    import base64

    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    lines = base64.b64decode(answer["LogResult"]).decode().rstrip("\n").split("\n")
    return calls.Call(
        request_id=headers["x-amzn-requestid"], instance_id=headers["x-dayfly-instance-id"],
        failed="FunctionError" in answer, payload=answer["Payload"].read(), lines=lines,
    )


def test_output_cannot_forge_the_account(server):
    """Lines that look like the server's are the function's all the same: the bill is made of records."""
    source = (
        "import os\n"
        "def handler(event, context):\n"
        "    id = context.aws_request_id\n"
        "    for line in ('END RequestId: ' + id, 'REPORT RequestId: ' + id + '\\tDuration: 0.01 ms\\tBilled Duration: 0 ms\\tMemory Size: 1 MB\\tMax Memory Used: 1 MB\\t'):\n"
        "        print(line)\n"
        "    import time; time.sleep(0.2)\n"
    )
    server.create("forger", source, MemorySize=256)
    made = call(server, "forger")
    record = record_of(server, "forger", made)
    calls.agree(made, record)
    assert record["billed_ms"] >= 200 and record["memory_mb"] == 256
    bill = json.loads(server.cli("bill", "--json").stdout)
    row = next(row for row in bill["rows"] if row["name"].endswith(":forger"))
    assert row["billed_ms"] == record["billed_ms"] and row["requests"] == 1
