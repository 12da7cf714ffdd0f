"""Writes a small corpus to begin with: one folder per target below the folder that is the argument."""

import io
import json
import pathlib
import struct
import sys
import zipfile

corpus = pathlib.Path(sys.argv[1])


def seed(target, *inputs):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs):
        (folder / f"seed-{number}").write_bytes(data if isinstance(data, bytes) else data.encode())


def package(compression=zipfile.ZIP_STORED, wide=False, comment=b"", link=None, stream=False):
    class Stream(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return file.write(data)

    file = io.BytesIO()
    with zipfile.ZipFile(Stream() if stream else file, "w", compression) as archive:
        archive.comment = comment
        with archive.open(zipfile.ZipInfo("a.py"), "w", force_zip64=wide) as entry:
            entry.write(b"x = 1\n" * 9)
        archive.writestr("d/", b"")
        archive.writestr("d/b.txt", b"b" * 99, compress_type=compression)
        if link:
            info = zipfile.ZipInfo("d/link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, link)
    return file.getvalue()


deflate = zipfile.ZIP_DEFLATED
seed(
    "package",
    package(),
    package(deflate),
    package(wide=True),
    package(deflate, wide=True, stream=True),
    package(comment=b"comment"),
    package(link="../a.py"),
    package(link="../../a.py"),
)
seed(
    "tree",
    "fmain.py\nx = 1\nfd/e/f.py\n\n",
    "dd/e/\n\nld/up\n../\nld/e/out\n../up/../x\n",
    "la\nb\nlb\na\n",
    "f./a\n1\nfa\n2\nf../a\n3\nf/a\n4\n",
    "xbin/run\n#!/bin/sh\nlrun\nbin/run\n0plain\n\n?pipe\n\n",
)
seed(
    "names",
    "resize",
    "resize:live",
    "resize:$LATEST",
    "123456789012:function:resize:7",
    "arn:aws:lambda:eu-west-1:123456789012:function:resize",
    "arn:aws-us-gov:lambda:eu-west-1:123456789012:function:resize:$LATEST",
    "python3.11",
)
invocation = {
    "request_id": "8e4a1c9e-5f5b-4c55-8f0e-6b8f5a1d2c3b",
    "function": "arn:aws:lambda:us-east-1:000000000000:function:f",
    "payload": list(b"{}"),
    "client_context": None,
    "tenant_id": "t",
    "trace_header": None,
    "received_at": "2024-02-29T12:34:56.789Z",
}
function = {
    "arn": invocation["function"],
    "runtime": "python3.11",
    "handler": "main.handler",
    "role": "arn:aws:iam::000000000000:role/r",
    "description": "",
    "timeout_s": 3,
    "memory_mb": 128,
    "ephemeral_storage_mb": 512,
    "environment": {"A": "b"},
    "architecture": "x86_64",
    "tags": {},
    "logging": {"format": "Text", "application_level": None, "system_level": None, "group": "/aws/lambda/f"},
    "code": {"sha256": "0" * 64, "size_bytes": 9},
    "revision_id": "r",
    "last_modified": invocation["received_at"],
    "state": {"Failed": {"reason": "r", "code": "InternalError"}},
    "last_update": "Successful",
    "other": {"Layers": [], "VpcConfig": {"SubnetIds": ["s"]}},
}
seed("event", json.dumps(invocation), json.dumps(function), json.dumps({"open_files": 7, "init_ms": 9}), "{}", "[]")
seed("session", "*\n*", "*\n@99", "*\n@40A@200", "*\n*=", "*\n*A", "ASIA\n*", "*\nA.B", "*\n.")


def frame(kind, header, body=b""):
    return struct.pack("<cIQ", kind, len(header), len(body)) + header + body


seed(
    "frames",
    b"\x05" + frame(b"S", b'{"name": "f"}', b"file") + frame(b"C", b'{"n": 0}', b"x") + frame(b"Z", b"{}"),
    b"\x01" + frame(b"X", b'{"calls": [1]}') + frame(b"A", b'{"n": [1]}'),
    b"\x0d" + frame(b"C", b'{"n": 1}', bytes(65)),
    b"\xff" + frame(b"Q", b""),
)
seed(
    "expressions",
    "a = :n AND NOT (b[3].#n < :s OR attribute_exists(c))",
    "n BETWEEN :n AND :n OR n IN (:n, :s) AND size(m.k) > :n",
    "attribute_type(a, :s) AND begins_with(a, :s) AND contains(ss, :s)",
    "SET a = if_not_exists(a, :n) + :n, l = list_append(l, :l) REMOVE m.k, l[0] ADD ss :ss DELETE ss :ss",
    "a, m.k, l[0].x, #n",
    "-12.50e-3",
)
statement = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "arn:aws:s3:::bucket/${aws:username}/*"}
seed(
    "policy",
    json.dumps({"Version": "2012-10-17", "Statement": statement}),
    json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}]}),
    json.dumps({"Statement": {"Effect": "Deny", "NotAction": "*", "NotResource": "?", "NotPrincipal": {"AWS": "000000000000"}}}),
    json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Principal": "*", "Condition": {"ForAllValues:StringLike": {"aws:TagKeys": "?"}}}}),
)
