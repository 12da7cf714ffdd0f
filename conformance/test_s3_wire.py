"""S3 as clients put it on the wire: the bucket in the host name, and bodies in chunks, signed each or with a trailer."""

import base64
import datetime
import hashlib
import hmac
import http.client
import os
import socket
import urllib.parse
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import make_client, refused

REGION = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
NOTHING = hashlib.sha256(b"").hexdigest()


def test_boto3_with_the_bucket_in_the_host_name(s3, bucket, monkeypatch):
    address = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
    resolve, asked = socket.getaddrinfo, []

    def resolve_all(host, *arguments, **settings):
        asked.append(host)
        return resolve(address.hostname if str(host).endswith("localhost") else host, *arguments, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_all)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{address.port}")
    virtual = make_client("s3", s3={"addressing_style": "virtual"})
    virtual.put_object(Bucket=bucket, Key="a/ü +", Body=b"by host")
    assert virtual.get_object(Bucket=bucket, Key="a/ü +")["Body"].read() == b"by host"
    assert [entry["Key"] for entry in virtual.list_objects_v2(Bucket=bucket, Prefix="a/")["Contents"]] == ["a/ü +"]
    virtual.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a/ü +"})
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"by host"
    with refused("NoSuchKey", 404):
        virtual.get_object(Bucket=bucket, Key="none")
    virtual.create_bucket(Bucket=f"{bucket}-2")
    virtual.delete_bucket(Bucket=f"{bucket}-2")
    assert f"{bucket}.localhost" in asked and f"{bucket}-2.localhost" in asked


class Chunked:
    """A PUT in the chunks of `aws-chunked`, signed as AWS's documentation of Signature Version 4 says."""

    def __init__(self, bucket, key, length, kind, trailer=None):
        self.endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.path, self.kind, self.trailer = f"/{bucket}/{key}", kind, trailer
        headers = {
            "x-amz-decoded-content-length": str(length),
            "content-encoding": "aws-chunked",
        }
        if trailer is not None:
            headers["x-amz-trailer"] = trailer[0]
        keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        request = AWSRequest("PUT", f"{self.endpoint.scheme}://{self.endpoint.netloc}{self.path}", headers=headers)
        signer = S3SigV4Auth(keys, "s3", REGION)
        # In place of a hash of the body.
        signer.payload = lambda request: kind
        signer.add_auth(request)
        self.headers = dict(request.headers.items())
        self.signature = self.headers["Authorization"].rpartition("=")[2]
        self.date = self.headers["X-Amz-Date"]
        self.scope = f"{self.date[:8]}/{REGION}/s3/aws4_request"
        key = f"AWS4{keys.secret_key}".encode()
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        self.key = key

    def sign(self, algorithm, text):
        text = f"{algorithm}\n{self.date}\n{self.scope}\n{self.signature}\n{text}"
        self.signature = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        return self.signature

    def body(self, chunks):
        signed = self.kind.startswith("STREAMING-AWS4")
        for chunk in [*chunks, b""]:
            head = f"{len(chunk):x}"
            if signed:
                text = f"{NOTHING}\n{hashlib.sha256(chunk).hexdigest()}"
                head += f";chunk-signature={self.sign('AWS4-HMAC-SHA256-PAYLOAD', text)}"
            yield f"{head}\r\n".encode() + (chunk + b"\r\n" if chunk else b"")
        if self.trailer is not None:
            line = ":".join(self.trailer)
            yield f"{line}\r\n".encode()
            if signed:
                text = hashlib.sha256(f"{line}\n".encode()).hexdigest()
                yield f"x-amz-trailer-signature:{self.sign('AWS4-HMAC-SHA256-TRAILER', text)}\r\n".encode()
        yield b"\r\n"

    def put(self, chunks, spoil=lambda body: body):
        """Status and text of the answer; `spoil` changes what was signed."""
        body = spoil(b"".join(self.body(chunks)))
        connection = http.client.HTTPConnection(self.endpoint.netloc, timeout=60)
        connection.request("PUT", self.path, body=body, headers=self.headers | {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


CHUNKS = [bytes([number]) * (64 << 10) for number in range(9)] + [b"the end"]
CRC = ("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(b"".join(CHUNKS)).to_bytes(4, "big")).decode())
KINDS = [
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", CRC),
    ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", CRC),
]


@pytest.mark.parametrize("kind, trailer", KINDS)
def test_a_body_in_chunks_is_what_was_sent(s3, bucket, kind, trailer):
    length = sum(map(len, CHUNKS))
    assert Chunked(bucket, "k", length, kind, trailer).put(CHUNKS) == (200, "")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(CHUNKS) and "ContentEncoding" not in got
    if trailer is not None:
        assert got["ChecksumCRC32"] == trailer[1]


@pytest.mark.parametrize("kind, trailer", KINDS)
def test_a_chunk_that_was_changed_leaves_nothing(s3, bucket, kind, trailer):
    length = sum(map(len, CHUNKS))
    spoilt = {
        "a byte of a late chunk": lambda body: body.replace(b"the end", b"the End"),
        "the chunks' order": lambda body: body.replace(bytes([1]) * 9, bytes([2]) * 9),
        "the last chunk is missing": lambda body: body[: body.rindex(b"\r\n0")],
    }
    if trailer is not None:
        spoilt["the trailer"] = lambda body: body.replace(trailer[1].encode(), b"AAAAAA==")
    for what, spoil in spoilt.items():
        status, said = Chunked(bucket, "k", length, kind, trailer).put(CHUNKS, spoil)
        assert status in (400, 403), (what, status, said)
    status, said = Chunked(bucket, "k", length + 1, kind, trailer).put(CHUNKS)
    assert status == 400, ("another length than was said", said)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    # The date is part of what is signed.
    old = Chunked(bucket, "k", length, kind, trailer)
    old.headers["X-Amz-Date"] = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    assert old.put(CHUNKS)[0] == 403
