"""EventBridge with boto3: rules, targets, events and schedules that call functions and fill queues."""

import json
import uuid

import harness
import pytest
from botocore.exceptions import ClientError

ECHO = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""


def received(server, name):
    """The events that the function got."""
    lines = server.messages(name)
    return [json.loads(line.removeprefix("EVENT ")) for line in lines if line.startswith("EVENT ")]


def function(server, permit=True):
    """`(name, ARN)` of a new function that EventBridge may call."""
    name = f"f-{uuid.uuid4().hex}"
    arn = server.create(name, ECHO)["FunctionArn"]
    if permit:
        server.client().add_permission(
            FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
        )
    return name, arn


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value


def test_rules_are_made_read_changed_and_deleted(server):
    events = server.client("events")
    arn = events.put_rule(Name="crud", ScheduleExpression="cron(0 12 ? * MON-FRI *)", Description="noon")["RuleArn"]
    assert arn == f"arn:aws:events:us-east-1:{server.keys['account']}:rule/crud"
    found = events.describe_rule(Name="crud")
    assert (found["State"], found["ScheduleExpression"], found["Description"]) == (
        "ENABLED", "cron(0 12 ? * MON-FRI *)", "noon"
    )  # fmt: skip
    events.disable_rule(Name="crud")
    assert events.describe_rule(Name="crud")["State"] == "DISABLED"
    events.enable_rule(Name="crud")
    events.put_rule(Name="crud2", EventPattern='{"source": ["x"]}')
    assert [rule["Name"] for rule in events.list_rules(NamePrefix="crud")["Rules"]] == ["crud", "crud2"]
    first = events.list_rules(NamePrefix="crud", Limit=1)
    second = events.list_rules(NamePrefix="crud", Limit=1, NextToken=first["NextToken"])
    assert ([rule["Name"] for rule in second["Rules"]], "NextToken" in second) == (["crud2"], False)
    target = "arn:aws:lambda:us-east-1:000000000000:function:f"
    assert events.put_targets(Rule="crud", Targets=[{"Id": "1", "Arn": target, "Input": "{}"}])["FailedEntryCount"] == 0
    assert events.list_targets_by_rule(Rule="crud")["Targets"] == [{"Id": "1", "Arn": target, "Input": "{}"}]
    assert events.list_rule_names_by_target(TargetArn=target)["RuleNames"] == ["crud"]
    refused("ValidationException", events.delete_rule, Name="crud")
    assert events.remove_targets(Rule="crud", Ids=["1", "2"])["FailedEntryCount"] == 1
    events.delete_rule(Name="crud")
    refused("ResourceNotFoundException", events.describe_rule, Name="crud")
    events.tag_resource(ResourceARN=arn + "2", Tags=[{"Key": "k", "Value": "v"}])
    assert events.list_tags_for_resource(ResourceARN=arn + "2")["Tags"] == [{"Key": "k", "Value": "v"}]


def test_what_eventbridge_would_not_take_is_refused(server):
    events = server.client("events")
    for arguments, code in [
        ({}, "ValidationException"),
        ({"ScheduleExpression": "cron(0 0 31 2 ? *)"}, "ValidationException"),
        ({"ScheduleExpression": "rate(1 minutes)"}, "ValidationException"),
        ({"EventPattern": '{"source": "x"}'}, "InvalidEventPatternException"),
        ({"EventPattern": "{}", "Name": "a b"}, "ValidationException"),
        ({"EventPattern": '{"source": ["x"]}', "EventBusName": "other"}, "ResourceNotFoundException"),
    ]:
        refused(code, events.put_rule, **{"Name": "bad", **arguments})
    events.put_rule(Name="bad", EventPattern='{"source": ["x"]}')
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    for target in [
        {"Arn": "arn:aws:s3:::bucket"},
        {"Input": "no json"},
        {"Input": "{}", "InputPath": "$"},
        {"InputPath": "detail"},
        {"EcsParameters": {"TaskDefinitionArn": "x"}},
        {"SqsParameters": {"MessageGroupId": "g"}},
    ]:
        refused("ValidationException", events.put_targets, Rule="bad", Targets=[{"Id": "1", "Arn": arn, **target}])
    refused("ValidationException", events.put_events, Entries=[])
    answer = events.put_events(
        Entries=[
            {"Source": "x", "DetailType": "t", "Detail": "{}"},
            {"Source": "x", "DetailType": "t", "Detail": "[]"},
            {"Source": "aws.x", "DetailType": "t", "Detail": "{}"},
            {"DetailType": "t", "Detail": "{}"},
        ]
    )
    assert answer["FailedEntryCount"] == 3
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [
        None, "MalformedDetail", "NotAuthorizedForSourceException", "InvalidArgument"
    ]  # fmt: skip
    pattern = json.dumps({"detail": {"n": [{"numeric": [">", 1]}]}})
    assert events.test_event_pattern(EventPattern=pattern, Event='{"detail": {"n": 2}}')["Result"] is True


def test_events_reach_functions_and_queues_in_the_shape_asked_for(server):
    events, sqs = server.client("events"), server.client("sqs")
    name, arn = function(server)
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": [{"prefix": "shop."}], "detail": {"price": [{"numeric": [">=", 10]}]}}
    events.put_rule(Name="orders", EventPattern=json.dumps(pattern))
    transformer = {"InputPathsMap": {"what": "$.detail.what"}, "InputTemplate": '{"bought": <what>, "by": "rule <aws.events.rule-name>"}'}
    events.put_targets(
        Rule="orders", Targets=[{"Id": "f", "Arn": arn}, {"Id": "q", "Arn": queue, "InputTransformer": transformer}]
    )
    sent = events.put_events(
        Entries=[
            {"Source": "shop.web", "DetailType": "order", "Detail": json.dumps({"what": what, "price": price}), "Resources": ["r"]}
            for what, price in [("hat", 20), ("pin", 1)]
        ]
    )
    (got,) = harness.wait_until(lambda: received(server, name), what="the call")
    assert got["id"] == sent["Entries"][0]["EventId"]
    assert (got["source"], got["detail-type"], got["resources"]) == ("shop.web", "order", ["r"])
    assert got["detail"] == {"what": "hat", "price": 20} and got["account"] == server.keys["account"]
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)["Messages"]
    assert json.loads(message["Body"]) == {"bought": "hat", "by": "rule orders"}


def test_a_schedule_fires_and_calls_only_what_permits_it(folder):
    server = harness.Server(folder).start()
    name, arn = function(server)
    other, forbidden = function(server, permit=False)
    events = server.client("events")
    events.put_rule(Name="every", ScheduleExpression="cron(* * * * ? *)")
    events.put_targets(Rule="every", Targets=[{"Id": "1", "Arn": arn}, {"Id": "2", "Arn": forbidden}])
    # A minute at most: the only wait of this file for the clock.
    (got,) = harness.wait_until(lambda: received(server, name), 90, "the schedule")[:1]
    assert (got["source"], got["detail-type"], got["detail"]) == ("aws.events", "Scheduled Event", {})
    assert got["resources"][0].endswith(":rule/every")
    assert received(server, other) == []
    assert server.stop() == 0
    assert server.leftovers() == {}
