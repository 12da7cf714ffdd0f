"""CloudWatch Logs, as far as functions' logs need it."""

import json
import time

import pytest
from conftest import refused


@pytest.fixture
def spoken(awslambda, logs, create):
    """The log group of a function that was called three times. A call is answered before its last lines are stored."""
    name = create("def handler(event, context):\n    print('word', event['n'])\n    return event['n']\n")["FunctionName"]
    for n in range(3):
        awslambda.invoke(FunctionName=name, Payload=json.dumps({"n": n}))
    group = f"/aws/lambda/{name}"
    deadline = time.monotonic() + 20
    while len(reports(logs, group)) < 3:
        assert time.monotonic() < deadline, "three calls, fewer REPORT lines"
        time.sleep(0.05)
    return group


def reports(logs, group):
    try:
        return logs.filter_log_events(logGroupName=group, filterPattern='"REPORT RequestId"')["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []


def test_groups_and_streams(logs, spoken):
    groups = logs.describe_log_groups(logGroupNamePrefix=spoken)["logGroups"]
    assert [group["logGroupName"] for group in groups] == [spoken]
    assert groups[0]["arn"].startswith("arn:aws:logs:") and groups[0]["creationTime"] <= time.time() * 1000 + 1000
    streams = logs.describe_log_streams(logGroupName=spoken, orderBy="LastEventTime", descending=True)["logStreams"]
    assert streams and all("[$LATEST]" in stream["logStreamName"] for stream in streams)
    assert all(stream["firstEventTimestamp"] <= stream["lastEventTimestamp"] for stream in streams)
    with refused("ResourceNotFoundException", 400):
        logs.describe_log_streams(logGroupName="/aws/lambda/none-such")


def test_events_come_in_order_and_pages_go_on(logs, spoken):
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=spoken, PaginationConfig={"PageSize": 2})
    events = [event for page in pages for event in page["events"]]
    words = [event["message"] for event in events if event["message"].startswith("word")]
    assert sorted(words) == ["word 0\n", "word 1\n", "word 2\n"]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    assert len({event["eventId"] for event in events}) == len(events)
    for kind in ("START RequestId", "END RequestId", "REPORT RequestId"):
        assert sum(event["message"].startswith(kind) for event in events) == 3


def test_filters(logs, spoken):
    def found(**arguments):
        return [event["message"] for event in logs.filter_log_events(logGroupName=spoken, **arguments)["events"]]

    assert found(filterPattern='"word 1"') == ["word 1\n"]
    assert len(found(filterPattern="REPORT")) == 3
    assert found(filterPattern="nothing-like-it") == []
    assert found(startTime=int(time.time() * 1000) + 60_000) == []


def test_one_stream_forwards_and_backwards(logs, spoken):
    stream = logs.describe_log_streams(logGroupName=spoken)["logStreams"][0]["logStreamName"]
    page = logs.get_log_events(logGroupName=spoken, logStreamName=stream, startFromHead=True, limit=2)
    assert len(page["events"]) == 2
    forward = page["nextForwardToken"]
    rest = logs.get_log_events(logGroupName=spoken, logStreamName=stream, startFromHead=True, nextToken=forward)
    assert rest["events"] and rest["events"][0] not in page["events"]
    end = logs.get_log_events(
        logGroupName=spoken, logStreamName=stream, startFromHead=True, nextToken=rest["nextForwardToken"]
    )
    assert end["events"] == [] and end["nextForwardToken"] == rest["nextForwardToken"]
