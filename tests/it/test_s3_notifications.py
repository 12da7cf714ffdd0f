"""What buckets tell of their objects, with boto3: functions and queues that hear of them, whatever the server goes through."""

import json
import uuid

import harness
import pytest
from botocore.exceptions import ClientError

ECHO = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""
PERMISSION = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}


def heard(server, name):
    """The records that the function got."""
    lines = server.messages(name)
    events = [json.loads(line.removeprefix("EVENT ")) for line in lines if line.startswith("EVENT ")]
    return [record for event in events for record in event["Records"]]


def queue(server):
    """`(URL, ARN)` of a new queue."""
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(server, url, count):
    """The bodies of so many messages."""
    sqs, bodies = server.client("sqs"), []
    while len(bodies) < count:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20).get("Messages", [])
        assert got, f"{len(bodies)} of {count} messages came"
        for message in got:
            bodies.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def filtered(**rules):
    return {"Key": {"FilterRules": [{"Name": name, "Value": value} for name, value in rules.items()]}}


def test_a_function_hears_of_objects_that_come_and_go(server):
    s3, name, bucket = server.client("s3"), f"f-{uuid.uuid4().hex}", f"b-{uuid.uuid4().hex}"
    arn = server.create(name, ECHO)["FunctionArn"]
    s3.create_bucket(Bucket=bucket)
    assert "LambdaFunctionConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    made = {"Id": "one", "LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"]}
    configuration = {"LambdaFunctionConfigurations": [{**made, "Filter": filtered(prefix="in/", suffix=".txt")}]}
    with pytest.raises(ClientError, match="Unable to validate the following destination configurations"):
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    server.client().add_permission(FunctionName=name, SourceArn=f"arn:aws:s3:::{bucket}", **PERMISSION)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    (found,) = s3.get_bucket_notification_configuration(Bucket=bucket)["LambdaFunctionConfigurations"]
    assert found == configuration["LambdaFunctionConfigurations"][0]

    key = "in/a b+ä.txt"
    for other in ["out/a.txt", "in/a.png"]:
        s3.put_object(Bucket=bucket, Key=other, Body=b"x")
    tag = s3.put_object(Bucket=bucket, Key=key, Body=b"hello")["ETag"]
    s3.copy_object(Bucket=bucket, Key="in/copy.txt", CopySource={"Bucket": bucket, "Key": key})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="in/parts.txt")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="in/parts.txt", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="in/parts.txt", UploadId=upload, MultipartUpload=parts)
    s3.delete_object(Bucket=bucket, Key="in/copy.txt")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "in/parts.txt"}, {"Key": "in/nothing.txt"}]})

    harness.wait_until(lambda: len(heard(server, name)) >= 5, seconds=60, what="five events")
    records = sorted(heard(server, name), key=lambda record: record["s3"]["object"]["sequencer"])
    assert [(record["eventName"], record["s3"]["object"]["key"]) for record in records] == [
        ("ObjectCreated:Put", "in/a+b%2B%C3%A4.txt"),
        ("ObjectCreated:Copy", "in/copy.txt"),
        ("ObjectCreated:CompleteMultipartUpload", "in/parts.txt"),
        ("ObjectRemoved:Delete", "in/copy.txt"),
        ("ObjectRemoved:Delete", "in/parts.txt"),
    ]
    first = records[0]
    assert (first["eventVersion"], first["eventSource"], first["awsRegion"]) == ("2.1", "aws:s3", "us-east-1")
    assert first["requestParameters"] == {"sourceIPAddress": "127.0.0.1"}
    assert first["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}" and first["s3"]["configurationId"] == "one"
    assert (first["s3"]["object"]["size"], first["s3"]["object"]["eTag"]) == (5, tag.strip('"'))

    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "LambdaFunctionConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_a_queue_hears_of_every_put_that_was_answered_before_the_server_died(folder):
    with harness.Server(folder) as server:
        s3, (url, arn) = server.client("s3"), queue(server)
        s3.create_bucket(Bucket="letters")
        configuration = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:Put"]}]}
        s3.put_bucket_notification_configuration(Bucket="letters", NotificationConfiguration=configuration)
        (test,) = received(server, url, 1)
        assert (test["Event"], test["Bucket"]) == ("s3:TestEvent", "letters")
        for number in range(20):
            s3.put_object(Bucket="letters", Key=str(number), Body=b"x")
        server.kill()
        server.start()
        url = server.client("sqs").get_queue_url(QueueName=url.rsplit("/")[-1])["QueueUrl"]
        bodies, wanted = [], {str(number) for number in range(20)}
        while wanted - {body["Records"][0]["s3"]["object"]["key"] for body in bodies}:
            bodies += received(server, url, 1)
        assert server.stop() == 0


def test_what_s3_would_not_take_is_refused(server):
    s3, (_, arn) = server.client("s3"), queue(server)
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    good = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
    for bad in [
        [{**good, "Events": ["s3:ObjectEaten:*"]}],
        [{**good, "QueueArn": "queue"}],
        [{**good, "QueueArn": arn + "x"}],
        [good, {**good, "Events": ["s3:ObjectCreated:Put"]}],
        [{**good, "Filter": filtered(middle="x")}],
    ]:
        with pytest.raises(ClientError) as caught:
            s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": bad})
        assert caught.value.response["Error"]["Code"] == "InvalidArgument", bad
    both = [{**good, "Filter": filtered(prefix="a")}, {**good, "Filter": filtered(prefix="b")}]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": both})
