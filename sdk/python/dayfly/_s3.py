"""The few requests to the object store that large arguments and results need, over the standard library.

Used by the client, and in calls, where it travels by value with `_sigv4`: it uses nothing else of this package.
"""

from __future__ import annotations

import os
from typing import Any, Optional
from urllib.parse import quote, urlsplit

from . import _sigv4

BUCKET = "dayfly-jobs"
_TIMEOUT_S = 60.0


class StoreError(Exception):
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
    def of_call(cls) -> "Store":
        """The store that a call reaches, with the credentials of its role."""
        value = os.environ.get
        token = value("AWS_SESSION_TOKEN")
        access, secret = value("AWS_ACCESS_KEY_ID", ""), value("AWS_SECRET_ACCESS_KEY", "")
        endpoint = value("AWS_ENDPOINT_URL_S3") or value("AWS_ENDPOINT_URL")
        if not endpoint or not access or not secret:
            raise StoreError("this call has no object store: AWS_ENDPOINT_URL or its keys are not set")
        return cls(endpoint, _sigv4.Keys(access, secret, token, value("AWS_REGION", "us-east-1")))

    def put(self, key: str, data: Any) -> None:
        """Stores `data` (anything with a buffer) under `key`; makes the bucket when it is not there."""
        try:
            self._request("PUT", key, data)
        except StoreError as error:
            if error.status != 404:
                raise
            self._request("PUT", None, b"")
            self._request("PUT", key, data)

    def get(self, key: str) -> bytes:
        """What is stored under `key`."""
        return self._request("GET", key, None)

    def delete(self, key: str) -> None:
        """Removes `key`, there or not."""
        self._request("DELETE", key, None)

    def _request(self, method: str, key: Optional[str], body: Any) -> bytes:
        import http.client

        url = urlsplit(self.endpoint)
        path = url.path.rstrip("/") + "/" + self.bucket + ("" if key is None else "/" + quote(key, safe="/-_.~"))
        headers = _sigv4.sign(method, url.netloc, path, self.keys, "s3")
        if body is not None:
            headers["content-length"] = str(len(body))
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
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
