"""A web application as a function: WSGI and ASGI in front, the proxy events of API Gateway and function URLs behind.

`dayfly deploy` puts this file into the package as `dayfly_web.py`. `handler("module:object")` loads the application when
the function is initialised, runs the start of an ASGI application's lifespan, and gives the handler. Each call is one
request: the event (payload format 1.0 or 2.0) becomes an environ or a scope, and the answer, gathered, becomes the result.
It runs in the function's own interpreter, needs no framework, and knows nothing of the server. Python 3.9 to 3.14,
standard library only.
"""

import asyncio
import base64
import importlib
import inspect
import io
import selectors
import sys
import traceback
from urllib.parse import quote, unquote_to_bytes, urlencode

# What a body is written as when it can be read as UTF-8; anything else goes as base64.
_TEXT_TYPES = ("text/", "application/json", "application/javascript", "application/xml", "image/svg")


def handler(name):
    """The handler of the application `module:object`, or `module:factory()`."""
    application = load(name)
    prepare(application)
    return Asgi(application) if is_asgi(application) else Wsgi(application)


def load(name):
    """Imports `module:object`; a name that ends in `()` is called."""
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.removesuffix("()").split("."):
        found = getattr(found, part)
    if path.endswith("()"):
        found = found()
    if not callable(found):
        raise TypeError("%s is %s: no WSGI or ASGI application" % (name, type(found).__name__))
    return found


def is_asgi(application):
    """Whether calling it gives a coroutine, as ASGI 3 has it."""
    call = application if inspect.isroutine(application) else getattr(application, "__call__")
    return inspect.iscoroutinefunction(call)


def prepare(application):
    """Does now, once, what the frameworks put off until a first request: here each request would be the first."""
    routes = getattr(application, "url_map", None)
    if callable(getattr(routes, "update", None)):
        routes.update()
    if "flask" in sys.modules and isinstance(application, sys.modules["flask"].Flask):
        templates = application.jinja_env
        for name in templates.list_templates(filter_func=application.select_jinja_autoescape):
            try:
                templates.get_template(name)
            except Exception:
                pass  # One that nobody may ask for. Who does is told.
    if "django" in sys.modules and type(application).__module__.startswith("django.core.handlers"):
        from django.urls import get_resolver

        get_resolver().reverse_dict


class Request:
    """What both kinds of applications need of an event. Texts are as they were sent."""

    def __init__(self, event):
        context = event.get("requestContext") or {}
        if event.get("version") == "2.0":
            self.method = context["http"]["method"]
            protocol, self.client = context["http"].get("protocol"), context["http"].get("sourceIp")
            path, self.query = event.get("rawPath") or "/", event.get("rawQueryString") or ""
            self.headers = [(name.lower(), value) for name, value in (event.get("headers") or {}).items()]
            if event.get("cookies"):
                self.headers.append(("cookie", "; ".join(event["cookies"])))
            stage = "/" + context.get("stage", "$default")
            prefix = stage if path.startswith(stage + "/") else ""
            path = path[len(prefix) :]
        elif "httpMethod" in event:
            self.method = event["httpMethod"]
            protocol, self.client = context.get("protocol"), (context.get("identity") or {}).get("sourceIp")
            path, self.query = event.get("path") or "/", _query(event)
            self.headers = _headers(event)
            whole = context.get("path") or path
            prefix = whole[: -len(path)] if whole.endswith(path) else ""
        else:
            raise ValueError("this function is a web application: call it through its URL")
        self.version = (protocol or "HTTP/1.1").partition("/")[2] or "1.1"
        named = dict(self.headers)
        # A front-end that took something off the path says what it was.
        self.prefix = (named.get("x-forwarded-prefix") or prefix).rstrip("/")
        # What is not ASCII came unencoded; what is encoded stays so.
        self.path = quote(path, safe="%/:@!$&'()*+,;=~")
        self.scheme = named.get("x-forwarded-proto") or "https"
        name, _, port = (named.get("host") or context.get("domainName") or "localhost").rpartition(":")
        if not port.isdigit():
            name, port = named.get("host") or context.get("domainName") or "localhost", ""
        self.server = (name, int(port or named.get("x-forwarded-port") or (443 if self.scheme == "https" else 80)))
        body = event.get("body") or ""
        self.body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass")
        # Whoever unpacks or joins bodies on the way knows their length; what the client said may not hold any more.
        self.headers = [pair for pair in self.headers if pair[0] not in ("content-length", "transfer-encoding")]
        if self.body or "content-length" in named:
            self.headers.append(("content-length", str(len(self.body))))


def _query(event):
    """The query of an event of version 1.0, which has it only decoded."""
    many = event.get("multiValueQueryStringParameters")
    return urlencode(many if many is not None else event.get("queryStringParameters") or {}, doseq=True)


def _headers(event):
    many = event.get("multiValueHeaders")
    if many is None:
        return [(name.lower(), value) for name, value in (event.get("headers") or {}).items()]
    # Several cookie headers are one with semicolons; several of another kind are one with commas.
    return [(name.lower(), ("; " if name.lower() == "cookie" else ",").join(values)) for name, values in many.items()]


def answer(event, status, headers, body):
    """The result of a call: `headers` are pairs of texts, `body` is bytes."""
    names, cookies, kind = {}, [], ""
    encoded = False
    for name, value in headers:
        name = name.lower()
        if name == "set-cookie":
            cookies.append(value)
        else:
            names.setdefault(name, []).append(value)
            if name == "content-type":
                kind = value
            elif name == "content-encoding":
                encoded = True
    if not kind:
        # A front-end would put its own idea there.
        names["content-type"] = ["application/octet-stream" if body else "text/plain"]
    result = {"statusCode": status}
    text = None
    if not encoded and (kind.startswith(_TEXT_TYPES) or "+json" in kind or "+xml" in kind):
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    result["isBase64Encoded"] = text is None and bool(body)
    result["body"] = text if text is not None else base64.b64encode(body).decode("ascii")
    if event.get("version") == "2.0":
        result["headers"] = {name: ", ".join(values) for name, values in names.items()}
        result["cookies"] = cookies
    else:
        if cookies:
            names["set-cookie"] = cookies
        result["multiValueHeaders"] = names
    return result


def failure(event):
    """The answer to a request whose application raised; the traceback goes to the log."""
    sys.stderr.write("[ERROR] " + traceback.format_exc())
    return answer(event, 500, [("content-type", "text/plain; charset=utf-8")], b"Internal Server Error\n")


class Wsgi:
    """Calls a WSGI application (PEP 3333)."""

    def __init__(self, application):
        self.application = application

    def __call__(self, event, context):
        try:
            return self.respond(event, context)
        except Exception:
            return failure(event)

    def respond(self, event, context):
        request = Request(event)
        pieces, started = [], []

        def start_response(status, headers, exc_info=None):
            if started and exc_info is None:
                raise AssertionError("start_response was called twice")
            started[:] = (status, headers)
            return pieces.append

        found = self.application(environ(request, event, context), start_response)
        try:
            pieces.extend(found)
        finally:
            if hasattr(found, "close"):
                found.close()
        if not started:
            raise AssertionError("the application did not call start_response")
        status, headers = started
        return answer(event, int(status[:3]), headers, b"" if request.method == "HEAD" else b"".join(pieces))


def environ(request, event, context):
    """The environ of a request."""
    made = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _latin(request.prefix),
        "PATH_INFO": _latin(request.path),
        "QUERY_STRING": request.query,
        "REQUEST_URI": request.prefix + request.path + ("?" + request.query if request.query else ""),
        "RAW_URI": request.prefix + request.path + ("?" + request.query if request.query else ""),
        "REMOTE_ADDR": request.client or "",
        "SERVER_NAME": request.server[0],
        "SERVER_PORT": str(request.server[1]),
        "SERVER_PROTOCOL": "HTTP/" + request.version,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        # A request is all that a process sees.
        "wsgi.run_once": True,
        "lambda.event": event,
        "lambda.context": context,
    }
    for name, value in request.headers:
        # `a_b` would be taken for `a-b`, which a front-end may have vouched for.
        if "_" not in name:
            key = name.upper().replace("-", "_")
            made[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = _native(value)
    return made


def _latin(path):
    """A path as WSGI wants it: its bytes, decoded, one a character."""
    return unquote_to_bytes(path).decode("latin-1")


def _native(value):
    return value if value.isascii() else value.encode("utf-8", "surrogatepass").decode("latin-1")


class Loop(asyncio.SelectorEventLoop):
    """A loop that init leaves to the clones of its process: between the two it has nothing in the kernel.

    Its sockets, by which threads and signals wake it, would be shared by all clones.
    """

    def __init__(self):
        super().__init__(selectors.PollSelector())

    def rest(self):
        self._close_self_pipe()

    def begin(self):
        self._make_self_pipe()


class Asgi:
    """Calls an ASGI 3 application."""

    def __init__(self, application):
        self.application = application
        self.loop = Loop()
        asyncio.set_event_loop(self.loop)
        self.begun = False
        self.state = {}
        # Held, and never resumed: an instance ends without a shutdown, as its process does.
        self.lifespan = self.loop.run_until_complete(self.start())
        self.loop.rest()

    async def start(self):
        """Runs the lifespan to where the application is ready. One that knows no lifespan is ready."""
        ready, orders = self.loop.create_future(), asyncio.Queue()
        orders.put_nowait({"type": "lifespan.startup"})

        async def send(message):
            if message["type"].startswith("lifespan.startup.") and not ready.done():
                ready.set_result(message)

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        task = self.loop.create_task(self.application(scope, orders.get, send))
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        said = ready.result() if ready.done() else {}
        if said.get("type") == "lifespan.startup.failed":
            task.cancel()
            await asyncio.wait([task])
            raise RuntimeError(said.get("message") or "the application's lifespan failed to start")
        if task.done() and not task.cancelled():
            task.exception()
        return task

    def __call__(self, event, context):
        if not self.begun:
            self.begun = True
            self.loop.begin()
        try:
            return self.loop.run_until_complete(self.respond(event, context))
        except Exception:
            return failure(event)

    async def respond(self, event, context):
        request = Request(event)
        body, ended = [{"type": "http.request", "body": request.body, "more_body": False}], asyncio.Event()
        start, pieces = {}, []

        async def receive():
            if body:
                return body.pop()
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body" and not ended.is_set():
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    ended.set()

        try:
            await self.application(scope(request, event, context, self.state), receive, send)
        except Exception:
            # Frameworks answer first, and then raise for the log.
            refused = failure(event)
            if not ended.is_set():
                return refused
        if not start:
            raise AssertionError("the application sent no response")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
        return answer(event, start["status"], headers, b"" if request.method == "HEAD" else b"".join(pieces))


def scope(request, event, context, state):
    """The scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.version,
        "method": request.method,
        "scheme": request.scheme,
        # With what a front-end took off, as ASGI has it.
        "path": unquote_to_bytes(request.prefix + request.path).decode("utf-8", "replace"),
        "raw_path": (request.prefix + request.path).encode("ascii", "replace"),
        "root_path": request.prefix,
        "query_string": request.query.encode("utf-8"),
        "headers": [(name.encode("latin-1", "replace"), value.encode("utf-8")) for name, value in request.headers],
        "client": (request.client, 0) if request.client else None,
        "server": request.server,
        "state": state.copy(),
        "aws.event": event,
        "aws.context": context,
    }
