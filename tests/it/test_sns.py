"""SNS with boto3: topics, subscriptions of functions and queues, what they get; and functions that trigger themselves."""

import json
import uuid

import harness
import pytest
from botocore.exceptions import ClientError
from test_s3_notifications import ECHO, heard, queue, received

# Sends what it gets to where it came from, with boto3 as anybody would.
LOOP = """
import json, os
import boto3

def handler(event, context):
    print("EVENT " + json.dumps(event))
    record = event["Records"][0]
    if "Sns" in record:
        boto3.client("sns").publish(TopicArn=record["Sns"]["TopicArn"], Message="again")
    elif "s3" in record:
        boto3.client("s3").put_object(Bucket=record["s3"]["bucket"]["name"], Key="again", Body=b"x")
    else:
        queues = boto3.client("sqs")
        name = record["eventSourceARN"].split(":")[-1]
        queues.send_message(QueueUrl=queues.get_queue_url(QueueName=name)["QueueUrl"], MessageBody="again")
"""
CALLS_MAX = 16


def function(server, source=ECHO, service="sns", **settings):
    """`(name, ARN)` of a function that the service may call."""
    name = f"f-{uuid.uuid4().hex}"
    arn = server.create(name, source, **settings)["FunctionArn"]
    server.client().add_permission(
        FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal=f"{service}.amazonaws.com"
    )
    return name, arn


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value


def test_topics_and_subscriptions_are_made_read_changed_and_deleted(server):
    sns, (_, queue_arn) = server.client("sns"), queue(server)
    topic = sns.create_topic(Name="crud", Attributes={"DisplayName": "News"}, Tags=[{"Key": "a", "Value": "1"}])["TopicArn"]
    assert topic == f"arn:aws:sns:us-east-1:{server.keys['account']}:crud"
    assert sns.create_topic(Name="crud")["TopicArn"] == topic
    refused("InvalidParameter", sns.create_topic, Name="crud", Attributes={"DisplayName": "Other"})
    refused("InvalidParameter", sns.create_topic, Name="a b")
    assert topic in [one["TopicArn"] for one in sns.list_topics()["Topics"]]
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "b", "Value": "2"}])
    sns.untag_resource(ResourceArn=topic, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "b", "Value": "2"}]

    made = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    arn = made["SubscriptionArn"]
    assert arn.startswith(topic + ":")
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="sqs", Endpoint="queue")
    refused("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="pigeon", Endpoint="loft")
    refused("NotImplementedException", sns.subscribe, TopicArn=topic, Protocol="email", Endpoint="a@example.com")
    refused("InvalidParameter", sns.confirm_subscription, TopicArn=topic, Token="t")
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue='{"a": ["b"]}')
    refused(
        "InvalidParameter", sns.set_subscription_attributes,
        SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue='{"a": "b"}',
    )  # fmt: skip
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert (found["Protocol"], found["RawMessageDelivery"], found["FilterPolicy"]) == ("sqs", "true", '{"a": ["b"]}')
    assert [one["SubscriptionArn"] for one in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]] == [arn]
    assert arn in [one["SubscriptionArn"] for one in sns.list_subscriptions()["Subscriptions"]]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Olds")
    found = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (found["DisplayName"], found["SubscriptionsConfirmed"]) == ("Olds", "1")

    sns.unsubscribe(SubscriptionArn=arn)
    refused("NotFound", sns.get_subscription_attributes, SubscriptionArn=arn)
    sns.delete_topic(TopicArn=topic)
    refused("NotFound", sns.publish, TopicArn=topic, Message="x")
    refused("NotImplementedException", sns.opt_in_phone_number, phoneNumber="1")


def test_what_is_published_reaches_those_who_want_it(server):
    sns, (name, arn) = server.client("sns"), function(server)
    topic = sns.create_topic(Name=uuid.uuid4().hex)["TopicArn"]
    (raw_url, raw), (cats_url, cats) = queue(server), queue(server)
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=raw, Attributes={"RawMessageDelivery": "true"})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=cats, Attributes={"FilterPolicy": '{"kind": ["cat"]}'})
    kind = lambda text: {"kind": {"DataType": "String", "StringValue": text}}  # noqa: E731
    message = sns.publish(TopicArn=topic, Message='{"n": 1}', Subject="one", MessageAttributes=kind("cat"))["MessageId"]
    entries = [
        {"Id": "a", "Message": '{"n": 2}', "MessageAttributes": kind("dog")},
        {"Id": "b", "Message": json.dumps({"default": '{"n": 3}', "lambda": "for functions"}), "MessageStructure": "json"},
        {"Id": "c", "Message": ""},
    ]
    done = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [one["Id"] for one in done["Successful"]] == ["a", "b"] and [one["Id"] for one in done["Failed"]] == ["c"]

    assert sorted(body["n"] for body in received(server, raw_url, 3)) == [1, 2, 3]
    (cat,) = received(server, cats_url, 1)
    assert (cat["MessageId"], cat["Subject"], cat["Message"], cat["TopicArn"]) == (message, "one", '{"n": 1}', topic)
    assert cat["MessageAttributes"] == {"kind": {"Type": "String", "Value": "cat"}}
    harness.wait_until(lambda: len(heard(server, name)) >= 3, seconds=60, what="three events")
    records = heard(server, name)
    assert {record["EventSource"] for record in records} == {"aws:sns"}
    got = {record["Sns"]["Message"]: record["Sns"]["Subject"] for record in records}
    assert got == {'{"n": 1}': "one", '{"n": 2}': None, "for functions": None}
    assert "Messages" not in server.client("sqs").receive_message(QueueUrl=cats_url)


def test_a_bucket_tells_a_topic_and_a_function_that_does_not_permit_it_is_not_called(server):
    sns, s3, (url, queue_arn) = server.client("sns"), server.client("s3"), queue(server)
    topic = sns.create_topic(Name=uuid.uuid4().hex)["TopicArn"]
    dead_url, dead = queue(server)
    closed = server.create(f"f-{uuid.uuid4().hex}", ECHO)["FunctionArn"]
    redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead})}
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=closed, Attributes=redrive)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    s3.create_bucket(Bucket="for-a-topic")
    configuration = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket="for-a-topic", NotificationConfiguration=configuration)
    s3.put_object(Bucket="for-a-topic", Key="k", Body=b"x")
    bodies = received(server, url, 2)
    assert {body["Subject"] for body in bodies} == {"Amazon S3 Notification"}
    events = [json.loads(body["Message"]) for body in bodies]
    assert [event["Records"][0]["s3"]["object"]["key"] for event in events if "Records" in event] == ["k"]
    assert len(received(server, dead_url, 2)) == 2


@pytest.mark.parametrize("service", ["sns", "s3", "sqs"])
def test_a_function_that_triggers_itself_is_stopped(server, service):
    name, arn = function(server, LOOP, service, Timeout=30, MemorySize=512)
    client, dead = server.client(service), queue(server)
    if service == "sns":
        topic = client.create_topic(Name="loop")["TopicArn"]
        redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead[1]})}
        client.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn, Attributes=redrive)
        client.publish(TopicArn=topic, Message="go")
    elif service == "s3":
        client.create_bucket(Bucket="loop")
        made = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
        configuration = {"LambdaFunctionConfigurations": [made]}
        client.put_bucket_notification_configuration(Bucket="loop", NotificationConfiguration=configuration)
        client.put_object(Bucket="loop", Key="go", Body=b"x")
    else:
        redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead[1], "maxReceiveCount": 3})}
        url = client.create_queue(QueueName="loop", Attributes={"VisibilityTimeout": "60", **redrive})["QueueUrl"]
        source = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        server.client().create_event_source_mapping(FunctionName=name, EventSourceArn=source)
        client.send_message(QueueUrl=url, MessageBody="go")
    if service != "s3":
        sqs = server.client("sqs")
        waiting = lambda: sqs.receive_message(QueueUrl=dead[0], WaitTimeSeconds=5).get("Messages")  # noqa: E731
        harness.wait_until(waiting, seconds=120, what="the dead letter")
    # The dead letter may be there before the last call's lines are.
    harness.wait_until(lambda: len(heard(server, name)) >= CALLS_MAX, seconds=120, what="the last call")
    assert len(heard(server, name)) == CALLS_MAX
