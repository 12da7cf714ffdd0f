"""What can go wrong, as types. Everything that Dayfly raises by itself derives from `DayflyError`.

An exception that a call raised is not here: it comes back as itself, with the remote traceback as its cause.
"""

from __future__ import annotations

import concurrent.futures
import pickle
from typing import Any, Optional

from ._s3 import DayflyError as DayflyError


class NoServer(DayflyError, ConnectionError):
    """No server can be reached, and none could be started."""


class ServerLost(DayflyError, ConnectionError):
    """The connection of a job ended before its outcomes had come. Calls that ran were stopped, unless detached."""


class JobError(DayflyError):
    """The server refused a job, or gave it up, as a whole.

    `type` is the server's word for it, for example `InvalidEnvironment`; `status` the HTTP status, where there was one.
    """

    def __init__(self, message: str, type: str = "JobError", status: Optional[int] = None) -> None:
        super().__init__(message)
        self.type = type
        self.status = status

    def __str__(self) -> str:
        return f"{self.type}: {self.args[0]}"

    def __reduce__(self) -> Any:
        return (self.__class__, (self.args[0], self.type, self.status))


class EnvironmentBuildError(JobError):
    """A server cannot build an environment. `type` says why: `PackageNotFound`, `IncompatiblePython`, `NoWheel`, `DiskFull`, …"""


class NotPicklable(DayflyError, pickle.PicklingError, TypeError):
    """A function or an argument cannot be sent. The message names the object and the path to it."""


class ResultError(DayflyError, pickle.UnpicklingError):
    """A result cannot be sent by its call, or cannot be unpickled here."""


class RemoteError(DayflyError):
    """A call raised an exception that cannot be pickled. `type` is its class's name, `traceback` the remote text."""

    def __init__(self, message: str, type: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.args[0]}" if self.type else str(self.args[0])

    def __reduce__(self) -> Any:
        return (self.__class__, (self.args[0], self.type, self.traceback))


class CallDied(DayflyError):
    """A call ended without an answer. `record` holds what is known of it (see `Job.stats`)."""

    def __init__(self, message: str = "", record: Optional[dict[str, Any]] = None) -> None:
        super().__init__(message)
        self.record = record or {}

    def __reduce__(self) -> Any:
        return (self.__class__, (self.args[0], self.record))


class Timeout(CallDied, TimeoutError):
    """A call ran longer than its timeout, and was stopped."""


class OutOfMemory(CallDied, MemoryError):
    """A call needed more than its memory, and was stopped."""


class InstanceDied(CallDied):
    """A call's process ended before it answered: it exited, or was killed."""


class InitError(CallDied):
    """The function could not be loaded in its environment: an import failed, or it ended in loading."""


class Refused(CallDied):
    """The server did not take the call: a limit, or not enough memory on the machine."""


class Cancelled(CallDied, concurrent.futures.CancelledError):
    """The call, or its job, was cancelled."""


class SlowStart(RuntimeWarning):
    """Calls of a job take longer to start than they could. The message says why, and what to do."""


class RemoteTraceback(Exception):
    """The cause of an exception that a call raised: the traceback as it was there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


DIED: dict[str, type[CallDied]] = {
    "timeout": Timeout,
    "out_of_memory": OutOfMemory,
    "exit": InstanceDied,
    "init_error": InitError,
    "refused": Refused,
    "cancelled": Cancelled,
}
