"""Function URLs: a function's own HTTP address."""

import json

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
import web

FUNCTION = """
import json

def handler(event, context):
    how = (event.get("queryStringParameters") or {}).get("how")
    return json.loads(how) if how else {"statusCode": 200, "body": json.dumps(event)}
"""


@pytest.fixture(scope="module")
def function(server):
    server.create("web", FUNCTION)
    return server.client()


@pytest.fixture
def url(function):
    """Makes the function's URL; gives its parts."""

    def make(kind="NONE", public=True, **settings):
        made = function.create_function_url_config(FunctionName="web", AuthType=kind, **settings)
        if public:
            function.add_permission(
                FunctionName="web", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
            )
        return made["FunctionUrl"].removeprefix("http://").rstrip("/")

    yield make
    function.delete_function_url_config(FunctionName="web")
    if "all" in str(function.get_policy(FunctionName="web") if public(function) else ""):
        function.remove_permission(FunctionName="web", StatementId="all")


def public(function):
    try:
        return function.get_policy(FunctionName="web")
    except function.exceptions.ResourceNotFoundException:
        return None


def test_the_event_is_lambdas(server, url):
    host = url()
    name = host.split(":")[0]
    headers = {"X-Many": ["one", "two"], "Cookie": "a=1; b=2", "Content-Type": "text/plain", "User-Agent": "test/1"}
    answer = web.request(server, "/a%20b?x=1&x=2&y", "POST", "hello", host=host, headers=headers)
    event = answer.json
    context = event.pop("requestContext")
    assert event.pop("headers").items() >= {"x-many": "one,two", "host": host, "x-forwarded-for": "127.0.0.1"}.items()
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b",
        "rawQueryString": "x=1&x=2&y",
        "cookies": ["a=1", "b=2"],
        "queryStringParameters": {"x": "1,2", "y": ""},
        "body": "hello",
        "isBase64Encoded": False,
    }
    assert context["http"] == {
        "method": "POST", "path": "/a%20b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test/1",
    }  # fmt: skip
    assert (context["accountId"], context["domainName"], context["stage"]) == ("anonymous", name, "$default")
    assert context["requestId"] == answer.headers["x-amzn-requestid"]
    assert web.request(server, f"/function-urls/{host.split('.')[0]}/x").json["rawPath"] == "/x"
    assert server.cli("url", "web").stdout.strip() == f"{server.endpoint}/function-urls/{host.split('.')[0]}/"
    binary = web.request(server, "/", "POST", b"\xff", host=host, headers={"Content-Type": "image/png"}).json
    assert (binary["isBase64Encoded"], binary["body"]) == (True, "/w==")


def test_answers_need_not_say_much(server, url):
    host = url()

    def ask(how):
        answer = web.request(server, f"/?how={how}", host=host)
        return answer.status, answer.body

    status, body = ask('{"a":1}')
    assert (status, json.loads(body)) == (200, {"a": 1})
    assert ask('"text"') == (200, b"text")
    assert ask('{"statusCode":404,"body":"no"}') == (404, b"no")
    assert ask('{"statusCode":"x"}')[0] == 502
    assert ask("no-json")[0] == 502
    cookies = web.request(server, '/?how={"statusCode":200,"cookies":["a=1","b=2"]}', host=host)
    assert cookies.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_url_is_public_when_the_function_says_so(server, url, function):
    host = url(public=False)
    assert (web.request(server, "/", host=host).status, web.request(server, "/", host=host).json) == (403, {"Message": "Forbidden"})
    function.add_permission(
        FunctionName="web", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    assert web.request(server, "/", host=host).status == 200


def test_a_url_that_must_be_signed(server, url):
    host = url(kind="AWS_IAM")

    def signed(secret):
        keys = botocore.credentials.Credentials(server.keys["access_key_id"], secret)
        made = botocore.awsrequest.AWSRequest("POST", f"http://{host}/x?a=1", data=b"body")
        botocore.auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(made)
        return web.request(server, "/x?a=1", "POST", b"body", host=host, headers=dict(made.headers))

    assert web.request(server, "/", host=host).status == 403
    assert signed("wrong").status == 403
    context = signed(server.keys["secret_access_key"]).json["requestContext"]
    assert (context["accountId"], context["authorizer"]["iam"]["userArn"]) == ("000000000000", "arn:aws:iam::000000000000:root")


def test_other_origins_are_told(server, url):
    cors = {"AllowOrigins": ["https://*.example.com"], "AllowMethods": ["GET"], "AllowHeaders": ["x-a"], "MaxAge": 60}
    host = url(Cors=cors)
    asked = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "GET"}
    preflight = web.request(server, "/", "OPTIONS", host=host, headers=asked)
    assert preflight.status == 200 and preflight.body == b""
    assert preflight.headers["access-control-allow-origin"] == "https://a.example.com"
    assert (preflight.headers["access-control-allow-methods"], preflight.headers["access-control-max-age"]) == ("GET", "60")
    assert web.request(server, "/", host=host, headers=asked).headers["access-control-allow-origin"] == "https://a.example.com"
    other = web.request(server, "/", host=host, headers={"Origin": "https://example.org"})
    assert other.status == 200 and "access-control-allow-origin" not in other.headers


def test_a_url_is_shown_changed_and_goes_with_its_function(server, function):
    server.create("short", FUNCTION)
    made = function.create_function_url_config(FunctionName="short", AuthType="NONE")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    with pytest.raises(function.exceptions.ResourceConflictException):
        function.create_function_url_config(FunctionName="short", AuthType="NONE")
    assert function.get_function_url_config(FunctionName="short")["FunctionUrl"] == made["FunctionUrl"]
    changed = function.update_function_url_config(FunctionName="short", AuthType="AWS_IAM", Cors={"AllowOrigins": ["*"]})
    assert (changed["AuthType"], changed["Cors"]) == ("AWS_IAM", {"AllowOrigins": ["*"]})
    assert [one["AuthType"] for one in function.list_function_url_configs(FunctionName="short")["FunctionUrlConfigs"]] == ["AWS_IAM"]
    function.delete_function(FunctionName="short")
    host = made["FunctionUrl"].removeprefix("http://").rstrip("/")
    assert web.request(server, "/", host=host).json == {"Message": "Forbidden"}
    with pytest.raises(function.exceptions.ResourceNotFoundException):
        function.get_function_url_config(FunctionName="short")
    server.create("short", FUNCTION)
    with pytest.raises(function.exceptions.ResourceNotFoundException):
        function.get_function_url_config(FunctionName="short")
    assert json.dumps(function.list_function_url_configs(FunctionName="short")["FunctionUrlConfigs"]) == "[]"
