"""How a job runs: memory, time, environment. One object for all verbs, and the decorator that fixes them for a function."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import sys
import uuid
from typing import Any, Callable, Optional, Union

from . import connection, environment, pickling, progress
from .connection import Endpoint
from .environment import Environment
from .errors import DayflyError, JobError, ServerLost
from .run import Feed, Run

_START_TRIES = 3
Logs = Union[bool, Callable[[int, str], None]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of a job. What is None is left to the server."""

    memory: Optional[int] = None
    """Memory of each call in MB. A call may use one processor, and more with more than 1,769 MB."""
    timeout: Optional[float] = None
    """Seconds that a call may take; rounded up to whole ones."""
    env: Optional[Environment] = None
    """What calls find to import: `Environment`. The local one by default."""
    variables: Optional[dict[str, str]] = None
    """Environment variables of the calls."""
    storage: Optional[int] = None
    """Size of each call's /tmp in MB."""
    max_in_flight: Optional[int] = None
    """How many calls may run at the same time. By default what keeps the server's processors busy."""
    retries: int = 0
    """How often a call is tried again after it died. An exception is an answer, and is not tried again."""
    logs: Logs = False
    """Whether to print what calls write, each line with its call; or a function of call and line."""
    progress: Optional[bool] = None
    """Whether to show a progress bar. By default where somebody is looking, and tqdm is installed."""
    detach: bool = False
    """Whether the job goes on when this program ends; see `attach`."""
    name: Optional[str] = None
    """What the job is called in bill and logs. The function's name by default."""
    tags: Optional[dict[str, str]] = None
    """Tags of the job, for the bill."""
    endpoint: Optional[str] = None
    """A server other than that of the environment."""

    def but(self, **changes: Any) -> "Options":
        """These, with others in some places. None changes nothing. Raises `TypeError` for a word that is not known."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise TypeError(f"{name!r} is not an option: there are {', '.join(sorted(known))}")
        given = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(self, **given)

    def key(self) -> Any:
        """Two with the same may share a job."""
        return tuple(repr(getattr(self, field.name)) for field in dataclasses.fields(self))


def start(
    function: Optional[Callable[..., Any]],
    options: Options,
    feed: Feed,
    name: str = "",
    modules: frozenset[str] = frozenset(),
    setup: Optional[Callable[[], Any]] = None,
    shared: Optional[list[Any]] = None,
) -> Run:
    """Begins a job. Without `function` each call brings its own, and refers to `modules` and to the buffers `shared`.

    Raises `NotPicklable`, `NoServer`, `JobError` or `ServerLost`.
    """
    refuse_inside()
    if sys.implementation.name != "cpython":
        raise DayflyError(f"calls run on CPython; this is {sys.implementation.name}")
    # Where large results lie. Not the job's id, which is not known yet.
    prefix = f"{uuid.uuid4()}/out/"
    pickled = pickling.function_file(function, prefix, setup, shared)
    description = _description(options, options.name or name or name_of(function))
    description["imports"] = pickling.imports(pickled.modules | pickled.standard | modules)
    for left in reversed(range(_START_TRIES)):
        endpoint = connection.find(options.endpoint)
        description["environment"] = _environment(options, endpoint).wire(endpoint)
        run = Run(endpoint, description, pickled.file(), feed)
        if callable(options.logs):
            run.on_log = options.logs
        try:
            run.start()
        except (OSError, ServerLost) as error:
            # A server that was just about to end; nothing had begun.
            if left:
                continue
            raise error if isinstance(error, ServerLost) else ServerLost(f"{endpoint.url}: {error}") from error
        progress.watch(run, options.progress, feed)
        return run
    raise AssertionError("unreachable")


def refuse_inside() -> None:
    """In a call there is no way to start jobs on the caller's environment: says so, rather than wait for ever."""
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME") and os.path.exists("/var/task/function"):
        raise JobError("this is a call of a job already: use a plain loop, or joblib, in it", "NestedJob")


def _description(options: Options, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "runtime": environment.runtime(),
        "retries": options.retries,
        "logs": bool(options.logs),
        "detach": options.detach,
    }
    others = {
        "memory_mb": options.memory,
        "timeout_s": None if options.timeout is None else math.ceil(options.timeout),
        "max_in_flight": options.max_in_flight,
        "ephemeral_storage_mb": options.storage,
        "environment_variables": options.variables,
        "tags": options.tags,
    }
    found.update({name: value for name, value in others.items() if value is not None})
    return found


def _environment(options: Options, endpoint: Endpoint) -> Environment:
    if options.env is not None:
        return options.env
    # A server elsewhere does not see this machine.
    return Environment.local() if endpoint.path is not None else Environment.current()


def name_of(function: Any) -> str:
    """A name that a server takes: letters, digits, `-` and `_`."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    clean = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_") else "-" for letter in name)
    return clean.strip("-")[:64] or "function"
