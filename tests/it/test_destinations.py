"""What becomes of asynchronous events: attempts and ages as asked, destinations, dead-letter queues, loops."""

import json
import uuid

import harness
import pytest
from botocore.exceptions import ClientError

SOURCE = """
def handler(event, context):
    print("ran", event.get("id"))
    if event.get("fail"):
        raise ValueError("no: " + event["id"])
    return {"got": event}
"""
TOLD = "def handler(event, context):\n    print('told', event['requestContext']['requestId'])\n"
LOOP = """
import boto3

def handler(event, context):
    print("round", event["n"])
    if event["n"] < 19:
        client = boto3.client("lambda")
        try:
            client.invoke(FunctionName=context.function_name, InvocationType="Event", Payload='{"n": %d}' % (event["n"] + 1))
        except client.exceptions.RecursiveInvocationException:
            print("stopped")
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus/default"


class Queue:
    def __init__(self, server):
        self.client, self.name = server.client("sqs"), f"q-{uuid.uuid4().hex[:8]}"
        self.url = self.client.create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}"
        self.taken = []

    def take(self, count, client=None):
        """At least so many messages."""
        client = client or self.client

        def enough():
            got = client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            )
            for message in got.get("Messages", []):
                client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                self.taken.append(message)
            return len(self.taken) >= count

        harness.wait_until(enough, seconds=60, what=f"{count} messages in {self.name}")
        return self.taken


def send(server, name, **event):
    event.setdefault("id", uuid.uuid4().hex)
    answer = server.client().invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event))
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["RequestId"], event


def lines(server, name, word):
    return [line.strip() for line in server.messages(name, word) if line.startswith(word)]


def test_each_event_is_told_of_in_lambdas_envelope(server):
    client, good, bad, dead = server.client(), Queue(server), Queue(server), Queue(server)
    server.create("told", SOURCE, DeadLetterConfig={"TargetArn": dead.arn})
    assert client.get_function_configuration(FunctionName="told")["DeadLetterConfig"] == {"TargetArn": dead.arn}
    client.put_function_event_invoke_config(
        FunctionName="told",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": good.arn}, "OnFailure": {"Destination": bad.arn}},
    )
    request, event = send(server, "told", exact=[1.50, None])
    [message] = good.take(1)
    record = json.loads(message["Body"])
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request,
            "functionArn": f"{ARN}told:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"got": event},
    }
    request, event = send(server, "told", fail=True)
    record = json.loads(bad.take(1)[0]["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 1, "no retries were asked for"
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert (record["requestPayload"], record["requestContext"]["requestId"]) == (event, request)
    [letter] = dead.take(1)
    assert json.loads(letter["Body"]) == event
    said = {name: (it["DataType"], it["StringValue"]) for name, it in letter["MessageAttributes"].items()}
    message = ("String", f"no: {event['id']}")
    assert said == {"RequestID": ("String", request), "ErrorCode": ("Number", "200"), "ErrorMessage": message}
    # A function that may not run at all: told at once, without an attempt.
    client.put_function_concurrency(FunctionName="told", ReservedConcurrentExecutions=0)
    send(server, "told")
    record = json.loads(bad.take(2)[1]["Body"])["requestContext"]
    assert (record["condition"], record["approximateInvokeCount"]) == ("ZeroReservedConcurrency", 0)
    assert dead.take(2)[1]["MessageAttributes"]["ErrorCode"]["StringValue"] == "429"


def test_functions_topics_and_event_buses_are_told_too_by_alias(server):
    client, sns, events = server.client(), server.client("sns"), server.client("events")
    heard, seen = Queue(server), Queue(server)
    server.create("asked", SOURCE, Publish=True)
    server.create("listener", TOLD)
    topic = sns.create_topic(Name="ended")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=heard.arn, Attributes={"RawMessageDelivery": "true"})
    events.put_rule(Name="ended", EventPattern=json.dumps({"source": ["lambda"], "detail": {"version": ["1.0"]}}))
    events.put_targets(Rule="ended", Targets=[{"Id": "q", "Arn": seen.arn}])
    targets = {"one": (f"{ARN}listener", topic), "two": (BUS, BUS)}
    for alias, (success, failure) in targets.items():
        client.create_alias(FunctionName="asked", Name=alias, FunctionVersion="1")
        both = {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}
        client.put_function_event_invoke_config(
            FunctionName="asked", Qualifier=alias, MaximumRetryAttempts=0, DestinationConfig=both
        )
    listed = client.list_function_event_invoke_configs(FunctionName="asked", MaxItems=1)
    assert listed["FunctionEventInvokeConfigs"][0]["FunctionArn"] == f"{ARN}asked:one"
    rest = client.list_function_event_invoke_configs(FunctionName="asked", Marker=listed["NextMarker"])
    assert [it["FunctionArn"] for it in rest["FunctionEventInvokeConfigs"]] == [f"{ARN}asked:two"]
    request, _ = send(server, "asked:one")
    harness.wait_until(lambda: lines(server, "listener", "told") == [f"told {request}"], seconds=60, what="the listener")
    _, event = send(server, "asked:one", fail=True)
    assert json.loads(heard.take(1)[0]["Body"])["requestPayload"] == event
    send(server, "asked:two", fail=True)
    event = json.loads(seen.take(1)[0]["Body"])
    assert (event["source"], event["detail-type"]) == ("lambda", "Lambda Function Invocation Result - Failure")
    assert event["resources"] == [BUS, f"{ARN}asked:two"]
    assert event["detail"]["responseContext"]["executedVersion"] == "1"
    client.delete_alias(FunctionName="asked", Name="two")
    listed = client.list_function_event_invoke_configs(FunctionName="asked")["FunctionEventInvokeConfigs"]
    assert [it["FunctionArn"] for it in listed] == [f"{ARN}asked:one"]


def test_what_is_asked_for_changes_and_goes(server):
    client = server.client()
    server.create("changed", SOURCE)
    with pytest.raises(ClientError) as error:
        client.get_function_event_invoke_config(FunctionName="changed")
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"
    client.put_function_event_invoke_config(FunctionName="changed", MaximumRetryAttempts=1)
    client.update_function_event_invoke_config(FunctionName="changed", MaximumEventAgeInSeconds=60)
    shown = client.get_function_event_invoke_config(FunctionName="changed", Qualifier="$LATEST")
    assert (shown["MaximumRetryAttempts"], shown["MaximumEventAgeInSeconds"]) == (1, 60)
    shown = client.put_function_event_invoke_config(FunctionName="changed", MaximumEventAgeInSeconds=90)
    assert "MaximumRetryAttempts" not in shown, "Put replaces all"
    client.delete_function_event_invoke_config(FunctionName="changed")
    with pytest.raises(ClientError):
        client.delete_function_event_invoke_config(FunctionName="changed")


def test_no_letter_is_lost_when_the_server_is_killed(folder):
    sent = []
    with harness.Server(folder) as server:
        queue = Queue(server)
        server.create("durable", SOURCE)
        both = {"OnSuccess": {"Destination": queue.arn}, "OnFailure": {"Destination": queue.arn}}
        server.client().put_function_event_invoke_config(
            FunctionName="durable", MaximumRetryAttempts=0, DestinationConfig=both
        )
    for round in range(3):
        with harness.Server(folder) as server:
            sent += [send(server, "durable", fail=n % 2 == 0)[1]["id"] for n in range(12)]
            if round:
                # In the middle: some have ended, and somebody was told or is about to be.
                harness.wait_until(lambda: len(lines(server, "durable", "ran")) > round * 8, seconds=60, what="some calls")
            server.kill()
    with harness.Server(folder) as server:
        client = server.client("sqs")
        queue.url = client.get_queue_url(QueueName=queue.name)["QueueUrl"]

        def told():
            return {json.loads(message["Body"])["requestPayload"]["id"] for message in queue.taken}

        while told() != set(sent):
            queue.take(len(queue.taken) + 1, client)


def test_a_function_that_calls_itself_is_stopped_unless_it_may(server):
    client = server.client()
    server.create("loop", LOOP, Timeout=60, MemorySize=256)
    assert client.get_function_recursion_config(FunctionName="loop")["RecursiveLoop"] == "Terminate"
    client.invoke(FunctionName="loop", InvocationType="Event", Payload='{"n": 0}')
    harness.wait_until(lambda: lines(server, "loop", "stopped"), seconds=120, what="the end of the loop")
    assert lines(server, "loop", "round") == [f"round {n}" for n in range(16)]
    client.put_function_recursion_config(FunctionName="loop", RecursiveLoop="Allow")
    assert client.get_function_recursion_config(FunctionName="loop")["RecursiveLoop"] == "Allow"
    client.invoke(FunctionName="loop", InvocationType="Event", Payload='{"n": 1}')
    harness.wait_until(lambda: "round 19" in lines(server, "loop", "round"), seconds=120, what="19 rounds")
