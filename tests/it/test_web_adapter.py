"""The adapter of web applications by itself: events of both versions in, results out, for plain WSGI and ASGI."""

import asyncio
import base64
import importlib.util
import json
import pathlib
import sys
import types

import pytest

FILE = pathlib.Path(__file__).parents[2] / "runtimes" / "python" / "web.py"
found = importlib.util.spec_from_file_location("dayfly_web", FILE)
adapter = importlib.util.module_from_spec(found)
found.loader.exec_module(adapter)


def two(path="/", method="GET", query="", headers=None, cookies=None, body=None, encoded=False, stage="$default"):
    """An event of version 2.0."""
    event = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "x.localhost:80", "x-forwarded-proto": "http", **(headers or {})},
        "requestContext": {"http": {"method": method, "protocol": "HTTP/2.0", "sourceIp": "1.2.3.4"}, "stage": stage},
        "isBase64Encoded": encoded,
    }
    event.update({"cookies": cookies} if cookies else {}, **({"body": body} if body is not None else {}))
    return event


def one(path="/", method="GET", many=True, stage="/api"):
    """An event of version 1.0."""
    event = {
        "httpMethod": method,
        "path": path,
        "headers": {"Host": "h", "X-A": "2"},
        "queryStringParameters": {"q": "ä b"},
        "requestContext": {"path": stage + path, "identity": {"sourceIp": "::1"}, "protocol": "HTTP/1.1"},
        "body": None,
    }
    if many:
        event["multiValueHeaders"] = {"Host": ["h"], "X-A": ["1", "2"], "Cookie": ["a=1", "b=2"]}
        event["multiValueQueryStringParameters"] = {"q": ["1", "ä b"]}
    return event


def wsgi(event, status="200 OK", headers=(), body=(b"ok",)):
    """`(result, environ)` of a call."""
    seen = {}

    def application(environ, start_response):
        seen.update(environ, body=environ["wsgi.input"].read())
        start_response(status, [("Content-Type", "text/plain"), *headers])
        return body

    return adapter.Wsgi(application)(event, None), seen


def test_environ_of_version_two():
    event = two("/a%20b/%C3%A4", query="x=1&x=%2F+", cookies=["a=1", "b=2"], headers={"x_b": "no", "x-b": "yes", "x-u": "ä"})
    _, environ = wsgi(event)
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b/ä"
    assert (environ["QUERY_STRING"], environ["HTTP_COOKIE"], environ["HTTP_X_B"]) == ("x=1&x=%2F+", "a=1; b=2", "yes")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["wsgi.url_scheme"]) == ("x.localhost", "80", "http")
    assert (environ["REMOTE_ADDR"], environ["SERVER_PROTOCOL"], environ["SCRIPT_NAME"]) == ("1.2.3.4", "HTTP/2.0", "")
    assert environ["HTTP_X_U"].encode("latin-1").decode() == "ä" and environ["wsgi.run_once"] is True
    below = wsgi(two("/p", headers={"x-forwarded-prefix": "/function-urls/id/"}))[1]
    assert (below["SCRIPT_NAME"], below["PATH_INFO"], below["REQUEST_URI"]) == ("/function-urls/id", "/p", "/function-urls/id/p")
    staged = wsgi(two("/prod/p", stage="prod"))[1]
    assert (staged["SCRIPT_NAME"], staged["PATH_INFO"]) == ("/prod", "/p")


def test_environ_of_version_one():
    for path in ("/", "/x/y"):
        _, environ = wsgi(one(path))
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/api", path)
        assert (environ["HTTP_X_A"], environ["HTTP_COOKIE"], environ["QUERY_STRING"]) == ("1,2", "a=1; b=2", "q=1&q=%C3%A4+b")
        assert environ["wsgi.url_scheme"] == "https"
    assert wsgi(one(many=False))[1]["QUERY_STRING"] == "q=%C3%A4+b"


@pytest.mark.parametrize("content", [b"", b"\xff\x00" * 1000, "ä".encode()])
def test_bodies_come_and_go(content):
    event = two("/", "POST", body=base64.b64encode(content).decode(), encoded=True, headers={"content-type": "a/b", "content-length": "7"})
    result, environ = wsgi(event, headers=[("Content-Type", "image/png")], body=[content[:1], content[1:]])
    assert (environ["body"], environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == (content, str(len(content)), "a/b")
    assert base64.b64decode(result["body"]) == content and result["isBase64Encoded"] is bool(content)
    assert wsgi(two("/", "POST", body="ä"))[1]["body"] == "ä".encode()


def test_answers():
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Vary", "A"), ("Vary", "B"), ("Location", "/x")]
    result, _ = wsgi(two(), "302 Found", headers, (piece for piece in (b"a", "ä".encode())))
    assert result["statusCode"] == 302 and result["cookies"] == ["a=1", "b=2"]
    assert result["headers"] == {"content-type": "text/plain", "vary": "A, B", "location": "/x"}
    assert (result["body"], result["isBase64Encoded"]) == ("aä", False)
    result, _ = wsgi(one(), headers=headers)
    assert result["multiValueHeaders"]["set-cookie"] == ["a=1", "b=2"] and result["multiValueHeaders"]["vary"] == ["A", "B"]
    assert wsgi(two(method="HEAD"))[0]["body"] == ""
    # Packed text is bytes, and so is text that is not UTF-8.
    assert wsgi(two(), headers=[("Content-Encoding", "gzip")])[0]["isBase64Encoded"] is True
    assert wsgi(two(), body=[b"\xff"])[0]["isBase64Encoded"] is True
    json.dumps(result)


def test_an_application_that_writes_and_closes():
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"two"])

        def close(self):
            closed.append(1)

    def application(environ, start_response):
        start_response("200 OK", [])("one ".encode())
        return Body()

    result = adapter.Wsgi(application)(two(), None)
    assert (base64.b64decode(result["body"]), closed) == (b"one two", [1])


def test_what_raises_is_500_and_logged(capsys):
    def late(environ, start_response):
        start_response("200 OK", [])
        yield b"x"
        raise LookupError("late")

    async def asgi(scope, receive, send):
        raise LookupError("soon")

    for application, word in [(adapter.Wsgi(late), "late"), (adapter.Wsgi(lambda e, s: [b""]), "start_response"), (asgi_app(asgi), "soon")]:
        result = application(two(), None)
        assert (result["statusCode"], result["body"]) == (500, "Internal Server Error\n")
        assert "Traceback" in (said := capsys.readouterr().err) and word in said
    assert adapter.Wsgi(late)({"not": "http"}, None)["statusCode"] == 500


MADE = []


@pytest.fixture(autouse=True)
def ended():
    """An instance just ends; a test process goes on, and wants loops closed."""
    yield
    while MADE:
        app = MADE.pop()
        app.lifespan.cancel()
        if not app.begun:
            app.loop.begin()
        app.loop.run_until_complete(asyncio.wait([app.lifespan]))
        app.loop.close()


def asgi_app(application):
    made = adapter.Asgi(application)
    MADE.append(made)
    assert made.loop._ssock is None, "a socket that clones would share"
    return made


def test_asgi_scope_lifespan_and_streams():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["list"] = [1]
            await send({"type": "lifespan.startup.complete"})
            await receive()
            raise AssertionError("an instance is not shut down")
        assert (await receive()) == {"type": "http.request", "body": b"in", "more_body": False}
        gone = asyncio.ensure_future(receive())
        # A thread, which wakes the loop through its own sockets.
        name = await asyncio.get_running_loop().run_in_executor(None, lambda: "thread")
        await send({"type": "http.response.start", "status": 201, "headers": [(b"set-cookie", b"a=1"), (b"content-type", b"text/plain")]})
        for piece in (b"one ", b"two "):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        assert not gone.done()
        await send({"type": "http.response.body", "body": name.encode()})
        assert (await gone)["type"] == "http.disconnect"

    app = asgi_app(application)
    result = app(two("/ä%2F", "POST", query="a=%20", body="in", headers={"x-forwarded-prefix": "/pre"}), None)
    assert (result["statusCode"], result["body"], result["cookies"]) == (201, "one two thread", ["a=1"])
    scope = seen[1]
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/pre", "/pre/ä/", b"/pre/%C3%A4%2F")
    assert (scope["query_string"], scope["state"], scope["http_version"]) == (b"a=%20", {"list": [1]}, "2.0")
    assert (b"content-length", b"2") in scope["headers"] and scope["server"] == ("x.localhost", 80)


def test_asgi_without_a_lifespan_and_with_one_that_fails():
    async def none(scope, receive, send):
        assert scope["type"] == "http", "no lifespan here"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert asgi_app(none)(two(), None)["statusCode"] == 204

    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no lake"})

    with pytest.raises(RuntimeError, match="no lake"):
        adapter.Asgi(fails)
    asyncio.get_event_loop_policy().get_event_loop().close()


def test_an_answer_before_the_error_is_kept(capsys):
    async def application(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"own words"})
        raise LookupError("for the log")

    assert asgi_app(application)(two(), None)["body"] == "own words"
    assert "for the log" in capsys.readouterr().err


def test_applications_are_loaded_by_name(monkeypatch):
    module = types.ModuleType("some_module")
    exec("async def asgi(scope, receive, send): pass\ndef make():\n    return lambda environ, start: []\nclass A:\n    b = make()\nnumber = 1", vars(module))
    monkeypatch.setitem(sys.modules, "some_module", module)
    assert adapter.is_asgi(adapter.load("some_module:asgi"))
    assert isinstance(adapter.handler("some_module:make()"), adapter.Wsgi)
    assert adapter.load("some_module:A.b")(None, None) == []
    with pytest.raises(TypeError, match="no WSGI or ASGI application"):
        adapter.handler("some_module:number")
