"""Where a job's calls run: which interpreter, with which packages."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Iterable, Optional, Union

if TYPE_CHECKING:
    from .connection import Endpoint
    from .lock import Lock


class Environment:
    """What calls find to import. Made by the class methods; the same one may be used for many jobs."""

    def __init__(self, wire: dict[str, Any]) -> None:
        self._wire = wire

    @classmethod
    def local(cls) -> "Environment":
        """This interpreter with its `sys.path`, seen read-only where it is. Nothing is copied.

        Only a server on this machine, of this user, takes it; it is the default there.
        """
        return cls({"kind": "local", "executable": _executable(), "path": _path()})

    @classmethod
    def bare(cls) -> "Environment":
        """The server's interpreter of this version with its standard library alone."""
        return cls({"kind": "bare"})

    @classmethod
    def built(cls, id: str) -> "Environment":
        """One that the server has built before, by its id."""
        return cls({"kind": "built", "id": id})

    @classmethod
    def current(cls) -> "Lock":
        """What is installed here, by name and version, for a server elsewhere to build. The default there.

        Local and editable projects, and imported modules of this program, go by content; cloudpickle goes along.
        """
        from . import lock

        return lock.current()

    @classmethod
    def from_requirements(
        cls, requirements: "Union[str, os.PathLike[str], Iterable[str]]", python: Optional[str] = None
    ) -> "Lock":
        """Packages by name, as in a `requirements.txt`, or the path of one. `python` is a version other than this one's."""
        from . import lock

        return lock.of_requirements(requirements, python)

    @classmethod
    def from_uv_lock(cls, path: "Union[str, os.PathLike[str]]", python: Optional[str] = None) -> "Lock":
        """What a `uv.lock`, or the one in a folder, says."""
        from . import lock

        return lock.of_uv_lock(path, python)

    def wire(self, endpoint: "Optional[Endpoint]" = None) -> dict[str, Any]:
        """As a job names it. One that a server builds is built at `endpoint` if need be."""
        return self._wire

    def __repr__(self) -> str:
        return f"<dayfly.Environment {self._wire['kind']}>"


def runtime() -> str:
    """This interpreter's version, as a job names it."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _executable() -> str:
    if not sys.executable:
        raise RuntimeError("sys.executable is not set: this interpreter is embedded, name an environment for its calls")
    return os.path.abspath(sys.executable)


def _path() -> list[str]:
    """`sys.path`, absolute, each entry once, without those that another user could not read for this one."""
    found = []
    for entry in sys.path:
        path = os.path.abspath(entry or os.curdir)
        if path not in found and os.path.exists(path) and _may_be_shown(path):
            found.append(path)
    return found


def _may_be_shown(path: str) -> bool:
    """A server of root runs functions as somebody else; what is local to this program goes by value anyway."""
    if os.getuid() != 0:
        return True
    mode = os.stat(path).st_mode
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & needed == needed
