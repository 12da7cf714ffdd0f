"""Fixtures of the conformance suite: boto3 clients of whatever endpoint the AWS_* variables name.

Run it against Dayfly with `eval "$(dayfly env)"`, or against another implementation of Lambda. The role and runtime are
DAYFLY_TEST_ROLE and DAYFLY_TEST_RUNTIME.
"""

import io
import os
import sys
import textwrap
import uuid
import zipfile

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = os.environ.get("DAYFLY_TEST_ROLE", "arn:aws:iam::000000000000:role/test")
RUNTIME = os.environ.get("DAYFLY_TEST_RUNTIME", f"python3.{sys.version_info.minor}")


def pytest_collection_modifyitems(items):
    if not os.environ.get("AWS_ENDPOINT_URL"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="AWS_ENDPOINT_URL is not set"))


def make_client(service, **settings):
    """A client that neither retries nor waits for ever, so that a test sees the first answer."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    return boto3.client(service, config=config.merge(Config(**settings)))


def zip_of(source, **others):
    """A code package: `app.py` with `source`, and further files."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", textwrap.dedent(source))
        for name, content in others.items():
            archive.writestr(name, content)
    return package.getvalue()


@pytest.fixture(scope="session")
def awslambda():
    return make_client("lambda")


@pytest.fixture(scope="session")
def logs():
    return make_client("logs")


@pytest.fixture(scope="session")
def sts():
    return make_client("sts")


@pytest.fixture(scope="session")
def s3():
    return make_client("s3")


@pytest.fixture
def bucket(s3):
    """An empty bucket, emptied and deleted at the end."""
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if keys:
            assert "Errors" not in s3.delete_objects(Bucket=name, Delete={"Objects": keys})
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def create(awslambda):
    """Makes functions with names of their own, waits until they are active, and deletes them at the end."""
    names = []

    def make(source="def handler(event, context):\n    return event\n", wait=True, zip_file=None, **settings):
        name = settings.pop("FunctionName", f"conformance-{uuid.uuid4().hex[:12]}")
        settings = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler", **settings}
        made = awslambda.create_function(
            FunctionName=name, Code={"ZipFile": zip_file or zip_of(source)}, **settings
        )
        names.append(name)
        if wait:
            awslambda.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
        return made

    yield make
    for name in names:
        try:
            awslambda.delete_function(FunctionName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


class refused:
    """`with refused(code, status, text)`: the block must end in that error of the service."""

    def __init__(self, code, status, text=""):
        self.code, self.status, self.text = code, status, text

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert kind is not None, f"nothing was refused; expected {self.code}"
        if not isinstance(error, ClientError):
            return False
        answer = error.response
        assert answer["Error"]["Code"] == self.code, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == self.status, answer
        assert self.text in answer["Error"]["Message"], answer
        assert answer["ResponseMetadata"]["RequestId"], "an error without a request id"
        return True
