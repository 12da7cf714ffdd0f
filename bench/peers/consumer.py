"""What people write without event source mappings: a loop that receives, handles and deletes until COUNT messages are handled.

`consumer.py ENDPOINT QUEUE_URL COUNT`. What is handled goes to standard output, as a function's goes to its log.
"""

import sys

import boto3
from app import handle
from botocore.config import Config


def main():
    endpoint, queue, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    keys = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench", "region_name": "us-east-1"}
    sqs = boto3.client("sqs", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}), **keys)
    while count:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        if not messages:
            continue
        handle(message["Body"] for message in messages)
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
        count -= len(messages)
        sys.stdout.flush()


main()
