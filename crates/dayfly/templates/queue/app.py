"""A route answers at once and hands on to a queue; another function does the work."""

import os

import boto3

sqs = boto3.client("sqs")


def take(event, context):
    sent = sqs.send_message(QueueUrl=os.environ["QUEUE_ORDERS"], MessageBody=event["body"] or "{}")
    return {"statusCode": 202, "body": sent["MessageId"]}


def work(event, context):
    failed = []
    for message in event["Records"]:
        try:
            print("order", message["body"])
        except Exception as error:
            print("failed", message["messageId"], error)
            failed.append({"itemIdentifier": message["messageId"]})
    return {"batchItemFailures": failed}
