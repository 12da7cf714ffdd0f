"""Notes behind HTTP routes, kept in a table."""

import json
import os

import boto3

notes = boto3.resource("dynamodb").Table(os.environ["TABLE_NOTES"])


def handler(event, context):
    id = event["pathParameters"]["id"]
    if event["httpMethod"] == "PUT":
        notes.put_item(Item={"id": id, "text": event["body"] or ""})
        return answer(200, {"id": id})
    note = notes.get_item(Key={"id": id}).get("Item")
    return answer(200, note) if note else answer(404, {"message": f"no note {id}"})


def answer(status, body):
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
