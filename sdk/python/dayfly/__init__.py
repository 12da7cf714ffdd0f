"""Dayfly: your Python functions, each call in a fresh instance, with the environment that you have.

>>> import dayfly
>>> list(dayfly.map(lambda x: x * x, range(10)))
[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
"""

from . import joblib_hook
from ._pieces import Piece, write
from ._s3 import StoreError
from .answers import Future
from .api import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Function,
    as_completed,
    function,
    get_result,
    map,
    map_reduce,
    starmap,
    submit,
    wait,
)
from .app import App, HTTPError, Response
from .attach import Detached, attach
from .data import read
from .environment import Environment
from .errors import (
    CallDied,
    Cancelled,
    DayflyError,
    EnvironmentBuildError,
    InitError,
    InstanceDied,
    JobError,
    NoServer,
    NotPicklable,
    OutOfMemory,
    Refused,
    RemoteError,
    RemoteTraceback,
    ResultError,
    ServerLost,
    SlowStart,
    Timeout,
)
from .executor import Executor
from .job import Job
from .options import Options
from .pool import Pool

__version__ = "0.1.0"

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "App",
    "CallDied",
    "Cancelled",
    "DayflyError",
    "Detached",
    "Environment",
    "EnvironmentBuildError",
    "Executor",
    "Function",
    "Future",
    "HTTPError",
    "InitError",
    "InstanceDied",
    "Job",
    "JobError",
    "NoServer",
    "NotPicklable",
    "Options",
    "OutOfMemory",
    "Piece",
    "Pool",
    "Refused",
    "RemoteError",
    "RemoteTraceback",
    "Response",
    "ResultError",
    "ServerLost",
    "SlowStart",
    "StoreError",
    "Timeout",
    "as_completed",
    "attach",
    "function",
    "get_result",
    "map",
    "map_reduce",
    "read",
    "starmap",
    "submit",
    "wait",
    "write",
]

joblib_hook.install()
