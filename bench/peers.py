"""The other side: what people would use without Dayfly, with the same interpreter and the same handler."""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

import boto3
import cloud
import tools
from botocore.config import Config

PEERS = tools.HERE / "peers"
START_S = 60


class Gunicorn:
    """A running gunicorn with sync workers."""

    def __init__(self, address, folder):
        self.address = address
        self.folder = folder

    def call(self, event, connections, until):
        """Loads it with the same generator."""
        request = self.folder / "request"
        head = f"POST / HTTP/1.1\r\nHost: {self.address}\r\nContent-Type: application/json\r\n"
        request.write_text(f"{head}Content-Length: {len(event)}\r\n\r\n{event}")
        return tools.load(self.address, request, connections, until)


def gunicorn(function, workers):
    """gunicorn with the handler of a function."""
    return gunicorn_of(tools.PYTHON, PEERS, "wsgi:application", workers, path_of(function))


@contextlib.contextmanager
def gunicorn_of(python, root, application, workers, environment=None):
    """gunicorn on a free port, warm."""
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder:
        command = [python, "-m", "gunicorn", "--workers", workers, "--worker-class", "sync"]
        command += ["--bind", "127.0.0.1:0", "--chdir", root, "--worker-tmp-dir", "/dev/shm", application]
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            yield Gunicorn(listening(process, workers), pathlib.Path(folder))
        finally:
            process.terminate()
            process.wait(40)


def listening(process, workers):
    """The address that it prints, once its workers have booted. Its further output is read and dropped."""
    address, booted = None, 0
    for line in process.stderr:
        found = re.search(r"Listening at: http://([\d.:]+)", line)
        address = found[1] if found else address
        booted += "Booting worker" in line
        if address and booted == workers:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return address
    raise RuntimeError("gunicorn did not start")


@contextlib.contextmanager
def serving(folder, command_of):
    """A server on a port that is free now: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = command_of(address.rpartition(":")[2])
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([str(part) for part in command], cwd=folder, **quiet)
    try:
        deadline = time.monotonic() + START_S
        while not answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait(20)


def answers(address):
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
        return True
    except OSError:
        return False


def moto(port):
    """Command of moto's server, which keeps everything in memory."""
    return [tools.jobs_python(), "-m", "moto.server", "-H", "127.0.0.1", "-p", port]


def client(service, address, **settings):
    """A boto3 client of a peer; its keys are "bench"."""
    keys = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench", "region_name": cloud.REGION}
    config = Config(retries={"total_max_attempts": 1}, **settings)
    return boto3.client(service, endpoint_url=f"http://{address}", config=config, **keys)


def fresh(how, clients, seconds):
    """A fresh process per call: "executor" or "command"."""
    return tools.output_of([tools.PYTHON, PEERS / "fresh.py", how, clients, seconds], seconds + 120, path_of("bare"))


def floor(in_flight, seconds, memory_mb):
    """Clones per second of the bare function's zygote."""
    command = [tools.FLOOR, cloud.FUNCTIONS / "bare", cloud.RUNTIME, in_flight, seconds, memory_mb]
    return tools.output_of(command, seconds + 60)


def import_seconds(modules):
    """Wall time of a new interpreter that imports."""
    started = time.monotonic()
    subprocess.run([str(tools.PYTHON), "-c", f"import {modules}"], check=True, stdin=subprocess.DEVNULL, timeout=120)
    return time.monotonic() - started


def fsync(folder, event_bytes, threads, seconds):
    """One fsync per event, on the file system of `folder`."""
    return tools.output_of([tools.LOAD, "fsync", folder, event_bytes, threads, seconds], seconds + 60)


def store(seconds, folder):
    """The store alone: (events per second with group commit and 32 clients, with one fsync each)."""
    command = [str(tools.STORE), str(seconds), str(folder)]
    # It ends with an error when its own target is not met; its figures count all the same.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds * 4 + 60, check=False)
    figures = {line[:42].strip(): float(line[42:52]) for line in done.stdout.splitlines() if "/s   p50" in line}
    return figures["store, 32 clients"], max(rate for name, rate in figures.items() if "per event" in name)


def path_of(function):
    """An environment in which `import app` finds the function; without the benchmark's own virtual environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**environment, "PYTHONPATH": str(cloud.FUNCTIONS / function)}
