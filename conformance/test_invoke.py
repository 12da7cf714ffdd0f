"""Calls: types, payloads, errors, the log's tail."""

import base64
import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import make_client, refused


def call(awslambda, name, payload=None, **arguments):
    if payload is not None:
        arguments["Payload"] = json.dumps(payload)
    answer = awslambda.invoke(FunctionName=name, **arguments)
    return answer, json.loads(answer["Payload"].read() or b"null")


def instance(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-dayfly-instance-id")


def test_a_call_returns_the_result(awslambda, create):
    name = create("def handler(event, context):\n    return {'got': event}\n")["FunctionName"]
    answer, result = call(awslambda, name, {"a": [1, None, "ü"]})
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST" and "FunctionError" not in answer
    assert result == {"got": {"a": [1, None, "ü"]}}
    uuid.UUID(answer["ResponseMetadata"]["RequestId"])


def test_an_empty_payload_is_an_empty_object(awslambda, create):
    name = create()["FunctionName"]
    assert call(awslambda, name)[1] == {}


def test_the_context_tells_who_runs(awslambda, create):
    made = create(
        """
        def handler(event, context):
            fields = ["function_name", "function_version", "invoked_function_arn", "memory_limit_in_mb",
                      "aws_request_id", "log_group_name", "log_stream_name"]
            told = {field: getattr(context, field) for field in fields}
            told["remaining"] = context.get_remaining_time_in_millis()
            told["client"] = context.client_context.custom if context.client_context else None
            return told
        """,
        Timeout=5,
        MemorySize=192,
    )
    name = made["FunctionName"]
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}, "client": {}, "env": {}}).encode()).decode()
    answer, told = call(awslambda, name, ClientContext=context)
    assert told["function_name"] == name and told["function_version"] == "$LATEST"
    assert told["invoked_function_arn"] == made["FunctionArn"]
    assert int(told["memory_limit_in_mb"]) == 192
    assert told["aws_request_id"] == answer["ResponseMetadata"]["RequestId"]
    assert told["log_group_name"] == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", told["log_stream_name"])
    assert 0 < told["remaining"] <= 5000
    assert told["client"] == {"k": "v"}


def test_the_environment_is_lambdas_and_the_functions(awslambda, create):
    made = create(
        "import os\ndef handler(event, context):\n    return dict(os.environ)\n",
        Environment={"Variables": {"MINE": "1", "TEXT": "a=b ü"}},
    )
    _, seen = call(awslambda, made["FunctionName"])
    assert seen["MINE"] == "1" and seen["TEXT"] == "a=b ü"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == made["FunctionName"]
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128" and seen["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert seen["LAMBDA_TASK_ROOT"] == "/var/task" and seen["_HANDLER"] == "app.handler"
    assert seen["AWS_REGION"] == made["FunctionArn"].split(":")[3] and seen["TZ"] == ":UTC"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA") and seen["AWS_SESSION_TOKEN"]


def test_every_call_has_an_instance_of_its_own(awslambda, create):
    name = create(
        """
        import os, pathlib
        seen = []
        def handler(event, context):
            seen.append(1)
            marker = pathlib.Path("/tmp/marker")
            before = marker.exists()
            marker.write_text("x")
            os.environ["LEFT"] = "1"
            return {"seen": len(seen), "before": before, "left": "LEFT" in os.environ and event["n"]}
        """
    )["FunctionName"]
    client = make_client("lambda")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: call(client, name, {"n": n}), range(40)))
    assert {result["seen"] for _, result in answers} == {1}
    assert {result["before"] for _, result in answers} == {False}
    ids = [instance(answer) for answer, _ in answers]
    if ids[0] is not None:
        assert len(set(ids)) == len(ids)


def test_an_exception_is_a_function_error_with_its_trace(awslambda, create):
    name = create("class Odd(Exception): pass\ndef handler(event, context):\n    raise Odd('why')\n")["FunctionName"]
    answer, error = call(awslambda, name)
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Odd" and error["errorMessage"] == "why"
    assert error["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert any("handler" in line for line in error["stackTrace"])


@pytest.mark.parametrize(
    ("source", "settings", "kind", "message"),
    [
        ("import time\ndef handler(e, c):\n    time.sleep(30)\n", {"Timeout": 1}, "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ("import os\ndef handler(e, c):\n    os._exit(3)\n", {}, "Runtime.ExitError", ""),
        ("def handler(e, c):\n    x = bytearray(300 << 20)\n    return len(x)\n", {}, "Runtime.OutOfMemory", ""),
        ("def handler(e, c):\n    return {1, 2}\n", {}, "Runtime.MarshalError", ""),
        ("def other(e, c):\n    pass\n", {}, "Runtime.HandlerNotFound", "handler"),
        ("import not_there\n", {}, "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'not_there'"),
        ("def handler(e, c):\n    return 'x' * (7 << 20)\n", {"MemorySize": 512}, "Function.ResponseSizeTooLarge", ""),
    ],
    ids=["timeout", "exit", "memory", "not JSON", "no handler", "import", "large result"],
)
def test_every_failure_has_its_type(awslambda, create, source, settings, kind, message):
    name = create(source, **settings)["FunctionName"]
    answer, error = call(awslambda, name, LogType="Tail")
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled", error
    assert error.get("errorType") == kind or (kind == "Sandbox.Timedout" and "timed out" in error["errorMessage"]), error
    assert message in error["errorMessage"]
    assert "REPORT RequestId" in base64.b64decode(answer["LogResult"]).decode()


def test_the_tail_has_the_lines_of_the_call(awslambda, create):
    name = create("def handler(event, context):\n    print('said', event['n'])\n")["FunctionName"]
    answer, _ = call(awslambda, name, {"n": 4}, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    tail = base64.b64decode(answer["LogResult"]).decode()
    lines = tail.strip().split("\n")
    assert lines[-4:-2] == [f"START RequestId: {request_id} Version: $LATEST", "said 4"]
    assert lines[-2] == f"END RequestId: {request_id}"
    report = re.fullmatch(
        rf"REPORT RequestId: {request_id}\tDuration: (\d+\.\d\d) ms\tBilled Duration: (\d+) ms\t"
        r"Memory Size: 128 MB\tMax Memory Used: (\d+) MB\t?(.*)",
        lines[-1],
    )
    assert report, lines[-1]
    assert int(report[2]) >= float(report[1]) and 0 < int(report[3]) <= 128
    assert "LogResult" not in awslambda.invoke(FunctionName=name, Payload='{"n": 1}')


def test_a_long_log_keeps_its_last_4_kilobytes(awslambda, create):
    name = create("def handler(event, context):\n    for n in range(5000): print('line', n)\n")["FunctionName"]
    answer, _ = call(awslambda, name, LogType="Tail")
    tail = base64.b64decode(answer["LogResult"])
    assert len(tail) <= 4096 and b"line 4999" in tail and b"line 1\n" not in tail


def test_a_dry_run_calls_nothing(awslambda, create, logs):
    name = create("def handler(event, context):\n    return 1\n")["FunctionName"]
    answer = awslambda.invoke(FunctionName=name, InvocationType="DryRun")
    assert answer["StatusCode"] == 204 and answer["Payload"].read() == b""


def test_an_event_is_taken_and_runs(awslambda, logs, create):
    name = create("def handler(event, context):\n    print('ran', event['id'])\n")["FunctionName"]
    mark = uuid.uuid4().hex
    answer = awslambda.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": mark}))
    assert answer["StatusCode"] == 202 and answer["Payload"].read() == b""
    assert wait_for(logs, name, mark)


def wait_for(logs, name, text, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern=f'"{text}"')["events"]
        except logs.exceptions.ResourceNotFoundException:
            found = []
        if found:
            return found
        time.sleep(0.1)
    return []


def test_payloads_over_the_limit_and_broken_ones_are_refused(awslambda, create):
    name = create()["FunctionName"]
    limit = 6 * 1024 * 1024
    exact = b'"' + b"x" * (limit - 2) + b'"'
    assert len(awslambda.invoke(FunctionName=name, Payload=exact)["Payload"].read()) == limit
    with refused("RequestTooLargeException", 413):
        awslambda.invoke(FunctionName=name, Payload=exact + b" ")
    with refused("RequestTooLargeException", 413):
        awslambda.invoke(FunctionName=name, InvocationType="Event", Payload=b'"' + b"x" * (1024 * 1024) + b'"')
    for broken in (b"{", b"nope", b"\xff"):
        with refused("InvalidRequestContentException", 400):
            awslambda.invoke(FunctionName=name, Payload=broken)
    with refused("InvalidRequestContentException", 400):
        awslambda.invoke(FunctionName=name, ClientContext="not base64!")


def test_new_code_serves_the_next_call(awslambda, create):
    from conftest import zip_of

    name = create("def handler(event, context):\n    return 'old'\n")["FunctionName"]
    assert call(awslambda, name)[1] == "old"
    for version in range(3):
        package = zip_of(f"def handler(event, context):\n    return {version}\n")
        awslambda.update_function_code(FunctionName=name, ZipFile=package)
        awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
        assert call(awslambda, name)[1] == version


def test_new_environment_serves_the_next_call(awslambda, create):
    name = create("import os\ndef handler(e, c):\n    return os.environ.get('VERSION')\n")["FunctionName"]
    assert call(awslambda, name)[1] is None
    awslambda.update_function_configuration(FunctionName=name, Environment={"Variables": {"VERSION": "2"}})
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert call(awslambda, name)[1] == "2"


def test_a_handler_in_a_package_and_data_beside_it(awslambda, create):
    from conftest import zip_of

    package = zip_of("", **{
        "pkg/__init__.py": "",
        "pkg/inner.py": "import pathlib\ndef go(e, c):\n    return pathlib.Path('data.txt').read_text() + __file__\n",
        "data.txt": "data:",
    })
    for handler in ("pkg.inner.go", "pkg/inner.go"):
        name = create(zip_file=package, Handler=handler)["FunctionName"]
        assert call(awslambda, name)[1] == "data:/var/task/pkg/inner.py"
