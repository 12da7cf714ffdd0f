"""Limits that hold: each with its typed error, its log lines, its usage record and its bill."""

import base64
import json
import os
import pathlib
import signal
import threading
import time

import botocore.exceptions
import calls
import harness
import pytest
from calls import agree, call, do, log_of, record_of, together
from harness import SLOW

MB = 1 << 20
PAYLOAD = 6 * MB
RESPONSE = PAYLOAD + 100
KILLED = ("Runtime.OutOfMemory", "RequestId: ID Error: Runtime exited with error: signal: killed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that gives init 1.5 s, with the functions that run into limits."""
    with harness.Server(tmp_path_factory.mktemp("limits") / "data", config=f"[limits]\ninit_ms = {1500 * SLOW}\n") as server:
        source = calls.source_of("limits.py")
        server.create("small", source, MemorySize=128, Timeout=20)
        server.create("tight", source, MemorySize=128, Timeout=5)
        server.create("large", source, MemorySize=1769, Timeout=30)
        server.create("brief", source, MemorySize=512, Timeout=1)
        server.create("family", source, MemorySize=512, Timeout=5)
        yield server
        assert server.stop() == 0
    assert server.leftovers() == {}


# Time --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sleep", "spin", "spin_in_c", "ignore_signals"])
def test_a_call_ends_at_its_timeout_whatever_it_does(server, how):
    started = time.monotonic()
    made = call(server, "brief", {"do": how})
    assert 1 <= time.monotonic() - started < 6 * SLOW
    assert made.error == ("Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.00 seconds")
    assert made.payload["errorMessage"].startswith(f"RequestId: {made.request_id} ")
    assert made.lines[0] == f"START RequestId: {made.request_id} Version: $LATEST"
    at, request_id, rest = made.lines[1].split(" ", 2)
    assert (request_id, rest) == (made.request_id, "Task timed out after 1.00 seconds") and at.endswith("Z")
    assert made.lines[2] == f"END RequestId: {made.request_id}"
    assert (made.report["duration"], made.report["billed"]) == ("1000.00", "1000")
    assert made.report["more"].endswith("Status: timeout\t")
    record = record_of(server, "brief", made)
    agree(made, record)
    assert record["status"] == "timeout"


def test_children_of_a_call_that_timed_out_are_gone(server):
    marker = f"marker-{os.getpid()}-timeout"
    thread = threading.Thread(target=call, args=(server, "family", {"do": "children_that_sleep", "marker": marker}))
    thread.start()
    harness.wait_until(lambda: len(calls.processes_with(marker)) >= 4, what="four processes of the call")
    thread.join()
    assert calls.processes_with(marker) == []


# Memory ------------------------------------------------------------------------------------------------------------------

WAYS_TO_HOLD = {
    "one process": dict(do="hold", mb=200),
    "threads": dict(do="hold_in_threads", count=10, mb=20),
    "shared memory": dict(do="hold_mapped", mb=200),
    "private memory": dict(do="hold_mapped", mb=200, shared=False),
    "/dev/shm": dict(do="hold_file", mb=200),
    "/tmp": dict(do="hold_file", mb=200, folder="/tmp"),
    "memfd": dict(do="hold_memfd", mb=200),
    "unix sockets": dict(do="hold_in_unix_sockets", mb=200),
}


def test_128_mb_cannot_hold_200_mb_in_any_way(server):
    ways = together(lambda way: call(server, "small", WAYS_TO_HOLD[way]), WAYS_TO_HOLD, threads=4)
    for way, made in zip(WAYS_TO_HOLD, ways):
        assert made.failed and made.error == KILLED, way
        assert made.lines[1:] == [
            f"RequestId: {made.request_id} Error: Runtime exited with error: signal: killed",
            "Runtime.OutOfMemory",
            f"END RequestId: {made.request_id}",
            made.lines[-1],
        ], way
        assert "Status: error\tError Type: Runtime.OutOfMemory\t" in made.report["more"], way
        assert made.report["used"] == "128"
        record = record_of(server, "small", made)
        agree(made, record)
        assert record["status"] == "out_of_memory"


@pytest.mark.parametrize("count, mb", [(4, 50), (20, 10), (100, 2)])
def test_128_mb_cannot_hold_200_mb_in_processes(server, count, mb):
    started = time.monotonic()
    made = call(server, "tight", dict(do="hold_in_processes", count=count, mb=mb))
    # The kernel may kill the children, and the call answers; or the call itself.
    if made.failed:
        assert made.error[0] in ("Runtime.OutOfMemory", "Sandbox.Timedout"), made.error
    else:
        assert made.payload * mb < 128
    assert int(made.report["used"]) <= 128
    # What was killed must not wait for its share of the CPU to die.
    assert time.monotonic() - started < 12 * SLOW


def test_buffers_of_tcp_are_bounded_too(server):
    if harness.CGROUP_V2:
        # They count as memory of their owner.
        made = call(server, "small", dict(do="hold_in_tcp_sockets", mb=300))
        assert made.error[0] in ("Runtime.OutOfMemory", "Sandbox.Timedout") if made.failed else made.payload[0] < 128 * MB
        return
    held, _ = do(server, "large", "hold_in_tcp_sockets", mb=300)
    assert held < 128 * MB


def test_what_fits_is_given(server):
    made = call(server, "small", dict(do="hold", mb=90))
    assert made.payload == 90 * MB
    assert 98 <= int(made.report["used"]) <= 128
    record = record_of(server, "small", made)
    agree(made, record)
    assert record["memory_peak_bytes"] > 90 * MB


def test_many_calls_at_once_of_a_function_that_fills_its_memory_at_init(server):
    """What a clone costs its zygote (page tables) must not be what kills the zygote."""
    source = "held = bytearray(95 << 20)\nimport time\ndef handler(event, context):\n    time.sleep(0.5)\n    return len(held)\n"
    server.create("filled", source, MemorySize=128, Timeout=60)
    made = together(lambda _: call(server, "filled", tail=False), range(48), threads=48)
    assert [one.payload for one in made] == [95 << 20] * 48
    assert all(int(one.report["used"]) <= 128 for one in [call(server, "filled")])


def test_init_runs_out_of_memory(server):
    server.create("greedy", "held = bytearray(300 << 20)\ndef handler(event, context): pass\n", MemorySize=128)
    made = call(server, "greedy")
    assert made.error[0] == "Runtime.OutOfMemory" and "signal: killed" in made.error[1]
    record = record_of(server, "greedy", made)
    agree(made, record)
    assert record["status"] == "out_of_memory" and record["init_us"] is None


# Storage, processes, files -----------------------------------------------------------------------------------------------


def test_tmp_has_its_size_and_no_more(server):
    written, error = do(server, "large", "fill_tmp")
    assert (written, os.strerror(error)) == (512 * MB, "No space left on device")
    # Nothing is left of it, and neither are there endless empty files.
    made, error = do(server, "large", "fill_inodes")
    assert made < 200_000 and os.strerror(error) == "No space left on device"


def test_a_larger_tmp_can_be_had(server):
    server.create("wide", calls.source_of("limits.py"), MemorySize=1024, Timeout=30, EphemeralStorage={"Size": 600})
    assert do(server, "wide", "fill_tmp") == [600 * MB, 28]


def test_processes_threads_and_files_are_bounded(server):
    made, error = do(server, "large", "fork_until_refused")
    assert made == 1023 and os.strerror(error) == "Resource temporarily unavailable"
    assert do(server, "large", "threads_until_refused") == 1023
    opened, error = do(server, "large", "open_until_refused")
    assert 1000 < opened < 1024 and os.strerror(error) == "Too many open files"
    assert do(server, "large", "raise_limits") == []


def test_processes_are_bounded_at_init(server):
    source = """
        import os, time
        made = 0
        try:
            while made < 3000:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
                made += 1
        except OSError:
            pass
        def handler(event, context): return made
    """
    server.create("forks", source, MemorySize=1769, Timeout=15)
    made = call(server, "forks")
    # Init left processes behind, so its zygote is not cloned and the call has an instance of its own; none has more.
    assert made.failed or made.payload <= 1024


# Payload -----------------------------------------------------------------------------------------------------------------


def test_a_payload_of_6_mb_goes_in_and_one_byte_more_does_not(server):
    frame = len(json.dumps({"do": "length", "text": ""}))
    assert do(server, "large", "length", text="x" * (PAYLOAD - frame)) == PAYLOAD - frame
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        do(server, "large", "length", text="x" * (PAYLOAD - frame + 1))
    error = refused.value.response
    assert error["Error"]["Code"] == "RequestTooLargeException"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_result_of_6_mb_comes_out_and_one_byte_more_does_not(server):
    assert len(do(server, "large", "text", characters=RESPONSE - 2)) == RESPONSE - 2
    made = call(server, "large", {"do": "text", "characters": RESPONSE - 1})
    assert made.error == (
        "Function.ResponseSizeTooLarge",
        f"Response payload size ({RESPONSE + 1} bytes) exceeded maximum allowed payload size ({RESPONSE} bytes).",
    )
    record = record_of(server, "large", made)
    agree(made, record)
    assert record["status"] == "error"


def test_a_flood_of_log_is_cut_and_said(server):
    made = call(server, "large", dict(do="flood", lines=150_000, line="y" * 99 + "\n"))
    assert made.payload is None
    dropped = 150_000 * 100 - (10 << 20)
    assert made.lines[-3] == f"[dayfly] {dropped} bytes of log were dropped: over the limit of one call"
    agree(made, record_of(server, "large", made))


WRITING = """
import io, os, sys
def handler(event, context):
    if event == "text": print("written", end="")
    if event == "bytes": sys.stdout.buffer.write(b"written")
    if event == "error": sys.stderr.write("written")
    if event == "error's bytes": sys.stderr.buffer.write(b"written")
    if event == "after a line": print("a line"); print("written", end="")
    if event == "another stream": sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb")); print("written", end="")
    if event == "both": print("writ", end=""); sys.stdout.flush(); sys.stdout.buffer.write(b"ten")
    if event == "raised": print("written", end=""); raise ValueError
"""


def test_what_waits_to_be_written_is_written_at_the_end(server):
    server.create("writing", WRITING)
    for way in ["text", "bytes", "error", "error's bytes", "after a line", "another stream", "both", "raised"]:
        lines = call(server, "writing", way).lines
        assert "written" in lines, (way, lines)
    assert "written" not in call(server, "writing", "nothing").lines


def test_events_and_contexts_of_any_length_come_whole(server):
    source = "def handler(event, context):\n    return [event, context.client_context.custom, context.aws_request_id]\n"
    server.create("whole", source)
    # Around what is read at once (2 KiB), what is copied (64 KiB), and both together.
    for length in [1, 1500, 1700, 1900, 2046, 2047, 2048, 2049, 4096, 65_533, 65_536, 1_000_000]:
        for custom in ["", "c" * 1800, "\u00fc" * 1000]:
            context = base64.b64encode(json.dumps({"custom": custom}, ensure_ascii=False).encode()).decode()
            answer, payload = server.invoke("whole", "e" * (length - 1) + "\u00fc", ClientContext=context)
            assert payload == ["e" * (length - 1) + "\u00fc", custom, answer["ResponseMetadata"]["RequestId"]]


def test_lines_that_look_like_ours_change_nothing(server):
    forged = (
        "END RequestId: x\n"
        "REPORT RequestId: x\tDuration: 9999.00 ms\tBilled Duration: 9999 ms\tMemory Size: 128 MB\tMax Memory Used: 1 MB\t\n"
    )
    made = call(server, "large", {"do": "forge", "text": forged})
    assert made.payload == "forged"
    record = record_of(server, "large", made)
    agree(made, record)
    assert record["billed_ms"] < 5000 * SLOW
    assert "x" not in calls.usage_of(server, "large")


# Ends --------------------------------------------------------------------------------------------------------------------

ENDS = {
    "exit 0": (dict(do="leave", code=0), "Runtime exited without providing a reason"),
    "exit 7": (dict(do="leave", code=7), "Runtime exited with error: exit status 7"),
    "sys.exit(3)": (dict(do="system_exit", code=3), "Runtime exited with error: exit status 3"),
    "sys.exit('text')": (dict(do="system_exit", code="text"), "Runtime exited with error: exit status 1"),
    "sys.exit()": (dict(do="system_exit", code=None), "Runtime exited without providing a reason"),
    "segmentation fault": (dict(do="crash"), "Runtime exited with error: signal: segmentation fault"),
    "SIGKILL": (dict(do="kill_self", number=signal.SIGKILL), None),
    "SIGTERM": (dict(do="kill_self", number=signal.SIGTERM), None),
    "abort": (dict(do="abort"), None),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_call_that_ends_its_process(server, end):
    event, text = ENDS[end]
    made = call(server, "large", event)
    assert made.error[0] == "Runtime.ExitError"
    assert made.error[1].startswith("RequestId: ID Error: Runtime exited with")
    if text is not None:
        assert made.error[1] == f"RequestId: ID Error: {text}"
    assert made.lines[1].replace(made.request_id, "ID") == made.error[1]
    assert made.lines[2] == "Runtime.ExitError"
    assert "Status: error\tError Type: Runtime.ExitError\t" in made.report["more"]
    record = record_of(server, "large", made)
    agree(made, record)
    assert record["status"] == "exit"


RESULTS = {
    "object": "Unable to marshal response: Object of type object is not JSON serializable",
    "bytes": "Unable to marshal response: Object of type bytes is not JSON serializable",
    "set": "Unable to marshal response: Object of type set is not JSON serializable",
    "key": "Unable to marshal response: keys must be str, int, float, bool or None, not tuple",
    "deep": "Unable to marshal response: maximum recursion depth exceeded while encoding a JSON object",
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_that_is_not_json(server, kind):
    made = call(server, "large", {"do": "result", "kind": kind})
    assert made.error[0] == "Runtime.MarshalError" and made.error[1].startswith(RESULTS[kind][:40])
    assert made.payload["requestId"] == made.request_id and made.payload["stackTrace"] == []
    assert made.lines[1].startswith("[ERROR] Runtime.MarshalError: Unable to marshal response: ")
    record = record_of(server, "large", made)
    agree(made, record)
    assert record["status"] == "error"


def test_not_a_number_is_what_lambda_makes_of_it(server):
    answer = server.client().invoke(FunctionName="large", Payload=json.dumps({"do": "result", "kind": "nan"}))
    assert "FunctionError" not in answer and answer["Payload"].read() == b"NaN"


def test_an_exception_has_its_type_its_message_and_its_place(server):
    made = call(server, "large", {"do": "fail", "message": "it failed"})
    assert made.error == ("ValueError", "it failed")
    assert made.payload["requestId"] == made.request_id
    assert any("in fail" in line for line in made.payload["stackTrace"])
    assert not any("bootstrap" in line for line in made.payload["stackTrace"])
    assert made.lines[1] == "[ERROR] ValueError: it failed"
    record = record_of(server, "large", made)
    agree(made, record)
    assert record["status"] == "error"


# Init --------------------------------------------------------------------------------------------------------------------

INITS = {
    "raises": ("raise KeyError('k')", {}, "KeyError", "'k'"),
    "misses a module": ("import no_such", {}, "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'no_such'"),
    "does not parse": ("def handler(:", {}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': "),
    "has no handler": ("x = 1", {}, "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
    "has a handler name without a dot": (
        "x = 1", {"Handler": "handler"}, "Runtime.MalformedHandlerName",
        "Bad handler 'handler': not enough values to unpack (expected 2, got 1)",
    ),
    "names no file": ("x = 1", {"Handler": "none.handler"}, "Runtime.ImportModuleError", "Unable to import module 'none': No module named 'none'"),
    "exits": ("import os; os._exit(4)", {}, "Runtime.ExitError", "exit status 4"),
    "leaves": ("import sys; sys.exit(5)", {}, "Runtime.ExitError", "exit status 5"),
    "crashes": ("import ctypes; ctypes.string_at(0)", {}, "Runtime.ExitError", "signal"),
    "raises a very long error": ("raise ValueError('\\x00\"é' * 300000)", {}, None, None),
}


def test_every_way_in_which_init_can_fail(server):
    names = {way: f"init-{number}" for number, way in enumerate(INITS)}

    def make_and_call(way):
        source, settings, _, _ = INITS[way]
        server.create(names[way], source, **settings)
        return call(server, names[way], tail=False), call(server, names[way])

    for way, both in zip(INITS, together(make_and_call, INITS, threads=3)):
        _, _, kind, message = INITS[way]
        for made in both:
            assert made.failed, way
            if kind is not None:
                assert made.error[0] == kind and message in made.error[1], way
        made = both[1]
        record = record_of(server, names[way], made)
        agree(made, record)
        assert record["status"] == "init_error", way
        assert "Error Type: Runtime.InitError" in made.report["more"] or kind == "Runtime.ExitError", way
        logged = log_of(server, names[way])
        inits = [line for line in logged if line.startswith("INIT_REPORT ")]
        assert inits and all("Phase: init\tStatus: error" in line for line in inits), way
        if kind is not None:
            assert all(line.endswith(f"Error Type: {kind}") for line in inits), way


def test_an_init_that_is_too_slow_is_tried_again_under_the_timeout(server):
    source = f"import time; time.sleep({2.5 * SLOW})\ndef handler(event, context): return 'up'\n"
    server.create("slow-init", source, Timeout=8)
    made = call(server, "slow-init")
    assert made.payload == "up"
    inits = [line for line in log_of(server, "slow-init") if line.startswith("INIT_REPORT ")]
    assert len(inits) == 1 and inits[0].endswith("Phase: init\tStatus: timeout")


def test_an_init_that_never_ends(server):
    server.create("no-end", "import time; time.sleep(600)\ndef handler(event, context): pass\n", Timeout=2)
    started = time.monotonic()
    made = call(server, "no-end")
    assert time.monotonic() - started < 10 * SLOW
    assert made.error == ("Sandbox.Timedout", "RequestId: ID Error: Task timed out after 2.00 seconds")
    record = record_of(server, "no-end", made)
    agree(made, record)
    assert record["status"] == "timeout" and record["billed_ms"] == 2000


def test_one_pays_for_a_failed_init_that_many_waited_for(server):
    server.create("bad-for-all", "import time; time.sleep(0.7)\nraise ValueError('no')\n")
    made = together(lambda _: call(server, "bad-for-all"), range(4))
    assert {one.error for one in made} == {("ValueError", "no")}
    records = calls.usage_of(server, "bad-for-all", count=4)
    assert sum(record["billed_ms"] >= 700 for record in records.values()) >= 1
    for one in made:
        assert int(one.report["billed"]) == records[one.request_id]["billed_ms"]


# A zygote that is killed ---------------------------------------------------------------------------------------------------


def zygotes(server):
    """Host pids of the zygotes: the interpreters that no other interpreter's sandbox holds, by their cgroups."""
    found = set()
    for path, _, files in os.walk("/sys/fs/cgroup"):
        if "/pids/" not in path and f"dayfly-{server.keys['server_id']}/zygote-" in path and "cgroup.procs" in files:
            found.update(pathlib.Path(path, "cgroup.procs").read_text().split())
    return {int(pid) for pid in found}


def test_a_killed_zygote_is_replaced(server):
    server.create("orphaned", calls.source_of("limits.py"), MemorySize=512)
    before = zygotes(server)
    assert do(server, "orphaned", "echo", x=1) == {"x": 1}
    new = zygotes(server) - before
    assert len(new) == 1
    for pid in new:
        os.kill(pid, signal.SIGKILL)
    made = together(lambda n: call(server, "orphaned", {"do": "echo", "n": n}), range(6), threads=3)
    for n, one in enumerate(made):
        # A call that was given an instance of the dead zygote's sandbox may have ended with it, but with its type.
        assert one.payload == {"n": n} or one.error[0] == "Runtime.ExitError"
    assert do(server, "orphaned", "echo", x=2) == {"x": 2}
    assert not new & zygotes(server)


# CPU -----------------------------------------------------------------------------------------------------------------------


def test_the_share_of_cpu_grows_with_memory(server):
    """A small instance gets its share and no more; a large one more than four times that, if the machine lets it."""
    made = call(server, "small", {"do": "count_cpu", "seconds": 2})
    record = record_of(server, "small", made)
    assert record["cpu_us"] / record["duration_us"] < 0.2, "128 MB are 7 % of a CPU, and what the kernel's periods add"
    most = 0
    for _ in range(6):
        most = max(most, do(server, "large", "count_cpu", seconds=1))
        if most > 4 * made.payload / 2:
            return
    raise AssertionError(f"{most} against {made.payload / 2} pieces of work in a second")


def test_cpu_time_is_accounted_for(server):
    made = call(server, "large", {"do": "count_cpu", "seconds": 0.5})
    record = record_of(server, "large", made)
    assert 50_000 < record["cpu_us"] < 1_500_000 * SLOW


def test_a_long_init_error_is_told_in_part(server):
    server.create("wordy", "raise ValueError('\u00fc' * 100_000)\ndef handler(event, context): pass\n")
    made = call(server, "wordy", {})
    assert made.failed and made.payload["errorType"] == "ValueError"
    assert made.payload["errorMessage"] == "\u00fc" * 4096


SPINNING = """
import __main__, ctypes, os, socket, struct, threading, time
def clone_on_order(begin):
    # In place of the runtime's loop: one that other threads may run beside, once it has been looked at.
    control, libc, machine = socket.socket(fileno=3), ctypes.CDLL(None), __main__._Machine()
    state = machine.state(handler, None)
    control.send(b"R")
    time.sleep(2)
    threading.Thread(target=spin, daemon=True).start()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 16, 2)
        if len(descriptors) < 2:
            os._exit(0)
        pid = libc.syscall(%d, __main__.CLONE_FLAGS, 0, 0, 0, 0)
        if pid == 0:
            machine.code.serve(state, descriptors[0])
        control.send(b"C" + struct.pack("<i", pid))
        for descriptor in descriptors:
            os.close(descriptor)
def spin():
    time.sleep(1)
    while True:
        pass
__main__._first_of_clones = clone_on_order
def handler(event, context):
    return "ok"
""" % {"x86_64": 56, "aarch64": 220}[os.uname().machine]


def test_a_zygote_that_computes_for_itself_is_ended(server):
    before = zygotes(server)
    server.create("miner", SPINNING)
    assert call(server, "miner", {}).payload == "ok"
    miner = zygotes(server) - before
    assert miner
    # Well before it would leave for being idle.
    deadline = time.monotonic() + 30 * SLOW
    while miner & zygotes(server):
        assert time.monotonic() < deadline, "it computes on"
        time.sleep(0.2)
    assert call(server, "miner", {}).payload == "ok"
