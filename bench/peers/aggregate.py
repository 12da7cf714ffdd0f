"""The aggregate query of examples/bigdata: `aggregate.py BYTES`. Prints JSON: seconds of Dayfly, Dask and DuckDB.

Dayfly reads the objects from its own store, the others copies of them in files. The server is that of DAYFLY_DATA.
"""

import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import time

from calls import WORKERS

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "bigdata"))

import bigdata  # noqa: E402  (needs the path above)
import queries  # noqa: E402
import tables  # noqa: E402

import dayfly  # noqa: E402

LETTERS = 8


def ours(prefix):
    visits = dayfly.read(f"{prefix}/uservisits/", by="records", chunk_bytes=bigdata.PIECE_BYTES)
    return queries.aggregate(visits, LETTERS)


def duckdb(pattern):
    import duckdb

    columns = bigdata.COLUMNS["uservisits"]
    source = f"read_csv('{pattern}', header = false, auto_detect = false, delim = ',', columns = {columns})"
    with duckdb.connect() as database:
        database.execute(f"SET threads = {WORKERS}")
        text = f"SELECT SUBSTR(sourceIP, 1, {LETTERS}) AS start, SUM(adRevenue) FROM {source} GROUP BY start"
        return dict(database.execute(text).fetchall())


def dask(pattern):
    import dask.dataframe
    import distributed

    cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster):
        started = time.monotonic()
        names = list(bigdata.COLUMNS["uservisits"])
        used = ["sourceIP", "adRevenue"]
        frame = dask.dataframe.read_csv(pattern, header=None, names=names, usecols=used, blocksize=bigdata.PIECE_BYTES)
        found = frame.assign(start=frame.sourceIP.str[:LETTERS]).groupby("start").adRevenue.sum().compute()
        return dict(found.items()), time.monotonic() - started


def same(found, expected):
    return found.keys() == expected.keys() and all(math.isclose(found[key], expected[key], rel_tol=1e-9) for key in found)


def main():
    size = int(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prefix = f"s3://{bigdata.BUCKET}/{size}"
    made, _ = bigdata.timed(bigdata.generate, prefix, size)
    found, ours_s = bigdata.timed(ours, prefix)
    with tempfile.TemporaryDirectory() as folder:
        for piece in dayfly.read(f"{prefix}/uservisits/"):
            with piece.open() as source, open(pathlib.Path(folder, piece.name.replace("/", "-")), "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        bigdata.remove(prefix)
        pattern = f"{folder}/*.csv"
        expected, duckdb_s = bigdata.timed(duckdb, pattern)
        if not same(found, expected):
            raise SystemExit("the answers differ")
        figures = {"bytes": made, "groups": len(found), "dayfly": ours_s, "duckdb": duckdb_s}
        try:
            answer, figures["dask"] = dask(pattern)
            figures["dask_failed"] = None if same(answer, expected) else "another answer"
        except Exception as error:  # The others' figures are no worse for it.
            figures["dask_failed"] = repr(error)
    print(json.dumps(figures), file=out, flush=True)


if __name__ == "__main__":
    main()
