"""A bot for Slack that counts and finds words in what is posted.

Slack wants its answer within three seconds: routes check who asks, hand posts on to a queue, and answer. What is counted is
counted once, however often a post arrives: a post and its counts go into the tables in one transaction, by the post's id.
"""

import collections
import json
import os
import re

import boto3
import dayfly
import slack

app = dayfly.App(
    os.environ.get("SLACKBOT_NAME", "slackbot"),
    memory=512,
    environment={name: os.environ.get(name, "") for name in ("SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN", "SLACK_API", "SLACK_CHANNEL")},
)
app.queue("posts", batch=100, window_seconds=1, concurrency=4, attempts=5)
app.table("posts", key="id")
app.table("counts", key="word")
app.table("places", key="word", range="post")

WORD = re.compile(r"[a-z']{3,}")
# What a transaction may have.
ACTIONS_MAX = 100

if "DAYFLY_LISTING" not in os.environ:
    database, sqs = boto3.resource("dynamodb"), boto3.client("sqs")
    posts, counts, places = (database.Table(os.environ[f"TABLE_{name}"]) for name in ("POSTS", "COUNTS", "PLACES"))


@app.post("/slack/events")
def events():
    slack.check(app.request)
    event = app.request.json
    if event["type"] == "url_verification":
        return {"challenge": event["challenge"]}
    retry = app.request.headers.get("X-Slack-Retry-Num")
    if retry:
        print(f"event {event['event_id']}: Slack's try {int(retry) + 1}, after {app.request.headers.get('X-Slack-Retry-Reason')}")
    if event["type"] == "event_callback" and event["event"]["type"] == "message" and "bot_id" not in event["event"]:
        # A retry is handed on, too: the first try may have ended before this line.
        post = {"id": event["event_id"], "text": event["event"]["text"], "user": event["event"].get("user", "")}
        sqs.send_message(QueueUrl=os.environ["QUEUE_POSTS"], MessageBody=json.dumps(post))
    return "", 200


@app.post("/slack/commands")
def commands():
    slack.check(app.request)
    form = app.request.form
    if form["command"] != "/search":
        return {"response_type": "ephemeral", "text": f"I do not know {form['command']}."}
    word = form.get("text", "").strip().lower()
    count = int(counts.get_item(Key={"word": word}, ConsistentRead=True).get("Item", {}).get("count", 0)) if word else 0
    if not count:
        return {"response_type": "ephemeral", "text": f"Nobody has said {word or 'nothing'} yet."}
    asked = {"KeyConditionExpression": "word = :word", "ExpressionAttributeValues": {":word": word}, "ConsistentRead": True}
    found = places.query(**asked, Limit=3)["Items"]
    total = places.query(**asked, Select="COUNT")["Count"]
    said = "\n".join(f"> {posts.get_item(Key={'id': one['post']})['Item']['text']}" for one in found)
    return {"response_type": "in_channel", "text": f"*{word}*: {count} times in {total} posts\n{said}"}


@app.on_messages("posts", timeout=60)
def count(messages):
    new = {message.json["id"]: message.json for message in messages}
    words = {id: collections.Counter(WORD.findall(post["text"].lower())) for id, post in new.items()}
    # Whoever writes a place twice writes the same.
    with places.batch_writer() as writer:
        for id, found in words.items():
            for word, times in found.items():
                writer.put_item(Item={"word": word, "post": id, "times": times})
    while new:
        part = portion(words, new)
        for id in record(new, words, part):
            del new[id]


def portion(words, ids):
    """As many posts as one transaction takes: an action for each, and one for each different word."""
    part, different = [], set()
    for id in ids:
        grown = different | set(words[id])
        if part and len(part) + 1 + len(grown) > ACTIONS_MAX:
            break
        part.append(id)
        different = grown
    return part


def record(new, words, part):
    """Writes posts and their counts, all or nothing; gives the ids that need nothing more."""
    total = collections.Counter()
    for id in part:
        total.update(words[id])
    puts = [{"Put": {"TableName": posts.name, "Item": new[id], "ConditionExpression": "attribute_not_exists(id)"}} for id in part]
    adds = [
        {"Update": {
            "TableName": counts.name, "Key": {"word": word}, "UpdateExpression": "ADD #count :times",
            "ExpressionAttributeNames": {"#count": "count"}, "ExpressionAttributeValues": {":times": times},
        }}
        for word, times in sorted(total.items())
    ]  # fmt: skip
    try:
        database.meta.client.transact_write_items(TransactItems=puts + adds)
        return part
    except database.meta.client.exceptions.TransactionCanceledException as error:
        reasons = [reason["Code"] for reason in error.response["CancellationReasons"]]
        if set(reasons) - {"None", "ConditionalCheckFailed", "TransactionConflict"}:
            raise
        # Those were counted before; the others are tried again without them.
        return [id for id, reason in zip(part, reasons) if reason == "ConditionalCheckFailed"]


@app.cron("0 9 ? * MON-FRI *")
def digest():
    """The ten words that were said most, every working morning."""
    pages = database.meta.client.get_paginator("scan").paginate(TableName=counts.name)
    items = [item for page in pages for item in page["Items"]]
    top = sorted(items, key=lambda item: (-item["count"], item["word"]))[:10]
    slack.post("\n".join(f"{item['count']} × {item['word']}" for item in top) or "It was quiet.")
