"""The two sides of `map_reduce` by key, as they run in calls: a call of the map side stores what it has for each reducer
as one object, a call of the reduce side reads its part of each.

It travels by value (see `pickling`); it uses the standard library, `_remote` and `_s3`.
"""

from __future__ import annotations

import datetime
import enum
import hashlib
import itertools
import numbers
import pickle
import uuid
from typing import Any, Callable, Iterable, Iterator, Optional

from . import _remote, _s3

# So many values of a key are combined as they come, so that a frequent key takes no memory.
_COMBINE_AT = 256

Combine = Optional[Callable[[list[Any]], Any]]
Section = tuple[str, int, int]
Groups = dict[Any, list[Any]]


def spread(
    f: Callable[..., Any], key: Optional[Callable[[Any], Any]], combine: Combine, reducers: int, prefix: str, *args: Any
) -> tuple[str, list[int]]:
    """A call of the map side: the key of the object that holds its pairs, and where the part of each reducer ends.

    Each attempt has an object of its own: one that died half-way leaves nothing that is read.
    """
    groups = _grouped(_pairs(f(*args), key), combine)
    parts: list[Groups] = [{} for _ in range(reducers)]
    for name, values in groups.items():
        parts[stable_hash(name) % reducers][name] = values
    data, ends = bytearray(), []
    for part in parts:
        if part:
            data += _remote.dumps(_flat(part))
        ends.append(len(data))
    stored = prefix + str(uuid.uuid4())
    if data:
        _s3.Store.of_call().put(stored, data)
    return stored, ends


def gather(g: Callable[[list[Any]], Any], combine: Combine, sections: list[Section]) -> list[tuple[Any, Any]]:
    """A call of the reduce side: each of its keys with `g` of the key's values, which have the order of the data."""
    store = _s3.Store.of_call()
    pairs = (pair for section in sections for pair in _stored(store, section))
    return [(name, g(values)) for name, values in _grouped(pairs, combine).items()]


def stable_hash(key: Any) -> int:
    """The same in every process, and for keys that are equal. Raises `TypeError` for a key that is not plain data."""
    return int.from_bytes(hashlib.blake2b(_canonical(key), digest_size=8).digest(), "big")


def _canonical(key: Any) -> bytes:
    if isinstance(key, str):
        return b"s" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"b" + bytes(key)
    if key is None:
        return b"n"
    if isinstance(key, numbers.Number):
        if key != key:
            raise TypeError("NaN is no key: it is not equal to itself")
        # Python's own hash of a number is the same everywhere, and for 1, 1.0 and True.
        return b"d%d" % hash(key)
    if isinstance(key, tuple):
        parts = [_canonical(part) for part in key]
        return b"t" + b"".join(b"%d:%s" % (len(part), part) for part in parts)
    if isinstance(key, datetime.datetime):
        moment: datetime.datetime = key if key.tzinfo is None else key.astimezone(datetime.timezone.utc)
        return b"m" + moment.isoformat().encode()
    if isinstance(key, datetime.date):
        return b"y" + str(key).encode()
    if isinstance(key, enum.Enum):
        return b"e" + str(key.name).encode()
    if isinstance(key, uuid.UUID):
        return b"u" + bytes(key.bytes)
    raise TypeError(
        "a key is text, bytes, a number, a date, an enum, a UUID, None, or a tuple of these, not %s" % type(key).__name__
    )


def _pairs(found: Any, key: Optional[Callable[[Any], Any]]) -> Iterator[tuple[Any, Any]]:
    if key is not None:
        for record in _iterable(found, "records"):
            yield key(record), record
        return
    for pair in _iterable(found.items() if isinstance(found, dict) else found, "pairs of key and value"):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError("the function gave %.100r, not a pair of key and value" % (pair,))
        yield pair[0], pair[1]


def _iterable(found: Any, what: str) -> Iterable[Any]:
    if not hasattr(found, "__iter__"):
        raise TypeError("the function gave %s, not an iterable of %s" % (type(found).__name__, what))
    return found  # type: ignore[no-any-return]


def _grouped(pairs: Iterable[tuple[Any, Any]], combine: Combine) -> Groups:
    """The values of each key in a list; a list of one when they can be combined."""
    groups: Groups = {}
    for name, value in pairs:
        known = groups.get(name)
        if known is None:
            groups[name] = [value]
        else:
            known.append(value)
            if combine is not None and len(known) >= _COMBINE_AT:
                known[:] = [combine(known)]
    if combine is not None:
        for known in groups.values():
            if len(known) > 1:
                known[:] = [combine(known)]
    return groups


def _flat(part: Groups) -> tuple[list[Any], list[int], list[Any]]:
    """Keys, how many values each has, and all values: three lists are pickled many times faster than a list for each."""
    return list(part), [len(values) for values in part.values()], [value for values in part.values() for value in values]


def _stored(store: _s3.Store, section: Section) -> Iterator[tuple[Any, Any]]:
    names, counts, values = pickle.loads(store.get(*section))
    at = iter(values)
    for name, count in zip(names, counts):
        for value in itertools.islice(at, count):
            yield name, value
