"""Jobs that go on without their program, through the Python package, against the real server."""

import time

import harness
import pytest
from button import button, dayfly, output_of, own, script

assert button and own, "fixtures"


def test_a_detached_job_outlives_its_program_and_is_fetched_once(own):
    program = """
        import dayfly, time
        def slowly(x):
            time.sleep(0.3)
            if x == 3:
                raise LookupError(x)
            return x * x
        print(dayfly.map(slowly, range(6), detach=True).id)
    """
    job = output_of(script(program)).strip()
    first = dayfly.attach(job, return_exceptions=True)
    assert [next(first), next(first)] == [0, 1]
    # Whoever takes over gets all but what was taken; here over the life of a server.
    first.close()
    own.stop()
    with harness.Server(own.folder):
        rest = dayfly.attach(job, return_exceptions=True).results()
        assert rest[:1] + rest[2:] == [4, 16, 25] and isinstance(rest[1], LookupError)
        harness.wait_until(lambda: is_gone(job), 5, "the end of what was fetched")


def is_gone(job):
    try:
        return dayfly.attach(job, return_exceptions=True).results() == []
    except dayfly.JobError as error:
        return error.status == 404


def test_a_detached_job_can_be_cancelled(button):
    job = dayfly.map(lambda x: time.sleep(600), range(4), detach=True)
    assert job.status()["state"] == "running"
    job.cancel()
    with pytest.raises(dayfly.Cancelled):
        next(job)


def test_results_are_fetched_from_another_machine(own, tmp_path):
    job = dayfly.map(lambda x: x * x, range(5), detach=True)
    # All that a program elsewhere has: an address and keys. Neither folder nor socket, nor a server of its own.
    fetch = f"import dayfly; print(sorted(dayfly.attach({job.id!r}).results()))"
    elsewhere = {**own.variables(), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "DAYFLY_BIN": "/nowhere"}
    process = script(fetch, data=tmp_path / "none", environment=elsewhere)
    assert output_of(process) == "[0, 1, 4, 9, 16]\n"
    assert is_gone(job.id), "each is fetched once"
