"""What is no good HTTP, byte by byte: refused with an answer that ends the connection, so that nobody's second request is
taken for a part of the first, or a part of the first for a second."""

import socket

import harness
import pytest

HOST = b"Host: h\r\n"
SECOND = b"GET /-/health HTTP/1.1\r\nHost: h\r\n\r\n"


def raw(server, data, seconds=20):
    """All that comes back until the server closes the connection."""
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds * harness.SLOW) as connection:
        connection.sendall(data)
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        return got


def statuses(answers):
    return [int(part.split(b" ", 2)[1]) for part in answers.split(b"HTTP/1.1 ")[1:] for part in [b"HTTP/1.1 " + part]]


@pytest.mark.parametrize(
    "head, body",
    [
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"),
        (b"Content-Length: 0\r\nContent-Length: 44\r\n", b""),
        (b"Content-Length: 0, 44\r\n", b""),
        (b"Content-Length: +0\r\n", b""),
        (b"Content-Length: 0x0\r\n", b""),
        (b"Content-Length: 18446744073709551617\r\n", b""),
        (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        (b"Content-Length : 0\r\n", b""),
        (b"X: a\r\n Content-Length: 44\r\n", b""),
        (b"X: a\x00b\r\n", b""),
        (b"X: a\rContent-Length: 44\r\n", b""),
        (b": nothing\r\n", b""),
        (b"no colon\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"1 x\r\na\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"1\r\nab\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"1;" + b"x" * 20_000 + b"\r\na\r\n0\r\n\r\n"),
    ],
)
def test_a_second_request_is_never_hidden_in_the_first(server, head, body):
    got = raw(server, b"POST /restapis/abc/test/_user_request_/ HTTP/1.1\r\n" + HOST + head + b"\r\n" + body + SECOND)
    assert got.count(b"HTTP/1.1 ") <= 1, got
    assert b" 200 " not in got.split(b"\r\n", 1)[0], got


def test_heads_have_limits(server):
    line = b"GET /%s HTTP/1.1\r\n" % (b"a" * 70_000)
    assert statuses(raw(server, line + HOST + b"\r\n"))[0] in (414, 431)
    assert statuses(raw(server, b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n"))[:1] in ([431], [])
    assert statuses(raw(server, b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 1000 + b"\r\n")) == [431]
    assert statuses(raw(server, b"GET /-/health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")) == [200]


def test_requests_on_one_connection_are_answered_in_turn(server):
    last = SECOND.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    chunked = b"POST /-/nothing HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    got = statuses(raw(server, SECOND + chunked + SECOND + last))
    assert got[0] == got[2] == got[3] == 200 and got[1] >= 400 and len(got) == 4
