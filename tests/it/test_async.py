"""Asynchronous calls: a 202 is a promise that outlives the server."""

import json
import uuid

import harness

SOURCE = "def handler(event, context):\n    print('ran', event['id'])\n"


def ran(server, name):
    """The ids that were printed, as a list: an id twice means a second attempt."""
    return [line.split()[1] for line in server.messages(name, "ran") if line.startswith("ran ")]


def test_every_event_runs_once_while_nothing_breaks(server):
    server.create("steady", SOURCE)
    client = server.client()
    ids = [uuid.uuid4().hex for _ in range(30)]
    for id in ids:
        answer = client.invoke(FunctionName="steady", InvocationType="Event", Payload=json.dumps({"id": id}))
        assert answer["StatusCode"] == 202
    harness.wait_until(lambda: len(ran(server, "steady")) >= len(ids), what="30 events")
    assert sorted(ran(server, "steady")) == sorted(ids)


def test_no_event_that_was_taken_is_lost_when_the_server_is_killed(folder):
    taken = []
    with harness.Server(folder) as server:
        server.create("durable", SOURCE)
    for round in range(3):
        with harness.Server(folder) as server:
            client = server.client()
            for _ in range(15):
                id = uuid.uuid4().hex
                answer = client.invoke(FunctionName="durable", InvocationType="Event", Payload=json.dumps({"id": id}))
                assert answer["StatusCode"] == 202
                taken.append(id)
            server.kill()  # At once: most have not run.
    with harness.Server(folder) as server:
        harness.wait_until(lambda: set(taken) <= set(ran(server, "durable")), seconds=60, what="all 45 events")
        assert server.stop() == 0
    assert server.leftovers() == {}
