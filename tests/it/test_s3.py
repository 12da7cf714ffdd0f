"""What S3 promises of the server itself: memory, crashes, full disks, and calls that use it."""

import concurrent.futures
import http.client
import io
import os
import pathlib
import random
import subprocess
import time
import zipfile

import boto3
import harness
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# What boto3 needs for S3 and nothing else.
NEEDED = ["boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py"]
DATA = ["s3", "sts", "endpoints.json", "partitions.json", "sdk-default-configuration.json", "_retry.json"]


def package_with_boto3(source):
    """A code package of `app.py` and boto3."""
    content = io.BytesIO()
    packages = pathlib.Path(boto3.__file__).parents[1]
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", source)
        for name in NEEDED:
            root = packages / name
            for path in [root] if root.is_file() else sorted(root.rglob("*")):
                inside = path.relative_to(packages).parts
                unused = inside[:2] == ("botocore", "data") and len(inside) > 2 and inside[2] not in DATA
                if path.is_file() and "__pycache__" not in inside and not unused:
                    archive.write(path, "/".join(inside))
    return content.getvalue()


def resident(pid):
    """Peak resident memory of a process since this was asked for last, in bytes."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def blobs(server):
    """Files with content that the server keeps."""
    return [path for path in (server.folder / "store/blobs").rglob("*") if path.is_file()]


class Zeros:
    """A file of a length that is nowhere."""

    def __init__(self, length):
        self.left = self.length = length

    def __len__(self):
        return self.length

    def seekable(self):
        return False

    def read(self, size=-1):
        size = min(self.left, size if size >= 0 else self.left)
        self.left -= size
        return bytes(size)


def test_a_large_object_does_not_take_memory(server):
    size = 256 << 20
    s3 = server.client("s3", signature_version="s3v4")
    s3.create_bucket(Bucket="large")
    resident(server.pid)
    before = resident(server.pid)
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "large", "Key": "k"})
    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host)
    connection.request("PUT", f"/{path}", body=Zeros(size), headers={"Content-Length": str(size)})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    body, read = s3.get_object(Bucket="large", Key="k")["Body"], 0
    while piece := body.read(1 << 20):
        read += len(piece)
    assert read == size
    grown = resident(server.pid) - before
    assert grown < 64 << 20, f"the server grew by {grown >> 20} MiB"
    s3.delete_object(Bucket="large", Key="k")


def test_neither_does_one_in_parts_nor_its_copies(server):
    size, parts = 192 << 20, TransferConfig(multipart_threshold=8 << 20, max_concurrency=8)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="parts")
    resident(server.pid)
    before = resident(server.pid)
    s3.upload_fileobj(Zeros(size), "parts", "k", Config=parts)
    s3.copy_object(Bucket="parts", Key="whole", CopySource="parts/k")
    s3.copy({"Bucket": "parts", "Key": "k"}, "parts", "cut", Config=parts)
    for key in ["k", "whole", "cut"]:
        assert s3.head_object(Bucket="parts", Key=key)["ContentLength"] == size
    body, read = s3.get_object(Bucket="parts", Key="cut")["Body"], 0
    while piece := body.read(1 << 20):
        read += len(piece)
    assert read == size
    grown = resident(server.pid) - before
    assert grown < 64 << 20, f"the server grew by {grown >> 20} MiB"
    for key in ["k", "whole", "cut"]:
        s3.delete_object(Bucket="parts", Key=key)


def test_the_bucket_may_be_in_the_host_name(server):
    server.client("s3").create_bucket(Bucket="in.the-host")
    address = server.endpoint.removeprefix("http://")
    port = address.rpartition(":")[2]
    for endpoint, version in [("s3.localhost", "s3v4"), ("s3.us-east-1.example.com", "s3v4"), ("localhost", "s3")]:
        config = Config(signature_version=version, s3={"addressing_style": "virtual"})
        keys = {"aws_access_key_id": server.keys["access_key_id"], "aws_secret_access_key": server.keys["secret_access_key"]}
        s3 = boto3.client("s3", endpoint_url=f"http://{endpoint}:{port}", region_name="us-east-1", config=config, **keys)
        about = {"Bucket": "in.the-host", "Key": "a/key"}
        for method, body in [("put_object", b"by host"), ("get_object", None)]:
            url = s3.generate_presigned_url(method, Params=about)
            host, path = url.removeprefix("http://").split("/", 1)
            assert host == f"in.the-host.{endpoint}:{port}"
            connection = http.client.HTTPConnection(address)
            connection.request(method[:3].upper(), f"/{path}", body=body, headers={"Host": host})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"" if body else b"by host"), (endpoint, method)


def test_a_call_uses_s3_with_no_configuration(server):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="code")
    package = package_with_boto3(
        "import boto3\n"
        "s3 = boto3.client('s3')\n"
        "def handler(event, context):\n"
        "    s3.put_object(Bucket='code', Key='from a call', Body=b'x' * event['bytes'], Metadata={'by': 'a call'})\n"
        "    return len(s3.get_object(Bucket='code', Key='from a call')['Body'].read())\n"
    )
    s3.put_object(Bucket="code", Key="package.zip", Body=package)
    client = server.client()
    where = {"S3Bucket": "code", "S3Key": "package.zip"}
    client.create_function(
        FunctionName="by-s3", Code=where, Runtime=harness.RUNTIME, Role=harness.ROLE, Handler="app.handler",
        Timeout=60, MemorySize=512,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="by-s3", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    for size in [10, 9_000_000]:
        answer, result = server.invoke("by-s3", {"bytes": size})
        assert result == size, (answer, result)
    assert s3.head_object(Bucket="code", Key="from a call")["Metadata"] == {"by": "a call"}
    # The function has the package also when the object is gone, and shares it with no object after that.
    s3.delete_object(Bucket="code", Key="package.zip")
    client.update_function_configuration(FunctionName="by-s3", MemorySize=640)
    client.get_waiter("function_updated_v2").wait(FunctionName="by-s3", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    assert server.invoke("by-s3", {"bytes": 1})[1] == 1
    for wrong in [where | {"S3Key": "none"}, where | {"S3Bucket": "none"}, where | {"S3ObjectVersion": "1"}]:
        with pytest.raises(ClientError, match="InvalidParameterValueException"):
            client.update_function_code(FunctionName="by-s3", **wrong)


def test_what_nobody_names_is_collected_and_what_is_shared_stays(server):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="collected")
    harness.wait_until(lambda: s3.list_objects_v2(Bucket="collected")["KeyCount"] == 0)
    before = len(blobs(server))
    content = os.urandom(100_000)
    for key in ["a", "b"]:
        s3.put_object(Bucket="collected", Key=key, Body=content)
    s3.copy_object(Bucket="collected", Key="c", CopySource="collected/a")
    assert len(blobs(server)) == before + 1, "the same content is kept once"
    s3.put_object(Bucket="collected", Key="a", Body=b"other")
    s3.delete_object(Bucket="collected", Key="b")
    time.sleep(0.5)
    assert s3.get_object(Bucket="collected", Key="c")["Body"].read() == content
    reading = s3.get_object(Bucket="collected", Key="c")["Body"]
    reading.read(1)
    s3.delete_object(Bucket="collected", Key="c")
    assert len(reading.read()) == len(content) - 1
    upload = s3.create_multipart_upload(Bucket="collected", Key="u")["UploadId"]
    s3.upload_part(Bucket="collected", Key="u", UploadId=upload, PartNumber=1, Body=content[:50_000])
    s3.abort_multipart_upload(Bucket="collected", Key="u", UploadId=upload)
    harness.wait_until(lambda: len(blobs(server)) == before, 40, "the collection")


def test_a_reader_gets_one_version_while_others_write(server):
    s3 = server.client("s3")
    s3.create_bucket(Bucket="raced")
    contents = [bytes([number]) * 3_000_000 for number in range(4)]
    s3.put_object(Bucket="raced", Key="k", Body=contents[0])
    deadline = time.monotonic() + 3

    def write(content):
        while time.monotonic() < deadline:
            s3.put_object(Bucket="raced", Key="k", Body=content)

    def read():
        seen = set()
        while time.monotonic() < deadline:
            body = s3.get_object(Bucket="raced", Key="k")["Body"].read()
            assert body in contents
            seen.add(body[0])
        return seen

    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, content) for content in contents]
        readers = [pool.submit(read) for _ in range(4)]
        for future in writers:
            future.result()
        assert len(set().union(*(future.result() for future in readers))) > 1


def test_nothing_acknowledged_is_lost_by_kill(folder):
    server = harness.Server(folder).start()
    client = server.client("s3")
    client.create_bucket(Bucket="kept")
    written = {}

    def write(seed):
        source = random.Random(seed)
        s3 = server.client("s3")
        for number in range(10_000):
            key, content = f"{seed}/{source.randrange(8)}", source.randbytes(source.choice([10, 5_000, 200_000]))
            try:
                s3.put_object(Bucket="kept", Key=key, Body=content)
            except (BotoCoreError, ClientError):
                return key
            written[key] = content

    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = [pool.submit(write, seed) for seed in range(4)]
        time.sleep(3)
        server.kill()
        open_keys = {writer.result() for writer in writers}
    assert len(written) > 10
    with harness.Server(folder) as server:
        s3 = server.client("s3")
        for key, content in written.items():
            body = s3.get_object(Bucket="kept", Key=key)["Body"].read()
            # A write that was cut off may have been done or not, but never by half.
            assert body == content or (key in open_keys and len(body) in (10, 5_000, 200_000)), key
        for key in written:
            s3.delete_object(Bucket="kept", Key=key)
        for entry in s3.list_objects_v2(Bucket="kept").get("Contents", []):
            assert entry["Key"] in open_keys
            s3.delete_object(Bucket="kept", Key=entry["Key"])
        harness.wait_until(lambda: blobs(server) == [], 40, "the collection")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_an_error_and_passes(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], check=True)
    try:
        with harness.Server(disk / "data") as server:
            s3 = server.client("s3")
            s3.create_bucket(Bucket="full")
            s3.put_object(Bucket="full", Key="before", Body=b"here")
            with pytest.raises(ClientError, match="InsufficientStorage"):
                s3.put_object(Bucket="full", Key="large", Body=bytes(60 << 20))
            assert s3.get_object(Bucket="full", Key="before")["Body"].read() == b"here"
            s3.put_object(Bucket="full", Key="after", Body=bytes(1 << 20))
            assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="full")["Contents"]] == ["after", "before"]
    finally:
        subprocess.run(["umount", disk], check=True)
