"""Published versions, aliases and their weights, qualifiers, across a restart of the server."""

import collections
import concurrent.futures
import json
import urllib.request

import calls
import harness
import pytest
import web
from botocore.exceptions import ClientError

FUNCTION = """
import os

def handler(event, context):
    print("version", context.function_version, event)
    return {
        "code": %r,
        "greeting": os.environ.get("GREETING"),
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "stream": context.log_stream_name,
    }
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def update(client, name, **settings):
    client.update_function_configuration(FunctionName=name, **settings)
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})


def asked(server, name, qualifier=None):
    """The version that ran, and what it said."""
    answer, said = server.invoke(name, **({"Qualifier": qualifier} if qualifier else {}))
    return answer["ExecutedVersion"], said


def test_a_version_never_changes_and_outlives_the_server(tmp_path):
    with harness.Server(tmp_path / "data") as server:
        client = server.client()
        first = server.create("f", FUNCTION % "one", Environment={"Variables": {"GREETING": "hello"}}, Publish=True)
        assert (first["Version"], first["FunctionArn"]) == ("1", f"{ARN}f:1")
        assert client.publish_version(FunctionName="f")["Version"] == "1", "nothing has changed"
        update(client, "f", Environment={"Variables": {"GREETING": "good evening"}})
        latest = client.get_function_configuration(FunctionName="f")
        message = refused("PreconditionFailedException", client.publish_version, FunctionName="f", RevisionId="other")
        assert "Revision Id" in message
        wrong = harness.package(FUNCTION % "none")
        refused("InvalidParameterValueException", client.publish_version, FunctionName="f", CodeSha256="AAAA")
        second = client.publish_version(
            FunctionName="f", CodeSha256=latest["CodeSha256"], RevisionId=latest["RevisionId"], Description="second"
        )
        assert (second["Version"], second["Description"]) == ("2", "second")
        third = client.update_function_code(FunctionName="f", ZipFile=harness.package(FUNCTION % "three"), Publish=True)
        assert third["Version"] == "3"
        client.update_function_code(FunctionName="f", ZipFile=wrong)
        alias = client.create_alias(FunctionName="f", Name="live", FunctionVersion="1", Description="to all")
        assert (alias["AliasArn"], alias["FunctionVersion"]) == (f"{ARN}f:live", "1")
        check_versions(server)
        server.stop()
    with harness.Server(tmp_path / "data") as server:
        check_versions(server)
        check_deletes(server)


def check_versions(server):
    client = server.client()
    shown = [
        (version["Version"], version["FunctionArn"])
        for page in client.get_paginator("list_versions_by_function").paginate(
            FunctionName="f", PaginationConfig={"PageSize": 3}
        )
        for version in page["Versions"]
    ]
    names = ["$LATEST", "1", "2", "3"]
    assert shown == [(name, f"{ARN}f:{name}") for name in names]
    pages = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 1})
    assert [function["Version"] for page in pages for function in page["Functions"]] == names
    for qualifier, code, greeting, version in [
        (None, "none", "good evening", "$LATEST"),
        ("$LATEST", "none", "good evening", "$LATEST"),
        ("1", "one", "hello", "1"),
        ("2", "one", "good evening", "2"),
        ("3", "three", "good evening", "3"),
        ("live", "one", "hello", "1"),
    ]:
        executed, said = asked(server, "f", qualifier)
        assert executed == said["variable"] == said["version"] == version
        assert (said["code"], said["greeting"]) == (code, greeting)
        assert said["arn"] == f"{ARN}f" + (f":{qualifier}" if qualifier else "")
        assert f"[{version}]" in said["stream"]
        if qualifier:
            assert asked(server, f"f:{qualifier}")[1]["arn"] == said["arn"]
            assert asked(server, f"{ARN}f:{qualifier}")[1]["code"] == code
            found = client.get_function(FunctionName="f", Qualifier=qualifier)
            assert found["Configuration"]["FunctionArn"] == said["arn"]
            assert found["Configuration"]["Version"] == version
            with urllib.request.urlopen(found["Code"]["Location"]) as answer:
                assert answer.status == 200
    assert client.get_alias(FunctionName="f", Name="live")["FunctionVersion"] == "1"


def check_deletes(server):
    client = server.client()
    delete = client.delete_function
    assert "alias" in refused("ResourceConflictException", delete, FunctionName="f", Qualifier="1")
    refused("InvalidParameterValueException", delete, FunctionName="f", Qualifier="live")
    delete(FunctionName="f", Qualifier="2")
    refused("ResourceNotFoundException", client.get_function, FunctionName="f:2")
    message = refused("ResourceNotFoundException", client.invoke, FunctionName="f", Qualifier="2")
    assert message == f"Function not found: {ARN}f:2"
    assert asked(server, "f", "1")[0] == "1"
    update(client, "f", MemorySize=256)
    assert client.publish_version(FunctionName="f")["Version"] == "4", "no number is given twice"
    delete(FunctionName="f")
    refused("ResourceNotFoundException", client.list_versions_by_function, FunctionName="f")
    refused("ResourceNotFoundException", client.invoke, FunctionName="f:1")
    assert client.get_account_settings()["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}


@pytest.fixture(scope="module")
def two(server):
    """A function with two versions."""
    server.create("two", FUNCTION % "one", Publish=True)
    client = server.client()
    client.update_function_code(FunctionName="two", ZipFile=harness.package(FUNCTION % "two"), Publish=True)
    return client


def test_an_alias_is_made_changed_listed_and_deleted(two):
    make = {"FunctionName": "two", "Name": "stage", "FunctionVersion": "1"}
    made = two.create_alias(**make)
    assert refused("ResourceConflictException", two.create_alias, **make) == f"Alias already exists: {ARN}two:stage"
    for name, bad in [("1", {}), ("a b", {}), ("x", {"FunctionVersion": "no number"})]:
        refused("ValidationException", two.create_alias, **{**make, "Name": name, **bad})
    message = refused("ResourceNotFoundException", two.create_alias, **{**make, "Name": "x", "FunctionVersion": "9"})
    assert message == f"Function not found: {ARN}two:9"
    routing = lambda **weights: {"RoutingConfig": {"AdditionalVersionWeights": weights}}  # noqa: E731
    change = {"FunctionName": "two", "Name": "stage"}
    for weights in [{"1": 0.5}, {"2": 0.1, "3": 0.1}]:
        refused("InvalidParameterValueException", two.update_alias, **change, **routing(**weights))
    for weights in [{"2": 1.5}, {"2": -0.1}, {"live": 0.5}]:
        refused("ValidationException", two.update_alias, **change, **routing(**weights))
    refused("ResourceNotFoundException", two.update_alias, **change, **routing(**{"9": 0.5}))
    refused(
        "InvalidParameterValueException", two.update_alias, **change, FunctionVersion="$LATEST", **routing(**{"2": 0.5})
    )
    refused("PreconditionFailedException", two.update_alias, **change, RevisionId="other", Description="x")
    changed = two.update_alias(**change, RevisionId=made["RevisionId"], Description="x", **routing(**{"2": 0.25}))
    assert changed["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.25}}
    assert changed["RevisionId"] != made["RevisionId"]
    assert "RoutingConfig" not in two.update_alias(**change, FunctionVersion="2", **routing())
    two.create_alias(FunctionName="two", Name="tip", FunctionVersion="$LATEST")
    pages = two.get_paginator("list_aliases").paginate(FunctionName="two", PaginationConfig={"PageSize": 1})
    assert [alias["Name"] for page in pages for alias in page["Aliases"]] == ["stage", "tip"]
    only = two.list_aliases(FunctionName="two", FunctionVersion="2")["Aliases"]
    assert [alias["Name"] for alias in only] == ["stage"]
    for name in ["stage", "tip", "never"]:
        two.delete_alias(FunctionName="two", Name=name)
    message = refused("ResourceNotFoundException", two.get_alias, FunctionName="two", Name="stage")
    assert message == f"Cannot find alias arn: {ARN}two:stage"
    refused("ResourceNotFoundException", two.update_alias, **change, Description="y")
    refused("ResourceNotFoundException", two.invoke, FunctionName="two:stage")


def test_a_thousand_calls_are_shared_by_weight(two):
    two.create_alias(
        FunctionName="two", Name="canary", FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
    )  # fmt: skip

    def call(_):
        answer = two.invoke(FunctionName="two", Qualifier="canary", Payload=b"{}")
        said = json.loads(answer["Payload"].read())
        assert (said["version"], said["arn"]) == (answer["ExecutedVersion"], f"{ARN}two:canary")
        return said["code"]

    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        counts = collections.Counter(clients.map(call, range(1000)))
    # 100 are expected; five standard deviations to each side are missed once in two million times.
    assert counts["one"] + counts["two"] == 1000
    assert 52 <= counts["two"] <= 148, counts
    two.delete_alias(FunctionName="two", Name="canary")


def test_triggers_reach_what_they_name(server, two):
    two.create_alias(FunctionName="two", Name="door", FunctionVersion="1")
    policy = {"FunctionName": "two", "Qualifier": "door"}
    refused(
        "InvalidParameterValueException", two.add_permission, FunctionName="two", Qualifier="$LATEST", StatementId="a",
        Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE",
    )  # fmt: skip
    refused("ValidationException", two.create_function_url_config, FunctionName="two", Qualifier="1", AuthType="NONE")
    refused("ResourceNotFoundException", two.create_function_url_config, FunctionName="two:no", AuthType="NONE")
    made = two.create_function_url_config(**policy, AuthType="NONE")
    assert made["FunctionArn"] == f"{ARN}two:door"
    host = made["FunctionUrl"].removeprefix("http://").rstrip("/")
    assert web.request(server, "/", host=host).status == 403
    two.add_permission(
        **policy, StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    statement = json.loads(two.get_policy(**policy)["Policy"])["Statement"][0]
    assert statement["Resource"] == f"{ARN}two:door"
    refused("ResourceNotFoundException", two.get_policy, FunctionName="two")
    assert web.request(server, "/", host=host).json["version"] == "1"
    two.update_alias(FunctionName="two", Name="door", FunctionVersion="2")
    assert web.request(server, "/", host=host).json["version"] == "2"
    assert len(two.list_function_url_configs(FunctionName="two")["FunctionUrlConfigs"]) == 1
    two.delete_alias(FunctionName="two", Name="door")
    assert web.request(server, "/", host=host).status == 403


def test_a_mapping_calls_the_alias(server, two):
    two.create_alias(FunctionName="two", Name="worker", FunctionVersion="1")
    sqs = server.client("sqs")
    queue = sqs.create_queue(QueueName="of-alias")["QueueUrl"]
    source = "arn:aws:sqs:us-east-1:000000000000:of-alias"
    mapping = {"EventSourceArn": source, "FunctionName": "two:worker"}
    refused("InvalidParameterValueException", two.create_event_source_mapping, **{**mapping, "FunctionName": "two:no"})
    made = two.create_event_source_mapping(**mapping)
    assert made["FunctionArn"] == f"{ARN}two:worker"
    sqs.send_message(QueueUrl=queue, MessageBody="of the queue")

    def ran():
        return [line for line in calls.log_of(server, "two") if "of the queue" in line]

    (line,) = harness.wait_until(ran, what="the call of the alias")
    assert line.startswith("version 1 ")
    two.delete_event_source_mapping(UUID=made["UUID"])
    sqs.delete_queue(QueueUrl=queue)
