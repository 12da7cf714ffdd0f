"""Map and reduce with many reducers: two jobs, and between them objects that nobody keeps."""

from __future__ import annotations

import functools
import uuid
import warnings
from typing import Any, Callable, Iterable, Optional, Union

from . import _pieces, _shuffle, connection
from ._s3 import StoreError
from .data import packed
from .errors import DayflyError
from .executor import total_of
from .job import Job, run_map
from .options import Options, name_of

REDUCERS_MAX = 10_000
# A job that was stopped gets so long to end, before what its calls have stored is removed.
_END_S = 10.0


def by_key(
    f: Callable[..., Any],
    data: Iterable[Any],
    g: Callable[[list[Any]], Any],
    options: Options,
    reduce_options: Options,
    reducers: int,
    key: Optional[Callable[[Any], Any]],
    combine: Optional[Callable[[list[Any]], Any]],
    chunksize: Union[int, str],
) -> dict[Any, Any]:
    """See `dayfly.map_reduce`."""
    if isinstance(reducers, bool) or not isinstance(reducers, int) or not 1 <= reducers <= REDUCERS_MAX:
        raise ValueError(f"reducers is a number from 1 to {REDUCERS_MAX}, not {reducers!r}")
    if options.detach:
        raise ValueError("map_reduce waits for its end: it cannot be detached")
    prefix = f"{uuid.uuid4()}/shuffle/"
    jobs: list[Job[Any]] = []
    try:
        named = options.but(name=options.name or name_of(f))
        opening, (items,), _ = packed(f, [data])
        spread = functools.partial(_shuffle.spread, opening, key, combine, reducers, prefix)
        jobs.append(run_map(spread, zip(items), total_of([data]), named, chunksize, setup=_pieces.prepare))
        sections = _sections(jobs[0], reducers)
        gather = functools.partial(_shuffle.gather, g, combine)
        named = reduce_options.but(name=reduce_options.name or name_of(g))
        jobs.append(run_map(gather, zip(sections), len(sections), named, setup=_pieces.prepare))
        result: dict[Any, Any] = {}
        for pairs in jobs[1]:
            result.update(pairs)
        return result
    finally:
        _remove(prefix, jobs, options.endpoint)


def _sections(job: "Job[tuple[str, list[int]]]", reducers: int) -> list[list[_shuffle.Section]]:
    """What each reducer has to read; only those that have something."""
    found: list[list[_shuffle.Section]] = [[] for _ in range(reducers)]
    for stored, ends in job:
        start = 0
        for sections, end in zip(found, ends):
            if end > start:
                sections.append((stored, start, end))
            start = end
    return [sections for sections in found if sections]


def _remove(prefix: str, jobs: list[Job[Any]], endpoint: Optional[str]) -> None:
    """Removes what the map side has stored, whatever happened."""
    for job in jobs:
        job.cancel("the map_reduce has ended")
        # A call that still runs may still store something.
        job.wait(_END_S)
    if not jobs:
        return
    try:
        store = connection.find(endpoint).store()
        for listed in list(store.list(prefix)):
            store.delete(listed.key)
    except (DayflyError, OSError) as error:
        if not (isinstance(error, StoreError) and error.status == 404):
            warnings.warn(f"objects of a shuffle may be left under {prefix}: {error}", stacklevel=3)
