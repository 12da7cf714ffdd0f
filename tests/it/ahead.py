"""Jobs whose zygote tells whether it was there before them."""

import json
import os
import time

import harness
import jobs
import pytest
from jobs import frame
from test_job_environments import own_environment

MARKER = """
import os, time, uuid
at, boot, changes = time.time(), uuid.uuid4().hex, []
asked = os.environ.get("ASKED_AT_IMPORT")
"""
TELLS = """
import os, marker, sys
def call(arguments):
    import json
    told = {name: getattr(marker, name) for name in ("at", "boot", "changes", "asked")}
    return json.dumps({**told, "modules": sorted(sys.modules), "environ": dict(os.environ), "tmp": os.listdir("/tmp")}).encode()
"""


@pytest.fixture
def packages(tmp_path):
    """A folder of the caller's path, with the module `marker`."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "marker.py").write_text(MARKER)
    return folder


def run(server, packages, source=TELLS, **job):
    """One call of a job that imports `marker`: what it tells, when its job began, and what the server calls its function."""
    job = {"environment": own_environment([str(packages), *own_environment()["path"]]), "imports": ["marker"], **job}
    began = time.time()
    stream, begun = jobs.begin(server, source, **job)
    with stream:
        stream.send(frame("C", {"n": 0}), frame("Z", {}))
        frames = stream.rest()
        stream.end()
    ((header, body),) = [(header, body) for kind, header, body in frames if kind == "R"]
    assert header["status"] == "success", body
    return json.loads(body), began, {**header, "function": begun["function"]}


def run_ahead(server, packages, source=TELLS, **job):
    """Runs jobs until one has a zygote that was there before it."""
    found, pause = [], 0.0

    def is_ahead():
        # Who comes at once has the zygote that boots, and waits for it.
        nonlocal pause
        time.sleep(pause)
        pause += 0.2
        found[:] = run(server, packages, source, **job)
        return found[0]["at"] < found[1]

    harness.wait_until(is_ahead, what="a zygote ahead of its job")
    return found


def zygotes(server):
    """Host pids of zygotes, by their cgroups."""
    found = set()
    for path, _, files in os.walk("/sys/fs/cgroup"):
        if f"dayfly-{server.keys['server_id']}/zygote-" in path and "cgroup.procs" in files:
            with open(f"{path}/cgroup.procs") as file:
                found.update(int(line) for line in file)
    return found
