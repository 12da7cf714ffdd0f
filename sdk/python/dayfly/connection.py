"""Where the server is, and how to speak to it: a socket of this user's server, or an endpoint with keys."""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

from . import _sigv4, embedded, frames
from ._s3 import BUCKET, Store
from .errors import JobError, NoServer

SERVICE = "dayfly"
_CONNECT_TIMEOUT_S = 10.0


class Endpoint(NamedTuple):
    """A server. With `path` it is reached through a socket file, unsigned; otherwise at `url`, signed with `keys`."""

    url: str
    keys: Optional[_sigv4.Keys] = None
    path: Optional[str] = None

    def connect(self) -> socket.socket:
        """A new connection. Raises `OSError`."""
        if self.path is not None:
            return connect_file(self.path)
        url = urlsplit(self.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        found = socket.create_connection((url.hostname or "", port), timeout=_CONNECT_TIMEOUT_S)
        # A server that is gone without a word is noticed after a minute and a half.
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_NODELAY", 1)):
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if url.scheme == "https":
            return ssl.create_default_context().wrap_socket(found, server_hostname=url.hostname)
        return found

    def head(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        """Request line and headers, signed where that is needed."""
        url = urlsplit(self.url)
        path = url.path.rstrip("/") + path
        if self.path is None and self.keys is not None:
            headers = _sigv4.sign(method, url.netloc, path, self.keys, SERVICE, headers)
        else:
            headers = {"host": url.netloc or "localhost", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def ask(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """One operation of the service `dayfly`. Raises `JobError` with the server's answer, or `NoServer`."""
        data = json.dumps(body).encode()
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "content-length": str(len(data)),
            "x-amz-target": f"Dayfly_20261101.{operation}",
            "connection": "close",
        }
        reader = frames.ResponseReader()
        parts = []
        try:
            with self.connect() as found:
                found.sendall(self.head("POST", "/", headers) + data)
                while not reader.ended:
                    received = found.recv(1 << 16)
                    parts.append(reader.feed(received))
                    if not received:
                        break
        except (OSError, frames.ProtocolError) as error:
            raise NoServer(f"{self.url}: {error}") from error
        answer = b"".join(parts)
        if reader.status != 200:
            raise refusal(reader.status or 0, answer)
        return json.loads(answer)  # type: ignore[no-any-return]

    def store(self, bucket: str = BUCKET) -> Store:
        """A bucket in the object store of this server."""
        url, keys = self.url, self.keys
        if self.path is not None:
            url, keys = _of_folder(os.path.dirname(self.path))
        if keys is None:
            raise NoServer(f"there are no keys for the object store at {url}")
        return Store(url, keys, bucket)


def find(endpoint: Optional[str] = None) -> Endpoint:
    """The server to use: the one named, that of the environment, this user's own; started if need be.

    Raises `NoServer`.
    """
    variables = os.environ
    url = endpoint or variables.get("DAYFLY_ENDPOINT")
    keys = _keys(variables)
    if not url and keys:
        url = variables.get("AWS_ENDPOINT_URL")
    folder = data_folder()
    if not url:
        return Endpoint("http://localhost", None, embedded.ensure(folder))
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise NoServer(f"not an endpoint: {url!r}; it looks like http://127.0.0.1:4566")
    url = url.rstrip("/")
    own = _own(folder, url)
    if own is not None:
        return own
    if keys is None:
        raise NoServer(f"no keys for {url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`dayfly env` prints them)")
    return Endpoint(url, keys)


def refusal(status: int, answer: bytes) -> JobError:
    """The error of a request that the server did not take."""
    try:
        body = json.loads(answer)
        kind = str(body.get("__type") or body.get("type") or body.get("Type") or "JobError").rpartition("#")[2]
        message = str(body.get("message") or body.get("Message") or body.get("errorMessage") or answer[:300])
    except (ValueError, AttributeError):
        kind, message = "JobError", f"status {status}: {answer[:300]!r}"
    return JobError(message, kind, status)


def data_folder() -> str:
    """The data folder of this user's own server: `DAYFLY_DATA`, or `dayfly/` in the XDG data home."""
    given = os.environ.get("DAYFLY_DATA")
    if given:
        return os.path.abspath(given)
    home = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.local/share")
    return os.path.join(home, "dayfly")


def connect_file(path: str) -> socket.socket:
    """A connection to a socket file, however long its path is. Raises `OSError`."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = -1
    try:
        found.settimeout(_CONNECT_TIMEOUT_S)
        if len(os.fsencode(path)) > 100:
            folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
            path = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
        found.connect(path)
        return found
    except BaseException:
        found.close()
        raise
    finally:
        if folder >= 0:
            os.close(folder)


def _keys(variables: Any) -> Optional[_sigv4.Keys]:
    access, secret = variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        return None
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or "us-east-1"
    return _sigv4.Keys(access, secret, variables.get("AWS_SESSION_TOKEN"), region)


def _own(folder: str, url: str) -> Optional[Endpoint]:
    """The socket of this user's own server, when `url` is that server's: there, this environment can be used."""
    try:
        with open(os.path.join(folder, "server.json"), encoding="utf-8") as file:
            if json.load(file).get("endpoint") != url:
                return None
        path = os.path.join(folder, embedded.SOCKET)
        connect_file(path).close()
    except (OSError, ValueError):
        return None
    return Endpoint(url, None, path)


def _of_folder(folder: str) -> tuple[str, _sigv4.Keys]:
    """Address and keys of the server that uses `folder`."""
    try:
        with open(os.path.join(folder, "server.json"), encoding="utf-8") as file:
            server = json.load(file)
        with open(os.path.join(folder, "credentials.json"), encoding="utf-8") as file:
            keys = json.load(file)
        return server["endpoint"], _sigv4.Keys(
            keys["access_key_id"], keys["secret_access_key"], None, server.get("region", "us-east-1")
        )
    except (OSError, ValueError, KeyError) as error:
        raise NoServer(f"no server is known in {folder}: {error}") from error
