"""The examples, small: they run as their pages say, and they would notice a wrong answer."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import harness

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "sdk" / "python"
sys.path.insert(0, str(PACKAGE))
PNG = b"\x89PNG\r\n"


def run(server, folder, name, *arguments):
    """Runs an example in `folder`; returns what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        timeout=120 * harness.SLOW,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "DAYFLY_DATA": str(server.folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def module(name):
    """An example, to call parts of."""
    found = importlib.util.spec_from_file_location(name, ROOT / "examples" / name / f"{name}.py")
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


def test_gridsearch_finds_the_same_three_ways(server, tmp_path):
    said = run(server, tmp_path, "gridsearch", "--quick")
    assert said.count("identical") == 4 and "DIFFERENT" not in said and "All ways agree" in said
    assert (tmp_path / "gridsearch.png").read_bytes().startswith(PNG)
    bill = server.cli("bill").stdout
    assert "job-fit" in bill and "joblib" in bill, bill


def test_gridsearch_notices_a_score_that_differs(monkeypatch, capsys):
    gridsearch = module("gridsearch")

    def wrong(search):
        scores, best = gridsearch.plain(search)
        scores[-1, -1] += 1e-12
        return scores, best

    monkeypatch.setattr(gridsearch, "WAYS", {"plain": gridsearch.plain, "wrong": wrong})
    assert gridsearch.compare(gridsearch.searches(quick=True)[1])[1] is False
    assert "DIFFERENT" in capsys.readouterr().out


def test_montecarlo_finds_the_known_prices(server, tmp_path):
    said = run(server, tmp_path, "montecarlo", "--calls", "16", "--paths", "1000")
    assert "16,000 paths" in said and said.count("errors") == 2
    for name in ("montecarlo.png", "timeline.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
    again = run(server, tmp_path, "montecarlo", "--calls", "16", "--paths", "1000")
    assert said.splitlines()[2:] == again.splitlines()[2:], "the same seeds give the same prices"


def test_montecarlo_notices_a_price_that_is_off():
    montecarlo = module("montecarlo")
    exact = [*montecarlo.known_prices().values(), 4.3]
    assert montecarlo.check(exact, [0.01] * 3)
    assert not montecarlo.check([exact[0] + 0.05, *exact[1:]], [0.01] * 3)
    # From Hull's book (Options, Futures, and Other Derivatives): 42 now, 40 strike, 10 %, 20 %, half a year.
    montecarlo.START, montecarlo.STRIKE, montecarlo.RATE, montecarlo.VOLATILITY, montecarlo.YEARS = 42, 40, 0.1, 0.2, 0.5
    assert round(montecarlo.known_prices()[montecarlo.EUROPEAN], 2) == 4.76
