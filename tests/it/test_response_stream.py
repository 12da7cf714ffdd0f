"""InvokeWithResponseStream: answers as event-stream messages, read by boto3."""

import base64
import json

import botocore.exceptions
import pytest

SOURCE = """
    def handler(event, context):
        print("asked")
        if event == "fail":
            raise ValueError("no")
        return "x" * event
"""


@pytest.fixture(scope="module")
def stream(server):
    server.create("streamed", SOURCE)

    def ask(event, **arguments):
        answer = server.client().invoke_with_response_stream(FunctionName="streamed", Payload=json.dumps(event), **arguments)
        assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
        assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
        *chunks, complete = list(answer["EventStream"])
        return [chunk["PayloadChunk"]["Payload"] for chunk in chunks], complete["InvokeComplete"]

    return ask


@pytest.mark.parametrize("length", [0, 100, 200_000, 5_000_000])
def test_an_answer_comes_in_chunks_and_is_complete(stream, length):
    chunks, complete = stream(length)
    assert json.loads(b"".join(chunks)) == "x" * length
    assert len(chunks) > length // 100_000 and complete == {}


def test_the_log_comes_at_the_end(stream):
    _, complete = stream(1, LogType="Tail")
    assert "asked" in base64.b64decode(complete["LogResult"]).decode()


def test_a_function_that_fails_says_so_at_the_end(stream):
    chunks, complete = stream("fail")
    assert chunks == [] and complete["ErrorCode"] == "ValueError"
    assert json.loads(complete["ErrorDetails"])["errorMessage"] == "no"


def test_what_is_not_called_is_refused_before_the_stream(server, stream):
    client = server.client()
    dry = client.invoke_with_response_stream(FunctionName="streamed", InvocationType="DryRun")
    assert dry["StatusCode"] == 204
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke_with_response_stream(FunctionName="nobody")
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke_with_response_stream(FunctionName="streamed", Payload="{")
    with pytest.raises(botocore.exceptions.ClientError, match="invocationType"):
        client.invoke_with_response_stream(FunctionName="streamed", InvocationType="Event")
