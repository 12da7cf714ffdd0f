"""Prints rows for people, writes them for machines, and into docs/benchmarks.md."""

import dataclasses
import datetime
import json
import os
import pathlib
import platform

import tools

PAGE = tools.ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by `bench/run.py --write` -->\n", "<!-- end of figures -->\n"
HEAD = ("What", "Against", "Dayfly", "Peer", "Ratio", "Target", "Met")
VERDICTS = {True: "yes", False: "no", None: "–"}


def machine():
    """What the figures were measured on. Taken before anything runs."""
    model = value_of("/proc/cpuinfo", "model name")
    memory_kb = int(value_of("/proc/meminfo", "MemTotal").split()[0])
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(memory_kb / 2**20, 1),
        "kernel": platform.release(),
        "cgroup": 2 if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "load_average": round(os.getloadavg()[0], 2),
    }


def value_of(path, key):
    """Value of the first `key : value` line of a file."""
    lines = pathlib.Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "0 (not known)")


def machine_line(found):
    """One sentence of it."""
    left_out = f". Not measured in this run: {', '.join(found['left_out'])}" if found.get("left_out") else ""
    quick = ", **a quick run: not for comparison**" if found.get("quick") else ""
    return (
        f"{found['date']}: {found['cores']} cores ({found['processor']}), {found['memory_gb']} GB, "
        f"Linux {found['kernel']}, cgroup v{found['cgroup']}, Python {found['python']}, "
        f"load average at the start {found['load_average']}{quick}{left_out}"
    )


def cells(row):
    return (row.what, row.against, row.ours, row.theirs, row.ratio, row.target, VERDICTS[row.met])


def show(rows):
    """One block per row: the lines would be too long for a terminal as a table."""
    for row in rows:
        mark = {True: ": met", False: ": NOT MET", None: ""}[row.met]
        print(f"{row.what}\n    against  {row.against}")
        print(f"    Dayfly   {row.ours}\n    peer     {row.theirs}")
        print(f"    ratio    {row.ratio}   target {row.target}{mark}")
        for part, figures in row.details.get("per_call", {}).items():
            times = f"user {figures['user_us']:7.1f} µs  system {figures['system_us']:7.1f} µs"
            print(f"             {part:15} {times}  faults {figures['faults']:6.1f}  per call")
        print(flush=True)


def markdown(rows, found):
    lines = [machine_line(found), "", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    for row in rows:
        if "per_call" in row.details:
            lines += ["", f"Where the time of a call goes ({row.what}), per call:", ""]
            lines += ["| Part | User µs | System µs | Page faults |", "|---|---|---|---|"]
            for part, one in row.details["per_call"].items():
                lines.append(f"| {part} | {one['user_us']:.0f} | {one['system_us']:.0f} | {one['faults']:.1f} |")
    return "\n".join(lines) + "\n"


def write_page(rows, found):
    """Puts the figures between the marks of the page, and leaves what people wrote."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {PAGE} has lost its marks")
    PAGE.write_text(before + begin + "\n" + markdown(rows, found) + "\n" + end + after)


def write_json(rows, found, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": found, "rows": [dataclasses.asdict(row) for row in rows]}, indent=1) + "\n")
