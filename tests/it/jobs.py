"""A client of the job protocol (`docs/jobs.md`), as small as it can be. Functions are source text; nothing is pickled but that."""

import http.client
import json
import pickle
import socket
import struct

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import harness

HEAD = struct.Struct("<cIQ")


class Source:
    """Pickles as `call` of its source: a function of bytes that gives bytes."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return eval, (f"(lambda names: (exec({self.text!r}, names), names['call'])[1])({{}})",)


def function_file(source):
    """A function file without buffers."""
    body = pickle.dumps(Source(source), protocol=5)
    return struct.pack("<8sIQ", b"DAYFLYF1", 0, len(body)) + body


class Captures:
    """Pickles as what `make(array)` of a source gives, with the array out of band."""

    def __init__(self, text, array):
        self.text, self.array = text, array

    def __reduce__(self):
        return Maker(self.text), (self.array,)


class Maker(Source):
    """Pickles as `make` of its source."""

    def __call__(self):
        raise NotImplementedError

    def __reduce__(self):
        return eval, (f"(lambda names: (exec({self.text!r}, names), names['make'])[1])({{}})",)


def captured_file(source, array):
    """A function file with the memory of an array as its buffer."""
    buffers = []
    body = pickle.dumps(Captures(source, array), protocol=5, buffer_callback=buffers.append)
    (buffer,) = (one.raw() for one in buffers)
    head = 8 + 4 + 8 + 16 + len(body)
    offset = -(-head // 4096) * 4096
    places = struct.pack("<8sIQQQ", b"DAYFLYF1", 1, len(body), offset, buffer.nbytes)
    return b"".join([places, body, bytes(offset - head), buffer])


def frame(kind, header, body=b""):
    """The bytes of a frame."""
    header = json.dumps(header).encode()
    return HEAD.pack(kind.encode(), len(header), len(body)) + header + body


class Refused(Exception):
    """An answer that is no stream: status and decoded body."""


class Stream:
    """One request whose two bodies are frames. `signed` goes over TCP, else through the socket of the data folder."""

    def __init__(self, server, path="/jobs", signed=False):
        if signed:
            host, port = server.endpoint.removeprefix("http://").split(":")
            self.socket = socket.create_connection((host, int(port)))
        else:
            host, self.socket = "dayfly", socket.socket(socket.AF_UNIX)
            self.socket.connect(str(server.folder / "dayfly.sock"))
        self.socket.settimeout(60 * harness.SLOW)
        headers = {"Host": host, "Content-Type": "application/x-dayfly-job"}
        if signed:
            request = AWSRequest("POST", server.endpoint + path, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
            keys = Credentials(server.keys["access_key_id"], server.keys["secret_access_key"])
            UnsignedBody(keys, "dayfly", "us-east-1").add_auth(request)
            headers = {**headers, **dict(request.headers), "Host": server.endpoint.removeprefix("http://")}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"POST {path} HTTP/1.1", *lines, "Transfer-Encoding: chunked", "", ""])
        self.socket.sendall(head.encode())
        self.answer = None

    def send(self, *frames):
        """Sends frames as one chunk."""
        data = b"".join(frames)
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        """Ends the request's body."""
        self.socket.sendall(b"0\r\n\r\n")

    def begin(self):
        """Waits for the head of the answer."""
        if self.answer is None:
            self.answer = http.client.HTTPResponse(self.socket, method="POST")
            self.answer.begin()
            if self.answer.status != 200:
                raise Refused(self.answer.status, json.loads(self.answer.read()))

    def read(self):
        """The next frame but empty `W`s: kind, header, body; `None` at the end."""
        self.begin()
        while True:
            head = self.answer.read(HEAD.size)
            if not head:
                return None
            kind, header_bytes, body_bytes = HEAD.unpack(head)
            header = json.loads(self.answer.read(header_bytes))
            # A read of no bytes would wait for the next chunk.
            body = self.answer.read(body_bytes) if body_bytes else b""
            if kind != b"W" or header["n"]:
                return kind.decode(), header, body

    def rest(self):
        """All frames up to the last one."""
        frames = [self.read()]
        while frames[-1] is not None and frames[-1][0] not in "DE":
            frames.append(self.read())
        return frames

    def close(self):
        """Goes away."""
        if self.answer is not None:
            self.answer.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class UnsignedBody(SigV4Auth):
    """A signature that does not cover the body."""

    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


def begin(server, source, signed=False, **job):
    """A stream whose job has begun, and the header of its `J`. The source may be a function file."""
    stream = Stream(server, signed=signed)
    job = {"name": "f", "runtime": harness.RUNTIME, "memory_mb": 128, "timeout_s": 30 * harness.SLOW, **job}
    stream.send(frame("S", job, source if isinstance(source, bytes) else function_file(source)))
    kind, header, _ = stream.read()
    assert kind == "J", (kind, header)
    return stream, header


def run(server, source, arguments, signed=False, **job):
    """Runs a job to its end: outcomes by number as `(header, body)`, and all frames."""
    stream, _ = begin(server, source, signed, **job)
    with stream:
        stream.send(*(frame("C", {"n": n}, body) for n, body in enumerate(arguments)), frame("Z", {}))
        frames = stream.rest()
        stream.end()
    return {header["n"]: (header, body) for kind, header, body in frames if kind == "R"}, frames
