"""This user's own server: found by its socket in the data folder, started when it is not there.

It is detached from this program, serves all programs of the user, and ends when nothing has used it for a while.
Two programs that start one at the same time do no harm: the folder's lock lets one of them live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from typing import Optional

from .errors import NoServer

SOCKET = "dayfly.sock"
IDLE_S = 60
_START_DEADLINE_S = 20.0
_LOG_BYTES_MAX = 1 << 20
# Kept, so that they are not reported as forgotten; an ended one is reaped with the next start.
_started: list["subprocess.Popen[bytes]"] = []


def ensure(folder: str) -> str:
    """The socket of a server on `folder` that takes connections. Raises `NoServer` with what the server said."""
    path = os.path.join(folder, SOCKET)
    if _answers(path):
        return path
    program = binary()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        log = os.path.join(folder, "server.log")
        fresh = not os.path.exists(log) or os.path.getsize(log) > _LOG_BYTES_MAX
        with open(log, "wb" if fresh else "ab") as file:
            os.chmod(log, 0o600)
            begin = file.seek(0, os.SEEK_END)
            command = [program, "serve", "--data", folder, "--listen", "127.0.0.1:0", "--exit-when-idle", str(IDLE_S)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True, cwd="/"
            )
    except OSError as error:
        raise NoServer(f"{program} cannot be started: {error}") from error
    _started[:] = [other for other in _started if other.poll() is None] + [process]
    return _wait(path, process, log, begin)


def _wait(path: str, process: "subprocess.Popen[bytes]", log: str, begin: int) -> str:
    deadline = time.monotonic() + _START_DEADLINE_S
    pause = 0.002
    while not _answers(path):
        code = process.poll()
        # A server that found the folder taken leaves it to the one that has it, whose socket is to come.
        if code is not None and not _is_taken(_said(log, begin)):
            raise NoServer(f"the server ended with {code} before it was ready. It said:\n{_said(log, begin)}")
        if time.monotonic() > deadline:
            raise NoServer(f"no server is ready after {_START_DEADLINE_S:.0f} s. It said:\n{_said(log, begin)}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return path


def _is_taken(said: str) -> bool:
    return "another server uses" in said


def _said(log: str, begin: int) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(begin)
            return file.read(8000).decode("utf-8", "replace").strip() or "(nothing)"
    except OSError as error:
        return f"({error})"


def _answers(path: str) -> bool:
    from .connection import connect_file

    try:
        connect_file(path).close()
        return True
    except OSError:
        return False


def binary() -> str:
    """The `dayfly` program: `DAYFLY_BIN`, beside this interpreter (where the wheel puts it), or on the PATH."""
    given = os.environ.get("DAYFLY_BIN")
    if given:
        return given
    folders = [os.path.dirname(sys.executable or ""), sysconfig.get_path("scripts"), _user_scripts()]
    for folder in folders:
        program = os.path.join(folder, "dayfly") if folder else ""
        if program and os.access(program, os.X_OK) and not _is_python(program):
            return program
    found = shutil.which("dayfly")
    if found is None:
        raise NoServer(
            "the dayfly program is not there: install the wheel, set DAYFLY_BIN to it, or set DAYFLY_ENDPOINT to a server"
        )
    return found


def _user_scripts() -> Optional[str]:
    try:
        return sysconfig.get_path("scripts", f"{os.name}_user")
    except KeyError:
        return None


def _is_python(program: str) -> bool:
    """Whether it is a script that some package has put there under our name."""
    try:
        with open(program, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True
