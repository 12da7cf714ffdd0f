"""Queues that call functions: batches, filters, partial failures, poisoned messages, and what a killed server must not lose.

The functions tell what they got by their log.
"""

import json
import uuid

import calls
import harness
import pytest
from botocore.exceptions import ClientError

LOGS = """
import json

def handler(event, context):
    for record in event["Records"]:
        print("GOT " + json.dumps([record["body"], record["attributes"]["ApproximateReceiveCount"]]))
    failed = [record["messageId"] for record in event["Records"] if "fail" in record["body"]]
    if any("raise" in record["body"] for record in event["Records"]):
        raise ValueError("no")
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}
"""
EVENT = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""
SLOW = """
import time

def handler(event, context):
    began = time.time()
    time.sleep(0.4)
    print("RAN", [began, time.time()])
"""
ORDERED = """
import json, time

def handler(event, context):
    for record in event["Records"]:
        print("GOT " + json.dumps([time.monotonic_ns(), record["body"]]))
"""
POISONED = """
def handler(event, context):
    if event["Records"][0]["body"] == "poison":
        raise ValueError("no")
    print("GOT 1")
"""


def queue_of(server, **attributes):
    """`(address, ARN)` of a new queue."""
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=f"q-{uuid.uuid4()}", Attributes={"VisibilityTimeout": "60", **attributes})["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def said(server, name, word):
    """What followed `word` in the function's log, in JSON."""
    lines = server.messages(name)
    return [json.loads(line.removeprefix(f"{word} ")) for line in lines if line.startswith(f"{word} ")]


def left(server, url):
    """Messages that the queue still has."""
    counts = server.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(counts[name]) for name in counts if name.startswith("ApproximateNumberOf"))


def test_mappings_are_made_read_changed_and_deleted(server):
    server.create("crud", EVENT)
    client, (_, arn) = server.client(), queue_of(server)
    made = client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName="crud", Enabled=False, FilterCriteria={"Filters": [{"Pattern": '{"body": ["x"]}'}]}
    )
    assert (made["ResponseMetadata"]["HTTPStatusCode"], made["State"], made["BatchSize"]) == (202, "Creating", 10)
    id = made["UUID"]
    found = client.get_event_source_mapping(UUID=id)
    assert (found["State"], found["EventSourceArn"]) == ("Disabled", arn)
    assert found["FunctionArn"].endswith(":function:crud")
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName="crud")
    changed = client.update_event_source_mapping(
        UUID=id,
        BatchSize=100,
        MaximumBatchingWindowInSeconds=1,
        ScalingConfig={"MaximumConcurrency": 2},
        FunctionResponseTypes=["ReportBatchItemFailures"],
        FilterCriteria={},
    )
    assert changed["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert changed["ScalingConfig"] == {"MaximumConcurrency": 2} and "FilterCriteria" not in changed
    assert [each["UUID"] for each in client.list_event_source_mappings(FunctionName="crud")["EventSourceMappings"]] == [id]
    assert client.list_event_source_mappings(EventSourceArn=arn + "x")["EventSourceMappings"] == []
    assert client.delete_event_source_mapping(UUID=id)["State"] == "Deleting"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_event_source_mapping(UUID=id)
    for bad in [
        {"FunctionName": "nobody"},
        {"EventSourceArn": arn + "x"},
        {"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s"},
        {"BatchSize": 11},
        {"BatchSize": 0},
        {"MaximumBatchingWindowInSeconds": 301},
        {"ScalingConfig": {"MaximumConcurrency": 1}},
        {"FunctionResponseTypes": ["x"]},
        {"StartingPosition": "LATEST"},
        {"FilterCriteria": {"Filters": [{"Pattern": "{"}]}},
    ]:
        with pytest.raises(ClientError) as caught:
            client.create_event_source_mapping(**{"EventSourceArn": arn, "FunctionName": "crud", **bad})
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException", bad
    short = queue_of(server, VisibilityTimeout="1")[1]
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="less than Function timeout"):
        client.create_event_source_mapping(EventSourceArn=short, FunctionName="crud")


def test_a_message_calls_the_function_with_lambdas_event(server):
    server.create("event", EVENT)
    url, arn = queue_of(server)
    server.client().create_event_source_mapping(EventSourceArn=arn, FunctionName="event")
    attributes = {"kind": {"DataType": "String", "StringValue": "x"}}
    sent = server.client("sqs").send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    (event,) = harness.wait_until(lambda: said(server, "event", "EVENT"), what="the call")
    (record,) = event["Records"]
    assert (record["messageId"], record["body"]) == (sent["MessageId"], "hello")
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn, "us-east-1")
    assert record["md5OfBody"] == sent["MD5OfMessageBody"] and record["receiptHandle"]
    assert record["messageAttributes"] == {
        "kind": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"}
    }
    assert set(record["attributes"]) == {
        "ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"
    }  # fmt: skip
    harness.wait_until(lambda: left(server, url) == 0, what="the delete")


def test_what_failed_comes_again_then_goes_to_the_dead_letters(server):
    server.create("partly", LOGS, Timeout=5)
    dead, dead_arn = queue_of(server)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue_of(server, VisibilityTimeout=str(6 * harness.SLOW), RedrivePolicy=policy)
    server.client().create_event_source_mapping(
        EventSourceArn=arn, FunctionName="partly", FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(["a", "fail", "b"])]
    server.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    harness.wait_until(lambda: left(server, dead) == 1, 40, "the dead letter")
    got = harness.wait_until(lambda: len(said(server, "partly", "GOT")) >= 4 and said(server, "partly", "GOT"), what="the log")
    assert sorted(got) == [["a", "1"], ["b", "1"], ["fail", "1"], ["fail", "2"]]
    assert left(server, url) == 0


def test_filters_and_switches(server):
    server.create("filtered", LOGS)
    url, arn = queue_of(server)
    sqs, client = server.client("sqs"), server.client()
    pattern = json.dumps({"body": {"n": [{"numeric": [">", 5]}]}})
    id = client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName="filtered", FilterCriteria={"Filters": [{"Pattern": pattern}]}
    )["UUID"]
    for number in [5, 6]:
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"n": number}))
    sqs.send_message(QueueUrl=url, MessageBody="no JSON")
    harness.wait_until(lambda: left(server, url) == 0, what="the deletes")
    harness.wait_until(lambda: said(server, "filtered", "GOT") == [['{"n": 6}', "1"]], what="one message")
    client.update_event_source_mapping(UUID=id, Enabled=False)
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"n": 7}))
    assert left(server, url) == 1
    client.update_event_source_mapping(UUID=id, Enabled=True)
    harness.wait_until(lambda: left(server, url) == 0, what="the delete")


def test_batches_wait_to_be_full_and_idle_queues_cost_nothing(server):
    server.create("batched", LOGS)
    url, arn = queue_of(server)
    server.client().create_event_source_mapping(
        EventSourceArn=arn, FunctionName="batched", BatchSize=40, MaximumBatchingWindowInSeconds=300
    )
    for batch in range(4):
        entries = [{"Id": str(at), "MessageBody": f"{batch}-{at}"} for at in range(10)]
        server.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    harness.wait_until(lambda: left(server, url) == 0, what="the deletes")
    assert len(calls.usage_of(server, "batched", 1)) == 1, "one call for a full batch"


def test_a_function_that_is_gone_leaves_the_messages(server):
    server.create("gone", LOGS)
    url, arn = queue_of(server)
    client = server.client()
    client.create_event_source_mapping(EventSourceArn=arn, FunctionName="gone")
    client.delete_function(FunctionName="gone")
    server.client("sqs").send_message(QueueUrl=url, MessageBody="later")
    server.create("gone", LOGS)
    harness.wait_until(lambda: [body for body, _ in said(server, "gone", "GOT")] == ["later"], 40, "the call")


def test_a_fifo_queue_calls_in_order(server):
    server.create("ordered", ORDERED)
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "60"}
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="ordered.fifo", Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    server.client().create_event_source_mapping(EventSourceArn=arn, FunctionName="ordered", BatchSize=2)
    sent = [f"{number:02}" for number in range(20)]
    for chunk in (sent[:10], sent[10:]):
        entries = [{"Id": body, "MessageBody": body, "MessageGroupId": "g"} for body in chunk]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    harness.wait_until(lambda: left(server, url) == 0, what="the deletes")
    got = harness.wait_until(lambda: len(said(server, "ordered", "GOT")) == 20 and said(server, "ordered", "GOT"), what="the log")
    # A line's time in the log is when it was read, which may be a moment after the next call's first one.
    assert [body for _, body in sorted(got)] == sent


def test_a_mapping_makes_no_more_calls_at_a_time_than_it_may(server):
    server.create("slow", SLOW, Timeout=30)
    url, arn = queue_of(server)
    for first in (0, 4):
        entries = [{"Id": str(at), "MessageBody": "x"} for at in range(first, first + 4)]
        server.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    server.client().create_event_source_mapping(
        EventSourceArn=arn, FunctionName="slow", BatchSize=1, ScalingConfig={"MaximumConcurrency": 2}
    )
    harness.wait_until(lambda: len(said(server, "slow", "RAN")) == 8, 40, "the calls")
    ran = said(server, "slow", "RAN")
    most = max(sum(began <= moment < ended for began, ended in ran) for moment, _ in ran)
    assert most == 2
    harness.wait_until(lambda: left(server, url) == 0, what="the deletes")


def test_a_poisoned_message_does_not_hold_up_the_others(server):
    server.create("eats", POISONED)
    dead, dead_arn = queue_of(server)
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue_of(server, VisibilityTimeout="5", RedrivePolicy=redrive)
    for body in ["poison", "good", "good", "poison", "good"]:
        server.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    server.client().create_event_source_mapping(EventSourceArn=arn, FunctionName="eats", BatchSize=1)
    harness.wait_until(lambda: len(said(server, "eats", "GOT")) >= 3, what="the good ones")
    harness.wait_until(lambda: left(server, dead) == 2 and left(server, url) == 0, 40, "the dead letters")


def test_no_message_is_lost_when_the_server_is_killed(folder):
    """Half of the messages fail, and must all be in the dead-letter queue at the end; the others are gone."""
    server = harness.Server(folder).start()
    server.create("all", LOGS, Timeout=5)
    dead, dead_arn = (text.removeprefix(server.endpoint) for text in queue_of(server))
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = queue_of(server, VisibilityTimeout=str(6 * harness.SLOW), RedrivePolicy=policy)
    path = url.removeprefix(server.endpoint)
    server.client().create_event_source_mapping(
        EventSourceArn=arn, FunctionName="all", FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    failing = {f"fail-{number}" for number in range(150)}
    todo = sorted(failing) + [f"good-{number}" for number in range(150)]
    for at in range(3):
        sqs = server.client("sqs")
        for batch in range(10):
            chunk = todo[at * 10 + batch :: 30]
            entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(chunk)]
            sqs.send_message_batch(QueueUrl=server.endpoint + path, Entries=entries)
        server.kill()
        server = harness.Server(folder).start()
    harness.wait_until(lambda: left(server, server.endpoint + path) == 0, 120, "all messages handled")
    found = set()
    while got := server.client("sqs").receive_message(QueueUrl=server.endpoint + dead, MaxNumberOfMessages=10).get("Messages"):
        found.update(message["Body"] for message in got)
    # A message whose call was under way when the server died was received, and its one receive is over.
    assert {body for body in found if body.startswith("fail")} == failing
    server.stop()
    assert server.leftovers() == {}
