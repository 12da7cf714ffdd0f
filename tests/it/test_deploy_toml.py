"""Projects: a folder with a dayfly.toml, from its template to its end."""

import json
import os
import pathlib
import subprocess
import sys
import uuid

import browser
import harness
import pytest
import web

ROOT = pathlib.Path(__file__).parents[2]
CODE = """
import json, os
import boto3

def api(event, context):
    if event["httpMethod"] == "POST":
        sent = boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_POSTS"], MessageBody=event["body"])
        return {"statusCode": 202, "body": sent["MessageId"]}
    found = boto3.resource("dynamodb").Table(os.environ["TABLE_POSTS"]).get_item(Key={"id": event["pathParameters"]["id"]})
    return {"statusCode": 200, "body": json.dumps([found.get("Item", {}).get("text"), os.environ["GREETING"]])}

def work(event, context):
    table = boto3.resource("dynamodb").Table(os.environ["TABLE_POSTS"])
    for record in event["Records"]:
        table.put_item(Item=json.loads(record["body"]))

def tick(event, context):
    print("TICK", event["detail-type"])
"""
PROJECT = """
memory = 512
[environment]
GREETING = "hi"

[functions.api]
handler = "code.api"
routes = ["POST /posts", "GET /posts/{id}"]

[functions.work]
handler = "code.work"
queues = ["posts"]

[functions.tick]
handler = "code.tick"
schedules = ["1 hour"]

[queues.posts]
batch = 10
attempts = 3
[tables.posts]
key = "id"
[buckets.files]
"""


@pytest.fixture
def project(tmp_path, server):
    """A folder with a project of a name of its own; destroyed at the end."""
    folder = tmp_path / f"p-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "code.py").write_text(CODE)
    (folder / "dayfly.toml").write_text(PROJECT)
    yield folder
    server.cli("destroy", "--name", folder.name, "--yes", check=False)


def plan(server, folder):
    """(action, kind, name without the project's) of each step of the plan."""
    shown = json.loads(server.cli("deploy", folder, "--dry-run", "--json").stdout)
    return {(step["action"], step["kind"], step["name"].removeprefix(folder.name).lstrip("-")) for step in shown["plan"]}


def test_a_project_from_plan_to_destroy(server, project):
    wanted = {
        ("function", "api"), ("function", "work"), ("function", "tick"), ("queue", "posts"), ("queue", "posts-dead"),
        ("table", "posts"), ("bucket", "files"), ("mapping", "work-posts"), ("schedule", "tick-1"), ("api", ""),
    }  # fmt: skip
    assert plan(server, project) == {("create", *one) for one in wanted}
    assert server.client("dynamodb").list_tables()["TableNames"] == [], "--dry-run made something"

    deployed = server.cli("deploy", project)
    assert "10 to create" in deployed.stderr and f"created function {project.name}-api" in deployed.stderr
    addresses = dict(line.split() for line in deployed.stdout.splitlines())
    assert set(addresses) == {"POST", "GET"} and addresses["POST"].startswith(server.endpoint)
    path = addresses["POST"].removeprefix(server.endpoint)
    sent = web.request(server, path, "POST", json.dumps({"id": "1", "text": "one"}))
    assert sent.status == 202 and sent.body
    harness.wait_until(lambda: web.request(server, f"{path}/1").json == ["one", "hi"], what="the message in the table")

    assert plan(server, project) == {("unchanged", *one) for one in wanted}
    again = server.cli("deploy", project)
    assert "10 unchanged" in again.stderr and "created" not in again.stderr and again.stdout == deployed.stdout

    # A change, something gone by hand, and something not wanted any more.
    text = (project / "dayfly.toml").read_text().replace('"hi"', '"bye"').replace('schedules = ["1 hour"]', "")
    (project / "dayfly.toml").write_text(text.replace("[buckets.files]", ""))
    server.client().delete_function(FunctionName=f"{project.name}-work")
    found = plan(server, project)
    assert {("change", "function", "api"), ("create", "function", "work"), ("delete", "schedule", "tick-1")} <= found
    refused = server.cli("deploy", project, check=False)
    assert refused.returncode == 2 and "--yes" in refused.stderr, "a bucket went without a question"
    server.cli("deploy", project, "--yes")
    assert web.request(server, f"{path}/1").json == ["one", "bye"]
    web.request(server, path, "POST", json.dumps({"id": "2", "text": "two"}))
    harness.wait_until(lambda: web.request(server, f"{path}/2").json == ["two", "bye"], what="the second message")
    assert {step[0] for step in plan(server, project)} == {"unchanged"}

    assert server.cli("destroy", project, check=False).returncode == 2
    server.cli("destroy", project, "--yes")
    assert server.client().list_functions()["Functions"] == []
    assert server.client("dynamodb").list_tables()["TableNames"] == []
    assert server.client("sqs").list_queues().get("QueueUrls", []) == []
    assert server.client("apigateway").get_rest_apis()["items"] == []
    assert server.client("events").list_rules()["Rules"] == []
    assert server.cli("destroy", project, "--yes", check=False).returncode == 1


def test_a_deploy_that_failed_goes_on_with_the_next(server, project):
    text = (project / "dayfly.toml").read_text()
    (project / "dayfly.toml").write_text('runtime = "python3.99"\n' + text)
    failed = server.cli("deploy", project, check=False)
    assert failed.returncode == 1 and f"function {project.name}-api: " in failed.stderr
    assert server.client("dynamodb").list_tables()["TableNames"] == [f"{project.name}-posts"]
    (project / "dayfly.toml").write_text(text)
    found = plan(server, project)
    assert {("unchanged", "table", "posts"), ("create", "function", "api"), ("create", "api", "")} <= found
    server.cli("deploy", project)
    assert {step[0] for step in plan(server, project)} == {"unchanged"}


def test_what_is_not_of_the_project_is_left_alone(server, project):
    server.client("s3").create_bucket(Bucket=f"{project.name}-files")
    refused = server.cli("deploy", project, check=False)
    assert refused.returncode == 1 and "is there already" in refused.stderr
    assert server.client().list_functions()["Functions"] == []
    server.client("s3").delete_bucket(Bucket=f"{project.name}-files")


def test_mistakes_are_said_with_their_line(server, project):
    (project / "dayfly.toml").write_text(PROJECT.replace("[functions.tick]\nhandler", "[functions.tick]\nhandlr"))
    refused = server.cli("deploy", project, check=False)
    line = PROJECT.splitlines().index("[functions.tick]") + 2
    assert refused.returncode == 1
    assert f"dayfly.toml:{line}: unknown key `handlr`: did you mean `handler`?\n  {line} | handlr = " in refused.stderr


@pytest.mark.parametrize("template", ["api", "app", "queue", "schedule"])
def test_templates_deploy(server, tmp_path, template):
    folder = tmp_path / f"new-{template}"
    server_less = {"cwd": tmp_path}
    made = subprocess.run(
        [harness.BINARY, "init", "--template", template, folder.name], capture_output=True, text=True, timeout=20, **server_less
    )
    assert made.returncode == 0 and f"{folder.name}/app.py" in made.stdout, made.stderr
    assert subprocess.run([harness.BINARY, "init", folder], capture_output=True, timeout=20).returncode == 2
    try:
        addresses = [line.split() for line in server.cli("deploy", folder).stdout.splitlines()]
        addresses = [(method, url.removeprefix(server.endpoint)) for method, url in addresses]
        if template == "api":
            path = addresses[0][1].replace("{id}", "a")
            assert web.request(server, path, "PUT", "text").status == 200
            assert web.request(server, path).json == {"id": "a", "text": "text"}
        if template == "app":
            by_path = {path.partition("_user_request_")[2]: path for _, path in addresses}
            assert web.request(server, by_path["/"]).body == b"<h1>Hello</h1>"
            greeted = web.request(server, by_path["/hello/{name}"].replace("{name}", "Ada") + "?greeting=hi")
            assert greeted.json == {"hello": "Ada", "greeting": "hi"}
        if template == "queue":
            ((_, path),) = addresses
            assert web.request(server, path, "POST", '{"n": 1}').status == 202
            name = f"{folder.name}-work"
            harness.wait_until(lambda: 'order {"n": 1}' in server.cli("logs", name, check=False).stdout, what="the order")
        if template == "schedule":
            event = json.dumps({"time": "noon"})
            assert "it is noon" in server.cli("invoke", f"{folder.name}-report", event, "--log").stderr
    finally:
        server.cli("destroy", folder, "--yes")


APP = """
import json, os
import boto3
import dayfly

app = dayfly.App(memory=512, environment={"WHO": "me"}, requirements=["six==1.17.0"])
app.table("seen", key="id")
seen = lambda: boto3.resource("dynamodb").Table(os.environ["TABLE_SEEN"])
print("what the module prints is no declaration")

@app.get("/bytes")
def data():
    return b"plain bytes", 200, {"Content-Type": "text/plain", "X-Who": os.environ["WHO"]}

@app.get("/packages")
def packages():
    import six
    return six.__version__

@app.route("/echo/{rest+}", ["ANY"])
def echo(rest):
    if app.request.method == "DELETE":
        raise dayfly.HTTPError(409, "not this one")
    return {"rest": rest, "json": app.request.json, "many": app.request.query_lists["x"], "kind": app.request.headers["CONTENT-type"]}, 201

@app.post("/send")
def send():
    for text in app.request.json:
        boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_WORK"], MessageBody=text)

@app.on_message("work", batch=10, attempts=2)
def work(message):
    if message.body == "bad":
        raise ValueError("poisoned")
    seen().put_item(Item={"id": message.body})

@app.on_object("files", suffix=".txt")
def file(object):
    seen().put_item(Item={"id": object.key, "size": object.size})

@app.function
def all(event, context):
    return sorted(item["id"] for item in seen().scan()["Items"])
"""


def test_an_app_in_python(server, project):
    (project / "dayfly.toml").unlink()
    (project / "code.py").unlink()
    (project / "app.py").write_text(APP)
    deployed = json.loads(server.cli("deploy", project, "--json").stdout)
    assert {url["route"] for url in deployed["addresses"]} == {"GET", "POST", "ANY"}
    base = deployed["addresses"][0]["url"].removeprefix(server.endpoint).partition("_user_request_")[0] + "_user_request_"

    got = web.request(server, f"{base}/bytes")
    assert (got.status, got.body, got.headers["x-who"]) == (200, b"plain bytes", "me")
    assert web.request(server, f"{base}/packages").body == b"1.17.0"
    got = web.request(server, f"{base}/echo/a/b?x=1&x=2", "PUT", '{"a": 1}', headers={"Content-Type": "application/json"})
    assert (got.status, got.json) == (201, {"rest": "a/b", "json": {"a": 1}, "many": ["1", "2"], "kind": "application/json"})
    got = web.request(server, f"{base}/echo/a?x=1", "PUT", "{", headers={"Content-Type": "application/json"})
    assert (got.status, got.json) == (400, {"message": "the body is not JSON"})
    got = web.request(server, f"{base}/echo/a", "DELETE")
    assert (got.status, got.json) == (409, {"message": "not this one"})

    assert web.request(server, f"{base}/send", "POST", '["one", "bad", "two"]').status == 204
    s3 = server.client("s3")
    s3.put_object(Bucket=f"{project.name}-files", Key="a b/ü.txt", Body=b"12345")
    s3.put_object(Bucket=f"{project.name}-files", Key="other.png", Body=b"1")
    found = lambda: json.loads(server.cli("invoke", f"{project.name}-all").stdout)  # noqa: E731
    harness.wait_until(lambda: found() == ["a b/ü.txt", "one", "two"], seconds=30, what="what was seen")
    steps = json.loads(server.cli("deploy", project, "--dry-run", "--json").stdout)["plan"]
    assert {step["action"] for step in steps} == {"unchanged"}


def test_an_app_that_cannot_be_read(server, project):
    (project / "dayfly.toml").unlink()
    (project / "app.py").write_text("import dayfly\napp = dayfly.App()\nimport not_there\n")
    refused = server.cli("deploy", project, check=False)
    assert refused.returncode == 1
    assert "not_there" in refused.stderr and "install there what it imports" in refused.stderr
    (project / "app.py").write_text("import dayfly\napp = dayfly.App()\n@app.every('5 minute')\ndef f(): pass\n")
    refused = server.cli("deploy", project, check=False)
    assert refused.returncode == 1 and "app.py: expected \"5 minutes\"" in refused.stderr


def test_the_slackbot_counts_every_post_once(server):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "slackbot" / "slackbot.py", "--events", "30", "--posts", "270"],
        capture_output=True,
        text=True,
        timeout=300 * harness.SLOW,
        env={**os.environ, **server.variables(), "DAYFLY_BIN": harness.BINARY},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "a wrong signature and an old one are refused" in said
    assert "each counted once" in said and "the digest was posted: " in said
    assert int(said.partition("30 events, ")[2].split()[0]) >= 3, said
    assert server.client().list_functions()["Functions"] == [], "something was left"


@pytest.mark.skipif(browser.missing() != [], reason=f"install {' and '.join(browser.missing())}")
def test_a_single_page_app_with_its_api_on_one_origin(server):
    folder = ROOT / "examples" / "spa"
    addresses = json.loads(server.cli("deploy", folder, "--json").stdout)["addresses"]
    (site,) = [one["url"] for one in addresses if one["route"] == "site"]
    try:
        with browser.Browser() as page:
            page.open(site)
            harness.wait_until(lambda: page.text("#state") == "0 entries", seconds=60, what="the page")
            assert page.ask("GET", "/title") == "Guestbook"
            for name, text in [("Ada", "first <b>!</b>"), ("Bo", "grüße")]:
                page.type("[name=name]", name)
                page.type("[name=text]", text)
                page.click("button")
                harness.wait_until(lambda: page.text("#entries").startswith(name), seconds=60, what="the entry")  # noqa: B023
            assert page.text("#state") == "2 entries"
            assert page.text("#entries").split("\n") == ["Bogrüße", "Adafirst <b>!</b>"]
            # Somebody else, later.
            page.open(site)
            harness.wait_until(lambda: page.text("#state") == "2 entries", seconds=60, what="the page again")
            assert page.log() == []
        steps = json.loads(server.cli("deploy", folder, "--dry-run", "--json").stdout)["plan"]
        assert {step["action"] for step in steps} == {"unchanged"}
    finally:
        server.cli("destroy", folder, "--yes")
