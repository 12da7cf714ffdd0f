"""S3 with boto3: buckets, objects, lists, multipart uploads, presigned URLs, checksums, and what is refused."""

import base64
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib

import boto3
import pytest
from botocore import UNSIGNED
from botocore.handlers import validate_bucket_name
from conftest import make_client, refused


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


def test_buckets_are_made_once_and_deleted_when_empty(s3, bucket):
    assert bucket in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.create_bucket(Bucket=bucket)
    elsewhere = f"{bucket}-eu"
    settings = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket=elsewhere, CreateBucketConfiguration=settings)
    try:
        with refused("BucketAlreadyOwnedByYou", 409):
            s3.create_bucket(Bucket=elsewhere, CreateBucketConfiguration=settings)
        assert s3.get_bucket_location(Bucket=elsewhere)["LocationConstraint"] == "eu-west-1"
        put(s3, elsewhere, "a")
        with refused("BucketNotEmpty", 409):
            s3.delete_bucket(Bucket=elsewhere)
        s3.delete_object(Bucket=elsewhere, Key="a")
    finally:
        s3.delete_bucket(Bucket=elsewhere)
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket=elsewhere)


@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "-a-", "a..b", "192.168.5.4", "x" * 64, "xn--abc"])
def test_a_bucket_name_that_s3_would_refuse_is_refused(name):
    client = make_client("s3")
    # The client would refuse it by itself.
    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    with refused("InvalidBucketName", 400):
        client.create_bucket(Bucket=name)


def test_ranges_and_conditions(s3, bucket):
    body = os.urandom(600_000)
    made = s3.put_object(Bucket=bucket, Key="k", Body=body)
    get = lambda **extra: s3.get_object(Bucket=bucket, Key="k", **extra)  # noqa: E731
    for text, part in [
        ("bytes=0-0", body[:1]),
        ("bytes=1000-", body[1000:]),
        ("bytes=262143-262145", body[262143:262146]),
        ("bytes=-5", body[-5:]),
        ("bytes=5-999999999", body[5:]),
    ]:
        got = get(Range=text)
        assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (206, part), text
        assert got["ContentRange"].endswith("/600000")
    with refused("InvalidRange", 416):
        get(Range="bytes=600000-")
    modified = made_at = get()["LastModified"]
    assert get(IfMatch=made["ETag"], IfModifiedSince=made_at.replace(year=2020))["Body"].read() == body
    with refused("304", 304):
        get(IfNoneMatch=made["ETag"])
    with refused("304", 304):
        get(IfModifiedSince=modified)
    with refused("PreconditionFailed", 412):
        get(IfMatch='"other"')
    with refused("PreconditionFailed", 412):
        get(IfUnmodifiedSince=modified.replace(year=2020))


def test_a_write_may_depend_on_what_is_there(s3, bucket):
    made = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"0"')
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=made["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="none", Body=b"2", IfMatch=made["ETag"])


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_are_checked_kept_and_given_back(s3, bucket, algorithm):
    # Without the AWS CRT boto3 cannot compute the two; what it computes by itself is asked for otherwise.
    values = {"CRC32C": "mnG7TA==", "CRC64NVME": "M3eFcAZSQlc="}
    settings = {f"Checksum{algorithm}": values[algorithm]} if algorithm in values else {"ChecksumAlgorithm": algorithm}
    made = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **settings)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"hello"
    assert got[f"Checksum{algorithm}"] == made[f"Checksum{algorithm}"]
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (made[f"Checksum{algorithm}"], "FULL_OBJECT")


def test_a_corrupt_upload_leaves_nothing(s3, bucket):
    other = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    for size in [5, 1_000_000]:
        body = b"x" * size
        with refused("BadDigest", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumCRC32=other)
        with refused("BadDigest", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=body, ContentMD5=base64.b64encode(b"0" * 16).decode())
        with refused("InvalidDigest", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=body, ContentMD5="short")
        with refused("InvalidRequest", 400):
            s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumCRC32="AAA=")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_an_upload_in_parts_becomes_one_object(s3, bucket):
    body = os.urandom(11 << 20)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"who": "me"}, ChecksumAlgorithm="CRC32")[
        "UploadId"
    ]
    about = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    pieces = {1: body[: 5 << 20], 3: body[5 << 20 : 10 << 20], 10: body[10 << 20 :]}
    parts = []
    for number, piece in pieces.items():
        s3.upload_part(PartNumber=number, Body=b"to be replaced", **about)
        made = s3.upload_part(PartNumber=number, Body=io.BytesIO(piece), **about)
        assert made["ETag"] == f'"{hashlib.md5(piece).hexdigest()}"'
        parts.append({"PartNumber": number, "ETag": made["ETag"], "ChecksumCRC32": made["ChecksumCRC32"]})
    s3.upload_part(PartNumber=11, Body=b"not named in the end", **about)
    listed = s3.get_paginator("list_parts").paginate(PaginationConfig={"PageSize": 1}, **about)
    assert [(part["PartNumber"], part["Size"]) for page in listed for part in page.get("Parts", [])] == [
        (number, len(piece)) for number, piece in pieces.items()
    ] + [(11, 20)]
    assert [entry["UploadId"] for entry in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    complete = lambda parts: s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **about)  # noqa: E731
    with refused("InvalidPartOrder", 400):
        complete(parts[::-1])
    with refused("InvalidPart", 400):
        complete([parts[0] | {"ETag": '"0"'}])
    with refused("EntityTooSmall", 400):
        complete([parts[2] | {"PartNumber": 10}, {"PartNumber": 11, "ETag": f'"{hashlib.md5(b"not named in the end").hexdigest()}"'}])
    made = complete(parts)
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces.values())
    assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got["Metadata"] == {"who": "me"}
    assert (got["ChecksumType"], got["ChecksumCRC32"][-2:]) == ("COMPOSITE", "-3")
    across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={(5 << 20) - 2}-{(5 << 20) + 1}")
    assert across["Body"].read() == body[(5 << 20) - 2 : (5 << 20) + 2]
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (pieces[3], 3)
    with refused("NoSuchUpload", 404):
        s3.list_parts(**about)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_an_aborted_upload_is_gone(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    about = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    s3.upload_part(PartNumber=1, Body=b"1", **about)
    s3.abort_multipart_upload(**about)
    with refused("NoSuchUpload", 404):
        s3.upload_part(PartNumber=2, Body=b"2", **about)
    with refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(**about)
    with refused("InvalidArgument", 400):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=10_001, Body=b"")


def test_the_transfer_manager_and_checksums_of_the_whole(s3, bucket):
    body = os.urandom(20 << 20)
    s3.upload_fileobj(io.BytesIO(body), bucket, "k")
    into = io.BytesIO()
    s3.download_fileobj(bucket, "k", into)
    assert into.getvalue() == body
    upload = s3.create_multipart_upload(
        Bucket=bucket, Key="whole", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )["UploadId"]
    about = {"Bucket": bucket, "Key": "whole", "UploadId": upload}
    parts = []
    for number, piece in enumerate([body[: 6 << 20], body[6 << 20 : 12 << 20], body[12 << 20 : 13 << 20]], 1):
        made = s3.upload_part(PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32", **about)
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    expected = base64.b64encode(zlib.crc32(body[: 13 << 20]).to_bytes(4, "big")).decode()
    wrong = base64.b64encode(bytes(4)).decode()
    with refused("BadDigest", 400):
        s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumCRC32=wrong, **about)
    made = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumCRC32=expected, **about)
    assert (made["ChecksumCRC32"], made["ChecksumType"]) == (expected, "FULL_OBJECT")
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="whole", ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize", "StorageClass"]
    )
    assert (attributes["ObjectSize"], attributes["ObjectParts"]["TotalPartsCount"]) == (13 << 20, 3)


def test_copies_are_what_they_were_copied_from(s3, bucket):
    body = os.urandom(12 << 20)
    s3.put_object(Bucket=bucket, Key="small", Body=b"tiny", Metadata={"a": "1"}, Tagging="t=1", ContentType="text/x")
    s3.upload_fileobj(io.BytesIO(body), bucket, "large/ü +")
    for key, content in [("small", b"tiny"), ("large/ü +", body)]:
        source = {"Bucket": bucket, "Key": key}
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
        assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == content
        with refused("InvalidRequest", 400):
            s3.copy_object(Bucket=bucket, Key=key, CopySource=source)
        with refused("PreconditionFailed", 412):
            s3.copy_object(Bucket=bucket, Key="x", CopySource=source, CopySourceIfMatch='"0"')
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "small"})
    copy = s3.get_object(Bucket=bucket, Key="copy")
    assert (copy["Metadata"], copy["ContentType"], copy["TagCount"]) == ({"a": "1"}, "text/x", 1)
    summed = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/small", ChecksumAlgorithm="SHA256")
    assert summed["CopyObjectResult"]["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"tiny").digest()).decode()
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"tiny"
    s3.copy_object(
        Bucket=bucket, Key="small", CopySource=f"{bucket}/small", Metadata={"b": "2"}, MetadataDirective="REPLACE"
    )
    assert s3.head_object(Bucket=bucket, Key="small")["Metadata"] == {"b": "2"}
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="x", CopySource=f"{bucket}/none")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="cut")["UploadId"]
    about = {"Bucket": bucket, "Key": "cut", "UploadId": upload}
    parts = []
    for number, (first, last) in enumerate([(1, 9 << 20), (5, 5), (0, (12 << 20) - 1)], 1):
        made = s3.upload_part_copy(
            PartNumber=number, CopySource={"Bucket": bucket, "Key": "large/ü +"},
            CopySourceRange=f"bytes={first}-{last}", **about,
        )
        parts.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
    made = s3.upload_part_copy(PartNumber=2, CopySource=f"/{bucket}/large/ü +", **about)
    parts[1]["ETag"] = made["CopyPartResult"]["ETag"]
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **about)
    for key in ["large/ü +", "copy"]:
        s3.delete_object(Bucket=bucket, Key=key)
    assert s3.get_object(Bucket=bucket, Key="cut")["Body"].read() == body[1 : (9 << 20) + 1] + body + body


def test_many_are_deleted_at_once(s3, bucket):
    put(s3, bucket, *[f"k/{number}" for number in range(50)])
    keys = [{"Key": f"k/{number}"} for number in range(51)] + [{"Key": "<&>"}]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert sorted(entry["Key"] for entry in done["Deleted"]) == sorted(entry["Key"] for entry in keys)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    with refused("MalformedXML", 400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}] * 1001})


def test_tags_and_headers_stay_with_the_object(s3, bucket):
    s3.put_object(
        Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b=x%20y", CacheControl="no-cache", ContentLanguage="de",
        ContentDisposition='attachment; filename="x"', ContentEncoding="gzip",
    )
    tags = lambda: {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]}  # noqa: E731
    assert tags() == {"a": "1", "b": "x y"}
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "ü"}]})
    assert tags() == {"c": "ü"}
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags() == {}
    with refused("InvalidTag", 400):
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a" * 129, "Value": ""}]})
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/x", ResponseCacheControl="max-age=1")
    assert (got["ContentType"], got["CacheControl"], got["ContentLanguage"]) == ("text/x", "max-age=1", "de")
    assert (got["ContentDisposition"], got["ContentEncoding"]) == ('attachment; filename="x"', "gzip")
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"a": "x" * 2048})


def test_what_cannot_be_had_is_refused_by_name(s3, bucket):
    with refused("NotImplemented", 501, "encryption"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ServerSideEncryption="aws:kms")
    with refused("AccessControlListNotSupported", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read")
    with refused("InvalidStorageClass", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", StorageClass="GLACIER")
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="k" * 1025, Body=b"")
    with refused("NotImplemented", 501, "ListObjectVersions"):
        s3.list_object_versions(Bucket=bucket)
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"


def test_a_foreign_key_and_no_key_are_refused(s3, bucket):
    with refused("InvalidAccessKeyId", 403):
        boto3.client("s3", aws_access_key_id="AKIANOTKNOWN", aws_secret_access_key="x").list_buckets()
    with refused("SignatureDoesNotMatch", 403):
        key = os.environ["AWS_ACCESS_KEY_ID"]
        boto3.client("s3", aws_access_key_id=key, aws_secret_access_key="x").list_buckets()
    with refused("AccessDenied", 403):
        make_client("s3", signature_version=UNSIGNED).get_object(Bucket=bucket, Key="k")
