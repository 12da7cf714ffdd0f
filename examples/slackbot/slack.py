"""What Slack asks of a bot: who signs, and how a message is posted."""

import hashlib
import hmac
import json
import os
import time
import urllib.parse
import urllib.request

import dayfly

SECONDS_OLD_MAX = 300


def check(request):
    """Ends the request with 401 unless Slack signed it within the last five minutes."""
    stamp = request.headers.get("X-Slack-Request-Timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > SECONDS_OLD_MAX:
        raise dayfly.HTTPError(401, "no time, or too long ago")
    expected = signature(os.environ["SLACK_SIGNING_SECRET"], stamp, request.body)
    if not hmac.compare_digest(expected, request.headers.get("X-Slack-Signature", "")):
        raise dayfly.HTTPError(401, "not signed by Slack")


def signature(secret, stamp, body):
    """Slack's, version 0."""
    return "v0=" + hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()


def post(text):
    """Says `text` in the channel."""
    # An address without a host is on the server that runs this: there the stand-in is.
    api = urllib.parse.urljoin(os.environ.get("AWS_ENDPOINT_URL", ""), os.environ["SLACK_API"] or "https://slack.com/api")
    body = json.dumps({"channel": os.environ["SLACK_CHANNEL"], "text": text}).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {os.environ['SLACK_BOT_TOKEN']}"}
    with urllib.request.urlopen(urllib.request.Request(f"{api}/chat.postMessage", body, headers), timeout=10) as answer:
        said = json.load(answer)
    if not said["ok"]:
        raise RuntimeError(f"Slack refused: {said['error']}")
