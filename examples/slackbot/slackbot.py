"""Deploys the bot and a stand-in for Slack, posts a real text in tweet-sized pieces, and checks every count.

Without AWS_ENDPOINT_URL a server of its own is started on a temporary folder. Needs boto3.
"""

import argparse
import collections
import concurrent.futures
import hmac
import http.client
import itertools
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.parse
import uuid

import boto3

HERE = pathlib.Path(__file__).parent
TEXTS = pathlib.Path("/usr/share/common-licenses")
CHARACTERS_MAX = 280
# Slack waits so long for an answer, and then tries again, three times.
ANSWER_S = 3
RETRIES = 3
WORD = re.compile(r"[a-z']{3,}")


class Slack:
    """Slack's side: signs what it sends, and looks at answer and time."""

    def __init__(self, address, secret):
        self.address, self.secret = urllib.parse.urlsplit(address), secret
        self.slowest, self.tries = 0.0, collections.Counter()

    def send(self, path, body, kind="application/json", headers=None, stamp=None, secret=None):
        """(status, body) of one signed request."""
        stamp = str(int(time.time())) if stamp is None else stamp
        signed = signature(secret or self.secret, stamp, body)
        headers = {"Content-Type": kind, "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signed, **(headers or {})}
        connection = http.client.HTTPConnection(self.address.netloc, timeout=60)
        started = time.monotonic()
        try:
            connection.request("POST", self.address.path + path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            self.slowest = max(self.slowest, time.monotonic() - started)
            connection.close()

    def event(self, post, lost=False):
        """Sends a post as an event, again where the answer is bad, late or `lost`; tells how often."""
        event = {"type": "message", "text": post["text"], "user": "U1", "channel": "C1"}
        body = json.dumps({"type": "event_callback", "event_id": post["id"], "event": event}).encode()
        for attempt in range(RETRIES + 1):
            headers = {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": "http_timeout"} if attempt else {}
            started = time.monotonic()
            status, said = self.send("/slack/events", body, headers=headers)
            late = time.monotonic() - started > ANSWER_S
            self.tries["late"] += late
            if status == 200 and not late and not (lost and attempt == 0):
                self.tries[attempt] += 1
                return
        # A post whose last answer was late was taken all the same.
        assert status == 200, (status, said)
        self.tries[RETRIES] += 1

    def command(self, text):
        """What the bot answers to `/search text`."""
        form = urllib.parse.urlencode({"command": "/search", "text": text, "user_id": "U1", "channel_id": "C1"}).encode()
        status, said = self.send("/slack/commands", form, "application/x-www-form-urlencoded")
        assert status == 200, (status, said)
        return json.loads(said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dayfly", default=os.environ.get("DAYFLY_BIN", "dayfly"), help="the command")
    parser.add_argument("--events", type=int, default=200, help="posts that come as Slack's events, one request each")
    parser.add_argument("--posts", type=int, default=5000, help="posts that come as a stream, ten in a request to the queue")
    parser.add_argument("--rate", type=int, default=1000, help="posts a second of the stream")
    arguments = parser.parse_args()
    with server(arguments.dayfly) as variables:
        run(arguments, {**os.environ, **variables})


def run(arguments, environment):
    mark = uuid.uuid4().hex[:6]
    bot, standin, secret = f"slackbot-{mark}", f"slack-{mark}", secrets.token_hex(16)
    environment |= {
        "SLACKBOT_NAME": bot, "STANDIN_NAME": standin, "SLACK_SIGNING_SECRET": secret,
        "SLACK_BOT_TOKEN": "xoxb-" + secrets.token_hex(8), "SLACK_CHANNEL": "C1",
    }  # fmt: skip

    # app.py is read with the python3 of the path, which needs boto3 as well.
    environment["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

    def dayfly(*command):
        done = subprocess.run([arguments.dayfly, *map(str, command)], env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"dayfly {' '.join(map(str, command))}: {done.stderr}")
        return done.stdout

    try:
        (address,) = json.loads(dayfly("deploy", HERE / "standin", "--json"))["addresses"]
        environment["SLACK_API"] = urllib.parse.urlsplit(address["url"]).path.removesuffix("/chat.postMessage")
        deployed = json.loads(dayfly("deploy", HERE, "--json"))
        print(f"{len(deployed['plan'])} resources deployed")
        slack = Slack(deployed["addresses"][0]["url"].partition("/slack/")[0], secret)
        check(arguments, environment, bot, standin, slack, dayfly)
    finally:
        for name in (bot, standin):
            subprocess.run([arguments.dayfly, "destroy", "--name", name, "--yes"], env=environment, capture_output=True)


def check(arguments, environment, bot, standin, slack, dayfly):
    keys = {"aws_access_key_id": environment["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"]}
    session = boto3.Session(region_name=environment.get("AWS_DEFAULT_REGION", "us-east-1"), **keys)
    endpoint = environment["AWS_ENDPOINT_URL"]
    sqs, database = session.client("sqs", endpoint_url=endpoint), session.resource("dynamodb", endpoint_url=endpoint)

    challenge = json.dumps({"type": "url_verification", "challenge": "3eZb"}).encode()
    status, said = slack.send("/slack/events", challenge)
    assert (status, json.loads(said)) == (200, {"challenge": "3eZb"}), said
    assert slack.send("/slack/events", challenge, secret="another")[0] == 401, "a wrong signature was taken"
    assert slack.send("/slack/events", challenge, stamp=str(int(time.time()) - 600))[0] == 401, "an old request was taken"
    assert slack.send("/slack/events", challenge, stamp="now")[0] == 401, "a request without a time was taken"
    print("Slack's challenge is answered; a wrong signature and an old one are refused")

    posts = list(itertools.islice(pieces(), arguments.events + arguments.posts))
    events, stream = posts[: arguments.events], posts[arguments.events :]
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        # Of every tenth, the first answer is lost on its way.
        list(threads.map(lambda pair: slack.event(pair[1], lost=pair[0] % 10 == 0), enumerate(events)))
    seconds = time.monotonic() - started
    again = sum(count for attempt, count in slack.tries.items() if attempt != "late" and attempt)
    late = slack.tries["late"]
    print(f"{len(events)} events, {again} of them sent again, {late} answered late: {seconds:.1f} s; slowest answer {slack.slowest:.2f} s")

    url = sqs.get_queue_url(QueueName=f"{bot}-posts")["QueueUrl"]
    started = time.monotonic()
    send(sqs, url, stream, arguments.rate)
    print(f"{len(stream)} posts into the queue in {time.monotonic() - started:.1f} s")
    table = database.Table(f"{bot}-posts")
    while (done := number(table)) < len(posts):
        if time.monotonic() - started > 600:
            raise AssertionError(f"{done} of {len(posts)} posts are in the table after 600 s")
        time.sleep(0.5)
    print(f"all posts are in the table {time.monotonic() - started:.1f} s after the first of the stream")

    expected = collections.Counter(word for post in posts for word in WORD.findall(post["text"].lower()))
    found = {item["word"]: int(item["count"]) for item in items(database.Table(f"{bot}-counts"))}
    assert found == dict(expected), f"the counts differ: {collections.Counter(found) - expected} {expected - collections.Counter(found)}"
    print(f"{len(found)} different words, {expected.total()} in all: each counted once")

    (word, times), *_ = expected.most_common(1)
    said = slack.command(word)
    holding = sum(word in WORD.findall(post["text"].lower()) for post in posts)
    assert said["text"].startswith(f"*{word}*: {times} times in {holding} posts\n> "), said
    assert "Nobody has said" in slack.command("zyzzyva")["text"]
    print(said["text"].splitlines()[0])

    dayfly("invoke", f"{bot}-digest", "{}")
    (posted,) = items(database.Table(f"{standin}-posted"))
    top = sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert posted["text"] == "\n".join(f"{times} × {word}" for word, times in top), posted
    print("the digest was posted:", posted["text"].replace("\n", ", "))


def pieces():
    """Posts of a real text, each with an id, for ever."""
    text = [file.read_text(errors="replace") for file in sorted(TEXTS.iterdir()) if not file.is_symlink()]
    words = " ".join(text).split()
    lines = textwrap.wrap(" ".join(words), CHARACTERS_MAX)
    for index, line in enumerate(itertools.cycle(lines)):
        yield {"id": f"Ev{index:08}", "text": line}


def send(sqs, url, posts, rate):
    """Puts posts into the queue, ten in a request, no faster than `rate` a second."""
    started = time.monotonic()

    def ten(first):
        time.sleep(max(0, started + first / rate - time.monotonic()))
        entries = [{"Id": str(index), "MessageBody": json.dumps(post)} for index, post in enumerate(posts[first : first + 10])]
        assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(ten, range(0, len(posts), 10)))


def number(table):
    return sum(page["Count"] for page in pages(table, Select="COUNT"))


def items(table):
    return [item for page in pages(table) for item in page["Items"]]


def pages(table, **arguments):
    page = table.scan(ConsistentRead=True, **arguments)
    yield page
    while "LastEvaluatedKey" in page:
        page = table.scan(ConsistentRead=True, ExclusiveStartKey=page["LastEvaluatedKey"], **arguments)
        yield page


def signature(secret, stamp, body):
    """Slack's signature, written anew here: the bot's own is what is checked."""
    return "v0=" + hmac.digest(secret.encode(), b":".join([b"v0", stamp.encode(), body]), "sha256").hex()


class server:
    """The server that AWS_ENDPOINT_URL names, or one on a temporary folder; gives the variables that lead to it."""

    def __init__(self, command):
        self.command, self.process = command, None

    def __enter__(self):
        if "AWS_ENDPOINT_URL" in os.environ:
            return {}
        self.folder = tempfile.TemporaryDirectory()
        data = pathlib.Path(self.folder.name) / "data"
        self.process = subprocess.Popen(
            [self.command, "serve", "--data", data, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
        )
        if "listening" not in self.process.stdout.readline():
            sys.exit("the server did not start; `dayfly doctor` tells what is missing")
        lines = subprocess.run([self.command, "env", "--data", data], capture_output=True, text=True, check=True).stdout
        return dict(re.findall(r"export (\w+)='?([^'\n]*)'?", lines))

    def __exit__(self, *_):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.folder.cleanup()


if __name__ == "__main__":
    main()
