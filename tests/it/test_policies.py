"""Policies hold: for each service a table of what a user with one policy may do and may not, with boto3; users, groups,
boundaries, resource policies and assumed roles; and a function, which may do what its role allows and no more."""

import contextlib
import json
import os
import subprocess
import sys
import uuid

import boto3
import harness
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
TRUSTS_LAMBDA = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "403"}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*", **more):
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def client(server, service, keys):
    """A boto3 client with these keys."""
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60 * harness.SLOW),
    )


@contextlib.contextmanager
def user(server, *statements, name=None):
    """`(name, keys)` of a user with these rights, for as long as the test needs it."""
    iam, name = server.client("iam"), name or f"u-{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=name)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    yield name, iam.create_access_key(UserName=name)["AccessKey"]


def outcome(operation, **arguments):
    """`None` when it was done, else the code of the error and the message."""
    try:
        operation(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return None


def check(server, service, statements, table):
    """Each row of `table`: operation, arguments, and whether it is allowed. What is allowed may fail for another reason."""
    with user(server, *statements) as (name, keys):
        asked = client(server, service, keys)
        for operation, arguments, allowed in table:
            found = outcome(getattr(asked, operation), **arguments)
            assert (found is None or found[0] not in DENIED) == allowed, (operation, arguments, found)
            if not allowed and found[0] != "403":
                assert f"User: arn:aws:iam::{ACCOUNT}:user/{name} is not authorized to perform: " in found[1], found


@pytest.fixture(scope="module")
def thing(server):
    """Something of each service, with the same name."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    server.create(name, "def handler(event, context): return event")
    server.client("s3").create_bucket(Bucket=name)
    server.client("s3").put_object(Bucket=name, Key="open/a", Body=b"a")
    server.client("s3").put_object(Bucket=name, Key="shut/b", Body=b"b")
    server.client("sqs").create_queue(QueueName=name)
    server.client("sns").create_topic(Name=name)
    server.client("dynamodb").create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
    )  # fmt: skip
    return name


def test_lambda(server, thing):
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{thing}"
    role = f"arn:aws:iam::{ACCOUNT}:role/nobody-made-it"
    code = {"ZipFile": harness.package("def handler(event, context): pass")}
    new = {"FunctionName": "new", "Runtime": harness.RUNTIME, "Handler": "app.handler", "Code": code, "Role": role}
    statements = [allow(["lambda:Invoke*", "lambda:Get*"], arn), deny("lambda:GetPolicy"), allow("lambda:ListFunctions")]
    check(server, "lambda", statements, [
        ("invoke", {"FunctionName": thing}, True),
        ("invoke", {"FunctionName": "other"}, False),
        ("invoke", {"FunctionName": thing, "Qualifier": "1"}, False),
        ("get_function", {"FunctionName": thing}, True),
        ("get_policy", {"FunctionName": thing}, False),
        ("list_functions", {}, True),
        ("list_layers", {}, False),
        ("get_account_settings", {}, False),
        ("update_function_configuration", {"FunctionName": thing, "Timeout": 5}, False),
        ("publish_version", {"FunctionName": thing}, False),
        ("list_tags", {"Resource": arn}, False),
        ("create_event_source_mapping", {"FunctionName": thing, "EventSourceArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{thing}"}, False),
        ("create_function", new, False),
        ("delete_function", {"FunctionName": thing}, False),
    ])  # fmt: skip
    with user(server, allow("lambda:*")) as (_, keys):
        code, message = outcome(client(server, "lambda", keys).create_function, **new)
        assert (code, "iam:PassRole" in message) == ("AccessDeniedException", True), message
    with user(server, allow(["lambda:*", "iam:PassRole"])) as (_, keys):
        code, message = outcome(client(server, "lambda", keys).create_function, **new)
        assert message == "The role defined for the function cannot be assumed by Lambda."


def test_s3(server, thing):
    bucket = f"arn:aws:s3:::{thing}"
    statements = [
        allow("s3:GetObject", f"{bucket}/open/*"),
        allow("s3:*", f"{bucket}/${{aws:username}}/*"),
        allow("s3:ListBucket", bucket, Condition={"StringLike": {"s3:prefix": ["open/*", ""]}}),
    ]
    check(server, "s3", statements, [
        ("get_object", {"Bucket": thing, "Key": "open/a"}, True),
        ("head_object", {"Bucket": thing, "Key": "open/a"}, True),
        ("get_object", {"Bucket": thing, "Key": "shut/b"}, False),
        ("head_object", {"Bucket": thing, "Key": "shut/b"}, False),
        ("put_object", {"Bucket": thing, "Key": "open/c", "Body": b""}, False),
        ("list_objects_v2", {"Bucket": thing, "Prefix": "open/x"}, True),
        ("list_objects_v2", {"Bucket": thing, "Prefix": "shut/"}, False),
        ("list_objects_v2", {"Bucket": thing}, True),
        ("list_buckets", {}, False),
        ("create_bucket", {"Bucket": "another-bucket"}, False),
        ("copy_object", {"Bucket": thing, "Key": "open/d", "CopySource": f"{thing}/open/a"}, False),
        ("create_multipart_upload", {"Bucket": thing, "Key": "open/e"}, False),
        ("put_bucket_policy", {"Bucket": thing, "Policy": "{}"}, False),
        ("delete_bucket", {"Bucket": thing}, False),
    ])  # fmt: skip
    with user(server, *statements, allow("s3:DeleteObject", f"{bucket}/gone/*")) as (name, keys):
        s3 = client(server, "s3", keys)
        s3.put_object(Bucket=thing, Key=f"{name}/mine", Body=b"m")
        assert s3.get_object(Bucket=thing, Key=f"{name}/mine")["Body"].read() == b"m"
        url = s3.generate_presigned_url("get_object", Params={"Bucket": thing, "Key": "shut/b"})
        found = s3.delete_objects(Bucket=thing, Delete={"Objects": [{"Key": "gone/x"}, {"Key": "shut/b"}]})
        assert [one["Key"] for one in found["Deleted"]] == ["gone/x"]
        assert [(one["Key"], one["Code"]) for one in found["Errors"]] == [("shut/b", "AccessDenied")]
        status = "import sys, urllib.request, urllib.error\ntry: urllib.request.urlopen(sys.argv[1])\nexcept urllib.error.HTTPError as e: print(e.code)"
        assert subprocess.check_output([sys.executable, "-c", status, url], text=True).strip() == "403"


def test_policies_of_buckets_count(server):
    name, root = f"b-{uuid.uuid4().hex[:12]}", server.client("s3")
    root.create_bucket(Bucket=name)
    root.put_object(Bucket=name, Key="a", Body=b"a")
    with user(server, allow("s3:*", Condition={"Bool": {"aws:SecureTransport": "false"}})) as (rich, rich_keys):
        with user(server) as (poor, poor_keys):
            rich_s3, poor_s3 = client(server, "s3", rich_keys), client(server, "s3", poor_keys)
            assert outcome(rich_s3.get_object, Bucket=name, Key="a") is None
            assert outcome(poor_s3.get_object, Bucket=name, Key="a")[0] == "AccessDenied"
            named = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{poor}"}}
            others = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{rich}"}}
            policy = document(allow("s3:GetObject", f"arn:aws:s3:::{name}/*", **named), deny("s3:*", f"arn:aws:s3:::{name}/*", **others))
            root.put_bucket_policy(Bucket=name, Policy=policy)
            assert outcome(poor_s3.get_object, Bucket=name, Key="a") is None
            assert outcome(poor_s3.put_object, Bucket=name, Key="a", Body=b"")[0] == "AccessDenied"
            code, message = outcome(rich_s3.get_object, Bucket=name, Key="a")
            assert message.endswith("with an explicit deny in a resource-based policy"), message
            assert outcome(root.get_object, Bucket=name, Key="a") is None


def test_sqs(server, thing):
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{thing}"
    url = f"{server.endpoint}/{ACCOUNT}/{thing}"
    check(server, "sqs", [allow(["sqs:SendMessage", "sqs:GetQueueUrl"], arn)], [
        ("get_queue_url", {"QueueName": thing}, True),
        ("send_message", {"QueueUrl": url, "MessageBody": "m"}, True),
        ("send_message_batch", {"QueueUrl": url, "Entries": [{"Id": "1", "MessageBody": "m"}]}, True),
        ("send_message", {"QueueUrl": url + "x", "MessageBody": "m"}, False),
        ("receive_message", {"QueueUrl": url}, False),
        ("get_queue_attributes", {"QueueUrl": url}, False),
        ("create_queue", {"QueueName": "another"}, False),
        ("purge_queue", {"QueueUrl": url}, False),
        ("list_queues", {}, False),
        ("delete_queue", {"QueueUrl": url}, False),
    ])  # fmt: skip
    with user(server) as (name, keys):
        asked = client(server, "sqs", keys)
        assert outcome(asked.receive_message, QueueUrl=url)[0] in DENIED
        policy = document(allow("sqs:ReceiveMessage", arn, Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/{name}"}))
        server.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        assert outcome(asked.receive_message, QueueUrl=url) is None
        assert outcome(asked.send_message, QueueUrl=url, MessageBody="m")[0] in DENIED


def test_sns(server, thing):
    arn = f"arn:aws:sns:us-east-1:{ACCOUNT}:{thing}"
    check(server, "sns", [allow("sns:Publish", arn)], [
        ("publish", {"TopicArn": arn, "Message": "m"}, True),
        ("publish_batch", {"TopicArn": arn, "PublishBatchRequestEntries": [{"Id": "1", "Message": "m"}]}, True),
        ("publish", {"TopicArn": arn + "x", "Message": "m"}, False),
        ("subscribe", {"TopicArn": arn, "Protocol": "sqs", "Endpoint": "arn:aws:sqs:us-east-1:1:q"}, False),
        ("list_topics", {}, False),
        ("create_topic", {"Name": "another"}, False),
        ("delete_topic", {"TopicArn": arn}, False),
    ])  # fmt: skip


def test_dynamodb(server, thing):
    arn = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{thing}"
    item = {"k": {"S": "a"}}
    put, gone = {"Put": {"TableName": thing, "Item": item}}, {"Delete": {"TableName": thing, "Key": item}}
    check(server, "dynamodb", [allow(["dynamodb:PutItem", "dynamodb:Query"], [arn, f"{arn}/index/*"])], [
        ("put_item", {"TableName": thing, "Item": item}, True),
        ("put_item", {"TableName": "other", "Item": item}, False),
        ("get_item", {"TableName": thing, "Key": item}, False),
        ("query", {"TableName": thing, "KeyConditionExpression": "k = :k", "ExpressionAttributeValues": {":k": {"S": "a"}}}, True),
        ("scan", {"TableName": thing}, False),
        ("transact_write_items", {"TransactItems": [put]}, True),
        ("transact_write_items", {"TransactItems": [gone]}, False),
        ("batch_write_item", {"RequestItems": {thing: [{"PutRequest": {"Item": item}}]}}, False),
        ("describe_table", {"TableName": thing}, False),
        ("list_tables", {}, False),
        ("delete_table", {"TableName": thing}, False),
    ])  # fmt: skip


def test_logs(server, thing):
    group = f"/aws/lambda/{thing}"
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}:*"
    check(server, "logs", [allow(["logs:FilterLogEvents", "logs:DescribeLogStreams"], arn)], [
        ("filter_log_events", {"logGroupName": group}, True),
        ("describe_log_streams", {"logGroupName": group}, True),
        ("filter_log_events", {"logGroupName": "/aws/lambda/other"}, False),
        ("get_log_events", {"logGroupName": group, "logStreamName": "s"}, False),
        ("describe_log_groups", {}, False),
        ("delete_log_group", {"logGroupName": group}, False),
    ])  # fmt: skip


def test_events_and_schedules(server):
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/mine-*"
    bus = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default"
    check(server, "events", [allow("events:*", rule), allow("events:PutEvents", bus)], [
        ("put_rule", {"Name": "mine-1", "ScheduleExpression": "rate(1 day)"}, True),
        ("describe_rule", {"Name": "mine-1"}, True),
        ("list_targets_by_rule", {"Rule": "mine-1"}, True),
        ("delete_rule", {"Name": "mine-1"}, True),
        ("put_rule", {"Name": "other", "ScheduleExpression": "rate(1 day)"}, False),
        ("put_events", {"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{}"}]}, True),
        ("list_rules", {}, False),
    ])  # fmt: skip
    mine = f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/mine"
    check(server, "scheduler", [allow("scheduler:*Schedule", mine)], [
        ("get_schedule", {"Name": "mine"}, True),
        ("delete_schedule", {"Name": "mine"}, True),
        ("get_schedule", {"Name": "other"}, False),
        ("get_schedule", {"Name": "mine", "GroupName": "g"}, False),
        ("list_schedules", {}, False),
        ("create_schedule_group", {"Name": "g"}, False),
    ])  # fmt: skip


def test_apis(server):
    check(server, "apigateway", [allow("apigateway:GET", "arn:aws:apigateway:us-east-1::/restapis*")], [
        ("get_rest_apis", {}, True),
        ("get_rest_api", {"restApiId": "none"}, True),
        ("create_rest_api", {"name": "a"}, False),
        ("delete_rest_api", {"restApiId": "none"}, False),
    ])  # fmt: skip
    check(server, "apigatewayv2", [allow("apigateway:GET", "arn:aws:apigateway:us-east-1::/v2/apis*")], [
        ("get_apis", {}, True),
        ("create_api", {"Name": "a", "ProtocolType": "HTTP"}, False),
        ("delete_api", {"ApiId": "none"}, False),
    ])  # fmt: skip


def test_iam_and_sts(server):
    own = f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"
    check(server, "iam", [allow(["iam:GetUser", "iam:*AccessKey*"], own), allow("iam:ListUsers")], [
        ("get_user", {}, True),
        ("list_access_keys", {}, True),
        ("list_users", {}, True),
        ("list_roles", {}, False),
        ("create_user", {"UserName": "x"}, False),
        ("create_role", {"RoleName": "x", "AssumeRolePolicyDocument": document(TRUSTS_LAMBDA)}, False),
        ("create_policy", {"PolicyName": "x", "PolicyDocument": document(allow("*"))}, False),
        ("create_group", {"GroupName": "x"}, False),
        ("get_policy", {"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}, False),
    ])  # fmt: skip
    with user(server) as (name, keys):
        found = client(server, "sts", keys).get_caller_identity()
        assert (found["Arn"], found["Account"]) == (f"arn:aws:iam::{ACCOUNT}:user/{name}", ACCOUNT)
        assert found["UserId"].startswith("AIDA")
        code, message = outcome(client(server, "iam", keys).attach_user_policy, UserName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        assert code == "AccessDenied", message
        assert message.endswith("because no identity-based policy allows the iam:AttachUserPolicy action")


def test_users_groups_and_managed_policies(server):
    iam = server.client("iam")
    with user(server) as (name, keys):
        sqs = client(server, "sqs", keys)

        def may():
            return outcome(sqs.list_queues) is None

        assert not may()
        iam.attach_user_policy(UserName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
        assert may(), "a change counts at once"
        iam.detach_user_policy(UserName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
        assert not may()

        policy = iam.create_policy(PolicyName=f"p-{name}", PolicyDocument=document(allow("sqs:Get*")))["Policy"]["Arn"]
        group = iam.create_group(GroupName=f"g-{name}")["Group"]["GroupName"]
        iam.attach_group_policy(GroupName=group, PolicyArn=policy)
        iam.add_user_to_group(GroupName=group, UserName=name)
        assert [one["UserName"] for one in iam.get_group(GroupName=group)["Users"]] == [name]
        assert [one["GroupName"] for one in iam.list_groups_for_user(UserName=name)["Groups"]] == [group]
        assert not may()
        made = iam.create_policy_version(PolicyArn=policy, PolicyDocument=document(allow("sqs:List*")))["PolicyVersion"]
        assert (made["VersionId"], made["IsDefaultVersion"], may()) == ("v2", False, False)
        iam.set_default_policy_version(PolicyArn=policy, VersionId="v2")
        assert may()
        shown = iam.get_policy_version(PolicyArn=policy, VersionId="v2")["PolicyVersion"]
        assert shown["Document"]["Statement"][0]["Action"] == "sqs:List*"
        assert iam.list_entities_for_policy(PolicyArn=policy)["PolicyGroups"][0]["GroupName"] == group
        assert policy in [one["Arn"] for one in iam.list_policies(Scope="Local")["Policies"]]

        iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary="arn:aws:iam::aws:policy/AmazonS3FullAccess")
        assert outcome(sqs.list_queues)[1].endswith("because no permissions boundary policy allows the sqs:ListQueues action")
        iam.delete_user_permissions_boundary(UserName=name)

        iam.update_access_key(UserName=name, AccessKeyId=keys["AccessKeyId"], Status="Inactive")
        assert outcome(sqs.list_queues)[0] in ("InvalidClientTokenId", "UnrecognizedClientException")
        iam.update_access_key(UserName=name, AccessKeyId=keys["AccessKeyId"], Status="Active")
        assert may()

        for code, operation, arguments in [
            ("EntityAlreadyExists", iam.create_user, {"UserName": name.upper()}),
            ("DeleteConflict", iam.delete_user, {"UserName": name}),
            ("DeleteConflict", iam.delete_policy, {"PolicyArn": policy}),
            ("DeleteConflict", iam.delete_policy_version, {"PolicyArn": policy, "VersionId": "v2"}),
            ("DeleteConflict", iam.delete_group, {"GroupName": group}),
            ("NoSuchEntity", iam.get_user, {"UserName": "nobody"}),
            ("NoSuchEntity", iam.attach_user_policy, {"UserName": name, "PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/none"}),
            ("MalformedPolicyDocument", iam.create_policy, {"PolicyName": "bad", "PolicyDocument": "{}"}),
        ]:
            assert outcome(operation, **arguments)[0] == code, operation
        iam.remove_user_from_group(GroupName=group, UserName=name)
        iam.detach_group_policy(GroupName=group, PolicyArn=policy)
        iam.delete_group(GroupName=group)
        iam.delete_policy_version(PolicyArn=policy, VersionId="v1")
        iam.delete_policy(PolicyArn=policy)
        iam.delete_access_key(UserName=name, AccessKeyId=keys["AccessKeyId"])
        assert outcome(sqs.list_queues)[0] in ("InvalidClientTokenId", "UnrecognizedClientException")
        iam.delete_user(UserName=name)


CALLS_S3 = """
import boto3, os
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        boto3.client("s3").put_object(Bucket=event["bucket"], Key=event["key"], Body=b"x")
    except ClientError as error:
        return error.response["Error"]
"""


def test_a_function_may_do_what_its_role_allows_and_no_more(server, thing):
    iam, name = server.client("iam"), f"r-{uuid.uuid4().hex[:12]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(TRUSTS_LAMBDA))["Role"]["Arn"]
    server.create(name, CALLS_S3, Role=role)

    def put(key):
        return server.invoke(name, {"bucket": thing, "key": key})[1]

    refused = put("fn/a")
    assert refused["Code"] == "AccessDenied"
    assert f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{name} is not authorized to perform: s3:PutObject" in refused["Message"]
    iam.put_role_policy(RoleName=name, PolicyName="s3", PolicyDocument=document(allow("s3:PutObject", f"arn:aws:s3:::{thing}/fn/*")))
    assert put("fn/a") is None
    assert put("a")["Code"] == "AccessDenied"
    iam.delete_role_policy(RoleName=name, PolicyName="s3")
    iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    assert put("a") is None
    # A role that was deleted leaves no rights; one that never was, all.
    iam.detach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    iam.delete_role(RoleName=name)
    assert put("a")["Code"] == "AccessDenied"
    server.create(f"{name}-free", CALLS_S3)
    assert server.invoke(f"{name}-free", {"bucket": thing, "key": "free"})[1] is None


def test_policies_of_functions_count(server, thing):
    with user(server) as (name, keys):
        asked = client(server, "lambda", keys)
        assert outcome(asked.invoke, FunctionName=thing)[0] == "AccessDeniedException"
        server.client().add_permission(
            FunctionName=thing, StatementId=name, Action="lambda:InvokeFunction", Principal=f"arn:aws:iam::{ACCOUNT}:user/{name}"
        )
        assert outcome(asked.invoke, FunctionName=thing) is None
        assert outcome(asked.get_function, FunctionName=thing)[0] == "AccessDeniedException"


def test_roles_are_taken_on_by_those_they_trust(server, thing):
    iam, tag = server.client("iam"), uuid.uuid4().hex[:12]
    with user(server, allow("sts:AssumeRole"), name=f"may-{tag}") as (_, may_keys), user(server, name=f"plain-{tag}") as (plain, plain_keys):
        def role(name, principal, *statements, **condition):
            trust = document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **condition})
            arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))
            return arn

        reader = allow(["s3:GetObject", "s3:ListBucket"])
        by_account = role(f"account-{tag}", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, reader)
        by_name = role(f"name-{tag}", {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{plain}"}, reader)
        by_service = role(f"service-{tag}", {"Service": "lambda.amazonaws.com"}, reader)
        outside = {"Condition": {"StringEquals": {"sts:ExternalId": "secret"}}}
        with_id = role(f"id-{tag}", {"AWS": ACCOUNT}, reader, **outside)
        may, cannot = client(server, "sts", may_keys), client(server, "sts", plain_keys)
        for sts, arn, more, taken in [
            (may, by_account, {}, True),
            (cannot, by_account, {}, False),
            (cannot, by_name, {}, True),
            (may, by_name, {}, False),
            (may, by_service, {}, False),
            (may, f"arn:aws:iam::{ACCOUNT}:role/nobody-made-it", {}, False),
            (may, with_id, {}, False),
            (may, with_id, {"ExternalId": "secret"}, True),
            (server.client("sts"), by_account, {}, True),
        ]:
            found = outcome(sts.assume_role, RoleArn=arn, RoleSessionName="s1", **more)
            assert (found is None) == taken and (taken or found[0] == "AccessDenied"), (arn, found)

        made = may.assume_role(RoleArn=by_account, RoleSessionName="tour", DurationSeconds=900)
        assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/account-{tag}/tour"
        s3 = client(server, "s3", made["Credentials"])
        assert client(server, "sts", made["Credentials"]).get_caller_identity()["Arn"] == made["AssumedRoleUser"]["Arn"]
        assert outcome(s3.get_object, Bucket=thing, Key="open/a") is None
        assert outcome(s3.put_object, Bucket=thing, Key="open/a", Body=b"")[0] == "AccessDenied"
        less = may.assume_role(RoleArn=by_account, RoleSessionName="less", Policy=document(allow("s3:ListBucket")))
        message = outcome(client(server, "s3", less["Credentials"]).get_object, Bucket=thing, Key="open/a")[1]
        assert message.endswith("because no session policy allows the s3:GetObject action")
        own = client(server, "sts", may_keys).get_session_token()["Credentials"]
        assert outcome(client(server, "sts", own).assume_role, RoleArn=by_account, RoleSessionName="s2") is None
        iam.delete_role_policy(RoleName=f"account-{tag}", PolicyName="p")
        assert outcome(s3.get_object, Bucket=thing, Key="open/a")[0] == "AccessDenied", "a session loses what its role loses"


def test_people_make_users_keys_and_policies(server, thing, tmp_path):
    name = f"cli-{uuid.uuid4().hex[:8]}"
    server.cli("user", "add", name, "--allow", "lambda:InvokeFunction", "--on", "arn:aws:lambda:*:*:function:t-*")
    lines = server.cli("key", "add", name).stdout
    keys = dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines.splitlines())
    as_user = {"env": {**os.environ, **keys}, "capture_output": True, "text": True, "timeout": 60 * harness.SLOW}
    binary = [harness.BINARY]
    assert subprocess.run([*binary, "invoke", thing], **as_user).returncode == 0
    refused = subprocess.run([*binary, "user", "ls"], **as_user)
    assert refused.returncode == 1 and f"User: arn:aws:iam::{ACCOUNT}:user/{name} is not authorized" in refused.stderr, refused.stderr

    # The AWS CLI as it is.
    aws = [sys.executable, "-m", "awscli"]
    found = subprocess.run([*aws, "sts", "get-caller-identity", "--query", "Arn", "--output", "text"], **as_user)
    assert found.stdout.strip() == f"arn:aws:iam::{ACCOUNT}:user/{name}", found.stderr
    found = subprocess.run([*aws, "lambda", "invoke", "--function-name", thing, str(tmp_path / "out")], **as_user)
    assert found.returncode == 0, found.stderr
    found = subprocess.run([*aws, "lambda", "list-functions"], **as_user)
    assert "(AccessDeniedException) when calling the ListFunctions operation" in found.stderr, found.stderr

    policy = f"p-{name}"
    arn = server.cli("policy", "add", policy, "--allow", "iam:ListUsers").stdout.strip()
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/{policy}"
    (tmp_path / "policy.json").write_text(document(allow("iam:List*")))
    server.cli("policy", "attach", policy, "--user", name)
    assert subprocess.run([*binary, "user", "ls"], **as_user).returncode == 1
    server.cli("policy", "add", policy, "--file", str(tmp_path / "policy.json"))
    listed = subprocess.run([*binary, "user", "ls"], **as_user)
    assert listed.returncode == 0 and policy in listed.stdout, listed.stderr
    assert json.loads(server.cli("policy", "show", policy).stdout)["Statement"][0]["Action"] == "iam:List*"
    assert [line.split()[:3] for line in server.cli("policy", "ls").stdout.splitlines() if line.startswith(policy)] == [[policy, "own", "v2"]]
    assert "AmazonS3ReadOnlyAccess" in server.cli("policy", "ls").stdout
    assert keys["AWS_ACCESS_KEY_ID"] in server.cli("key", "ls").stdout
    server.cli("key", "rm", keys["AWS_ACCESS_KEY_ID"])
    assert "security token included in the request is invalid" in subprocess.run([*binary, "user", "ls"], **as_user).stderr
    server.cli("policy", "detach", policy, "--user", name)
    server.cli("policy", "rm", policy)
    server.cli("user", "rm", name)
    assert name not in server.cli("user", "ls").stdout
    assert server.cli("user", "rm", name, check=False).returncode == 1
