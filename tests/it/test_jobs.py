"""Jobs, from the first frame to the bill, against real sandboxes."""

import json
import os
import pathlib
import socket
import subprocess
import time

import calls
import harness
import jobs
import pytest
from jobs import frame

SQUARE = "def call(arguments): return b'%d' % int(arguments) ** 2"


@pytest.mark.parametrize("signed", [False, True])
def test_a_job_runs_its_calls_and_accounts_for_each(server, signed):
    stream, begun = jobs.begin(server, SQUARE, signed=signed, name="square", tags={"team": "maths"})
    with stream:
        stream.send(*(frame("C", {"n": n}, b"%d" % n) for n in range(20)), frame("Z", {}))
        frames = stream.rest()
        stream.end()
    outcomes = {header["n"]: (header, body) for kind, header, body in frames if kind == "R"}
    assert {n: int(body) for n, (_, body) in outcomes.items()} == {n: n * n for n in range(20)}
    assert frames[-1] == ("D", {"calls": 20, "succeeded": 20, "failed": 0, "cancelled": 0}, b"")
    assert {n for kind, header, _ in frames if kind == "W" for n in header["n"]} == set(range(20))
    assert len({header["instance_id"] for header, _ in outcomes.values()}) == 20
    records = calls.usage_of(server, begun["function"], count=20)
    for header, _ in outcomes.values():
        record = records[header["request_id"]]
        assert record["instance_id"] == header["instance_id"] and record["log_stream"] == header["log_stream"]
        assert (record["duration_us"], record["billed_ms"]) == (header["duration_us"], header["billed_ms"])
        assert record["cpu_us"] == header["cpu_us"] and record["tags"] == {"team": "maths"}
        assert header["queued_at_ms"] <= header["started_at_ms"] and header["attempt"] == 1
    (row,) = [row for row in calls.dayfly(server, "GetBill")["rows"] if row["name"].endswith(begun["function"])]
    assert row["requests"] == 20
    assert row["cost"] == pytest.approx(sum(header["cost_usd"] for header, _ in outcomes.values()))
    assert begun["function"] not in [f["FunctionName"] for f in server.client().list_functions()["Functions"]]


def state_of(server, job):
    """What GetJob says."""
    return calls.dayfly(server, "GetJob", job=job)


def test_each_way_to_end_has_its_status(server):
    source = """
import os, time

class Raised(Exception):
    dayfly_payload = b"pickled"

def call(arguments):
    if arguments == b"raise": raise Raised()
    if arguments == b"sleep": time.sleep(100)
    if arguments == b"exit": os._exit(3)
    if arguments == b"eat": return b"x" * (300 << 20)
    if arguments == b"large": return bytes(7 << 20)
    return arguments
"""
    ways = [b"fine", b"raise", b"exit", b"eat", b"large", b"sleep"]
    outcomes, frames = jobs.run(server, source, ways, timeout_s=8 * harness.SLOW)
    status = {ways[n].decode(): header["status"] for n, (header, _) in outcomes.items()}
    assert status == {
        "fine": "success",
        "raise": "raised",
        "exit": "exit",
        "eat": "out_of_memory",
        "large": "refused",
        "sleep": "timeout",
    }
    bodies = {ways[n]: body for n, (_, body) in outcomes.items()}
    assert bodies[b"raise"] == b"pickled"
    assert json.loads(bodies[b"sleep"])["errorType"] == "Sandbox.Timedout"
    assert json.loads(bodies[b"exit"])["errorType"] == "Runtime.ExitError"
    assert json.loads(bodies[b"large"])["errorType"] == "Function.ResponseSizeTooLarge"
    assert frames[-1][:2] == ("D", {"calls": 6, "succeeded": 1, "failed": 5, "cancelled": 0})


def test_what_dies_is_tried_again_and_each_attempt_is_on_the_bill(server):
    source = "import os\ndef call(arguments): os._exit(1)"
    stream, begun = jobs.begin(server, source, retries=2)
    with stream:
        stream.send(frame("C", {"n": 0}, b""), frame("Z", {}))
        outcome = next(header for kind, header, _ in stream.rest() if kind == "R")
    assert (outcome["status"], outcome["attempt"]) == ("exit", 3)
    arn = f"arn:aws:lambda:us-east-1:{server.keys['account']}:function:{begun['function']}"
    records = harness.wait_until(
        lambda: len(found := calls.dayfly(server, "ListUsage", function=arn)["usage"]) == 3 and found, what="three records"
    )
    assert sorted(record["attempt"] for record in records) == [1, 2, 3]
    assert sum(record["billed_ms"] for record in records) == outcome["billed_ms"]
    assert outcome["cost_usd"] > 0


SLEEP = "import time\ndef call(arguments):\n    print('begun', flush=True)\n    time.sleep(1000)"


def running(stream, count):
    """Waits until so many calls have an instance, and say so."""
    begun = []
    while len(begun) < count:
        kind, header, _ = stream.read()
        begun += header["n"] if kind == "W" else []
    return begun


@pytest.mark.parametrize("how", ["frame", "operation", "one", "gone", "shut"])
def test_cancelled_calls_end_within_a_second_and_are_on_the_bill(server, how):
    stream, begun = jobs.begin(server, SLEEP, max_in_flight=3)
    stream.send(*(frame("C", {"n": n}, b"") for n in range(5)))
    assert sorted(running(stream, 3)) == [0, 1, 2]
    assert state_of(server, begun["job"])["running"] == 3
    asked = time.monotonic()
    if how == "frame":
        stream.send(frame("X", {}))
    elif how == "operation":
        calls.dayfly(server, "CancelJob", job=begun["job"])
    elif how == "one":
        stream.send(frame("X", {"calls": [0, 1, 2, 3, 4, 99]}), frame("Z", {}))
    else:
        stream.close()
    if how in ("frame", "operation", "one"):
        frames = stream.rest()
        assert time.monotonic() - asked < 1 * harness.SLOW
        assert {header["n"]: header["status"] for kind, header, _ in frames if kind == "R"} == dict.fromkeys(range(5), "cancelled")
        assert frames[-1][:2] == ("D", {"calls": 5, "succeeded": 0, "failed": 0, "cancelled": 5})
        stream.close()
    harness.wait_until(lambda: state_of(server, begun["job"])["ended_at"], seconds=1 + harness.SLOW, what="the job's end")
    records = calls.usage_of(server, begun["function"], count=3)
    assert [record["status"] for record in records.values()] == ["cancelled"] * 3
    assert all(record["billed_ms"] > 0 for record in records.values())


def test_lines_come_while_the_call_runs_and_are_in_the_log(server):
    source = "import time\ndef call(arguments):\n    print('now', flush=True)\n    time.sleep(1000)"
    stream, begun = jobs.begin(server, source, logs=True)
    with stream:
        stream.send(frame("C", {"n": 7}, b""))
        kinds = [stream.read(), stream.read()]
        assert ("L", {"n": 7}, b"now") in kinds and ("W", {"n": [7]}, b"") in kinds
        stream.send(frame("X", {}))
        stream.rest()
    group = f"/aws/lambda/{begun['function']}"
    logs = server.client("logs")

    def reported():
        try:
            found = logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            # The record and the last lines of a call are on disk soon after its answer.
            return None
        return found if any("REPORT" in event["message"] for event in found) else None

    events = harness.wait_until(reported, what="the log")
    said = [event["message"].split(" ")[0].strip() for event in events]
    assert said[said.index("START") :][:2] == ["START", "now"], said


def test_a_client_that_sends_more_than_there_is_room_for_waits(server):
    stream, begun = jobs.begin(server, SLEEP, max_in_flight=2)
    with stream:
        stream.socket.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                stream.send(frame("C", {"n": sent}, bytes(256 << 10)))
                sent += 1
        # What the sockets hold, and four that the server has taken.
        assert sent < 60
        assert state_of(server, begun["job"])["calls"] == 4
    harness.wait_until(lambda: state_of(server, begun["job"])["ended_at"], what="the job's end")


@pytest.mark.parametrize(
    "frames, status, code",
    [
        ([frame("Q", {})], 400, "ValidationException"),
        ([frame("C", {"n": 0})], 400, "ValidationException"),
        ([frame("S", {"name": "f"})], 400, "ValidationException"),
        ([frame("S", {"name": "f", "runtime": harness.RUNTIME, "memory_mb": 1})], 400, "ValidationException"),
        ([frame("S", {"name": "f", "runtime": "python3.99"})], 400, "ValidationException"),
        ([frame("S", {"name": "f", "runtime": harness.RUNTIME, "tags": {"aws:x": ""}})], 400, "InvalidParameterValueException"),
        ([b"S\xff\xff\xff\xff" + bytes(8)], 400, "ValidationException"),
        ([b""], 400, "ValidationException"),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_what_is_no_job_is_refused(server, frames, status, code, signed):
    with jobs.Stream(server, signed=signed) as stream:
        if frames == [b""]:
            stream.end()
        else:
            stream.send(*frames)
        began = time.monotonic()
        with pytest.raises(jobs.Refused) as refused:
            stream.read()
        assert (refused.value.args[0], refused.value.args[1]["__type"]) == (status, code)
        assert time.monotonic() - began < 1.5 * harness.SLOW


@pytest.mark.parametrize(
    "frames, what",
    [
        ([frame("C", {"n": 1}), frame("C", {"n": 1})], "ascend"),
        ([frame("C", {})], "header"),
        ([frame("Z", {}), frame("C", {"n": 0})], "wrong time"),
        ([frame("Q", {})], "no frame of kind"),
        ([frame("C", {"n": 1}, bytes((6 << 20) + 1))], "may have"),
    ],
)
def test_a_job_whose_client_breaks_the_protocol_fails_as_a_whole(server, frames, what):
    stream, begun = jobs.begin(server, SLEEP)
    with stream:
        stream.send(*frames)
        kind, header, _ = stream.rest()[-1]
        assert kind == "E" and header["type"] == "InvalidFrame" and what in header["message"], header
    harness.wait_until(lambda: state_of(server, begun["job"])["ended_at"], what="the job's end")


def test_a_local_environment_is_for_the_socket_only(server):
    with jobs.Stream(server, signed=True) as stream:
        local = {"kind": "local", "executable": "/usr/bin/python3", "path": []}
        stream.send(frame("S", {"name": "f", "runtime": harness.RUNTIME, "environment": local}))
        with pytest.raises(jobs.Refused) as refused:
            stream.read()
    assert (refused.value.args[0], refused.value.args[1]["__type"]) == (403, "AccessDeniedException")


def test_jobs_are_listed_and_their_calls_paged(server):
    stream, begun = jobs.begin(server, SQUARE, name="listed")
    with stream:
        stream.send(*(frame("C", {"n": n}, b"%d" % n) for n in range(7)), frame("Z", {}))
        stream.rest()
    listed = calls.dayfly(server, "ListJobs", limit=1)
    assert [job["job"] for job in listed["jobs"]] == [begun["job"]] and "token" in listed
    assert calls.dayfly(server, "ListJobs", state="running")["jobs"] == []
    found, token = [], None
    while True:
        page = calls.dayfly(server, "ListJobCalls", job=begun["job"], limit=3, **({"token": token} if token else {}))
        found += page["calls"]
        token = page.get("token")
        if not token:
            break
    assert [call["n"] for call in found] == list(range(7))
    assert {call["state"] for call in found} == {"ended"}


def test_a_server_that_drains_finishes_what_runs_and_refuses_the_rest(folder):
    source = "import time\ndef call(arguments):\n    time.sleep(1)\n    return b'done'"
    with harness.Server(folder) as own:
        stream, _ = jobs.begin(own, source, max_in_flight=2)
        stream.send(*(frame("C", {"n": n}, b"") for n in range(4)), frame("Z", {}))
        running(stream, 2)
        own.process.terminate()
        frames = stream.rest()
        status = {header["n"]: header["status"] for kind, header, _ in frames if kind == "R"}
        assert status == {0: "success", 1: "success", 2: "refused", 3: "refused"}
        stream.close()
        assert own.process.wait(40 * harness.SLOW) == 0


def test_a_server_that_nobody_needs_ends(folder):
    with harness.Server(folder, "--exit-when-idle", "2") as own:
        stream, _ = jobs.begin(own, "import time\ndef call(arguments):\n    time.sleep(4)\n    return b''")
        with stream:
            stream.send(frame("C", {"n": 0}, b""), frame("Z", {}))
            assert stream.rest()[-1][1]["succeeded"] == 1
        began = time.monotonic()
        assert own.process.wait(30 * harness.SLOW) == 0
        assert time.monotonic() - began > 1
        assert not (folder / "dayfly.sock").exists() and not (folder / "server.json").exists()
    assert own.leftovers() == {}


def fetch(server, job, confirm=lambda n: True, signed=False):
    """Outcomes of a detached job by number, confirmed as they come; and the last frame."""
    outcomes = {}
    with jobs.Stream(server, f"/jobs/{job}/outcomes", signed=signed) as stream:
        while True:
            kind, header, body = stream.read()
            if kind != "R":
                stream.end()
                return outcomes, (kind, header), stream.read()
            assert header["n"] not in outcomes
            outcomes[header["n"]] = (header, body)
            if confirm(header["n"]):
                stream.send(frame("A", {"n": [header["n"]]}))


def submit_detached(server, source, count, **job):
    """A detached job of `count` calls, all on disk; its client is gone. Its id."""
    stream, begun = jobs.begin(server, source, detach=True, **job)
    with stream:
        stream.send(*(frame("C", {"n": n}, b"%d" % n) for n in range(count)), frame("Z", {}))
        while (read := stream.read())[0] != "Z":
            pass
        assert read[1] == {"calls": count}
    return begun


def test_a_detached_job_goes_on_and_each_outcome_is_fetched_once(server):
    begun = submit_detached(server, SQUARE, 12)
    job = begun["job"]
    few, last, end = fetch(server, job, confirm=lambda n: n % 3 == 0)
    assert {n: int(body) for n, (_, body) in few.items()} == {n: n * n for n in range(12)}
    assert last == ("D", {"calls": 12, "succeeded": 12, "failed": 0, "cancelled": 0}) and end is None
    harness.wait_until(lambda: state_of(server, job)["unfetched"] == 8, what="the confirmations")
    rest, _, _ = fetch(server, job, signed=True)
    assert sorted(rest) == [n for n in range(12) if n % 3]
    assert [rest[n] for n in rest] == [few[n] for n in rest]
    harness.wait_until(lambda: state_of(server, job)["unfetched"] == 0, what="the confirmations")
    assert fetch(server, job)[0] == {}
    assert len(calls.usage_of(server, begun["function"], count=12)) == 12


def test_a_detached_job_that_its_client_has_not_sent_to_the_end_is_cancelled(server):
    stream, begun = jobs.begin(server, SLEEP, detach=True)
    with stream:
        stream.send(frame("C", {"n": 0}, b""))
        running(stream, 1)
    harness.wait_until(lambda: state_of(server, begun["job"])["state"] == "cancelled", what="the job's end")
    harness.wait_until(lambda: state_of(server, begun["job"])["ended_at"], what="the job's end")


def test_who_fetches_later_takes_over(server):
    job = submit_detached(server, SLEEP, 1)["job"]
    with jobs.Stream(server, f"/jobs/{job}/outcomes") as first:
        first.begin()
        second = jobs.Stream(server, f"/jobs/{job}/outcomes")
        assert first.read()[:2][1]["type"] == "Superseded"
        calls.dayfly(server, "CancelJob", job=job)
        kind, header, _ = second.read()
        assert (kind, header["status"]) == ("R", "cancelled")
        assert second.read()[0] == "D"
    with pytest.raises(jobs.Refused) as refused:
        fetch(server, "01234567-89ab-4def-8123-456789abcdef")
    assert refused.value.args[0] == 404


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_detached_job_outlives_its_server(folder, tmp_path, how):
    # Calls wait for a file, so that the server ends in the middle.
    source = "import time\ndef call(arguments):\n    time.sleep(0 if int(arguments) < 2 else 3)\n    return b'done ' + arguments"
    with harness.Server(folder, "--drain-seconds", "0") as own:
        begun = submit_detached(own, source, 6, max_in_flight=2)
        job = begun["job"]
        harness.wait_until(lambda: state_of(own, job)["succeeded"] == 2, what="two outcomes")
        own.kill() if how == "kill" else own.stop()
    with harness.Server(folder) as own:
        view = state_of(own, job)
        assert (view["state"], view["calls"]) == ("running", 6)
        outcomes, last, _ = fetch(own, job)
        assert {n: body for n, (_, body) in outcomes.items()} == {n: b"done %d" % n for n in range(6)}
        assert last == ("D", {"calls": 6, "succeeded": 6, "failed": 0, "cancelled": 0})
        harness.wait_until(lambda: state_of(own, job)["unfetched"] == 0, what="the confirmations")
        assert own.stop() == 0
    with harness.Server(folder) as own:
        assert job not in [found["job"] for found in calls.dayfly(own, "ListJobs")["jobs"]]
        # Nothing is left of it, the function file included.
        assert not [path for path in (folder / "store/blobs").rglob("*") if path.is_file()]


def test_the_command_line_lists_shows_and_cancels(server):
    stream, begun = jobs.begin(server, SLEEP, name="sleeper", max_in_flight=1)
    with stream:
        stream.send(frame("C", {"n": 0}, b""), frame("C", {"n": 1}, b""))
        running(stream, 1)
        job = begun["job"]
        assert any(line.split()[:3] == [job, "sleeper", "running"] for line in server.cli("jobs").stdout.splitlines())
        assert job in [found["job"] for found in json.loads(server.cli("jobs", "--json").stdout)]
        shown = verb(server, "show", job[:13]).stdout
        assert "waiting      1" in shown and begun["function"] in shown
        assert [call["state"] for call in json.loads(verb(server, "show", job, "--json").stdout)["calls"]] == ["running", "waiting"]
        assert verb(server, "cancel", job[:13]).stdout == f"cancelled {job}\n"
        assert stream.rest()[-1][1]["cancelled"] == 2
    assert "2 failed" in verb(server, "show", job, "--follow").stdout
    unknown = verb(server, "show", "ffffffffffff", check=False)
    assert unknown.returncode == 1 and "there is no job ffffffffffff" in unknown.stderr


def test_the_command_line_follows_a_job_to_its_end(server):
    stream, begun = jobs.begin(server, SLEEP, name="sleeper")
    with stream:
        stream.send(frame("C", {"n": 0}, b""))
        running(stream, 1)
        command = [harness.BINARY, "jobs", "--data", server.folder, "show", "--follow", begun["job"]]
        watcher = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
        first = watcher.stdout.readline()
        assert first.startswith("0 of 1 calls done, 0 failed, 1 running"), first
        stream.send(frame("X", {}), frame("Z", {}))
        stream.rest()
        stream.end()
    rest, _ = watcher.communicate(timeout=60 * harness.SLOW)
    assert watcher.returncode == 0
    assert "0 of 1 calls done, 1 failed, 0 running" in rest and "cancelled    1" in rest, rest


def verb(server, what, job, *more, **options):
    """`dayfly jobs show|cancel JOB`."""
    return server.cli("jobs", what, job, *more, **options)


def through_socket(path, head):
    """The status of the answer to an unsigned request through a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(head.encode() + b"\r\nHost: dayfly\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        line = connection.makefile("rb").readline()
        return int(line.split()[1]) if line else None


def test_the_socket_takes_unsigned_requests_of_every_service(server):
    path = str(server.folder / "dayfly.sock")
    assert through_socket(path, "GET /2015-03-31/functions/ HTTP/1.1") == 200
    assert through_socket(path, "GET / HTTP/1.1\r\nX-Dayfly-Service: s3") == 200
    assert through_socket(path, "POST / HTTP/1.1\r\nX-Amz-Target: Dayfly_20261101.ListJobs") == 200
    assert through_socket(path, "POST / HTTP/1.1\r\nX-Amz-Target: Logs_20140328.DescribeLogGroups") == 200
    # A signature that is there must be right.
    assert through_socket(path, "GET /2015-03-31/functions/ HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 nonsense") == 403


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_only_the_owner_gets_through_the_socket(folder):
    with harness.Server(folder) as own:
        # As if somebody had opened it to everyone: the kernel tells who comes.
        folder.chmod(0o755)
        (folder / "dayfly.sock").chmod(0o666)
        ours = through_socket(str(folder / "dayfly.sock"), "GET /2015-03-31/functions/ HTTP/1.1")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.chdir(folder)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                code = 0 if through_socket("dayfly.sock", "GET /2015-03-31/functions/ HTTP/1.1") is None else 2
            except ConnectionError:
                code = 0
            finally:
                os._exit(code)
        assert (ours, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) == (200, 0)
        assert own.stop() == 0


def test_a_call_may_use_a_whole_processor_whatever_its_memory(server):
    stream, _ = jobs.begin(server, "import time\ndef call(arguments): time.sleep(60)", memory_mb=128)
    with stream:
        stream.send(frame("C", {"n": 0}))
        while stream.read()[0] != "W":
            pass
        quotas = set()
        for folder in harness.cgroups(server.folder):
            for name in ("cpu.max", "cpu.cfs_quota_us"):
                path = pathlib.Path(folder) / name
                if "/instance-" in str(folder) and path.exists():
                    quotas.add(path.read_text().split()[0])
        # What was killed before has none any more.
        assert quotas - {"-1", "max"} == {"100000"}, quotas
