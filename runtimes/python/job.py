"""A job's function: read from its file in the zygote, called with bytes in each clone.

Loaded by `bootstrap.py`, in the same interpreter and with the same (that is: no) trust, when the sandbox is a job's. The
server has written `/var/task/job.json`: `imports`, modules to import first; and for a caller's own environment `path`, its
`sys.path`, `executable` and `prefix`. That is the environment, which may be prepared before there is a job. Python 3.9 to
3.14, standard library only.

The function file, `/var/task/function`, which comes with the job, integers little-endian: `DAYFLYF1`; u32 number of buffers; u64 length of the
pickle; for each buffer u64 offset and u64 length; the pickle; the buffers. What nobody writes to is in memory once for all calls, in
the zygote's huge pages or in the page cache, and who writes gets pages of its own.
"""

import importlib
import mmap
import os
import pickle
import struct
import sys
import types

_HEAD = struct.Struct("<8sIQ")
_BUFFER = struct.Struct("<QQ")
_MAGIC = b"DAYFLYF1"
_OPENBLAS = "OPENBLAS_NUM_THREADS"
# From here on the content of a function file is worth huge pages.
_HUGE_BYTES_MIN = 4 << 20
# The caller's number of threads of OpenBLAS.
_openblas_threads = "1"
# What an instance has yet to do to have the threads of numerical libraries: a function and their number.
_start_threads = []
_SITE_FOLDERS = ("site-packages", "dist-packages")
# Modules whose import has started threads.
_with_threads = []


class InvalidFile(Exception):
    """The function file is not in the format above."""


def prepare(description, without=()):
    """Makes the interpreter the caller's, and imports what the job uses, but for modules that start threads: `without`."""
    global _openblas_threads
    # What is pickled as `__main__`'s was the caller's script's, not this runtime's.
    sys.modules["__main__"] = types.ModuleType("__main__")
    if description.get("path") is not None:
        _become(description)
    # OpenBLAS starts its threads when it is loaded, and what has threads cannot be cloned. So they wait for the clone.
    _openblas_threads = os.environ.get(_OPENBLAS, "1")
    os.environ[_OPENBLAS] = "1"
    # If the function file needs them, they will be imported after all.
    _with_threads.extend(without)
    for name in description["imports"]:
        if name in without:
            continue
        before = _threads()
        try:
            importlib.import_module(name)
        except Exception:
            pass  # If the function needs it, it will say so.
        if _threads() > before:
            _with_threads.append(name)


def files():
    """What changes when a module's file, or a folder of packages, does: the time of that first."""
    paths = {path for path in sys.path if os.path.basename(path) in _SITE_FOLDERS}
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType):
            # Not by the attribute: some modules load themselves when they are asked for one.
            paths.add(object.__getattribute__(module, "__dict__").get("__file__"))
    return {path: _state(path) for path in paths if isinstance(path, str)}


def _state(path):
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0, 0
    return state.st_mtime_ns, state.st_ino, state.st_size


def load(clones=False):
    """Reads the function: bytes to bytes. `clones` says whether this process is to be cloned."""
    with open("/var/task/function", "rb") as file:
        function = read(file, clones)
    os.environ[_OPENBLAS] = _openblas_threads
    if _openblas_threads.isdigit() and int(_openblas_threads) > 1:
        _start_threads.extend((start, int(_openblas_threads)) for start in _openblas_libraries())
    return function


def _threads():
    return len(os.listdir("/proc/self/task"))


def with_threads():
    """Modules whose import has started threads."""
    return _with_threads


def unclonable():
    """Why this process cannot be cloned, where imports are why; else nothing. It is looked at from outside too."""
    count = _threads() - 1
    return "importing %s has started %d thread(s)" % (", ".join(_with_threads), count) if count and _with_threads else ""


def _openblas_libraries():
    """For each OpenBLAS that is loaded, what sets the number of its threads."""
    import ctypes

    with open("/proc/self/maps") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if "openblas" in line}
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        names = (prefix + "openblas_set_num_threads" + suffix for prefix in ("scipy_", "") for suffix in ("64_", ""))
        found = next((name for name in names if hasattr(library, name)), None)
        if found:
            yield getattr(library, found)


def _become(description):
    """The caller's `sys.path`, prefix and executable, and what its `.pth` files run at every start."""
    sys.path[:] = description["path"]
    sys.path_importer_cache.clear()
    sys.executable = description["executable"]
    sys.prefix = sys.exec_prefix = description["prefix"]
    for folder in description["path"]:
        if os.path.basename(folder) in _SITE_FOLDERS:
            _run_pth_files(folder)


def _run_pth_files(sitedir):
    """Lines with imports install the finders of editable packages and namespaces; the others are in `sys.path` already."""
    try:
        names = sorted(name for name in os.listdir(sitedir) if name.endswith(".pth"))
    except OSError:
        return
    for name in names:
        try:
            with open(os.path.join(sitedir, name), encoding="utf-8", errors="replace") as file:
                lines = [line for line in file if line.startswith(("import ", "import\t"))]
            for line in lines:
                # As `site` does: such lines look for the variable `sitedir` of who executes them.
                exec(line, {"sitedir": sitedir, "__name__": "site"})
        except Exception as error:
            sys.stderr.write("%s: %s: %s\n" % (os.path.join(sitedir, name), type(error).__name__, error))


def _in_huge_pages(file, size):
    """The content of a file in memory whose few page table entries a clone inherits: it is there without page faults.

    Of a mapped file a clone finds nothing at first, and takes a fault for every sixteen pages that it reads.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    view, at = memoryview(memory), 0
    while at < size:
        count = file.readinto(view[at:])
        if not count:
            raise InvalidFile("it is cut off")
        at += count
    # One copy is enough.
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return view


def read(file, clones=False):
    """The callable of a function file. Its buffers are writable, and shared until they are written to."""
    size = os.fstat(file.fileno()).st_size
    if size < _HEAD.size:
        raise InvalidFile("it is cut off")
    room = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")) << 20
    if clones and _HUGE_BYTES_MIN <= size <= room // 2:
        view = _in_huge_pages(file, size)
    else:
        view = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))
    magic, count, length = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise InvalidFile("it does not begin with %s" % _MAGIC.decode())
    start = _HEAD.size + count * _BUFFER.size
    if start + length > size:
        raise InvalidFile("it is cut off")
    buffers = []
    for place in range(_HEAD.size, start, _BUFFER.size):
        offset, bytes_ = _BUFFER.unpack_from(view, place)
        if offset + bytes_ > size:
            raise InvalidFile("a buffer is not in it")
        buffers.append(view[offset : offset + bytes_])
    return pickle.loads(view[start : start + length], buffers=buffers)


def first():
    """What an instance has to do before its call, or None."""
    return _begin if _start_threads else None


def _begin():
    for start, threads in _start_threads:
        start(threads)
