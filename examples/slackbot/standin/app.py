"""The part of Slack that bots call: `chat.postMessage`, with Slack's own refusals."""

import os

import boto3
import dayfly

app = dayfly.App(
    os.environ.get("STANDIN_NAME", "slack-standin"),
    environment={"SLACK_BOT_TOKEN": os.environ.get("SLACK_BOT_TOKEN", ""), "SLACK_CHANNEL": os.environ.get("SLACK_CHANNEL", "")},
)
app.table("posted", key="channel", range="at: number")


@app.post("/api/chat.postMessage")
def post():
    said = app.request.json
    if app.request.headers.get("Authorization") != f"Bearer {os.environ['SLACK_BOT_TOKEN']}":
        return {"ok": False, "error": "invalid_auth"}
    if said.get("channel") != os.environ["SLACK_CHANNEL"]:
        return {"ok": False, "error": "channel_not_found"}
    if not said.get("text"):
        return {"ok": False, "error": "no_text"}
    at = int(app.request.event["requestContext"]["requestTimeEpoch"])
    boto3.resource("dynamodb").Table(os.environ["TABLE_POSTED"]).put_item(Item={**said, "at": at})
    return {"ok": True, "channel": said["channel"], "ts": f"{at / 1000:.6f}"}
