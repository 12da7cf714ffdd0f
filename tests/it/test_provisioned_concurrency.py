"""Provisioned concurrency: instances of versions and aliases that are kept ready, across restarts of the server."""

import concurrent.futures
import os
import re
import urllib.request

import calls
import harness
import pytest
import test_languages as languages
from botocore.exceptions import ClientError
from calls import call

FUNCTION = """
import os, time, uuid

print("init", os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"])
used = []

def handler(event, context):
    time.sleep((event or {}).get("sleep", 0))
    used.append(1)
    return {"used": len(used), "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "version": context.function_version}
"""
FAILS = """
print("tries to begin")
raise RuntimeError("never")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("provisioned") / "data"


@pytest.fixture(scope="module")
def server(data):
    with harness.Server(data, config="[limits]\nconcurrency = 110\n") as server:
        server.create("f", FUNCTION, Timeout=60, Publish=True)
        server.client().create_alias(FunctionName="f", Name="live", FunctionVersion="1")
        yield server


@pytest.fixture
def client(server):
    yield server.client()
    # A test may have started the server anew.
    client = server.client()
    for config in client.list_provisioned_concurrency_configs(FunctionName="f")["ProvisionedConcurrencyConfigs"]:
        qualifier = config["FunctionArn"].rsplit(":", 1)[1]
        client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier=qualifier)


def put(client, count, qualifier="1", name="f"):
    return client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )


def get(client, qualifier="1", name="f"):
    return client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)


def ready(client, count, **which):
    """The configuration once all its instances wait for a call."""

    def all_wait():
        config = get(client, **which)
        there = config["AvailableProvisionedConcurrentExecutions"]
        return config if config["Status"] == "READY" and there == count else None

    harness.wait_until(all_wait, 60 * harness.SLOW, f"{count} instances are ready")
    return get(client, **which)


def refused(code, call, *arguments, **named):
    with pytest.raises(ClientError) as error:
        call(*arguments, **named)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def counted(server, what):
    """A counter of the metrics' page."""
    text = urllib.request.urlopen(f"{server.endpoint}/-/metrics").read().decode()
    found = re.search(rf'^dayfly_provisioned_concurrency_{what}_total{{function="[^"]*:f"}} (\d+)$', text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_instances_wait_before_the_first_call_and_are_replaced_after_each(server, client):
    invocations = counted(server, "invocations")
    config = put(client, 3)
    assert config["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert config["RequestedProvisionedConcurrentExecutions"] == 3
    assert config["Status"] in ("IN_PROGRESS", "READY")
    config = ready(client, 3)
    assert (config["Status"], config["AllocatedProvisionedConcurrentExecutions"]) == ("READY", 3)
    assert config["LastModified"].endswith("+0000")
    # Init ran with nobody waiting for it, and its log is there.
    harness.wait_until(lambda: calls.log_of(server, "f").count("init provisioned-concurrency") == 1, what="init's log")
    for _ in range(4):
        answer, said = server.invoke("f", {}, Qualifier="1")
        # Each call still has an instance of its own.
        assert said == {"used": 1, "type": "provisioned-concurrency", "version": "1"}
    ready(client, 3)
    assert counted(server, "invocations") == invocations + 4
    assert server.invoke("f", {})[1]["type"] == "on-demand", "$LATEST has none"
    # More, then fewer.
    put(client, 5)
    ready(client, 5)
    put(client, 2)
    assert ready(client, 2)["RequestedProvisionedConcurrentExecutions"] == 2
    client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="1")
    refused("ProvisionedConcurrencyConfigNotFoundException", get, client)
    harness.wait_until(lambda: server.invoke("f", {}, Qualifier="1")[1]["type"] == "on-demand", what="it is on demand")


def test_calls_beyond_it_spill_over_and_are_counted(server, client):
    before = counted(server, "spillover_invocations"), counted(server, "invocations")
    put(client, 2, "live")
    ready(client, 2, qualifier="live")
    with concurrent.futures.ThreadPoolExecutor(5) as clients:
        sleep = {"sleep": 2 * harness.SLOW}
        said = list(clients.map(lambda _: server.invoke("f", sleep, Qualifier="live")[1], range(5)))
    assert [one["used"] for one in said] == [1] * 5
    spilled, got = counted(server, "spillover_invocations") - before[0], counted(server, "invocations") - before[1]
    assert spilled + got == 5 and spilled >= 1 and got >= 2, (spilled, got)


def test_what_cannot_be_is_refused_in_lambdas_words(server, client):
    invalid = "InvalidParameterValueException"
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    assert refused(invalid, put, client, 1, "$LATEST") == unpublished
    client.create_alias(FunctionName="f", Name="latest", FunctionVersion="$LATEST")
    assert refused(invalid, put, client, 1, "latest") == unpublished
    client.delete_alias(FunctionName="f", Name="latest")
    published = "The function resource provided must be an alias or a published version."
    assert refused(invalid, get, client, "$LATEST") == published
    assert "greater than or equal to 1" in refused("ValidationException", put, client, 0)
    refused("ResourceNotFoundException", put, client, 1, name="none")
    refused("ResourceNotFoundException", put, client, 1, "77")
    assert "Cannot find alias" in refused("ResourceNotFoundException", put, client, 1, "nobody")
    assert "below its minimum value of [100]" in refused(invalid, put, client, 11)
    client.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=4)
    assert "not be greater than the reservedConcurrentExecution" in refused(invalid, put, client, 5)
    put(client, 4)
    lower = refused(invalid, client.put_function_concurrency, FunctionName="f", ReservedConcurrentExecutions=3)
    assert "total provisioned concurrency [4]" in lower
    client.delete_function_concurrency(FunctionName="f")
    # It is kept from all others, too.
    limit = client.get_account_settings()["AccountLimit"]
    assert limit["UnreservedConcurrentExecutions"] == 106
    conflict = "ResourceConflictException"
    assert "already Provisioned version" in refused(conflict, put, client, 1, "live")
    client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="1")
    put(client, 1, "live")
    assert "Provisioned Concurrency alias" in refused(conflict, put, client, 1)
    found = client.list_provisioned_concurrency_configs(FunctionName="f")["ProvisionedConcurrencyConfigs"]
    assert [config["FunctionArn"].rsplit(":", 2)[1:] for config in found] == [["f", "live"]]
    alias = client.update_alias
    assert refused(invalid, alias, FunctionName="f", Name="live", FunctionVersion="$LATEST") == unpublished
    client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="live")
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 110


def test_it_follows_its_alias(server, client):
    put(client, 2, "live")
    ready(client, 2, qualifier="live")
    client.update_function_configuration(FunctionName="f", Description="second")
    client.get_waiter("function_updated_v2").wait(FunctionName="f", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})
    second = client.publish_version(FunctionName="f")["Version"]
    client.update_alias(FunctionName="f", Name="live", FunctionVersion=second)

    def follows():
        said = server.invoke("f", {}, Qualifier="live")[1]
        return (said["version"], said["type"]) == (second, "provisioned-concurrency")

    harness.wait_until(follows, 60, "the instances are of the new version")
    ready(client, 2, qualifier="live")
    assert server.invoke("f", {}, Qualifier="1")[1]["type"] == "on-demand"
    client.update_alias(FunctionName="f", Name="live", FunctionVersion="1")


def test_an_init_that_fails_is_told_and_not_tried_without_end(server):
    client = server.client()
    server.create("bad", FAILS, Publish=True)
    put(client, 2, name="bad")
    harness.wait_until(lambda: get(client, name="bad")["Status"] == "FAILED", 60 * harness.SLOW, "it is told")
    config = get(client, name="bad")
    assert config["StatusReason"] and config["AvailableProvisionedConcurrentExecutions"] == 0
    harness.wait_until(lambda: "tries to begin" in calls.log_of(server, "bad"), what="the log tells of a try")
    client.delete_function(FunctionName="bad")
    server.create("large", FUNCTION, MemorySize=10240, Publish=True)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    if memory_mb < 9 * 10240:
        put(client, 9, name="large")
        harness.wait_until(lambda: get(client, name="large")["Status"] == "FAILED", what="it is told")
        assert "memory" in get(client, name="large")["StatusReason"]
    client.delete_function(FunctionName="large")
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 110


def test_it_is_ready_again_after_a_restart(server, client):
    put(client, 2)
    ready(client, 2)
    server.stop()
    server.start()
    ready(server.client(), 2)
    server.kill()
    server.start()
    client = server.client()
    ready(client, 2)
    assert server.invoke("f", {}, Qualifier="1")[1]["type"] == "provisioned-concurrency"
    client.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="1")


def test_what_is_not_cloned_is_booted_ahead(server):
    client = server.client()
    shell = languages.zip_of(bootstrap=languages.SHELL)
    languages.create(server, "shell", "provided.al2023", shell, Publish=True, Tags={"dayfly:reuse": "2"})
    put(client, 2, name="shell")
    ready(client, 2, name="shell")
    calls = [call(server, "shell:1", number) for number in range(3)]
    assert [(one.payload["shell"], one.payload["left"]) for one in calls] == [(0, 0), (1, 1), (2, 0)]
    ready(client, 2, name="shell")
    client.delete_function(FunctionName="shell")
