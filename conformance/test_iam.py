"""Roles and their policies."""

import json
import re
import uuid

import pytest
from conftest import make_client, refused

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
MAY_LOG = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["logs:*"], "Resource": "arn:aws:logs:*:*:*"}]}
MANAGED = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@pytest.fixture(scope="module")
def iam():
    return make_client("iam")


@pytest.fixture
def role(iam):
    """A role of its own, removed with all that is attached to it."""
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    yield made
    try:
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        pass


def test_a_role_is_kept_and_returned(iam, role):
    name = role["RoleName"]
    assert re.fullmatch(rf"arn:aws:iam::\d{{12}}:role/{name}", role["Arn"])
    assert re.fullmatch(r"AROA[A-Z0-9]{17}", role["RoleId"])
    assert role["Path"] == "/" and role["MaxSessionDuration"] == 3600
    assert role["AssumeRolePolicyDocument"] == TRUST
    shown = iam.get_role(RoleName=name)["Role"]
    assert shown == role
    assert iam.get_role(RoleName=name.upper())["Role"]["RoleId"] == role["RoleId"], "names differ without regard to case"
    with refused("EntityAlreadyExists", 409, f"Role with name {name} already exists."):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    pages = iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1})
    assert name in [one["RoleName"] for page in pages for one in page["Roles"]]


def test_a_role_has_a_path_a_description_and_tags(iam):
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    tags = [{"Key": "team", "Value": "web & <more>"}, {"Key": "empty", "Value": ""}]
    made = iam.create_role(
        RoleName=name, Path="/apps/web/", Description="a <role>", MaxSessionDuration=7200, Tags=tags,
        AssumeRolePolicyDocument=json.dumps(TRUST),
    )["Role"]  # fmt: skip
    try:
        assert made["Arn"].endswith(f":role/apps/web/{name}")
        assert (made["Description"], made["MaxSessionDuration"]) == ("a <role>", 7200)
        iam.tag_role(RoleName=name, Tags=[{"Key": "team", "Value": "data"}])
        iam.untag_role(RoleName=name, TagKeys=["empty"])
        assert iam.list_role_tags(RoleName=name)["Tags"] == [{"Key": "team", "Value": "data"}]
        iam.update_role(RoleName=name, Description="another")
        assert iam.get_role(RoleName=name)["Role"]["Description"] == "another"
        found = iam.list_roles(PathPrefix="/apps/")["Roles"]
        assert name in [role["RoleName"] for role in found]
        assert name not in [role["RoleName"] for role in iam.list_roles(PathPrefix="/other/")["Roles"]]
    finally:
        iam.delete_role(RoleName=name)


def test_trust_can_be_changed(iam, role):
    other = json.loads(json.dumps(TRUST).replace("lambda", "events"))
    iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=json.dumps(other))
    assert iam.get_role(RoleName=role["RoleName"])["Role"]["AssumeRolePolicyDocument"] == other


def test_inline_policies(iam, role):
    name = role["RoleName"]
    iam.put_role_policy(RoleName=name, PolicyName="may-log", PolicyDocument=json.dumps(MAY_LOG))
    iam.put_role_policy(RoleName=name, PolicyName="another", PolicyDocument=json.dumps(MAY_LOG))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["another", "may-log"]
    page = iam.list_role_policies(RoleName=name, MaxItems=1)
    assert (page["PolicyNames"], page["IsTruncated"]) == (["another"], True)
    assert iam.list_role_policies(RoleName=name, Marker=page["Marker"])["PolicyNames"] == ["may-log"]
    shown = iam.get_role_policy(RoleName=name, PolicyName="may-log")
    assert (shown["RoleName"], shown["PolicyName"], shown["PolicyDocument"]) == (name, "may-log", MAY_LOG)
    with refused("DeleteConflict", 409, "must delete policies first"):
        iam.delete_role(RoleName=name)
    for policy in ["may-log", "another"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    with refused("NoSuchEntity", 404, "The role policy with name may-log cannot be found."):
        iam.get_role_policy(RoleName=name, PolicyName="may-log")
    with refused("NoSuchEntity", 404):
        iam.delete_role_policy(RoleName=name, PolicyName="may-log")


def test_managed_policies_are_attached(iam, role):
    name = role["RoleName"]
    iam.attach_role_policy(RoleName=name, PolicyArn=MANAGED)
    iam.attach_role_policy(RoleName=name, PolicyArn=MANAGED)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert attached == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": MANAGED}]
    with refused("DeleteConflict", 409, "must detach all policies first"):
        iam.delete_role(RoleName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=MANAGED)
    with refused("NoSuchEntity", 404, f"Policy {MANAGED} was not found."):
        iam.detach_role_policy(RoleName=name, PolicyArn=MANAGED)
    with refused("NoSuchEntity", 404):
        iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::000000000000:policy/nobodys")


def test_what_is_not_there(iam, role):
    iam.delete_role(RoleName=role["RoleName"])
    for call in [iam.get_role, iam.delete_role, iam.list_role_policies, iam.list_attached_role_policies]:
        with refused("NoSuchEntity", 404, f"The role with name {role['RoleName']} cannot be found."):
            call(RoleName=role["RoleName"])


def test_bad_documents_are_refused(iam, role):
    name = role["RoleName"]
    for text in ["{", "[]", json.dumps({"Statement": []}), json.dumps(TRUST)]:
        with refused("MalformedPolicyDocument", 400):
            iam.put_role_policy(RoleName=name, PolicyName="bad", PolicyDocument=text)
    with refused("MalformedPolicyDocument", 400):
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(MAY_LOG))
    with refused("LimitExceeded", 409, f"Maximum policy size of 10240 bytes exceeded for role {name}"):
        large = {"Statement": [{"Effect": "Allow", "Action": ["s3:" + "x" * 11_000], "Resource": "*"}]}
        iam.put_role_policy(RoleName=name, PolicyName="large", PolicyDocument=json.dumps(large))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == []
    with refused("ValidationError", 400):
        iam.create_role(RoleName="no/slash", AssumeRolePolicyDocument=json.dumps(TRUST))


def test_other_operations_are_refused_by_name(iam):
    with refused("NotImplementedException", 501, "Dayfly does not support CreateLoginProfile yet"):
        iam.create_login_profile(UserName="someone", Password="secret")
