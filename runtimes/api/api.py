"""The Runtime API: what an instance of any other language than Python has beside it, from init to the end of its call.

Started by the launcher as an instance, first process of its namespace; descriptor 4 is its call socket, whose frames
`../python/bootstrap.py` describes. Starts the function's runtime (a `bootstrap`, or Node), serves it Lambda's Runtime
API over HTTP/1.1 on loopback, and ends with its one answer. The runtime's first `next` is the end of init.

Nothing here is trusted by the processes outside. The first argument says which runtime: `provided` or `node`. Each call
pays for what is imported here, so that is little. Python 3.9 to 3.14, standard library only.
"""

import os
import select
import signal
import socket
import struct
import sys

CONTROL_FD, CALL_FD = 3, 4
HEAD = struct.Struct("<6Iq")
VERSION = b"/2018-06-01/runtime/"
# Longest line of a request, and most header lines.
LINE_BYTES_MAX, HEADERS_MAX = 64 << 10, 128
# Most connections at once: a runtime needs one.
CONNECTIONS_MAX = 32
# How long the runtime may take to read an answer.
WRITE_SECONDS_MAX = 10
# What the environment says to this process alone.
OWN_VARIABLES = ("_DAYFLY_RESULT_BYTES_MAX", "_DAYFLY_REUSE")
# Whether it serves more calls than one.
GOES_ON = "_DAYFLY_REUSE" in os.environ
RESULT_BYTES_MAX = int(os.environ.get("_DAYFLY_RESULT_BYTES_MAX", 6 << 20))
REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 413: "Payload Too Large"}
BOOTSTRAPS = ("/var/task/bootstrap", "/opt/bootstrap")


class TooLarge(Exception):
    """A body over the limit: request line, headers and length."""


class Request(object):
    """A request that has come whole. Header names are lower-case bytes; trailers are among them."""

    def __init__(self, method, target):
        self.method, self.target, self.headers, self.body = method, target, {}, b""


class Connection(object):
    """One connection of the runtime's. `feed` gives each whole request that the bytes complete."""

    def __init__(self, stream):
        self.stream, self.buffer = stream, bytearray()
        self.parser, self.is_last = None, False

    def feed(self, data):
        self.buffer += data
        while True:
            if self.parser is None:
                if not self.buffer:
                    return
                self.parser = self._request()
            try:
                next(self.parser)
                return
            except StopIteration as done:
                self.parser = None
                yield done.value

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n")
            if end >= 0:
                line = bytes(self.buffer[:end])
                del self.buffer[: end + 2]
                return line
            if len(self.buffer) > LINE_BYTES_MAX:
                raise ValueError("a line is too long")
            yield

    def _bytes(self, count):
        while len(self.buffer) < count:
            yield
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def _headers(self, headers):
        for _ in range(HEADERS_MAX):
            line = yield from self._line()
            if not line:
                return
            name, colon, value = line.partition(b":")
            if not colon:
                raise ValueError("a header without a colon")
            headers[name.strip().lower()] = value.strip()
        raise ValueError("too many headers")

    def _request(self):
        method, target, _version = (yield from self._line()).split(b" ")
        request = Request(method, target)
        yield from self._headers(request.headers)
        self.is_last = request.headers.get(b"connection", b"").lower() == b"close"
        if request.headers.get(b"expect", b"").lower() == b"100-continue":
            self.stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            parts, length = [], 0
            while True:
                size = int((yield from self._line()).partition(b";")[0], 16)
                if size == 0:
                    break
                length += size
                if size < 0 or length > RESULT_BYTES_MAX:
                    raise TooLarge(request, length)
                parts.append((yield from self._bytes(size + 2))[:-2])
            yield from self._headers(request.headers)
            request.body = b"".join(parts)
        else:
            length = int(request.headers.get(b"content-length", 0))
            if length < 0 or length > RESULT_BYTES_MAX:
                raise TooLarge(request, length)
            request.body = yield from self._bytes(length)
        return request

    def answer(self, status, body=b"", headers=()):
        lines = ["HTTP/1.1 %d %s" % (status, REASONS[status]), "Content-Length: %d" % len(body)]
        lines += ["%s: %s" % pair for pair in headers]
        self.stream.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if self.is_last:
            self.stream.shutdown(socket.SHUT_WR)

    def refuse(self, status, error_type, message):
        self.answer(status, _json({"errorMessage": message, "errorType": error_type}), JSON)


JSON = [("Content-Type", "application/json")]


class Instance(object):
    """The function's runtime and its call: one, or one after the other."""

    def __init__(self, listener, child, woken):
        self.listener, self.child, self.woken = listener, child, woken
        self.poll, self.connections = select.poll(), {}
        self.ready = False
        # The connection that waits for the call, the call once it has come, whether it was handed over, and answered.
        self.waiting, self.call, self.given, self.answered = None, None, False, False
        self.poll.register(listener, select.POLLIN)
        self.poll.register(woken, select.POLLIN)

    def run(self):
        while True:
            for descriptor, _events in self.poll.poll():
                if descriptor == CALL_FD:
                    self.take_call()
                elif descriptor == self.listener.fileno():
                    self.accept()
                elif descriptor == self.woken.fileno():
                    self.bury()
                elif descriptor in self.connections:
                    self.hear(self.connections[descriptor])

    def accept(self):
        stream, (_address, port) = self.listener.accept()
        if len(self.connections) >= CONNECTIONS_MAX or not _is_own(port, self.listener.getsockname()[1]):
            return stream.close()
        stream.settimeout(WRITE_SECONDS_MAX)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[stream.fileno()] = Connection(stream)
        self.poll.register(stream, select.POLLIN)

    def close(self, connection):
        self.poll.unregister(connection.stream)
        del self.connections[connection.stream.fileno()]
        connection.stream.close()
        if self.waiting is connection:
            self.waiting = None

    def hear(self, connection):
        try:
            data = connection.stream.recv(1 << 20)
            if not data:
                return self.close(connection)
            for request in connection.feed(data):
                self.serve(connection, request)
        except TooLarge as error:
            request, length = error.args
            self.refuse_large(connection, request, length)
        except ValueError as error:
            connection.refuse(400, "InvalidRequest", str(error))
            self.close(connection)
        except OSError:
            self.close(connection)

    def refuse_large(self, connection, request, length):
        message = "Exceeded maximum allowed payload size (%d bytes)." % RESULT_BYTES_MAX
        connection.refuse(413, "RequestEntityTooLarge", message)
        if self.call and not self.answered and request.target == self.path("response"):
            # The server knows what to make of the length; the body is not for it.
            os.write(CALL_FD, b"R" + struct.pack("<I", min(max(length, RESULT_BYTES_MAX + 1), 0xFFFFFFFF)))
            _exit(0)
        self.close(connection)

    def path(self, what):
        return VERSION + b"invocation/" + self.call[0] + b"/" + what.encode()

    def serve(self, connection, request):
        asked = (request.method, request.target)
        if asked == (b"GET", VERSION + b"invocation/next"):
            return self.next(connection)
        if asked == (b"POST", VERSION + b"init/error"):
            if self.ready:
                return connection.refuse(403, "InvalidStateTransition", "Init is over: it cannot fail any more")
            connection.answer(202, b'{"status":"OK"}\n', JSON)
            self.end(b"F", _error_of(request))
        if request.method != b"POST" or not request.target.startswith(VERSION + b"invocation/"):
            return connection.refuse(404, "NotFound", "There is no such operation of the Runtime API")
        if not self.given or self.answered:
            return connection.refuse(403, "InvalidStateTransition", "There is no invocation to answer")
        if request.target not in (self.path("response"), self.path("error")):
            return connection.refuse(400, "InvalidRequestID", "Invalid request ID")
        # As on Lambda, the runtime goes on until its next `next`. Whoever counts its time ends it if that takes long.
        self.answered = True
        connection.answer(202, b'{"status":"OK"}\n', JSON)
        if request.target.endswith(b"/error") or b"lambda-runtime-function-error-type" in request.headers:
            _send(b"E", _error_of(request))
        else:
            _send(b"R", request.body)

    def next(self, connection):
        if self.answered and not GOES_ON:
            _exit(0)
        if self.answered:
            self.call, self.given, self.answered = None, False, False
            self.waiting = connection
            _send(b"I", b"")
            self.poll.register(CALL_FD, select.POLLIN)
            return
        if self.given:
            # There is no other call: it waits until this one ends, and everything with it.
            return
        self.waiting = connection
        if not self.ready:
            self.ready = True
            _send(b"I", b"")
            self.poll.register(CALL_FD, select.POLLIN)
        elif self.call:
            self.give()

    def take_call(self):
        self.poll.unregister(CALL_FD)
        head = HEAD.unpack(_receive(HEAD.size))
        texts = [_receive(length) for length in head[1:6]]
        self.call = (texts[0], texts[1:], head[6], _receive(head[0]))
        if self.waiting:
            self.give()

    def give(self):
        request_id, (arn, client_context, _tenant, trace), deadline_ms, event = self.call
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", request_id.decode()),
            ("Lambda-Runtime-Deadline-Ms", deadline_ms),
            ("Lambda-Runtime-Invoked-Function-Arn", arn.decode()),
        ]
        more = [("Lambda-Runtime-Trace-Id", trace), ("Lambda-Runtime-Client-Context", client_context)]
        # What came as text from outside must not end a header.
        headers += [(name, value.decode().replace("\r", " ").replace("\n", " ")) for name, value in more if value]
        connection, self.waiting = self.waiting, None
        try:
            connection.answer(200, event, headers)
            self.given = True
        except OSError:
            # It asks again on another connection.
            self.close(connection)

    def bury(self):
        """The runtime, or what it started, has ended."""
        self.woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child:
                self.runtime_ended(os.waitstatus_to_exitcode(status))

    def runtime_ended(self, code):
        if not self.ready:
            how = "exit status %d" % code if code >= 0 else "signal: %s" % signal.strsignal(-code).lower()
            message = "Error: Runtime exited %s: %s" % ("with error" if code else "without providing a reason", how)
            self.end(b"F", _json({"errorType": "Runtime.ExitError", "errorMessage": message}))
        _exit(0 if self.answered else code if code >= 0 else 128 - code)

    def end(self, kind, body):
        _send(kind, body)
        _exit(0)


def _exit(code):
    """Ends the instance: first all others in it, so that none of them complains about connections that are cut."""
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError:
        pass
    os._exit(code)


def _error_of(request):
    """The error that a runtime tells of: JSON as it came, if it is an object with an `errorType`."""
    import binascii
    import json

    kind = request.headers.get(b"lambda-runtime-function-error-type", b"Runtime.Unknown").decode("latin-1")
    body = request.body
    if request.target.endswith(b"/response"):
        # A streamed response that failed in the middle says how in its trailers.
        try:
            body = binascii.a2b_base64(request.headers.get(b"lambda-runtime-function-error-body", b""))
        except ValueError:
            body = b""
    try:
        error = json.loads(body)
        if isinstance(error, dict) and isinstance(error.get("errorType"), str):
            return body
    except ValueError:
        error = None
    message = error.get("errorMessage") if isinstance(error, dict) else None
    return _json({"errorType": kind, "errorMessage": message if isinstance(message, str) else ""})


def _json(value):
    import json

    return json.dumps(value).encode()


def _send(kind, body):
    rest = memoryview(kind + struct.pack("<I", len(body)) + body)
    while rest:
        rest = rest[os.write(CALL_FD, rest) :]


def _receive(count):
    parts = []
    while count:
        part = os.read(CALL_FD, min(count, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _is_own(port, own_port):
    """Whether the process behind a connection is in this instance: instances of a version share their network."""
    loopback = "%08X" % int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder)
    ends = ["%s:%04X" % (loopback, port), "%s:%04X" % (loopback, own_port)]
    with open("/proc/net/tcp") as lines:
        names = ["socket:[%s]" % fields[9] for fields in map(str.split, lines) if fields[1:3] == ends]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            folder = "/proc/%s/fd/" % pid
            if any(os.readlink(folder + name) in names for name in os.listdir(folder)):
                return True
        except OSError:
            continue
    return False


def _command(kind):
    """The runtime's program and arguments, or why there is none."""
    if kind == "node":
        heap_mb = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) * 9 // 10
        command = ["/var/lang/bin/node", "--max-old-space-size=%d" % heap_mb, "/var/runtime/node.mjs"]
        wrapper = os.environ.get("AWS_LAMBDA_EXEC_WRAPPER")
        return [wrapper] + command if wrapper else command
    for path in BOOTSTRAPS:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return [path]
    raise OSError("Couldn't find valid bootstrap(s): [%s]" % " ".join(BOOTSTRAPS))


def main():
    os.set_inheritable(CALL_FD, False)
    os.close(CONTROL_FD)
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    variables = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    if GOES_ON and sys.argv[1] == "node":
        variables["_DAYFLY_REUSE"] = "1"
    variables["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:%d" % listener.getsockname()[1]
    try:
        command = _command(sys.argv[1])
        # SIGPIPE as programs expect it: Python ignores it.
        child = os.posix_spawn(command[0], command, variables, setsigdef=[signal.SIGPIPE])
    except OSError as error:
        _send(b"F", _json({"errorType": "Runtime.InvalidEntrypoint", "errorMessage": "Error: %s" % error}))
        os._exit(1)
    Instance(listener, child, woken).run()


if __name__ == "__main__":
    main()
