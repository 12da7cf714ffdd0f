"""What processes use, read from /proc: CPU time, page faults, memory."""

import dataclasses
import os
import pathlib
import time

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Used:
    """User and system CPU time in microseconds, and minor page faults."""

    user_us: float = 0.0
    system_us: float = 0.0
    faults: int = 0

    def __add__(self, other):
        return Used(self.user_us + other.user_us, self.system_us + other.system_us, self.faults + other.faults)

    def __sub__(self, other):
        return Used(self.user_us - other.user_us, self.system_us - other.system_us, self.faults - other.faults)

    def per(self, count):
        """A dictionary of the figures per call."""
        return {
            "user_us": round(self.user_us / count, 1),
            "system_us": round(self.system_us / count, 1),
            "faults": round(self.faults / count, 1),
        }


def stat(pid):
    """Fields of /proc/PID/stat after the name, so that index 0 is the state."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def used(pid):
    """What a process used itself, all its threads together."""
    fields = stat(pid)
    return Used(int(fields[11]) * TICK_US, int(fields[12]) * TICK_US, int(fields[7]))


def used_by_children(pid):
    """What the children that it has waited for used."""
    fields = stat(pid)
    return Used(int(fields[13]) * TICK_US, int(fields[14]) * TICK_US, int(fields[8]))


def children(pid):
    """Living children of all threads of a process."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def descendants(pid):
    """All living processes below `pid`."""
    found = []
    for child in children(pid):
        try:
            found += [child, *descendants(child)]
        except OSError:
            continue
    return found


def run_time_us(pid):
    """CPU time of a process, threads that have ended included, in microseconds, exact to the nanosecond.

    The clock id of another process's CPU clock is what clock_getcpuclockid(3) makes of its pid.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1000


def memory(pid):
    """`smaps_rollup` in bytes, by name."""
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(kilobytes) << 10 for name, kilobytes, *_ in map(str.split, lines)}


def status(pid, name):
    """A size in `status`, in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    return 0


def command(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def cgroup_names(pid):
    """Last parts of the cgroups of a process."""
    text = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    return {line.rpartition("/")[2] for line in text.splitlines()}


def of_living(read, pids):
    """What `read` finds for each process, beside its pid; those that have ended meanwhile are left out."""
    found = []
    for pid in pids:
        try:
            found.append((pid, read(pid)))
        except OSError:
            continue
    return found


class Sandbox:
    """The processes of the one function version that a server runs: launcher, zygote, spares."""

    def __init__(self, server_pid):
        outer = [pid for pid in children(server_pid) if b"launcher" in command(pid)]
        if len(outer) != 1:
            raise RuntimeError(f"{len(outer)} launchers where one was expected")
        self.server = server_pid
        self.outer = outer[0]
        (self.launcher,) = children(self.outer)
        self.zygote, self.spares = None, []
        for pid, names in of_living(cgroup_names, children(self.launcher)):
            if any(name.startswith("zygote-") for name in names) and self.zygote is None:
                self.zygote = pid
            elif any(name.startswith("instance-") for name in names):
                self.spares.append(pid)

    def use(self):
        """CPU time and faults so far, by part."""
        parts = {
            "server": used(self.server),
            "launcher": used(self.launcher) + used(self.outer),
            "instances": used_by_children(self.launcher),
        }
        if self.zygote is not None:
            parts["zygote"] = used(self.zygote)
        return parts
