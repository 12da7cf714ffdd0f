"""Hyper-parameter search three ways: plainly, through joblib on Dayfly, and through `dayfly.map`; all must agree.

    pip install -r requirements.txt, and the wheel of dayfly
    python gridsearch.py [--quick] [--plot gridsearch.png]

Ends with 1 when a score or the best parameters of one way differ from another's. See docs/examples/gridsearch.md.
"""

import argparse
import sys
import time

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.svm import SVC

import dayfly

# What Lambda gives a whole processor to: a fit computes, and has no use for less.
MEMORY_MB = 1769


class Search:
    """A model, its data, and the grid of two parameters to be searched."""

    def __init__(self, title, model, data, grid, folds):
        self.title = title
        self.model = model
        self.images, self.labels = data
        self.grid = grid
        self.candidates = list(ParameterGrid(grid))
        self.splits = list(StratifiedKFold(folds).split(self.images, self.labels))

    @property
    def fits(self):
        return len(self.candidates) * len(self.splits)


def searches(quick):
    """200 and 80 fits; with `quick`, 12 and 8."""
    folds = 2 if quick else 5
    svm = {"C": np.logspace(-1, 2.5, 8).round(2).tolist(), "gamma": np.logspace(-4.5, -2.5, 5).round(6).tolist()}
    boosting = {"max_depth": [1, 2, 3, 4], "learning_rate": [0.03, 0.1, 0.3, 1.0]}
    if quick:
        svm = {"C": svm["C"][::3], "gamma": svm["gamma"][::3]}
        boosting = {"max_depth": [1, 2], "learning_rate": [0.1, 1.0]}
    trees = GradientBoostingClassifier(n_estimators=10 if quick else 40, random_state=0)
    return [
        Search("digits: support vector machine", SVC(), load_digits(return_X_y=True), svm, folds),
        Search("breast cancer: gradient boosting", trees, load_breast_cancer(return_X_y=True), boosting, folds),
    ]


def plain(search):
    """scikit-learn's own search, one fit after the other: {(candidate, fold): score}, the best parameters."""
    return by_scikit_learn(search, n_jobs=None)


def by_joblib(search):
    """The same line of scikit-learn. joblib sends each fit to an instance of its own."""
    with joblib.parallel_config("dayfly", n_jobs=-1, memory=MEMORY_MB):
        return by_scikit_learn(search, n_jobs=-1)


def by_scikit_learn(search, n_jobs):
    found = GridSearchCV(search.model, search.grid, cv=search.splits, n_jobs=n_jobs, refit=False)
    found.fit(search.images, search.labels)
    scores = [found.cv_results_[f"split{fold}_test_score"] for fold in range(len(search.splits))]
    return np.array(scores).T, found.best_params_


def by_map(search):
    """By hand: a function of a candidate and a fold, mapped over all of them.

    Model, data and splits come along because the function refers to them; they are loaded once, not once for each call.
    """

    def fit(candidate, split):
        train, test = search.splits[split]
        model = clone(search.model).set_params(**candidate)
        model.fit(search.images[train], search.labels[train])
        return model.score(search.images[test], search.labels[test])

    pairs = [(candidate, split) for candidate in search.candidates for split in range(len(search.splits))]
    found = dayfly.starmap(fit, pairs, memory=MEMORY_MB).results()
    scores = np.array(found).reshape(len(search.candidates), len(search.splits))
    return scores, search.candidates[int(scores.mean(axis=1).argmax())]


WAYS = {"plain scikit-learn": plain, 'joblib, parallel_config("dayfly")': by_joblib, "dayfly.map": by_map}


def compare(search):
    """Searches each way, prints what was found; returns the plain way's scores and whether all ways agree."""
    print(f"\n{search.title}: {len(search.candidates)} candidates, {len(search.splits)} folds, {search.fits} fits")
    expected, agreed = None, True
    for name, way in WAYS.items():
        started = time.monotonic()
        scores, best = way(search)
        seconds = time.monotonic() - started
        expected = expected or (scores, best)
        same = np.array_equal(scores, expected[0]) and best == expected[1]
        agreed &= same
        verdict = "" if expected[0] is scores else "identical" if same else "DIFFERENT"
        print(f"  {name:34} {seconds:7.2f} s   best {scores.mean(axis=1).max():.4f} with {best}   {verdict}")
    return expected[0], agreed


def draw(results, path):
    """The mean scores as a map for each search, the best one marked."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, (search, scores) in zip(figure.subplots(1, len(results)), results):
        # ParameterGrid goes through the names in order, the last one fastest.
        (down, downs), (across, acrosses) = sorted(search.grid.items())
        means = scores.mean(axis=1).reshape(len(downs), len(acrosses))
        # A few hopeless candidates would leave one colour for all the others.
        low, high = np.quantile(means, 0.25), means.max()
        image = axes.imshow(means, cmap="viridis", aspect="auto", origin="lower", vmin=low, vmax=high)
        axes.set_xticks(range(len(acrosses)), [f"{value:.3g}" for value in acrosses])
        axes.set_yticks(range(len(downs)), [f"{value:.3g}" for value in downs])
        axes.set(xlabel=across, ylabel=down, title=f"{search.title}, {search.fits} fits")
        best = np.unravel_index(means.argmax(), means.shape)
        for (row, column), mean in np.ndenumerate(means):
            weight, colour = "bold" if (row, column) == best else "normal", "black" if mean > (low + high) / 2 else "white"
            axes.text(column, row, f"{mean:.3f}", ha="center", va="center", color=colour, weight=weight, fontsize=9)
        axes.add_patch(Rectangle((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor="#c53030", linewidth=2.5))
        figure.colorbar(image, ax=axes, label="mean accuracy", extend="min")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 fits rather than 280")
    parser.add_argument("--plot", default="gridsearch.png", metavar="FILE", help="where the picture goes (png, svg, pdf)")
    options = parser.parse_args()
    print(f"dayfly {dayfly.__version__}, {joblib.cpu_count()} processors")
    results, agreed = [], True
    for search in searches(options.quick):
        scores, same = compare(search)
        results.append((search, scores))
        agreed &= same
    draw(results, options.plot)
    print(f"\n{options.plot}: the scores. All ways agree." if agreed else "\nThe ways do not agree.")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
