"""HTTP APIs: made with boto3, asked over HTTP; who may, where requests go, what goes to functions and comes back."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import harness
import pytest
import web
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

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
    return json.loads(how)
"""
KEEPER = """
def handler(event, context):
    (key,) = event["identitySource"] if event["version"] == "2.0" else [event["identitySource"]]
    print("asked", key)
    if key == "broken":
        return 1
    if key == "nobody":
        raise Exception("Unauthorized")
    if key.startswith("policy"):
        statement = {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event.get("routeArn") or event["methodArn"]}
        return {"principalId": "me", "policyDocument": {"Version": "2012-10-17", "Statement": [statement]}, "context": {"n": 7}}
    return {"isAuthorized": key == "yes", "context": {"n": 7, "list": [1]}}
"""


@pytest.fixture(scope="module")
def apis(server):
    return server.client("apigatewayv2")


@pytest.fixture(scope="module")
def arns(server):
    found = {}
    for name, source in {"web": FUNCTION, "keeper": KEEPER, "locked": FUNCTION}.items():
        found[name] = server.create(name, source, Timeout=20)["FunctionArn"]
        if name != "locked":
            server.client().add_permission(
                FunctionName=name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
            )
    return found


class Api:
    """An API with a stage that deploys by itself, and a client of it."""

    def __init__(self, server, apis, arn, version="2.0", **settings):
        self.server, self.apis = server, apis
        self.id = apis.create_api(Name="test", ProtocolType="HTTP", **settings)["ApiId"]
        self.target = "integrations/" + self.integrate(arn, version)
        self.stage = apis.create_stage(ApiId=self.id, StageName="$default", AutoDeploy=True)

    def integrate(self, arn, version="2.0", **settings):
        made = self.apis.create_integration(
            ApiId=self.id, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion=version, **settings
        )
        return made["IntegrationId"]

    def route(self, key, **settings):
        return self.apis.create_route(ApiId=self.id, RouteKey=key, **{"Target": self.target, **settings})["RouteId"]

    def __call__(self, path, method="GET", body=None, headers=None):
        return web.request(self.server, f"/http-apis/{self.id}{path}", method, body, headers=headers)


@pytest.fixture
def make(server, apis, arns):
    made = []

    def new(function="web", **settings):
        made.append(Api(server, apis, arns[function], **settings))
        return made[-1]

    yield new
    for api in made:
        apis.delete_api(ApiId=api.id)


def refused(call, code, *words, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    for word in words:
        assert word in str(error.value)


def test_the_quick_form_answers_at_once(server, apis, arns):
    made = apis.create_api(Name="quick", ProtocolType="HTTP", Target=arns["web"])
    port = server.endpoint.rsplit(":", 1)[1]
    host = f"{made['ApiId']}.execute-api.localhost:{port}"
    assert made["ApiEndpoint"] == f"http://{host}"
    for name in [host, f"{made['ApiId']}.execute-api.us-east-1.amazonaws.com"]:
        event = web.request(server, "/any/path", host=name).json
        assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/any/path")
    apis.create_stage(ApiId=made["ApiId"], StageName="beta", AutoDeploy=True)
    addresses = server.cli("url", "quick").stdout.split()
    assert addresses == [f"{server.endpoint}/http-apis/{made['ApiId']}/{stage}" for stage in ("", "beta/")]
    for address, stage in zip(addresses, ["$default", "beta"], strict=True):
        event = web.request(server, address.removeprefix(server.endpoint) + "any").json
        assert event["requestContext"]["stage"] == stage
    apis.delete_api(ApiId=made["ApiId"])
    assert web.request(server, "/any/path", host=host).status == 403
    refused(apis.get_api, "NotFoundException", ApiId=made["ApiId"])
    refused(apis.create_api, "BadRequestException", "HTTP_PROXY", Name="x", ProtocolType="HTTP", Target="https://example.com")
    refused(apis.create_api, "BadRequestException", "WEBSOCKET", Name="x", ProtocolType="WEBSOCKET")


def test_the_event_of_version_2(make, server):
    api = make()
    api.route("PUT /pets/{kind}/{rest+}")
    host = f"{api.id}.execute-api.us-east-1.amazonaws.com"
    headers = {
        "X-Many": ["one", "two"], "User-Agent": "test/1", "Content-Type": "text/plain", "Cookie": "a=1; b=2",
        "X-Forwarded-For": "10.0.0.1",
    }  # fmt: skip
    event = web.request(server, "/pets/gr%C3%BCn/a/b?x=1&x=2&y=%26", "PUT", "ü", host=host, headers=headers).json
    context = event.pop("requestContext")
    assert event.pop("headers").items() >= {
        "host": host, "x-many": "one,two", "user-agent": "test/1", "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        "x-forwarded-proto": "http",
    }.items()  # fmt: skip
    assert event == {
        "version": "2.0",
        "routeKey": "PUT /pets/{kind}/{rest+}",
        "rawPath": "/pets/gr%C3%BCn/a/b",
        "rawQueryString": "x=1&x=2&y=%26",
        "cookies": ["a=1", "b=2"],
        "queryStringParameters": {"x": "1,2", "y": "&"},
        "pathParameters": {"kind": "grün", "rest": "a/b"},
        "body": "ü",
        "isBase64Encoded": False,
    }
    http = context.pop("http")
    assert http == {
        "method": "PUT", "path": "/pets/gr%C3%BCn/a/b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test/1",
    }  # fmt: skip
    for name, value in {
        "accountId": "000000000000", "apiId": api.id, "domainName": host, "domainPrefix": api.id,
        "routeKey": "PUT /pets/{kind}/{rest+}", "stage": "$default",
    }.items():  # fmt: skip
        assert context[name] == value, name
    binary = api("/pets/a/b", "PUT", b"\xff\0", headers={"Content-Type": "image/png"}).json
    assert (binary["isBase64Encoded"], base64.b64decode(binary["body"])) == (True, b"\xff\0")


def test_the_event_of_version_1(make):
    api = make(version="1.0")
    api.route("ANY /pets/{id}")
    event = api("/pets/7?x=1&x=2", "POST", "hi", headers={"Content-Type": "text/plain"}).json
    for name, value in {
        "version": "1.0", "resource": "/pets/{id}", "path": "/pets/7", "httpMethod": "POST", "body": "hi",
        "pathParameters": {"id": "7"}, "multiValueQueryStringParameters": {"x": ["1", "2"]}, "isBase64Encoded": False,
        "queryStringParameters": {"x": "2"}, "stageVariables": None,
    }.items():  # fmt: skip
        assert event[name] == value, name
    assert event["requestContext"]["stage"] == "$default" and event["requestContext"]["apiId"] == api.id
    many = api('/pets/7?how={"statusCode":201,"multiValueHeaders":{"x-a":["1","2"]},"body":"aGk=","isBase64Encoded":true}')
    assert (many.status, many.body, many.headers.get_all("x-a")) == (201, b"hi", ["1", "2"])
    for bad in ["raise", "[]", '"x"', '{"body":"x"}']:
        assert (api(f"/pets/7?how={bad}").status, api(f"/pets/7?how={bad}").json) == (500, {"message": "Internal Server Error"}), bad


def test_answers_of_version_2(make, apis):
    api = make()
    route = api.route("$default")
    whole = api('/?how={"a":1}')
    assert (whole.status, whole.json, whole.headers["content-type"]) == (200, {"a": 1}, "application/json")
    cookies = api('/?how={"statusCode":302,"headers":{"Location":"/x"},"cookies":["a=1","b=2"]}')
    assert (cookies.status, cookies.headers["location"], cookies.headers.get_all("set-cookie")) == (302, "/x", ["a=1", "b=2"])
    for bad in ["raise", '{"statusCode":"x"}']:
        assert (api(f"/?how={bad}").status, api(f"/?how={bad}").json) == (500, {"message": "Internal Server Error"}), bad
    assert api("/", "POST", b"x" * (11 << 20)).json == {"message": "Request Entity Too Large"}
    slow = api.integrate(apis.get_integration(ApiId=api.id, IntegrationId=api.target.split("/")[1])["IntegrationUri"], TimeoutInMillis=100)
    apis.update_route(ApiId=api.id, RouteId=route, Target=f"integrations/{slow}")
    assert (api("/?how=sleep").status, api("/?how=sleep").json) == (503, {"message": "Service Unavailable"})


def test_routes_are_chosen_as_aws_chooses_them(make, apis):
    api = make()
    keys = ["GET /pets/dog/1", "GET /pets/dog/{id}", "GET /pets/{proxy+}", "GET /{a}/cat/7", "ANY /{proxy+}"]
    routes = {key: api.route(key) for key in keys}
    for method, path, key in [
        ("GET", "/pets/dog/1", keys[0]),
        ("GET", "/pets/dog/2", keys[1]),
        ("GET", "/pets/cat/1", keys[2]),
        ("GET", "/pets/cat/7", keys[3]),
        ("POST", "/pets/dog/1", keys[4]),
    ]:
        assert api(path, method).json["routeKey"] == key, path
    assert (api("/").status, api("/").json) == (404, {"message": "Not Found"})
    default = api.route("$default")
    assert api("/").json["routeKey"] == "$default"
    apis.delete_route(ApiId=api.id, RouteId=default)
    assert api("/").status == 404
    apis.update_route(ApiId=api.id, RouteId=routes[keys[4]], RouteKey="POST /{proxy+}")
    assert api("/x").status == 404 and api("/x", "POST").status == 200
    assert {route["RouteKey"] for route in apis.get_routes(ApiId=api.id)["Items"]} == {*keys[:4], "POST /{proxy+}"}
    refused(apis.create_route, "ConflictException", ApiId=api.id, RouteKey=keys[0])
    refused(apis.create_route, "BadRequestException", ApiId=api.id, RouteKey="GET pets")
    refused(apis.create_route, "BadRequestException", ApiId=api.id, RouteKey="GET /x", Target="integrations/nothing")


def test_stages_deployments_and_variables(make, apis, arns):
    api = make()
    by_variable = api.integrate(arns["web"].replace("web", "${stageVariables.fn}"))
    route = api.route("GET /x", Target=f"integrations/{by_variable}")
    assert api("/x").status == 500, "the stage has no such variable"
    apis.create_stage(ApiId=api.id, StageName="test", StageVariables={"fn": "web"})
    assert api("/test/x").status == 404, "nothing is deployed, and the stage without a name has no such route"
    first = apis.create_deployment(ApiId=api.id, StageName="test")["DeploymentId"]
    event = api("/test/x").json
    assert event["stageVariables"] == {"fn": "web"} and event["requestContext"]["stage"] == "test"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/test/x"
    apis.update_route(ApiId=api.id, RouteId=route, RouteKey="GET /y")
    assert api("/test/x").status == 200 and api("/test/y").status == 404, "a deployment is a copy"
    second = apis.create_deployment(ApiId=api.id)["DeploymentId"]
    stage = apis.update_stage(ApiId=api.id, StageName="test", DeploymentId=second)
    assert (stage["DeploymentId"], stage["AutoDeploy"]) == (second, False)
    assert api("/test/x").status == 404 and api("/test/y").status == 200
    apis.delete_deployment(ApiId=api.id, DeploymentId=first)
    refused(apis.delete_deployment, "BadRequestException", ApiId=api.id, DeploymentId=second)
    stage = apis.get_stage(ApiId=api.id, StageName="$default")
    assert stage["AutoDeploy"] and stage["DeploymentId"] and "deployed" in stage["LastDeploymentStatusMessage"]
    apis.update_stage(ApiId=api.id, StageName="$default", AutoDeploy=False, StageVariables={"fn": "web"})
    apis.update_route(ApiId=api.id, RouteId=route, RouteKey="GET /z")
    assert api("/y").status == 200 and api("/z").status == 404, "it serves what it served"
    apis.delete_stage(ApiId=api.id, StageName="test")
    assert api("/test/y").status == 404
    assert [stage["StageName"] for stage in apis.get_stages(ApiId=api.id)["Items"]] == ["$default"]


def test_a_function_must_permit_its_api(make, server):
    api = make("locked")
    api.route("GET /a/{b}")
    api.route("$default")
    assert (api("/a/1").status, api("/a/1").json) == (500, {"message": "Internal Server Error"})
    client = server.client()
    source = f"arn:aws:execute-api:us-east-1:000000000000:{api.id}"
    permission = {"FunctionName": "locked", "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com"}
    client.add_permission(StatementId="one", SourceArn=f"{source}/*/GET/a/*", **permission)
    assert api("/a/1").status == 200 and api("/b").status == 500
    client.add_permission(StatementId="two", SourceArn=f"{source}/*/$default", **permission)
    assert api("/b").status == 200


def test_cors(make, apis):
    api = make(CorsConfiguration={"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "AllowHeaders": ["x-a"], "MaxAge": 60})
    api.route("GET /x")
    ask = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    answer = api("/nowhere", "OPTIONS", headers=ask)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-max-age"] == "60"
    assert "access-control-allow-origin" not in api("/x", "OPTIONS", headers={**ask, "Origin": "https://b.example"}).headers
    own = api('/x?how={"statusCode":200,"headers":{"Access-Control-Allow-Origin":"*"}}', headers={"Origin": "https://a.example"})
    assert own.headers.get_all("access-control-allow-origin") == ["https://a.example"], "the API's word, not the function's"
    assert apis.get_api(ApiId=api.id)["CorsConfiguration"]["AllowMethods"] == ["GET"]
    apis.delete_cors_configuration(ApiId=api.id)
    assert api("/x", "OPTIONS", headers=ask).status == 404
    credentials = {"AllowOrigins": ["*"], "AllowCredentials": True}
    refused(apis.update_api, "BadRequestException", ApiId=api.id, CorsConfiguration=credentials)


def asked(server, key):
    return server.messages("keeper").count(f"asked {key}")


def test_functions_that_say_who_may(make, apis, arns, server):
    api = make()

    def keep(path, **settings):
        made = apis.create_authorizer(
            ApiId=api.id, Name="keeper", AuthorizerType="REQUEST", AuthorizerUri=arns["keeper"],
            IdentitySource=["$request.header.X-Key"], **settings,
        )  # fmt: skip
        api.route(f"GET {path}", AuthorizationType="CUSTOM", AuthorizerId=made["AuthorizerId"])
        return made["AuthorizerId"]

    simple = {"AuthorizerPayloadFormatVersion": "2.0", "EnableSimpleResponses": True}
    keeper = keep("/simple", AuthorizerResultTtlInSeconds=300, **simple)
    keep("/policy", AuthorizerPayloadFormatVersion="2.0")
    keep("/old", AuthorizerPayloadFormatVersion="1.0")
    assert (api("/simple").status, api("/simple").json) == (401, {"message": "Unauthorized"})
    for _ in range(2):
        event = api("/simple", headers={"X-Key": "yes"}).json
        assert event["requestContext"]["authorizer"] == {"lambda": {"n": 7, "list": [1]}}
        assert (api("/simple", headers={"X-Key": "no"}).status, api("/simple", headers={"X-Key": "no"}).json) == (403, {"message": "Forbidden"})
    assert api("/simple", headers={"X-Key": "nobody"}).status == 401
    assert api("/simple", headers={"X-Key": "broken"}).status == 500
    assert api("/policy", headers={"X-Key": "policy-1"}).json["requestContext"]["authorizer"]["lambda"]["n"] == "7"
    assert api("/old", headers={"X-Key": "policy-2"}).status == 200
    assert api("/policy", headers={"X-Key": "yes"}).status == 500, "no policy"
    harness.wait_until(lambda: asked(server, "yes") == 2 and asked(server, "policy-2") == 1, what="the last line")
    assert asked(server, "no") == 1, "an answer holds for a while"
    refused(apis.delete_authorizer, "ConflictException", ApiId=api.id, AuthorizerId=keeper)
    refused(
        apis.create_authorizer, "BadRequestException", ApiId=api.id, Name="x", AuthorizerType="REQUEST", IdentitySource=[],
        AuthorizerUri=arns["keeper"], AuthorizerResultTtlInSeconds=1, **simple,
    )  # fmt: skip


def test_routes_that_must_be_signed(make, server):
    api = make()
    api.route("GET /x", AuthorizationType="AWS_IAM")
    assert (api("/x").status, api("/x").json) == (403, {"message": "Forbidden"})

    def signed(secret):
        keys = botocore.credentials.Credentials(server.keys["access_key_id"], secret)
        made = botocore.awsrequest.AWSRequest("GET", f"{server.endpoint}/http-apis/{api.id}/x")
        botocore.auth.SigV4Auth(keys, "execute-api", "us-east-1").add_auth(made)
        return api("/x", headers=dict(made.headers))

    who = signed(server.keys["secret_access_key"]).json["requestContext"]["authorizer"]["iam"]
    assert (who["accountId"], who["userArn"]) == ("000000000000", "arn:aws:iam::000000000000:root")
    assert signed("wrong").status == 403


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length):
    return encoded(value.to_bytes(length, "big"))


class Issuer:
    """An issuer of tokens: two keys, and the documents that say what they are."""

    def __init__(self):
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        public, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        self.keys = [
            {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": number(public.n, 256), "e": number(public.e, 3)},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(point.x, 32), "y": number(point.y, 32)},
            {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
        ]
        self.paths = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.paths.append(self.path)
                documents = {
                    "/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": issuer.url + "/keys"},
                    "/keys": {"keys": issuer.keys},
                }
                body = json.dumps(documents.get(self.path)).encode()
                self.send_response(200 if self.path in documents else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def token(self, alg="RS256", kid="r", key=None, header=None, **claims):
        claims = {"iss": self.url, "aud": "us", "exp": time.time() + 600, "sub": "me", **claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        head = {"alg": alg, "kid": kid, "typ": "JWT", **(header or {})}
        signed = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
        if alg == "RS256":
            signature = (key or self.rsa).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        elif alg == "ES256":
            r, s = decode_dss_signature(self.ec.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            signature = b"x" * 32
        return f"{signed}.{encoded(signature)}"


def test_tokens_of_an_issuer(make, apis):
    issuer = Issuer()
    api = make()
    made = apis.create_authorizer(
        ApiId=api.id, Name="jwt", AuthorizerType="JWT", IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Issuer": issuer.url, "Audience": ["us", "them"]},
    )  # fmt: skip
    settings = {"AuthorizationType": "JWT", "AuthorizerId": made["AuthorizerId"]}
    api.route("GET /x", **settings)
    api.route("GET /scoped", AuthorizationScopes=["read", "write"], **settings)

    def with_token(token, path="/x"):
        return api(path, headers={"Authorization": f"Bearer {token}"})

    claims = with_token(issuer.token(groups=["a", "b"], n=1)).json["requestContext"]["authorizer"]["jwt"]
    assert claims["scopes"] is None and claims["claims"]["sub"] == "me" and claims["claims"]["groups"] == "[a b]"
    assert with_token(issuer.token("ES256", "e")).status == 200
    assert with_token(issuer.token(aud=["other", "them"])).status == 200
    assert with_token(issuer.token(aud=None, client_id="us")).status == 200
    assert api("/x", headers={"Authorization": issuer.token()}).status == 200, "the word Bearer may be left out"
    assert with_token(issuer.token(), "/scoped").status == 403
    scoped = with_token(issuer.token(scope="email read"), "/scoped").json
    assert scoped["requestContext"]["authorizer"]["jwt"]["scopes"] == ["email", "read"]

    other = rsa.generate_private_key(65537, 2048)
    good = issuer.token()
    for what, token in {
        "run out": issuer.token(exp=time.time() - 1),
        "for ever": issuer.token(exp=None),
        "a text as time": issuer.token(exp="9999999999"),
        "not yet": issuer.token(nbf=time.time() + 600),
        "issued tomorrow": issuer.token(iat=time.time() + 600),
        "another issuer": issuer.token(iss="http://127.0.0.1:1"),
        "another audience": issuer.token(aud="other"),
        "no audience": issuer.token(aud=None),
        "another key": issuer.token(key=other),
        "the other kind of key": issuer.token(kid="e"),
        "no algorithm": issuer.token("none"),
        "a shared secret": issuer.token("HS256", "o"),
        "extensions": issuer.token(header={"crit": ["x"]}),
        "a changed part": good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB"),
        "two parts": good.rpartition(".")[0],
        "nothing": "x",
    }.items():
        answer = with_token(token)
        assert (answer.status, answer.json) == (401, {"message": "Unauthorized"}), what
        assert "invalid_token" in answer.headers["www-authenticate"], what
    assert api("/x").status == 401
    assert issuer.paths.count("/keys") == 1, "keys are kept"
    issuer.http.shutdown()
    assert with_token(issuer.token()).status == 200
    for bad in ["http://example.com", "ftp://x", "x", "https://example.com/?a=1"]:
        refused(
            apis.update_authorizer, "BadRequestException", "issuer", ApiId=api.id, AuthorizerId=made["AuthorizerId"],
            JwtConfiguration={"Issuer": bad, "Audience": ["us"]},
        )  # fmt: skip


def test_an_issuer_that_cannot_be_asked_lets_nobody_in(make, apis):
    issuer = Issuer()
    issuer.http.shutdown()
    issuer.http.server_close()
    api = make()
    made = apis.create_authorizer(
        ApiId=api.id, Name="jwt", AuthorizerType="JWT", IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Issuer": issuer.url, "Audience": ["us"]},
    )  # fmt: skip
    api.route("GET /x", AuthorizationType="JWT", AuthorizerId=made["AuthorizerId"])
    answer = api("/x", headers={"Authorization": "Bearer " + issuer.token()})
    assert answer.status == 401 and "temporarily_unavailable" in answer.headers["www-authenticate"]


def test_host_names_of_ones_own(make, apis, server):
    api = make()
    api.route("GET /pets/{id}")
    apis.create_stage(ApiId=api.id, StageName="test", AutoDeploy=True)
    rest = server.client("apigateway")
    arn = apis.get_integrations(ApiId=api.id)["Items"][0]["IntegrationUri"]
    uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"
    proxy = {"x-amazon-apigateway-integration": {"type": "aws_proxy", "httpMethod": "POST", "uri": uri}}
    old = rest.import_rest_api(body=json.dumps({"swagger": "2.0", "info": {"title": "old"}, "paths": {"/a": {"get": proxy}}}))["id"]
    rest.create_deployment(restApiId=old, stageName="api")
    for name in ["shop.example.com", "shop.localhost"]:
        apis.create_domain_name(DomainName=name, DomainNameConfigurations=[{"CertificateArn": "arn:x"}])
        apis.create_api_mapping(DomainName=name, ApiId=api.id, Stage="$default")
        apis.create_api_mapping(DomainName=name, ApiId=api.id, Stage="test", ApiMappingKey="v2/test")
        apis.create_api_mapping(DomainName=name, ApiId=old, Stage="api", ApiMappingKey="old")

        def ask(path, name=name):
            return web.request(server, path, host=f"{name.upper()}:1234")

        event = ask("/pets/7").json
        assert (event["rawPath"], event["requestContext"]["stage"], event["pathParameters"]) == ("/pets/7", "$default", {"id": "7"})
        event = ask("/v2/test/pets/7").json
        assert (event["rawPath"], event["requestContext"]["stage"]) == ("/v2/test/pets/7", "test")
        event = ask("/old/a").json
        assert (event["path"], event["resource"], event["requestContext"]["path"]) == ("/old/a", "/a", "/old/a")
        assert ask("/olda").status == 404
        mappings = apis.get_api_mappings(DomainName=name)["Items"]
        by_key = {mapping.get("ApiMappingKey"): mapping["ApiMappingId"] for mapping in mappings}
        apis.delete_api_mapping(DomainName=name, ApiMappingId=by_key[""])
        assert (ask("/pets/7").status, ask("/pets/7").json) == (403, {"message": "Forbidden"})
        refused(apis.create_api_mapping, "ConflictException", DomainName=name, ApiId=old, Stage="api", ApiMappingKey="old")
        refused(apis.create_api_mapping, "BadRequestException", DomainName=name, ApiId=old, Stage="nothing")
        apis.delete_domain_name(DomainName=name)
        refused(apis.get_domain_name, "NotFoundException", DomainName=name)
    refused(apis.create_domain_name, "BadRequestException", DomainName="127.0.0.1")
    rest.delete_rest_api(restApiId=old)


def test_host_names_in_the_words_of_version_1(make, apis, server):
    api = make()
    api.route("GET /pets")
    old = server.client("apigateway")
    certificate = {"regionalCertificateArn": "arn:x", "endpointConfiguration": {"types": ["REGIONAL"]}}
    made = old.create_domain_name(domainName="one.example.com", tags={"a": "1"}, **certificate)
    assert (made["regionalDomainName"], made["securityPolicy"]) == ("one.example.com", "TLS_1_2")
    where = {"domainName": "one.example.com"}
    assert old.create_base_path_mapping(restApiId=api.id, stage="$default", **where)["basePath"] == "(none)"
    old.create_base_path_mapping(restApiId=api.id, stage="$default", basePath="shop", **where)
    assert web.request(server, "/pets", host="one.example.com").status == 200
    patch = [{"op": "replace", "path": "/basePath", "value": "store"}]
    assert old.update_base_path_mapping(basePath="shop", patchOperations=patch, **where)["basePath"] == "store"
    assert {one["basePath"] for one in old.get_base_path_mappings(**where)["items"]} == {"(none)", "store"}
    old.delete_base_path_mapping(basePath="(none)", **where)
    assert web.request(server, "/pets", host="one.example.com").status == 403
    changed = old.update_domain_name(patchOperations=[{"op": "replace", "path": "/securityPolicy", "value": "TLS_1_0"}], **where)
    assert changed["securityPolicy"] == "TLS_1_0"
    # Version 2 sees the same, and changes it.
    assert apis.get_domain_name(DomainName="one.example.com")["DomainNameConfigurations"][0]["CertificateArn"] == "arn:x"
    apis.update_domain_name(DomainName="one.example.com", DomainNameConfigurations=[{"CertificateArn": "arn:y", "EndpointType": "EDGE"}])
    assert old.get_domain_name(**where)["certificateArn"] == "arn:y"
    arn = "arn:aws:apigateway:us-east-1::/domainnames/one.example.com"
    apis.tag_resource(ResourceArn=arn, Tags={"b": "2"})
    apis.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert apis.get_tags(ResourceArn=arn)["Tags"] == {"b": "2"}
    refused(apis.get_tags, "NotFoundException", ResourceArn="arn:aws:apigateway:us-east-1::/apis/none")
    old.delete_domain_name(**where)
    refused(old.get_domain_name, "NotFoundException", **where)


def test_what_is_not_served_is_refused_by_its_name(apis, make, arns):
    api = make()
    with pytest.raises(ClientError) as error:
        apis.create_vpc_link(Name="x", SubnetIds=["y"])
    assert "CreateVpcLink" in str(error.value)
    integration = {"ApiId": api.id, "IntegrationUri": "https://example.com", "PayloadFormatVersion": "1.0"}
    refused(apis.create_integration, "BadRequestException", "HTTP_PROXY", IntegrationType="HTTP_PROXY", **integration)
    refused(
        apis.create_integration, "BadRequestException", "requestParameters", IntegrationType="AWS_PROXY",
        RequestParameters={"overwrite:path": "/"}, **integration,
    )  # fmt: skip
    refused(apis.create_stage, "BadRequestException", "accessLogSettings", ApiId=api.id, StageName="x", AccessLogSettings={"Format": "x"})
