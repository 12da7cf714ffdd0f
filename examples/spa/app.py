"""The guestbook's API: entries in a table, newest first."""

import os
import time

import boto3
import dayfly

app = dayfly.App(memory=512)


def table():
    return boto3.resource("dynamodb").Table(os.environ["TABLE_ENTRIES"])


@app.get("/entries")
def entries():
    asked = {"KeyConditionExpression": "book = :book", "ExpressionAttributeValues": {":book": "one"}}
    found = table().query(**asked, ScanIndexForward=False, Limit=50, ConsistentRead=True)
    return {"entries": [{"name": one["name"], "text": one["text"], "at": one["at"]} for one in found["Items"]]}


@app.post("/entries")
def sign():
    entry = app.request.json
    name, text = (str(entry.get(key, "")).strip() for key in ("name", "text"))
    if not 0 < len(name) <= 60 or not 0 < len(text) <= 280:
        raise dayfly.HTTPError(400, "a name and up to 280 characters, please")
    table().put_item(Item={"book": "one", "at": time.time_ns() // 1000, "name": name, "text": text})
    return {"name": name}, 201
