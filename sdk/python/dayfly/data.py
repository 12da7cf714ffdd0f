"""`read`: objects and files as pieces, to map over. Lists and cuts; what is in a piece is read by whoever opens it."""

from __future__ import annotations

import functools
import glob
import os
import pickle
import re
from typing import Any, Callable, Iterable, Iterator, Optional, Union

from . import _pieces, connection
from ._pieces import FILE_BYTES_MAX, Piece, split
from ._s3 import Listed, Store, StoreError

Source = Union[str, "os.PathLike[str]"]

_OBJECT_CHUNK_BYTES = 64 << 20
# With what is around it, this still fits into the protocol.
_FILE_CHUNK_BYTES = 3 << 20
_COMPRESSED = (".gz", ".bz2", ".xz")
_PARQUET = (".parquet", ".pq")
_MAGIC = re.compile(r"[*?[]")


class Pieces(list[Piece]):
    """A list of pieces, which maps know."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return Pieces(found) if isinstance(place, slice) else found


def read(
    source: Union[Source, Iterable[Source]],
    by: str = "object",
    chunk_bytes: Optional[int] = None,
    endpoint: Optional[str] = None,
) -> Pieces:
    """Data as a list of pieces for `map` and `map_reduce`; each call opens its own.

    `source` is `s3://bucket/prefix`, a glob in a bucket (`s3://bucket/2026/*.csv`; `**` also crosses `/`), a file, a folder
    with all that is below it, a glob of files, or several of these.

    `by="object"`: a piece for each object or file. `by="records"`: large ones are cut into pieces of about `chunk_bytes` that
    hold whole records, lines of text or (`.parquet`) row groups. That is 64 MiB for objects and 3 MiB for files; what
    is compressed (`.gz`, `.bz2`, `.xz`) is not cut.

    Objects are those of the server that runs the calls, or of `endpoint`. Files are read here, as calls are sent, and go
    along with them: at most 64 MiB each.

    Raises `FileNotFoundError` when there is nothing, `StoreError` when the store cannot be listed, `ImportError` when Parquet
    is to be cut without pyarrow.
    """
    if by not in ("object", "records"):
        raise ValueError(f'by is "object" or "records", not {by!r}')
    if chunk_bytes is not None and chunk_bytes < 1:
        raise ValueError(f"chunk_bytes is a number from 1, not {chunk_bytes!r}")
    found = Pieces()
    for one in [source] if isinstance(source, (str, os.PathLike)) else source:
        text = os.fspath(one)
        whole = list(_objects(text, endpoint) if text.startswith("s3://") else _files(text))
        if not whole:
            raise FileNotFoundError(f"there is nothing at {text}")
        found += whole
    if by == "object":
        for piece in found:
            if not piece.name.startswith("s3://") and piece.end > FILE_BYTES_MAX:
                raise ValueError(f'{piece.name} is too large to send whole: use by="records", or the object store')
        return found
    return Pieces(part for piece in found for part in _cut(piece, chunk_bytes))


def packed(
    function: Callable[..., Any], iterables: Iterable[Iterable[Any]]
) -> tuple[Callable[..., Any], list[Iterable[Any]], bool]:
    """A function and what it is to be mapped over, as they are sent: of pieces, their states. And whether there were any."""
    found = list(iterables)
    places = [place for place, one in enumerate(found) if isinstance(one, Pieces)]
    for place in places:
        found[place] = (pickle.dumps(piece.__getstate__(), 5) for piece in found[place])
    return (functools.partial(_pieces.apply, function, places) if places else function), found, bool(places)


def _objects(url: str, endpoint: Optional[str]) -> Iterator[Piece]:
    bucket, key = split(url)
    store: Store = connection.find(endpoint).store(bucket)
    magic = _MAGIC.search(key)
    pattern = _pattern(key) if magic else None
    for listed in _listed(store, key[: magic.start()] if magic else key):
        # Some tools make empty objects for folders.
        if (pattern is None or pattern.fullmatch(listed.key)) and not listed.key.endswith("/"):
            yield Piece(f"s3://{bucket}/{listed.key}", 0, listed.size, listed.size, etag=listed.etag, store=store)


def _listed(store: Store, prefix: str) -> Iterator[Listed]:
    try:
        yield from store.list(prefix)
    except StoreError as error:
        if error.status != 404:
            raise
        raise FileNotFoundError(f"there is no bucket {store.bucket}") from error


def _files(path: str) -> Iterator[Piece]:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        names = [os.path.join(folder, name) for folder, _, files in os.walk(path) for name in files]
    elif os.path.exists(path):
        names = [path]
    else:
        names = glob.glob(path, recursive=True)
    for name in sorted(names):
        if os.path.isfile(name):
            size = os.path.getsize(name)
            yield Piece(os.path.abspath(name), 0, size, size)


def _cut(piece: Piece, chunk_bytes: Optional[int]) -> Iterator[Piece]:
    wanted = chunk_bytes or (_OBJECT_CHUNK_BYTES if piece.name.startswith("s3://") else _FILE_CHUNK_BYTES)
    size = piece.end
    if not size:
        return
    if piece.name.endswith(_PARQUET):
        for groups in _row_groups(piece, wanted):
            yield _part(piece, 0, size, groups=groups)
        return
    count = 1 if piece.name.endswith(_COMPRESSED) else -(-size // wanted)
    for number in range(count):
        yield _part(piece, number * size // count, (number + 1) * size // count, cut=count > 1)


def _part(piece: Piece, start: int, end: int, **how: Any) -> Piece:
    return Piece(piece.name, start, end, piece._size, etag=piece._etag, store=piece._store, **how)


def _row_groups(piece: Piece, wanted: int) -> Iterator[tuple[int, int]]:
    """Neighbouring row groups that have about `wanted` bytes together."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"pyarrow is needed to cut {piece.name} into row groups") from error
    with piece._open(64 << 10) as file:
        metadata = pyarrow.parquet.ParquetFile(file).metadata
        sizes = [
            sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            for group in (metadata.row_group(number) for number in range(metadata.num_row_groups))
        ]
    first, total = 0, 0
    for number, size in enumerate(sizes):
        if number > first and total + size > wanted:
            yield first, number
            first, total = number, 0
        total += size
    if sizes:
        yield first, len(sizes)


def _pattern(text: str) -> "re.Pattern[str]":
    """A glob as shells know it, for keys: `*` and `?` stop at `/`, `**` does not."""
    out, at = "", 0
    while at < len(text):
        end = text.find("]", at + 2) if text[at] == "[" else -1
        if text.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif text.startswith("**", at):
            out, at = out + ".*", at + 2
        elif text[at] in "*?":
            out, at = out + ("[^/]*" if text[at] == "*" else "[^/]"), at + 1
        elif end > 0:
            inside = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out, at = out + "[" + ("^" + inside[1:] if inside[0] == "!" else inside) + "]", end + 1
        else:
            out, at = out + re.escape(text[at]), at + 1
    return re.compile(out, re.DOTALL)
