"""Finds what cannot be pickled: the smallest part of a value that fails, and the path that leads to it."""

from __future__ import annotations

import types
from typing import Any, Callable, Iterator, Optional

_DEPTH_MAX = 12
_PARTS_MAX = 20_000


def explain(value: Any, name: str, dump: Callable[[Any], Any], error: BaseException) -> str:
    """A sentence that names the object and the path to it, as in `f.<closure>['lock']`.

    `value` is a function, a collection of arguments, or a tuple of a function and what belongs to it.
    """
    whole = isinstance(value, tuple)
    found = _Search(dump).search(value, "" if whole else name, 0, whole)
    if found is None:
        return f"{name} cannot be pickled: {error}"
    path, culprit, why = found
    kind = type(culprit)
    shown = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    return f"{name} cannot be pickled: {path or name} is a {shown} ({why or error})"


class _Search:
    def __init__(self, dump: Callable[[Any], Any]) -> None:
        self._dump = dump
        self._seen: dict[int, Any] = {}

    def search(self, value: Any, path: str, depth: int, root: bool = False) -> Optional[tuple[str, Any, str]]:
        if id(value) in self._seen or len(self._seen) > _PARTS_MAX:
            return None
        # Kept alive, so that no other object gets its id.
        self._seen[id(value)] = value
        why = self._fails(value)
        if why is None:
            return None
        if depth < _DEPTH_MAX:
            for step, part in _root_parts(value) if root else _parts(value):
                found = self.search(part, _join(path, step), depth + 1)
                if found is not None:
                    return found
        return path, value, why

    def _fails(self, value: Any) -> Optional[str]:
        try:
            self._dump(value)
        except Exception as error:
            return str(error) or type(error).__name__
        return None


def _join(path: str, step: str) -> str:
    return path + step if path else step.lstrip(".")


def _root_parts(value: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What a call is made of: its function, and its arguments by place or name."""
    function, *others = value
    if function is not None:
        yield getattr(function, "__name__", type(function).__name__), function
    for other in others:
        if isinstance(other, dict):
            for key, part in other.items():
                yield f"arguments[{key!r}]", part
        elif other is not None:
            yield getattr(other, "__name__", "setup"), other


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            yield f"[{place}]", part
    elif isinstance(value, (set, frozenset)):
        for part in value:
            yield "{…}", part
    elif isinstance(value, type):
        for name, part in vars(value).items():
            if not name.startswith("__") or isinstance(part, types.FunctionType):
                yield f".{name}", getattr(part, "__func__", part)
    else:
        yield from _instance_parts(value)


def _function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f".<closure>[{name!r}]", cell.cell_contents
        except ValueError:
            pass  # An empty cell: the variable has no value yet.
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield f".<globals>[{name!r}]", function.__globals__[name]
    for place, part in enumerate(function.__defaults__ or ()):
        yield f".<defaults>[{place}]", part
    for name, part in (function.__kwdefaults__ or {}).items():
        yield f".<defaults>[{name!r}]", part
    if "__wrapped__" in vars(function):
        yield ".__wrapped__", vars(function)["__wrapped__"]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _instance_parts(value: Any) -> Iterator[tuple[str, Any]]:
    for name in ("func", "args", "keywords") if type(value).__name__ == "partial" else ():
        yield f".{name}", getattr(value, name, None)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        for name, part in attributes.items():
            yield f".{name}", part
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)
