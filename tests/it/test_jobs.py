"""Jobs, from the first frame to the bill, against real sandboxes."""

import json
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
