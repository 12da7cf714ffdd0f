"""The Python runtime: what runs inside the sandbox, from init to the end of a call.

Started by the launcher as a zygote (descriptor 3 is its control socket) or as an instance that serves one call without
being a clone (descriptor 4 is its call socket). A zygote runs init once and then only clones itself; a clone, or an
instance, reads one event from its call socket, runs the handler, answers, and ends. What every clone does is machine code
(`zygote.rs`), which has here what it uses, made once, and what it does seldom. The zygote of a job imports what the job's
environment is to have, waits for its job, which may not be known yet, and then loads the job's function.

Nothing here is trusted by the processes outside: the function's own code runs in the same interpreter. Python 3.9 to
3.14, standard library only.

Wire, all integers little-endian. Control, one datagram each: from the launcher `clone` with two descriptors (call
socket, log pipe), and once, to a job's zygote, `J` and environment variables (a JSON object); to it `W` (a job's zygote has
done its imports and waits), `R[reason]` (init done; the reason says why it cannot be cloned), `F<error JSON>`, `C` and i32
pid, `E` and i32 error number. Call socket: in come u32 lengths of the event, the request id, the ARN, the client context, the
tenant id and the trace id (0: there is none), i64 deadline in milliseconds since 1970, these texts, the event; out go frames
of u8 kind, u32 length, body: `I` init done, `L` log text, then one of `R` result or `E` error JSON. A job's calls take and
give any bytes, and may answer `P`, bytes that stand for an exception (`job.py`).
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
    # Last, so that a boto3 of the function's own is found first. A job has what its caller has.
    own = [] if sys.argv[1:2] == ["job"] else ["/var/runtime/packages"]
    sys.path[:] = first + extra + rest + own


_prepare_path()

import os  # noqa: E402

# Hooks that libraries register for the child of a fork. A clone runs them itself: see `_first_of_clones`.
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

import gc  # noqa: E402
import importlib  # noqa: E402
import io  # noqa: E402
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
# In the command of a zygote that has started over because its modules had changed.
AGAIN = b"again"
# Before the name of a module, in the command of one that leaves it out. With more than so many it takes things as they are.
WITHOUT = b"without="
LEFT_OUT_MAX = 8
# What the environment says to the C library and to the dynamic linker is for this process alone.
_LOADER_SETTINGS = ("GLIBC_TUNABLES", "LD_BIND_NOW")
_MACHINE_CODE = "/var/runtime/zygote.so"
# From Python 3.12 on Lambda's runtime leaves characters as they are.
_ASCII_ONLY = sys.version_info < (3, 12)
_is_job = sys.argv[1:2] == ["job"]
# Whether this process serves more calls than one.
_goes_on = False
_HEAD = struct.Struct("<6Iq")
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


class LambdaContext(object):
    """The second argument of a handler.

    Times are milliseconds of the wall clock; `memory_limit_in_mb` is a string, as Lambda's is.
    """

    def __init__(self):
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.aws_request_id = None
        self.invoked_function_arn = None
        self.tenant_id = None
        self.client_context = None
        self.identity = CognitoIdentity()
        self._deadline_ms = 0

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


# The context of the one call that a process serves. Made when init is done, since it lies beside what calls use.
_context = None


def _make_codec():
    """JSON in and out: what `json` makes anew for each value, made once."""
    from json import decoder, encoder

    scan = decoder.scanner.make_scanner(json.JSONDecoder())
    make = encoder.c_make_encoder
    if make is None:
        return scan, lambda value, _level: (_encode_slowly(value),)
    escape = encoder.encode_basestring_ascii if _ASCII_ONLY else encoder.encode_basestring
    return scan, make({}, _default, escape, None, ": ", ", ", False, False, True)


def _encode_slowly(value):
    return json.dumps(value, default=_default, ensure_ascii=_ASCII_ONLY)


class _RequestIdFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = _context.aws_request_id
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


def _load_environment(without=()):
    """What a job's function finds, without the function, and without some modules. Gives the job's runtime."""
    from importlib import machinery, util

    # Under a name that is nobody's: the job's own modules may be called anything.
    loader = machinery.SourceFileLoader("_dayfly_job", "/var/runtime/job.py")
    job = util.module_from_spec(util.spec_from_loader(loader.name, loader))
    loader.exec_module(job)
    with open("/var/task/job.json", "rb") as file:
        description = json.load(file)
    try:
        job.prepare(description, without)
    except SystemExit:
        raise
    except BaseException as error:
        raise _init_failed(error)
    return job


def _load_job(job, clones=False):
    """A job's function, in place of a handler."""
    try:
        return job.load(clones)
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


def _send(call, kind, body):
    rest = memoryview(kind + len(body).to_bytes(4, "little") + body)
    while rest:
        rest = rest[os.write(call, rest) :]


def _streams():
    """What output waits in, if it is Python's own. Where its memory is as it was after a flush, none waits."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        if type(stream) is io.TextIOWrapper and type(stream.buffer) is io.BufferedWriter:
            found += [stream, stream.buffer]
        else:
            found += [None, None]
    return tuple(found)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def _decode_anew(call, event):
    """An event that is not simply JSON: there is space around it, or something wrong."""
    try:
        return json.loads(event.decode("utf-8"))
    except Exception as error:
        _end(call, b"E", _failure("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error, []))


def _encode_anew(call, result):
    """A result that is not simply encoded. A job's is no bytes."""
    if _is_job:
        return _raised(call, TypeError("a job's function returns bytes, not %s" % type(result).__name__))
    try:
        return _encode_slowly(result).encode("utf-8", "surrogatepass")
    except Exception as error:
        _fail(call, "Runtime.MarshalError", "Unable to marshal response: %s" % error, [])


def _raised(call, error):
    """Ends a call whose function raised."""
    if isinstance(error, SystemExit):
        _flush()
        code = error.code
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
    payload = getattr(error, "dayfly_payload", None) if _is_job and isinstance(error, Exception) else None
    if isinstance(payload, bytes):
        _end(call, b"P", payload)
    try:
        message = str(error)
    except Exception:
        message = "<exception str() failed>"
    _fail(call, type(error).__name__, message, _frames(error))


def _failure(error_type, message, stack, **more):
    body = {"errorMessage": message, "errorType": error_type, **more, "stackTrace": stack}
    return json.dumps(body).encode()


def _fail(call, error_type, message, stack):
    log = _error_log({"errorType": error_type, "errorMessage": message, "stackTrace": stack})
    body = _failure(error_type, message, stack, requestId=_context.aws_request_id)
    _end(call, b"E", body, log.encode("utf-8", "backslashreplace"))


def _end(call, kind, body, log=None):
    """Answers with something else than a result, and ends the process, unless that is to go on."""
    _flush()
    if log is not None:
        _send(call, b"L", log)
    _send(call, kind, body)
    if not _goes_on:
        os._exit(0)


def _reseed():
    """Whatever would repeat in every clone. `random` reseeds by its fork hook, OpenSSL when the process id changes."""
    for name in _to_reseed():
        sys.modules[name].seed()


def _to_reseed():
    return [name for name in ("numpy.random", "torch") if name in sys.modules]


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


def _mappings():
    """`(start, end, access, path)` of each mapping of this process, in order."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            fields = line.split(None, 5)
            start, end = (int(part, 16) for part in fields[0].split("-"))
            yield start, end, fields[1], fields[5].strip() if len(fields) > 5 else ""


def _whole_huge_pages(start, end):
    return -(-start // HUGE) * HUGE, end // HUGE * HUGE


# Machine code ---------------------------------------------------------------------------------------------------------


def _no_handler(event, context=None):
    return event


class _Machine(object):
    """The machine code of `zygote.rs`, and what it uses of Python's."""

    def __init__(self):
        from importlib import machinery, util

        loader = machinery.ExtensionFileLoader("_dayfly_zygote", _MACHINE_CODE)
        self.code = util.module_from_spec(util.spec_from_loader(loader.name, loader))
        self.padding = []

    def state(self, function, first):
        """What a call needs, in the order of `zygote.rs`. `first` is what a clone does before its call, or None.

        All of it is made here, so that it lies on few pages: each that a call writes to, if only by counting references,
        is copied for each clone.
        """
        global _context
        self.pad()
        with open("/var/runtime/call.bpf", "rb") as file:
            call_filter = file.read()
        _context = LambdaContext()
        _context.__dict__ = dict(vars(_context))
        nothing = type(_no_handler)(_no_handler.__code__.replace(), {}, "nothing", (None,))
        streams = _streams()
        codec = (None, None) if _is_job else _make_codec()
        fields = ("aws_request_id", "invoked_function_arn", "client_context", "tenant_id", "_deadline_ms")
        return (
            (call_filter, first, function, nothing)
            + codec
            + (_context, vars(_context))
            # Not the names that other code has.
            + tuple("".join((name[:1], name[1:])) for name in fields)
            + (os.environ, "_X_AMZN_TRACE_ID")
            + (vars(sys), "stdout", "stderr", "flush", "")
            + (_client_context, _decode_anew, _encode_anew, _raised)
            + (streams, tuple(type(stream).__basicsize__ for stream in streams))
        )

    def pad(self):
        """Fills the room that is left in the pools of the interpreter's allocator: what comes then lies together."""
        pool_bytes, first_block, head_bytes = 16384 if sys.version_info >= (3, 10) else 4096, 48, bytes().__sizeof__()
        for size in range(48, 513, 16):
            # No more than 2 MB in all. (Another allocator has no such pools.)
            for _ in range((64 << 10) // size):
                self.padding.append(bytes(size - head_bytes))
                if id(self.padding[-1]) % pool_bytes == first_block:
                    break

    def settle(self):
        """Makes what is there cheap to clone."""
        gc.collect()
        gc.freeze()
        self.collapse()

    def collapse(self):
        """Backs the heap with huge pages, so that a clone copies few page table entries.

        Memory seldom begins where a huge page does. What is missing in front of the first one is mapped too, if nothing is
        there and there is less of it than three quarters: each small page costs every clone an entry to copy and to let go of.
        """
        for start, end, access, path in list(_mappings()):
            if access != "rw-p" or path not in ("", "[heap]"):
                continue
            below, missing = start // HUGE * HUGE, start % HUGE
            if 0 < missing <= HUGE * 3 // 4 and below + HUGE <= end and self.code.fill(below, missing):
                start = below
            start, end = _whole_huge_pages(start, end)
            if end > start:
                self.code.make_huge(start, end - start)

    def gather_code(self):
        """Moves the interpreter's code from the page cache to huge pages of the zygote's own.

        A clone starts without the page table entries of files: it would take a fault for each piece of code that it
        runs, fifty in a call. It inherits those of huge pages, one for 2 MiB.
        """
        inside = self.code.code()
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
        if 0 < end - start <= 16 << 20:
            self.code.gather(start, end - start)


# The zygote -----------------------------------------------------------------------------------------------------------


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


def _first_of_clones(begin):
    """What a clone does first: its own places in files, fresh randomness, hooks of libraries. None, if there is nothing.

    The interpreter's own preparations for a fork are left out, with hooks that only make locks anew: they are there for
    other threads, of which a zygote has none.
    """
    only_locks = ("threading", "logging")
    hooks = [hook for hook in _fork_hooks if getattr(hook, "__module__", None) not in only_locks]
    files = _files()
    if not files and not hooks and not begin and not _to_reseed():
        return None

    def first():
        _open_anew(files)
        for hook in hooks:
            hook()
        _reseed()
        if begin:
            begin()

    return first


class _Start(object):
    """What this process was started with, for one like it."""

    def __init__(self):
        self.at_ns = time.time_ns()
        self.environment = dict(os.environb)
        with open("/proc/self/cmdline", "rb") as file:
            self.command = file.read().split(b"\0")[:-1]

    def left_out(self):
        """Modules whose import starts threads, as far as that has been seen."""
        return [arg[len(WITHOUT) :].decode() for arg in self.command if arg.startswith(WITHOUT)]

    def over(self, *more):
        """Starts over. What is open stays so."""
        os.execve(self.command[0], self.command + list(more), self.environment)


def _environment_of_clones(start):
    """That of a job. Modules that start threads are left out of it: the function may need them only in its calls."""
    left_out = start.left_out()
    job = _load_environment(left_out)
    more = [WITHOUT + name.encode() for name in job.with_threads() if name not in left_out]
    if more and job.unclonable() and len(left_out) < LEFT_OUT_MAX:
        start.over(*more)
    return job


def _zygote(start):
    try:
        job = _environment_of_clones(start) if _is_job else None
        function = None if _is_job else _load_handler()
        machine = _Machine()
        _kill_means_end()
        machine.settle()
        machine.gather_code()
        if job:
            _await_job(machine, job, start)
            function = _load_job(job, True)
            machine.settle()
    except _InitFailed as failed:
        _flush()
        os.write(2, _error_log(failed.body).encode("utf-8", "backslashreplace") + b"\n")
        os.write(CONTROL_FD, b"F" + json.dumps(failed.body).encode())
        os._exit(1)
    if "threading" in sys.modules:
        # The main thread of a clone is the first of its pid namespace.
        sys.modules["threading"].main_thread()._native_id = 1
    first = _first_of_clones(job and job.first())
    _flush()
    state = machine.state(function, first)
    machine.code.rehearse(state)
    machine.code.close_arenas()
    thread_id = machine.code.thread_id()
    unclonable = job.unclonable() if job else ""
    if not thread_id:
        unclonable = "the kernel does not tell the thread id's address (CONFIG_CHECKPOINT_RESTORE)"
    os.write(CONTROL_FD, b"R" + unclonable.encode())
    machine.code.zygote(state, CLONE_FLAGS, thread_id)


def _await_job(machine, job, start):
    """Waits until this is a job's zygote. One whose modules have been changed meanwhile starts over."""
    _flush()
    os.write(CONTROL_FD, b"W")
    if not machine.code.has_order(False):
        files = job.files()
        # It stays where it is: who starts over finds it again.
        if not machine.code.has_order(True):
            os._exit(0)
        changed = files != job.files() or max(files.values())[0] >= start.at_ns
        if changed and AGAIN not in start.command:
            start.over(AGAIN)
    os.environ.update(json.loads(os.read(CONTROL_FD, JOB_BYTES_MAX)[1:]))


def _serve_on(function):
    """Serves one call after the other, until the server wants no more. Tells it each time that it is ready."""
    global _context, _goes_on
    _goes_on = True
    while True:
        _send(CALL_FD, b"I", b"")
        event_bytes, *lengths, deadline_ms = _HEAD.unpack(_receive(_HEAD.size))
        texts = [_receive(length).decode("utf-8", "replace") for length in lengths]
        event = _receive(event_bytes)
        _context = LambdaContext()
        _context.aws_request_id, _context.invoked_function_arn, client_context, tenant_id, trace_id = texts
        _context.tenant_id = tenant_id or None
        _context._deadline_ms = deadline_ms
        os.environ.pop("_X_AMZN_TRACE_ID", None)
        if trace_id:
            os.environ["_X_AMZN_TRACE_ID"] = trace_id
        _serve_next(function, event, client_context)


def _serve_next(function, event, client_context):
    try:
        event = json.loads(event.decode("utf-8")) if event else {}
        if client_context:
            _context.client_context = _client_context(client_context)
    except Exception as error:
        return _end(CALL_FD, b"E", _failure("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error, []))
    try:
        result = function(event, _context)
    except BaseException as error:
        return _raised(CALL_FD, error)
    try:
        body = _encode_slowly(result).encode("utf-8", "surrogatepass")
    except Exception as error:
        return _fail(CALL_FD, "Runtime.MarshalError", "Unable to marshal response: %s" % error, [])
    _end(CALL_FD, b"R", body)


def _receive(count):
    parts = []
    while count:
        part = os.read(CALL_FD, min(count, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _serve_once(goes_on):
    """Serves one call, or one after the other, in a process that is not a clone."""
    try:
        job = _load_environment() if _is_job else None
        function = _load_job(job) if _is_job else _load_handler()
    except _InitFailed as failed:
        _flush()
        _send(CALL_FD, b"L", _error_log(failed.body).encode("utf-8", "backslashreplace"))
        _send(CALL_FD, b"F", json.dumps(failed.body).encode())
        os._exit(1)
    os.close(CONTROL_FD)
    _kill_means_end()
    if "random" in sys.modules:
        sys.modules["random"].seed()
    _reseed()
    first = job and job.first()
    if first:
        first()
    machine = _Machine()
    _flush()
    if goes_on:
        _serve_on(function)
    _send(CALL_FD, b"I", b"")
    # It is told to let other threads run while it waits, by something to do first.
    machine.code.serve(machine.state(function, _reseed), CALL_FD)


def main():
    """Runs init, then what the descriptors that are open make of this process."""
    one_use = True
    try:
        os.fstat(CALL_FD)
    except OSError:
        one_use = False
    start = _Start()
    goes_on = os.environ.pop("_DAYFLY_REUSE", None) is not None
    for name in _LOADER_SETTINGS:
        os.environ.pop(name, None)
    # One of the function's own stays.
    if os.environ.get("LD_PRELOAD") == _MACHINE_CODE:
        del os.environ["LD_PRELOAD"]
    sys.argv = sys.argv[:1]
    # A write per line, not one per piece of it; what is left without a line feed is written at the end of the call.
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    _setup_logging()
    if one_use:
        _serve_once(goes_on)
    else:
        _zygote(start)


if __name__ == "__main__":
    main()
