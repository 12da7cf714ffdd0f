"""A grid search over the digits through one contender's joblib backend: `grid.py CONTENDER FITS`. Prints JSON.

Workers are started and scikit-learn is imported in them while the clock runs, as in a program that does this once.
"""

import contextlib
import json
import os
import sys
import time

import joblib
import numpy as np
from calls import WORKERS
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

FOLDS = 5


def dayfly():
    import dayfly  # noqa: F401  (makes its backend known)

    # A whole processor for each fit, as the other workers have.
    return joblib.parallel_config("dayfly", n_jobs=WORKERS, memory=1769)


def loky():
    return joblib.parallel_config("loky", n_jobs=WORKERS)


@contextlib.contextmanager
def dask():
    import distributed

    cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask", n_jobs=WORKERS):
        yield


def main():
    contender, fits = sys.argv[1], int(sys.argv[2])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    candidates = fits // FOLDS
    grid = {"gamma": np.logspace(-4.5, -2.5, 5), "C": np.logspace(-1, 2.5, candidates // 5)}
    images, labels = load_digits(return_X_y=True)
    started = time.monotonic()
    with {"dayfly": dayfly, "loky": loky, "dask": dask}[contender]():
        search = GridSearchCV(SVC(), grid, cv=FOLDS, refit=False).fit(images, labels)
    seconds = time.monotonic() - started
    found = {"seconds": seconds, "fits": fits, "best": float(search.best_score_), "parameters": search.best_params_}
    print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main()
