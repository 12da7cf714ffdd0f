"""Web applications as they are: Flask, Django and FastAPI, their packages built by the server, over real HTTP."""

import hashlib
import http.client
import json
import os
import pathlib
import shutil
import textwrap
import urllib.parse

import harness
import pytest
import web

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
BOUNDARY = "a-line-that-no-file-has"


class App:
    """A deployed application: requests to its address by path, with the cookies that it set."""

    def __init__(self, server, folder, *arguments):
        self.server, self.cookies = server, {}
        lines = server.cli("deploy", folder, *arguments).stdout.split()
        self.name, self.address = lines[0].rpartition(":")[2], lines[1]
        self.path = urllib.parse.urlsplit(self.address).path
        self.host = f"{self.path.split('/')[2]}.lambda-url.us-east-1.{urllib.parse.urlsplit(self.address).netloc}"

    def __call__(self, path="", method="GET", body=None, headers=None, host=None):
        headers = dict(headers or {})
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = web.request(self.server, "/" + path if host else self.path + path, method, body, host=host, headers=headers)
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def upload(self, path, field, content):
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="f"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self(path, "POST", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def log(self, awaited=""):
        """The function's log, once it has `awaited`."""

        def found():
            text = self.server.cli("logs", self.name).stdout
            return text if awaited in text else None

        return harness.wait_until(found, what=f"{awaited!r} in the log")


def follow(app, answer):
    """The path, below the application's, that an answer leads to."""
    assert answer.status in (301, 302, 303, 307), answer.body
    place = urllib.parse.urlsplit(answer.headers["location"]).path
    assert place.startswith(app.path), place
    return place[len(app.path) :]


@pytest.fixture(scope="module")
def room(server):
    return App(server, EXAMPLES / "flask")


@pytest.fixture(scope="module")
def planets(server):
    return App(server, EXAMPLES / "fastapi", "--name", "planets")


def test_flask_pages_links_and_cookies(room):
    shelf = room("?q=storm")
    text = shelf.body.decode()
    assert (shelf.status, shelf.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "The Sick Rose" in text and "Hope is the thing" in text and "Tyger" not in text
    assert f'href="{room.path}poems/hope"' in text and f'href="{room.path}static/room.css"' in text
    assert 'href="/poems/hope"' in room("?q=storm", host=room.host).body.decode()
    # Marked in one instance, seen by another: by the cookie alone.
    marked = room(follow(room, room("poems/hope/mark", "POST")))
    assert "The page is marked." in marked.body.decode()
    assert "The page is marked." not in room("poems/hope").body.decode()
    assert room().body.decode().count("★") == 1
    assert room("poems/nobody").status == 404
    assert room("version", "POST").status == 405


def test_flask_uploads_and_generators(room):
    content = "Tyger tyger, süß ".encode() * 100_000
    assert room.upload("count", "text", content).json == {
        "words": 300_000, "most": [["tyger", 200_000], ["süß", 100_000]], "version": "1",
    }  # fmt: skip
    streamed = room("poems/sick-rose.txt")
    assert streamed.body.decode().splitlines()[0] == "O Rose, thou art sick." and len(streamed.body.splitlines()) == 9
    head = room("poems/sick-rose.txt", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert room.upload("count", "text", b"x" * (7 << 20)).status == 413


def test_static_files_need_no_call(room):
    content = (EXAMPLES / "flask" / "static" / "room.css").read_bytes()
    whole = room("static/room.css")
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, content, "text/css; charset=utf-8")
    assert whole.headers["cache-control"] == "public, max-age=60"
    assert room("static/room.css", host=room.host).body == content
    same = room("static/room.css", headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    part = room("static/room.css", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"body", f"bytes 0-3/{len(content)}")
    head = room("static/room.css", "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(content)))
    assert room("static/room.css", headers={"Range": f"bytes={len(content)}-"}).status == 416
    # What is no file is the application's to answer: that is a call, and in the log.
    none, out = room("static/none.css"), room("static/%2e%2e/app.py")
    assert (none.status, out.status) == (404, 404)
    log = room.log(f"END RequestId: {out.headers['x-amzn-requestid']}")
    assert none.headers["x-amzn-requestid"] in log
    assert not [answer for answer in (whole, same, part, head) if answer.headers["x-amzn-requestid"] in log]


def test_fastapi_has_its_lifespan_threads_and_streams(planets):
    assert [planet["name"] for planet in planets("planets?moons=50").json] == ["Jupiter", "Saturn"]
    assert planets("planets/mars/weight?kg=70").json == {"planet": "Mars", "newton": 260.9}
    assert planets("planets/mars/weight?kg=x").status == 422
    lines = planets("planets.csv").body.decode().splitlines()
    assert lines[0] == "name,mass_kg,radius_km,moons" and len(lines) == 9
    page = planets(follow(planets, planets()))
    assert b"planets.js" in page.body and page.headers["cache-control"] == "public, max-age=60"
    assert f"{planets.path}openapi.json" in planets("docs").body.decode()
    assert "'/openapi.json'" in planets("docs", host=planets.host).body.decode()
    vulcan = json.dumps({"name": "Vulcan", "mass_kg": 1e23, "radius_km": 2000, "moons": 0})
    for _ in range(2):
        found = planets("planets", "POST", vulcan, {"Content-Type": "application/json"})
        assert (found.status, found.json) == (201, {"discovered": "Vulcan", "planets": 9})
    assert "is not cloned" not in planets.log()


SETTINGS = """
    SECRET_KEY = "x"
    ALLOWED_HOSTS = ["*"]
    ROOT_URLCONF = "shop.urls"
    INSTALLED_APPS = ["django.contrib.staticfiles"]
    STATIC_URL = "static/"
    MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", "django.middleware.common.CommonMiddleware"]
    TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
"""
URLS = """
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.middleware.csrf import get_token
    from django.shortcuts import redirect
    from django.templatetags.static import static
    from django.urls import path, reverse

    def where(request):
        answer = JsonResponse({
            "path": request.path, "info": request.path_info, "reverse": reverse("order", args=["ä b"]), "get": dict(request.GET),
            "static": static("a.css"), "token": get_token(request), "secure": request.is_secure(),
        })
        answer.set_cookie("last", "seen", httponly=True)
        return answer

    def order(request, what):
        if request.method == "POST":
            return HttpResponse(b"".join(part for part in request.FILES["f"].chunks()), content_type="image/x-test")
        return redirect("where") if what == "home" else HttpResponse(what)

    def boom(request):
        raise LookupError("no such thing, said the view")

    urlpatterns = [
        path("", where, name="where"),
        path("order/<what>/", order, name="order"),
        path("boom", boom),
        path("stream", lambda request: StreamingHttpResponse(iter([b"a", b"b"]))),
    ]
"""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_django_by_its_manage_py(server, tmp_path, kind):
    shop = tmp_path / "shop"
    shop.mkdir()
    (tmp_path / "manage.py").write_text('import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n')
    (tmp_path / "requirements.txt").write_text("Django==5.2.19\n")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.0123456789ab.css").write_text("a {}")
    start = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
    start += f"from django.core.{kind} import get_{kind}_application\napplication = get_{kind}_application()\n"
    for name, text in [("__init__", ""), ("settings", SETTINGS), ("urls", URLS), (kind, start)]:
        (shop / f"{name}.py").write_text(textwrap.dedent(text))
    app = App(server, tmp_path, "--name", f"django-{kind}")
    where = app("?a=1&a=%C3%A4").json
    assert where["get"] == {"a": ["1", "ä"]} and where["secure"] is False
    assert (where["path"], where["info"]) == (app.path, "/")
    assert (where["reverse"], where["static"]) == (f"{app.path}order/%C3%A4%20b/", f"{app.path}static/a.css")
    assert set(app.cookies) == {"last", "csrftoken"}
    assert app("order/%C3%A4%20b/").body.decode() == "ä b"
    assert follow(app, app("order/home/")) == ""
    assert follow(app, app("order/home")) == "order/home/"
    assert app("stream").body == b"ab"
    assert app.upload("order/x/", "f", b"x").status == 403
    content = os.urandom(3 << 20)
    form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'.encode() + content
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "X-CSRFToken": where["token"]}
    back = app("order/x/", "POST", form + f"\r\n--{BOUNDARY}--\r\n".encode(), headers)
    assert hashlib.sha256(back.body).digest() == hashlib.sha256(content).digest()
    assert app("boom").status == 500
    assert "Traceback" in app.log("LookupError: no such thing, said the view")
    assert app("static/a.0123456789ab.css").headers["cache-control"] == "public, max-age=31536000, immutable"


LAKE = """
    import contextlib

    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield {"depth": 7}

    async def index(request):
        answer = JSONResponse({"depth": request.state.depth, "seen": request.cookies, "size": str(request.url_for("size"))})
        answer.set_cookie("last", "1", httponly=True)
        answer.set_cookie("other", "2")
        return answer

    async def size(request):
        async with request.form() as form:
            return JSONResponse({"name": form["f"].filename, "bytes": len(await form["f"].read())})

    async def echo(request):
        return StreamingResponse(request.stream(), media_type="application/octet-stream")

    app = Starlette(lifespan=lifespan, routes=[
        Route("/", index, name="index"),
        Route("/size", size, methods=["POST"], name="size"),
        Route("/echo", echo, methods=["POST"]),
        Route("/home", lambda request: RedirectResponse(request.url_for("index"))),
        Mount("/files", StaticFiles(directory="files")),
    ])
"""


def test_starlette_streams_what_comes(server, tmp_path):
    (tmp_path / "main.py").write_text(textwrap.dedent(LAKE))
    (tmp_path / "requirements.txt").write_text("starlette==1.10.0\npython-multipart==0.0.34\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("of the application")
    lake = App(server, tmp_path, "--name", "lake")
    assert lake().json == {"depth": 7, "seen": {}, "size": f"{lake.address}size"}
    assert set(lake.cookies) == {"last", "other"} and lake().json["seen"] == {"last": "1", "other": "2"}
    assert lake.upload("size", "f", bytes(2 << 20)).json == {"name": "f", "bytes": 2 << 20}
    content = os.urandom(3 << 20)
    # Body and answer are both streams, at the same time.
    assert lake("echo", "POST", content, {"Content-Type": "application/octet-stream"}).body == content
    assert lake("files/a.txt").body == b"of the application"
    assert follow(lake, lake("home")) == ""


def test_an_application_is_named_and_changed(server, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "er.py").write_text(
        "import os\n"
        "def make():\n"
        "    def app(environ, start_response):\n"
        "        start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "        return [(os.environ['WORD'] + environ['SCRIPT_NAME']).encode()]\n"
        "    return app\n"
    )
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "a.txt").write_text("one")
    arguments = ["--name", "named", "--app", "deep.er:make()", "--static", f"/assets={tmp_path / 'dist'}"]
    app = App(server, tmp_path, *arguments, "--env", "WORD=1")
    assert app().body.decode() == "1" + app.path.rstrip("/")
    assert app("", host=app.host, headers={"X-Forwarded-Prefix": "/evil"}).body == b"1"
    assert app("assets/a.txt").body == b"one"
    (tmp_path / "dist" / "a.txt").write_text("two")
    again = App(server, tmp_path, *arguments)
    assert again.address == app.address
    # The environment stays, and so does the address; the files are the new ones.
    assert (app().body[:1], app("assets/a.txt").body) == (b"1", b"two")
    refused = server.cli("deploy", tmp_path, "--app", "nonsense", check=False)
    assert refused.returncode == 2 and "MODULE:OBJECT" in refused.stderr


def test_an_application_that_does_not_start_says_why(server, tmp_path):
    (tmp_path / "main.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'the lake is dry'})\n"
    )
    app = App(server, tmp_path, "--name", "dry")
    assert app().status == 502
    app.log("RuntimeError: the lake is dry")


def test_a_request_is_not_seen_by_the_next(server, tmp_path):
    shutil.copytree(EXAMPLES / "flask", tmp_path / "app")
    (tmp_path / "app" / "app.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\nseen = []\n"
        "@app.get('/')\ndef count():\n    seen.append(1)\n    return {'seen': len(seen)}\n"
    )
    app = App(server, tmp_path / "app", "--name", "fresh")
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(app.address).netloc, timeout=60)
    for _ in range(5):
        connection.request("GET", app.path)
        assert json.loads(connection.getresponse().read()) == {"seen": 1}
    connection.close()


@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_traffic_is_split_between_versions_and_moved_back(server, tmp_path, name):
    """The examples unchanged but for a variable and a file."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    arguments = ["--name", f"split-{name}"]
    app = App(server, folder, *arguments, "--env", "VERSION=one")
    (folder / "static" / "new.css").write_text("b {}")

    def seen(path=app.path):
        return web.request(server, f"{path}version").json["version"]

    assert seen() == "one"
    waiting = server.cli("deploy", folder, *arguments, "--env", "VERSION=two", "--no-traffic")
    assert "v2 waits for traffic" in waiting.stderr and waiting.stdout.split()[1] == app.address
    assert {seen() for _ in range(10)} == {"one"} and app("static/new.css").status == 404
    # Both stay addressable.
    shown = json.loads(server.cli("traffic", app.name, "--json").stdout)
    assert [(row["version"], row["percent"]) for row in shown] == [("v1", 100), ("v2", 0)]
    paths = [urllib.parse.urlsplit(row["address"]).path for row in shown]
    assert [seen(path) for path in paths] == ["one", "two"]
    assert [web.request(server, f"{path}static/new.css").status for path in paths] == [404, 200]
    assert server.cli("url", f"{app.name}:v2").stdout.strip() == shown[1]["address"]
    assert server.cli("url", app.name).stdout.strip() == app.address
    # A page of either version finds its files.
    assert "30%" in server.cli("traffic", app.name, "v1=70", "v2=30").stdout
    drawn = [seen() for _ in range(60)]
    # Of a fair draw, fewer than 2 or more than 40 of 60 come less than once in ten million times.
    assert 2 <= drawn.count("two") <= 40, drawn
    assert app("static/new.css").body == b"b {}"
    server.cli("traffic", app.name, "v2=100")
    assert {seen() for _ in range(10)} == {"two"}
    server.cli("rollback", app.name)
    assert {seen() for _ in range(10)} == {"one"}
    again = server.cli("rollback", app.name, check=False)
    assert again.returncode == 1 and "no version before v1" in again.stderr
    server.cli("rollback", app.name, "v2")
    assert seen() == "two"
    for bad in (["v1=50", "v2=60"], ["v1=50"], ["v1=50", "v1=50"], ["v1=30", "v2=30", "v3=40"]):
        assert server.cli("traffic", app.name, *bad, check=False).returncode == 2
    assert server.cli("traffic", app.name, "v7=100", check=False).returncode == 1 and seen() == "two"
    # The third deployment has all traffic at once.
    assert "v3 has all traffic" in server.cli("deploy", folder, *arguments, "--env", "VERSION=three").stderr
    assert seen() == "three" and seen(paths[0]) == "one"
    server.cli("rollback", app.name)
    assert seen() == "two"
