"""Zygotes that are booted ahead of the job that they become the zygote of: used, and never twice."""

import os
import signal

import harness
import jobs
from ahead import MARKER, TELLS, packages, run, run_ahead, zygotes  # noqa: F401
from test_job_environments import own_environment


def test_the_second_job_does_not_import_again(server, packages):
    first, began, _ = run(server, packages)
    assert first["at"] > began
    told, began, header = run_ahead(server, packages)
    assert told["at"] < began and told["boot"] != first["boot"]
    environ = told["environ"]
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == header["function"]
    assert environ["AWS_LAMBDA_LOG_STREAM_NAME"] == header["log_stream"]
    assert environ["AWS_LAMBDA_LOG_GROUP_NAME"].endswith(header["function"])
    assert environ["AWS_ACCESS_KEY_ID"] and environ["AWS_SECRET_ACCESS_KEY"] and environ["AWS_SESSION_TOKEN"]
    assert first["environ"].keys() == environ.keys()


def test_nothing_of_a_job_is_seen_by_the_next(server, packages):
    dirty = (
        """
import builtins, os, sys, types, marker
builtins.left = marker.left = 1
marker.changes.append("loaded")
sys.modules["left_behind"] = types.ModuleType("left_behind")
sys.path.append("/left")
os.environ["LEFT"] = "1"
open("/tmp/left", "w").close()
"""
        + TELLS
    )
    boots = set()
    for _ in range(3):
        told, _, _ = run_ahead(server, packages, dirty)
        assert "left_behind" in told["modules"] and told["changes"] == ["loaded"]
        boots.add(told["boot"])
        told, _, _ = run_ahead(server, packages)
        assert "left_behind" not in told["modules"] and told["changes"] == [] and "left" not in told["tmp"]
        assert "LEFT" not in told["environ"] and told["boot"] not in boots
        boots.add(told["boot"])


def test_what_is_fixed_at_boot_is_the_jobs_own(server, packages):
    assert run_ahead(server, packages)[0]["asked"] is None
    for job in ({"environment_variables": {"ASKED_AT_IMPORT": "yes"}}, {"memory_mb": 256}):
        told, began, _ = run(server, packages, **job)
        assert told["at"] > began, "another kind of zygote"
        assert told["asked"] == job.get("environment_variables", {}).get("ASKED_AT_IMPORT")
        assert told["environ"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == str(job.get("memory_mb", 128))


def test_a_changed_module_is_imported_anew(server, packages):
    run_ahead(server, packages)
    (packages / "marker.py").write_text(MARKER.replace("changes = time.time(), uuid.uuid4().hex, []", "changes = time.time(), uuid.uuid4().hex, ['new']"))
    told, _, _ = run(server, packages)
    assert told["changes"] == ["new"]
    assert run_ahead(server, packages)[0]["changes"] == ["new"]


def test_imports_that_fail_are_the_functions_business(server, packages):
    (packages / "broken.py").write_text("raise RuntimeError('no such luck')")
    for _ in range(2):
        told, _, _ = run_ahead(server, packages, imports=["broken", "marker", "no_such_module"])
        assert "broken" not in told["modules"]
    outcomes, _ = jobs.run(
        server,
        "import broken\ndef call(arguments): return b''",
        [b""],
        environment=own_environment([str(packages), *own_environment()["path"]]),
        imports=["broken", "marker", "no_such_module"],
    )
    header, body = outcomes[0]
    assert header["status"] == "init_error" and b"no such luck" in body


def test_killed_ones_are_replaced(server, packages):
    for _ in range(3):
        run_ahead(server, packages)
        harness.wait_until(lambda: zygotes(server), what="a zygote")
        for pid in zygotes(server):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        run(server, packages)
