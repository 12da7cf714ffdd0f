"""Frames and HTTP bodies, however they are cut on the wire."""

import json

import pytest

from dayfly import frames


def wire(*parts):
    return b"".join(bytes(part) for part in parts)


FRAMES = [("J", {"job": "1"}, b""), ("R", {"n": 1}, b"x" * 300), ("D", {}, b"")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_frames_come_out_as_they_went_in(size):
    data = wire(*(part for kind, header, body in FRAMES for part in (frames.encode(kind, header, len(body)), body)))
    reader = frames.FrameReader()
    found = [frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])]
    assert [(frame.kind, frame.header, frame.body) for frame in found] == FRAMES
    assert not reader.partial


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_a_chunked_body_is_joined(size):
    chunks = [b"hello", b"w" * 100, b"\r\n"]
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    data += wire(*(part for chunk in chunks for part in frames.chunk([chunk]))) + frames.LAST_CHUNK
    reader = frames.ResponseReader()
    body = b"".join(reader.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert (reader.status, reader.headers["x-a"], reader.ended) == (200, "b", True)
    assert body == b"".join(chunks)


def test_trailers_and_chunk_extensions_are_passed_over():
    reader = frames.ResponseReader()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert reader.feed(head + b"3;a=b\r\nabc\r\n0\r\nX-Trailer: 1\r\n") == b"abc"
    assert not reader.ended
    reader.feed(b"\r\n")
    assert reader.ended


def test_a_body_of_known_length_ends_there():
    reader = frames.ResponseReader()
    assert reader.feed(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nab") == b"ab"
    assert not reader.ended
    assert reader.feed(b"cd") == b"c"
    assert reader.ended


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 100_000,
    ],
)
def test_what_is_not_http_is_refused(data):
    with pytest.raises(frames.ProtocolError):
        frames.ResponseReader().feed(data)


def test_headers_of_frames_are_bounded_and_json():
    huge = frames._HEAD.pack(b"R", frames.HEADER_BYTES_MAX + 1, 0)
    with pytest.raises(frames.ProtocolError):
        list(frames.FrameReader().feed(huge))
    with pytest.raises(frames.ProtocolError):
        list(frames.FrameReader().feed(frames._HEAD.pack(b"R", 3, 0) + b"{{{"))
    with pytest.raises(ValueError):
        frames.encode("S", {"a": "x" * frames.HEADER_BYTES_MAX})


def test_the_format_is_the_documented_one():
    header = json.dumps({"n": 17}, separators=(",", ":")).encode()
    assert frames.encode("C", {"n": 17}, 5) == b"C" + bytes([len(header), 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]) + header
