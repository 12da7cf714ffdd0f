"""Projects: a folder with a dayfly.toml, from its template to its end."""

import json
import subprocess
import uuid


import harness
import pytest
import web

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
