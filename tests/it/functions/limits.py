"""Runs into every limit, one function per limit. `{"do": name, …}` calls `name(…)`."""

import ctypes
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

MB = 1 << 20


def handler(event, context):
    event = dict(event)
    return globals()[event.pop("do")](**event)


def echo(**event):
    return event


def nothing():
    return None


# Time --------------------------------------------------------------------------------------------------------------------


def sleep(seconds=60):
    time.sleep(seconds)


def spin():
    while True:
        pass


def spin_in_c():
    # One call that never comes back to the interpreter.
    libc = ctypes.PyDLL(None)
    while True:
        libc.usleep(60_000_000)


def ignore_signals():
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
    time.sleep(60)


def children_that_sleep(marker):
    for _ in range(3):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", marker], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(120)", marker])
        os._exit(0)
    time.sleep(60)


def count_cpu(seconds):
    """How often a small piece of work was done in `seconds` of wall time."""
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(200):
            done += 1
    return done


# Memory ------------------------------------------------------------------------------------------------------------------


def hold(mb):
    block = bytearray(mb * MB)
    return len(block)


def hold_in_processes(count, mb, seconds=1.0):
    """Each of `count` children holds `mb`, every page written to; returns how many held it at the same time."""
    read, write = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                block = b"\1" * (mb * MB)
                os.write(write, os.getpid().to_bytes(4, "little"))
                time.sleep(60)
            finally:
                os._exit(0)
        children.append(child)
    os.close(write)
    time.sleep(seconds)
    os.set_blocking(read, False)
    try:
        said = os.read(read, 4 * count)
    except BlockingIOError:
        said = b""
    held = {int.from_bytes(said[at : at + 4], "little") for at in range(0, len(said), 4)}
    # The kernel may have killed some that held it, to make room for others.
    return sum(child in held and os.waitpid(child, os.WNOHANG) == (0, 0) for child in children)


def hold_in_threads(count, mb):
    held = []
    threads = [threading.Thread(target=lambda: held.append(bytearray(mb * MB))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(held)


def hold_mapped(mb, shared=True):
    area = mmap.mmap(-1, mb * MB, flags=(mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE) | mmap.MAP_ANONYMOUS)
    for at in range(0, mb * MB, 4096):
        area[at] = 1
    return len(area)


def hold_file(mb, folder="/dev/shm"):
    with open(folder + "/file", "wb") as file:
        for _ in range(mb):
            file.write(b"x" * MB)
    return os.path.getsize(folder + "/file")


def hold_memfd(mb):
    fd = os.memfd_create("held")
    for _ in range(mb):
        os.write(fd, b"x" * MB)
    return os.fstat(fd).st_size


def hold_in_unix_sockets(mb):
    pairs, held = [], 0
    while held < mb * MB:
        one, other = socket.socketpair()
        pairs.append((one, other))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * MB)
        one.setblocking(False)
        try:
            while held < mb * MB:
                held += one.send(b"x" * 65536)
        except BlockingIOError:
            pass
    return held


def hold_in_tcp_sockets(mb):
    listener = socket.create_server(("127.0.0.1", 0))
    pairs, held = [], 0
    try:
        while held < mb * MB and len(pairs) < 450:
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MB)
            one.settimeout(1)
            one.connect(listener.getsockname())
            other, _ = listener.accept()
            other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MB)
            pairs.append((one, other))
            one.setblocking(False)
            try:
                while held < mb * MB:
                    held += one.send(b"x" * 65536)
            except BlockingIOError:
                pass
    except OSError as error:
        return [held, str(error)]
    return [held, None]


def hold_in_pipes(mb):
    held, pipes = 0, []
    import fcntl

    while held < mb * MB:
        read, write = os.pipe()
        pipes.append((read, write))
        try:
            fcntl.fcntl(write, 1031, MB)
        except OSError:
            pass
        os.set_blocking(write, False)
        try:
            while held < mb * MB:
                held += os.write(write, b"x" * 65536)
        except BlockingIOError:
            pass
    return held


# Storage, processes, files -----------------------------------------------------------------------------------------------


def fill_tmp():
    """Writes until there is no room: bytes written, and the error's number."""
    written = 0
    try:
        with open("/tmp/full", "wb", buffering=0) as file:
            while True:
                written += file.write(b"x" * MB)
    except OSError as error:
        return [written, error.errno]


def fill_inodes():
    made = 0
    try:
        while made < 2_000_000:
            os.mknod("/tmp/%d" % made)
            made += 1
    except OSError as error:
        return [made, error.errno]
    return [made, 0]


def fork_until_refused():
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except OSError as error:
        return [made, error.errno]


def threads_until_refused():
    made = 0
    threading.stack_size(64 << 10)
    try:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            made += 1
    except RuntimeError:
        return made


def open_until_refused():
    files = []
    try:
        while True:
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return [len(files), error.errno]


def raise_limits():
    """Tries to raise its own hard limits: which were raised."""
    raised = []
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_CORE", "RLIMIT_RTPRIO", "RLIMIT_NICE"):
        number = {"RLIMIT_NICE": 13}.get(name, getattr(resource, name, 14))
        hard = resource.getrlimit(number)[1]
        try:
            resource.setrlimit(number, (hard + 1, hard + 1))
            raised.append(name)
        except (ValueError, OSError):
            pass
    try:
        os.nice(-1)
        raised.append("nice")
    except OSError:
        pass
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        raised.append("SCHED_FIFO")
    except OSError:
        pass
    return raised


# Payload and log -----------------------------------------------------------------------------------------------------------


def length(text):
    return len(text)


def text(characters):
    return "x" * characters


def flood(lines, line):
    for _ in range(lines):
        sys.stdout.write(line)


def forge(text):
    for stream in (sys.stdout, sys.stderr):
        stream.write(text)
    return "forged"


# Ends -------------------------------------------------------------------------------------------------------------------


def leave(code):
    os._exit(code)


def system_exit(code):
    sys.exit(code)


def kill_self(number):
    os.kill(os.getpid(), number)
    time.sleep(1)


def raw_kill_self(number):
    # Past what the runtime does about os.kill.
    ctypes.CDLL(None).kill(os.getpid(), number)
    time.sleep(1)


def crash():
    ctypes.string_at(0)


def abort():
    os.abort()


def fail(message="it failed"):
    raise ValueError(message)


def result(kind):
    return {"object": object(), "bytes": b"x", "set": {1}, "nan": float("nan"), "key": {(1, 2): 3}, "deep": _deep()}[kind]


def _deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value
