"""Pieces of files, and what `map_reduce` by key does with keys: everything that needs no server."""

import bz2
import datetime
import enum
import gzip
import io
import os
import pathlib
import pickle
import subprocess
import sys
import uuid
from decimal import Decimal

import pytest

import dayfly
from dayfly import _pieces, _shuffle, data, pickling

TEXT = b"a\n\nlonger line\r\nx\n" + b"y" * 300 + b"\nno end"


@pytest.mark.parametrize("text", [TEXT, TEXT + b"\n", b"\n", b"\n\n\n", b"one", b"y" * 1000])
@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 50, 301, 10_000])
def test_pieces_hold_every_line_once(tmp_path, text, chunk_bytes):
    (tmp_path / "text").write_bytes(text)
    pieces = dayfly.read(tmp_path / "text", by="records", chunk_bytes=chunk_bytes)
    parts = [piece.read() for piece in pieces]
    assert b"".join(parts) == text
    assert all(part.endswith(b"\n") for part in list(filter(None, parts))[:-1])
    lines = [line for piece in pieces for line in piece.lines()]
    assert lines == [line.rstrip(b"\n").removesuffix(b"\r").decode() for line in io.BytesIO(text)]
    assert len(pieces) == max(1, -(-len(text) // chunk_bytes))


def test_a_line_may_be_longer_than_what_is_looked_at_at_a_time(tmp_path):
    text = b"x" * 200_000 + b"\n" + b"y" * 200_000
    (tmp_path / "text").write_bytes(text)
    pieces = dayfly.read(str(tmp_path / "text"), by="records", chunk_bytes=50_000)
    assert [len(piece.read()) for piece in pieces if piece.read()] == [200_001, 200_000]


def test_a_piece_of_a_file_takes_its_bytes_along(tmp_path):
    (tmp_path / "text").write_bytes(TEXT)
    first, second = dayfly.read(tmp_path / "text", by="records", chunk_bytes=200)
    sent = pickling.call((second,), {})
    expected = second.read()
    (tmp_path / "text").unlink()
    (found,), _ = pickle.loads(sent[1:])
    assert found.read() == expected and list(found.lines()) == ["no end"] and "text" in repr(found)
    # And once more, as when a call gives it back.
    assert pickle.loads(pickling.call((found,), {})[1:])[0][0].read() == expected
    with pytest.raises(dayfly.NotPicklable, match="text"):
        pickling.call((first,), {})


def test_what_calls_need_goes_by_value(tmp_path):
    """An environment need not have this package."""
    (tmp_path / "text").write_bytes(b"one\ntwo\n")
    (piece,) = dayfly.read(tmp_path / "text")
    (tmp_path / "call").write_bytes(pickling.call((piece,), {})[1:])
    text = """
import pickle, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("dayfly"): raise ImportError(name)
sys.meta_path.insert(0, Absent())
(piece,), _ = pickle.load(open(sys.argv[1], "rb"))
print(list(piece.lines()))
"""
    found = subprocess.run([sys.executable, "-c", text, tmp_path / "call"], capture_output=True, text=True, check=True)
    assert found.stdout == "['one', 'two']\n"


def test_sources(tmp_path):
    for name in ("b.txt", "a.txt", "c.csv", "below/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "pipe.txt")

    def names(source):
        return [os.path.relpath(piece.name, tmp_path) for piece in dayfly.read(source)]

    assert names(tmp_path) == ["a.txt", "b.txt", "below/d.txt", "c.csv"]
    assert names(f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]
    assert names(f"{tmp_path}/**/*.txt") == ["a.txt", "b.txt", "below/d.txt"]
    assert names([tmp_path / "c.csv", tmp_path / "a.txt"]) == ["c.csv", "a.txt"]
    with pytest.raises(FileNotFoundError, match="nothing"):
        dayfly.read(tmp_path / "*.none")
    with pytest.raises(ValueError, match="by is"):
        dayfly.read(tmp_path, by="lines")
    with pytest.raises(ValueError, match="chunk_bytes"):
        dayfly.read(tmp_path, by="records", chunk_bytes=0)
    with pytest.raises(ValueError, match="s3://bucket/key"):
        dayfly.read("s3://")


def test_a_large_file_is_not_sent_whole(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(_pieces.FILE_BYTES_MAX + 1)
    with pytest.raises(ValueError, match="records"):
        dayfly.read(tmp_path / "large")
    # One line that is too long is noticed where it is sent.
    pieces = dayfly.read(tmp_path / "large", by="records", chunk_bytes=60 << 20)
    with pytest.raises(dayfly.NotPicklable, match="more than"):
        pickling.call((pieces[0],), {})


@pytest.mark.parametrize("packer", [gzip, bz2])
def test_compressed_text_is_unpacked_and_not_cut(tmp_path, packer):
    name = tmp_path / f"text.{'gz' if packer is gzip else 'bz2'}"
    name.write_bytes(packer.compress(b"one\ntwo\n"))
    (piece,) = dayfly.read(name, by="records", chunk_bytes=3)
    assert list(piece.lines()) == ["one", "two"] and piece.text() == "one\ntwo\n"
    assert piece.read() == name.read_bytes()


def test_an_open_piece_is_a_file(tmp_path):
    (tmp_path / "text").write_bytes(TEXT)
    piece = dayfly.read(tmp_path / "text", by="records", chunk_bytes=200)[1]
    with piece.open() as file:
        assert file.read(3) == b"no " and file.tell() == 3
        assert file.seek(-3, 2) == 3 and file.read() == b"end"


@pytest.mark.parametrize(
    "pattern, fits, does_not",
    [
        ("a/*.csv", ["a/b.csv", "a/.csv"], ["a/b/c.csv", "b/a/b.csv", "a/b.csv.gz"]),
        ("a/**/b?", ["a/b1", "a/x/y/b1"], ["a/b", "a/xb1"]),
        ("**.gz", ["a/b.gz", ".gz"], ["a/b.gzz"]),
        ("[!ab][0-9]", ["c1", "]9"], ["a1", "cc", "/"]),
        ("[ab", ["[ab"], ["a"]),
        ("a.b+[[]", ["a.b+["], ["axb+["]),
    ],
)
def test_globs_of_keys(pattern, fits, does_not):
    found = data._pattern(pattern)
    assert [key for key in fits if not found.fullmatch(key)] == []
    assert [key for key in does_not if found.fullmatch(key)] == []


class Color(enum.Enum):
    RED = 1


KEYS = [
    "", "a", "ä", "\udc80", b"", b"a", None, 0, -1, 2**80, 1.5, float("inf"), Decimal("0.1"), (), ("a", 1), ("a", (1,)),
    datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3), Color.RED, uuid.UUID(int=5),
]  # fmt: skip


def test_keys_have_the_same_hash_in_every_process():
    assert len({_shuffle.stable_hash(key) for key in KEYS}) == len(KEYS)
    text = "import sys, pickle; from dayfly import _shuffle; from test_data import KEYS\n"
    text += "print([_shuffle.stable_hash(key) for key in KEYS])"
    path = os.pathsep.join(str(path) for path in (pathlib.Path(__file__).parent, pathlib.Path(dayfly.__file__).parents[1]))
    for seed in ("0", "7"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        found = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True)
        assert eval(found.stdout) == [_shuffle.stable_hash(key) for key in KEYS]


def test_equal_keys_have_equal_hashes():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    same = [
        (1, 1.0, True, Decimal(1)),
        ((1, "a"), (True, "a")),
        (datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc), datetime.datetime(2026, 1, 1, 14, tzinfo=zone)),
    ]
    for keys in same:
        assert len(set(keys)) == 1 and len({_shuffle.stable_hash(key) for key in keys}) == 1
    assert _shuffle.stable_hash(("a", "bc")) != _shuffle.stable_hash(("ab", "c"))
    for bad in ([1], {1: 2}, object(), float("nan"), ("a", [1])):
        with pytest.raises(TypeError):
            _shuffle.stable_hash(bad)


class Shelf:
    """A bucket in memory."""

    def __init__(self):
        self.objects = {}

    def put(self, key, content):
        self.objects[key] = bytes(content)

    def get(self, key, start=0, end=None, etag=None):
        return self.objects[key][start:end]


@pytest.mark.parametrize("combine", [None, sum])
@pytest.mark.parametrize("reducers", [1, 2, 5])
def test_both_sides_of_a_shuffle(monkeypatch, combine, reducers):
    shelf = Shelf()
    monkeypatch.setattr(_shuffle._s3.Store, "of_call", classmethod(lambda cls, bucket="": shelf))
    spreads = [
        _shuffle.spread(lambda i: ((n % 7, n) for n in range(i, 2000)), None, combine, reducers, "x/", i) for i in range(3)
    ]
    assert all(len(ends) == reducers for _, ends in spreads) and len(shelf.objects) == 3
    if combine:
        assert max(len(content) for content in shelf.objects.values()) < 500
    found = {}
    for reducer in range(reducers):
        sections = [(name, ([0] + ends)[reducer], ends[reducer]) for name, ends in spreads]
        part = dict(_shuffle.gather(sum, combine, [section for section in sections if section[1] < section[2]]))
        assert not found.keys() & part.keys()
        found.update(part)
    assert found == {k: sum(n for i in range(3) for n in range(i, 2000) if n % 7 == k) for k in range(7)}


@pytest.mark.parametrize("gives", [None, 5, [1], [(1, 2, 3)], "ab", [("a", "b"), "cd"]])
def test_what_is_no_pair_is_refused(monkeypatch, gives):
    monkeypatch.setattr(_shuffle._s3.Store, "of_call", classmethod(lambda cls, bucket="": Shelf()))
    with pytest.raises(TypeError, match="gave"):
        _shuffle.spread(lambda x: gives, None, None, 2, "x/", 1)


def test_a_wrong_way_to_reduce_is_refused_before_anything_runs():
    for settings in ({"reducers": 0}, {"reducers": True}, {"reducers": 10**6}, {"reducers": 2, "detach": True}):
        with pytest.raises(ValueError):
            dayfly.map_reduce(str, [1], sum, **settings)
    for settings in ({"key": len}, {"combine": sum}):
        with pytest.raises(TypeError, match="reducers"):
            dayfly.map_reduce(str, [1], sum, **settings)
