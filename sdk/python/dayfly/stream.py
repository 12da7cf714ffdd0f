"""One connection with frames each way at the same time, served by a thread of its own.

What is sent waits in a bounded buffer; what arrives goes to the receiver, in the thread of the stream. The receiver's
`ended` is the last that is called, once, whatever happens.
"""

from __future__ import annotations

import collections
import os
import select
import ssl
import threading
import time
from typing import Any, Optional, Protocol

from . import forks, frames
from .connection import Endpoint
from .frames import Buffer, Frame

_SEND_BYTES_MAX = 1 << 20
_RECEIVE_BYTES = 256 << 10
_JOIN_BYTES = 64 << 10
_ERROR_BYTES_MAX = 1 << 20


class Receiver(Protocol):
    """Who a stream tells what comes."""

    def frame(self, frame: Frame) -> None:
        """A frame has come."""

    def ended(self, status: Optional[int], answer: bytes, error: Optional[BaseException]) -> None:
        """Nothing more will come. `answer` is the body of a response that is not 200; `error` why it ended early."""


class Stream:
    """A request with frames in both directions."""

    def __init__(self, endpoint: Endpoint, path: str, receiver: Receiver) -> None:
        """Connects and begins the request. Raises `OSError`."""
        self._socket = endpoint.connect()
        self._socket.setblocking(False)
        self._receiver = receiver
        self._wake_in, self._wake_out = os.pipe()
        headers = {
            "content-type": "application/x-dayfly-job",
            "transfer-encoding": "chunked",
            "connection": "close",
        }
        self._lock = threading.Condition()
        self._waiting: collections.deque[Buffer] = collections.deque([endpoint.head("POST", path, headers)])
        self._waiting_bytes = 0
        self._closed = False
        self._woken = False
        self._deadline: Optional[float] = None
        # After so many seconds without a byte from the other side it counts as gone.
        self.silence_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="dayfly-stream", daemon=True)
        self._thread.start()
        forks.held(self)

    def send(self, kind: str, header: dict[str, Any], body: "Buffer | list[Buffer]" = b"", wait: bool = False) -> None:
        """Puts a frame into the buffer; with `wait`, when there is room in it. Does nothing on an ended stream."""
        parts = body if isinstance(body, list) else [body] if len(body) else []
        size = sum(len(part) for part in parts)
        data = frames.chunk([frames.encode(kind, header, size), *parts])
        with self._lock:
            while wait and self._waiting_bytes > _SEND_BYTES_MAX and not self._closed:
                self._lock.wait()
            if self._closed:
                return
            self._waiting.extend(data)
            self._waiting_bytes += size
            self._wake()

    def finish(self) -> None:
        """No more frames will be sent."""
        with self._lock:
            self._waiting.append(frames.LAST_CHUNK)
            self._wake()

    def close(self, within_s: float = 0.0) -> None:
        """Ends the connection, after `within_s` at the latest; before that, when the other side ends it."""
        with self._lock:
            self._deadline = min(self._deadline or float("inf"), time.monotonic() + within_s)
            self._wake()

    def forget(self) -> None:
        """In the child of a fork, where the thread is not: lets go of the parent's connection."""
        self._lock = threading.Condition()
        if self._closed:
            # The numbers of what it has closed may be others' by now.
            return
        self._closed = True
        # Not a shutdown: the parent goes on with it.
        self._socket.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wake(self) -> None:
        """Tells the thread that there is something to do; once, until it looks. With the lock held."""
        if not self._woken and not self._closed:
            self._woken = True
            os.write(self._wake_out, b"\0")

    # In the thread of the stream.

    def _run(self) -> None:
        response = frames.ResponseReader()
        answer = bytearray()
        error: Optional[BaseException] = None
        try:
            self._exchange(response, answer)
        except (OSError, frames.ProtocolError) as failure:
            error = failure
        except BaseException as failure:  # A bug in the receiver must not leave futures without an end.
            error = failure
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._lock.notify_all()
            self._socket.close()
            os.close(self._wake_in)
            os.close(self._wake_out)
        self._receiver.ended(response.status, bytes(answer), error)

    def _exchange(self, response: frames.ResponseReader, answer: bytearray) -> None:
        reader = frames.FrameReader()
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        pending: Optional[memoryview] = None
        broken: Optional[OSError] = None
        heard = time.monotonic()
        while not response.ended:
            if pending is None and broken is None:
                pending = self._take()
            events = select.POLLIN | (select.POLLOUT if pending is not None and broken is None else 0)
            poll.register(self._socket, events)
            left = self._left_ms(heard)
            if left == 0:
                raise ConnectionAbortedError("closed by this side, which heard nothing more")
            ready = dict(poll.poll(left))
            if ready.get(self._socket.fileno(), 0) & ~select.POLLOUT:
                heard = time.monotonic()
            if self._wake_in in ready:
                with self._lock:
                    os.read(self._wake_in, 1)
                    self._woken = False
            if pending is not None and broken is None:
                try:
                    sent = self._socket.send(pending)
                    pending = pending[sent:] if sent < len(pending) else None
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError as failure:
                    # The other side may have answered before it stopped to read: hear that first.
                    broken = failure
            if not self._receive(response, reader, answer):
                break
        if broken is not None and response.status is None:
            raise broken
        if reader.partial or not response.ended:
            raise ConnectionResetError("the connection ended in the middle")

    def _receive(self, response: frames.ResponseReader, reader: frames.FrameReader, answer: bytearray) -> bool:
        """Takes what has come; whether there can be more."""
        while not response.ended:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return True
            if not data:
                return False
            body = response.feed(data)
            if response.status == 200:
                for frame in reader.feed(body):
                    self._receiver.frame(frame)
            elif len(answer) < _ERROR_BYTES_MAX:
                answer += body
            if len(data) < _RECEIVE_BYTES and not isinstance(self._socket, ssl.SSLSocket):
                return True
        return False

    def _take(self) -> Optional[memoryview]:
        """The next bytes to send: small pieces joined, large ones alone."""
        with self._lock:
            if not self._waiting:
                return None
            parts: list[Buffer] = [self._waiting.popleft()]
            size = len(parts[0])
            while self._waiting and size + len(self._waiting[0]) <= _JOIN_BYTES:
                parts.append(self._waiting.popleft())
                size += len(parts[-1])
            self._waiting_bytes = max(0, self._waiting_bytes - size) if self._waiting else 0
            self._lock.notify_all()
        return memoryview(b"".join(parts) if len(parts) > 1 else parts[0])

    def _left_ms(self, heard: float) -> Optional[int]:
        with self._lock:
            end = min(heard + self.silence_s, self._deadline or float("inf"))
        return None if end == float("inf") else max(0, int((end - time.monotonic()) * 1000))


def plain_socket_error(error: Optional[BaseException]) -> str:
    """What to tell of a connection's end."""
    if error is None:
        return "the server ended the connection"
    return str(error) or type(error).__name__
