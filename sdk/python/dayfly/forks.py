"""What the child of a fork does with its parent's jobs: it lets go of them.

The threads that serve a job are in the parent alone, and locks may be held by them for ever. So a child gives each of
these objects new locks and an end; jobs that it begins have connections of their own.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol, TypeVar

from .errors import ServerLost


class Forgets(Protocol):
    """What a thread serves, and somebody may wait for."""

    def forget(self) -> None:
        """This is the child of a fork: ends all that would wait for the parent's threads."""


F = TypeVar("F", bound=Forgets)
_held: "weakref.WeakSet[Forgets]" = weakref.WeakSet()


def held(one: F) -> F:
    """Its `forget` is called in every child of a fork."""
    _held.add(one)
    return one


def error() -> ServerLost:
    """What whoever waits in the child gets."""
    return ServerLost("this process was forked: the job belongs to its parent")


def _forget_all() -> None:
    for one in list(_held):
        one.forget()
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)
