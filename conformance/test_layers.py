"""Layers: published, listed, used by functions, deleted, refused."""

import base64
import hashlib
import io
import json
import urllib.request
import uuid
import zipfile

import pytest

from conftest import RUNTIME, make_client, refused

SITE_PACKAGES = f"python/lib/{RUNTIME}/site-packages"


def layer_zip(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            information = zipfile.ZipInfo(name)
            information.compress_type = zipfile.ZIP_DEFLATED
            information.external_attr = (0o100755 if "/bin/" in f"/{name}" else 0o100644) << 16
            archive.writestr(information, text)
    return content.getvalue()


@pytest.fixture
def publish(awslambda):
    """Publishes layer versions and deletes them at the end."""
    published = []

    def make(content=None, name=None, **settings):
        name = name or f"conformance-{uuid.uuid4().hex[:12]}"
        content = content or layer_zip(**{"python/of_layer.py": "name = 'layer'\n"})
        answer = awslambda.publish_layer_version(LayerName=name, Content={"ZipFile": content}, **settings)
        published.append((name, answer["Version"]))
        return answer

    yield make
    for name, version in published:
        awslambda.delete_layer_version(LayerName=name, VersionNumber=version)


def invoke(awslambda, name, payload=None):
    answer = awslambda.invoke(FunctionName=name, Payload=json.dumps(payload))
    body = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, body
    return body


def test_a_version_is_what_was_published(awslambda, publish):
    content = layer_zip(**{"python/x.py": "x = 1\n"})
    made = publish(content, Description="a few words", CompatibleRuntimes=[RUNTIME], LicenseInfo="MIT")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["Version"], made["Description"], made["LicenseInfo"]) == (1, "a few words", "MIT")
    assert made["CompatibleRuntimes"] == [RUNTIME]
    assert made["LayerVersionArn"] == made["LayerArn"] + ":1"
    assert made["Content"]["CodeSize"] == len(content)
    assert made["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(content).digest()).decode()
    name = made["LayerArn"].rpartition(":")[2]
    got = awslambda.get_layer_version(LayerName=name, VersionNumber=1)
    by_arn = awslambda.get_layer_version_by_arn(Arn=made["LayerVersionArn"])
    by_layer_arn = awslambda.get_layer_version(LayerName=made["LayerArn"], VersionNumber=1)
    for answer in (got, by_arn, by_layer_arn):
        for field in ("LayerArn", "LayerVersionArn", "Version", "Description", "CreatedDate", "LicenseInfo"):
            assert answer[field] == made[field]
        with urllib.request.urlopen(answer["Content"]["Location"]) as download:
            assert download.read() == content


def test_versions_count_up_and_are_never_used_again(awslambda, publish):
    name = f"conformance-{uuid.uuid4().hex[:12]}"
    for expected in (1, 2, 3):
        assert publish(name=name)["Version"] == expected
    awslambda.delete_layer_version(LayerName=name, VersionNumber=3)
    assert publish(name=name)["Version"] == 4
    listed = awslambda.list_layer_versions(LayerName=name)
    assert [version["Version"] for version in listed["LayerVersions"]] == [4, 2, 1]
    assert "NextMarker" not in listed
    numbers, marker = [], None
    while True:
        page = awslambda.list_layer_versions(LayerName=name, MaxItems=1, **({"Marker": marker} if marker else {}))
        numbers += [version["Version"] for version in page["LayerVersions"]]
        marker = page.get("NextMarker")
        if not marker:
            break
    assert numbers == [4, 2, 1]
    awslambda.delete_layer_version(LayerName=name, VersionNumber=3)
    with refused("ResourceNotFoundException", 404):
        awslambda.get_layer_version(LayerName=name, VersionNumber=3)
    assert awslambda.list_layer_versions(LayerName="conformance-none")["LayerVersions"] == []


def test_layers_are_listed_by_name_and_runtime(awslambda, publish):
    prefix = f"conformance-{uuid.uuid4().hex[:8]}"
    publish(name=f"{prefix}-b", CompatibleRuntimes=[RUNTIME])
    publish(name=f"{prefix}-b", CompatibleRuntimes=["nodejs22.x"])
    publish(name=f"{prefix}-a")

    def listed(**filters):
        pages = awslambda.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 2}, **filters)
        layers = [layer for page in pages for layer in page["Layers"] if layer["LayerName"].startswith(prefix)]
        return [(layer["LayerName"][-1], layer["LatestMatchingVersion"]["Version"]) for layer in layers]

    assert listed() == [("a", 1), ("b", 2)]
    assert listed(CompatibleRuntime=RUNTIME) == [("b", 1)]


def test_a_function_has_its_layers_in_order(awslambda, publish, create):
    first = publish(
        layer_zip(
            **{
                "python/both.py": "name = 'first'\n",
                "python/one.py": "name = 'one'\n",
                "data/x": "1",
                "bin/say": "#!/bin/sh\necho said\n",
                "lib/readme": "",
            }
        )
    )
    second = publish(
        layer_zip(**{"python/both.py": "name = 'second'\n", f"{SITE_PACKAGES}/deep.py": "name = 'deep'\n", "data/y": "2"})
    )
    source = """
        import os, subprocess, sys
        import both, one, deep

        def handler(event, context):
            try:
                open("/opt/data/new", "w")
                writable = True
            except OSError:
                writable = False
            said = subprocess.run(["say"], capture_output=True, text=True).stdout.strip()
            opt = [path for path in sys.path if path.startswith("/opt")]
            names = [module.name for module in (both, one, deep)]
            return [names, sorted(os.listdir("/opt/data")), said, opt, writable, os.environ["LD_LIBRARY_PATH"], both.__file__]
    """
    arns = [first["LayerVersionArn"], second["LayerVersionArn"]]
    made = create(source, Layers=arns, Timeout=20)
    assert [layer["Arn"] for layer in made["Layers"]] == arns
    assert made["Layers"][0]["CodeSize"] == first["Content"]["CodeSize"]
    name = made["FunctionName"]
    names, data, said, opt, writable, libraries, file = invoke(awslambda, name)
    assert (names, data, said, writable) == (["second", "one", "deep"], ["x", "y"], "said", False)
    assert opt == [f"/opt/{SITE_PACKAGES}", "/opt/python"] and file == "/opt/python/both.py"
    assert "/opt/lib" in libraries.split(":")

    awslambda.update_function_configuration(FunctionName=name, Layers=arns[::-1])
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert invoke(awslambda, name)[0] == ["first", "one", "deep"]

    # The function goes on with what it has.
    for arn in arns:
        awslambda.delete_layer_version(LayerName=arn.rpartition(":")[0], VersionNumber=1)
    awslambda.update_function_configuration(FunctionName=name, Environment={"Variables": {"NEW": "zygote"}})
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert invoke(awslambda, name)[0] == ["first", "one", "deep"]
    with refused("InvalidParameterValueException", 400, "does not exist"):
        create(Layers=arns)

    awslambda.update_function_configuration(FunctionName=name, Layers=[])
    awslambda.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1})
    assert "Layers" not in awslambda.get_function_configuration(FunctionName=name)
    answer = awslambda.invoke(FunctionName=name)
    assert "both" in json.loads(answer["Payload"].read())["errorMessage"]


def test_the_content_may_be_an_object_of_s3(awslambda, publish):
    s3, content = make_client("s3"), layer_zip(**{"python/x.py": "x = 1\n"})
    bucket, name = f"conformance-{uuid.uuid4().hex[:12]}", f"conformance-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    try:
        s3.put_object(Bucket=bucket, Key="a/layer.zip", Body=content)
        made = awslambda.publish_layer_version(LayerName=name, Content={"S3Bucket": bucket, "S3Key": "a/layer.zip"})
        assert made["Content"]["CodeSha256"] == base64.b64encode(hashlib.sha256(content).digest()).decode()
        with refused("InvalidParameterValueException", 400, "NoSuchKey"):
            awslambda.publish_layer_version(LayerName=name, Content={"S3Bucket": bucket, "S3Key": "none"})
        s3.delete_object(Bucket=bucket, Key="a/layer.zip")
        # The layer has the content itself.
        with urllib.request.urlopen(awslambda.get_layer_version(LayerName=name, VersionNumber=1)["Content"]["Location"]) as got:
            assert got.read() == content
    finally:
        awslambda.delete_layer_version(LayerName=name, VersionNumber=1)
        s3.delete_bucket(Bucket=bucket)


def test_layers_that_a_function_may_not_have(awslambda, publish, create):
    arn = publish()["LayerVersionArn"]
    unknown = arn.rpartition(":")[0] + "-none:1"
    with refused("InvalidParameterValueException", 400, f"Layer version {unknown} does not exist."):
        create(Layers=[unknown])
    with refused("InvalidParameterValueException", 400, "Two different versions of the same layer"):
        create(Layers=[arn, arn])
    with refused("InvalidParameterValueException", 400, "Cannot reference more than 5 layers."):
        create(Layers=[publish()["LayerVersionArn"] for _ in range(6)])
    large = [publish(layer_zip(data=b"\0" * 140_000_000))["LayerVersionArn"] for _ in range(2)]
    with refused("InvalidParameterValueException", 400, "Layers consume more than the available size of 262144000 bytes"):
        create(Layers=large)
    for bad in ("nonsense", arn.rpartition(":")[0]):
        with refused("ValidationException", 400, "layers"):
            create(Layers=[bad])


def test_layers_that_cannot_be(awslambda, publish):
    for content in (b"not a zip", layer_zip(**{"../out.py": "x"}), layer_zip(**{"a\\..\\b": "x"})):
        with refused("InvalidParameterValueException", 400, "Could not unzip uploaded file"):
            publish(content)
    with refused("InvalidParameterValueException", 400, "Unzipped size must be smaller than"):
        publish(layer_zip(**{"bomb": b"\0" * 263_000_000}))
    with refused("InvalidParameterValueException", 400):
        awslambda.publish_layer_version(LayerName="x", Content={})
    with refused("ValidationException", 400, "layerName"):
        publish(name="a name with spaces")
    with refused("ValidationException", 400, "description"):
        publish(Description="x" * 257)
    with refused("ValidationException", 400, "compatibleRuntimes"):
        publish(CompatibleRuntimes=["cobol"])
    with refused("ResourceNotFoundException", 404):
        awslambda.get_layer_version(LayerName="conformance-none", VersionNumber=1)
    with refused("InvalidParameterValueException", 400):
        awslambda.get_layer_version(LayerName="conformance-none", VersionNumber=0)
    with refused("ValidationException", 400, "arn"):
        awslambda.get_layer_version_by_arn(Arn="nonsense")
