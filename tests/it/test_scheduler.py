"""EventBridge Scheduler with boto3: schedules and groups; one-time schedules that fire, once, also after the server was down."""

import datetime
import json
import time
import uuid

import harness
import pytest
from botocore.exceptions import ClientError
from test_events import ECHO, received
from test_s3_notifications import queue
from test_s3_notifications import received as messages

ROLE = "arn:aws:iam::000000000000:role/caller"
OFF = {"Mode": "OFF"}


def soon(seconds):
    """`at(…)` so many seconds from now."""
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).strftime("at(%Y-%m-%dT%H:%M:%S)")


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value


def test_schedules_are_made_read_changed_and_deleted(server):
    scheduler = server.client("scheduler")
    target = {"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "RoleArn": ROLE, "Input": "{}"}
    good = {"ScheduleExpression": "cron(0 9 ? * MON-FRI *)", "FlexibleTimeWindow": OFF, "Target": target}
    group = scheduler.create_schedule_group(Name="team")["ScheduleGroupArn"]
    assert group == f"arn:aws:scheduler:us-east-1:{server.keys['account']}:schedule-group/team"
    refused("ConflictException", scheduler.create_schedule_group, Name="team")
    assert [one["Name"] for one in scheduler.list_schedule_groups()["ScheduleGroups"]] == ["default", "team"]
    assert scheduler.get_schedule_group(Name="team")["State"] == "ACTIVE"
    arn = scheduler.create_schedule(
        Name="morning", GroupName="team", ScheduleExpressionTimezone="Europe/Berlin", Description="hello", **good
    )["ScheduleArn"]
    assert arn.endswith(":schedule/team/morning")
    found = scheduler.get_schedule(Name="morning", GroupName="team")
    assert (found["State"], found["ScheduleExpressionTimezone"], found["Description"]) == ("ENABLED", "Europe/Berlin", "hello")
    assert (found["Target"]["Arn"], found["Target"]["Input"], found["FlexibleTimeWindow"]) == (target["Arn"], "{}", OFF)
    refused("ConflictException", scheduler.create_schedule, Name="morning", GroupName="team", **good)
    wide = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    scheduler.update_schedule(Name="morning", GroupName="team", **{**good, "FlexibleTimeWindow": wide, "State": "DISABLED"})
    found = scheduler.get_schedule(Name="morning", GroupName="team")
    assert (found["State"], found["FlexibleTimeWindow"], "Description" in found) == ("DISABLED", wide, False)
    assert [one["Name"] for one in scheduler.list_schedules(GroupName="team", State="DISABLED")["Schedules"]] == ["morning"]
    assert scheduler.list_schedules(GroupName="default")["Schedules"] == []
    refused("ResourceNotFoundException", scheduler.get_schedule, Name="morning")
    refused("ResourceNotFoundException", scheduler.create_schedule, Name="x", GroupName="nobody", **good)
    refused("ResourceNotFoundException", scheduler.update_schedule, Name="x", **good)
    for bad in [
        {"ScheduleExpression": "cron(0 0 31 2 ? *)"},
        {"ScheduleExpression": "at(tomorrow)"},
        {"ScheduleExpressionTimezone": "Mars/Olympus"},
        {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
        {"Target": {**target, "Arn": "arn:aws:s3:::bucket"}},
        {"Target": {**target, "RoleArn": "caller"}},
        {"Target": {**target, "RetryPolicy": {"MaximumRetryAttempts": 186}}},
        {"StartDate": 2_000_000_000, "EndDate": 1_999_999_999},
    ]:
        refused("ValidationException", scheduler.create_schedule, Name="bad", **{**good, **bad})
    refused("ValidationException", scheduler.delete_schedule_group, Name="default")
    scheduler.delete_schedule_group(Name="team")
    refused("ResourceNotFoundException", scheduler.get_schedule, Name="morning", GroupName="team")
    refused("ResourceNotFoundException", scheduler.delete_schedule, Name="morning", GroupName="team")


def test_one_time_schedules_fire_once_also_after_the_server_was_down(folder):
    with harness.Server(folder) as server:
        scheduler, (url, queue_arn) = server.client("scheduler"), queue(server)
        name = f"f-{uuid.uuid4().hex}"
        function = server.create(name, ECHO)["FunctionArn"]
        target = {"Arn": function, "RoleArn": ROLE, "Input": json.dumps({"of": "<aws.scheduler.schedule-arn>"})}
        arn = scheduler.create_schedule(
            Name="once", ScheduleExpression=soon(3), FlexibleTimeWindow=OFF, Target=target, ActionAfterCompletion="DELETE"
        )["ScheduleArn"]
        harness.wait_until(lambda: received(server, name), seconds=60, what="the call")
        assert received(server, name) == [{"of": arn}]
        refused("ResourceNotFoundException", scheduler.get_schedule, Name="once")

        due = soon(4)
        target = {"Arn": queue_arn, "RoleArn": ROLE}
        scheduler.create_schedule(Name="missed", ScheduleExpression=due, FlexibleTimeWindow=OFF, Target=target)
        server.kill()
        while soon(0) <= due:
            time.sleep(0.2)
        server.start()
        url = server.client("sqs").get_queue_url(QueueName=url.rsplit("/")[-1])["QueueUrl"]
        (event,) = messages(server, url, 1)
        assert (event["source"], event["detail-type"], f"at({event['time'][:-1]})") == ("aws.scheduler", "Scheduled Event", due)
        assert server.client("scheduler").get_schedule(Name="missed")["State"] == "ENABLED"
        assert server.stop() == 0
        server.start()
        assert "Messages" not in server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=1)
        assert server.stop() == 0
