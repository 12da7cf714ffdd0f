"""AWS Signature Version 4 over the standard library, for requests whose body is not hashed.

Used by the client, and in calls, where it travels by value: it uses nothing of this package.
Source: AWS's "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import NamedTuple, Optional
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"


class Keys(NamedTuple):
    """Credentials and the region that they are used in."""

    access: str
    secret: str
    token: Optional[str] = None
    region: str = "us-east-1"


def sign(
    method: str,
    host: str,
    path: str,
    keys: Keys,
    service: str,
    headers: Optional[dict[str, str]] = None,
    query: Optional[dict[str, str]] = None,
    payload: str = UNSIGNED,
    now: Optional[float] = None,
) -> dict[str, str]:
    """The headers to send: `headers` and what signing adds. `path` is as it travels, percent-encoded once."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = "%s/%s/%s/aws4_request" % (stamp[:8], keys.region, service)
    signed = {name.lower(): value.strip() for name, value in (headers or {}).items()}
    signed.update({"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload})
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    names = ";".join(sorted(signed))
    # Every service but S3 signs the path encoded once more than it travels.
    signed_path = path if service == "s3" else quote(path, safe="/-_.~")
    canonical = "\n".join(
        [
            method,
            signed_path,
            query_string(query),
            *("%s:%s" % (name, signed[name]) for name in sorted(signed)),
            "",
            names,
            payload,
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, digest])
    key = ("AWS4" + keys.secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        keys.access,
        scope,
        names,
        signature,
    )
    return signed


def query_string(query: Optional[dict[str, str]]) -> str:
    """The query as it is signed and as it travels."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in (query or {}).items())
    return "&".join("%s=%s" % pair for pair in pairs)
