"""Concurrency: the account's, what is reserved of it, and a fair share of the rest."""

import concurrent.futures
import json
import threading

import calls
import harness
import pytest
from botocore.exceptions import ClientError

FUNCTION = """
import time

def handler(event, context):
    if isinstance(event, dict):
        time.sleep(event.get("sleep", 0))
        print("ran", event.get("mark") or event.get("Records", [{}])[0].get("body"))
    return "done"
"""
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    config = "[limits]\nconcurrency = 103\n"
    with harness.Server(tmp_path_factory.mktemp("concurrency") / "data", config=config) as server:
        server.create("f", FUNCTION, Timeout=20)
        yield server


@pytest.fixture
def client(server):
    client = server.client()
    yield client
    client.delete_function_concurrency(FunctionName="f")


def call(client, **event):
    """`None`, or the error's answer."""
    try:
        assert json.load(client.invoke(FunctionName="f", Payload=json.dumps(event))["Payload"]) == "done"
    except ClientError as error:
        return error.response


def test_what_is_reserved_is_kept_and_shown(server, client):
    put = client.put_function_concurrency
    assert client.get_function_concurrency(FunctionName="f").get("ReservedConcurrentExecutions") is None
    assert put(FunctionName="f", ReservedConcurrentExecutions=3)["ReservedConcurrentExecutions"] == 3
    assert client.get_function_concurrency(FunctionName="f")["ReservedConcurrentExecutions"] == 3
    assert client.get_function(FunctionName="f")["Concurrency"] == {"ReservedConcurrentExecutions": 3}
    limit = client.get_account_settings()["AccountLimit"]
    assert (limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]) == (103, 100)
    for number, code in [(4, "InvalidParameterValueException"), (-1, "ValidationException"), (None, "ValidationException")]:
        with pytest.raises(ClientError) as error:
            put(FunctionName="f", ReservedConcurrentExecutions=number)
        assert error.value.response["Error"]["Code"] == code
        if number == 4:
            assert "below its minimum value of [100]" in error.value.response["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        put(FunctionName="none", ReservedConcurrentExecutions=1)
    client.delete_function_concurrency(FunctionName="f")
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 103


def test_more_calls_than_are_reserved_are_throttled(client):
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=2)
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: call(client, sleep=2 * harness.SLOW), range(8)))
    refused = [answer for answer in answers if answer]
    assert 1 <= len(refused) <= 6, answers
    for answer in refused:
        assert answer["Error"]["Code"] == "TooManyRequestsException"
        assert answer["Reason"] == RESERVED
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert int(answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) >= 1
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    assert call(client)["Reason"] == RESERVED
    client.delete_function_concurrency(FunctionName="f")
    assert call(client) is None


def test_events_and_messages_wait_for_their_turn(server, client):
    sqs = server.client("sqs")
    queue = sqs.create_queue(QueueName="waits", Attributes={"VisibilityTimeout": "20"})["QueueUrl"]
    source = "arn:aws:sqs:us-east-1:000000000000:waits"
    mapping = client.create_event_source_mapping(EventSourceArn=source, FunctionName="f")["UUID"]
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    sqs.send_message(QueueUrl=queue, MessageBody="message")

    def hidden():
        names = ["ApproximateNumberOfMessagesNotVisible"]
        return sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"][names[0]] == "1"

    harness.wait_until(hidden, what="the message is taken")
    # One place, and more events than that: events for a function that has none at all are given up (test_destinations).
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=1)
    wanted = ["ran event", "ran message", "ran first"]
    for event in [b'{"mark": "first", "sleep": 2}', b'{"mark": "event"}']:
        assert client.invoke(FunctionName="f", InvocationType="Event", Payload=event)["StatusCode"] == 202
    harness.wait_until(lambda: set(wanted) <= set(calls.log_of(server, "f")), 60, "all ran")
    lines = calls.log_of(server, "f")
    assert [lines.count(line) for line in wanted] == [1, 1, 1]
    client.delete_event_source_mapping(UUID=mapping)
    sqs.delete_queue(QueueUrl=queue)


def test_a_noisy_function_leaves_room_for_a_quiet_one(tmp_path):
    with harness.Server(tmp_path / "data", config="[limits]\nconcurrency = 40\n") as server:
        for name in ["noisy", "quiet"]:
            server.create(name, FUNCTION)
        client, over, reasons = server.client(), threading.Event(), set()

        def shout():
            while not over.is_set():
                try:
                    client.invoke(FunctionName="noisy", Payload=b'{"sleep": 0.5}')
                except client.exceptions.TooManyRequestsException as error:
                    reasons.add(error.response["Reason"])
                    over.wait(0.05)

        with concurrent.futures.ThreadPoolExecutor(48) as clients:
            shouting = [clients.submit(shout) for _ in range(48)]
            try:
                harness.wait_until(lambda: reasons, what="the noisy function has all that it gets")
                for _ in range(20):
                    answer = client.invoke(FunctionName="quiet", Payload=b"null")
                    assert json.load(answer["Payload"]) == "done"
            finally:
                over.set()
            for one in shouting:
                one.result()
        assert reasons == {"ConcurrentInvocationLimitExceeded"}
