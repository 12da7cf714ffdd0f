"""Pieces of data: what a call gets of an object or a file, and opens itself.

A piece of an object is its address: the call reads the object store. A call cannot see the caller's files, so a piece of
a file takes its bytes along when it is pickled, which happens as calls are sent, one after the other.

It travels by value (see `pickling`), so that an environment needs nothing of ours; it uses the standard library, `_s3`,
and pyarrow for Parquet. A map over what `read` gave sends it once, with the function, and of each piece its state alone.
"""

from __future__ import annotations

import io
import os
import pickle
from typing import Any, Callable, Iterator, Optional

from . import _s3

# What is fetched at a time; an open piece never holds more than this.
BLOCK_BYTES = 8 << 20
# What a piece of a file may take along.
FILE_BYTES_MAX = 64 << 20
# Where a line ends is looked for in steps of this size; Parquet's small reads are of this size too.
_PROBE_BYTES = 64 << 10
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}


class Piece:
    """An object or a file, or a part of one that holds whole records. Made by `dayfly.read`.

    `name` is the address (`s3://bucket/key`) or the path; `start` and `end` are bytes. Of text that is cut, a piece has the
    lines that begin in it: none, perhaps. Of Parquet that is cut, it has the row groups from `groups[0]` up to `groups[1]`.
    """

    def __init__(
        self,
        name: str,
        start: int,
        end: int,
        size: int,
        cut: bool = False,
        groups: Optional[tuple[int, int]] = None,
        etag: Optional[str] = None,
        store: Optional[_s3.Store] = None,
    ) -> None:
        """`size` is that of the whole object or file, `cut` whether its lines are to be kept whole."""
        self.name = name
        self.start = start
        self.end = end
        self.groups = groups
        self._size = size
        self._cut = cut
        # Whoever reads a part of an object wants no other object's next part.
        self._etag = etag
        self._store = store
        # The bytes that a piece of a file took along.
        self._data: Optional[bytes] = None

    def __repr__(self) -> str:
        if self.groups:
            return "<dayfly.Piece %s: row groups %d to %d>" % (self.name, self.groups[0], self.groups[1])
        return "<dayfly.Piece %s: bytes %d to %d>" % (self.name, self.start, self.end)

    def __getstate__(self) -> dict[str, Any]:
        # A call has a store of its own, and keys of its own.
        state = {**self.__dict__, "_store": None}
        if self._data is None and not self.name.startswith("s3://"):
            state["_data"] = self.read(FILE_BYTES_MAX)
        return state

    def open(self) -> io.BufferedIOBase:
        """Its bytes as a file for reading, at most 8 MiB of them in memory. Of Parquet that is cut, the whole file."""
        return self._open(BLOCK_BYTES)

    def read(self, bytes_max: Optional[int] = None) -> bytes:
        """Its bytes. Of Parquet that is cut, a Parquet file of its row groups. Raises `ValueError` above `bytes_max`."""
        if self.groups and self._data is None:
            import pyarrow.parquet

            out = io.BytesIO()
            pyarrow.parquet.write_table(self.table(), out)
            data = out.getvalue()
        else:
            with self.open() as file:
                data = file.read(-1 if bytes_max is None else bytes_max + 1)
        if bytes_max is not None and len(data) > bytes_max:
            raise ValueError("%r is more than %d bytes" % (self, bytes_max))
        return data

    def text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of it as text; .gz, .bz2 and .xz are unpacked."""
        with self._unpacked() as file:
            return str(file.read(), encoding, errors)

    def lines(self, encoding: str = "utf-8", errors: str = "strict") -> Iterator[str]:
        """Its lines one by one, without the `\\n` or `\\r\\n` at their ends; .gz, .bz2 and .xz are unpacked."""
        with self._unpacked() as file:
            for line in file:
                if line.endswith(b"\n"):
                    line = line[: -2 if line.endswith(b"\r\n") else -1]
                yield line.decode(encoding, errors)

    def table(self, columns: Optional[list[str]] = None) -> Any:
        """Its rows as a `pyarrow.Table`, of some columns or of all. Needs pyarrow, and Parquet."""
        import pyarrow.parquet

        with self._open(_PROBE_BYTES) as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            if self.groups is None or self._data is not None:
                return parquet.read(columns=columns)
            return parquet.read_row_groups(list(range(*self.groups)), columns=columns)

    def _open(self, block_bytes: int) -> io.BufferedIOBase:
        if self._data is not None:
            return io.BytesIO(self._data)
        start, end = self.start, self.end
        if self.groups:
            start, end = 0, self._size
        elif self._cut:
            start, end = self._line_after(start), self._line_after(end)
        return io.BufferedReader(_Part(self._fetch, start, end), block_bytes)

    def _unpacked(self) -> Any:
        kind = _COMPRESSED.get(os.path.splitext(self.name)[1])
        if kind is None:
            return self.open()
        import importlib

        return importlib.import_module(kind).open(self.open())

    def _line_after(self, at: int) -> int:
        """Where the first line begins that does not begin before `at`."""
        if at <= 0:
            return 0
        at -= 1
        while at < self._size:
            block = self._fetch(at, _PROBE_BYTES)
            found = block.find(b"\n")
            if found >= 0:
                return at + found + 1
            if not block:
                break
            at += len(block)
        return self._size

    def _fetch(self, at: int, count: int) -> bytes:
        if not self.name.startswith("s3://"):
            with open(self.name, "rb", buffering=0) as file:
                file.seek(at)
                return file.read(count)
        bucket, key = split(self.name)
        if self._store is None:
            self._store = _store(bucket)
        return self._store.get(key, at, min(at + count, self._size), self._etag)


def apply(f: Callable[..., Any], places: list[int], *args: Any) -> Any:
    """`f` of arguments, of which those at `places` are states of pieces."""
    arguments = list(args)
    for place in places:
        piece = arguments[place] = Piece.__new__(Piece)
        piece.__dict__.update(pickle.loads(args[place]))
    return f(*arguments)


def prepare() -> None:
    """Runs once for a job whose calls use the store, so that not every call imports what it takes."""
    import http.client

    del http


def write(url: str, data: Any) -> None:
    """Stores `data` (bytes, or text as UTF-8) at `s3://bucket/key`. Makes the bucket when it is not there.

    Works in a call as well as outside.
    """
    bucket, key = split(url)
    if not key:
        raise ValueError("an object needs a key: s3://bucket/key, not %r" % url)
    _store(bucket).put(key, data.encode() if isinstance(data, str) else data)


def split(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`. Raises `ValueError`."""
    bucket, _, key = url[5:].partition("/")
    if not url.startswith("s3://") or not bucket:
        raise ValueError("not an address in the object store: %r; it looks like s3://bucket/key" % url)
    return bucket, key


class _Part(io.RawIOBase):
    """Bytes `start` to `end` of something that can be fetched in parts, as a file."""

    def __init__(self, fetch: Callable[[int, int], bytes], start: int, end: int) -> None:
        self._fetch = fetch
        self._start = start
        self._end = max(start, end)
        self._at = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (self._start, self._at, self._end)[whence]
        self._at = max(self._start, base + offset)
        return self._at - self._start

    def tell(self) -> int:
        return self._at - self._start

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._end - self._at)
        data = self._fetch(self._at, count) if count > 0 else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _store(bucket: str) -> _s3.Store:
    if os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return _s3.Store.of_call(bucket)
    # Not in a call: only there, the package is complete.
    from . import connection

    return connection.find().store(bucket)
