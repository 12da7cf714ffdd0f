"""What is refused, with which error."""

import json
import uuid

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from conftest import ROLE, RUNTIME, refused, zip_of

GOOD = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler"}
# boto3 checks some lengths itself; the server must not rely on that.
RAW = Config(parameter_validation=False, retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def raw():
    return boto3.client("lambda", config=RAW)


def name():
    return f"conformance-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("MemorySize", 127),
        ("MemorySize", 10241),
        ("Timeout", 0),
        ("Timeout", 901),
        ("EphemeralStorage", {"Size": 511}),
        ("EphemeralStorage", {"Size": 10241}),
        ("Description", "x" * 257),
        ("Handler", "x" * 129),
        ("Handler", "with space"),
        ("Role", "not-an-arn"),
        ("Runtime", "python2.7"),
        ("Runtime", "cobol1"),
        ("Architectures", ["mips"]),
        ("Architectures", ["x86_64", "arm64"]),
        ("Environment", {"Variables": {"1bad": "x"}}),
        ("Environment", {"Variables": {"AWS_REGION": "x"}}),
        ("Environment", {"Variables": {"BIG": "x" * 5000}}),
        ("TracingConfig", {"Mode": "Sometimes"}),
        ("PackageType", "Tarball"),
        ("Tags", {"k" * 129: "v"}),
        ("Tags", {"aws:reserved": "v"}),
        ("LoggingConfig", {"LogFormat": "XML"}),
        ("MemorySize", "many"),
    ],
)
def test_bad_settings_are_refused(raw, field, value):
    try:
        raw.create_function(FunctionName=name(), Code={"ZipFile": zip_of("")}, **{**GOOD, field: value})
    except raw.exceptions.ClientError as error:
        answer = error.response
        allowed = ("InvalidParameterValueException", "ValidationException", "SerializationException")
        assert answer["Error"]["Code"] in allowed, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400, answer
        assert answer["Error"]["Message"], answer
    else:
        pytest.fail(f"{field}={value!r} was taken")


@pytest.mark.parametrize("bad", ["with space", "x" * 65, "sla/sh", "dot.dot", "", "ümlaut"])
def test_bad_names_are_refused(raw, bad):
    try:
        raw.create_function(FunctionName=bad, Code={"ZipFile": zip_of("")}, **GOOD)
    except raw.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] in ("InvalidParameterValueException", "ValidationException")
    else:
        pytest.fail(f"{bad!r} was taken")


@pytest.mark.parametrize(
    "package",
    [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18, zip_of("")[:-10]],
    ids=["empty", "garbage", "zip without files", "cut short"],
)
def test_bad_packages_are_refused(raw, package):
    with refused("InvalidParameterValueException", 400):
        raw.create_function(FunctionName=name(), Code={"ZipFile": package}, **GOOD)


def test_a_missing_runtime_lists_those_that_are_there(raw, awslambda):
    answers = []
    for minor in range(9, 15):
        try:
            made = raw.create_function(
                FunctionName=name(), Code={"ZipFile": zip_of("")}, **{**GOOD, "Runtime": f"python3.{minor}"}
            )
            awslambda.delete_function(FunctionName=made["FunctionName"])
        except raw.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidParameterValueException"
            answers.append(error.response["Error"]["Message"])
    assert all(RUNTIME in message for message in answers), answers


def test_unknown_qualifiers_are_not_found(awslambda, create):
    made = create()
    for qualifier in ("7", "live"):
        with refused("ResourceNotFoundException", 404):
            awslambda.get_function(FunctionName=made["FunctionName"], Qualifier=qualifier)
        with refused("ResourceNotFoundException", 404):
            awslambda.invoke(FunctionName=made["FunctionName"], Qualifier=qualifier)


def test_another_region_has_its_own_functions(create):
    made = create()
    elsewhere = boto3.client("lambda", region_name="eu-central-1", config=RAW)
    with refused("ResourceNotFoundException", 404):
        elsewhere.get_function(FunctionName=made["FunctionName"])


def test_operations_that_are_not_served_are_named(awslambda):
    for call, operation in (
        (lambda: awslambda.list_code_signing_configs(), "ListCodeSigningConfigs"),
        (lambda: awslambda.list_durable_executions_by_function(FunctionName="f"), "ListDurableExecutionsByFunction"),
    ):
        with pytest.raises(awslambda.exceptions.ClientError) as error:
            call()
        answer = error.value.response
        assert operation in answer["Error"]["Message"], answer
        assert 400 <= answer["ResponseMetadata"]["HTTPStatusCode"] < 502, answer


def test_wrong_keys_are_refused(awslambda):
    ours = boto3.Session().get_credentials()

    def client_with(key_id, secret, token=None):
        return boto3.client(
            "lambda", aws_access_key_id=key_id, aws_secret_access_key=secret, aws_session_token=token, config=RAW
        )

    wrong_secret = client_with(ours.access_key, "wrong")
    wrong_id = client_with("AKIAUNKNOWNUNKNOWN00", ours.secret_key)
    nobody = boto3.client("lambda", config=RAW.merge(Config(signature_version=UNSIGNED)))
    forged = client_with(ours.access_key, ours.secret_key, "forged.token")
    for client, codes in (
        (wrong_secret, {"InvalidSignatureException", "SignatureDoesNotMatch"}),
        (wrong_id, {"UnrecognizedClientException", "InvalidClientTokenId"}),
        (nobody, {"MissingAuthenticationTokenException", "MissingAuthenticationToken"}),
        (forged, {"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException"}),
    ):
        with pytest.raises(client.exceptions.ClientError) as error:
            client.list_functions()
        answer = error.value.response
        assert answer["Error"]["Code"] in codes, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403, answer


def test_broken_json_is_refused(raw):
    credentials = boto3.Session().get_credentials()
    for body in (b"{", b"[]", b"\xff\xfe", b'{"FunctionName": 7}', b"{}" + b"[" * 5000):
        request = AWSRequest("POST", f"{raw.meta.endpoint_url}/2015-03-31/functions", data=body)
        request.headers["Content-Type"] = "application/json"
        SigV4Auth(credentials, "lambda", raw.meta.region_name).add_auth(request)
        answer = raw._endpoint.http_session.send(request.prepare())
        assert answer.status_code == 400, body
        assert answer.headers["x-amzn-ErrorType"], body
        assert json.loads(answer.content), body


def test_bad_provisioned_concurrency_is_refused(raw, create):
    function = create(Publish=True)["FunctionName"]
    for qualifier, count, code, status in [
        ("$LATEST", 1, "InvalidParameterValueException", 400),
        ("1", 0, "ValidationException", 400),
        ("1", -1, "ValidationException", 400),
        ("1", None, "ValidationException", 400),
        ("1", 1_000_000, "InvalidParameterValueException", 400),
        ("99", 1, "ResourceNotFoundException", 404),
        ("nobody", 1, "ResourceNotFoundException", 404),
    ]:
        asked = {"FunctionName": function, "Qualifier": qualifier, "ProvisionedConcurrentExecutions": count}
        with refused(code, status):
            raw.put_provisioned_concurrency_config(**asked)
    with refused("ProvisionedConcurrencyConfigNotFoundException", 404):
        raw.get_provisioned_concurrency_config(FunctionName=function, Qualifier="1")
    assert raw.list_provisioned_concurrency_configs(FunctionName=function)["ProvisionedConcurrencyConfigs"] == []
