"""The examples that map and reduce over data, small: their answers, and that they would notice a wrong one."""

import collections
import hashlib
import importlib
import sys

import pytest
from test_examples import ROOT, module, run


@pytest.fixture
def bigdata(monkeypatch):
    """The main file of the example, which finds the others beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "bigdata"))
    return module("bigdata")


def test_wordcount_counts_what_a_plain_loop_counts(server, tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.txt").write_bytes(b"It's a word, a WORD.\nM\xe4rz\r\n" * 200 * n + b"end")
    said = run(server, tmp_path, "wordcount", str(tmp_path), "--reducers", "3", "--chunk-bytes", "5000", "--top", "2")
    assert "identical" in said and "in 5 files" in said and "3 reducers" in said
    assert [line.split() for line in said.splitlines()[2:4]] == [["4,000", "a"], ["4,000", "word"]]


def test_wordcount_notices_a_count_that_differs(monkeypatch, capsys, tmp_path):
    wordcount = module("wordcount")
    (tmp_path / "text").write_text("one two two\n")
    monkeypatch.setattr(sys, "argv", ["wordcount.py", str(tmp_path)])
    for counts, code in (({"one": 1, "two": 2}, 0), ({"one": 1, "two": 1}, 1), ({"two": 2}, 1)):
        monkeypatch.setattr(wordcount, "count", lambda pieces, reducers: collections.Counter(counts))
        assert wordcount.main() == code
    assert "DIFFERENT" in capsys.readouterr().out


def test_bigdata_answers_as_duckdb_does_and_leaves_nothing(server, tmp_path):
    for variant, size in (("A", "3MB"), ("C", "500kB")):
        said = run(server, tmp_path, "bigdata", "--size", size, "--variant", variant)
        assert "All answers are DuckDB's." in said and "none" not in said, said
    assert server.client("s3").list_objects_v2(Bucket="bigdata").get("Contents", []) == []


def test_bigdata_notices_a_wrong_answer(bigdata):
    right = ([("u", 2000), ("v", 3000)], {"1.2.3": 1.5, "9": 2.0}, ("1.2.3.4", 5.0, 7.5))
    rows = ([("v", 3000), ("u", 2000)], [("9", 2.0), ("1.2.3", 1.5 + 1e-12)], [("1.2.3.4", 5.0, 7.5)])
    assert bigdata.differences(right, rows) == []
    wrong = [
        ([("u", 2000)], right[1], right[2]),
        (right[0] + [("u", 2000)], right[1], right[2]),
        (right[0], {"1.2.3": 1.5}, right[2]),
        (right[0], {"1.2.3": 1.5, "9": 2.0001}, right[2]),
        (right[0], right[1], ("1.2.3.4", 5.0, 7.6)),
        (right[0], right[1], ("1.2.3.5", 5.0, 7.5)),
        (right[0], right[1], None),
    ]
    assert [len(bigdata.differences(answer, rows)) for answer in wrong] == [1] * len(wrong)
    assert len(bigdata.differences(right, (*rows[:2], []))) == 1


def test_bigdata_makes_the_same_tables_everywhere(bigdata):
    tables = importlib.import_module("tables")
    made = {(table, number): tables.text(table, number, rows, pages) for table, number, rows, pages in tables.plan(5_000_000)}
    assert sum(map(len, made.values())) == pytest.approx(5_000_000, rel=0.02)
    assert {table for table, _ in made} == {"rankings", "uservisits"}
    ranks = [int(line.split(",")[1]) for line in tables.text("rankings", 1, 100_000, 1).splitlines()]
    assert sum(rank > 1000 for rank in ranks) == pytest.approx(37, abs=25) and min(ranks) == 19
    digest = hashlib.sha256("".join(made[key] for key in sorted(made)).encode()).hexdigest()
    assert digest == "6e13a55aa8082605482a3a54dc2d166758d58211c546b084d02b9edd6a0dd456"
