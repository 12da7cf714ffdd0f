"""Objects that are of no use any more: removed from the store by a thread of its own, so that nobody waits for it."""

from __future__ import annotations

import atexit
import os
import queue
import threading
from typing import Callable, Optional

from ._s3 import Store

_AT_EXIT_S = 2.0
_waiting: "queue.SimpleQueue[Optional[tuple[Callable[[], Store], str]]]" = queue.SimpleQueue()
_thread: Optional[threading.Thread] = None
_lock = threading.Lock()


def remove(store: Callable[[], Store], key: str) -> None:
    """Removes the object, soon. One that cannot be removed stays: there is nobody to tell."""
    global _thread
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="dayfly-leftovers", daemon=True)
            _thread.start()
            atexit.register(_finish)
    _waiting.put((store, key))


def _work() -> None:
    while True:
        one = _waiting.get()
        if one is None:
            return
        try:
            one[0]().delete(one[1])
        except Exception:
            pass


def _finish() -> None:
    if _thread is not None:
        _waiting.put(None)
        _thread.join(_AT_EXIT_S)


def _after_fork() -> None:
    global _thread, _lock, _waiting
    _thread, _lock, _waiting = None, threading.Lock(), queue.SimpleQueue()


os.register_at_fork(after_in_child=_after_fork)
