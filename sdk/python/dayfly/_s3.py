"""The few requests to the object store that large arguments, results, pieces and shuffles need, over the standard library.

Used by the client, and in calls, where it travels by value with `_sigv4`: it uses nothing else of this package.
"""

from __future__ import annotations

import os
from typing import Any, Iterator, NamedTuple, Optional
from urllib.parse import quote, unquote_plus, urlsplit

from . import _sigv4

BUCKET = "dayfly-jobs"
# Keys of a page of a list: the most that S3 gives.
PAGE_KEYS = 1000
_TIMEOUT_S = 60.0


class Listed(NamedTuple):
    """An object in a list: its key, its size in bytes, its entity tag."""

    key: str
    size: int
    etag: str


class DayflyError(Exception):
    """Base of all errors of this package."""


class StoreError(DayflyError):
    """The object store refused a request, or could not be reached. `status` is None where there was no answer."""

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        Exception.__init__(self, message)
        self.status = status

    def __reduce__(self) -> Any:
        return (self.__class__, (self.args[0], self.status))


class Store:
    """One bucket on an endpoint, with the keys to sign for it. A connection for each request: they are large."""

    def __init__(self, endpoint: str, keys: _sigv4.Keys, bucket: str = BUCKET) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self.bucket = bucket

    @classmethod
    def of_call(cls, bucket: str = BUCKET) -> "Store":
        """The store that a call reaches, with the credentials of its role."""
        value = os.environ.get
        token = value("AWS_SESSION_TOKEN")
        access, secret = value("AWS_ACCESS_KEY_ID", ""), value("AWS_SECRET_ACCESS_KEY", "")
        endpoint = value("AWS_ENDPOINT_URL_S3") or value("AWS_ENDPOINT_URL")
        if not endpoint or not access or not secret:
            raise StoreError("this call has no object store: AWS_ENDPOINT_URL or its keys are not set")
        return cls(endpoint, _sigv4.Keys(access, secret, token, value("AWS_REGION", "us-east-1")), bucket)

    def put(self, key: str, data: Any) -> None:
        """Stores `data` (anything with a buffer) under `key`; makes the bucket when it is not there."""
        try:
            self._request("PUT", key, data)
        except StoreError as error:
            # A server that misses the bucket may say so before it has read the body; then the connection breaks.
            if error.status not in (404, None):
                raise
            self._request("PUT", None, b"")
            self._request("PUT", key, data)

    def get(self, key: str, start: int = 0, end: Optional[int] = None, etag: Optional[str] = None) -> bytes:
        """What is stored under `key`, or its bytes from `start` up to `end`.

        With `etag`, raises `StoreError` with status 412 when it is another object by now.
        """
        headers = {} if etag is None else {"if-match": etag}
        if start or end is not None:
            if end is not None and end <= start:
                return b""
            headers["range"] = "bytes=%d-%s" % (start, "" if end is None else end - 1)
        return self._request("GET", key, None, headers)

    def delete(self, key: str) -> None:
        """Removes `key`, there or not."""
        self._request("DELETE", key, None)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Objects whose keys begin with `prefix`, in the order of their keys."""
        import xml.etree.ElementTree as ElementTree

        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url", "max-keys": str(PAGE_KEYS)}
        while True:
            page = ElementTree.fromstring(self._request("GET", None, None, query=query))
            space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
            for entry in page.iterfind(space + "Contents"):
                name, size, etag = (entry.findtext(space + part) or "" for part in ("Key", "Size", "ETag"))
                yield Listed(unquote_plus(name), int(size), etag)
            token = page.findtext(space + "NextContinuationToken")
            if not token:
                return
            query["continuation-token"] = token

    def _request(
        self,
        method: str,
        key: Optional[str],
        body: Any,
        headers: Optional[dict[str, str]] = None,
        query: Optional[dict[str, str]] = None,
    ) -> bytes:
        import http.client

        url = urlsplit(self.endpoint)
        path = url.path.rstrip("/") + "/" + self.bucket + ("" if key is None else "/" + quote(key, safe="/-_.~"))
        headers = _sigv4.sign(method, url.netloc, path, self.keys, "s3", headers, query)
        if body is not None:
            headers["content-length"] = str(len(body))
        if query:
            path += "?" + _sigv4.query_string(query)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.netloc, timeout=_TIMEOUT_S)
        try:
            try:
                connection.request(method, path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses may do so before it has read the body: then it says why.
                pass
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise StoreError("the object store at %s cannot be reached: %s" % (self.endpoint, error)) from error
        finally:
            connection.close()
        if answer.status // 100 != 2 and not (method == "PUT" and key is None and answer.status == 409):
            text = data[:300].decode("utf-8", "replace")
            raise StoreError(
                "the object store refused %s %s with status %d: %s" % (method, path, answer.status, text), answer.status
            )
        return data
