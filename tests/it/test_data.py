"""Maps over objects and files, and map and reduce by key, with the real object store and real sandboxes."""

import collections
import os
import re

import pytest
from button import button, using  # noqa: F401  (fixtures)

import dayfly
from dayfly import _s3, _shuffle

TEXT = "".join(f"line {n} of {'long ' * (n % 7)}text\n" for n in range(3000))


def shuffles(server):
    """Objects that shuffles have left."""
    client = server.client("s3")
    if "dayfly-jobs" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        return []
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="dayfly-jobs").get("Contents", [])]
    return [key for key in keys if "/shuffle/" in key]


@pytest.fixture
def texts(button):  # noqa: F811
    """A bucket with two texts and something else."""
    client = button.client("s3")
    client.create_bucket(Bucket="texts")
    for key, body in (("2026/a.txt", TEXT), ("2026/b c+ü.txt", TEXT[:1000]), ("2026/c.bin", "\0"), ("2026/", "")):
        client.put_object(Bucket="texts", Key=key, Body=body.encode())
    yield "s3://texts/2026"
    for entry in client.list_objects_v2(Bucket="texts").get("Contents", []):
        client.delete_object(Bucket="texts", Key=entry["Key"])
    client.delete_bucket(Bucket="texts")


def test_calls_open_objects_and_parts_of_objects(texts):
    found = list(dayfly.map(lambda piece: (piece.name, piece.read()), dayfly.read(texts)))
    assert found == [
        ("s3://texts/2026/a.txt", TEXT.encode()),
        ("s3://texts/2026/b c+ü.txt", TEXT[:1000].encode()),
        ("s3://texts/2026/c.bin", b"\0"),
    ]
    pieces = dayfly.read(f"{texts}/a*", by="records", chunk_bytes=10_000)
    assert len(pieces) == -(-len(TEXT) // 10_000)
    lines = list(dayfly.map(lambda piece: list(piece.lines()), pieces))
    assert [line for part in lines for line in part] == TEXT.splitlines()
    # The same here, without a call.
    assert pieces[3].text() == "".join(line + "\n" for line in lines[3])
    assert dayfly.submit(lambda piece: piece.text(), pieces[3]).result(60) == pieces[3].text()
    assert list(dayfly.map(lambda piece, n: (n, len(piece.read())), pieces[:2], [1, 2], chunksize=2))[1][0] == 2


def test_an_object_that_was_replaced_is_not_read_as_the_one_that_was_listed(texts, button):  # noqa: F811
    pieces = dayfly.read(f"{texts}/a.txt", by="records", chunk_bytes=50_000)
    button.client("s3").put_object(Bucket="texts", Key="2026/a.txt", Body=TEXT.upper().encode())
    with pytest.raises(dayfly.StoreError, match="status 412") as caught:
        list(dayfly.map(lambda piece: piece.text(), pieces))
    assert caught.value.status == 412


def test_a_bucket_has_more_objects_than_a_page(button, monkeypatch):  # noqa: F811
    monkeypatch.setattr(_s3, "PAGE_KEYS", 4)
    client = button.client("s3")
    client.create_bucket(Bucket="many")
    for n in range(21):
        client.put_object(Bucket="many", Key=f"{n:02d}", Body=b"")
    assert [piece.name for piece in dayfly.read("s3://many/")] == [f"s3://many/{n:02d}" for n in range(21)]
    assert [piece.name for piece in dayfly.read("s3://many/?[12]")] == ["s3://many/01", "s3://many/02", "s3://many/11", "s3://many/12"]
    with pytest.raises(FileNotFoundError):
        dayfly.read("s3://many/x")
    with pytest.raises(FileNotFoundError, match="no bucket"):
        dayfly.read("s3://there-is-no-such-bucket/x")


def test_calls_read_files_that_they_cannot_see(button, tmp_path):  # noqa: F811
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name + TEXT)

    def look(piece):
        return os.path.exists(piece.name), piece.text()

    found = list(dayfly.map(look, dayfly.read(f"{tmp_path}/*.txt", by="records", chunk_bytes=40_000)))
    assert "".join(text for _, text in found) == f"a{TEXT}b{TEXT}" and not any(seen for seen, _ in found)
    # What is larger than an argument may be goes through the store.
    (tmp_path / "large.txt").write_text(TEXT * 100)
    (piece,) = dayfly.read(tmp_path / "large.txt")
    assert len(TEXT) * 100 > 6 << 20
    assert list(dayfly.map(lambda piece: len(piece.read()), [piece])) == [len(TEXT) * 100]


def words_of(piece):
    for line in piece.lines():
        for word in re.findall(r"\w+", line):
            yield word, 1


EXPECTED = collections.Counter(re.findall(r"\w+", TEXT))


@pytest.mark.parametrize("reducers, combine", [(1, None), (4, sum), (15, sum)])
def test_map_reduce_by_key_with_many_reducers(texts, button, reducers, combine):  # noqa: F811
    pieces = dayfly.read(f"{texts}/a.txt", by="records", chunk_bytes=20_000)
    found = dayfly.map_reduce(words_of, pieces, sum, reducers=reducers, combine=combine)
    assert found == EXPECTED
    assert shuffles(button) == []


def test_records_get_their_key_from_a_function(button):  # noqa: F811
    found = dayfly.map_reduce(lambda n: range(n), [3, 5, 0], list, reducers=3, key=lambda n: n % 2 == 0)
    assert found == {True: [0, 2, 0, 2, 4], False: [1, 1, 3]}
    assert dayfly.map_reduce(lambda n: {}, [1, 2], sum, reducers=3) == {}
    assert dayfly.map_reduce(lambda n: {n: n}, [], sum, reducers=3) == {}
    assert shuffles(button) == []


@pytest.mark.parametrize("side", ["map", "reduce", "key"])
def test_a_failure_leaves_no_objects(button, side):  # noqa: F811
    def broken(name, value):
        if name == side:
            raise LookupError(name)
        return value

    with pytest.raises(LookupError, match=side):
        dayfly.map_reduce(
            lambda n: [(n, 1)] if n < 5 else broken("map", [(n, 1)]),
            range(6),
            lambda values: broken("reduce", sum(values)),
            reducers=2,
            key=(lambda pair: broken("key", pair[0])) if side == "key" else None,
        )
    assert shuffles(button) == []


def test_a_call_that_dies_after_it_has_stored_is_tried_again_and_counts_once(button):  # noqa: F811
    plain = _shuffle._s3.Store.put

    def put_and_die(store, key, content):
        plain(store, key, content)
        marks = _shuffle._s3.Store.of_call("tries")
        if "/shuffle/" in key and not list(marks.list("died")):
            plain(marks, "died", b"")
            os._exit(1)

    def pairs(n):
        _shuffle._s3.Store.put = put_and_die
        return {"sum": n}

    client = button.client("s3")
    client.create_bucket(Bucket="tries")
    found = dayfly.map_reduce(pairs, [1, 2, 3], sum, reducers=2, retries=2, max_in_flight=1)
    assert found == {"sum": 6}
    assert client.head_object(Bucket="tries", Key="died")
    assert shuffles(button) == []


def test_parquet_is_cut_into_row_groups(button, tmp_path):  # noqa: F811
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"n": range(1000), "name": [f"name {n}" for n in range(1000)]})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    dayfly.write("s3://parquet/rows.parquet", (tmp_path / "rows.parquet").read_bytes())
    for source in (tmp_path / "rows.parquet", "s3://parquet/rows.parquet"):
        pieces = dayfly.read(source, by="records", chunk_bytes=1)
        assert [piece.groups for piece in pieces] == [(n, n + 1) for n in range(10)]
        found = list(dayfly.map(lambda piece: piece.table(["n"]).to_pydict()["n"], pieces))
        assert found == [list(range(n, n + 100)) for n in range(0, 1000, 100)]
        (whole,) = dayfly.read(source, by="records")
        assert dayfly.submit(lambda piece: piece.table().num_rows, whole).result(60) == 1000
