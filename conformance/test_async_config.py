"""Configuration of asynchronous calls: what is refused, with which error."""

import uuid

import boto3
import pytest
from botocore.config import Config
from conftest import ROLE, RUNTIME, refused, zip_of

# boto3 checks some of this itself; the server must not rely on that.
RAW = Config(parameter_validation=False, retries={"total_max_attempts": 1})
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:nowhere"


@pytest.fixture(scope="module")
def raw():
    return boto3.client("lambda", config=RAW)


@pytest.fixture(scope="module")
def function(raw):
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    code = {"ZipFile": zip_of("def handler(event, context): pass")}
    made = raw.create_function(FunctionName=name, Runtime=RUNTIME, Role=ROLE, Handler="app.handler", Code=code)
    yield made
    raw.delete_function(FunctionName=name)


def to(destination, side="OnFailure"):
    return {"DestinationConfig": {side: {"Destination": destination}}}


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"MaximumRetryAttempts": -1}, "ValidationException", "'maximumRetryAttempts' failed to satisfy constraint"),
        ({"MaximumRetryAttempts": 3}, "ValidationException", "value less than or equal to 2"),
        ({"MaximumEventAgeInSeconds": 59}, "ValidationException", "value greater than or equal to 60"),
        ({"MaximumEventAgeInSeconds": 21601}, "ValidationException", "value less than or equal to 21600"),
        ({"MaximumRetryAttempts": 9, "MaximumEventAgeInSeconds": 9}, "ValidationException", "2 validation errors detected"),
        (to("queue"), "ValidationException", "'destinationConfig.onFailure.destination' failed to satisfy constraint"),
        (to("queue", "OnSuccess"), "ValidationException", "'destinationConfig.onSuccess.destination'"),
        (to(OTHER), "InvalidParameterValueException", f"The destination ARN {OTHER} is invalid."),
        (to("arn:aws:iam::000000000000:role/test"), "InvalidParameterValueException", "is invalid."),
        ({}, "InvalidParameterValueException", "You must specify at least one of error handling or destination setting."),
    ],
)
@pytest.mark.parametrize("operation", ["put_function_event_invoke_config", "update_function_event_invoke_config"])
def test_bad_configurations_are_refused(raw, function, operation, asked, code, words):
    with refused(code, 400, words):
        getattr(raw, operation)(FunctionName=function["FunctionName"], **asked)


def test_a_function_is_no_destination_of_its_own(raw, function):
    with refused("InvalidParameterValueException", 400, "You can't specify the function as a destination for itself."):
        raw.put_function_event_invoke_config(FunctionName=function["FunctionName"], **to(function["FunctionArn"]))


def test_what_is_not_there_is_not_found(raw, function):
    name = function["FunctionName"]
    for call in (
        lambda: raw.get_function_event_invoke_config(FunctionName=name),
        lambda: raw.delete_function_event_invoke_config(FunctionName=name),
        lambda: raw.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1),
        lambda: raw.put_function_event_invoke_config(FunctionName=name, Qualifier="7", MaximumRetryAttempts=1),
        lambda: raw.list_function_event_invoke_configs(FunctionName="conformance-none"),
        lambda: raw.get_function_recursion_config(FunctionName="conformance-none"),
    ):
        with refused("ResourceNotFoundException", 404):
            call()


@pytest.mark.parametrize("value", [None, "Sometimes", "", "allow"])
def test_a_loop_is_allowed_or_ended(raw, function, value):
    with refused("ValidationException", 400, "recursiveLoop"):
        raw.put_function_recursion_config(FunctionName=function["FunctionName"], RecursiveLoop=value)


@pytest.mark.parametrize(
    ("target", "code"),
    [("queue", "ValidationException"), ("arn:aws:s3:::bucket", "InvalidParameterValueException")],
)
def test_a_dead_letter_queue_is_a_queue_or_a_topic(raw, function, target, code):
    with refused(code, 400):
        raw.update_function_configuration(FunctionName=function["FunctionName"], DeadLetterConfig={"TargetArn": target})
