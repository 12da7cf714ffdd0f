"""Reuse, where a function asks for it by its tag: an instance serves more calls than one. By default it never does."""

import re
import time
import urllib.request

import harness
import pytest
import test_languages as languages
from botocore.exceptions import ClientError
from calls import call, usage_of

TAG = "dayfly:reuse"
FUNCTION = """
import os, threading, time

print("init")
seen, steps = [], [0]

def count():
    while True:
        steps[0] += 1

def handler(event, context):
    event = event or {}
    seen.append(context.aws_request_id)
    print("call", len(seen))
    if event.get("count"):
        threading.Thread(target=count, daemon=True).start()
    before = steps[0]
    time.sleep(event.get("sleep", 0))
    if event.get("fail"):
        raise ValueError("asked to")
    if event.get("forge"):
        # An answer of its own making, on the descriptor that the runtime has its calls from, before the real one.
        os.write(4, b"R" + (8).to_bytes(4, "little") + b'"forged"')
    if event.get("end"):
        os._exit(3)
    if event.get("fill"):
        return len(b"x" * (2 << 30))
    return {"calls": len(seen), "own": seen[-1] == context.aws_request_id, "before": before, "after": steps[0]}
"""
NODE = """
let calls = 0;
exports.handler = async (event) => {
    calls += 1;
    if (event.fail) throw new Error("asked to");
    return { calls };
};
exports.old = (event, context, callback) => { calls += 1; callback(null, { calls }); };
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with harness.Server(tmp_path_factory.mktemp("reuse") / "data") as server:
        yield server


def served(calls):
    """`(instance, number of the call in it)` of each call."""
    assert not [one for one in calls if one.failed], calls
    return [(one.instance_id, one.payload["calls"]) for one in calls]


def test_an_instance_serves_as_many_calls_as_its_function_asks_for(server):
    server.create("three", FUNCTION, Tags={TAG: "3"}, Timeout=20)
    calls = [call(server, "three") for _ in range(7)]
    found = served(calls)
    assert [number for _, number in found] == [1, 2, 3, 1, 2, 3, 1]
    assert len({instance for instance, _ in found[:3]}) == 1 and len({instance for instance, _ in found}) == 3
    assert all(one.payload["own"] for one in calls)
    # Each call has its own lines and its own bill; init is the first one's.
    for (_, number), one in zip(found, calls):
        assert [line for line in one.own_lines() if line.startswith("call")] == [f"call {number}"]
        assert ("init" in one.own_lines()) == (number == 1)
        assert ("Init Duration" in one.report["more"]) == (number == 1)
    records = usage_of(server, "three", 7)
    for (instance, _), one in zip(found, calls):
        assert records[one.request_id]["instance_id"] == instance
        assert records[one.request_id]["billed_ms"] == int(one.report["billed"])


def test_what_fails_does_not_stay_but_for_what_the_handler_raised(server):
    server.create("fails", FUNCTION, Tags={TAG: "100"}, Timeout=2, MemorySize=128)
    first = call(server, "fails")
    raised = call(server, "fails", {"fail": True})
    assert (raised.failed, raised.error, raised.instance_id) == (True, ("ValueError", "asked to"), first.instance_id)
    assert served([call(server, "fails")]) == [(first.instance_id, 3)]
    for event, error in [
        ({"sleep": 10}, "Sandbox.Timedout"),
        ({"end": True}, "Runtime.ExitError"),
        ({"fill": True}, None),
    ]:
        before = call(server, "fails")
        failed = call(server, "fails", event)
        assert failed.failed and failed.instance_id == before.instance_id
        assert failed.error[0] == (error or failed.error[0]), failed.error
        after = call(server, "fails")
        # A `MemoryError` is raised like any other; who was killed is gone.
        raised = failed.error[0] == "MemoryError"
        assert (after.instance_id == before.instance_id) == raised and (after.payload["calls"] == 1 or raised)


def test_a_second_answer_is_nobodys(server):
    server.create("forges", FUNCTION, Tags={TAG: "100"}, Timeout=20)
    before = call(server, "forges")
    forged = call(server, "forges", {"forge": True})
    assert (forged.payload, forged.instance_id) == ("forged", before.instance_id)
    after = call(server, "forges")
    assert served([after]) == [(after.instance_id, 1)] and after.instance_id != before.instance_id


def test_for_a_time(server):
    server.create("seconds", FUNCTION, Tags={TAG: f"{2 * harness.SLOW}s"}, Timeout=20)
    began = time.monotonic()
    calls = [call(server, "seconds")]
    while calls[-1].instance_id == calls[0].instance_id and time.monotonic() - began < 30 * harness.SLOW:
        calls.append(call(server, "seconds"))
    # The last one came too late for the first one's instance.
    assert time.monotonic() - began >= 2 * harness.SLOW
    assert len(calls) > 1 and served(calls)[-1][1] == 1
    assert [number for _, number in served(calls)[:-1]] == list(range(1, len(calls)))


def test_one_call_is_the_default_and_the_tag_may_come_and_go(server):
    arn = server.create("changes", FUNCTION, Timeout=20)["FunctionArn"]
    client = server.client()

    def numbers():
        return [number for _, number in served([call(server, "changes") for _ in range(3)])]

    assert numbers() == [1, 1, 1]
    client.tag_resource(Resource=arn, Tags={TAG: "2"})
    assert numbers() == [1, 2, 1]
    client.tag_resource(Resource=arn, Tags={TAG: "1"})
    assert numbers() == [1, 1, 1]
    client.tag_resource(Resource=arn, Tags={TAG: "60s"})
    assert numbers() == [1, 2, 3]
    client.untag_resource(Resource=arn, TagKeys=[TAG])
    assert numbers() == [1, 1, 1]
    for bad in ["0", "often", "-1", "1h", ""]:
        with pytest.raises(ClientError) as refused:
            client.tag_resource(Resource=arn, Tags={TAG: bad})
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_nothing_works_on_between_two_calls(server):
    # A whole processor in a call, and next to none while it waits.
    server.create("busy", FUNCTION, Tags={TAG: "10"}, Timeout=20, MemorySize=1769)
    during = call(server, "busy", {"count": True, "sleep": 1}).payload
    time.sleep(1)
    later = call(server, "busy", {"sleep": 1}).payload
    assert later["calls"] == 2
    assert later["before"] - during["after"] < (during["after"] - during["before"]) / 3, (during, later)
    assert later["after"] > later["before"], "it goes on with the call"


def test_other_languages_too(server):
    languages.create(server, "shell", "provided.al2023", languages.zip_of(bootstrap=languages.SHELL), Tags={TAG: "2"})
    calls = [call(server, "shell", number) for number in range(3)]
    assert [(one.payload["shell"], one.payload["left"]) for one in calls] == [(0, 0), (1, 1), (2, 0)]
    assert calls[0].instance_id == calls[1].instance_id != calls[2].instance_id


@pytest.mark.parametrize("handler", ["handler", "old"])
def test_node_too(server, handler):
    package = languages.zip_of(index__js=NODE)
    for major in (24, 22, 20, 18):
        try:
            settings = {"Handler": f"index.{handler}", "Tags": {TAG: "3"}}
            languages.create(server, handler, f"nodejs{major}.x", package, **settings)
            break
        except ClientError:
            continue
    else:
        pytest.skip("there is no Node here")
    calls = [call(server, handler, {}) for _ in range(2)]
    if handler == "handler":
        failed = call(server, handler, {"fail": True})
        assert failed.error == ("Error", "asked to") and failed.instance_id == calls[0].instance_id
    else:
        calls.append(call(server, handler, {}))
    calls.append(call(server, handler, {}))
    assert [number for _, number in served(calls)] == ([1, 2, 1] if handler == "handler" else [1, 2, 3, 1])


def test_deploy_asks_for_it(server, tmp_path):
    (tmp_path / "app.py").write_text(FUNCTION)
    server.cli("deploy", tmp_path, "--name", "deployed", "--reuse", "2", "--timeout", "20")
    assert server.client().list_tags(Resource=server.client().get_function_configuration(FunctionName="deployed")["FunctionArn"])[
        "Tags"
    ] == {TAG: "2"}
    assert [number for _, number in served([call(server, "deployed") for _ in range(3)])] == [1, 2, 1]
    refused = server.cli("deploy", tmp_path, "--name", "deployed", "--reuse", "often", check=False)
    assert refused.returncode == 2 and "neither a number of calls" in refused.stderr


WEB = """
count = 0

async def asgi(scope, receive, send):
    global count
    assert scope["type"] == "http"
    count += 1
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(count).encode()})

def wsgi(environ, start_response):
    global count
    count += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode()]
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_web_applications_too(server, tmp_path, kind):
    (tmp_path / "shop.py").write_text(WEB)
    found = server.cli("deploy", tmp_path, "--name", f"shop-{kind}", "--app", f"shop:{kind}", "--reuse", "3", "--timeout", "20")
    assert found.returncode == 0, found.stderr
    address = re.search(r"https?://\S+", found.stdout + found.stderr)[0]
    numbers = []

    def is_reused():
        numbers.append(int(urllib.request.urlopen(address, timeout=20 * harness.SLOW).read()))
        return 3 in numbers

    harness.wait_until(is_reused, 60 * harness.SLOW, "an instance serves its third request")
    assert set(numbers) <= {1, 2, 3}
