"""Jobs of a server whose disk is full: each failure has a type, nothing hangs, and it passes."""

import contextlib
import os
import subprocess

import harness
import pytest
from button import dayfly, using

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@pytest.fixture
def small(tmp_path):
    """A server with a disk of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        with harness.Server(disk / "data") as server, using(server):
            yield server
    finally:
        subprocess.run(["umount", disk], check=True)


@contextlib.contextmanager
def full(server, left=0):
    """Nothing of the disk is left while the block runs, or little."""
    filler = server.folder.parent / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with open(filler, "r+b") as file:
        file.truncate(max(0, filler.stat().st_size - left))
    try:
        yield
    finally:
        filler.unlink()


def works(size=3):
    return list(dayfly.map(lambda x: x * x, range(size))) == [x * x for x in range(size)]


def test_a_function_that_does_not_fit(small):
    held = os.urandom(80 << 20)
    with pytest.raises(dayfly.DayflyError, match="(?i)no space|storage|disk|room") as error:
        list(dayfly.map(lambda x: len(held), range(3)))
    assert not isinstance(error.value, dayfly.ServerLost), error.value
    assert works()


def test_arguments_and_results_that_do_not_fit(small):
    assert works()
    big = os.urandom(80 << 20)
    with pytest.raises((dayfly.StoreError, dayfly.DayflyError), match="(?i)InsufficientStorage|no space|disk|room"):
        list(dayfly.map(len, [big], memory=1024))
    assert works()
    with pytest.raises(Exception, match="(?i)InsufficientStorage|no space|disk|room") as error:
        list(dayfly.map(lambda size: os.urandom(size), [80 << 20], memory=1024))
    assert isinstance(error.value, dayfly.DayflyError), error.value
    assert works()


def test_a_disk_that_others_have_filled(small):
    assert works()
    with full(small):
        # Either it runs, or it says what is wrong; what it never does is to hang.
        for attempt in range(3):
            try:
                assert works(5)
            except dayfly.DayflyError as error:
                assert str(error), attempt
        with pytest.raises(dayfly.DayflyError):
            dayfly.map(lambda x, y: x, [os.urandom(4 << 20)] * 3, range(3), detach=True)
    harness.wait_until(lambda: attempt_works(), 60, "a job after the disk has room again")


def attempt_works():
    try:
        return works()
    except dayfly.DayflyError:
        return False
