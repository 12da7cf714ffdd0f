"""Registers the joblib backend when joblib is imported, before or after this package, without importing it."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

_TARGET = "joblib.parallel"


def install() -> None:
    """Registers the backend now, or when joblib comes."""
    if _TARGET in sys.modules:
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    from . import joblib_backend

    joblib_backend.register()


class _Finder:
    """Waits for joblib, and lets the real finders find it. A meta path finder, without the imports of its base class."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """See `importlib.abc.MetaPathFinder`."""
        if name != _TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                _register()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
