"""The Python runtime: what runs inside the sandbox, from init to the end of a call.

Started by the launcher as a zygote (descriptor 3 is its control socket) or as an instance that serves one call without
being a clone (descriptor 4 is its call socket). A zygote runs init once and then only clones itself; a clone, or an
instance, reads one event from its call socket, runs the handler, answers, and ends. The zygote of a job imports what the
job's environment is to have, waits for its job, which may not be known yet, and then loads the job's function.

Nothing here is trusted by the processes outside: the function's own code runs in the same interpreter. Python 3.9 to
3.14, standard library only.

Wire, all integers little-endian. Control, one datagram each: from the launcher `clone` with two descriptors (call
socket, log pipe), and once, to a job's zygote, `J` and environment variables (a JSON object); to it `W` (a job's zygote has
done its imports and waits), `R[reason]` (init done; the reason says why it cannot be cloned), `F<error JSON>`, `C` and i32
pid, `E` and i32 error number. Call socket: in comes u32 length of the header, u32 length of the event, the header (JSON),
the event; out go frames of u8 kind, u32 length, body: `I` init done, `L` log text, then one of `R` result or `E` error
JSON. A job's calls take and give any bytes, and may answer `P`, bytes that stand for an exception (`job.py`).
"""

import sys


def _prepare_path():
    """What Lambda's sys.path has: the function first, then layers, then the standard library. No site-packages."""
    import site

    site.ENABLE_USER_SITE = False
    site.setquit()
    site.setcopyright()
    version = "%d.%d" % sys.version_info[:2]
    first = ["/var/task", "/opt/python/lib/python%s/site-packages" % version, "/opt/python"]
    import os

    extra = [p for p in os.environ.get("PYTHONPATH", "").split(":") if p and p not in first]
    rest = [p for p in sys.path if p not in first and p not in extra and p != "/var/runtime"]
    sys.path[:] = first + extra + rest


_prepare_path()

import os  # noqa: E402

# Hooks that libraries register for the child of a fork. A clone runs them itself: see `_Cloner`.
_fork_hooks = []


def _record_fork_hooks():
    register = os.register_at_fork

    def register_at_fork(*, before=None, after_in_parent=None, after_in_child=None):
        hooks = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
        register(**{name: hook for name, hook in hooks.items() if hook is not None})
        if after_in_child is not None:
            _fork_hooks.append(after_in_child)

    os.register_at_fork = register_at_fork


_record_fork_hooks()

import _socket  # noqa: E402  (the C module: `socket` itself would cost every zygote a megabyte)
import gc  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import signal  # noqa: E402
import stat  # noqa: E402
import struct  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402

CONTROL_FD = 3
CALL_FD = 4
# Longest datagram from the launcher.
JOB_BYTES_MAX = 128 << 10
# Last argument of a zygote that has started over.
AGAIN = b"again"
_LENGTHS = struct.Struct("<II")
_FRAME = struct.Struct("<BI")
# Must be the set that the seccomp filter lets pass: parent, user, pid, mount, ipc and uts namespaces, the thread id
# written and cleared as fork does, SIGCHLD.
CLONE_FLAGS = 0x8000 | 0x10000000 | 0x20000000 | 0x20000 | 0x8000000 | 0x4000000 | 0x1000000 | 0x200000 | 17


# The handler's world --------------------------------------------------------------------------------------------------


class CognitoIdentity(object):
    """Identity of an Amazon Cognito user: always there, mostly empty."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self):
        self.cognito_identity_id = None
        self.cognito_identity_pool_id = None


class Client(object):
    """`client` of a client context, as mobile SDKs send it."""

    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(object):
    """What a caller sent as `X-Amz-Client-Context`."""

    __slots__ = ("custom", "env", "client")


def _client_context(text):
    data = json.loads(text)
    if not isinstance(data, dict):
        return None
    context = ClientContext()
    context.custom = data.get("custom")
    context.env = data.get("env")
    context.client = None
    if isinstance(data.get("client"), dict):
        context.client = Client()
        for name in Client.__slots__:
            setattr(context.client, name, data["client"].get(name))
    return context


# Looked up once, in the zygote: every lookup in a clone costs it page faults.
_same_for_all_calls = {
    "log_group_name": os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME"),
    "log_stream_name": os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
    "function_name": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
    "function_version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION"),
    "memory_limit_in_mb": os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
}


_identity = CognitoIdentity()


class LambdaContext(object):
    """The second argument of a handler.

    Times are milliseconds of the wall clock; `memory_limit_in_mb` is a string, as Lambda's is.
    """

    def __init__(self, header):
        self.__dict__.update(_same_for_all_calls)
        self.aws_request_id = header["request_id"]
        self.invoked_function_arn = header["arn"]
        self.tenant_id = header.get("tenant_id")
        text = header.get("client_context")
        self.client_context = _client_context(text) if text else None
        self.identity = _identity
        self._deadline_ms = header["deadline_ms"]

    def get_remaining_time_in_millis(self):
        """Milliseconds until the call times out; never negative."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        """Writes to the log as it is."""
        sys.stdout.write(str(message))

    def __repr__(self):
        shown = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return "LambdaContext(%s)" % ", ".join("%s=%r" % pair for pair in shown.items())


def _default(value):
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError("Object of type %s is not JSON serializable" % value.__class__.__name__)


def _make_codec():
    """JSON in and out, with the parts that `json` makes anew for each value made once, before the zygote is cloned."""
    from json import decoder, encoder

    # From Python 3.12 on Lambda's runtime leaves characters as they are.
    ascii_only = sys.version_info < (3, 12)
    fallback = json.JSONEncoder(default=_default, ensure_ascii=ascii_only).encode
    scan = decoder.scanner.c_make_scanner
    make = encoder.c_make_encoder
    if scan is None or make is None:
        return json.loads, fallback
    scan_once = scan(json.JSONDecoder())
    escape = encoder.encode_basestring_ascii if ascii_only else encoder.encode_basestring
    chunks = make({}, _default, escape, None, ": ", ", ", False, False, True)

    def decode(data):
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        try:
            value, end = scan_once(text, 0)
        except StopIteration:
            return json.loads(text)
        # Space around the value, or something wrong: `json` itself says what.
        return value if end == len(text) else json.loads(text)

    def encode(value):
        return "".join(chunks(value, 0))

    return decode, encode


_decode, _encode = _make_codec()


class _RequestIdFilter(logging.Filter):
    request_id = None

    def filter(self, record):
        record.aws_request_id = _RequestIdFilter.request_id
        return True


class _LogHandler(logging.Handler):
    def emit(self, record):
        sys.stdout.write(self.format(record))


def _setup_logging():
    handler = _LogHandler()
    formatter = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_RequestIdFilter())
    logging.getLogger().addHandler(handler)


# Init -----------------------------------------------------------------------------------------------------------------


class _InitFailed(Exception):
    def __init__(self, error_type, message, stack):
        Exception.__init__(self, message)
        # It has to fit into one datagram, where a character may take six bytes.
        message, stack = message[:4096], [line[:300] for line in stack[-15:]]
        self.body = {"errorMessage": message, "errorType": error_type[:200], "requestId": "", "stackTrace": stack}


def _frames(error):
    """The stack trace's lines, without the runtime's own frames."""
    frames = traceback.extract_tb(error.__traceback__)
    frames = [f for f in frames if not f.filename.startswith(("/var/runtime/", "<frozen importlib"))]
    return traceback.format_list(frames)


def _init_failed(error):
    return _InitFailed(type(error).__name__, str(error), _frames(error))


def _load_handler():
    name = os.environ.get("_HANDLER", "")
    module_name, dot, function_name = name.rpartition(".")
    if not dot or not module_name:
        message = "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name
        raise _InitFailed("Runtime.MalformedHandlerName", message, [])
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = "Unable to import module '%s': %s" % (module_name, error)
        raise _InitFailed("Runtime.ImportModuleError", message, _frames(error))
    except SyntaxError as error:
        message = "Syntax error in module '%s': %s" % (module_name, error)
        text = ['  File "%s" Line %s\n    %s\n' % (error.filename, error.lineno, (error.text or "").strip())]
        raise _InitFailed("Runtime.UserCodeSyntaxError", message, text)
    except SystemExit:
        raise
    except BaseException as error:
        raise _init_failed(error)
    handler = getattr(module, function_name, None)
    if handler is None:
        message = "Handler '%s' missing on module '%s'" % (function_name, module_name)
        raise _InitFailed("Runtime.HandlerNotFound", message, [])
    return handler


def _load_environment():
    """What a job's function finds, without the function. From here on calls are a job's. Gives the job's runtime."""
    global _run, _unclonable
    from importlib import machinery, util

    # Under a name that is nobody's: the job's own modules may be called anything.
    loader = machinery.SourceFileLoader("_dayfly_job", "/var/runtime/job.py")
    job = util.module_from_spec(util.spec_from_loader(loader.name, loader))
    loader.exec_module(job)

    _unclonable = job.unclonable

    def run(function, header, event):
        try:
            return job.call(function, event) + (None,)
        except SystemExit:
            raise
        except BaseException as error:
            return _raised(error, header)

    _run = run
    with open("/var/task/job.json", "rb") as file:
        description = json.load(file)
    try:
        job.prepare(description)
    except SystemExit:
        raise
    except BaseException as error:
        raise _init_failed(error)
    return job


def _load_job(job):
    """A job's function, in place of a handler."""
    try:
        return job.load()
    except SystemExit:
        raise
    except job.InvalidFile as error:
        raise _InitFailed("Runtime.InvalidFunctionFile", "The function file is broken: %s" % error, [])
    except BaseException as error:
        raise _init_failed(error)


def _error_log(body):
    text = "[ERROR] %s" % body["errorType"]
    if body["errorMessage"]:
        text += ": %s" % body["errorMessage"]
    if body["stackTrace"]:
        text += "\nTraceback (most recent call last):\n" + "".join(body["stackTrace"])
    return text.rstrip("\n")


# One call -------------------------------------------------------------------------------------------------------------


def _receive(call, count):
    data = os.read(call, count)
    if len(data) < count:
        parts = [data]
        missing = count - len(data)
        while missing:
            data = os.read(call, min(missing, 1 << 20))
            if not data:
                # The server does not want this instance: nobody waits for an answer.
                os._exit(0)
            parts.append(data)
            missing -= len(data)
        data = b"".join(parts)
    return data


def _send(call, kind, body):
    data = _FRAME.pack(kind, len(body)) + body
    sent = os.write(call, data)
    if sent < len(data):
        rest = memoryview(data)[sent:]
        while rest:
            rest = rest[os.write(call, rest) :]


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def _unclonable():
    """Why this process cannot be cloned, as far as it knows; else nothing."""
    return ""


def _run(handler, header, event):
    """Runs the handler; returns the frame's kind and body, and log text for an error."""
    try:
        try:
            value = _decode(event) if event else {}
        except Exception as error:
            return ord("E"), _failure("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error, []), None
        result = handler(value, LambdaContext(header))
        try:
            return ord("R"), _encode(result).encode("utf-8", "surrogatepass"), None
        except Exception as error:
            message = "Unable to marshal response: %s" % error
            return _failed("Runtime.MarshalError", message, [], header)
    except SystemExit:
        raise
    except BaseException as error:
        return _raised(error, header)


def _raised(error, header):
    try:
        message = str(error)
    except Exception:
        message = "<exception str() failed>"
    return _failed(type(error).__name__, message, _frames(error), header)


def _failure(error_type, message, stack, header=None):
    body = {"errorMessage": message, "errorType": error_type}
    if header is not None:
        body["requestId"] = header["request_id"]
    body["stackTrace"] = stack
    return json.dumps(body).encode()


def _failed(error_type, message, stack, header):
    log = _error_log({"errorType": error_type, "errorMessage": message, "stackTrace": stack})
    return ord("E"), _failure(error_type, message, stack, header), log


def _serve(handler, call):
    """Reads one event from the call socket, runs the handler, answers, and ends the process."""
    header_bytes, event_bytes = _LENGTHS.unpack(_receive(call, 8))
    header = _decode(_receive(call, header_bytes))
    event = _receive(call, event_bytes) if event_bytes else b""
    _RequestIdFilter.request_id = header["request_id"]
    if header.get("trace_id"):
        os.environ["_X_AMZN_TRACE_ID"] = header["trace_id"]
    try:
        kind, body, log = _run(handler, header, event)
    except SystemExit as error:
        _flush()
        code = error.code
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    _flush()
    if log is not None:
        _send(call, ord("L"), log.encode("utf-8", "backslashreplace"))
    _send(call, kind, body)
    os._exit(0)


def _reseed():
    """Whatever would repeat in every clone. `random` reseeds by its fork hook, OpenSSL when the process id changes."""
    modules = sys.modules
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "torch" in modules:
        modules["torch"].seed()


def _kill_means_end():
    """A clone is process 1 of its namespace, where the kernel ignores signals that it sends to itself by default.

    A function that ends itself so is to end all the same.
    """
    kill = os.kill
    ends = {signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}

    def kill_or_end(pid, number):
        if pid in (1, 0) and number in ends and os.getpid() == 1:
            if number == signal.SIGKILL or signal.getsignal(number) is signal.SIG_DFL:
                os._exit(128 + number)
        return kill(pid, number)

    os.kill = kill_or_end


HUGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE_ANONYMOUS = 0x22
MREMAP_MAYMOVE_FIXED = 3
PR_GET_TID_ADDRESS = 40


def _mappings():
    """`(start, end, access, path)` of each mapping of this process, in order."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            fields = line.split(None, 5)
            start, end = (int(part, 16) for part in fields[0].split("-"))
            yield start, end, fields[1], fields[5].strip() if len(fields) > 5 else ""


def _whole_huge_pages(start, end):
    return -(-start // HUGE) * HUGE, end // HUGE * HUGE


# The zygote -----------------------------------------------------------------------------------------------------------


class _Cloner(object):
    """Clones the process by the bare system call, in machine code (`zygote.rs`), which writes to no Python object.

    The interpreter's own preparations for a fork are left out: they are there for other threads, of which a zygote has
    none, and for the hooks of libraries, which a clone runs itself, but for those that only make locks anew. They would
    touch a hundred and fifty pages in every clone, each copied. The thread keeps its identity, and its kernel id is
    put where libc looks for it by the clone call itself.
    """

    def __init__(self):
        import ctypes

        libc = ctypes.PyDLL(None)
        address, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        for name, result, arguments in [
            ("prctl", number, [number] + [ctypes.c_ulong] * 4),
            ("madvise", number, [address, size, number]),
            ("mmap", address, [address, size, number, number, number, ctypes.c_long]),
            ("mprotect", number, [address, size, number]),
            ("mremap", address, [address, size, size, number, address]),
            ("munmap", number, [address, size]),
        ]:
            function = getattr(libc, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        # libc keeps its thread id at the address that it gave the kernel at start; a clone's must be its own.
        thread_id = ctypes.c_ulong(0)
        if self.prctl(PR_GET_TID_ADDRESS, ctypes.addressof(thread_id), 0, 0, 0) != 0 or not thread_id.value:
            raise OSError("the kernel does not tell the thread id's address (CONFIG_CHECKPOINT_RESTORE)")
        with open("/var/runtime/call.bpf", "rb") as file:
            code = file.read()
        self.filter_code = ctypes.create_string_buffer(code, len(code))
        self.filter = ctypes.create_string_buffer(
            struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(self.filter_code)), 16
        )
        loop = ctypes.PyDLL("/var/runtime/zygote.so").dayfly_zygote
        loop.restype, loop.argtypes = ctypes.c_long, [ctypes.c_ulong] * 3
        self.loop = loop
        # A call of the same shape, so that what the linker binds late is bound here and not in each clone.
        rehearsal = libc.getppid
        rehearsal.restype, rehearsal.argtypes = loop.restype, loop.argtypes
        rehearsal(0, 0, 0)
        self.arguments = (CLONE_FLAGS, ctypes.addressof(self.filter), thread_id.value)

    def serve(self):
        """Clones the process on order. Returns the call socket in a clone, -1 when no more are wanted."""
        return self.loop(*self.arguments)

    def make_huge(self, start, size):
        """Asks for huge pages; tells whether all are."""
        self.madvise(start, size, MADV_HUGEPAGE)
        return self.madvise(start, size, MADV_COLLAPSE) == 0

    def collapse(self):
        """Backs the heap with huge pages, so that a clone copies few page table entries."""
        for start, end, access, path in list(_mappings()):
            start, end = _whole_huge_pages(start, end)
            if access == "rw-p" and path in ("", "[heap]") and end > start:
                self.make_huge(start, end - start)

    def gather_code(self):
        """Moves the interpreter's code from the page cache to huge pages of the zygote's own.

        A clone starts without the page table entries of files: it would take a fault for each piece of code that it
        runs, fifty in a call. It inherits those of huge pages, one for 2 MiB.
        """
        import ctypes

        inside = ctypes.cast(ctypes.pythonapi.Py_IncRef, ctypes.c_void_p).value
        # What is mapped of the interpreter's file without a gap, and not to be written to.
        first = last = file = None
        for start, end, access, path in _mappings():
            fits = access in ("r--p", "r-xp") and path.startswith("/")
            if not fits or start != last or path != file:
                if first is not None and first <= inside < last:
                    break
                first, file = (start, path) if fits else (None, None)
            last = end
        if first is None or not first <= inside < last:
            return
        start, end = _whole_huge_pages(first, last)
        size = end - start
        if not 0 < size <= 16 << 20:
            return
        place = self.mmap(None, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
        if place in (None, ctypes.c_void_p(-1).value):
            return
        copy, _ = _whole_huge_pages(place, place + size + HUGE)
        self.madvise(copy, size, MADV_HUGEPAGE)
        ctypes.memmove(copy, start, size)
        if self.make_huge(copy, size) and self.mprotect(copy, size, PROT_READ | PROT_EXEC) == 0:
            self.mremap(copy, size, size, MREMAP_MAYMOVE_FIXED, start)
        else:
            self.munmap(copy, size)
        self.munmap(place, copy - place)
        self.munmap(copy + size, place + HUGE - copy)


def _no_handler(event, context=None):
    return event


_REHEARSAL = json.dumps({"request_id": "", "arn": "", "deadline_ms": 0}).encode()


def _rehearse():
    """Does what every call does, so that a spare takes its page faults before its call comes."""
    header = _decode(_REHEARSAL)
    _RequestIdFilter.request_id = header["request_id"]
    _kind, body, _log = _run(_no_handler, header, b'{"a": 1}')
    _LENGTHS.unpack(_FRAME.pack(82, len(body)) + b"   ")
    _flush()


def _files():
    """Descriptors of regular files that init has left open. Init is over: there will be no more."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > CONTROL_FD and stat.S_ISREG(os.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            pass  # The listing's own.
    return found


def _open_anew(files):
    """Gives a clone its own place in each file, where init had left it: an inherited one is shared by all clones."""
    for fd in files:
        own = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(own, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(own, fd, os.get_inheritable(fd))
        os.close(own)


def _become_instance(cloner, handler, call, files):
    """In the clone: fresh randomness, its own places in files; then the one call."""
    _open_anew(files)
    if "threading" in sys.modules:
        sys.modules["threading"].main_thread()._set_native_id()
    for hook in cloner.hooks:
        hook()
    _reseed()
    if cloner.collects:
        gc.enable()
    _rehearse()
    _serve(handler, call)


class _Start(object):
    """What this process was started with, for one like it."""

    def __init__(self):
        self.at_ns = time.time_ns()
        self.environment = dict(os.environb)
        with open("/proc/self/cmdline", "rb") as file:
            self.command = file.read().split(b"\0")[:-1]


def _settle(cloner):
    """Makes what is there cheap to clone."""
    _rehearse()
    gc.collect()
    gc.freeze()
    cloner.collapse()


def _zygote(load, start):
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL_FD)
    is_job = load is _load_job
    try:
        if is_job:
            job = _load_environment()
        else:
            handler = load()
        unclonable = None
        try:
            cloner = _Cloner()
        except Exception as error:
            unclonable = "this interpreter cannot clone itself: %s" % error
        else:
            _kill_means_end()
            _settle(cloner)
            cloner.gather_code()
        if is_job:
            _await_job(control, job, start)
            handler = load(job)
            if unclonable is None:
                _settle(cloner)
    except _InitFailed as failed:
        _flush()
        os.write(2, _error_log(failed.body).encode("utf-8", "backslashreplace") + b"\n")
        control.send(b"F" + json.dumps(failed.body).encode())
        os._exit(1)
    if unclonable is not None:
        control.send(b"R" + unclonable.encode())
        control.recv(1)
        return
    files = _files()
    _flush()
    only_locks = ("threading", "logging")
    cloner.hooks = [hook for hook in _fork_hooks if getattr(hook, "__module__", None) not in only_locks]
    cloner.collects = gc.isenabled()
    gc.disable()
    control.send(b"R" + _unclonable().encode())
    call = cloner.serve()
    if call >= 0:
        _become_instance(cloner, handler, call, files)


def _await_job(control, job, start):
    """Waits until this is a job's zygote. One whose modules have been changed meanwhile starts over."""
    _flush()
    control.send(b"W")
    try:
        control.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        files = job.files()
        # It stays where it is: who starts over finds it again.
        if not control.recv(1, _socket.MSG_PEEK):
            os._exit(0)
        changed = files != job.files() or max(files.values())[0] >= start.at_ns
        if changed and start.command[-1] != AGAIN:
            os.execve(start.command[0], start.command + [AGAIN], start.environment)
    os.environ.update(json.loads(control.recv(JOB_BYTES_MAX)[1:]))


def _serve_once(load):
    """Serves one call in a process that is not a clone."""
    try:
        handler = load(_load_environment()) if load is _load_job else load()
    except _InitFailed as failed:
        _flush()
        _send(CALL_FD, ord("L"), _error_log(failed.body).encode("utf-8", "backslashreplace"))
        _send(CALL_FD, ord("F"), json.dumps(failed.body).encode())
        os._exit(1)
    os.close(CONTROL_FD)
    _kill_means_end()
    if "random" in sys.modules:
        sys.modules["random"].seed()
    _reseed()
    _flush()
    _send(CALL_FD, ord("I"), b"")
    _serve(handler, CALL_FD)


def main():
    """Runs init, then what the descriptors that are open make of this process."""
    one_use = True
    try:
        os.fstat(CALL_FD)
    except OSError:
        one_use = False
    start = _Start()
    os.environ.pop("GLIBC_TUNABLES", None)
    load = _load_job if sys.argv[1:2] == ["job"] else _load_handler
    sys.argv = sys.argv[:1]
    # A write per line, not one per piece of it; what is left without a line feed is written at the end of the call.
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    _setup_logging()
    if one_use:
        _serve_once(load)
    else:
        _zygote(load, start)


if __name__ == "__main__":
    main()
