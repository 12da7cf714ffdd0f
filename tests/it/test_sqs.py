"""SQS with boto3, in both protocols, against the real server; and what a killed server must not lose."""

import gzip
import json
import threading
import uuid

import boto3
import botocore.loaders
import botocore.session
import harness
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError


# What the model of the older protocol had more: names of the elements of lists and maps.
LISTS = {
    "AttributeNameList": "AttributeName",
    "MessageAttributeNameList": "MessageAttributeName",
    "TagKeyList": "TagKey",
    "MessageList": "Message",
    "QueueUrlList": "QueueUrl",
    "BatchResultErrorEntryList": "BatchResultErrorEntry",
}
MAPS = {
    "QueueAttributeMap": ("Attribute", "Name", "Value"),
    "MessageSystemAttributeMap": ("Attribute", "Name", "Value"),
    "MessageBodyAttributeMap": ("MessageAttribute", "Name", "Value"),
    "TagMap": ("Tag", "Key", "Value"),
}
CODES = {"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue", "QueueNameExists": "QueueAlreadyExists"}


def query_model():
    """SQS's model as it was when SDKs and CLIs spoke the older protocol."""
    model = botocore.loaders.Loader().load_service_model("sqs", "service-2")
    model["metadata"].update(protocol="query", protocols=["query"], xmlNamespace="http://queue.amazonaws.com/doc/2012-11-05/")
    del model["metadata"]["awsQueryCompatible"]
    for name, operation in model["operations"].items():
        if "output" in operation:
            operation["output"]["resultWrapper"] = f"{name}Result"
    for name, shape in model["shapes"].items():
        if shape["type"] == "list":
            shape["member"]["locationName"] = LISTS.get(name, name.removesuffix("List"))
        if name in MAPS:
            shape["key"]["locationName"], shape["value"]["locationName"] = MAPS[name][1:]
        if name in CODES:
            shape["error"] = {"code": CODES[name]}
        for member in shape.get("members", {}).values():
            if member["shape"] in MAPS:
                member["locationName"] = MAPS[member["shape"]][0]
    return model


def query_client(server, folder):
    """A client that speaks the older protocol."""
    version = folder / "sqs" / "2012-11-05"
    version.mkdir(parents=True)
    (version / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(query_model()).encode()))
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.insert(0, str(folder))
    return boto3.Session(botocore_session=session).client(
        "sqs",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.keys["access_key_id"],
        aws_secret_access_key=server.keys["secret_access_key"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


@pytest.fixture(params=["json", "query"])
def sqs(request, server, tmp_path):
    """A client of either protocol."""
    client = server.client("sqs") if request.param == "json" else query_client(server, tmp_path)
    assert client.meta.service_model.resolved_protocol == request.param
    return client


@pytest.fixture
def queue(sqs):
    """The address of a new queue."""
    return sqs.create_queue(QueueName=f"q-{uuid.uuid4()}")["QueueUrl"]


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value


def test_queues_are_made_found_listed_and_deleted(sqs, server):
    prefix = f"list-{uuid.uuid4().hex}-"
    urls = [sqs.create_queue(QueueName=f"{prefix}{letter}")["QueueUrl"] for letter in "cab"]
    assert urls[0] == f"{server.endpoint}/{server.keys['account']}/{prefix}c"
    assert sqs.create_queue(QueueName=f"{prefix}c")["QueueUrl"] == urls[0], "the same again is no error"
    error = refused("QueueAlreadyExists", sqs.create_queue, QueueName=f"{prefix}c", Attributes={"DelaySeconds": "7"})
    assert isinstance(error, sqs.exceptions.QueueNameExists)
    assert sqs.get_queue_url(QueueName=f"{prefix}a")["QueueUrl"] == urls[1]
    assert sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"] == sorted(urls)
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    assert [page["QueueUrls"] for page in pages] == [sorted(urls)[:2], sorted(urls)[2:]]
    sqs.delete_queue(QueueUrl=urls[0])
    gone = "AWS.SimpleQueueService.NonExistentQueue"
    error = refused(gone, sqs.get_queue_url, QueueName=f"{prefix}c")
    assert isinstance(error, sqs.exceptions.QueueDoesNotExist)
    refused(gone, sqs.send_message, QueueUrl=urls[0], MessageBody="late")
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="no-such-queue")


def test_attributes_and_tags_are_kept(sqs, queue, server):
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "7", "MaximumMessageSize": "2048"})
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    name = queue.rpartition("/")[2]
    assert found["QueueArn"] == f"arn:aws:sqs:us-east-1:{server.keys['account']}:{name}"
    assert (found["VisibilityTimeout"], found["MaximumMessageSize"], found["DelaySeconds"]) == ("7", "2048", "0")
    one = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert one == {"VisibilityTimeout": "7"}
    for attributes, code in [
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"Color": "red"}, "InvalidAttributeName"),
        ({"RedrivePolicy": "{}"}, "InvalidParameterValue"),
    ]:
        refused(code, sqs.set_queue_attributes, QueueUrl=queue, Attributes=attributes)
    sqs.tag_queue(QueueUrl=queue, Tags={"a": "1", "b": "2"})
    sqs.untag_queue(QueueUrl=queue, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"b": "2"}


def test_a_message_is_sent_received_and_deleted(sqs, queue):
    attributes = {
        "kind": {"DataType": "String", "StringValue": "greeting"},
        "size": {"DataType": "Number", "StringValue": "5"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    body = 'grüße <&> "\r\n\t" 😀'
    # boto3 itself compares the digests of what was sent and received.
    sent = sqs.send_message(QueueUrl=queue, MessageBody=body, MessageAttributes=attributes)
    (got,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
    assert (got["MessageId"], got["Body"]) == (sent["MessageId"], body)
    assert got["MessageAttributes"] == attributes
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"
    assert "Messages" not in sqs.receive_message(QueueUrl=queue), "a message in flight is hidden"
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["ki*"])["Messages"]
    assert list(again["MessageAttributes"]) == ["kind"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=again["ReceiptHandle"])
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert {counts[name] for name in counts if name.startswith("ApproximateNumberOf")} == {"0"}
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=queue, ReceiptHandle="nonsense")


def test_batches_tell_of_each_entry(sqs, queue):
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(9)]
    entries.append({"Id": "bad", "MessageBody": "\x01"})
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert len(answer["Successful"]) == 9
    assert [(failed["Id"], failed["Code"], failed["SenderFault"]) for failed in answer["Failed"]] == [
        ("bad", "InvalidMessageContents", True)
    ]
    got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in got] == [f"m{number}" for number in range(9)]
    handles = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(got)]
    changed = sqs.change_message_visibility_batch(
        QueueUrl=queue, Entries=[{**entry, "VisibilityTimeout": 0} for entry in handles[:3]]
    )
    assert len(changed["Successful"]) == 3
    deleted = sqs.delete_message_batch(QueueUrl=queue, Entries=[*handles, {"Id": "x", "ReceiptHandle": "x"}])
    assert len(deleted["Successful"]) == 9
    assert [failed["Code"] for failed in deleted["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    prefix = "AWS.SimpleQueueService."
    for code, bad in [
        ("TooManyEntriesInBatchRequest", [{"Id": str(number), "MessageBody": "m"} for number in range(11)]),
        ("BatchEntryIdsNotDistinct", [{"Id": "a", "MessageBody": "m"}] * 2),
        ("InvalidBatchEntryId", [{"Id": "a b", "MessageBody": "m"}]),
        ("BatchRequestTooLong", [{"Id": str(number), "MessageBody": "m" * 600_000} for number in range(2)]),
    ]:
        refused(prefix + code, sqs.send_message_batch, QueueUrl=queue, Entries=bad)


def test_what_sqs_would_not_take_is_refused(sqs, queue):
    for arguments, code in [
        ({"MessageBody": "m" * ((1 << 20) + 1)}, "InvalidParameterValue"),
        ({"MessageBody": "m", "DelaySeconds": 901}, "InvalidParameterValue"),
        ({"MessageBody": "\x00"}, "InvalidMessageContents"),
        ({"MessageBody": "m", "MessageAttributes": {"aws.x": {"DataType": "String", "StringValue": "v"}}}, "InvalidParameterValue"),
    ]:
        refused(code, sqs.send_message, QueueUrl=queue, **arguments)
    for arguments in [{"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"VisibilityTimeout": 43201}]:
        refused("InvalidParameterValue", sqs.receive_message, QueueUrl=queue, **arguments)
    refused("InvalidParameterValue", sqs.create_queue, QueueName="not a name")
    refused("InvalidAddress", sqs.send_message, QueueUrl="http://elsewhere/q", MessageBody="m")


def test_a_receive_waits_for_a_message(sqs, queue):
    got = []
    waiter = threading.Thread(target=lambda: got.extend(sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]))
    waiter.start()
    sqs.send_message(QueueUrl=queue, MessageBody="at last", DelaySeconds=1)
    waiter.join(19 * harness.SLOW)
    assert [message["Body"] for message in got] == ["at last"]


def test_messages_that_nobody_handles_go_to_the_dead_letter_queue(sqs, queue):
    dead = sqs.create_queue(QueueName=f"dead-{uuid.uuid4()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [queue]
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    for _ in range(2):
        assert len(sqs.receive_message(QueueUrl=queue)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    assert [message["Body"] for message in sqs.receive_message(QueueUrl=dead)["Messages"]] == ["poison"]
    sqs.send_message(QueueUrl=queue, MessageBody="more")
    sqs.purge_queue(QueueUrl=queue)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)


def test_a_fifo_queue_keeps_order_within_groups_and_takes_a_message_once(sqs):
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    queue = sqs.create_queue(QueueName=f"f-{uuid.uuid4()}.fifo", Attributes=attributes)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (found["FifoQueue"], found["ContentBasedDeduplication"]) == ("true", "true")
    entries = [{"Id": body, "MessageBody": body, "MessageGroupId": body[0]} for body in ["a1", "b1", "a2", "a3"]]
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]
    numbers = [int(entry["SequenceNumber"]) for entry in sent]
    assert numbers == sorted(numbers)
    again = sqs.send_message(QueueUrl=queue, MessageBody="a1", MessageGroupId="a")
    assert again["MessageId"] == sent[0]["MessageId"], "the same message"
    (first,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"])["Messages"]
    assert (first["Body"], first["Attributes"]["MessageGroupId"]) == ("a1", "a")
    assert int(first["Attributes"]["SequenceNumber"]) == numbers[0]
    (other,) = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert other["Body"] == "b1", "a2 and a3 wait for a1"
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"])
    rest = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in rest] == ["a2", "a3"]
    refused("MissingParameter", sqs.send_message, QueueUrl=queue, MessageBody="no group")
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=queue, MessageBody="m", MessageGroupId="g", DelaySeconds=1)
    for name, more in [("q.fifo", {}), ("q", {"FifoQueue": "true"})]:
        refused("InvalidParameterValue", sqs.create_queue, QueueName=name, Attributes=more)
    strict = sqs.create_queue(QueueName=f"s-{uuid.uuid4()}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=strict, MessageBody="m", MessageGroupId="g")


def test_nothing_acknowledged_is_lost_and_nothing_deleted_comes_back_when_the_server_is_killed(folder):
    # A delete that was asked for and not answered may have happened or not.
    sent, asked, deleted, wrong = set(), set(), set(), set()
    rounds = 3
    server = harness.Server(folder).start()
    sqs = server.client("sqs")
    name = sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "0"})["QueueUrl"].removeprefix(server.endpoint)

    def send(client, url, letter):
        for number in range(10_000):
            bodies = [f"{letter}-{number}-{at}" for at in range(10)]
            try:
                client.send_message_batch(
                    QueueUrl=url, Entries=[{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
                )
            except Exception:
                return
            sent.update(bodies)

    def take(client, url):
        while True:
            try:
                got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=5).get("Messages", [])
                wrong.update(message["Body"] for message in got if message["Body"] in deleted)
                if not got:
                    continue
                entries = [{"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(got)]
                asked.update(message["Body"] for message in got)
                client.delete_message_batch(QueueUrl=url, Entries=entries)
            except Exception:
                return
            deleted.update(message["Body"] for message in got)

    for attempt in range(rounds):
        client, url = server.client("sqs"), server.endpoint + name
        before = len(deleted)
        threads = [threading.Thread(target=send, args=(client, url, f"{attempt}{letter}")) for letter in "ab"]
        threads.append(threading.Thread(target=take, args=(client, url)))
        for thread in threads:
            thread.start()
        harness.wait_until(lambda: len(deleted) > before + 50, what="some deletes")
        server.kill()
        for thread in threads:
            thread.join()
        server = harness.Server(folder).start()
    client, url = server.client("sqs"), server.endpoint + name
    left = set()
    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "600"})
    while got := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        left.update(message["Body"] for message in got)
    server.stop()
    assert sent - asked <= left, "acknowledged and lost"
    assert not wrong and not deleted & left, "deleted and there again"
    assert deleted
