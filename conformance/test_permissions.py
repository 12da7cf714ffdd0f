"""The resource policy of a function."""

import json

from conftest import refused

SOURCE = "arn:aws:execute-api:us-east-1:000000000000:abc/*"


def statements(awslambda, name):
    return json.loads(awslambda.get_policy(FunctionName=name)["Policy"])["Statement"]


def test_permissions_are_added_shown_and_removed(awslambda, create):
    made = create(wait=False)
    name = made["FunctionName"]
    with refused("ResourceNotFoundException", 404):
        awslambda.get_policy(FunctionName=name)
    added = awslambda.add_permission(
        FunctionName=name, StatementId="api", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com",
        SourceArn=SOURCE, SourceAccount="000000000000",
    )  # fmt: skip
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    expected = {
        "Sid": "api",
        "Effect": "Allow",
        "Principal": {"Service": "apigateway.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": made["FunctionArn"],
        "Condition": {
            "ArnLike": {"AWS:SourceArn": SOURCE},
            "StringEquals": {"AWS:SourceAccount": "000000000000"},
        },
    }
    assert json.loads(added["Statement"]) == expected
    awslambda.add_permission(FunctionName=name, StatementId="other", Action="lambda:GetFunction", Principal="123456789012")
    assert [one["Sid"] for one in statements(awslambda, name)] == ["api", "other"]
    assert statements(awslambda, name)[0] == expected
    assert statements(awslambda, name)[1]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    with refused("ResourceConflictException", 409, "The statement id (api) provided already exists"):
        awslambda.add_permission(FunctionName=name, StatementId="api", Action="lambda:InvokeFunction", Principal="*")
    assert awslambda.remove_permission(FunctionName=name, StatementId="api")["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused("ResourceNotFoundException", 404, "Statement api is not found in resource policy."):
        awslambda.remove_permission(FunctionName=name, StatementId="api")
    awslambda.remove_permission(FunctionName=name, StatementId="other")
    with refused("ResourceNotFoundException", 404, "No policy is associated with the given resource."):
        awslambda.get_policy(FunctionName=name)


def test_a_revision_guards_a_change(awslambda, create):
    name = create(wait=False)["FunctionName"]
    permission = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    awslambda.add_permission(FunctionName=name, StatementId="one", **permission)
    revision = awslambda.get_policy(FunctionName=name)["RevisionId"]
    awslambda.add_permission(FunctionName=name, StatementId="two", RevisionId=revision, **permission)
    with refused("PreconditionFailedException", 412):
        awslambda.add_permission(FunctionName=name, StatementId="three", RevisionId=revision, **permission)
    with refused("PreconditionFailedException", 412):
        awslambda.remove_permission(FunctionName=name, StatementId="one", RevisionId=revision)


def test_a_policy_stays_with_updates_and_goes_with_its_function(awslambda, create):
    name = create()["FunctionName"]
    awslambda.add_permission(
        FunctionName=name, StatementId="one", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
    )
    awslambda.update_function_configuration(FunctionName=name, Timeout=9)
    assert len(statements(awslambda, name)) == 1
    awslambda.delete_function(FunctionName=name)
    create(FunctionName=name, wait=False)
    with refused("ResourceNotFoundException", 404, "No policy is associated"):
        awslambda.get_policy(FunctionName=name)


def test_bad_permissions_are_refused(awslambda, create):
    name = create(wait=False)["FunctionName"]
    good = {"StatementId": "one", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    for change in [{"StatementId": "a b"}, {"Action": "s3:GetObject"}, {"SourceArn": "bucket"}, {"SourceAccount": "12"}]:
        with refused("ValidationException", 400):
            awslambda.add_permission(FunctionName=name, **{**good, **change})
    with refused("InvalidParameterValueException", 400, "principal was invalid"):
        awslambda.add_permission(FunctionName=name, **{**good, "Principal": "somebody"})
    with refused("ResourceNotFoundException", 404):
        awslambda.add_permission(FunctionName="nobody-made-this", **good)
    with refused("PolicyLengthExceededException", 400, "20480"):
        for number in range(200):
            awslambda.add_permission(FunctionName=name, **{**good, "StatementId": f"{number:0100}"})
