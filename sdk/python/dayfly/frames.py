"""Frames of the job protocol (`docs/jobs.md`), and HTTP's chunks around them. Pure functions of bytes; no sockets."""

from __future__ import annotations

import json
import struct
from typing import Any, Iterator, NamedTuple, Optional, Union

Buffer = Union[bytes, bytearray, memoryview]

_HEAD = struct.Struct("<cIQ")
HEADER_BYTES_MAX = 1 << 20
_LINE_BYTES_MAX = 64 << 10


class ProtocolError(Exception):
    """The other side does not speak the protocol."""


class Frame(NamedTuple):
    """One frame: its letter, its header, its body."""

    kind: str
    header: dict[str, Any]
    body: bytes


def encode(kind: str, header: dict[str, Any], body_bytes: int = 0) -> bytes:
    """The frame up to its body, which follows it on the wire."""
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > HEADER_BYTES_MAX:
        raise ValueError(f"the header of a frame is {len(text)} bytes, at most {HEADER_BYTES_MAX} are allowed")
    return _HEAD.pack(kind.encode(), len(text), body_bytes) + text


def chunk(parts: list[Buffer]) -> list[Buffer]:
    """`parts` as one chunk of an HTTP body."""
    size = sum(len(part) for part in parts)
    return [b"%x\r\n" % size, *parts, b"\r\n"]


LAST_CHUNK = b"0\r\n\r\n"


class FrameReader:
    """Bytes of a body in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Buffer) -> Iterator[Frame]:
        """Takes bytes and gives the frames that are whole now."""
        self._buffer += data
        buffer, at = self._buffer, 0
        while len(buffer) - at >= _HEAD.size:
            kind, header_bytes, body_bytes = _HEAD.unpack_from(buffer, at)
            if header_bytes > HEADER_BYTES_MAX:
                raise ProtocolError(f"a frame's header of {header_bytes} bytes")
            body_at = at + _HEAD.size + header_bytes
            end = body_at + body_bytes
            if len(buffer) < end:
                break
            try:
                header = json.loads(buffer[at + _HEAD.size : body_at].decode()) if header_bytes else {}
                letter = kind.decode("ascii")
            except ValueError as error:
                raise ProtocolError(f"a frame's header is not JSON: {error}") from None
            yield Frame(letter, header, bytes(memoryview(buffer)[body_at:end]))
            at = end
        if at:
            del buffer[:at]

    @property
    def partial(self) -> bool:
        """Whether a frame has begun that is not whole."""
        return bool(self._buffer)


class ResponseReader:
    """An HTTP/1.1 response in, its body out, as it comes. `status` is None until the head is whole."""

    def __init__(self) -> None:
        self.status: Optional[int] = None
        self.headers: dict[str, str] = {}
        self.ended = False
        self._buffer = bytearray()
        # Bytes of the present chunk (or of the whole body) that have not come; None: until the connection ends.
        self._left: Optional[int] = 0
        self._chunked = False
        self._in_trailers = False

    def feed(self, data: Buffer) -> bytes:
        """Takes bytes from the connection and gives those of the body."""
        self._buffer += data
        while self.status is None:
            if not self._take_head():
                return b""
        return self._take_chunks() if self._chunked else self._take_plain()

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _LINE_BYTES_MAX:
                raise ProtocolError("the head of the response does not end")
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ProtocolError(f"not an HTTP response: {first[:100]!r}")
        status = int(rest[:3])
        if status // 100 == 1:
            return True
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        self._left = 0 if self._chunked else int(length) if length and length.isdigit() else None
        self.status = status
        return True

    def _take_plain(self) -> bytes:
        data = bytes(self._buffer if self._left is None else self._buffer[: self._left])
        del self._buffer[: len(data)]
        if self._left is not None:
            self._left -= len(data)
            self.ended = self._left == 0
        return data

    def _take_chunks(self) -> bytes:
        parts, buffer, at = [], self._buffer, 0
        while not self.ended:
            if self._left:
                # The chunk and the line end after it, which is not part of the body.
                taken = buffer[at : at + self._left]
                at += len(taken)
                self._left -= len(taken)
                parts.append(bytes(taken[: len(taken) - max(0, 2 - self._left)]))
                if self._left:
                    break
            end = buffer.find(b"\r\n", at)
            if end < 0:
                if len(buffer) - at > _LINE_BYTES_MAX:
                    raise ProtocolError("a chunk's first line does not end")
                break
            line, begin = bytes(buffer[at:end]), at
            at = end + 2
            if self._in_trailers:
                self.ended = not line
                continue
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                if any(parts):
                    # What came before it counts; the line is looked at again with the next bytes.
                    at = begin
                    break
                raise ProtocolError(f"not a chunk's size: {line[:100]!r}") from None
            self._in_trailers = size == 0
            self._left = size + 2 if size else 0
        del buffer[:at]
        return b"".join(parts)
