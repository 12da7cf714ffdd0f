"""The Python package in this tree, and programs that use it, for the tests of the cloud button."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import harness
import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "sdk" / "python"
sys.path.insert(0, str(PACKAGE))

import dayfly  # noqa: E402, F401  (needs the path above)


@contextlib.contextmanager
def using(server):
    """`dayfly` finds this server, as its user does."""
    before = os.environ.get("DAYFLY_DATA")
    os.environ["DAYFLY_DATA"] = str(server.folder)
    try:
        yield server
    finally:
        if before is None:
            del os.environ["DAYFLY_DATA"]
        else:
            os.environ["DAYFLY_DATA"] = before


@pytest.fixture
def button(server):
    with using(server):
        yield server


@pytest.fixture
def own(folder):
    """A server of the test's own."""
    with harness.Server(folder) as server, using(server):
        yield server


def script(text, *arguments, python=sys.executable, data=None, **options):
    """Starts a program of its own with the package."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "DAYFLY_BIN": harness.BINARY, "PYTHONUNBUFFERED": "1"}
    if data is not None:
        environment["DAYFLY_DATA"] = str(data)
    return subprocess.Popen(
        [python, *arguments, "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **options.pop("environment", {})},
        **options,
    )


def output_of(process, seconds=60):
    out, err = process.communicate(timeout=seconds * harness.SLOW)
    assert process.returncode == 0, err
    return out


def stop_server_of(data):
    """A server that a program started is nobody's child: by its file, and its end by its socket."""
    with contextlib.suppress(FileNotFoundError):
        os.kill(json.loads((data / "server.json").read_text())["pid"], signal.SIGTERM)
        harness.wait_until(lambda: not (data / "server.json").exists(), 40, "the server's end")
