"""The rows of what surrounds functions: a route to one, messages that call one, a table. moto's servers are the peers."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import cloud
import peers
import tools
from cloud import REGION
from rows import EVENT, MEMORY_MB, Row, median, ms, spread, warm

CLIENTS = 8
BATCH = 10
ITEM_BYTES = 1024
# The loop is slow enough to be asked for fewer.
PEER_MESSAGES = 1_000
WAIT_S = 120
BENCH = botocore.credentials.Credentials("bench", "bench")


def api(effort):
    """One client: a route of a REST API, and a direct Invoke of the same function."""
    routes, invokes = [], []
    with cloud.server() as running:
        running.deploy("web", cloud.package_of("web"), MemorySize=MEMORY_MB)
        warm(running, "web")
        route = running.folder / "route"
        route.write_text(f"GET {path_of_route(running.server)} HTTP/1.1\r\nHost: {running.address}\r\n\r\n")
        tools.load(running.address, route, 1, "20x")
        for _ in range(effort.rounds):
            invokes.append(running.call("web", EVENT, 1, effort.seconds))
            routes.append(tools.load(running.address, route, 1, effort.seconds))
    more_us = median(a["p50_us"] - b["p50_us"] for a, b in zip(routes, invokes))
    failed = sum(run["errors"] for run in routes + invokes)
    return [
        Row(
            "request to a route of a REST API, one client",
            "direct Invoke of the same function",
            f"p50 {ms(median(run['p50_us'] for run in routes))}",
            f"p50 {ms(median(run['p50_us'] for run in invokes))}",
            f"{more_us / 1000:+.2f} ms",
            "≤ 0.3 ms more",
            more_us <= 300 and not failed,
            {"ours": routes, "theirs": invokes},
        )
    ]


def path_of_route(server):
    """Makes an API with a route to the function `web`; the address of that."""
    function = server.client().get_function(FunctionName="web")["Configuration"]["FunctionArn"]
    server.client().add_permission(
        FunctionName="web", StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
    )
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
    proxy = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri}
    paths = {"/hello": {"get": {"x-amazon-apigateway-integration": proxy}}}
    document = {"swagger": "2.0", "info": {"title": "bench", "version": "1"}, "paths": paths}
    apis = server.client("apigateway")
    made = apis.import_rest_api(body=json.dumps(document))["id"]
    apis.create_deployment(restApiId=made, stageName="bench")
    return f"/restapis/{made}/bench/_user_request_/hello"


def web(effort):
    """A page of a Flask application as it is: one client for the time of a request, eight for their number."""
    folder, path = tools.ROOT / "examples" / "flask", "poems/hope"
    runs = {(clients, side): [] for clients in (1, CLIENTS) for side in ("ours", "theirs")}
    with cloud.server() as running, peers.gunicorn_of(tools.jobs_python(), folder, "app:app", 2) as gunicorn:
        address = running.server.cli("deploy", folder).stdout.split()[1]
        sides = {
            "ours": page(running.folder / "ours", running.address, urllib.parse.urlsplit(address).path + path),
            "theirs": page(running.folder / "theirs", gunicorn.address, f"/{path}"),
        }
        for request in sides.values():
            tools.load(*request, CLIENTS, "100x")
        for _ in range(effort.rounds):
            for (clients, side), found in runs.items():
                found.append(tools.load(*sides[side], clients, effort.seconds))
    failed = sum(run["errors"] for found in runs.values() for run in found)

    def ratio(clients, key):
        return median(a[key] / b[key] for a, b in zip(runs[clients, "ours"], runs[clients, "theirs"]))

    slower, share = ratio(1, "p50_us"), ratio(CLIENTS, "per_second")
    against = f"gunicorn {tools.versions_of_jobs()['gunicorn']}, 2 sync workers, warm, the same application"
    what = "page of the Flask example, a fresh instance for each request"
    details = {"ours": runs[1, "ours"], "theirs": runs[1, "theirs"]}
    more = {"ours": runs[CLIENTS, "ours"], "theirs": runs[CLIENTS, "theirs"]}
    one, many = ([spread(runs[clients, side]) for side in ("ours", "theirs")] for clients in (1, CLIENTS))
    return [
        Row(f"{what}, one client", against, *one, f"p50 {slower:.1f}×", "p50 ≤ 4×", slower <= 4 and not failed, details),
        Row(f"{what}, {CLIENTS} clients", against, *many, f"{share:.2f}×", "≥ 0.15×", share >= 0.15 and not failed, more),
    ]


def page(file, address, path):
    """A server and a file with a request for a path of it."""
    file.write_text(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
    return address, file


def queue(effort):
    """Messages in batches, from the first send until the last is handled and deleted."""
    count = 100_000 if effort.rounds > 2 else 5_000
    theirs = []
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder:
        ours = handled_by_function(count)
        for _ in range(effort.rounds // 2 + 1):
            theirs.append(handled_by_loop(min(count, PEER_MESSAGES), pathlib.Path(folder)))
    rate = median(run["per_second"] for run in theirs)
    ratio = ours["per_second"] / rate
    lost = "none lost" if not ours["lost"] else f"{ours['lost']} LOST"
    return [
        Row(
            f"{count:,} small SQS messages in batches of {BATCH}, sent to handled and deleted",
            f"a Python loop on moto {tools.versions_of_jobs()['moto']}'s SQS server, {min(count, PEER_MESSAGES):,} messages",
            f"{ours['per_second']:,.0f}/s, {lost} (sent at {ours['sent_per_second']:,.0f}/s)",
            f"{rate:,.0f}/s",
            f"{ratio:.1f}×",
            "none lost, ≥ 20×",
            ratio >= 20 and not ours["lost"],
            {"ours": ours, "theirs": theirs},
        )
    ]


def handled_by_function(count):
    """The queue's messages call a function."""
    with cloud.server() as running:
        running.deploy("messages", cloud.package_of("messages"), MemorySize=MEMORY_MB)
        sqs = running.server.client("sqs")
        made = sqs.create_queue(QueueName="bench", Attributes={"VisibilityTimeout": "360"})["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "QueueArn"]
        arn = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=names)["Attributes"]["QueueArn"]
        running.server.client().create_event_source_mapping(EventSourceArn=arn, FunctionName="messages", BatchSize=BATCH)
        requests = batches(running.address, running.credentials, made, count, running.folder)
        began = time.monotonic()
        sent = tools.each(running.address, requests, CLIENTS)
        left = count
        while left and time.monotonic() < began + WAIT_S:
            time.sleep(0.02)
            found = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=names)["Attributes"]
            left = sum(int(number) for name, number in found.items() if name != "QueueArn")
        seconds = time.monotonic() - began
        lost = missing(running.server, count)
    return {"per_second": count / seconds, "sent_per_second": sent["per_second"] * BATCH, "lost": lost + left, "sent": sent}


def missing(server, count):
    """How many messages the function's log does not name."""
    logs, seen = server.client("logs", read_timeout=60), set()
    deadline = time.monotonic() + 30
    while len(seen) < count and time.monotonic() < deadline:
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/messages"):
            for event in page["events"]:
                if event["message"].startswith("handled "):
                    seen.update(event["message"].split()[1:])
    return count - len(seen)


def handled_by_loop(count, folder):
    """A process of its own receives, handles and deletes."""
    with peers.serving(folder, peers.moto) as address:
        sqs = peers.client("sqs", address)
        made = sqs.create_queue(QueueName="bench", Attributes={"VisibilityTimeout": "360"})["QueueUrl"]
        requests = batches(address, BENCH, made, count, folder)
        command = [tools.jobs_python(), tools.HERE / "peers" / "consumer.py", f"http://{address}", made, count]
        with open(folder / "handled", "w+") as log:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, env=peers.path_of("messages")
            )
            try:
                # It has imported what it needs, and waits for messages.
                time.sleep(2)
                began = time.monotonic()
                sent = tools.each(address, requests, 1)
                process.wait(WAIT_S)
                seconds = time.monotonic() - began
            finally:
                process.kill()
                process.wait(20)
            log.seek(0)
            seen = {word for line in log for word in line.split()[1:]}
        if len(seen) != count or process.returncode:
            raise RuntimeError(f"the loop handled {len(seen)} of {count} messages")
    return {"per_second": count / seconds, "sent": sent}


def batches(address, credentials, queue, count, folder):
    """A file of requests that send so many messages, each with a body of its own."""

    def body(first):
        entries = [{"Id": str(at), "MessageBody": f"message-{first + at}"} for at in range(BATCH)]
        return {"QueueUrl": queue, "Entries": entries}

    bodies = (body(first) for first in range(0, count, BATCH))
    return signed(address, credentials, "sqs", "AmazonSQS.SendMessageBatch", bodies, folder / "batches")


def table(effort):
    """Eight clients put items of 1 KB under keys of their own, and get them."""
    count = 5_000 if effort.rounds > 2 else 500
    runs = {(verb, side): [] for verb in ("put", "get") for side in ("ours", "moto")}
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dayfly-bench-")))
        running = stack.enter_context(cloud.server())
        address = stack.enter_context(peers.serving(folder, peers.moto))
        sides = {
            "ours": (running.address, running.credentials, running.server.client("dynamodb")),
            "moto": (address, BENCH, peers.client("dynamodb", address)),
        }
        for _, _, client in sides.values():
            client.create_table(
                TableName="bench",
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
        for number in range(effort.rounds):
            for side, (where, credentials, _) in sides.items():
                for verb in ("put", "get"):
                    # moto is slow enough to be asked for fewer.
                    requests = items(where, credentials, verb, number, count if side == "ours" else count // 5, folder)
                    runs[verb, side].append(tools.each(where, requests, CLIENTS))
    return [table_row(verb, runs[verb, "ours"], runs[verb, "moto"]) for verb in ("put", "get")]


def table_row(verb, ours, theirs):
    ratio = median(a["per_second"] / b["per_second"] for a, b in zip(ours, theirs))
    ours_text, theirs_text = (
        f"{median(run['per_second'] for run in side):,.0f}/s (p50 {ms(median(run['p50_us'] for run in side))})"
        for side in (ours, theirs)
    )
    against = f"moto {tools.versions_of_jobs()['moto']}'s DynamoDB server (in memory)"
    what = f"DynamoDB {verb} of 1 KB items, {CLIENTS} clients, durable"
    return Row(what, against, ours_text, theirs_text, f"{ratio:.1f}×", "≥ 5×", ratio >= 5, {"ours": ours, "theirs": theirs})


def items(address, credentials, verb, number, count, folder):
    """A file of requests that put or get so many items."""

    def body(at):
        key = {"id": {"S": f"{number}/{at}"}}
        if verb == "get":
            return {"TableName": "bench", "Key": key, "ConsistentRead": True}
        return {"TableName": "bench", "Item": {**key, "text": {"S": f"{at:08}" * ((ITEM_BYTES - 16) // 8)}}}

    target = "DynamoDB_20120810.PutItem" if verb == "put" else "DynamoDB_20120810.GetItem"
    return signed(address, credentials, "dynamodb", target, (body(at) for at in range(count)), folder / f"{verb}s")


def signed(address, credentials, service, target, bodies, path):
    """Writes a signed request for each body to a file, as the load generator reads them: a line with its length before each."""
    signer = botocore.auth.SigV4Auth(credentials, service, REGION)
    with open(path, "wb") as file:
        for body in bodies:
            data = json.dumps(body).encode()
            headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
            request = botocore.awsrequest.AWSRequest("POST", f"http://{address}/", headers=headers, data=data)
            signer.add_auth(request)
            head = [f"POST / HTTP/1.1\r\nHost: {address}"] + [f"{key}: {value}" for key, value in request.headers.items()]
            whole = "\r\n".join([*head, f"Content-Length: {len(data)}", "", ""]).encode() + data
            file.write(f"{len(whole)}\n".encode() + whole)
    return path
