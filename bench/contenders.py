"""Runs the programs of peers/ that call Python functions through somebody, each with a deadline, and leaves nothing of them."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

import processes
import tools

PEERS = tools.HERE / "peers"
SDK = tools.ROOT / "sdk" / "python"
SAMPLE_S = 0.2
NAMES = {
    "loky": "joblib {joblib}, loky, 2 workers",
    "pool": "`ProcessPoolExecutor(2)`",
    "fresh": "`ProcessPoolExecutor(2, max_tasks_per_child=1)`: a fresh process each",
    "dask": "Dask distributed {distributed}, 2 workers",
    "ray": "Ray {ray}, 2 workers",
    "lithops": "Lithops {lithops}, localhost",
    "duckdb": "DuckDB {duckdb}, 2 threads",
}


class Failed(Exception):
    """A program ended with an error, or not in time."""


def title(contender):
    """Its name and version, for the table."""
    return NAMES[contender].format(**tools.versions_of_jobs())


def run(script, *arguments, deadline_s, data=None, watched=None):
    """What a program of peers/ prints, parsed, with `began_at` (seconds since 1970). With `watched`, processes besides its
    own, also the most memory that all of them held, `memory_bytes`, and `watched_bytes` and `own_bytes` of it at that moment.
    Raises `Failed`."""
    with tempfile.TemporaryDirectory(prefix="dayfly-bench-", ignore_cleanup_errors=True) as folder:
        # What it logs may be more than a pipe holds.
        with open(pathlib.Path(folder) / "said", "w+") as said:
            before = set(processes.children(os.getpid()))
            # Made before the clock starts: the first time, packages are installed.
            command = [str(part) for part in (tools.jobs_python(), PEERS / script, *arguments)]
            variables = environment(folder, data)
            began_at = time.time()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=variables,
                start_new_session=True,
                cwd=folder,
            )
            memory = None if watched is None else Memory(process.pid, *watched)
            try:
                out, _ = process.communicate(timeout=deadline_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"no end within {deadline_s} s") from None
            finally:
                end(process, before)
            said.seek(0)
            if process.returncode != 0:
                raise Failed((said.read().strip().splitlines() or [f"exit {process.returncode}"])[-1][:200])
    found = {**json.loads(out), "began_at": began_at}
    return found if memory is None else {**found, **memory.most()}


def environment(folder, data):
    """Nothing of the user's, but what programs need; homes and temporary files in `folder`."""
    # Lithops takes the first `python` that it finds.
    path = f"{tools.jobs_python().parent}:{os.environ.get('PATH', os.defpath)}"
    homes = {name: folder for name in ("HOME", "TMPDIR", "RAY_TMPDIR", "LITHOPS_TEMP_DIR")}
    own = {"PYTHONPATH": str(SDK), "DAYFLY_BIN": str(tools.BINARY), "DAYFLY_DATA": str(data or pathlib.Path(folder) / "data")}
    return {"PATH": path, **homes, **own, "RAY_USAGE_STATS_ENABLED": "0", "LITHOPS_TELEMETRY": "False"}


def end(process, before):
    """Kills what is left of a program: its group, and what it had started that has come to this process since."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    # The dead leave their children to this process; a few generations of them.
    for _ in range(10):
        # A server that a program has started for itself and its successors stays.
        orphans = [pid for pid in processes.children(os.getpid()) if pid not in before and not is_server(pid)]
        if not orphans:
            return
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def is_server(pid):
    try:
        return processes.command(pid).startswith(os.fsencode(tools.BINARY))
    except OSError:
        return False


class Memory:
    """The most that some process trees held together: each page once, whoever shares it. Sampled, which slows them."""

    def __init__(self, own, *watched):
        self._own = own
        self._watched = watched
        self._most = {"memory_bytes": 0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def most(self):
        self._over.set()
        self._thread.join(10)
        return self._most

    def _watch(self):
        while not self._over.wait(SAMPLE_S):
            own, watched = held_by(self._own), sum(map(held_by, self._watched))
            if own + watched > self._most["memory_bytes"]:
                self._most = {"memory_bytes": own + watched, "own_bytes": own, "watched_bytes": watched}


def held_by(root):
    """What a process and all below it hold; of pages that others have too, their share."""
    pids = {root}
    with contextlib.suppress(OSError):
        pids.update(processes.descendants(root))
    return sum(memory["Pss"] for _, memory in processes.of_living(processes.memory, sorted(pids)))
