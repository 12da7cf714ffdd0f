"""A function's whole life with boto3; every assertion is one that AWS would pass too, unless it says Dayfly."""

import base64
import hashlib
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# Without the client's own checks, so that the server's are met.
CONFIG = Config(retries={"total_max_attempts": 1}, read_timeout=60, parameter_validation=False)
ROLE = "arn:aws:iam::000000000000:role/worker"
lam = boto3.client("lambda", config=CONFIG)
logs = boto3.client("logs", config=CONFIG)
sts = boto3.client("sts", config=CONFIG)


def package(text):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("app.py", text)
    return out.getvalue()


def refused(code, status, call, **arguments):
    """The error's message, after its code and status were checked."""
    try:
        call(**arguments)
    except ClientError as error:
        answer = error.response
        found = answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, status), (found, answer)
        return answer["Error"]["Message"]
    raise AssertionError(f"{call} was taken")


def create(name="f", **changes):
    arguments = dict(FunctionName=name, Runtime="python3.11", Role=ROLE, Handler="app.handler", Code={"ZipFile": package("x = 1")})
    arguments.update(changes)
    return lam.create_function(**{key: value for key, value in arguments.items() if value is not None})


def check_identity():
    identity = sts.get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::000000000000:root", identity
    assert identity["Account"] == identity["UserId"] == "000000000000"
    refused("AccessDenied", 403, sts.assume_role, RoleArn=ROLE, RoleSessionName="session")
    refused("NotImplementedException", 501, sts.get_federation_token, Name="session")
    wrong = dict(aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong")
    refused("SignatureDoesNotMatch", 403, boto3.client("sts", config=CONFIG, **wrong).get_caller_identity)
    refused("InvalidSignatureException", 403, boto3.client("lambda", config=CONFIG, **wrong).list_functions)
    refused("InvalidSignatureException", 400, boto3.client("logs", config=CONFIG, **wrong).describe_log_groups)
    unknown = dict(aws_access_key_id="AKIAUNKNOWN", aws_secret_access_key="wrong")
    refused("InvalidClientTokenId", 403, boto3.client("sts", config=CONFIG, **unknown).get_caller_identity)
    refused("UnrecognizedClientException", 403, boto3.client("lambda", config=CONFIG, **unknown).list_functions)
    presigned = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    assert b"GetCallerIdentityResult" in urllib.request.urlopen(presigned).read()


def check_life():
    code = package("x = 1")
    made = create(
        Code={"ZipFile": code},
        Description="résumé",
        Timeout=7,
        MemorySize=256,
        EphemeralStorage={"Size": 1024},
        Environment={"Variables": {"STAGE": "test"}},
        Tags={"team": "a"},
        VpcConfig={},
        FileSystemConfigs=[],
        Layers=[],
        TracingConfig={"Mode": "Active"},
        DeadLetterConfig={"TargetArn": "arn:aws:sqs:eu-central-1:000000000000:q"},
        LoggingConfig={"LogFormat": "JSON", "LogGroup": "/my/group"},
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert re.fullmatch(r"[0-9a-f-]{36}", made["ResponseMetadata"]["RequestId"])
    lam.get_waiter("function_active_v2").wait(FunctionName="f")
    lam.get_waiter("function_exists").wait(FunctionName="f")
    got = lam.get_function(FunctionName="f")
    found = got["Configuration"]
    expected = {
        "FunctionName": "f",
        "FunctionArn": "arn:aws:lambda:eu-central-1:000000000000:function:f",
        "Runtime": "python3.11",
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(code),
        "CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode(),
        "Description": "résumé",
        "Timeout": 7,
        "MemorySize": 256,
        "Version": "$LATEST",
        "Environment": {"Variables": {"STAGE": "test"}},
        "TracingConfig": {"Mode": "Active"},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:eu-central-1:000000000000:q"},
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 1024},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "INFO",
            "LogGroup": "/my/group",
        },
    }
    for key, value in expected.items():
        assert found.get(key) == value, (key, found.get(key), value)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", found["LastModified"]), found["LastModified"]
    assert "VpcConfig" not in found and "Layers" not in found
    assert got["Tags"] == {"team": "a"} and "Concurrency" not in got
    location = got["Code"]["Location"]
    assert urllib.request.urlopen(location).read() == code
    try:
        urllib.request.urlopen(location[:-1] + ("0" if location[-1] != "0" else "1"))
        raise AssertionError("a forged location was served")
    except urllib.error.HTTPError as error:
        assert error.code == 403
    assert lam.get_function_configuration(FunctionName=found["FunctionArn"])["RevisionId"] == found["RevisionId"]
    assert lam.get_function_configuration(FunctionName="000000000000:function:f:$LATEST")["Version"] == "$LATEST"
    refused("ResourceConflictException", 409, create)
    check_names()
    check_updates(found)
    check_tags(found["FunctionArn"])


def check_names():
    get = lam.get_function
    message = refused("ResourceNotFoundException", 404, get, FunctionName="none")
    assert message == "Function not found: arn:aws:lambda:eu-central-1:000000000000:function:none", message
    refused("ResourceNotFoundException", 404, get, FunctionName="f", Qualifier="7")
    refused("ResourceNotFoundException", 404, get, FunctionName="f:live")
    refused("InvalidParameterValueException", 400, get, FunctionName="f:live", Qualifier="7")
    elsewhere = "arn:aws:lambda:us-west-2:000000000000:function:f"
    assert "not reachable in this region" in refused("ResourceNotFoundException", 404, get, FunctionName=elsewhere)
    refused("AccessDeniedException", 403, get, FunctionName="arn:aws:lambda:eu-central-1:123456789012:function:f")
    for name in ["a b", "../../etc", "ü", "a:b:c", "x" * 65, "a/b", "%00"]:
        message = refused("ValidationException", 400, get, FunctionName=name)
        assert "at 'functionName' failed to satisfy constraint" in message, message


def check_updates(before):
    code = package("x = 2")
    refused("PreconditionFailedException", 412, lam.update_function_code, FunctionName="f", ZipFile=code, RevisionId="no")
    dry = lam.update_function_code(FunctionName="f", ZipFile=code, DryRun=True)
    assert dry["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode(), dry
    assert lam.get_function_configuration(FunctionName="f")["CodeSha256"] == before["CodeSha256"]
    lam.update_function_code(FunctionName="f", ZipFile=code, RevisionId=before["RevisionId"])
    lam.get_waiter("function_updated_v2").wait(FunctionName="f")
    after = lam.get_function_configuration(FunctionName="f")
    assert after["CodeSha256"] != before["CodeSha256"] and after["RevisionId"] != before["RevisionId"]
    bad = refused("InvalidParameterValueException", 400, lam.update_function_code, FunctionName="f", ZipFile=b"no zip")
    assert "unzip" in bad, bad
    refused("InvalidParameterValueException", 400, lam.update_function_code, FunctionName="f", S3Bucket="b", S3Key="k")
    assert lam.update_function_code(FunctionName="f", ZipFile=code, Publish=True)["Version"] == "1"
    changed = lam.update_function_configuration(
        FunctionName="f",
        MemorySize=512,
        Environment={"Variables": {}},
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        DeadLetterConfig={"TargetArn": ""},
        LoggingConfig={"LogFormat": "Text"},
    )
    assert changed["MemorySize"] == 512 and changed["Timeout"] == 7 and changed["Description"] == "résumé"
    assert "Environment" not in changed and "DeadLetterConfig" not in changed
    assert changed["VpcConfig"] == {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"], "VpcId": ""}
    assert changed["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/my/group"}
    update = lam.update_function_configuration
    refused("PreconditionFailedException", 412, update, FunctionName="f", Timeout=3, RevisionId=before["RevisionId"])
    refused("ResourceNotFoundException", 404, update, FunctionName="none", Timeout=3)
    lam.update_function_configuration(FunctionName="f", LoggingConfig={"LogGroup": "/aws/lambda/f"})


def check_tags(arn):
    lam.tag_resource(Resource=arn, Tags={"b": "2", "c d/ü": "3"})
    assert lam.list_tags(Resource=arn)["Tags"] == {"team": "a", "b": "2", "c d/ü": "3"}
    lam.untag_resource(Resource=arn, TagKeys=["c d/ü", "team", "none"])
    assert lam.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    refused("InvalidParameterValueException", 400, lam.tag_resource, Resource=arn, Tags={"aws:x": "1"})
    refused("InvalidParameterValueException", 400, lam.tag_resource, Resource=arn, Tags={str(n): "" for n in range(50)})
    refused("ResourceNotFoundException", 404, lam.list_tags, Resource=arn + "x")


def check_create_errors():
    def fails(code, status=400, **changes):
        return refused(code, status, create, name="g", **changes)

    message = fails("InvalidParameterValueException", Runtime="cobol85")
    assert message.startswith("Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["), message
    for runtime in ["python3.14", "nodejs22.x"]:
        assert fails("InvalidParameterValueException", Runtime=runtime).endswith("Available: python3.11, python3.12")
    fails("InvalidParameterValueException", Runtime=None)
    fails("InvalidParameterValueException", Handler=None)
    fails("ValidationException", Handler="a b")
    fails("ValidationException", Role="admin")
    message = fails("ValidationException", MemorySize=10_241)
    assert message == (
        "1 validation error detected: Value '10241' at 'memorySize' failed to satisfy constraint: "
        "Member must have value less than or equal to 10240"
    ), message
    fails("ValidationException", Timeout=901)
    fails("ValidationException", Environment={"Variables": {"1": "x"}})
    fails("ValidationException", Architectures=["sparc"])
    fails("InvalidParameterValueException", Architectures=["arm64"])
    message = fails("InvalidParameterValueException", Environment={"Variables": {"AWS_REGION": "x", "OK": "1"}})
    assert message.endswith("Reserved keys used in this request: AWS_REGION"), message
    fails("InvalidParameterValueException", Environment={"Variables": {"BIG": "x" * 4096}})
    fails("InvalidParameterValueException", Layers=["arn:aws:lambda:eu-central-1:000000000000:layer:l:1"])
    fails("InvalidParameterValueException", PackageType="Image", Code={"ImageUri": "x"}, Runtime=None, Handler=None)
    fails("InvalidParameterValueException", Code={"S3Bucket": "bucket", "S3Key": "key"})
    fails("InvalidParameterValueException", Code={"ZipFile": b"not a zip"})
    fails("InvalidParameterValueException", Tags={"aws:x": "1"})
    refused("ResourceNotFoundException", 404, lam.get_function, FunctionName="g")


def check_invoke():
    event = {"text": "résumé", "n": [1, 2.5, None]}
    answer = lam.invoke(FunctionName="f", Payload=json.dumps(event), LogType="Tail")
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer
    assert json.load(answer["Payload"]) == event
    assert answer["ExecutedVersion"] == "$LATEST"
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert request_id in base64.b64decode(answer["LogResult"]).decode()
    assert headers["x-dayfly-billed-ms"] == "2" and headers["x-dayfly-instance-id"], headers  # Dayfly's own
    failed = lam.invoke(FunctionName="f", Payload=b'"fail"')
    assert failed["StatusCode"] == 200 and failed["FunctionError"] == "Unhandled" and "LogResult" not in failed
    assert json.load(failed["Payload"])["errorType"] == "ValueError"
    assert lam.invoke(FunctionName="f")["Payload"].read() == b""  # The scripted worker answers with the event.
    assert lam.invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    assert lam.invoke(FunctionName="f", InvocationType="DryRun")["StatusCode"] == 204
    context = base64.b64encode(json.dumps({"custom": {"a": 1}}).encode()).decode()
    assert lam.invoke(FunctionName="f", ClientContext=context)["StatusCode"] == 200
    invoke = lam.invoke
    refused("InvalidRequestContentException", 400, invoke, FunctionName="f", Payload=b"{no json")
    refused("InvalidRequestContentException", 400, invoke, FunctionName="f", ClientContext="no base64!")
    refused("ValidationException", 400, invoke, FunctionName="f", InvocationType="Later")
    refused("ResourceNotFoundException", 404, invoke, FunctionName="none")
    refused("ResourceNotFoundException", 404, invoke, FunctionName="f", Qualifier="9")
    refused("ResourceNotFoundException", 404, invoke, FunctionName="none", InvocationType="Event")
    refused("ResourceNotFoundException", 404, invoke, FunctionName="none", InvocationType="DryRun")
    fits = b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"'
    assert invoke(FunctionName="f", Payload=fits)["Payload"].read() == fits
    message = refused("RequestTooLargeException", 413, invoke, FunctionName="f", Payload=fits + b" ")
    assert message.startswith("6291457 byte payload is too large for the RequestResponse invocation type"), message
    event = fits[: 1024 * 1024 - 1] + b'"'
    assert invoke(FunctionName="f", InvocationType="Event", Payload=event)["StatusCode"] == 202
    refused("RequestTooLargeException", 413, invoke, FunctionName="f", InvocationType="Event", Payload=event + b" ")
    return request_id


def check_logs(request_id):
    group = "/aws/lambda/f"
    deadline = time.time() + 20
    while True:
        try:
            found = logs.filter_log_events(logGroupName=group, filterPattern=f'"{request_id}"', interleaved=True)["events"]
            if len(found) >= 3:
                break
        except logs.exceptions.ResourceNotFoundException:
            pass
        assert time.time() < deadline, "the log lines never came"
        time.sleep(0.1)
    assert [event["message"].split(" ")[0] for event in found] == ["START", "END", "REPORT"], found
    stream = found[0]["logStreamName"]
    groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert [one["logGroupName"] for one in groups] == [group], groups
    assert groups[0]["arn"] == f"arn:aws:logs:eu-central-1:000000000000:log-group:{group}:*"
    assert logs.describe_log_groups(logGroupNamePrefix="/none")["logGroups"] == []
    streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    assert stream in [one["logStreamName"] for one in streams]
    times = [one["lastEventTimestamp"] for one in streams]
    assert times == sorted(times, reverse=True)
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, PaginationConfig={"PageSize": 2})
    paged = [one["logStreamName"] for page in pages for one in page["logStreams"]]
    # The asynchronous calls may have added streams since.
    assert paged == sorted(set(paged)) and set(paged) >= {one["logStreamName"] for one in streams}
    assert logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"][0]["logStreamName"] == stream

    read = lambda **more: logs.get_log_events(logGroupName=group, logStreamName=stream, **more)
    whole = [event["message"] for event in read(startFromHead=True)["events"]]
    assert [line.split(" ")[0].strip() for line in whole] == ["START", "line", "line", "line", "END", "REPORT"], whole
    first = read(startFromHead=True, limit=4)
    assert first["nextForwardToken"].startswith("f/") and first["nextBackwardToken"].startswith("b/")
    second = read(nextToken=first["nextForwardToken"], startFromHead=True)
    assert [event["message"] for event in first["events"] + second["events"]] == whole
    end = read(nextToken=second["nextForwardToken"], startFromHead=True)
    assert end["events"] == [] and end["nextForwardToken"] == second["nextForwardToken"]
    assert [event["message"] for event in read(limit=2)["events"]] == whole[-2:]

    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, PaginationConfig={"PageSize": 5})
    everything = [event for page in pages for event in page["events"]]
    assert len({event["eventId"] for event in everything}) == len(everything) > 10
    by_stream = logs.filter_log_events(logGroupIdentifier=groups[0]["arn"], logStreamNames=[stream])["events"]
    assert [event["message"] for event in by_stream] == whole
    by_prefix = logs.filter_log_events(logGroupName=group, logStreamNamePrefix=stream)["events"]
    assert [event["message"] for event in by_prefix] == whole
    assert logs.filter_log_events(logGroupName=group, startTime=int(time.time() * 1000) + 60_000)["events"] == []
    assert logs.filter_log_events(logGroupName=group, endTime=1)["events"] == []

    message = refused("ResourceNotFoundException", 400, logs.get_log_events, logGroupName="none", logStreamName="x")
    assert message == "The specified log group does not exist.", message
    refused("ResourceNotFoundException", 400, logs.get_log_events, logGroupName=group, logStreamName="x")
    refused("InvalidParameterException", 400, logs.filter_log_events, logGroupName=group, nextToken="x")
    refused("InvalidParameterException", 400, logs.filter_log_events, logGroupName=group, filterPattern="{ broken")
    refused("NotImplementedException", 501, logs.put_retention_policy, logGroupName=group, retentionInDays=7)
    logs.delete_log_group(logGroupName=group)
    refused("ResourceNotFoundException", 400, logs.delete_log_group, logGroupName=group)


def check_lists():
    for number in range(7):
        create(name=f"list-{number}")
    pages = list(lam.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Functions"]) for page in pages] == [3, 3, 2]
    names = [one["FunctionName"] for page in pages for one in page["Functions"]]
    assert names == ["f"] + [f"list-{number}" for number in range(7)], names
    all_versions = lam.list_functions(FunctionVersion="ALL", MaxItems=1)["Functions"]
    assert all_versions[0]["FunctionArn"].endswith(":function:f:$LATEST"), all_versions
    refused("InvalidParameterValueException", 400, lam.list_functions, Marker="???")
    refused("ValidationException", 400, lam.list_functions, MaxItems=10001)
    usage = lam.get_account_settings()
    assert usage["AccountUsage"]["FunctionCount"] == 8 and usage["AccountUsage"]["TotalCodeSize"] > 0
    assert usage["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert boto3.client("lambda", region_name="us-west-1").list_functions()["Functions"] == []


def check_unsupported():
    lam.delete_function_concurrency(FunctionName="f")
    for name, call, arguments in [
        ("ListCodeSigningConfigs", lam.list_code_signing_configs, {}),
        ("GetFunctionCodeSigningConfig", lam.get_function_code_signing_config, dict(FunctionName="f")),
    ]:
        message = refused("NotImplementedException", 501, call, **arguments)
        assert message == f"Dayfly does not support {name} yet", message
    refused("NotImplementedException", 501, boto3.client("ses", config=CONFIG).list_identities)


def check_delete():
    answer = lam.delete_function(FunctionName="f")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("ResourceNotFoundException", 404, lam.delete_function, FunctionName="f")
    refused("InvalidParameterValueException", 400, lam.delete_function, FunctionName="list-1", Qualifier="$LATEST")
    refused("ResourceNotFoundException", 404, lam.delete_function, FunctionName="list-1", Qualifier="3")


check_identity()
check_life()
check_create_errors()
check_logs(check_invoke())
check_lists()
check_unsupported()
check_delete()
