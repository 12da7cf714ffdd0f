"""The map in ARCHITECTURE.md, against the spans of a real call: the map cannot rot."""

import json
import pathlib
import re

import harness

MAP = pathlib.Path(__file__).parents[2] / "ARCHITECTURE.md"


def test_a_call_takes_the_way_of_the_map(folder, tmp_path):
    way = re.findall(r"span ([a-z]+\.[a-z]+)", MAP.read_text())
    assert way == ["gateway.invoke", "scheduler.admit", "scheduler.call", "worker.take", "worker.call"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        with harness.Server(folder, "--log-format", "json", environment={"DAYFLY_LOG": "debug"}, log=stream) as server:
            server.create("way", "def handler(event, context):\n    return event\n")
            answer, _ = server.invoke("way", 1)
            server.stop()
    request_id = answer["ResponseMetadata"]["RequestId"]
    begun = []
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["fields"].get("message") != "new":
            continue
        span = event["span"]
        outermost = event["spans"][0] if event.get("spans") else span
        if outermost.get("request_id") == request_id:
            begun.append(span["name"])
    assert begun == way
