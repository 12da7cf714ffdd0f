"""Functions and arguments as bytes: by value what only this program has, by reference what is installed.

Made here: the function file of `docs/jobs.md`, the bodies of calls, and the list of modules that a job imports early.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import io
import os
import pickle
import site
import struct
import sys
import sysconfig
import threading
import types
from typing import Any, Callable, NamedTuple, Optional

import cloudpickle

from . import _pieces, _remote, _s3, _shuffle, _sigv4, explain
from .errors import NotPicklable
from .frames import Buffer

PROTOCOL = 5
_PAGE = 4096
# Smaller buffers stay in the pickle: each of the others begins a page.
_BUFFER_BYTES_MIN = 64 << 10
# Arguments of this size and more are looked at: do many calls have them?
SHARED_BYTES_MIN = 1 << 20
_IMPORTS_MAX = 256
_HEAD = struct.Struct("<8sIQ")
_TABLE = struct.Struct("<QQ")
# What calls need of this package. It goes by value: no environment has to have the package.
_TRAVELLING = (_pieces, _remote, _s3, _shuffle, _sigv4)
if int(cloudpickle.__version__.partition(".")[0]) < 3:
    raise ImportError(f"dayfly needs cloudpickle 3 or newer: {cloudpickle.__file__} is {cloudpickle.__version__}")
# cloudpickle's list of modules by value belongs to the whole process.
_registry = threading.RLock()
# A fork waits until nobody pickles: its child would find cloudpickle's registry half changed, and the lock taken for ever.
os.register_at_fork(before=_registry.acquire, after_in_parent=_registry.release, after_in_child=_registry.release)
_kinds: dict[str, str] = {}


class Pickled(NamedTuple):
    """A pickle, the buffers that lie beside it, and the modules that it refers to: installed ones, and the library's."""

    data: bytes
    buffers: list[pickle.PickleBuffer]
    modules: frozenset[str]
    standard: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes of pickle and buffers."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def file(self) -> list[Buffer]:
        """The function file, in pieces."""
        at = _HEAD.size + _TABLE.size * len(self.buffers) + len(self.data)
        table: list[Buffer] = []
        rest: list[Buffer] = []
        for buffer in self.buffers:
            view = buffer.raw()
            padding = -at % _PAGE
            table.append(_TABLE.pack(at + padding, view.nbytes))
            rest += [bytes(padding), view]
            at += padding + view.nbytes
        head = _HEAD.pack(b"DAYFLYF1", len(self.buffers), len(self.data))
        return [head, *table, self.data, *rest]

    def digests(self) -> tuple[bytes, ...]:
        """Those of the buffers: equal ones have the same."""
        return tuple(hashlib.blake2b(buffer.raw(), digest_size=20).digest() for buffer in self.buffers)

    def digest(self) -> bytes:
        """Two equal ones have the same."""
        return hashlib.blake2b(b"".join([self.data, *self.digests()]), digest_size=20).digest()


def function_file(
    function: Optional[Callable[..., Any]],
    prefix: str = "",
    setup: Optional[Callable[[], Any]] = None,
    shared: Optional[list[pickle.PickleBuffer]] = None,
) -> Pickled:
    """The callable of a job. Without `function` each call brings its own (see `call_with_function`)."""
    what = getattr(function, "__name__", None) or type(function).__name__
    parts = _Prepared(function, prefix, setup, shared or [])
    return dumps(parts, what, _BUFFER_BYTES_MIN, root=(function, setup))


def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Body of a call whose function is the job's."""
    if not kwargs and all(type(arg) in _PLAIN for arg in args):
        return b"A" + pickle.dumps((args, kwargs), PROTOCOL)
    return b"A" + dumps((args, kwargs), "arguments", root=_shown(args, kwargs)).data


def calls(many: list[tuple[Any, ...]], seconds: Optional[float] = None) -> bytes:
    """Body of a call that stands for several; those that cannot begin in so many `seconds` are left undone."""
    letter, what = (b"B", many) if seconds is None else (b"T", (seconds, many))
    if all(map(is_plain, many)):
        return letter + pickle.dumps(what, PROTOCOL)
    return letter + dumps(what, "arguments").data


def is_plain(args: tuple[Any, ...]) -> bool:
    """Whether these arguments are numbers, text and the like."""
    return _PLAIN.issuperset(map(type, args))


def large_buffers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pickled:
    """The arguments of a call, with their large buffers beside the pickle: such as many calls may have in common."""
    return dumps((args, kwargs), "arguments", SHARED_BYTES_MIN, root=_shown(args, kwargs))


def call_with_function(function: Pickled, arguments: Pickled) -> Pickled:
    """Body of a call that brings its function, which was pickled without buffers."""
    data = b"F" + pickle.dumps((function.data, arguments.data), PROTOCOL)
    return Pickled(data, [], function.modules | arguments.modules)


# Of these, nothing has to be looked at: they are the same everywhere.
_PLAIN = frozenset([int, float, complex, bool, str, bytes, type(None)])


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return {**dict(enumerate(args)), **kwargs}


class _Prepared:
    """Pickles as a call of `prepare`, so that it runs where the function file is loaded."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        return (_remote.prepare, self.arguments)


def dumps(value: Any, what: str, beside: Optional[int] = None, root: Any = None) -> Pickled:
    """Pickles `value`; buffers of `beside` bytes and more, if that is given, stay out of the pickle. Raises `NotPicklable`, which names the object that is to
    blame and the path to it.

    Code of the script and of local modules goes by value. A local module that cannot (it holds a lock, say) goes by
    reference: in the caller's own environment a call finds it where it is.
    """
    try:
        return _dump(value, beside, local_by_value=True)
    except Exception as error:
        first = error
    try:
        return _dump(value, beside, local_by_value=False)
    except Exception:
        message = explain.explain(value if root is None else root, what, lambda part: _dump(part, None, False), first)
        raise NotPicklable(message) from first


def _dump(value: Any, beside: Optional[int], local_by_value: bool) -> Pickled:
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        if beside is None or memoryview(buffer).nbytes < beside:
            return True
        buffers.append(buffer)
        return False

    with _registry:
        pickler = _Pickler(file, PROTOCOL, take if beside is not None else None)
        pickler.local_by_value = local_by_value
        try:
            for module in _TRAVELLING:
                cloudpickle.register_pickle_by_value(module)
                pickler.registered.append(module)
            pickler.dump(value)
        finally:
            for module in pickler.registered:
                cloudpickle.unregister_pickle_by_value(module)
    return Pickled(file.getvalue(), buffers, frozenset(pickler.modules), frozenset(pickler.standard))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Sees every function, class and module on the way: takes local ones by value and notes the others."""

    local_by_value = True

    def __init__(self, file: Any, protocol: int, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback)
        self.modules: set[str] = set()
        self.standard: set[str] = set()
        self.registered: list[types.ModuleType] = []

    def reducer_override(self, obj: Any) -> Any:
        """What cloudpickle asks for each object that is not of a basic type."""
        kind = type(obj)
        if kind is types.FunctionType or issubclass(kind, type) or kind is types.BuiltinFunctionType:
            self._note(getattr(obj, "__module__", None))
            if kind is types.FunctionType and module_kind(obj.__module__) in ("main", "local"):
                self.modules.update(_imported_by(obj.__code__))
        elif kind is types.ModuleType:
            self._note(obj.__name__)
        return super().reducer_override(obj)

    def _note(self, name: Optional[str]) -> None:
        if not isinstance(name, str):
            return
        kind = module_kind(name)
        if kind == "installed":
            self.modules.add(name)
        elif kind == "standard" and not name.startswith("_") and name not in sys.builtin_module_names:
            self.standard.add(name)
        elif kind == "local" and self.local_by_value:
            module = sys.modules[name]
            if name not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                self.registered.append(module)


def imports(modules: frozenset[str]) -> list[str]:
    """What a job imports before its function is loaded."""
    names = sorted(name for name in modules if all(part.isidentifier() for part in name.split(".")))
    if len(names) <= _IMPORTS_MAX:
        return names
    # Of very many, the packages: the function's own references bring the rest.
    return sorted({name.partition(".")[0] for name in names})[:_IMPORTS_MAX]


def _imported_by(code: types.CodeType) -> set[str]:
    """Installed modules that a function imports when it runs. Not those for which it may prepare the environment first."""
    found: set[str] = set()
    prepares = "environ" in code.co_names or "putenv" in code.co_names
    package: Optional[str] = None
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname == "IMPORT_NAME":
            package = name if _is_installed(name) and (name in sys.modules or not prepares) else None
            if package is not None:
                found.add(package)
        elif instruction.opname == "IMPORT_FROM" and package is not None:
            # A module, or something in one, which the server finds out.
            inner = f"{package}.{name}"
            if inner in sys.modules or package not in sys.modules:
                found.add(inner)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _imported_by(constant)
    return found


def _is_installed(name: str) -> bool:
    """Whether this is a module of a package, which this process need not have imported."""
    top = name.partition(".")[0]
    for known in (name, top):
        if known in sys.modules:
            return module_kind(known) == "installed"
    if top not in _kinds and top not in getattr(sys, "stdlib_module_names", ()):
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.has_location and spec.origin is not None:
            _kinds[top] = _kind_of_file(spec.origin)
    return _kinds.get(top) == "installed"


def module_kind(name: Optional[str]) -> str:
    """`main`, `standard`, `installed`, `local`, `own` (this package's), or `unknown` when there is no such module."""
    if not isinstance(name, str):
        return "unknown"
    if name in ("__main__", "__mp_main__"):
        return "main"
    known = _kinds.get(name)
    if known is None:
        module = sys.modules.get(name)
        if module is None:
            return "unknown"
        known = _kinds[name] = _kind_of(name, module)
    return known


def _kind_of(name: str, module: types.ModuleType) -> str:
    top = name.partition(".")[0]
    if top == "cloudpickle":
        # In every environment that takes calls.
        return "standard"
    if top == "dayfly":
        # The client's half of this package is not for calls; what they need is registered where it is pickled.
        return "own"
    if top in getattr(sys, "stdlib_module_names", ()):
        return "standard"
    file = getattr(module, "__file__", None)
    if file is None:
        return "standard" if name in sys.builtin_module_names else "installed"
    return _kind_of_file(file)


def _kind_of_file(file: str) -> str:
    path = os.path.realpath(file)
    if not path.endswith((".py", ".pyc")):
        return "installed"
    if any(_under(path, folder) for folder in _site_folders()) or "site-packages" in path or "dist-packages" in path:
        return "installed"
    if any(_under(path, folder) for folder in _standard_folders()):
        return "standard"
    # An interpreter's own folder; a virtual environment that lies in a project is seen by its site-packages above.
    if sys.prefix not in ("/usr", "/usr/local") and _under(path, os.path.realpath(os.path.join(sys.prefix, "lib"))):
        return "installed"
    return "local"


def _under(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _site_folders() -> list[str]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    try:
        folders += [*site.getsitepackages(), site.getusersitepackages()]
    except AttributeError:
        pass  # Old virtual environments have a `site` without these.
    return [os.path.realpath(folder) for folder in folders if folder]


def _standard_folders() -> list[str]:
    return [os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
