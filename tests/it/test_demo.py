"""The demo that `make demo` runs: to its end, and interrupted."""

import os
import pathlib
import signal
import subprocess
import sys

import harness

DEMO = pathlib.Path(__file__).parents[2] / "examples" / "demo" / "demo.py"


def start(tmp_path):
    return subprocess.Popen(
        [sys.executable, DEMO, "--dayfly", harness.BINARY, "--calls", "20"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def test_the_demo_shows_calls_and_bill_and_leaves_nothing(tmp_path):
    before = harness.Traces.now(tmp_path)
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    for part in ("same count as a local loop", "Runtime.OutOfMemory", "an instance of its own", "TOTAL", "always-on"):
        assert part.lower() in output.lower()
    assert list(tmp_path.iterdir()) == []
    harness.wait_until(lambda: not harness.Traces.now(tmp_path).without(before), what="nothing left")


def test_an_interrupted_demo_leaves_nothing(tmp_path):
    before = harness.Traces.now(tmp_path)
    demo = start(tmp_path)
    lines = iter(demo.stdout.readline, "")
    assert any("Init that takes a second" in line for line in lines)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0 and "interrupted" in output and "Traceback" not in output, output
    assert list(tmp_path.iterdir()) == []
    harness.wait_until(lambda: not harness.Traces.now(tmp_path).without(before), what="nothing left")
