"""Leaves traces of every kind, and looks for them. `{"do": name, …}` calls `name(…)`."""

import ctypes
import decimal
import locale
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings

LIBC = ctypes.CDLL(None, use_errno=True)
COUNT = 0
LIST = []


def handler(event, context):
    event = dict(event)
    return globals()[event.pop("do")](**event)


class _Memory(object):
    value = "untouched"


def look():
    """Everything that a call could have changed for a later one, as plain data."""
    shm = LIBC.shmget(4711, 4096, 0)
    queue = LIBC.msgget(4711, 0)
    return {
        "count": COUNT,
        "list": list(LIST),
        "class": _Memory.value,
        "files": {folder: sorted(os.listdir(folder)) for folder in ("/tmp", "/dev/shm")},
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("_X_AMZN")},
        "c environment": ctypes.string_at(LIBC.getenv(b"C_TRACE") or b"none").decode() if _c_getenv() else None,
        "folder": os.getcwd(),
        "umask": _umask(),
        "modules": "wave" in sys.modules,
        "path": list(sys.path),
        "signals": str(signal.getsignal(signal.SIGUSR1)),
        "mask": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "nice": os.nice(0),
        "hash": json_loads_is_json_loads(),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "threads": threading.active_count(),
        "locale": locale.getlocale()[0],
        "recursion": sys.getrecursionlimit(),
        "timezone": time.tzname[0],
        "decimal": decimal.getcontext().prec,
        "logging": logging.getLogger().level,
        "warnings": len(warnings.filters),
        "tempdir": tempfile.tempdir,
        "system v": [shm, queue],
        "message queue": _mq_exists(),
        "abstract socket": _abstract_exists(),
        "name": open("/proc/self/comm").read(),
    }


def _c_getenv():
    LIBC.getenv.restype = ctypes.c_void_p
    return LIBC.getenv(b"C_TRACE")


def _umask():
    old = os.umask(0o22)
    os.umask(old)
    return old


def json_loads_is_json_loads():
    import json

    return json.loads("1") == 1


def _mq_exists():
    fd = LIBC.mq_open(b"/traces", os.O_RDWR)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _abstract_exists():
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect("\0traces-abstract-%d" % os.getuid())
        return True
    except OSError:
        return False
    finally:
        one.close()


def leave_traces():
    """Changes all of it, and returns what `look` sees then, but for what is the same for want of another value."""
    global COUNT
    before = look()
    COUNT += 1
    LIST.append("left")
    _Memory.value = "left"
    for folder in ("/tmp", "/dev/shm"):
        with open(folder + "/left", "w") as file:
            file.write("left")
    os.environ["TRACE"] = "left"
    LIBC.setenv(b"C_TRACE", b"left", 1)
    os.chdir("/tmp")
    os.umask(0o77)
    import wave  # noqa: F401

    sys.path.append("/left")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))
    os.nice(3)
    import json

    json.loads = lambda text: "hijacked"
    os.dup(1)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    locale.setlocale(locale.LC_ALL, "C")
    sys.setrecursionlimit(500)
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    decimal.getcontext().prec = 5
    logging.getLogger().setLevel(logging.DEBUG)
    warnings.simplefilter("ignore")
    tempfile.tempdir = "/left"
    LIBC.shmget(4711, 4096, 0o1600)
    LIBC.msgget(4711, 0o1600)
    random.seed(1)
    LIBC.prctl(15, b"left", 0, 0, 0)
    after = look()
    # What looks the same to somebody who may be in the same state is left out.
    return {kind: value for kind, value in after.items() if value != before[kind]}


def leave_traces_and_stay(seconds):
    left = leave_traces()
    time.sleep(seconds)
    return sorted(left)


def start(how, marker, seconds=0.3):
    """Starts something that would go on for two minutes; how many processes and threads there are then."""
    program = "import time; time.sleep(120)"
    if how == "ignoring_child":
        program = "import signal, time\nfor n in range(1, 32):\n  n in (9, 19) or signal.signal(n, signal.SIG_IGN)\n" + program
    command = [sys.executable, "-c", program, marker]
    if how in ("child", "ignoring_child"):
        subprocess.Popen(command)
    elif how == "daemon":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, command)
            os._exit(0)
        os.wait()
    elif how == "thread":
        threading.Thread(target=subprocess.run, args=(command,), daemon=True).start()
    time.sleep(seconds)
    return len([name for name in os.listdir("/proc") if name.isdigit()]) + threading.active_count() - 1


def environment():
    return dict(os.environ)
