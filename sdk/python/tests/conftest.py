"""Tests of the package that need no server: the other end of the connection is scripted, see `peer.py`."""

import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import peer  # noqa: E402  (needs the path above)

from dayfly import api, connection  # noqa: E402


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """`serve(script)`: a scripted server that every job of the test finds."""
    peers = []
    monkeypatch.setattr(api, "_executors", {})

    def start(script=None):
        found = peer.Peer(tmp_path, script)
        peers.append(found)
        monkeypatch.setattr(connection, "find", lambda endpoint=None: found.endpoint)
        return found

    yield start
    for found in peers:
        found.close()
