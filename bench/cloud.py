"""Dayfly's side: a server on an empty folder, functions, and requests that are signed once and sent often."""

import contextlib
import io
import pathlib
import tempfile
import zipfile

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import tools
from harness import ROLE, RUNTIME, Server

FUNCTIONS = tools.HERE / "functions"
REGION = "us-east-1"
SKIPPED_PACKAGES = ("pip", "setuptools", "gunicorn", "_distutils_hack")


@contextlib.contextmanager
def server(config=""):
    """A server that is gone at the end, and its folder with it."""
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder:
        with Server(pathlib.Path(folder) / "data", "--drain-seconds", "1", config=config) as running:
            yield Cloud(running, pathlib.Path(folder))


class Cloud:
    """A running server and what is asked of it."""

    def __init__(self, running, folder):
        self.server = running
        self.folder = folder
        self.address = running.endpoint.removeprefix("http://")

    @property
    def pid(self):
        return self.server.pid

    @property
    def credentials(self):
        """What requests are signed with."""
        return botocore.credentials.Credentials(self.server.keys["access_key_id"], self.server.keys["secret_access_key"])

    def deploy(self, name, package, **settings):
        """Makes a function of a package's bytes and waits until it is active."""
        client = self.server.client(read_timeout=300, connect_timeout=300)
        settings = {"MemorySize": 512, "Timeout": 60, **settings}
        client.create_function(
            FunctionName=name, Code={"ZipFile": package}, Runtime=RUNTIME, Role=ROLE, Handler="app.handler", **settings
        )
        patience = {"Delay": 0.1, "MaxAttempts": 3000}
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig=patience)

    def request(self, name, event, kind="RequestResponse"):
        """Writes one signed Invoke to a file and returns its path. The server verifies it each time that it comes; its
        date holds for minutes, so a run may send it as often as it likes."""
        url = f"{self.server.endpoint}/2015-03-31/functions/{name}/invocations"
        headers = {"X-Amz-Invocation-Type": kind, "Content-Type": "application/octet-stream"}
        request = botocore.awsrequest.AWSRequest("POST", url, headers=headers, data=event.encode())
        botocore.auth.SigV4Auth(self.credentials, "lambda", REGION).add_auth(request)
        lines = [f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1", f"Host: {self.address}"]
        lines += [f"{key}: {value}" for key, value in request.headers.items()]
        lines += [f"Content-Length: {len(event)}", "", event]
        path = self.folder / f"{name}.request"
        path.write_text("\r\n".join(lines))
        return path

    def call(self, name, event, connections, until, kind="RequestResponse"):
        """Loads a function; what the load generator found."""
        request = self.request(name, event, kind)
        return tools.load(self.address, request, connections, until, 202 if kind == "Event" else 200)

    def interpreter(self):
        """Path of the interpreter that runs functions. It is the same inside a sandbox and outside."""
        self.server.create("which", "import sys\ndef handler(event, context):\n    return sys.executable\n")
        path = self.server.invoke("which")[1]
        self.server.client().delete_function(FunctionName="which")
        return path


def package_of(name):
    """A code package of one of the functions here."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(FUNCTIONS / name / "app.py", "app.py")
    return content.getvalue()


def heavy_package(name):
    """The same with scikit-learn and all it needs, without its tests."""
    content = io.BytesIO()
    folder = tools.site_packages()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(FUNCTIONS / name / "app.py", "app.py")
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            skipped = inside.parts[0].startswith(SKIPPED_PACKAGES)
            if path.is_file() and not skipped and not {"tests", "__pycache__"} & set(inside.parts):
                archive.write(path, inside)
    return content.getvalue()

