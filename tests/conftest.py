"""Fixtures for the tests of the real server. Stops with a clear message when there is no binary to test."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402  (needs the path above)


def pytest_sessionstart():
    # The tests' own credentials and endpoint must not come from whoever runs them.
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    if not os.access(harness.BINARY, os.X_OK):
        pytest.exit("set DAYFLY_BIN to the dayfly binary, or run `make it`", returncode=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for the tests of one module; nothing may be left of it at the end."""
    with harness.Server(tmp_path_factory.mktemp("data") / "data") as server:
        yield server
        if server.process.poll() is None:
            assert server.stop() == 0
    assert server.leftovers() == {}


@pytest.fixture
def folder(tmp_path):
    """A data folder that does not exist yet."""
    return tmp_path / "data"
