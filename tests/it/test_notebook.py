"""The cloud button where people sit before it: in a notebook's kernel, and at a prompt in a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import harness
import nbclient
import nbformat
from button import PACKAGE, button  # noqa: F401

SLOW_SQUARE = """
import time
import dayfly

def slow_square(x):
    time.sleep(0.05)
    return x * x
"""


def executed(*cells):
    """A notebook of these cells, after a kernel of this interpreter has run them."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(book, timeout=60 * harness.SLOW, startup_timeout=60 * harness.SLOW)
    client.km = client.create_kernel_manager()
    # This interpreter's, whatever kernels its user has installed.
    client.km.kernel_spec.argv[0] = sys.executable
    return client.execute(env={**os.environ, "PYTHONPATH": str(PACKAGE)})


def shown(cell, kind="text/plain"):
    """What a cell has displayed or given, of this kind."""
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


def test_a_notebook_maps_shows_a_bar_and_keeps_its_kernel(button):
    book = executed(
        SLOW_SQUARE,
        # Functions and what they refer to are the notebook's own; the job lasts long enough for a bar.
        "offset = 1\nlist(dayfly.map(lambda x: slow_square(x) + offset, range(100), max_in_flight=4))",
        # Another way in, from a thread; and cells that use what came before.
        "import threading\nfound = []\n"
        "thread = threading.Thread(target=lambda: found.extend(dayfly.map(slow_square, range(5), progress=False)))\n"
        "thread.start()\nthread.join()\nfound",
        "import asyncio\nawait asyncio.wrap_future(dayfly.submit(slow_square, 9))",
        "job = dayfly.map(slow_square, range(3))\njob.wait()\njob.plot()",
    )
    _, first, thread, waits, plot = book.cells
    assert eval(shown(first)[-1]) == [x * x + 1 for x in range(100)]
    assert len(shown(first, "application/vnd.jupyter.widget-view+json")) == 1, "a bar of the notebook's kind"
    states = book.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    values = [str(one["state"].get("value")) for one in states]
    assert any("100/100" in value and "USD" in value for value in values), values
    assert eval(shown(thread)[-1]) == [0, 1, 4, 9, 16] and eval(shown(waits)[-1]) == 81
    assert shown(plot, "image/png"), "the timeline is drawn in the notebook"
    assert not [output for cell in book.cells for output in cell.outputs if output.output_type == "stream"], book.cells


def test_a_prompt_in_a_terminal_shows_a_bar(button):
    ours, theirs = pty.openpty()
    # One without a size has no room for a bar.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-i", "-q"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "TERM": "dumb", "PYTHON_BASIC_REPL": "1"},
    )
    os.close(theirs)
    os.write(ours, SLOW_SQUARE.replace("\n\n", "\n").encode() + b"\nsum(dayfly.map(slow_square, range(100), max_in_flight=4))\nexit()\n")
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:
            # So a terminal says that the other side is gone.
            break
    os.close(ours)
    assert process.wait(60 * harness.SLOW) == 0
    text = said.decode(errors="replace")
    assert str(sum(x * x for x in range(100))) in text, text
    assert "100/100" in text and "USD" in text, text
