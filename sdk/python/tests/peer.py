"""The other end of a job's connection, scripted: for what a real server does not do on demand.

It speaks the frames of `docs/jobs.md` on a socket file and calls the function in this process. What only a sandbox can
show is tested against the real server, in `tests/it`.
"""

import json
import pathlib
import pickle
import socket
import struct
import threading
import uuid

from dayfly import frames
from dayfly.connection import Endpoint


class RequestReader(frames.ResponseReader):
    """A request's head and chunks: the same as a response's but for the first line."""

    def feed(self, data):
        if self.status is None:
            data = data.replace(b"POST ", b"HTTP/1.1 200 ", 1)
        return super().feed(data)


class Peer:
    """Takes jobs until it is closed. `script(connection)` deals with each of them."""

    def __init__(self, folder, script=None):
        self.path = str(pathlib.Path(folder) / "dayfly.sock")
        self.jobs = []
        self._script = script or Connection.serve
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return Endpoint("http://localhost", None, self.path)

    def _accept(self):
        while True:
            try:
                found, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(Connection(found),), daemon=True).start()

    def _one(self, connection):
        with connection.socket:
            # Nothing is sent by whoever only asks whether there is a server.
            if connection.head():
                self.jobs.append(connection)
                try:
                    self._script(connection)
                except OSError:
                    pass

    def close(self):
        self._listener.close()


class Connection:
    """One job's connection, seen from the server."""

    def __init__(self, found):
        self.socket = found
        self.received = []
        self._request = RequestReader()
        self._frames = frames.FrameReader()
        self._waiting = []

    def head(self):
        data = self.request = self.socket.recv(65536)
        if data:
            self.path = data.split(b" ")[1].decode()
            if b"x-dayfly-job" in data:
                self._waiting += self._frames.feed(self._request.feed(data))
        return bool(data)

    def answer(self, status=200):
        self.socket.sendall(b"HTTP/1.1 %d X\r\ntransfer-encoding: chunked\r\n\r\n" % status)

    def send(self, kind, header, body=b""):
        self.socket.sendall(b"".join(frames.chunk([frames.encode(kind, header, len(body)), body])))

    def finish(self):
        self.socket.sendall(frames.LAST_CHUNK)

    def next(self):
        """The next frame; None at the end."""
        while not self._waiting:
            if self._request.ended:
                return None
            data = self.socket.recv(1 << 20)
            if not data:
                return None
            self._waiting += self._frames.feed(self._request.feed(data))
        frame = self._waiting.pop(0)
        self.received.append(frame)
        return frame

    def begin(self):
        """Takes the job and begins to answer; its function."""
        job = self.next()
        self.job = job.header
        self.answer()
        self.send("J", {"job": str(uuid.uuid4()), "function": job.header["name"], "max_in_flight": job.header.get("max_in_flight", 64)})
        return load(job.body)

    def outcome(self, number, status, body, **more):
        header = {"n": number, "status": status, "duration_us": 1000.0, "cost_usd": 0.5, **more}
        header = {"queued_at_ms": 1000.0 + number, "started_at_ms": 1001.0 + number, **header}
        self.send("R", header, body)

    def call(self, function, frame):
        number = frame.header["n"]
        self.send("W", {"n": [number]})
        try:
            self.outcome(number, "success", function(frame.body))
        except Exception as error:
            self.outcome(number, "raised", error.dayfly_payload)

    def serve(self):
        """As a server does, one call after the other."""
        function = self.begin()
        count = 0
        while True:
            frame = self.next()
            if frame is None:
                return
            if frame.kind == "C":
                self.call(function, frame)
                count += 1
            elif frame.kind in "ZX" and frame.header == {}:
                self.send("D", {"calls": count, "succeeded": count, "failed": 0, "cancelled": 0})
                self.finish()
                return


def load(file):
    """The callable of a function file, from its bytes."""
    magic, count, length = struct.unpack_from("<8sIQ", file)
    assert magic == b"DAYFLYF1"
    table = [struct.unpack_from("<QQ", file, 20 + 16 * place) for place in range(count)]
    assert all(offset % 4096 == 0 for offset, _ in table)
    start = 20 + 16 * count
    buffers = [bytearray(file[offset : offset + size]) for offset, size in table]
    return pickle.loads(file[start : start + length], buffers=buffers)


def died(error_type, message):
    """The body of a call that died."""
    return json.dumps({"errorType": error_type, "errorMessage": message}).encode()
