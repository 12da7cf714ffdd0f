"""Jobs that run in the caller's own environment: this test's, with its NumPy."""

import json
import os
import sys
import threading

import harness
import jobs
import numpy
from jobs import frame

ARRAY_BYTES = 200 << 20


def own_environment(path=None):
    """This interpreter and what it sees."""
    path = [entry for entry in sys.path if entry.startswith("/")] if path is None else path
    return {"kind": "local", "executable": sys.executable, "path": path}


class Memory(threading.Thread):
    """Highest anonymous memory of a server and of what it started, shared pages counted once, while a block runs."""

    def __init__(self, server):
        super().__init__()
        self.server, self.done = server, threading.Event()
        self.bytes = self.files = 0

    def run(self):
        while not self.done.wait(0.25):
            totals = {"Pss_Anon:": 0, "Pss_File:": 0}
            below = (process.split()[0] for process in harness.descendants(self.server.pid))
            for pid in [self.server.pid, *below]:
                try:
                    with open(f"/proc/{pid}/smaps_rollup") as lines:
                        for line in lines:
                            name, _, value = line.partition(" ")
                            if name in totals:
                                totals[name] += int(value.split()[0]) << 10
                except (FileNotFoundError, ProcessLookupError):
                    pass  # It has ended meanwhile.
            self.bytes, self.files = max(self.bytes, totals["Pss_Anon:"]), max(self.files, totals["Pss_File:"])

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


SUMS = """
def make(array):
    def call(arguments):
        array[:512] = 3.0
        # Every page of it.
        return b"%d" % int(array[::512].sum())
    return call
"""


def test_a_captured_array_is_in_memory_once_for_a_thousand_calls(server):
    array = numpy.ones(ARRAY_BYTES // 8)
    file = jobs.captured_file(SUMS, array)
    # What it is after the call has written to its own first page.
    expected = b"%d" % (ARRAY_BYTES // 4096 - 1 + 3)
    with Memory(server) as memory:
        stream, _ = jobs.begin(
            server, file, memory_mb=1769, imports=["numpy"], environment=own_environment(), max_in_flight=8
        )
        results = {}
        with stream:
            sender = threading.Thread(
                target=lambda: stream.send(*(frame("C", {"n": n}) for n in range(1000)), frame("Z", {}))
            )
            sender.start()
            for kind, header, body in stream.rest():
                if kind == "R":
                    results[header["n"]] = (header["status"], body)
            sender.join()
            stream.end()
    assert len(results) == 1000 and set(results.values()) == {("success", expected)}, set(results.values())
    # One copy is the zygote's. All that the server and a thousand calls have beside it is less than another.
    assert memory.bytes > ARRAY_BYTES // 2, f"it was not measured: {memory.bytes >> 20} MB"
    assert memory.bytes + memory.files < 2 * ARRAY_BYTES, f"{memory.bytes >> 20} MB and {memory.files >> 20} MB of files"


def test_an_array_that_leaves_little_room_in_a_calls_memory_stays_in_its_file(server):
    array = numpy.ones(ARRAY_BYTES // 2 // 8)
    file = jobs.captured_file(SUMS, array)
    with Memory(server) as memory:
        found, _ = jobs.run(
            server, file, [b""] * 20, memory_mb=192, imports=["numpy"], environment=own_environment(), max_in_flight=4
        )
    expected = b"%d" % (ARRAY_BYTES // 2 // 4096 - 1 + 3)
    assert {(header["status"], body) for header, body in found.values()} == {("success", expected)}, found
    assert memory.bytes < ARRAY_BYTES // 2, f"{memory.bytes >> 20} MB"


LOOKS = """
def call(arguments):
    import json, os, sys, numpy
    return json.dumps({
        "path": sys.path, "executable": sys.executable, "prefix": sys.prefix, "numpy": numpy.__file__,
        "product": float((numpy.ones((64, 64)) @ numpy.ones((64, 64))).sum()),
        "seen": [path for path in json.loads(arguments) if os.path.exists(path)],
    }).encode()
"""


def test_a_call_sees_the_callers_packages_and_nothing_else(server, tmp_path):
    (tmp_path / "shown").mkdir()
    (tmp_path / "beside").mkdir()
    shown = str(tmp_path / "shown")
    path = [shown, *(entry for entry in sys.path if entry.startswith("/") and "/tests" not in entry)]
    secrets = [str(tmp_path / "beside"), str(server.folder), "/etc/shadow", os.path.expanduser("~/.ssh"), "/home"]
    outcomes, _ = jobs.run(
        server, LOOKS, [json.dumps([*secrets, shown]).encode()], memory_mb=256, environment=own_environment(path)
    )
    header, body = outcomes[0]
    assert header["status"] == "success", body
    seen = json.loads(body)
    assert seen["path"] == path and seen["executable"] == sys.executable and seen["prefix"] == sys.prefix
    assert seen["numpy"] == numpy.__file__ and seen["product"] == 64.0**3
    assert seen["seen"] == [shown]


def test_an_interpreter_of_another_version_is_refused_before_anything_runs(server):
    minor = sys.version_info[1]
    other = f"python3.{minor - 1 if minor > 9 else minor + 1}"
    stream = jobs.Stream(server)
    with stream:
        job = {"name": "f", "runtime": other, "environment": own_environment()}
        stream.send(frame("S", job, jobs.function_file("def call(arguments): return b''")))
        frames = stream.rest()
    kind, header, _ = frames[-1]
    assert kind == "E" and header["type"] == "InvalidEnvironment", frames
    assert f"the job is for {other}" in header["message"] or f"no interpreter for {other}" in header["message"]
