"""A fresh process per call, by Python's own means: `fresh.py executor|command CLIENTS SECONDS`. Prints JSON.

`app` is found on PYTHONPATH.
"""

import concurrent.futures
import json
import subprocess
import sys
import threading
import time

from app import handler

EVENT = {"n": 1}
PATIENCE_S = 60
SOURCE = "import json, sys; from app import handler; json.dump(handler(json.load(sys.stdin), None), sys.stdout)"


def command_call():
    """One call by `python3 -c`."""
    text = json.dumps(EVENT)
    command = [sys.executable, "-c", SOURCE]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE_S)
    return json.loads(done.stdout)


def executor_call(executor):
    """One call in a process of its own of the standard library's pool."""
    return executor.submit(handler, EVENT, None).result(PATIENCE_S)


def run(call, clients, seconds):
    """Calls from `clients` threads for `seconds`; their latencies in microseconds, and the errors."""
    latencies, errors = [], []
    started = time.monotonic()

    def client():
        while time.monotonic() - started < seconds:
            one = time.monotonic()
            try:
                assert call() == {"n": 2}
                latencies.append((time.monotonic() - one) * 1e6)
            except Exception as error:
                errors.append(repr(error))
                return

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - started
    latencies.sort()
    return {
        "count": len(latencies),
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "seconds": wall,
        "per_second": len(latencies) / wall,
        "p50_us": latencies[len(latencies) // 2] if latencies else 0.0,
        "p99_us": latencies[len(latencies) * 99 // 100] if latencies else 0.0,
    }


def main():
    how, clients, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if how == "command":
        print(json.dumps(run(command_call, clients, seconds)))
    else:
        with concurrent.futures.ProcessPoolExecutor(2, max_tasks_per_child=1) as executor:
            executor_call(executor)
            print(json.dumps(run(lambda: executor_call(executor), clients, seconds)))


if __name__ == "__main__":
    main()
