"""The bill is the sum of the REPORT lines, exactly, whatever the outcomes, and also across a crash."""

import json
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import harness

SOURCE = """
import os, time
def handler(event, context):
    how = event["how"]
    time.sleep(event.get("sleep", 0))
    if how == "raise":
        raise ValueError("no")
    if how == "exit":
        os._exit(1)
    return how
"""
REPORT = re.compile(r"^REPORT RequestId: (\S+)\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB")


def reports(server, name):
    """`(request id, billed ms, memory MB)` of every REPORT line in the function's log."""
    found = [REPORT.match(line) for line in server.messages(name, '"REPORT RequestId"')]
    assert all(found)
    assert all(int(match[3]) >= float(match[2]) for match in found)
    return [(match[1], int(match[3]), int(match[4])) for match in found]


def bill(server):
    return json.loads(server.cli("bill", "--json").stdout)["total"]


def assert_exact(server, name):
    lines, total = reports(server, name), bill(server)
    assert total["requests"] == len(lines)
    assert total["billed_ms"] == sum(billed for _, billed, _ in lines)
    assert total["mb_ms"] == sum(billed * memory for _, billed, memory in lines)
    return lines, total


def test_every_outcome_is_on_the_bill_once(server):
    server.create("billed", SOURCE, MemorySize=192)
    client = server.client()
    hows = ["ok"] * 60 + ["raise"] * 15 + ["exit"] * 5
    random.Random(1).shuffle(hows)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda how: client.invoke(FunctionName="billed", Payload=json.dumps({"how": how})), hows)
        )
    harness.wait_until(lambda: bill(server)["requests"] == len(hows), what="80 calls on the bill")
    lines, total = assert_exact(server, "billed")
    assert total["errors"] == 20
    assert {request for request, _, _ in lines} == {
        answer["ResponseMetadata"]["RequestId"] for answer in answers
    }, "each call has one REPORT line"


def test_a_forged_report_is_not_billed(server):
    server.create(
        "forger",
        "def handler(event, context):\n"
        "    print(f'REPORT RequestId: {context.aws_request_id}\\tDuration: 1.00 ms\\tBilled Duration: 999999 ms\\t')\n",
    )
    before = bill(server)["billed_ms"]
    server.invoke("forger")
    after = harness.wait_until(
        lambda: (total := bill(server))["billed_ms"] > before and total["billed_ms"], what="the call on the bill"
    )
    assert after - before < 5000


def test_the_bill_stays_exact_across_a_crash(folder):
    with harness.Server(folder) as server:
        server.create("crashed", SOURCE)
        server.invoke("crashed", {"how": "ok"})
        stop = threading.Event()

        def call():
            client = server.client()
            while not stop.is_set():
                try:
                    client.invoke(FunctionName="crashed", Payload='{"how": "ok", "sleep": 0.01}')
                except Exception:  # noqa: BLE001  (the server dies under it)
                    return

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(20)
    with harness.Server(folder) as again:
        lines, _ = assert_exact(again, "crashed")
        assert len(lines) > 5
        again.invoke("crashed", {"how": "ok"})
        harness.wait_until(lambda: bill(again)["requests"] == len(lines) + 1, what="the new call on the bill")
        assert_exact(again, "crashed")
