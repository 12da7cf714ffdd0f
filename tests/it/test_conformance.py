"""The conformance suite, against a server of its own."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


def test_the_conformance_suite_passes(server):
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "conformance"],
        cwd=ROOT,
        env={**os.environ, **server.variables()},
        stdin=subprocess.DEVNULL,
        timeout=1200,
        check=False,
    )
    assert result.returncode == 0
