"""Applications in Python: what calls a function stands above it.

    import dayfly

    app = dayfly.App()

    @app.get("/hello/{name}")
    def hello(name):
        return {"hello": name}

    @app.every("5 minutes")
    def tidy(): ...

`dayfly deploy` reads what an App declares and makes the same of it as of a `dayfly.toml`. This file also goes along with the
functions, where it turns events into arguments and results into answers; so it needs nothing but the standard library.
"""

from __future__ import annotations

import base64
import functools
import json
import sys
import traceback
import urllib.parse
from typing import Any, Callable, Iterable, Mapping, Optional, Union

__all__ = ["App", "HTTPError", "Message", "Object", "Request", "Response", "declarations"]

_TEXT = ("text/", "application/json", "application/javascript", "application/xml", "image/svg+xml")


class HTTPError(Exception):
    """Ends a request with this status; the message is the answer, as `{"message": …}`."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Response:
    """An answer with all that may be said of it. `body` is text, bytes, or what JSON can say."""

    def __init__(self, body: Any = "", status: int = 200, headers: Optional[Mapping[str, Any]] = None) -> None:
        self.body = body
        self.status = status
        self.headers = dict(headers or {})


class Headers(dict):  # type: ignore[type-arg]
    """Headers by name, in whatever case."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        super().__init__((name.lower(), value) for name, value in pairs.items())

    def __getitem__(self, name: str) -> str:
        return str(super().__getitem__(name.lower()))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Request:
    """The request that is answered: `app.request`."""

    def __init__(self, event: dict[str, Any], context: Any) -> None:
        self.event = event
        self.context = context
        self.method: str = event["httpMethod"]
        self.path: str = event["path"]
        self.headers = Headers(event.get("headers") or {})
        self.query: dict[str, str] = event.get("queryStringParameters") or {}
        self.query_lists: dict[str, list[str]] = event.get("multiValueQueryStringParameters") or {}
        body = event.get("body") or ""
        self.body: bytes = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body as JSON; a body that is none is answered with 400."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise HTTPError(400, "the body is not JSON") from None

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form, as browsers and Slack send it; of a name twice, the last."""
        return dict(urllib.parse.parse_qsl(self.text, keep_blank_values=True))


class Message:
    """A message of a queue."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.id: str = record["messageId"]
        self.body: str = record["body"]
        self.attributes: dict[str, str] = record.get("attributes") or {}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Object:
    """An object of a bucket, of which something is told."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.event: str = record["eventName"]
        self.bucket: str = record["s3"]["bucket"]["name"]
        self.key: str = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        self.size: int = record["s3"]["object"].get("size", 0)


class _Handler:
    """A function that events call. `handler(event, context)` is for the runtime, `.function` is what was decorated."""

    def __init__(self, function: Callable[..., Any], call: Callable[[Callable[..., Any], Any, Any], Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._call = call
        self.declared: dict[str, Any] = {}

    def __call__(self, event: Any = None, context: Any = None) -> Any:
        return self._call(self.function, event, context)


_Function = Callable[..., Any]


class App:
    """What a project consists of. Settings are those of `dayfly.toml`: `name`, `memory`, `timeout`, `environment`, `requirements`."""

    def __init__(self, name: Optional[str] = None, **settings: Any) -> None:
        self.request: Any = None
        self._settings = settings if name is None else {"name": name, **settings}
        self._routes: dict[tuple[str, str], _Function] = {}
        self._handlers: list[_Handler] = []
        self._parts: dict[str, dict[str, Any]] = {"queues": {}, "tables": {}, "buckets": {}}

    # What a project has ---------------------------------------------------------------------------

    def queue(self, name: str, **settings: Any) -> None:
        """A queue; its address is in the environment, as `QUEUE_NAME`."""
        self._parts["queues"][name] = settings

    def table(self, name: str, key: str, **settings: Any) -> None:
        """A table; its name is in the environment, as `TABLE_NAME`."""
        self._parts["tables"][name] = {"key": key, **settings}

    def bucket(self, name: str, **settings: Any) -> None:
        """A bucket; its name is in the environment, as `BUCKET_NAME`."""
        self._parts["buckets"][name] = settings

    # What calls functions -------------------------------------------------------------------------

    def route(self, path: str, methods: Iterable[str] = ("GET",)) -> Callable[[_Function], _Function]:
        """Requests for `path`, whose `{parts}` are the function's arguments."""

        def decorate(function: _Function) -> _Function:
            for method in methods:
                if self._routes.setdefault((method.upper(), path), function) is not function:
                    raise ValueError(f"{method.upper()} {path} is there twice")
            return function

        return decorate

    def get(self, path: str) -> Callable[[_Function], _Function]:
        """`route` for GET."""
        return self.route(path, ["GET"])

    def post(self, path: str) -> Callable[[_Function], _Function]:
        """`route` for POST."""
        return self.route(path, ["POST"])

    def put(self, path: str) -> Callable[[_Function], _Function]:
        """`route` for PUT."""
        return self.route(path, ["PUT"])

    def patch(self, path: str) -> Callable[[_Function], _Function]:
        """`route` for PATCH."""
        return self.route(path, ["PATCH"])

    def delete(self, path: str) -> Callable[[_Function], _Function]:
        """`route` for DELETE."""
        return self.route(path, ["DELETE"])

    def every(self, span: str, **settings: Any) -> Callable[[_Function], _Handler]:
        """Calls without arguments, every `"5 minutes"`, `"1 hour"`, `"2 days"`."""
        return self._handler(lambda function, event, context: function(), schedules=[span], **settings)

    def cron(self, fields: str, **settings: Any) -> Callable[[_Function], _Handler]:
        """Calls without arguments, when the six fields of AWS's cron say: `"0 9 ? * MON-FRI *"`."""
        return self._handler(lambda function, event, context: function(), schedules=[f"cron({fields})"], **settings)

    def on_message(self, queue: str, memory: Any = None, timeout: Any = None, **settings: Any) -> Callable[[_Function], _Handler]:
        """A call of the function with each message. One that raises is tried again, without the others of its batch."""
        self._parts["queues"].setdefault(queue, {}).update(settings)
        return self._handler(_each_message, queues=[queue], memory=memory, timeout=timeout)

    def on_messages(self, queue: str, memory: Any = None, timeout: Any = None, **settings: Any) -> Callable[[_Function], _Handler]:
        """A call with a list of messages. It may return those that shall be tried again; when it raises, all are."""
        self._parts["queues"].setdefault(queue, {}).update(settings)
        return self._handler(_all_messages, queues=[queue], memory=memory, timeout=timeout)

    def on_object(self, bucket: str, memory: Any = None, timeout: Any = None, **settings: Any) -> Callable[[_Function], _Handler]:
        """A call with each object that is put into the bucket."""
        self._parts["buckets"].setdefault(bucket, {}).update(settings)
        return self._handler(_each_object, objects=[bucket], memory=memory, timeout=timeout)

    def function(self, function: _Function) -> _Handler:
        """A function that is called by name, with `(event, context)`."""
        return self._handler(lambda function, event, context: function(event, context))(function)

    def _handler(self, call: Callable[[_Function, Any, Any], Any], **declared: Any) -> Callable[[_Function], _Handler]:
        def decorate(function: _Function) -> _Handler:
            handler = _Handler(function, call)
            handler.declared = {name: value for name, value in declared.items() if value is not None}
            self._handlers.append(handler)
            return handler

        return decorate

    # A request ------------------------------------------------------------------------------------

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Answers a request of a route."""
        self.request = Request(event, context)
        function = self._routes.get((event["httpMethod"], event["resource"])) or self._routes.get(("ANY", event["resource"]))
        try:
            if function is None:
                raise HTTPError(404, f"no route for {event['httpMethod']} {event['path']}")
            return _answer(function(**(event.get("pathParameters") or {})))
        except HTTPError as error:
            return _answer(Response({"message": error.message}, error.status))


def _answer(result: Any) -> dict[str, Any]:
    """Of what a route returns: text, bytes, what JSON can say, `(body, status)`, `(body, status, headers)` or a Response."""
    if isinstance(result, tuple):
        result = Response(*result)
    elif not isinstance(result, Response):
        result = Response(result, 204 if result is None else 200)
    body, kind, encoded = result.body, "application/json", False
    if body is None:
        body = ""
    elif isinstance(body, (bytes, bytearray)):
        kind = "application/octet-stream"
    elif isinstance(body, str):
        kind = "text/html; charset=utf-8"
    else:
        body = json.dumps(body, default=_plain)
    headers = {"Content-Type": kind}
    many = {}
    for name, value in result.headers.items():
        if name.lower() == "content-type":
            headers["Content-Type"] = kind = value
        elif isinstance(value, (list, tuple)):
            many[name] = [str(one) for one in value]
        else:
            headers[name] = str(value)
    if isinstance(body, (bytes, bytearray)):
        encoded = not kind.startswith(_TEXT)
        body = base64.b64encode(body).decode() if encoded else body.decode()
    answer = {"statusCode": result.status, "headers": headers, "body": body, "isBase64Encoded": encoded}
    return {**answer, "multiValueHeaders": many} if many else answer


def _plain(value: Any) -> Union[int, float, str, list[Any]]:
    """Numbers of tables are `Decimal`s, and their sets are sets."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if type(value).__name__ == "Decimal":
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def _each_message(function: _Function, event: Any, context: Any) -> dict[str, Any]:
    failed: list[str] = []
    for message in map(Message, event["Records"]):
        in_order = message.record["eventSourceARN"].endswith(".fifo")
        try:
            if failed and in_order:
                # What follows a failure must not overtake it.
                failed.append(message.id)
            else:
                function(message)
        except Exception:
            print(f"message {message.id} failed", file=sys.stderr)
            traceback.print_exc()
            failed.append(message.id)
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}


def _all_messages(function: _Function, event: Any, context: Any) -> dict[str, Any]:
    again = function([Message(record) for record in event["Records"]]) or []
    return {"batchItemFailures": [{"itemIdentifier": message.id} for message in again]}


def _each_object(function: _Function, event: Any, context: Any) -> None:
    # The test event that a bucket sends when it is told whom to call has no records.
    for record in event.get("Records", []):
        function(Object(record))


def declarations(module: Any) -> dict[str, Any]:
    """What the App in a module declares, in the words of `dayfly.toml`."""
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if len(apps) != 1:
        raise SystemExit(f"{module.__name__}.py must make one dayfly.App, and makes {len(apps)}")
    ((variable, app),) = apps.items()
    functions: dict[str, Any] = {}
    if app._routes:
        routes = [f"{method} {path}" for method, path in app._routes]
        functions["web"] = {"handler": f"{module.__name__}.{variable}", "routes": routes}
    for handler in app._handlers:
        name = handler.function.__name__
        key = name.lower().replace("_", "-").strip("-")
        if key in functions:
            raise SystemExit(f"{module.__name__}.py: two functions are called {key}")
        functions[key] = {"handler": f"{handler.function.__module__}.{name}", **handler.declared}
    parts = {kind: things for kind, things in app._parts.items() if things}
    return {**app._settings, "functions": functions, **parts}
