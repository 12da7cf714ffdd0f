"""Environments that a server builds: what is installed here, a list of requirements, or a `uv.lock`; built once, by content.

Called by `Environment`'s class methods. What an index has goes by name and version; local and editable projects, and
modules of this program, go by content.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import importlib.metadata
import io
import json
import os
import re
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Union
from urllib.parse import unquote, urlsplit

from . import _sigv4, connection, forks, pickling
from .connection import Endpoint
from .environment import Environment, runtime
from .errors import EnvironmentBuildError, ServerLost

Progress = Callable[[dict[str, Any]], None]

# Not packages of a program, and of no use in a call.
_LEFT_OUT = frozenset(["pip", "wheel", "uv", "dayfly"])
_LEFT_OUT_FOLDERS = frozenset(["__pycache__", ".git", ".venv", "node_modules"])
_NO_MODULES = frozenset(["setup.py", "conftest.py", "noxfile.py"])
# A request carries at most 50 MiB of zip.
_MODULES_BYTES_MAX = 50 << 20
_BUILD_TIMEOUT_S = 3600.0
_ANY_DATE = (1980, 1, 1, 0, 0, 0)


class Lock(Environment):
    """What an environment is made from. `wire` has it built where that is needed; the same one is built once a process."""

    def __init__(self, source: dict[str, Any], modules: Optional[bytes] = None) -> None:
        super().__init__({"kind": "built"})
        self.source = source
        self.modules = modules
        self._ids: dict[str, str] = {}
        self._building = threading.Lock()
        forks.held(self)

    def forget(self) -> None:
        """In the child of a fork: who held the lock is not there."""
        self._building = threading.Lock()

    def wire(self, endpoint: Optional[Endpoint] = None) -> dict[str, Any]:
        """As a job names it. Raises as `build`."""
        return {"kind": "built", "id": self.build(endpoint)}

    def build(
        self, endpoint: Union[Endpoint, str, None] = None, progress: Union[Progress, bool, None] = None
    ) -> str:
        """The id of the environment on a server, which builds it unless it has it.

        `progress` gets each step as a dictionary; True shows them on stderr, None does when that is a terminal.
        Raises `EnvironmentBuildError`, whose `type` is for example `PackageNotFound`, `NoServer` or `ServerLost`.
        """
        if not isinstance(endpoint, Endpoint):
            endpoint = connection.find(endpoint)
        where = endpoint.path or endpoint.url
        with self._building:
            if where not in self._ids:
                report = progress if callable(progress) else _report if _shown(progress) else lambda step: None
                self._ids[where] = self._build(endpoint, report)
            return self._ids[where]

    def _build(self, endpoint: Endpoint, report: Progress) -> str:
        request = dict(self.source)
        if self.modules is not None:
            request["modules"] = {"sha256": hashlib.sha256(self.modules).hexdigest()}
        try:
            return _ask(endpoint, request, report)
        except EnvironmentBuildError as error:
            if error.type != "ModulesMissing" or self.modules is None:
                raise
        request["modules"]["zip"] = base64.b64encode(self.modules).decode()
        return _ask(endpoint, request, report)

    def __repr__(self) -> str:
        kinds = [name for name in ("requirements", "pinned", "uv_lock") if name in self.source]
        return f"<dayfly.Environment of {', '.join(kinds)} for {self.source['runtime']}>"


def of_requirements(requirements: Union[str, "os.PathLike[str]", Iterable[str]], python: Optional[str]) -> Lock:
    """Of a list of requirements, or of a file of them. Raises `OSError` and `ValueError`."""
    if isinstance(requirements, (str, os.PathLike)):
        requirements = list(_lines(Path(requirements)))
    return Lock({"runtime": _python(python), "requirements": list(requirements)})


def of_uv_lock(path: Union[str, "os.PathLike[str]"], python: Optional[str]) -> Lock:
    """Of a `uv.lock`, or of the folder that it is in. Raises `OSError`."""
    path = Path(path)
    if path.is_dir():
        path /= "uv.lock"
    return Lock({"runtime": _python(python), "uv_lock": path.read_text(encoding="utf-8")})


def current() -> Lock:
    """Of what is installed here. Raises `ValueError` when local modules are too large to be sent."""
    installed: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        name = _normal(distribution.metadata["Name"] or "")
        # The first one wins, as for imports. The sources of an editable project have metadata of their own.
        if name and name not in _LEFT_OUT and (name not in installed or _is_local(distribution)):
            installed[name] = distribution
    pinned, files = set(), {}
    for name, distribution in installed.items():
        if not _is_local(distribution):
            pinned.add(f"{name}=={distribution.version}")
        elif name != "cloudpickle":
            files.update(_files_of(distribution))
    # Functions come pickled with it.
    pinned.add(f"cloudpickle=={importlib.metadata.version('cloudpickle')}")
    for module in list(sys.modules):
        if "." not in module and pickling.module_kind(module) == "local":
            files.update(_files_of_module(sys.modules[module]))
    source: dict[str, Any] = {"runtime": runtime(), "pinned": sorted(pinned)}
    if sys.platform == "linux":
        source["platform"] = f"{os.uname().machine}-linux-{'gnu' if _has_glibc() else 'musl'}"
    return Lock(source, _zip(files) if files else None)


def _lines(path: Path) -> Iterator[str]:
    """A file's requirements, with those of the files that it includes."""
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        line = re.split(r"(?:^|\s)#|\s--hash=", line)[0].strip()
        included = re.match(r"(?:-r|--requirement)[\s=]+(.+)", line)
        if included:
            yield from _lines(path.parent / included[1].strip())
        elif line:
            yield line


def _python(given: Optional[str]) -> str:
    if given is None:
        return runtime()
    return given if given.startswith("python") else f"python{given}"


def _has_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (ValueError, OSError):
        return False


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_local(distribution: importlib.metadata.Distribution) -> bool:
    """Whether it came from a folder, a file or an address, which no index knows."""
    return distribution.read_text("direct_url.json") is not None


def _files_of(distribution: importlib.metadata.Distribution) -> dict[str, Path]:
    """A project that no index has under its version: its files, also where it is installed as editable."""
    found: dict[str, Path] = {}
    for file in distribution.files or []:
        path = Path(str(distribution.locate_file(file)))
        name = str(file).replace(os.sep, "/")
        if name.endswith(".pth") and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                if os.path.isabs(line.strip()) and os.path.isdir(line.strip()):
                    found.update(_modules_in(Path(line.strip())))
        elif name.startswith("__editable__") and name.endswith("_finder.py") and path.is_file():
            for module, place in _mapping(path.read_text(encoding="utf-8")).items():
                found.update(_below(Path(place), module))
        elif not name.startswith("..") and not _left_out(name) and path.is_file():
            found[name] = path
    return found


def _mapping(finder: str) -> dict[str, str]:
    """Where setuptools' finder of an editable project finds its modules."""
    line = next((line for line in finder.splitlines() if line.startswith("MAPPING")), "")
    return dict(re.findall(r"'([\w.]+)': '([^']+)'", line))


def _modules_in(folder: Path) -> dict[str, Path]:
    """The packages and modules that a folder of `sys.path` has."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").is_file() or path.suffix == ".py" and path.name not in _NO_MODULES:
            found.update(_below(path, path.stem))
    return found


def _files_of_module(module: Any) -> dict[str, Path]:
    """A module of this program, or the package that it is."""
    file = Path(module.__file__)
    return _below(file.parent if file.name == "__init__.py" else file, module.__name__)


def _below(path: Path, module: str) -> dict[str, Path]:
    """A module's file, or all of a package's, by their names in the environment."""
    name = module.replace(".", "/")
    if not path.is_dir():
        path = path if path.suffix == ".py" else path.with_suffix(".py")
        return {f"{name}.py": path} if path.is_file() else {}
    found = {}
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(set(folders) - _LEFT_OUT_FOLDERS)
        for file in files:
            at = Path(folder, file)
            inside = f"{name}/{at.relative_to(path).as_posix()}"
            if not _left_out(inside) and at.is_file():
                found[inside] = at
    return found


def _left_out(name: str) -> bool:
    return name.endswith((".pyc", ".pyo")) or not _LEFT_OUT_FOLDERS.isdisjoint(name.split("/"))


def _zip(files: dict[str, Path]) -> bytes:
    """The same files give the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            information = zipfile.ZipInfo(name, _ANY_DATE)
            information.compress_type = zipfile.ZIP_DEFLATED
            information.external_attr = (0o100755 if os.access(files[name], os.X_OK) else 0o100644) << 16
            archive.writestr(information, files[name].read_bytes())
            if content.tell() > _MODULES_BYTES_MAX:
                raise ValueError(f"local modules are larger than {_MODULES_BYTES_MAX >> 20} MiB in a zip, up to {name}")
    return content.getvalue()


def _ask(endpoint: Endpoint, request: dict[str, Any], report: Progress) -> str:
    """Sends a request to build, and follows it to its end."""
    body = json.dumps(request).encode()
    try:
        with endpoint.connect() as found:
            found.settimeout(_BUILD_TIMEOUT_S)
            found.sendall(_head(endpoint, body) + body)
            answer = http.client.HTTPResponse(found, method="POST")
            answer.begin()
            if answer.status != 200:
                said = json.loads(answer.read() or b"{}")
                message, kind = said.get("message", answer.reason), said.get("__type", "EnvironmentBuildError")
                raise EnvironmentBuildError(message, kind, answer.status)
            for line in answer:
                step = json.loads(line)
                if "error" in step:
                    raise EnvironmentBuildError(step["error"]["message"], step["error"]["type"])
                if "id" in step:
                    return str(step["id"])
                report(step)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServerLost(f"{endpoint.url}: {error}") from error
    raise ServerLost(f"{endpoint.url}: the answer ended before the environment was there")


def _head(endpoint: Endpoint, body: bytes) -> bytes:
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    url = urlsplit(endpoint.url)
    path = unquote(url.path).rstrip("/") + "/environments"
    if endpoint.path is None and endpoint.keys is not None:
        payload = hashlib.sha256(body).hexdigest()
        headers = _sigv4.sign("POST", url.netloc, path, endpoint.keys, connection.SERVICE, headers, payload=payload)
    else:
        headers = {"host": url.netloc or "localhost", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _shown(wanted: Optional[bool]) -> bool:
    return wanted if wanted is not None else bool(sys.stderr and sys.stderr.isatty())


def _report(step: dict[str, Any]) -> None:
    """A step as a line for people."""
    words: dict[str, Callable[[], str]] = {
        "wait": lambda: "waiting for another build",
        "resolve": lambda: "resolving packages",
        "resolved": lambda: f"{step['packages']} packages",
        "download": lambda: f"downloading {step['what']}".rstrip(),
        "build": lambda: f"compiling {step['files']:,} files, {step['bytes'] / 1e6:,.0f} MB",
        "done": lambda: f"built in {step['milliseconds'] / 1000:.1f} s",
    }
    said = words.get(step.get("step", ""))
    if said is not None:
        print(f"dayfly: environment: {said()}", file=sys.stderr)
