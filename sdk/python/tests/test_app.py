"""Apps without a server: what they declare, and what becomes of events."""

import decimal
import types

import dayfly
import pytest
from dayfly import app as module


def request(method="GET", resource="/", **event):
    return {"httpMethod": method, "resource": resource, "path": resource, **event}


def records(*bodies, arn="arn:aws:sqs:us-east-1:000000000000:q"):
    return {"Records": [{"messageId": str(n), "body": body, "eventSourceARN": arn} for n, body in enumerate(bodies)]}


def test_what_a_module_declares():
    loaded = types.ModuleType("shop")
    loaded.app = app = dayfly.App("shop", memory=512)
    app.table("orders", key="id", range="at: number")

    @app.get("/")
    @app.post("/orders")
    def index():
        pass

    def tidy_up():
        pass

    tidy_up.__module__ = "shop"
    app.every("5 minutes", timeout=9)(tidy_up)
    app.on_message("work", batch=5)(types.FunctionType(tidy_up.__code__, {"__name__": "shop"}, "work"))
    assert module.declarations(loaded) == {
        "name": "shop",
        "memory": 512,
        "functions": {
            "web": {"handler": "shop.app", "routes": ["POST /orders", "GET /"]},
            "tidy-up": {"handler": "shop.tidy_up", "schedules": ["5 minutes"], "timeout": 9},
            "work": {"handler": "shop.work", "queues": ["work"]},
        },
        "queues": {"work": {"batch": 5}},
        "tables": {"orders": {"key": "id", "range": "at: number"}},
    }
    with pytest.raises(SystemExit, match="makes 0"):
        module.declarations(types.ModuleType("empty"))
    with pytest.raises(ValueError, match="twice"):
        app.get("/")(lambda: None)


@pytest.mark.parametrize(
    "result, status, body, kind",
    [
        ("<b>", 200, "<b>", "text/html; charset=utf-8"),
        ({"n": decimal.Decimal("1.5"), "s": {2, 1}}, 200, '{"n": 1.5, "s": [1, 2]}', "application/json"),
        ([decimal.Decimal(3)], 200, "[3]", "application/json"),
        (None, 204, "", "application/json"),
        (("no", 404), 404, "no", "text/html; charset=utf-8"),
        (b"\xff", 200, "/w==", "application/octet-stream"),
        ((b"text", 200, {"content-type": "text/plain"}), 200, "text", "text/plain"),
        (dayfly.Response("x", 201, {"Set-Cookie": ["a=1", "b=2"]}), 201, "x", "text/html; charset=utf-8"),
    ],
)
def test_answers(result, status, body, kind):
    app = dayfly.App()
    app.get("/")(lambda: result)
    answer = app(request())
    assert (answer["statusCode"], answer["body"], answer["headers"]["Content-Type"]) == (status, body, kind)
    assert answer["isBase64Encoded"] == (kind == "application/octet-stream")
    assert answer.get("multiValueHeaders", {}) == ({"Set-Cookie": ["a=1", "b=2"]} if status == 201 else {})


def test_requests():
    app = dayfly.App()

    @app.post("/{name}")
    def take(name):
        form, headers = app.request.form, app.request.headers
        return [name, form, headers["x-a"], headers.get("X-B", "none"), "X-A" in headers]

    event = request("POST", "/{name}", pathParameters={"name": "n"}, headers={"X-a": "1"}, body="YT0xJmI9", isBase64Encoded=True)
    assert app(event)["body"] == '["n", {"a": "1", "b": ""}, "1", "none", true]'
    assert app(request("PUT", "/{name}"))["statusCode"] == 404


def test_messages_that_fail_are_named(capsys):
    app = dayfly.App()

    @app.on_message("q")
    def work(message):
        if message.body == "bad":
            raise ValueError("poisoned")

    failed = {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert work(records("a", "bad", "b")) == failed
    assert "poisoned" in capsys.readouterr().err
    in_order = work(records("a", "bad", "b", arn="arn:aws:sqs:us-east-1:000000000000:q.fifo"))
    assert [one["itemIdentifier"] for one in in_order["batchItemFailures"]] == ["1", "2"]

    again = app.on_messages("r")(lambda messages: messages[1:])
    assert again(records("a", "b")) == failed
