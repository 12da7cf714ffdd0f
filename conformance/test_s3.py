"""S3 with boto3: buckets, objects, lists, multipart uploads, presigned URLs, checksums, and what is refused."""

import os
import urllib.request
import uuid

import pytest
from conftest import make_client, refused


@pytest.fixture(scope="module")
def s3():
    return make_client("s3")


@pytest.fixture
def bucket(s3):
    """An empty bucket, emptied and deleted at the end."""
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=entry["Key"])
    s3.delete_bucket(Bucket=name)


def put(s3, bucket, *keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def test_an_object_is_what_was_put(s3, bucket):
    for key in ["a", "a/b c+d/ü.txt", "tab\tand&<>\"'", "x" * 1024]:
        for body in [b"", b"hello", os.urandom(20_000), os.urandom(1_500_000)]:
            made = s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"who": "me"}, ContentType="text/x-test")
            got = s3.get_object(Bucket=bucket, Key=key)
            assert got["Body"].read() == body
            assert (got["ETag"], got["ContentLength"]) == (made["ETag"], len(body))
            assert (got["Metadata"], got["ContentType"]) == ({"who": "me"}, "text/x-test")
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)


def test_lists_come_in_pages_and_under_common_prefixes(s3, bucket):
    keys = ["a", "b/1", "b/2", "b/c/3", "d e+f", "é/x"]
    put(s3, bucket, *keys)
    for size in range(1, 8):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
        assert [entry["Key"] for page in pages for entry in page.get("Contents", [])] == keys
        found = []
        for page in s3.get_paginator("list_objects").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        ):
            found += [entry["Key"] for entry in page.get("Contents", [])]
            found += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        assert sorted(found) == ["a", "b/", "d e+f", "é/"]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="b/", Delimiter="/", StartAfter="b/1")
    assert [entry["Key"] for entry in listed["Contents"]] == ["b/2"]
    assert [entry["Prefix"] for entry in listed["CommonPrefixes"]] == ["b/c/"]


def test_who_has_a_presigned_url_may_do_that(s3, bucket):
    put(s3, bucket, "a b")
    for client in [s3, make_client("s3", signature_version="s3v4")]:
        parameters = {"Bucket": bucket, "Key": "a b"}
        url = client.generate_presigned_url("get_object", Params=parameters)
        assert urllib.request.urlopen(url).read() == b"a b"
        for bad in [url.replace("a%20b", "a%20c"), url[:-1] + ("0" if url[-1] != "0" else "1")]:
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(bad)
            assert error.value.code == 403
        url = client.generate_presigned_url("put_object", Params=parameters | {"Key": "new"})
        urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""}))
        assert s3.get_object(Bucket=bucket, Key="new")["Body"].read() == b"by url"


def test_what_is_not_there_and_what_is_not_served_say_so(s3, bucket):
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=bucket, Key="none")
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="none")
    with refused("NoSuchBucket", 404):
        s3.list_objects_v2(Bucket=bucket + "-none")
    with refused("NotImplemented", 501, "PutBucketVersioning"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=bucket)
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
