"""The life of a function through the management API."""

import base64
import hashlib
import re
import urllib.error
import urllib.request
import uuid

import pytest
from conftest import ROLE, RUNTIME, refused, zip_of


def test_create_returns_the_whole_configuration(create):
    package = zip_of("def handler(event, context):\n    return 1\n")
    made = create(
        zip_file=package,
        wait=False,
        Description="counts",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"KEY": "value", "EMPTY": ""}},
        EphemeralStorage={"Size": 1024},
        Architectures=["x86_64"],
        TracingConfig={"Mode": "PassThrough"},
    )
    name = made["FunctionName"]
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert re.fullmatch(rf"arn:aws:lambda:[a-z0-9-]+:\d{{12}}:function:{name}", made["FunctionArn"])
    assert made["Runtime"] == RUNTIME and made["Role"] == ROLE and made["Handler"] == "app.handler"
    assert (made["Description"], made["Timeout"], made["MemorySize"]) == ("counts", 7, 256)
    assert made["Environment"]["Variables"] == {"KEY": "value", "EMPTY": ""}
    assert made["EphemeralStorage"] == {"Size": 1024}
    assert made["Architectures"] == ["x86_64"] and made["PackageType"] == "Zip" and made["Version"] == "$LATEST"
    assert made["CodeSize"] == len(package)
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    assert made["State"] in ("Pending", "Active")
    uuid.UUID(made["RevisionId"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made["LastModified"])
    assert made["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}


def test_defaults_are_lambdas(create):
    made = create(wait=False)
    assert (made["Timeout"], made["MemorySize"], made["Description"]) == (3, 128, "")
    assert made["EphemeralStorage"] == {"Size": 512}
    assert made["TracingConfig"] == {"Mode": "PassThrough"}
    assert "Environment" not in made


def test_get_function_gives_configuration_code_and_tags(awslambda, create):
    package = zip_of("def handler(event, context):\n    return 2\n")
    name = create(zip_file=package, Tags={"team": "web"})["FunctionName"]
    got = awslambda.get_function(FunctionName=name)
    assert got["Configuration"]["FunctionName"] == name
    assert got["Configuration"]["State"] == "Active"
    assert got["Configuration"]["LastUpdateStatus"] == "Successful"
    assert got["Code"]["RepositoryType"] == "S3"
    assert got["Tags"] == {"team": "web"}
    with urllib.request.urlopen(got["Code"]["Location"], timeout=20) as answer:
        assert answer.read() == package


def test_a_code_location_cannot_be_changed(awslambda, create):
    location = awslambda.get_function(FunctionName=create()["FunctionName"])["Code"]["Location"]
    flipped = location[:-1] + ("0" if location[-1] != "0" else "1")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(flipped, timeout=20)
    assert error.value.code in (400, 403)


def test_a_function_is_named_in_three_ways(awslambda, create):
    made = create()
    arn, name = made["FunctionArn"], made["FunctionName"]
    account = arn.split(":")[4]
    for reference in (name, arn, f"{account}:function:{name}", f"{name}:$LATEST", f"{arn}:$LATEST"):
        got = awslambda.get_function_configuration(FunctionName=reference)
        assert got["FunctionName"] == name, reference
    got = awslambda.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    assert got["FunctionArn"] in (arn, f"{arn}:$LATEST") and got["Version"] == "$LATEST"


def test_update_configuration_changes_what_it_names(awslambda, create):
    made = create(MemorySize=256, Description="before", Environment={"Variables": {"KEY": "1"}})
    name = made["FunctionName"]
    changed = awslambda.update_function_configuration(FunctionName=name, Timeout=9, Environment={"Variables": {"OTHER": "2"}})
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert changed["Timeout"] == 9 and changed["MemorySize"] == 256 and changed["Description"] == "before"
    assert changed["Environment"]["Variables"] == {"OTHER": "2"}
    assert changed["RevisionId"] != made["RevisionId"]
    got = awslambda.get_function_configuration(FunctionName=name)
    assert got["Timeout"] == 9 and got["LastUpdateStatus"] == "Successful"


def test_update_code_changes_hash_and_revision(awslambda, create):
    made = create()
    name = made["FunctionName"]
    package = zip_of("def handler(event, context):\n    return 'new'\n")
    tried = awslambda.update_function_code(FunctionName=name, ZipFile=package, DryRun=True)
    assert tried["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
    assert awslambda.get_function_configuration(FunctionName=name)["CodeSha256"] == made["CodeSha256"]
    changed = awslambda.update_function_code(FunctionName=name, ZipFile=package)
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert changed["CodeSha256"] != made["CodeSha256"] and changed["RevisionId"] != made["RevisionId"]


def test_the_revision_id_is_a_precondition(awslambda, create):
    made = create()
    name = made["FunctionName"]
    awslambda.update_function_configuration(FunctionName=name, Description="x")
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    stale = made["RevisionId"]
    with refused("PreconditionFailedException", 412, "Revision Id"):
        awslambda.update_function_configuration(FunctionName=name, Description="y", RevisionId=stale)
    with refused("PreconditionFailedException", 412, "Revision Id"):
        awslambda.update_function_code(FunctionName=name, ZipFile=zip_of(""), RevisionId=stale)
    current = awslambda.get_function_configuration(FunctionName=name)["RevisionId"]
    awslambda.update_function_configuration(FunctionName=name, Description="y", RevisionId=current)


def test_delete_is_final_and_missing_functions_are_not_found(awslambda, create):
    name = create()["FunctionName"]
    assert awslambda.delete_function(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] in (200, 204)
    for call in (
        lambda: awslambda.get_function(FunctionName=name),
        lambda: awslambda.get_function_configuration(FunctionName=name),
        lambda: awslambda.delete_function(FunctionName=name),
        lambda: awslambda.update_function_configuration(FunctionName=name, Timeout=4),
        lambda: awslambda.update_function_code(FunctionName=name, ZipFile=zip_of("")),
        lambda: awslambda.invoke(FunctionName=name),
    ):
        with refused("ResourceNotFoundException", 404, f"function:{name}"):
            call()
    create(FunctionName=name)  # The name is free again.


def test_a_name_is_taken_once(awslambda, create):
    name = create()["FunctionName"]
    with refused("ResourceConflictException", 409, f"Function already exist: {name}"):
        awslambda.create_function(
            FunctionName=name, Runtime=RUNTIME, Role=ROLE, Handler="app.handler", Code={"ZipFile": zip_of("")}
        )


def test_lists_go_on_with_a_marker(awslambda, create):
    package = zip_of("def handler(event, context):\n    return 1\n")
    made = sorted(create(zip_file=package, wait=False)["FunctionName"] for _ in range(5))
    listed, marker, pages = [], None, 0
    while True:
        arguments = {"MaxItems": 2, **({"Marker": marker} if marker else {})}
        page = awslambda.list_functions(**arguments)
        assert len(page["Functions"]) <= 2
        listed += [function["FunctionName"] for function in page["Functions"]]
        pages += 1
        marker = page.get("NextMarker")
        if not marker:
            break
    assert [name for name in listed if name in made] == made, "in order of name, each once"
    assert pages >= 3
    paged = awslambda.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3})
    assert [function["FunctionName"] for page in paged for function in page["Functions"]] == listed


def test_tags(awslambda, create):
    arn = create(Tags={"a": "1"})["FunctionArn"]
    awslambda.tag_resource(Resource=arn, Tags={"b": "2", "a": "3"})
    assert awslambda.list_tags(Resource=arn)["Tags"] == {"a": "3", "b": "2"}
    awslambda.untag_resource(Resource=arn, TagKeys=["a", "unknown"])
    assert awslambda.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    with refused("ResourceNotFoundException", 404):
        awslambda.list_tags(Resource=arn + "-missing")


def test_account_settings(awslambda):
    settings = awslambda.get_account_settings()
    assert settings["AccountLimit"]["ConcurrentExecutions"] >= 1
    assert settings["AccountUsage"]["FunctionCount"] >= 0
    assert {"TotalCodeSize", "CodeSizeZipped", "UnreservedConcurrentExecutions"} <= settings["AccountLimit"].keys()


def test_caller_identity(sts, create):
    identity = sts.get_caller_identity()
    assert re.fullmatch(r"\d{12}", identity["Account"])
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:root"
    assert create(wait=False)["FunctionArn"].split(":")[4] == identity["Account"]
