"""The rows of the cloud button: Python calls through Dayfly and through others, the same functions and the same Python.

A contender that cannot run is said to have failed, and no reason to lose the others. Each group has its time.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import tempfile
import time

import cloud
import contenders
import tools
from contenders import Failed, title
from rows import Row, median

MB = 1 << 20
OURS = "dayfly"
# Others do so few in a second that they are asked for fewer.
SLOW = {"fresh": 50, "lithops": 250}


@dataclasses.dataclass
class Group:
    """How much of it there is, and how long a group may take in all: then it makes do with the rounds that it has."""

    budget_s: float
    rounds: int = 3
    deadline_s: float = 100.0

    def __post_init__(self):
        self.end = time.monotonic() + self.budget_s

    @classmethod
    def of(cls, effort, budget_s):
        return cls(budget_s, effort.rounds // 2 + 1, 100.0)

    def turns(self, sides, measure):
        """Measures sides in turn, `measure(side, deadline in seconds)`; returns the runs of each and who failed, and why."""
        runs, failed = {side: [] for side in sides}, {}
        for number in range(self.rounds):
            if number and time.monotonic() > self.end - self.budget_s / self.rounds:
                tools.say(f"{number} rounds rather than {self.rounds}: the time is up")
                break
            for side in [one for one in sides if one not in failed]:
                left = min(self.deadline_s, max(10.0, self.end - time.monotonic()))
                try:
                    runs[side].append(measure(side, left))
                except Failed as error:
                    tools.say(f"{side} failed: {error}")
                    failed[side] = str(error)
        if OURS in failed:
            raise Failed(failed[OURS])
        return runs, failed


def per_second(runs):
    return f"{median(run['per_second'] for run in runs):,.0f}/s"


def seconds(runs):
    return f"{median(run['seconds'] for run in runs):.2f} s"


def compared(what, side, runs, failed, show, ratio_of, target="–", met=None):
    """A row of ours against one other; `ratio_of` takes a run of each, and `met` its median ratio."""
    details = {"ours": runs[OURS], "theirs": runs[side], "failed": failed.get(side)}
    ours = show(runs[OURS])
    if side in failed:
        return Row(what, title(side), ours, f"failed: {failed[side]}", "–", target, met and False, details)
    ratio = median(ratio_of(a, b) for a, b in zip(runs[OURS], runs[side]))
    return Row(what, title(side), ours, show(runs[side]), f"{ratio:.2f}×", target, met and met(ratio), details)


def rate_ratio(ours, theirs):
    return ours["per_second"] / theirs["per_second"]


def time_ratio(ours, theirs):
    return ours["seconds"] / theirs["seconds"]


def each(effort):
    """Trivial calls: a task for each, and as many to a task as the contender likes."""
    count = 10_000 if effort.rounds > 2 else 200
    sides = [OURS, "dask", "loky", "fresh", "pool", "ray", "lithops"]
    targets = {"dask": 2, "loky": 0.5, "fresh": 50}
    group = Group.of(effort, 200)
    with cloud.server() as running:

        def one(side, deadline_s, work="each"):
            many = max(count // SLOW[side], 10) if side in SLOW else count
            return contenders.run("calls.py", side, work, many, deadline_s=deadline_s, data=running.server.folder)

        runs, failed = group.turns(sides, one)
        group = Group.of(effort, 30)
        auto, auto_failed = group.turns([OURS, "loky"], lambda side, deadline_s: one(side, deadline_s, "auto"))
    rows = []
    for side in sides[1:]:
        least = targets.get(side)
        what, target = f"{count:,} trivial calls of a job, a fresh instance each", f"≥ {least}×" if least else "–"
        met = (lambda ratio, least=least: ratio >= least) if least else None
        rows.append(compared(what, side, runs, failed, per_second, rate_ratio, target, met))
    what = f"{count:,} trivial calls of a job, chunks as it likes"
    row = compared(what, "loky", auto, auto_failed, per_second, rate_ratio, "≥ 1×", lambda ratio: ratio >= 1)
    return [*rows, row]


def grid(effort):
    """scikit-learn's search through joblib. What is found must be the same."""
    fits = 200 if effort.rounds > 2 else 25
    sides = [OURS, "loky", "dask"]
    with cloud.server() as running:

        def one(side, deadline_s):
            return contenders.run("grid.py", side, fits, deadline_s=deadline_s, data=running.server.folder)

        runs, failed = Group.of(effort, 110).turns(sides, one)
    found = {json.dumps([run["best"], run["parameters"]]) for side in sides for run in runs[side]}
    if len(found) != 1:
        raise RuntimeError(f"the searches found different things: {found}")
    what = f"grid search, {fits} fits of a support vector machine on digits, workers and imports included"
    rows = []
    for side in sides[1:]:
        target, met = ("≤ 1.1×", lambda ratio: ratio <= 1.1) if side == "loky" else ("–", None)
        rows.append(compared(what, side, runs, failed, seconds, time_ratio, target, met))
    return rows


def first(effort):
    """The first result of a program that has just been started: with no server there, and with one."""
    sides = [OURS, "pool", "loky", "dask", "ray", "lithops"]
    seconds_of = {"second": []}

    def one(side, deadline_s):
        with tempfile.TemporaryDirectory(prefix="dayfly-bench-") as folder, embedded(folder) as data:
            run = contenders.run("calls.py", side, "first", 1, deadline_s=deadline_s, data=data)
            if side == OURS:
                again = contenders.run("calls.py", side, "first", 1, deadline_s=deadline_s, data=data)
                seconds_of["second"].append({"seconds": again["first_at"] - again["began_at"]})
        return {"seconds": run["first_at"] - run["began_at"]}

    runs, failed = Group.of(effort, 70).turns(sides, one)
    others = [f"{title(side)}: {failed.get(side) or seconds(runs[side])}" for side in sides[1:]]
    rows = []
    for what, ours, most_s in [
        ("first result of a program, from nothing: interpreter, import, server, environment", runs[OURS], 1.5),
        ("first result of the next program", seconds_of["second"], 0.3),
    ]:
        median_s = median(run["seconds"] for run in ours)
        details = {"ours": ours, "theirs": runs, "failed": failed}
        against, target = "the same with others, from nothing", f"< {most_s} s"
        rows.append(Row(what, against, seconds(ours), "; ".join(others), "–", target, median_s < most_s, details))
    return rows


@contextlib.contextmanager
def embedded(folder):
    """A data folder for a program that starts its own server, which is gone at the end."""
    data = pathlib.Path(folder) / "data"
    try:
        yield data
    finally:
        known = data / "server.json"
        if known.exists():
            pid = json.loads(known.read_text())["pid"]
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 30
            # Orphans come to this process, which has to take leave of them.
            while known.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def array(effort):
    """Calls over one array that they share: how long they take, and how often the array is in memory."""
    count, size = 1000 if effort.rounds > 2 else 100, 200_000_000
    # A small array, looked at so often that calls take as long and have as much of their own: what is left is the array.
    small_size = 80_128
    times = size // small_size
    sides = [OURS, "loky", "dask"]
    with cloud.server() as running:

        def one(side, deadline_s, size=size, times=1, watch=False):
            watched = None if not watch else [running.pid] if side == OURS else []
            arguments = ("calls.py", side, "array", count, size, times)
            return contenders.run(*arguments, deadline_s=deadline_s, data=running.server.folder, watched=watched)

        runs, failed = Group.of(effort, 60).turns(sides, one)
        group = Group.of(effort, 60)
        group.rounds = 1
        large, large_failed = group.turns(sides, lambda side, deadline_s: one(side, deadline_s, watch=True))
        small, small_failed = group.turns(sides, lambda side, deadline_s: one(side, deadline_s, small_size, times, watch=True))
    what = f"{count:,} calls over a captured array of {size // 1_000_000} MB, each a nearest neighbour among all of it"
    rows = []
    for side in sides[1:]:
        target, met = ("≤ 1.2×", lambda ratio: ratio <= 1.2) if side == "loky" else ("–", None)
        rows.append(compared(what, side, runs, failed, seconds, time_ratio, target, met))
    broken = {**large_failed, **small_failed}

    def copies(side, name="memory_bytes"):
        return (large[side][0][name] - small[side][0][name]) / size

    others = "; ".join(f"{title(side)}: {copies(side):.2f}" for side in sides[1:] if side not in broken)
    details = {"large": large, "small": small, "failed": broken}
    held = copies(OURS, "watched_bytes")
    text = f"{held:.2f} copies (server and all instances; {copies(OURS):.2f} with the caller's own array)"
    against = "with the caller's own array"
    rows.append(Row(f"{what}: in memory", against, text, others or "–", "–", "≤ 2 copies", held <= 2, details))
    return rows


def aggregate(effort):
    """The aggregate query of examples/bigdata over text. One round: most of it is making the data."""
    size = 1_000_000_000 if effort.rounds > 2 else 20_000_000
    with cloud.server() as running:
        found = contenders.run("aggregate.py", size, deadline_s=150, data=running.server.folder)
    what = f"aggregate of {found['bytes'] / 1e9:.2f} GB of CSV, {found['groups']:,} groups"
    rows = []
    for side in ("dask", "duckdb"):
        theirs, failed = [{"seconds": found.get(side)}], {}
        if side == "dask" and found["dask_failed"]:
            failed = {side: found["dask_failed"]}
        runs = {OURS: [{"seconds": found[OURS]}], side: theirs}
        rows.append(compared(what, side, runs, failed, seconds, time_ratio))
    return rows
