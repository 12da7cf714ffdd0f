"""Addresses of APIs and functions in a headless Chromium: by path and by host, and what a page of another origin may ask of them."""

import json
import urllib.parse

import browser
import pytest

FUNCTION = """
import json

def handler(event, context):
    method = event.get("httpMethod") or event["requestContext"]["http"]["method"]
    if method == "GET":
        return {"statusCode": 200, "headers": {"Content-Type": "text/html"}, "body": "<h1>Here it is</h1>"}
    answer = {"statusCode": 200, "body": json.dumps({"got": json.loads(event["body"])})}
    if "httpMethod" in event:
        # With a REST API, this is the function's own affair.
        answer["headers"] = {"Access-Control-Allow-Origin": "*"}
    return answer
"""
ASK = """
const [url, done] = arguments;
const request = {method: "PUT", headers: {"Content-Type": "application/json", "X-Key": "1"}, body: '"text"'};
fetch(url, request).then(answer => answer.json()).then(json => done(json.got), error => done(String(error)));
"""
BLOCKED = "TypeError: Failed to fetch"
pytestmark = pytest.mark.skipif(browser.missing() != [], reason=f"install {' and '.join(browser.missing())}")


@pytest.fixture(scope="module")
def function(server):
    arn = server.create("shown", FUNCTION)["FunctionArn"]
    client = server.client()
    client.add_permission(FunctionName="shown", StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com")
    client.add_permission(
        FunctionName="shown", StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    return arn


@pytest.fixture(scope="module")
def page(server, function):
    """A browser that shows the function's own page, by the address that `dayfly url` prints."""
    server.client().create_function_url_config(FunctionName="shown", AuthType="NONE")
    with browser.Browser() as page:
        page.open(server.cli("url", "shown").stdout.strip())
        assert page.text("h1") == "Here it is"
        yield page


def ask(page, url):
    """What the page gets that asks with a body and a header of its own."""
    return page.ask("POST", "/execute/async", {"script": ASK, "args": [url]})


@pytest.mark.parametrize("theirs", [True, False])
def test_a_function_url_of_another_origin(server, page, theirs):
    client = server.client()
    cors = {"AllowOrigins": [server.endpoint if theirs else "https://example.com"], "AllowMethods": ["PUT"], "AllowHeaders": ["*"]}
    url = client.update_function_url_config(FunctionName="shown", Cors=cors)["FunctionUrl"]
    assert urllib.parse.urlsplit(url).hostname.endswith(".localhost")
    assert ask(page, url) == ("text" if theirs else BLOCKED)


@pytest.mark.parametrize("theirs", [True, False])
def test_an_http_api_of_another_origin(server, page, function, theirs):
    apis = server.client("apigatewayv2")
    cors = {"AllowOrigins": [server.endpoint], "AllowMethods": ["PUT"], "AllowHeaders": ["content-type", "x-key" if theirs else "x-other"]}
    api = apis.create_api(Name="shown", ProtocolType="HTTP", Target=function, CorsConfiguration=cors)["ApiId"]
    assert ask(page, by_host(server, api)) == ("text" if theirs else BLOCKED)
    apis.delete_api(ApiId=api)


@pytest.mark.parametrize("theirs", [True, False])
def test_a_rest_api_of_another_origin(server, page, function, theirs):
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function}/invocations"
    allow = "method.response.header.Access-Control-Allow-"
    preflight = {
        "type": "mock",
        "requestTemplates": {"application/json": '{"statusCode": 200}'},
        "responses": {
            "default": {
                "statusCode": "200",
                "responseParameters": {
                    allow + "Origin": "'*'", allow + "Headers": "'Content-Type,X-Key'", allow + "Methods": "'PUT'" if theirs else "'GET'",
                },
            },
        },
    }  # fmt: skip
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri}
    methods = {name: {"x-amazon-apigateway-integration": what} for name, what in {"put": proxy, "get": proxy, "options": preflight}.items()}
    apis = server.client("apigateway")
    api = apis.import_rest_api(body=json.dumps({"swagger": "2.0", "info": {"title": "shown"}, "paths": {"/": methods}}))["id"]
    apis.create_deployment(restApiId=api, stageName="test")
    assert ask(page, by_host(server, api) + "test/") == ("text" if theirs else BLOCKED)
    apis.delete_rest_api(restApiId=api)


def by_host(server, api):
    return f"http://{api}.execute-api.localhost:{urllib.parse.urlsplit(server.endpoint).port}/"
