"""Prints, as JSON, what Dayfly needs to know about the interpreter that runs it."""

import importlib.util
import json
import os
import platform
import sys
import sysconfig

paths = sysconfig.get_paths()
# Debian's site-packages are elsewhere than the standard paths say; `site` knows them, even when it has not run.
import site

packages = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
print(
    json.dumps(
        {
            "implementation": sys.implementation.name,
            "version": list(sys.version_info),
            "cache_tag": sys.implementation.cache_tag,
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "base_executable": getattr(sys, "_base_executable", sys.executable),
            "prefix": sys.base_prefix,
            "library_folders": [paths["stdlib"], paths["platstdlib"]],
            "library": sysconfig.get_config_var("INSTSONAME") if sysconfig.get_config_var("Py_ENABLE_SHARED") else None,
            "library_folder": sysconfig.get_config_var("LIBDIR"),
            "packages": packages,
            "has_ctypes": importlib.util.find_spec("_ctypes") is not None,
            "glibc": platform.libc_ver()[0] == "glibc",
        }
    )
)
