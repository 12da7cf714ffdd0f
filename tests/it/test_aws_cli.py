"""A function's whole life with the AWS CLI: version 1 from .venv, and Debian's version 2 for `aws logs tail`."""

import json
import os
import pathlib
import subprocess
import sys

import harness
import pytest

V1 = pathlib.Path(sys.executable).parent / "aws"
V2 = pathlib.Path("/usr/bin/aws")


@pytest.fixture
def aws(server):
    def run(*arguments, program=V1):
        command = [program, "--endpoint-url", server.endpoint, "--output", "json", *arguments]
        environment = {**os.environ, **server.variables(), "AWS_PAGER": "", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    return run


def test_create_wait_invoke_update_list_delete(aws, tmp_path):
    code = tmp_path / "code.zip"
    code.write_bytes(harness.package("def handler(event, context):\n    print('by cli')\n    return event['n'] + 1\n"))
    aws("lambda", "create-function", "--function-name", "life", "--runtime", harness.RUNTIME, "--role", harness.ROLE,
        "--handler", "app.handler", "--zip-file", f"fileb://{code}")
    aws("lambda", "wait", "function-active-v2", "--function-name", "life")
    out = tmp_path / "out.json"
    answer = aws("lambda", "invoke", "--function-name", "life", "--payload", '{"n": 1}', out)
    assert answer["StatusCode"] == 200 and out.read_text() == "2"

    code.write_bytes(harness.package("def handler(event, context):\n    return event['n'] + 2\n"))
    aws("lambda", "update-function-code", "--function-name", "life", "--zip-file", f"fileb://{code}")
    aws("lambda", "wait", "function-updated-v2", "--function-name", "life")
    aws("lambda", "update-function-configuration", "--function-name", "life", "--timeout", "9")
    aws("lambda", "wait", "function-updated-v2", "--function-name", "life")
    aws("lambda", "invoke", "--function-name", "life", "--payload", '{"n": 1}', out)
    assert out.read_text() == "3"

    listed = aws("lambda", "list-functions")["Functions"]
    assert [(function["FunctionName"], function["Timeout"]) for function in listed] == [("life", 9)]
    events = aws("logs", "filter-log-events", "--log-group-name", "/aws/lambda/life")["events"]
    assert any(event["message"] == "by cli\n" for event in events)
    if V2.exists():
        tail = aws("logs", "tail", "/aws/lambda/life", "--since", "10m", program=V2)
        assert "by cli" in tail and tail.count("REPORT RequestId") == 2
    aws("lambda", "delete-function", "--function-name", "life")
    assert aws("lambda", "list-functions")["Functions"] == []


@pytest.mark.skipif(not V2.exists(), reason="Debian's awscli (version 2) is not installed")
def test_tables_and_queues(aws):
    table, queue, program = "cli", "cli", V2
    aws("dynamodb", "create-table", "--table-name", table, "--attribute-definitions", "AttributeName=id,AttributeType=S",
        "--key-schema", "AttributeName=id,KeyType=HASH", "--billing-mode", "PAY_PER_REQUEST", program=program)
    aws("dynamodb", "wait", "table-exists", "--table-name", table, program=program)
    item = {"id": {"S": "a"}, "n": {"N": "1.50"}}
    aws("dynamodb", "put-item", "--table-name", table, "--item", json.dumps(item), program=program)
    got = aws("dynamodb", "get-item", "--table-name", table, "--key", '{"id": {"S": "a"}}', program=program)["Item"]
    assert got == {**item, "n": {"N": "1.5"}}
    assert aws("dynamodb", "scan", "--table-name", table, program=program)["Count"] == 1

    url = aws("sqs", "create-queue", "--queue-name", queue, program=program)["QueueUrl"]
    sent = aws("sqs", "send-message", "--queue-url", url, "--message-body", "grüße", program=program)
    (message,) = aws("sqs", "receive-message", "--queue-url", url, program=program)["Messages"]
    assert (message["Body"], message["MessageId"]) == ("grüße", sent["MessageId"])
    aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"], program=program)
    counts = aws("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All", program=program)["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == counts["ApproximateNumberOfMessagesNotVisible"] == "0"


@pytest.mark.skipif(not V2.exists(), reason="Debian's awscli (version 2) is not installed")
def test_logs_tail_follows(server):
    server.create("followed", "def handler(event, context):\n    print('mark', event)\n")
    server.invoke("followed", 1)
    environment = {**os.environ, **server.variables(), "AWS_PAGER": "", "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    tail = subprocess.Popen(
        [V2, "--endpoint-url", server.endpoint, "logs", "tail", "/aws/lambda/followed", "--follow", "--format", "short"],
        stdout=subprocess.PIPE, text=True, env=environment,
    )
    try:
        lines = iter(tail.stdout.readline, "")
        assert any("mark 1" in line for line in lines)
        server.invoke("followed", 2)
        assert any("mark 2" in line for line in lines)
    finally:
        tail.kill()
        tail.wait(10)
        tail.stdout.close()
