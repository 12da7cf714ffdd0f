"""State from inside a function, with the boto3 and the credentials that it finds there."""

KEEPS = """
import boto3

table = boto3.resource("dynamodb").Table("kept")
sqs = boto3.client("sqs")


def handler(event, context):
    number = table.update_item(
        Key={"id": event["id"]}, UpdateExpression="ADD calls :one", ExpressionAttributeValues={":one": 1}, ReturnValues="ALL_NEW"
    )["Attributes"]["calls"]
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="kept")["QueueUrl"], MessageBody=str(number))
    return [int(number), table.get_item(Key={"id": event["id"]}, ConsistentRead=True)["Item"]["id"]]
"""

def test_a_function_keeps_state_in_tables_and_queues(server):
    server.client("dynamodb").create_table(
        TableName="kept",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    queue = server.client("sqs").create_queue(QueueName="kept")["QueueUrl"]
    server.create("keeps", KEEPS, Timeout=30, MemorySize=512)
    assert [server.invoke("keeps", {"id": "a"})[1] for _ in range(3)] == [[1, "a"], [2, "a"], [3, "a"]]
    assert server.client("dynamodb").get_item(TableName="kept", Key={"id": {"S": "a"}})["Item"]["calls"] == {"N": "3"}
    found = server.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert sorted(message["Body"] for message in found) == ["1", "2", "3"]
