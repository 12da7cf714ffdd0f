"""Starts the real `dayfly serve` on port 0 and an empty data folder, and counts what it leaves behind.

The binary is DAYFLY_BIN. Used by every folder of tests beside this file.
"""

import ctypes
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import boto3
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/test"
# Processes of servers.
STARTED = []
RUNTIME = f"python3.{sys.version_info.minor}"
BINARY = os.environ.get("DAYFLY_BIN", "")
CGROUP_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
# How many times longer than on a real machine things may take: an emulated one is 10 to 20 times slower.
SLOW = int(os.environ.get("DAYFLY_TEST_SLOW", "1"))
PR_SET_CHILD_SUBREAPER = 36

# What a dead server leaves re-parents to this process, and is found there.
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Server:
    """One server process. `with Server(folder) as server:` starts it, and stops it by its pid."""

    def __init__(self, folder, *arguments, config=None, environment=None, log=None):
        self.folder = pathlib.Path(folder)
        self.arguments = arguments
        self.environment = environment or {}
        self.log = log
        self.process = None
        if config is not None:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / "config.toml").write_text(config)

    def start(self):
        """Starts the server and waits for its ready line."""
        self.before = Traces.now(self.folder)
        command = [BINARY, "serve", "--data", self.folder, "--listen", "127.0.0.1:0", *self.arguments]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **self.environment},
            text=True,
        )
        STARTED.append(self.process)
        line = self.process.stdout.readline()
        found = re.match(r"dayfly: listening on (https?://\S+)", line)
        if not found:
            self.process.wait(10 * SLOW)
            raise RuntimeError(f"the server said {line!r} and ended with {self.process.returncode}")
        self.endpoint = found[1]
        self.keys = json.loads((self.folder / "credentials.json").read_text())
        return self

    @property
    def pid(self):
        return self.process.pid

    def variables(self):
        """What `dayfly env` exports, as a dictionary."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.keys["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.keys["secret_access_key"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self, service="lambda", **settings):
        """A boto3 client that neither retries nor waits for ever."""
        config = Config(
            retries={"total_max_attempts": 1}, read_timeout=60 * SLOW, max_pool_connections=64, parameter_validation=False
        )
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.keys["access_key_id"],
            aws_secret_access_key=self.keys["secret_access_key"],
            region_name="us-east-1",
            config=config.merge(Config(**settings)),
        )

    def create(self, name, source, files=None, **settings):
        """Makes a function of the text of `app.py` (and further files) and waits until it is active."""
        client = self.client()
        settings = {"Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler", **settings}
        # A timeout of 5 s or more, or none, is meant to be enough, a smaller one to run out.
        if SLOW > 1 and settings.get("Timeout", 5) >= 5:
            settings["Timeout"] = min(settings.get("Timeout", 3) * SLOW, 900)
        made = client.create_function(FunctionName=name, Code={"ZipFile": package(source, files)}, **settings)
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600 * SLOW})
        return made

    def invoke(self, name, payload=None, **arguments):
        """`(answer, decoded payload)` of one call."""
        answer = self.client().invoke(FunctionName=name, Payload=json.dumps(payload), **arguments)
        return answer, json.loads(answer["Payload"].read() or b"null")

    def messages(self, name, pattern=""):
        """The lines of a function's log so far. A call's are stored a moment after its answer, and the group with the first."""
        logs = self.client("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}", filterPattern=pattern)
            return [event["message"].rstrip("\n") for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []

    def cli(self, *arguments, check=True, **options):
        """Runs a verb of the binary against this server; returns the finished process."""
        command = [BINARY, arguments[0], "--data", self.folder, *arguments[1:]]
        # `deploy` reads applications with the python3 of the path, which needs what they import.
        path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        options.setdefault("env", {**os.environ, "PATH": path})
        result = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=120 * SLOW, **options
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{command} ended with {result.returncode}: {result.stderr}")
        return result

    def stop(self, seconds=40):
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds * SLOW)
        self.process.stdout.close()
        return code

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10 * SLOW)
        self.process.stdout.close()

    def leftovers(self, seconds=5):
        """What is there now and was not before the start; waits a moment for the kernel to finish with the dead."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            left = Traces.now(self.folder).without(self.before)
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.05)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise


def running():
    """Process ids of the servers that run now: what one of them starts is no trace of another."""
    STARTED[:] = [process for process in STARTED if process.poll() is None]
    return {process.pid for process in STARTED}


class Traces:
    """Processes, mounts, cgroups and network namespaces that a server can leave behind."""

    def __init__(self, found):
        self.found = found

    @classmethod
    def now(cls, folder):
        return cls(
            {
                "processes": descendants(os.getpid(), running()),
                "mounts": mounts(folder),
                "cgroups": cgroups(folder),
                "networks": networks(running()),
            }
        )

    def without(self, before):
        left = {kind: sorted(self.found[kind] - before.found[kind]) for kind in self.found}
        return {kind: things for kind, things in left.items() if things}


def process_table():
    """pid → (parent, state) of every process that can be seen."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent = text.rpartition(")")[2].split()[:2]
            table[int(entry)] = (int(parent), state)
    return table


def descendants(root, without=()):
    """Every living process below `root`, with its command; those of `without`, and what is below them, left out."""
    table, found, waiting = process_table(), set(), [root]
    while waiting:
        parent = waiting.pop()
        for pid, (above, state) in table.items():
            if above == parent and pid not in without:
                waiting.append(pid)
                if state != "Z":
                    found.add(f"{pid} {command(pid)}")
    return found


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    except OSError:
        return "?"


def mounts(folder):
    with open("/proc/self/mountinfo") as lines:
        return {line.split()[4] for line in lines if str(folder) in line or "dayfly" in line}


def cgroups(folder):
    try:
        server_id = json.loads((folder / "credentials.json").read_text())["server_id"]
    except FileNotFoundError:
        return set()
    return {path for path, _, _ in os.walk("/sys/fs/cgroup") if server_id in path}


def networks(without=()):
    """Inodes of the network namespaces of processes below this one, and not below those of `without`."""
    found = set()
    for entry in {line.split()[0] for line in descendants(os.getpid(), without)}:
        try:
            found.add(os.readlink(f"/proc/{entry}/ns/net"))
        except OSError:
            pass
    return found


def package(source, files=None):
    """A code package: `app.py` with `source`, and further files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", textwrap.dedent(source))
        for name, text in (files or {}).items():
            archive.writestr(name, text)
    return content.getvalue()


def wait_until(condition, seconds=20, what="the condition"):
    """Polls until `condition()` is true and returns what it gave."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds * SLOW} s")
        time.sleep(0.02)
