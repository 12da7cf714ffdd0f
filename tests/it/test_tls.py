"""TLS and HTTP/2: the whole of AWS's interface over https, both versions of HTTP, and key files that cannot be used."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import harness
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FUNCTION = """
def handler(event, context):
    return {"statusCode": 200, "headers": {"x-proto": event["headers"]["x-forwarded-proto"]}, "body": event["rawPath"]}
"""


def certificate(folder, name):
    """A certificate for this machine, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - day).not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory, files):
    data = tmp_path_factory.mktemp("data") / "data"
    with harness.Server(data, "--tls-cert", files[0], "--tls-key", files[1]) as server:
        yield server
        assert server.stop() == 0


def client(server, files, service="lambda"):
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        aws_access_key_id=server.keys["access_key_id"],
        aws_secret_access_key=server.keys["secret_access_key"],
        region_name="us-east-1",
        verify=str(files[0]),
    )


@pytest.fixture(scope="module")
def url(encrypted, files):
    functions = client(encrypted, files)
    functions.create_function(
        FunctionName="web", Runtime=harness.RUNTIME, Role=harness.ROLE, Handler="app.handler",
        Code={"ZipFile": harness.package(FUNCTION, None)},
    )  # fmt: skip
    functions.get_waiter("function_active_v2").wait(FunctionName="web", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600})
    functions.add_permission(
        FunctionName="web", StatementId="x", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    made = functions.create_function_url_config(FunctionName="web", AuthType="NONE")["FunctionUrl"]
    assert made.startswith("https://")
    return f"{encrypted.endpoint}/function-urls/{made.split('//')[1].split('.')[0]}"


def trust(files):
    return ssl.create_default_context(cafile=str(files[0]))


def test_boto3_and_the_verbs_speak_to_it(encrypted, files, url):
    assert encrypted.endpoint.startswith("https://")
    assert client(encrypted, files, "sts").get_caller_identity()["Account"] == "000000000000"
    assert [one["FunctionName"] for one in client(encrypted, files).list_functions()["Functions"]] == ["web"]
    assert "web" in encrypted.cli("ls").stdout
    assert encrypted.cli("url", "web").stdout.strip() == url + "/"
    bucket = client(encrypted, files, "s3")
    bucket.create_bucket(Bucket="data")
    bucket.put_object(Bucket="data", Key="x", Body=b"x" * (1 << 20))
    assert len(bucket.get_object(Bucket="data", Key="x")["Body"].read()) == 1 << 20


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_both_versions_of_http(url, files, version):
    with httpx.Client(http2=version == "HTTP/2", verify=trust(files), timeout=60) as web:
        for path in ["/a", "/b"]:
            answer = web.get(url + path)
            assert (answer.http_version, answer.status_code, answer.text) == (version, 200, path)
            assert answer.headers["x-proto"] == "https"


def test_many_requests_on_one_connection(url, files):
    async def all_at_once():
        async with httpx.AsyncClient(http2=True, http1=False, verify=trust(files), timeout=60) as web:
            return await asyncio.gather(*(web.get(f"{url}/{n}") for n in range(8)))

    assert [answer.text for answer in asyncio.run(all_at_once())] == [f"/{n}" for n in range(8)]


def test_a_signed_request_over_http_2(encrypted, files, url):
    keys = botocore.credentials.Credentials(encrypted.keys["access_key_id"], encrypted.keys["secret_access_key"])
    made = botocore.awsrequest.AWSRequest("GET", encrypted.endpoint + "/2015-03-31/functions/web")
    botocore.auth.SigV4Auth(keys, "lambda", "us-east-1").add_auth(made)
    with httpx.Client(http2=True, http1=False, verify=trust(files), timeout=60) as web:
        answer = web.get(made.url, headers=dict(made.headers))
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


def test_http_2_without_tls(server):
    with httpx.Client(http2=True, http1=False, timeout=60) as web:
        answer = web.get(server.endpoint + "/-/health")
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


def test_files_that_cannot_be_used(tmp_path, files):
    other = certificate(tmp_path, "other")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    missing = tmp_path / "missing.pem"
    for cert, key, words in [
        (files[0], other[1], ["is not the key of", str(other[1])]),
        (missing, files[1], [str(missing), "cannot be read"]),
        (files[0], missing, [str(missing), "cannot be read"]),
        (empty, files[1], ["no certificate in", str(empty)]),
        (files[0], empty, ["no private key in", str(empty)]),
    ]:
        command = [harness.BINARY, "serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60 * harness.SLOW)
        assert ended.returncode == 1 and all(word in ended.stderr for word in words), ended.stderr
    half = subprocess.run([harness.BINARY, "serve", "--tls-cert", files[0]], capture_output=True, text=True, timeout=60)
    assert half.returncode == 2 and "--tls-key" in half.stderr


def test_plain_http_to_a_server_with_tls_is_cut_off(encrypted):
    plain = encrypted.endpoint.replace("https:", "http:")
    with pytest.raises(httpx.HTTPError):
        httpx.get(plain + "/-/health", timeout=60)
