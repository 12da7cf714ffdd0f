"""Chalice, unmodified: a project made, deployed, called like a browser does, deployed again, and deleted."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import harness
import pytest
import web

CHALICE = pathlib.Path(sys.executable).parent / "chalice"
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples/chalice"


@pytest.fixture(scope="module")
def chalice(server, tmp_path_factory):
    """Runs the `chalice` command in a folder; returns what it printed, or, with `check=None`, how it went."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments, folder, check=True, **options):
        environment = {**os.environ, **server.variables(), "HOME": str(home)}
        done = subprocess.run(
            [CHALICE, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300 * harness.SLOW,
            **options,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done if check is None else done.stdout

    return run


@pytest.fixture(scope="module")
def project(chalice, tmp_path_factory):
    """The example, deployed."""
    folder = tmp_path_factory.mktemp("chalice") / "pets"
    shutil.copytree(EXAMPLE, folder)
    yield folder, chalice("deploy", folder=folder)
    chalice("delete", folder=folder)


@pytest.fixture(scope="module")
def ask(chalice, project, server):
    """Requests to the host that Chalice printed."""
    folder, _ = project
    found = re.fullmatch(r"https://([a-z0-9]+\.execute-api\.us-east-1\.amazonaws\.com)/api/\n", chalice("url", folder=folder))

    def ask(path, method="GET", body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.request(server, f"/api{path}", method, body, host=found[1], headers=headers)

    ask.host = found[1]
    return ask


def test_a_new_project_lives_and_dies(chalice, server, tmp_path):
    chalice("new-project", "hello", folder=tmp_path)
    folder = tmp_path / "hello"
    chalice("deploy", folder=folder)
    url = chalice("url", folder=folder).strip()
    host = url.removeprefix("https://").split("/")[0]
    assert web.request(server, "/api/", host=host).json == {"hello": "world"}
    by_path = f"/restapis/{host.split('.')[0]}/api/_user_request_/"
    assert web.request(server, by_path).json == {"hello": "world"}
    (folder / "app.py").write_text((folder / "app.py").read_text().replace("'world'", "'again'"))
    assert "Updating rest API" in chalice("deploy", folder=folder)
    assert chalice("url", folder=folder).strip() == url
    assert web.request(server, "/api/", host=host).json == {"hello": "again"}
    assert "Deleting Rest API" in chalice("delete", folder=folder)
    gone = web.request(server, "/api/", host=host)
    assert (gone.status, gone.json) == (403, {"message": "Forbidden"})
    assert server.client("iam").list_roles()["Roles"] == []
    assert not [one for one in server.client().list_functions()["Functions"] if one["FunctionName"] == "hello-dev"]


def test_what_is_deployed_is_said(project):
    _, said = project
    for line in ["Creating IAM role: pets-dev", "Creating lambda function: pets-dev", "Creating Rest API", "Rest API URL: https://"]:
        assert line in said
    for function in ["pets-dev", "pets-dev-keeper", "pets-dev-census"]:
        assert f":function:{function}" in said


def test_routes(ask):
    assert ask("/").json == {"pets": ["rex", "tom"], "stage": "dev"}
    assert ask("/pets/rex").json == {"kind": "dog", "age": 7}
    assert ask("/pets/rex?fields=age").json == {"age": 7}
    nobody = ask("/pets/a%20b")
    assert nobody.status == 404
    assert nobody.json == {"Code": "NotFoundError", "Message": "nobody is called a b"}
    assert ask("/shapes/square/12").json == {"area": 144}
    missing = ask("/nothing")
    assert (missing.status, missing.json) == (403, {"message": "Missing Authentication Token"})
    assert ask("/pets/rex", "DELETE").status == 403


def test_bodies(ask):
    made = ask("/pets", "POST", json.dumps({"name": "kit"}), Content_Type="application/json")
    assert (made.status, made.json, made.headers["location"]) == (201, {"added": "kit", "pets": 3}, "/pets/kit")
    assert ask("/pets", "POST", json.dumps({"name": "kit"}), Content_Type="application/json").json["pets"] == 3
    bad = ask("/pets", "POST", "{", Content_Type="application/json")
    assert (bad.status, bad.json["Code"]) == (400, "BadRequestError")
    assert ask("/pets", "POST", "x", Content_Type="text/plain").status == 415


def test_bytes(ask):
    picture = ask("/picture.gif", Accept="image/gif")
    assert picture.body.startswith(b"GIF89a") and picture.headers["content-type"] == "image/gif"
    assert ask("/picture.gif", "PUT", picture.body, Content_Type="image/gif").json == {"bytes": len(picture.body)}


def test_other_origins_are_told(ask):
    preflight = ask("/pets", "OPTIONS", Origin="https://example.com", Access_Control_Request_Method="POST")
    assert preflight.status == 200 and preflight.body == b""
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-methods"] == "POST,OPTIONS"
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert ask("/pets/rex", Origin="https://example.com").headers["access-control-allow-origin"] == "*"


def test_an_authorizer_says_who_may(ask):
    assert ask("/secret").status == 401
    assert ask("/secret").json == {"message": "Unauthorized"}
    for _ in range(2):
        assert ask("/secret", Authorization="let me in").json == {"colour": "red", "principalId": "keeper"}
        no = ask("/secret", Authorization="open")
        assert (no.status, no.json) == (403, {"Message": "User is not authorized to access this resource"})


def test_a_function_without_a_route_is_invoked_and_logs_are_shown(chalice, project, ask):
    folder, _ = project
    assert json.loads(chalice("invoke", "-n", "census", folder=folder, input='{"a": 1}')) == {"pets": 2, "asked": {"a": 1}}
    ask("/")
    harness.wait_until(lambda: "INIT_START" in chalice("logs", folder=folder), what="a line in the log")


def test_a_stage_of_its_own(chalice, project, server):
    folder, _ = project
    chalice("deploy", "--stage", "prod", folder=folder)
    try:
        url = chalice("url", "--stage", "prod", folder=folder).strip()
        host = url.removeprefix("https://").split("/")[0]
        assert url.endswith("/v1/")
        answer = web.request(server, "/v1/", host=host, headers={"Accept-Encoding": "gzip"})
        assert json.loads(answer.unpacked)["stage"] == "prod"
        assert web.request(server, "/v1/", host=host).json["stage"] == "prod"
    finally:
        chalice("delete", "--stage", "prod", folder=folder)


def test_a_deployment_again_changes_what_changed(chalice, project, ask):
    folder, _ = project
    path = folder / "app.py"
    text = path.read_text()
    path.write_text(text.replace('return {"pets": len(PETS), "asked": event}', "return 7") + "\n\n@app.route('/new')\ndef new():\n    return 1\n")
    try:
        chalice("deploy", folder=folder)
        assert ask("/new").json == 1
        assert chalice("invoke", "-n", "census", folder=folder, input="0").strip() == "7"
    finally:
        path.write_text(text)
    chalice("deploy", folder=folder)
    assert ask("/new").status == 403


QUEUE = """
from chalice import Chalice

app = Chalice(app_name="listener")

@app.on_sqs_message(queue="letters", batch_size=5)
def read(event):
    for letter in event:
        print("letter:", letter.body)
"""
OBJECTS = """
from chalice import Chalice

app = Chalice(app_name="watcher")

@app.on_s3_event(bucket="incoming-letters", events=["s3:ObjectCreated:*"], prefix="letters/")
def read(event):
    print("object:", event.bucket, event.key)
"""
TOPIC = """
from chalice import Chalice

app = Chalice(app_name="reader")

@app.on_sns_message(topic="news")
def read(event):
    print("news:", event.subject, event.message)
"""
SCHEDULE = """
from chalice import Chalice, Rate

app = Chalice(app_name="clock")

@app.schedule(Rate(5, unit=Rate.MINUTES))
def tick(event):
    print("tick")
"""


def new_project(chalice, folder, name, source):
    chalice("new-project", name, folder=folder)
    (folder / name / "app.py").write_text(source)
    chalice("deploy", folder=folder / name)
    return folder / name


def test_messages_of_a_queue(chalice, server, tmp_path):
    queues = server.client("sqs")
    url = queues.create_queue(QueueName="letters", Attributes={"VisibilityTimeout": "120"})["QueueUrl"]
    folder = new_project(chalice, tmp_path, "listener", QUEUE)
    queues.send_message(QueueUrl=url, MessageBody="dear all")
    harness.wait_until(lambda: "letter: dear all" in chalice("logs", "-n", "read", folder=folder), seconds=60, what="the letter")
    assert len(server.client().list_event_source_mappings()["EventSourceMappings"]) == 1
    chalice("deploy", folder=folder)
    queues.send_message(QueueUrl=url, MessageBody="again")
    harness.wait_until(lambda: "letter: again" in chalice("logs", "-n", "read", folder=folder), seconds=60, what="the letter")
    chalice("delete", folder=folder)
    gone = lambda: server.client().list_event_source_mappings()["EventSourceMappings"] == []  # noqa: E731
    harness.wait_until(gone, what="the mapping's end")


def test_objects_of_a_bucket(chalice, server, tmp_path):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="incoming-letters")
    folder = new_project(chalice, tmp_path, "watcher", OBJECTS)
    s3.put_object(Bucket="incoming-letters", Key="letters/dear all", Body=b"hello")
    line = "object: incoming-letters letters/dear all"
    harness.wait_until(lambda: line in chalice("logs", "-n", "read", folder=folder), seconds=60, what="the object")
    chalice("deploy", folder=folder)
    configuration = s3.get_bucket_notification_configuration(Bucket="incoming-letters")
    assert len(configuration["LambdaFunctionConfigurations"]) == 1
    chalice("delete", folder=folder)
    assert "LambdaFunctionConfigurations" not in s3.get_bucket_notification_configuration(Bucket="incoming-letters")


def test_messages_of_a_topic(chalice, server, tmp_path):
    sns = server.client("sns")
    topic = sns.create_topic(Name="news")["TopicArn"]
    folder = new_project(chalice, tmp_path, "reader", TOPIC)
    sns.publish(TopicArn=topic, Message="nothing new", Subject="today")
    line = "news: today nothing new"
    harness.wait_until(lambda: line in chalice("logs", "-n", "read", folder=folder), seconds=60, what="the news")
    chalice("deploy", folder=folder)
    assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 1
    chalice("delete", folder=folder)
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_a_schedule(chalice, server, tmp_path):
    events = server.client("events")
    folder = new_project(chalice, tmp_path, "clock", SCHEDULE)
    (rule,) = events.list_rules()["Rules"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(5 minutes)", "ENABLED")
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"].endswith(":function:clock-dev-tick")
    (permission,) = json.loads(server.client().get_policy(FunctionName="clock-dev-tick")["Policy"])["Statement"]
    assert permission["Principal"] == {"Service": "events.amazonaws.com"}
    assert permission["Condition"] == {"ArnLike": {"AWS:SourceArn": rule["Arn"]}}
    chalice("deploy", folder=folder)
    chalice("delete", folder=folder)
    assert events.list_rules()["Rules"] == []


SIGNED = """
from chalice import Chalice, IAMAuthorizer

app = Chalice(app_name="signed")

@app.route("/", authorizer=IAMAuthorizer())
def who():
    return {"who": app.current_request.context["identity"]["userArn"]}

@app.route("/open")
def open_to_all():
    return {"text": "x" * 1000}
"""


def test_a_host_name_of_its_own_and_signed_requests(chalice, server, tmp_path):
    chalice("new-project", "signed", folder=tmp_path)
    folder = tmp_path / "signed"
    (folder / "app.py").write_text(SIGNED)
    settings = json.loads((folder / ".chalice/config.json").read_text())
    settings["stages"]["dev"] |= {
        "api_gateway_custom_domain": {"domain_name": "signed.example.com", "certificate_arn": "arn:aws:acm:us-east-1:000000000000:certificate/x"},
        "api_gateway_endpoint_type": "REGIONAL", "minimum_compression_size": 100, "reserved_concurrency": 3, "lambda_memory_size": 300,
        "tags": {"of": "tests"}, "automatic_layer": True, "xray": True,
    }  # fmt: skip
    (folder / ".chalice/config.json").write_text(json.dumps(settings))
    for times in range(2):
        said = chalice("deploy", folder=folder)
        assert f"{'Updating' if times else 'Creating'} custom domain name: signed.example.com" in said
    host = "signed.example.com"
    packed = web.request(server, "/open", host=host, headers={"Accept-Encoding": "gzip"})
    assert json.loads(packed.unpacked) == {"text": "x" * 1000} and len(packed.body) < 200
    assert web.request(server, "/", host=host).status == 403
    keys = botocore.credentials.Credentials(server.keys["access_key_id"], server.keys["secret_access_key"])
    request = botocore.awsrequest.AWSRequest("GET", f"http://{host}/")
    botocore.auth.SigV4Auth(keys, "execute-api", "us-east-1").add_auth(request)
    assert web.request(server, "/", host=host, headers=dict(request.headers)).json == {"who": "arn:aws:iam::000000000000:root"}
    function = server.client().get_function(FunctionName="signed-dev")
    assert (function["Concurrency"], function["Configuration"]["MemorySize"]) == ({"ReservedConcurrentExecutions": 3}, 300)
    chalice("delete", folder=folder)
    names = {one["FunctionName"] for one in server.client().list_functions()["Functions"]}
    names |= {one["RoleName"] for one in server.client("iam").list_roles()["Roles"]}
    names |= {one["name"] for one in server.client("apigateway").get_rest_apis()["items"]}
    names |= {one["LayerName"] for one in server.client().list_layers()["Layers"]}
    assert not [name for name in names if "signed" in name], "something was left"
    assert server.client("apigateway").get_domain_names()["items"] == []


REFUSED = {
    "WEBSOCKET": """
from boto3.session import Session
from chalice import Chalice
app = Chalice(app_name="refused")
app.experimental_feature_flags.update(["WEBSOCKETS"])
app.websocket_api.session = Session()
@app.on_ws_message()
def hear(event): pass
""",
    "cognito_user_pools": """
from chalice import Chalice, CognitoUserPoolAuthorizer
app = Chalice(app_name="refused")
pool = "arn:aws:cognito-idp:us-east-1:000000000000:userpool/x"
@app.route("/", authorizer=CognitoUserPoolAuthorizer("pool", provider_arns=[pool]))
def index(): pass
""",
    "Unrecognized event source: arn:aws:dynamodb": """
from chalice import Chalice
app = Chalice(app_name="refused")
@app.on_dynamodb_record(stream_arn="arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1")
def hear(event): pass
""",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_there_is_refused_by_its_name(chalice, server, tmp_path, what):
    chalice("new-project", "refused", folder=tmp_path)
    folder = tmp_path / "refused"
    (folder / "app.py").write_text(REFUSED[what])
    done = chalice("deploy", folder=folder, check=None)
    assert done.returncode != 0
    assert what in " ".join(done.stderr.split()), done.stderr
    # Chalice itself forgets what it had made until then, on AWS too.
    for function in server.client().list_functions()["Functions"]:
        if function["FunctionName"].startswith("refused-"):
            server.client().delete_function(FunctionName=function["FunctionName"])
    for role in server.client("iam").list_roles()["Roles"]:
        if role["RoleName"].startswith("refused-"):
            for policy in server.client("iam").list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
                server.client("iam").delete_role_policy(RoleName=role["RoleName"], PolicyName=policy)
            server.client("iam").delete_role(RoleName=role["RoleName"])
