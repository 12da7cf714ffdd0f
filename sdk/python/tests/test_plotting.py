"""Records as numbers and as a picture."""

import sys

import pytest

import dayfly
from dayfly import plotting


def record(queued, started, milliseconds, status="success"):
    return {"queued_at_ms": queued, "started_at_ms": started, "duration_us": milliseconds * 1000, "status": status}


RECORDS = [record(1000, 1500, 1000), record(1000, 2500, 500, "timeout"), record(1000, 1750, 250), {"status": "refused"}]


def test_times_are_seconds_from_the_first():
    assert plotting.times(RECORDS) == [(0.0, 0.5, 1.5, True), (0.0, 0.75, 1.0, True), (0.0, 1.5, 2.0, False)]
    assert plotting.times([]) == []


def test_concurrency_counts_those_that_run():
    points, levels = plotting.concurrency(plotting.times(RECORDS))
    assert points == [0.0, 0.5, 0.75, 1.0, 1.5, 1.5, 2.0]
    assert levels == [0, 1, 2, 1, 0, 1, 0]


@pytest.mark.parametrize("ending, magic", [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_plot_is_saved(serve, tmp_path, ending, magic):
    pytest.importorskip("matplotlib")
    serve()
    job = dayfly.map(str, range(30))
    job.wait()
    path = tmp_path / f"plot.{ending}"
    figure = job.plot(str(path))
    assert path.read_bytes().startswith(magic) and len(figure.axes) == 2
    assert plotting.plot([], "none", str(path), 4, 3)


def test_stats_are_a_frame_or_a_list(serve, monkeypatch):
    serve()
    job = dayfly.map(str, range(3))
    job.wait()
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert [row["calls"] for row in job.stats()] == [1, 1, 1]
    monkeypatch.delitem(sys.modules, "pandas")
    pytest.importorskip("pandas")
    assert list(job.stats()["n"]) == [0, 1, 2]


def test_the_bar_tells_what_runs_is_done_and_costs(serve, capsys):
    tqdm = pytest.importorskip("tqdm.auto")
    serve()
    before = tqdm.tqdm.monitor_interval
    tqdm.tqdm.monitor_interval = 0
    try:
        job = dayfly.map(str, range(5), progress=True)
        assert job.results() == list("01234")
    finally:
        tqdm.tqdm.monitor_interval = before
    # Short jobs do without a bar.
    assert "str" not in capsys.readouterr().err
