"""Dayfly against its peers, side by side on this machine in one run. `make bench` runs this; see docs/benchmarks.md.

The binary is DAYFLY_BIN (default: target/release/dayfly). Needs the packages of requirements.txt; installs its own
bench/requirements.txt into .venv-bench and, for the groups of Python calls, requirements-jobs.txt into .venv-bench-jobs.
"""

import argparse
import pathlib
import sys
import time

import cloud
import job_rows
import object_rows
import rows
import state_rows
import table
import tools

# Functions that measure a group of rows, by the group's name.
ALL = {
    "latency": rows.latency,
    "throughput": rows.throughput,
    "learn": rows.learn,
    "burst": rows.burst,
    "idle": rows.idle,
    "enqueue": rows.enqueue,
    "first": job_rows.first,
    "jobs": job_rows.each,
    "grid": job_rows.grid,
    "array": job_rows.array,
    "aggregate": job_rows.aggregate,
    "objects": object_rows.objects,
    "api": state_rows.api,
    "web": state_rows.web,
    "queue": state_rows.queue,
    "table": state_rows.table,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few, short rounds: it works, not how fast")
    parser.add_argument("--only", action="append", choices=list(ALL), metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--json", type=pathlib.Path, default=tools.TARGET / "bench.json", help="where all figures go")
    parser.add_argument("--write", action="store_true", help="put the table, of the groups that ran, into docs/benchmarks.md")
    options = parser.parse_args()
    if options.write and options.quick:
        parser.error("--write is for figures that can be compared: without --quick")
    effort = rows.QUICK if options.quick else rows.FULL

    tools.build(options.only or ALL)
    with cloud.server() as running:
        interpreter = running.interpreter()
    tools.install(interpreter)
    # Before the load of our own, after that of building.
    time.sleep(0 if options.quick else 10)
    found = {**table.machine(), "python": tools.version_of(interpreter), "quick": options.quick}
    found["left_out"] = [name for name in ALL if name not in (options.only or ALL)]
    print(table.machine_line(found) + "\n", flush=True)
    done, failed = [], []
    for name in options.only or ALL:
        tools.say(name)
        try:
            measured = ALL[name](effort)
        except Exception as error:  # One row that cannot be measured is no reason to lose the others.
            tools.say(f"{name} failed: {error!r}")
            failed.append(name)
            continue
        table.show(measured)
        done += measured
        table.write_json(done, found, options.json)
    targets = [row.met for row in done if row.met is not None]
    print(f"{sum(targets)} of {len(targets)} targets met; all figures are in {options.json}")
    if options.write and not failed:
        table.write_page(done, found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
