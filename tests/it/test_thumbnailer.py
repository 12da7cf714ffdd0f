"""The example whose function hears of pictures in a bucket: the thumbnails are there, and have the right size."""

import os
import pathlib
import subprocess
import sys

import harness

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "thumbnailer" / "thumbnailer.py"


def test_pictures_get_their_thumbnails(server, tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--into", tmp_path / "small"],
        capture_output=True,
        text=True,
        timeout=300 * harness.SLOW,
        env={**os.environ, **server.variables(), "DAYFLY_BIN": harness.BINARY, "VIRTUAL_ENV": sys.prefix},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "6 thumbnails of 3 pictures" in said, said
    small = sorted(path.name for path in (tmp_path / "small").iterdir())
    assert len(small) == 6 and "montecarlo-64.jpg" in small
    assert (tmp_path / "small" / small[0]).read_bytes().startswith(b"\xff\xd8\xff")
    assert server.client().list_functions()["Functions"] == [], "something was left"
