"""Environments that the real server builds with the real uv from the ordinary index."""

import base64
import concurrent.futures
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import zipfile

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness import RUNTIME, Server, wait_until

SIX = ["six==1.17.0"]


class Refused(Exception):
    """An answer that is not 200: (status, type, message)."""


def post(server, path, body, target=None):
    """The open answer of a signed request to Dayfly's own service."""
    url, data = server.endpoint + path, json.dumps(body).encode()
    headers = {"content-type": "application/x-amz-json-1.1"} | ({"x-amz-target": target} if target else {})
    request = AWSRequest("POST", url, data=data, headers=headers)
    keys = Credentials(server.keys["access_key_id"], server.keys["secret_access_key"])
    SigV4Auth(keys, "dayfly", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urllib.parse.urlparse(url).netloc, timeout=300)
    connection.request("POST", path, body=data, headers=dict(request.headers.items()))
    answer = connection.getresponse()
    if answer.status != 200:
        said = json.loads(answer.read())
        raise Refused(answer.status, said["__type"], said["message"])
    return answer


def build(server, **source):
    """`(steps, environment or error)`."""
    lines = [json.loads(line) for line in post(server, "/environments", {"runtime": RUNTIME, **source})]
    return lines[:-1], lines[-1]


def call(server, operation, **body):
    return json.loads(post(server, "/", body, f"Dayfly_20261101.{operation}").read())


def packages(server, environment):
    return server.folder / "cache" / "environments" / environment["id"] / "site-packages"


def zip_of(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()


def modules(content, with_zip=True):
    zip_text = {"zip": base64.b64encode(content).decode()} if with_zip else {}
    return {"sha256": hashlib.sha256(content).hexdigest(), **zip_text}


def test_an_environment_is_built_once_listed_and_deleted(server):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: build(server, requirements=["six==1.17.0", "tomli == 2.0.1  # note"]), range(3)))
    environments = [environment for _, environment in answers]
    assert len({environment["id"] for environment in environments}) == 1
    steps = [step["step"] for steps, _ in answers for step in steps]
    assert steps.count("resolve") == steps.count("done") == 1 and steps.count("wait") == 2, steps
    environment = environments[0]
    assert environment["packages"] == ["six==1.17.0", "tomli==2.0.1"]
    folder = packages(server, environment)
    assert (folder / "six.py").stat().st_mode & 0o777 == 0o644
    tag = RUNTIME.replace("python", "cpython-").replace(".", "")
    assert (folder / "__pycache__" / f"six.{tag}.pyc").is_file()
    again, same = build(server, requirements=["tomli==2.0.1", "Six==1.17.0"])
    assert again == [] and same["id"] == environment["id"]

    _, other = build(server, requirements=SIX)
    assert (packages(server, other) / "six.py").stat().st_ino == (folder / "six.py").stat().st_ino
    # What is its own are a few lines of metadata and uv's scripts.
    assert other["own_bytes"] < other["bytes"] / 2, other

    listed = call(server, "ListEnvironments")["environments"]
    assert {one["id"] for one in listed} >= {environment["id"], other["id"]}
    page = call(server, "ListEnvironments", limit=1)
    assert len(page["environments"]) == 1 and page["token"]
    assert call(server, "GetEnvironment", id=other["id"])["packages"] == SIX
    call(server, "DeleteEnvironment", id=other["id"])
    for operation in ("GetEnvironment", "DeleteEnvironment"):
        with pytest.raises(Refused) as refused:
            call(server, operation, id=other["id"])
        assert refused.value.args[:2] == (404, "ResourceNotFoundException")
    assert (folder / "six.py").is_file()


def test_modules_are_sent_when_they_are_needed(server):
    content = zip_of(**{"mine/__init__.py": "x = 7\n", "alone.py": "y = 8\n"})
    with pytest.raises(Refused) as refused:
        build(server, requirements=SIX, modules=modules(content, with_zip=False))
    assert refused.value.args[:2] == (409, "ModulesMissing")
    _, environment = build(server, requirements=SIX, modules=modules(content))
    assert (packages(server, environment) / "mine" / "__init__.py").read_text() == "x = 7\n"
    assert build(server, requirements=SIX, modules=modules(content, with_zip=False)) [1]["id"] == environment["id"]
    hostile = zip_of(**{"../../escaped.py": "x"})
    assert build(server, modules=modules(hostile))[1]["error"]["type"] == "InvalidEnvironment"
    with pytest.raises(Refused) as refused:
        build(server, modules={**modules(content), "sha256": "0" * 64})
    assert refused.value.args[:2] == (400, "InvalidEnvironment")


@pytest.mark.parametrize(
    "requirements, kind, words",
    [
        (["dayfly-has-no-such-package"], "PackageNotFound", "dayfly-has-no-such-package"),
        (["six==99.1"], "PackageNotFound", "six==99.1"),
        (["six==1.17.0", "six==1.16.0"], "PackageConflict", "six"),
        (["sgmllib3k==1.0.0"], "NoWheel", "sgmllib3k"),
    ],
)
def test_what_cannot_be_built_has_a_type(server, requirements, kind, words):
    _, answer = build(server, requirements=requirements)
    assert answer["error"]["type"] == kind and words in answer["error"]["message"], answer


@pytest.mark.parametrize(
    "source, kind",
    [
        ({"runtime": "python3.99"}, "IncompatiblePython"),
        ({"platform": "sparc-sunos"}, "IncompatiblePython"),
        ({"requirements": ["-r /etc/passwd"]}, "InvalidEnvironment"),
        ({"requirements": ["six @ file:///etc/passwd"]}, "InvalidEnvironment"),
        ({"requirements": ["six==${HOME}"]}, "InvalidEnvironment"),
        ({"requirements": ["six"], "uv_lock": ""}, "InvalidEnvironment"),
        ({"requirements": "six"}, "SerializationException"),
        ({"requirement": ["six"]}, "SerializationException"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(server, source, kind):
    with pytest.raises(Refused) as refused:
        build(server, **source)
    assert refused.value.args[:2] == (400, kind)


def test_a_server_that_dies_in_the_middle_leaves_nothing_half(folder):
    server = Server(folder).start()
    answer = post(server, "/environments", {"runtime": RUNTIME, "requirements": ["numpy", *SIX]})
    while json.loads(answer.readline())["step"] != "download":
        pass
    server.kill()
    cache = folder / "cache" / "environments"
    assert list(cache.glob(".part-*")), "it was too late to kill it"
    # What was downloading goes on for a moment, until it finds that nobody listens.
    time.sleep(2)
    with Server(folder) as server:
        assert not list(cache.glob(".part-*"))
        assert call(server, "ListEnvironments")["environments"] == []
        _, environment = build(server, requirements=["numpy", *SIX])
        assert (packages(server, environment) / "numpy" / "__init__.py").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk has to be mounted")
def test_a_full_disk_has_a_type(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", disk], check=True)
    try:
        with Server(disk / "data") as server:
            (disk / "filler").write_bytes(b"\0" * (60 << 20))
            _, answer = build(server, requirements=SIX)
            assert answer["error"]["type"] == "DiskFull", answer
            assert not list((disk / "data" / "cache" / "environments").glob(".part-*"))
            assert server.client().list_functions()["Functions"] == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_index_comes_from_pips_configuration(folder, tmp_path):
    pip = tmp_path / "pip.conf"
    pip.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    with Server(folder, environment={"PIP_CONFIG_FILE": str(pip), "UV_HTTP_RETRIES": "0"}) as server:
        # uv itself comes from there too, unless it is here.
        _, answer = build(server, requirements=SIX)
        assert answer["error"]["type"] == "BuildFailed", answer
        assert "127.0.0.1:9" in answer["error"]["message"] or "pip" in answer["error"]["message"]
        assert not list((folder / "cache" / "environments").glob(".part-*"))


def test_old_environments_may_be_limited_in_size(folder):
    with Server(folder, config="[environments]\nbytes_max = 1000\n") as server:
        _, answer = build(server, requirements=SIX)
        assert answer["error"]["type"] == "EnvironmentTooLarge", answer


def test_a_layer_is_built_used_and_removed_from_the_command_line(server, tmp_path):
    (tmp_path / "requirements.txt").write_text("six==1.17.0\ntomli==2.0.1\n")
    built = server.cli("layer", "build", "-r", tmp_path / "requirements.txt", "--name", "science", "--runtime", RUNTIME)
    arn = built.stdout.strip()
    assert arn == "arn:aws:lambda:us-east-1:000000000000:layer:science:1"
    assert "2 packages" in built.stderr
    source = """
        import six, tomli

        def handler(event, context):
            return [six.__version__, six.__file__, tomli.loads("x = 1")]
    """
    made = server.create("layered", source, Layers=[arn])
    assert made["Layers"][0]["Arn"] == arn
    place = f"/opt/python/lib/{RUNTIME}/site-packages/six.py"
    assert server.invoke("layered")[1] == ["1.17.0", place, {"x": 1}]
    again = json.loads(
        server.cli("layer", "build", "tomli==2.0.1", "six==1.17.0", "--name", "science", "--runtime", RUNTIME, "--json").stdout
    )
    assert again["layer"]["Version"] == 2
    content = server.client().get_layer_version(LayerName="science", VersionNumber=2)["Content"]
    assert content["CodeSize"] == again["environment"]["bytes"] and "Location" not in content

    listed = json.loads(server.cli("layer", "ls", "--json").stdout)
    assert [layer["LatestMatchingVersion"]["Version"] for layer in listed if layer["LayerName"] == "science"] == [2]
    assert "science" in server.cli("layer", "ls").stdout
    id = again["environment"]["id"]
    assert id[:12] in server.cli("environments").stdout
    assert "tomli==2.0.1" in server.cli("environments", "show", id[:12]).stdout
    assert server.cli("layer", "rm", "science:1").stdout == "deleted science:1\n"
    for one in json.loads(server.cli("environments", "--json").stdout):
        assert server.cli("environments", "rm", one["id"]).returncode == 0
    assert server.cli("environments", "show", id, check=False).returncode == 1
    # Neither the layer version nor the environment is there any more: the function has what it needs.
    server.client().update_function_configuration(FunctionName="layered", MemorySize=256)
    server.client().get_waiter("function_updated_v2").wait(FunctionName="layered", WaiterConfig={"Delay": 0.1})
    assert server.invoke("layered")[1][0] == "1.17.0"
    # The second version is still there, and is built anew, with the same versions, for who needs it.
    server.create("later", source, Layers=[content_arn(2)], MemorySize=128)
    assert server.invoke("later")[1][0] == "1.17.0"

    refused = server.cli("layer", "build", "dayfly-has-no-such-package", "--name", "x", check=False)
    assert refused.returncode == 1 and "PackageNotFound" in refused.stderr
    assert server.cli("layer", "build", "--name", "x", check=False).returncode == 2


def content_arn(version):
    return f"arn:aws:lambda:us-east-1:000000000000:layer:science:{version}"


def test_functions_come_through_a_restart_without_the_cache(folder):
    source = "import six\ndef handler(event, context):\n    return six.__version__\n"
    with Server(folder) as server:
        arn = server.cli("layer", "build", "six==1.16.0", "--name", "six", "--runtime", RUNTIME).stdout.strip()
        zipped = server.client().publish_layer_version(
            LayerName="zipped", Content={"ZipFile": zip_of(**{"python/of_zip.py": "x = 1\n"})}
        )
        server.create("f", source, Layers=[arn, zipped["LayerVersionArn"]])
        assert server.invoke("f")[1] == "1.16.0"
    shutil.rmtree(folder / "cache")
    with Server(folder) as server:

        def answer():
            try:
                return server.invoke("f")[1]
            except ClientError:
                return None  # What takes longer than a request waits goes on.

        assert wait_until(answer, what="the function") == "1.16.0"
