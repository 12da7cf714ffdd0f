"""REST APIs: imported, changed, deployed; and what goes to functions and comes back."""

import base64
import gzip
import json
import zlib

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import harness
import pytest
import web
from botocore.exceptions import ClientError

FUNCTION = """
import json, time

def handler(event, context):
    how = (event.get("queryStringParameters") or {}).get("how", "echo")
    if how == "echo":
        return {"statusCode": 200, "body": json.dumps(event)}
    if how == "sleep":
        time.sleep(5)
    if how == "raise":
        raise ValueError("no")
    if how == "bytes":
        return {"statusCode": 200, "headers": {"Content-Type": "image/png"}, "body": "AAH/", "isBase64Encoded": True}
    if how == "cookies":
        return {"statusCode": 302, "headers": {"Location": "/x"}, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}}
    if how == "large":
        return {"statusCode": 200, "body": "x" * 2000}
    return json.loads(how)
"""
TOKEN = """
def handler(event, context):
    token = event["authorizationToken"]
    print("asked", token)
    if token == "broken":
        return 1
    if token == "nobody":
        raise Exception("Unauthorized")
    effect = "Deny" if token == "denied" else "Allow"
    resource = event["methodArn"] if token in ("one", "denied") else "*"
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    return {"principalId": token, "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}, "context": {"n": 7}}
"""
REQUEST = """
def handler(event, context):
    allowed = event["type"] == "REQUEST" and event["headers"]["X-Key"] == event["queryStringParameters"]["key"]
    statement = {"Action": "execute-api:Invoke", "Effect": "Allow" if allowed else "Deny", "Resource": event["methodArn"]}
    return {"principalId": "me", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}}
"""


def uri(arn):
    return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"


def proxy(arn, **settings):
    return {"x-amazon-apigateway-integration": {"type": "aws_proxy", "httpMethod": "POST", "uri": uri(arn), **settings}}


def operations(paths, **more):
    return {"swagger": "2.0", "info": {"title": "test", "version": "1.0"}, "paths": paths, **more}


@pytest.fixture(scope="module")
def apis(server):
    return server.client("apigateway")


@pytest.fixture(scope="module")
def arns(server):
    found = {}
    for name, source in {"web": FUNCTION, "token": TOKEN, "request": REQUEST, "locked": FUNCTION}.items():
        found[name] = server.create(name, source, Timeout=20)["FunctionArn"]
        if name != "locked":
            server.client().add_permission(
                FunctionName=name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
            )
    return found


@pytest.fixture
def deploy(apis, server):
    """Imports and deploys a document; gives a function for requests to its stage."""
    made = []

    def make(document, **settings):
        api = apis.import_rest_api(body=json.dumps(document))
        made.append(api["id"])
        apis.create_deployment(restApiId=api["id"], stageName="test", **settings)

        def ask(path, method="GET", body=None, headers=None):
            return web.request(server, f"/restapis/{api['id']}/test/_user_request_{path}", method, body, headers=headers)

        ask.id = api["id"]
        return ask

    yield make
    for one in made:
        apis.delete_rest_api(restApiId=one)


def test_the_event_is_lambdas(deploy, arns, server):
    ask = deploy(operations({"/pets/{kind}/{rest+}": {"x-amazon-apigateway-any-method": proxy(arns["web"])}}))
    host = f"{ask.id}.execute-api.us-east-1.amazonaws.com"
    headers = {"X-Many": ["one", "two"], "User-Agent": "test/1", "Content-Type": "text/plain", "X-Forwarded-For": "10.0.0.1"}
    answer = web.request(
        server, "/test/pets/gr%C3%BCn/a/b?x=1&x=2&y=%26&z", "PUT", "ü", host=host, headers=headers
    )  # fmt: skip
    event = answer.json
    context = event.pop("requestContext")
    assert event.pop("headers").items() >= {
        "Host": host, "X-Many": "two", "User-Agent": "test/1", "X-Forwarded-For": "10.0.0.1, 127.0.0.1",
        "X-Forwarded-Proto": "http",
    }.items()  # fmt: skip
    assert event.pop("multiValueHeaders")["X-Many"] == ["one", "two"]
    assert event == {
        "resource": "/pets/{kind}/{rest+}",
        "path": "/pets/gr%C3%BCn/a/b",
        "httpMethod": "PUT",
        "queryStringParameters": {"x": "2", "y": "&", "z": ""},
        "multiValueQueryStringParameters": {"x": ["1", "2"], "y": ["&"], "z": [""]},
        "pathParameters": {"kind": "grün", "rest": "a/b"},
        "stageVariables": None,
        "body": "ü",
        "isBase64Encoded": False,
    }
    assert context["identity"]["sourceIp"] == "127.0.0.1" and context["identity"]["userAgent"] == "test/1"
    assert context["requestId"] == answer.headers["x-amzn-requestid"]
    for name, value in {
        "resourcePath": "/pets/{kind}/{rest+}", "httpMethod": "PUT", "path": "/test/pets/gr%C3%BCn/a/b", "stage": "test",
        "apiId": ask.id, "accountId": "000000000000", "protocol": "HTTP/1.1", "domainName": host, "domainPrefix": ask.id,
    }.items():  # fmt: skip
        assert context[name] == value, name


def test_an_event_says_null_for_what_is_not_there(deploy, arns):
    event = deploy(operations({"/": {"get": proxy(arns["web"])}}))("").json
    names = ["queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "stageVariables", "body"]
    assert [event[name] for name in names] == [None] * 5
    assert event["path"] == event["resource"] == "/"


def test_answers(deploy, arns):
    ask = deploy(operations({"/": {"get": proxy(arns["web"])}}))
    cookies = ask("/?how=cookies")
    assert (cookies.status, cookies.headers["location"]) == (302, "/x")
    assert cookies.headers.get_all("set-cookie") == ["a=1", "b=2"]
    plain = ask('/?how={"body":"hi","headers":{"Content-Type":"text/plain","Content-Length":"999"}}')
    assert (plain.status, plain.body, plain.headers["content-type"]) == (200, b"hi", "text/plain")
    for bad in ["raise", "[]", '"x"', '{"statusCode":"x"}', '{"body":{}}', '{"statusCode":200,"extra":1}', "null"]:
        answer = ask(f"/?how={bad}")
        assert (answer.status, answer.json) == (502, {"message": "Internal server error"}), bad
        assert answer.headers["x-amzn-errortype"] == "InternalServerErrorException"


def test_an_integration_may_take_so_long(deploy, arns):
    ask = deploy(operations({"/": {"get": proxy(arns["web"], timeoutInMillis=100)}}))
    answer = ask("/?how=sleep")
    assert (answer.status, answer.json) == (504, {"message": "Endpoint request timed out"})


def test_a_function_must_permit_its_api(deploy, arns, server, apis):
    ask = deploy(operations({"/a/{b}": {"get": proxy(arns["locked"])}}))
    assert (ask("/a/1").status, ask("/a/1").json) == (500, {"message": "Internal server error"})
    client = server.client()
    source = f"arn:aws:execute-api:us-east-1:000000000000:{ask.id}"
    permission = {"FunctionName": "locked", "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com"}
    client.add_permission(StatementId="other", SourceArn=f"{source}/test/POST/a/*", **permission)
    assert ask("/a/1").status == 500
    client.add_permission(StatementId="this", SourceArn=f"{source}/*/GET/a/*", **permission)
    assert ask("/a/1").status == 200
    client.remove_permission(FunctionName="locked", StatementId="this")
    assert ask("/a/1").status == 500


def test_bytes_and_compression(deploy, arns):
    more = {"x-amazon-apigateway-binary-media-types": ["image/*"], "x-amazon-apigateway-minimum-compression-size": 1000}
    ask = deploy(operations({"/": {"x-amazon-apigateway-any-method": proxy(arns["web"])}}, **more))
    assert ask("/?how=bytes", headers={"Accept": "image/png"}).body == b"\0\1\xff"
    assert ask("/?how=bytes", headers={"Accept": "text/html, image/png"}).body == b"AAH/"
    event = ask("/", "POST", b"\xff\0", headers={"Content-Type": "image/png"}).json
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b"\xff\0")
    large = ask("/?how=large", headers={"Accept-Encoding": "br, gzip"})
    assert large.unpacked == b"x" * 2000 and len(large.body) < 200
    other = ask("/?how=large", headers={"Accept-Encoding": "gzip;q=0, *"})
    assert other.headers["content-encoding"] == "deflate" and zlib.decompress(other.body) == b"x" * 2000
    for encodings in [{}, {"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "br"}]:
        assert ask("/?how=large", headers=encodings).body == b"x" * 2000
    assert "content-encoding" not in ask("/?how=cookies", headers={"Accept-Encoding": "gzip"}).headers
    packed = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    assert ask("/", "POST", gzip.compress(b"hello"), headers=packed).json["body"] == "hello"
    deflated = {"Content-Type": "text/plain", "Content-Encoding": "deflate"}
    assert ask("/", "POST", zlib.compress(b"hello"), headers=deflated).json["body"] == "hello"
    assert ask("/", "POST", b"no gzip", headers=packed).status == 400
    assert ask("/", "POST", gzip.compress(bytes(11 << 20)), headers=packed).status == 413, "a bomb"


def test_limits(deploy, arns):
    ask = deploy(operations({"/": {"x-amazon-apigateway-any-method": proxy(arns["web"])}}))
    assert ask("/", "POST", b"x" * (11 << 20)).status == 413
    assert ask("/", "POST", b"x" * (7 << 20)).status == 413, "more than a function takes"
    assert ask("/", headers={"X-Long": "x" * 11_000}).status == 431
    assert ask("/?" + "x" * 11_000).status == 431


def test_mocks(deploy):
    def mock(status, **settings):
        response = {
            "statusCode": "204",
            "responseParameters": {"method.response.header.Access-Control-Allow-Origin": "'*'"},
            "responseTemplates": {"application/json": '{"mock": true}'},
        }
        return {
            "x-amazon-apigateway-integration": {
                "type": "mock",
                "requestTemplates": {"application/json": json.dumps({"statusCode": status})},
                "responses": {"default": {**response, "statusCode": "200"}, "204": response},
                **settings,
            }
        }

    ask = deploy(operations({"/": {"options": mock(200), "get": mock(204), "put": mock(200, passthroughBehavior="never")}}))
    answer = ask("/", "OPTIONS")
    assert (answer.status, answer.json, answer.headers["access-control-allow-origin"]) == (200, {"mock": True}, "*")
    assert ask("/").status == 204
    assert ask("/", "PUT", "x", headers={"Content-Type": "text/plain"}).status == 415


def authorizer(arn, kind, ttl=300, **settings):
    return {
        "type": "apiKey",
        "name": "Authorization",
        "in": "header",
        "x-amazon-apigateway-authtype": "custom",
        "x-amazon-apigateway-authorizer": {
            "type": kind, "authorizerUri": uri(arn), "authorizerResultTtlInSeconds": ttl, **settings,
        },
    }  # fmt: skip


def test_a_token_authorizer(deploy, arns, server):
    secured = {**proxy(arns["web"]), "security": [{"keeper": []}]}
    document = operations({"/": {"get": secured}, "/other": {"get": secured}}, securityDefinitions={"keeper": authorizer(arns["token"], "token")})
    ask = deploy(document)

    def with_token(token, path="/"):
        answer = ask(path, headers={"Authorization": token})
        return answer.status, answer.json

    assert ask("/").status == 401
    status, event = with_token("all")
    assert (status, event["requestContext"]["authorizer"]) == (200, {"n": "7", "principalId": "all"})
    assert with_token("all", "/other")[0] == 200
    assert with_token("one")[0] == 200
    # The kept answer is for the first path only.
    assert with_token("one", "/other") == (403, {"Message": "User is not authorized to access this resource"})
    explicit = {"Message": "User is not authorized to access this resource with an explicit deny"}
    assert with_token("denied") == (403, explicit)
    assert with_token("nobody") == (401, {"message": "Unauthorized"})
    assert with_token("broken") == (500, {"message": None})

    def asked():
        return "\n".join(server.messages("token"))

    harness.wait_until(lambda: "asked broken" in asked(), what="the last line")
    for token, times in {"all": 1, "one": 1, "nobody": 1, "broken": 1}.items():
        assert asked().count(f"asked {token}") == times, "an answer holds for a while"


def test_a_request_authorizer(deploy, arns):
    source = {"identitySource": "method.request.header.X-Key, method.request.querystring.key"}
    ask = deploy(
        operations(
            {"/": {"get": {**proxy(arns["web"]), "security": [{"keeper": []}]}}},
            securityDefinitions={"keeper": authorizer(arns["request"], "request", ttl=0, **source)},
        )
    )
    assert ask("/?key=1").status == 401
    assert ask("/?key=1", headers={"X-Key": "2"}).status == 403
    assert ask("/?key=1", headers={"X-Key": "1"}).status == 200


def test_a_method_that_must_be_signed(deploy, arns, server):
    scheme = {"type": "apiKey", "name": "Authorization", "in": "header", "x-amazon-apigateway-authtype": "awsSigv4"}
    ask = deploy(
        operations({"/": {"get": {**proxy(arns["web"]), "security": [{"sigv4": []}]}}}, securityDefinitions={"sigv4": scheme})
    )
    assert (ask("/").status, ask("/").json) == (403, {"message": "Missing Authentication Token"})
    path = f"/restapis/{ask.id}/test/_user_request_/"

    def signed(service, secret):
        keys = botocore.credentials.Credentials(server.keys["access_key_id"], secret)
        made = botocore.awsrequest.AWSRequest("GET", server.endpoint + path)
        botocore.auth.SigV4Auth(keys, service, "us-east-1").add_auth(made)
        return ask("/", headers=dict(made.headers))

    identity = signed("execute-api", server.keys["secret_access_key"]).json["requestContext"]["identity"]
    assert (identity["accountId"], identity["userArn"]) == ("000000000000", "arn:aws:iam::000000000000:root")
    assert signed("execute-api", "wrong").status == 403
    assert signed("lambda", server.keys["secret_access_key"]).status == 403


def test_stages_have_variables(deploy, apis, arns):
    ask = deploy(operations({"/": {"get": proxy(arns["web"].replace("web", "${stageVariables.fn}"))}}), variables={"fn": "web"})
    assert ask("/").json["stageVariables"] == {"fn": "web"}
    patch = [{"op": "replace", "path": "/variables/fn", "value": "nobody"}, {"op": "replace", "path": "/variables/x", "value": "1"}]
    assert apis.update_stage(restApiId=ask.id, stageName="test", patchOperations=patch)["variables"] == {"fn": "nobody", "x": "1"}
    assert ask("/").status == 500
    apis.update_stage(restApiId=ask.id, stageName="test", patchOperations=[{"op": "replace", "path": "/variables/fn", "value": "web"}])
    assert ask("/").json["stageVariables"] == {"fn": "web", "x": "1"}
    apis.delete_stage(restApiId=ask.id, stageName="test")
    assert (ask("/").status, ask("/").json) == (403, {"message": "Forbidden"})


def test_a_change_is_seen_once_it_is_deployed(deploy, apis, arns):
    ask = deploy(operations({"/old": {"get": proxy(arns["web"])}}))
    first = apis.get_stage(restApiId=ask.id, stageName="test")["deploymentId"]
    document = {"openapi": "3.0.1", "info": {"title": "new", "version": "2"}, "paths": {"/new": {"get": proxy(arns["web"])}}}
    put = apis.put_rest_api(restApiId=ask.id, mode="overwrite", body=json.dumps(document))
    assert (put["name"], put["version"]) == ("new", "2")
    assert (ask("/old").status, ask("/new").status) == (200, 403)
    apis.create_deployment(restApiId=ask.id, stageName="test")
    assert (ask("/old").status, ask("/new").status) == (403, 200)
    back = [{"op": "replace", "path": "/deploymentId", "value": first}]
    apis.update_stage(restApiId=ask.id, stageName="test", patchOperations=back)
    assert (ask("/old").status, ask("/new").status) == (200, 403)
    assert len(apis.get_deployments(restApiId=ask.id)["items"]) == 2
    merged = {**document, "paths": {"/more": {"get": proxy(arns["web"])}}}
    apis.put_rest_api(restApiId=ask.id, mode="merge", body=json.dumps(merged))
    assert sorted(one["path"] for one in apis.get_resources(restApiId=ask.id)["items"]) == ["/", "/more", "/new"]


def test_an_api_is_shown_and_updated(apis, arns, server):
    document = operations({"/pets/{id}": {"get": {**proxy(arns["web"]), "operationId": "get-pet"}}})
    api = apis.import_rest_api(body=json.dumps(document), parameters={"endpointConfigurationTypes": "REGIONAL"})
    shown = apis.get_rest_api(restApiId=api["id"])
    assert (shown["name"], shown["version"], shown["endpointConfiguration"]["types"]) == ("test", "1.0", ["REGIONAL"])
    pet = [one for one in apis.get_resources(restApiId=api["id"], embed=["methods"])["items"] if one["path"] == "/pets/{id}"][0]
    assert (pet["pathPart"], pet["resourceMethods"]["GET"]["operationName"]) == ("{id}", "get-pet")
    where = {"restApiId": api["id"], "resourceId": pet["id"], "httpMethod": "GET"}
    assert apis.get_method(**where)["authorizationType"] == "NONE"
    assert apis.get_integration(**where)["type"] == "AWS_PROXY"
    changes = [
        {"op": "replace", "path": "/name", "value": "other"},
        {"op": "replace", "path": "/minimumCompressionSize", "value": "100"},
        {"op": "add", "path": "/binaryMediaTypes/image~1png"},
    ]
    changed = apis.update_rest_api(restApiId=api["id"], patchOperations=changes)
    assert (changed["name"], changed["minimumCompressionSize"], changed["binaryMediaTypes"]) == ("other", 100, ["image/png"])
    pages = apis.get_paginator("get_rest_apis").paginate(PaginationConfig={"PageSize": 1})
    assert api["id"] in [one["id"] for page in pages for one in page["items"]]
    keys = {"aws_access_key_id": server.keys["access_key_id"], "aws_secret_access_key": server.keys["secret_access_key"]}
    elsewhere = boto3.client("apigateway", "eu-west-1", endpoint_url=server.endpoint, **keys)
    assert elsewhere.get_rest_apis()["items"] == []
    apis.delete_rest_api(restApiId=api["id"])
    with pytest.raises(apis.exceptions.NotFoundException):
        apis.get_rest_api(restApiId=api["id"])
    with pytest.raises(apis.exceptions.NotFoundException):
        apis.delete_rest_api(restApiId=api["id"])


def test_an_api_is_put_together_by_hand(apis, arns, server):
    api = apis.create_rest_api(name="by hand")
    made = apis.create_resource(restApiId=api["id"], parentId=api["rootResourceId"], pathPart="pets")
    where = {"restApiId": api["id"], "resourceId": made["id"], "httpMethod": "GET"}
    with pytest.raises(apis.exceptions.BadRequestException, match="doesn't contain any methods"):
        apis.create_deployment(restApiId=api["id"], stageName="test")
    apis.put_method(authorizationType="NONE", **where)
    with pytest.raises(apis.exceptions.BadRequestException, match="No integration defined for method"):
        apis.create_deployment(restApiId=api["id"], stageName="test")
    apis.put_integration(type="AWS_PROXY", integrationHttpMethod="POST", uri=uri(arns["web"]), **where)
    apis.create_deployment(restApiId=api["id"], stageName="test")
    assert web.request(server, f"/restapis/{api['id']}/test/_user_request_/pets").json["resource"] == "/pets"
    apis.delete_rest_api(restApiId=api["id"])


def test_authorizers_and_a_preflight_are_put_together_by_hand(apis, arns, server):
    api = apis.create_rest_api(name="by hand", tags={"of": "tests"})
    here = {"restApiId": api["id"]}
    pets = apis.create_resource(parentId=api["rootResourceId"], pathPart="pets", **here)["id"]
    one = apis.create_resource(parentId=pets, pathPart="{id}", **here)["id"]
    sources = "method.request.header.X-Key,method.request.querystring.key"
    keeper = apis.create_authorizer(
        name="keeper", type="REQUEST", authorizerUri=uri(arns["request"]), identitySource=sources, **here
    )  # fmt: skip
    assert (keeper["type"], keeper["identitySource"], keeper["authorizerResultTtlInSeconds"]) == ("REQUEST", sources, 300)
    get = {**here, "resourceId": one, "httpMethod": "GET"}
    apis.put_method(authorizationType="CUSTOM", authorizerId=keeper["id"], **get)
    apis.put_integration(type="AWS_PROXY", integrationHttpMethod="POST", uri=uri(arns["web"]), **get)
    options = {**get, "httpMethod": "OPTIONS"}
    allow = "method.response.header.Access-Control-Allow-"
    apis.put_method(authorizationType="NONE", **options)
    apis.put_method_response(statusCode="200", responseParameters={allow + "Origin": False, allow + "Methods": False}, **options)
    # As tools write it: AWS wants no quotes there.
    apis.put_integration(type="MOCK", requestTemplates={"application/json": "{statusCode:200}"}, **options)
    apis.put_integration_response(
        statusCode="200", responseParameters={allow + "Origin": "'*'", allow + "Methods": "'GET'"}, **options
    )
    apis.create_deployment(stageName="test", **here)

    def ask(path, method="GET", **headers):
        where = f"/restapis/{api['id']}/test/_user_request_{path}"
        return web.request(server, where, method, headers={name.replace("_", "-"): value for name, value in headers.items()})

    assert ask("/pets/1").status == 401
    assert ask("/pets/1?key=a", X_Key="b").status == 403
    assert ask("/pets/1?key=a", X_Key="a").status == 200
    preflight = ask("/pets/1", "OPTIONS")
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, "*")
    assert preflight.headers["access-control-allow-methods"] == "GET"

    def patch(operation, path, value, op="replace", **where):
        given = {"op": op, "path": path} if value is None else {"op": op, "path": path, "value": value}
        return getattr(apis, f"update_{operation}")(patchOperations=[given], **here, **where)

    # Each of them is changed; the stage sees it with the next deployment.
    assert patch("authorizer", "/authorizerResultTtlInSeconds", "0", authorizerId=keeper["id"])["authorizerResultTtlInSeconds"] == 0
    moved = patch("resource", "/pathPart", "animals", resourceId=pets)
    assert (moved["path"], apis.get_resource(resourceId=one, **here)["path"]) == ("/animals", "/animals/{id}")
    del get["restApiId"], options["restApiId"]
    timeout = patch("integration", "/timeoutInMillis", "5000", **get)
    assert (timeout["timeoutInMillis"], timeout["uri"]) == (5000, uri(arns["web"]))
    origin = patch("integration_response", f"/responseParameters/{allow}Origin", "'https://example.com'", statusCode="200", **options)
    assert origin["responseParameters"][allow + "Methods"] == "'GET'"
    assert patch("method_response", "/responseModels/application~1json", "Empty", "add", statusCode="200", **options)["responseModels"]
    apis.create_deployment(stageName="test", **here)
    assert ask("/pets/1?key=a", X_Key="a").status == 403
    assert ask("/animals/1", "OPTIONS").headers["access-control-allow-origin"] == "https://example.com"
    with pytest.raises(apis.exceptions.BadRequestException, match="that methods use"):
        apis.delete_authorizer(authorizerId=keeper["id"], **here)
    with pytest.raises(apis.exceptions.BadRequestException, match="Invalid patch path /nothing"):
        patch("integration", "/nothing", "x", **get)
    with pytest.raises(apis.exceptions.BadRequestException, match="authorizerUri: must name a Lambda function"):
        patch("authorizer", "/authorizerUri", "x", authorizerId=keeper["id"])
    open_again = patch("method", "/authorizationType", "NONE", **get)
    assert open_again["authorizationType"] == "NONE" and open_again["methodIntegration"]["timeoutInMillis"] == 5000
    apis.delete_authorizer(authorizerId=keeper["id"], **here)
    assert apis.get_authorizers(**here)["items"] == []
    apis.create_deployment(stageName="test", **here)
    assert ask("/animals/1").json["resource"] == "/animals/{id}"
    apis.delete_integration(**here, **options)
    with pytest.raises(apis.exceptions.NotFoundException):
        apis.get_integration(**here, **options)
    arn = f"arn:aws:apigateway:us-east-1::/restapis/{api['id']}"
    apis.tag_resource(resourceArn=arn, tags={"more": "1"})
    apis.untag_resource(resourceArn=arn, tagKeys=["of"])
    assert apis.get_tags(resourceArn=arn)["tags"] == apis.get_rest_api(**here)["tags"] == {"more": "1"}
    apis.delete_rest_api(**here)


def test_an_authorizers_answers_can_be_forgotten(deploy, arns, apis, server):
    secured = {**proxy(arns["web"]), "security": [{"keeper": []}]}
    ask = deploy(operations({"/": {"get": secured}}, securityDefinitions={"keeper": authorizer(arns["token"], "token")}))

    def asked():
        return server.messages("token").count("asked forgetful")

    for _ in range(2):
        assert ask("/", headers={"Authorization": "forgetful"}).status == 200
    apis.flush_stage_authorizers_cache(restApiId=ask.id, stageName="test")
    assert ask("/", headers={"Authorization": "forgetful"}).status == 200
    harness.wait_until(lambda: asked() == 2, what="the second question")


def test_bad_documents_are_refused_with_the_place(apis, arns):
    kinds = {
        "not JSON": "{",
        "$.paths./x.get.x-amazon-apigateway-integration: Dayfly does not support integrations of type http yet": operations(
            {"/x": {"get": {"x-amazon-apigateway-integration": {"type": "http"}}}}
        ),
        "$.paths./x.get.security: nobody is not defined": operations(
            {"/x": {"get": {**proxy(arns["web"]), "security": [{"nobody": []}]}}}
        ),
        "line 1 column": "{",
    }
    for text, document in kinds.items():
        body = document if isinstance(document, str) else json.dumps(document)
        with pytest.raises(ClientError) as refused:
            apis.import_rest_api(body=body)
        assert refused.value.response["Error"]["Code"] == "BadRequestException"
        assert text in refused.value.response["Error"]["Message"].replace("Unable to parse the document as JSON", "not JSON")


def test_apis_outlive_the_server(folder):
    with harness.Server(folder) as server:
        arn = server.create("web", FUNCTION)["FunctionArn"]
        server.client().add_permission(
            FunctionName="web", StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
        )
        client = server.client("apigateway")
        api = client.import_rest_api(body=json.dumps(operations({"/": {"get": proxy(arn)}})))["id"]
        client.create_deployment(restApiId=api, stageName="test")
        address = server.cli("url", "test").stdout.strip()
        assert address == f"{server.endpoint}/restapis/{api}/test/_user_request_/"
        path = address.removeprefix(server.endpoint)
        assert web.request(server, path).status == 200
        server.kill()
        server.start()
        assert web.request(server, path).status == 200
        missing = server.cli("url", "nobody", check=False)
        assert missing.returncode == 1 and "nobody: there is no API" in missing.stderr
