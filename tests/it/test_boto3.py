"""boto3 is there for a function that names it, without being packed."""

import pytest
from harness import RUNTIME

USES_S3 = """
import boto3

s3 = boto3.client("s3")

def handler(event, context):
    s3.put_object(Bucket=event["bucket"], Key="made", Body=b"in a function")
    return [boto3.__file__, s3.get_object(Bucket=event["bucket"], Key="made")["Body"].read().decode()]
"""


@pytest.fixture(scope="module")
def bucket(server):
    server.client("s3").create_bucket(Bucket="made-by-functions")
    return "made-by-functions"



def test_a_function_finds_boto3(server, bucket):
    server.create("uses-s3", USES_S3, Timeout=60, MemorySize=512)
    answer, (path, text) = server.invoke("uses-s3", {"bucket": bucket})
    assert path.startswith("/var/runtime/packages/boto3/") and text == "in a function"
    # Once more after a start of the server, from what is there.
    server.stop()
    server.start()
    assert server.invoke("uses-s3", {"bucket": bucket})[1][1] == "in a function"


def test_a_boto3_of_its_own_goes_first(server):
    files = {"boto3/__init__.py": "own = True\n"}
    server.create("brings-its-own", "import boto3\n\ndef handler(event, context):\n    return boto3.own\n", files)
    assert server.invoke("brings-its-own")[1] is True


def test_a_function_that_does_not_name_it_waits_for_nothing(server):
    source = "import sys\n\ndef handler(event, context):\n    return [sys.path[0], sys.path[-1], sys.version_info[1]]\n"
    server.create("plain", source)
    assert server.invoke("plain")[1] == ["/var/task", "/var/runtime/packages", int(RUNTIME.split(".")[1])]
