"""The scan, aggregate and join queries of the AMPLab Big Data Benchmark, on generated data, checked against DuckDB.

    pip install -r requirements.txt, and the wheel of dayfly
    python bigdata.py [--size 1GB] [--variant A] [--keep]

The data is made by calls, and lies in the object store. Ends with 1 when an answer differs from DuckDB's. See
docs/examples/bigdata.md.
"""

import argparse
import math
import pathlib
import re
import shutil
import sys
import tempfile
import time

import queries
import tables

import dayfly
from dayfly import write

BUCKET = "bigdata"
PIECE_BYTES = 32 << 20
# How much each query selects, in three steps.
VARIANTS = {"A": (1000, 8, "1980-04-01"), "B": (100, 10, "1983-01-01"), "C": (10, 12, "2010-01-01")}
COLUMNS = {
    "rankings": {"pageURL": "VARCHAR", "pageRank": "INTEGER", "avgDuration": "INTEGER"},
    # A revenue has 64 bits here as in Python, or the sums could not be compared.
    "uservisits": {
        "sourceIP": "VARCHAR", "destURL": "VARCHAR", "visitDate": "DATE", "adRevenue": "DOUBLE", "userAgent": "VARCHAR",
        "countryCode": "VARCHAR", "languageCode": "VARCHAR", "searchWord": "VARCHAR", "duration": "INTEGER",
    },
}  # fmt: skip


def size(text):
    """Bytes of `1GB`, `500MB`, `20kB`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", text, re.IGNORECASE)
    if not found or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: it looks like 1GB or 20MB")
    return int(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()])


def generate(prefix, size_bytes):
    """Has calls write both tables below `prefix`; returns how many bytes they are."""

    def make(table, number, rows, pages):
        text = tables.text(table, number, rows, pages)
        write(f"{prefix}/{table}/{number:06d}.csv", text)
        return len(text)

    return sum(dayfly.starmap(make, tables.plan(size_bytes), **queries.SETTINGS))


def remove(prefix):
    """Takes the tables out of the store again."""
    store = dayfly.connection.find().store(BUCKET)
    for listed in list(store.list(prefix.removeprefix(f"s3://{BUCKET}/") + "/")):
        store.delete(listed.key)


def run(prefix, variant):
    """The three answers, each with its seconds."""
    above, letters, until = VARIANTS[variant]
    rankings, visits = (
        dayfly.read(f"{prefix}/{table}/", by="records", chunk_bytes=PIECE_BYTES) for table in ("rankings", "uservisits")
    )
    return [
        timed(queries.scan, rankings, above),
        timed(queries.aggregate, visits, letters),
        timed(queries.join, rankings, visits, until),
    ]


def run_duckdb(prefix, variant):
    """The same answers by DuckDB, from copies of the objects in a temporary folder."""
    import duckdb

    above, letters, until = VARIANTS[variant]
    with tempfile.TemporaryDirectory(prefix="bigdata-") as folder, duckdb.connect() as database:
        for table, columns in COLUMNS.items():
            for piece in dayfly.read(f"{prefix}/{table}/"):
                with piece.open() as source, open(pathlib.Path(folder, table + piece.name[-10:]), "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            source = f"read_csv('{folder}/{table}*.csv', header = false, auto_detect = false, delim = ',', columns = {columns})"
            database.execute(f"CREATE VIEW {table} AS SELECT * FROM {source}")

        def ask(text, *values):
            return database.execute(text, values).fetchall()

        return [
            timed(ask, "SELECT pageURL, pageRank FROM rankings WHERE pageRank > ?", above),
            timed(ask, "SELECT SUBSTR(sourceIP, 1, ?) AS start, SUM(adRevenue) FROM uservisits GROUP BY start", letters),
            timed(
                ask,
                "SELECT sourceIP, SUM(adRevenue) AS totalRevenue, AVG(pageRank) FROM rankings, uservisits "
                "WHERE pageURL = destURL AND visitDate BETWEEN DATE '1980-01-01' AND CAST(? AS DATE) "
                "GROUP BY sourceIP ORDER BY totalRevenue DESC LIMIT 1",
                until,
            ),
        ]


def differences(found, expected):
    """What is wrong with the three answers: a line for each that differs."""
    (scanned, sums, best), (scanned_rows, sum_rows, best_rows) = found, expected
    wrong = []
    if sorted(scanned) != sorted(scanned_rows):
        wrong.append(f"scan: {len(scanned)} rows, DuckDB has {len(scanned_rows)}, and they are not the same")
    if sums.keys() != {start for start, _ in sum_rows} or not all(near(sums[start], total) for start, total in sum_rows):
        wrong.append(f"aggregate: {len(sums)} groups, DuckDB has {len(sum_rows)}, and they are not the same")
    expected_best = best_rows[0] if best_rows else None
    if (best is None) != (expected_best is None) or (
        best is not None and (best[0] != expected_best[0] or not all(map(near, best[1:], expected_best[1:])))
    ):
        wrong.append(f"join: {best}, DuckDB has {expected_best}")
    return wrong


def near(one, other):
    """Sums of the same numbers in another order."""
    return math.isclose(one, other, rel_tol=1e-9)


def timed(function, *arguments):
    started = time.monotonic()
    found = function(*arguments)
    return found, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size, default="1GB", help="of both tables together, about (default: 1GB)")
    parser.add_argument("--variant", choices=VARIANTS, default="A", help="how much the queries select (default: A, the least)")
    parser.add_argument("--keep", action="store_true", help=f"leave the tables in the bucket {BUCKET}, for the next run")
    options = parser.parse_args()
    prefix = f"s3://{BUCKET}/{options.size}"
    try:
        made, seconds = timed(generate, prefix, options.size)
        print(f"{made / 1e9:.3f} GB in {len(tables.plan(options.size))} objects, made in {seconds:.1f} s", flush=True)
        found = run(prefix, options.variant)
        expected = run_duckdb(prefix, options.variant)
    finally:
        if not options.keep:
            remove(prefix)
    (scanned, _), (sums, _), (best, _) = found
    answers = [f"{len(scanned):,} rows", f"{len(sums):,} groups", f"{best[0]}: {best[1]:.6f}, {best[2]:.2f}" if best else "none"]
    print(f"{'query':10} {'dayfly':>9} {'duckdb':>9}   answer")
    for name, answer, (_, here), (_, there) in zip(("scan", "aggregate", "join"), answers, found, expected):
        print(f"{name:10} {here:7.2f} s {there:7.2f} s   {answer}")
    wrong = differences([answer for answer, _ in found], [answer for answer, _ in expected])
    print("\n".join(wrong) if wrong else "All answers are DuckDB's.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
