"""The progress bar: tqdm's, in a terminal or a notebook, with what runs, is done, has failed, and costs."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from .run import Run

_EVERY_S = 0.1
# Jobs that are over before do without one.
_DELAY_S = 0.5


def watch(run: "Run", wanted: Optional[bool], feed: Any) -> None:
    """Shows a bar for `run`: always, never, or (None) where somebody is looking and tqdm is installed."""
    if wanted is False or (wanted is None and (not hasattr(feed, "total") or not _looked_at())):
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if wanted:
            raise
        return
    bar = tqdm(total=getattr(feed, "total", None), desc=run.description["name"], unit="call", delay=_DELAY_S)
    run.watchers.append(_Bar(bar).update)


def _looked_at() -> bool:
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._next = 0.0
        self._lock = threading.Lock()
        self._closed = False

    def update(self, run: "Run") -> None:
        now = time.monotonic()
        done = run.counts["done"] + run.counts["failed"]
        over = run.over.is_set() or done == self._bar.total
        if now < self._next and not over:
            return
        with self._lock:
            if self._closed:
                return
            self._next = now + _EVERY_S
            counts = run.counts
            words = {"running": counts["running"], "failed": counts["failed"], "cost": f"{run.cost_usd:.6f} USD"}
            self._bar.set_postfix(words, refresh=False)
            self._bar.update(done - self._bar.n)
            if over:
                self._closed = True
                self._bar.close()
