"""Python calls through one contender: `calls.py CONTENDER each|auto|array|first COUNT [BYTES [TIMES]]`. Prints JSON.

`each` is a task per call, `auto` leaves it to the contender how many share one, `array` gives all calls one array of
BYTES, all of which each of them reads, TIMES times; `first` is one call by a program that has just started. What a contender needs to be ready is not counted, but for
`first`; Dayfly's server is that of DAYFLY_DATA.
"""

import contextlib
import json
import os
import sys
import time

WORKERS = 2
DIMENSIONS = 64


def increment(number):
    return number + 1


def points(size):
    """So many bytes of points on a sphere, a row each."""
    import numpy as np

    found = np.random.default_rng(0).standard_normal((size // (4 * DIMENSIONS), DIMENSIONS), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def place(array, number, count):
    """The point that query `number` of `count` is about."""
    return number * len(array) // count


def nearest(array, count, times, number):
    """Which point is nearest to one that is a little beside another: looks at all of them, so many times."""
    import numpy as np

    beside = np.random.default_rng(number).standard_normal(array.shape[1], dtype=np.float32) / 100
    point = array[place(array, number, count)] + beside
    near = np.empty((times, len(array)), dtype=array.dtype)
    for row in near:
        np.dot(array, point, out=row)
    return int(near.argmax()) % len(array)


# A contender yields `run(function, shared, items, auto)`: the list of results of `function(*shared, item)`.


@contextlib.contextmanager
def dayfly():
    import dayfly

    def run(function, shared, items, auto):
        chunksize = "auto" if auto else 1
        if not shared:
            return list(dayfly.map(function, items, chunksize=chunksize))
        return list(dayfly.map(lambda item: function(*shared, item), items, chunksize=chunksize))

    yield run


@contextlib.contextmanager
def loky():
    import joblib

    # joblib puts arguments of more than 1 MB in shared memory by itself.
    def run(function, shared, items, auto):
        parallel = joblib.Parallel(n_jobs=WORKERS, batch_size="auto" if auto else 1)
        return parallel(joblib.delayed(function)(*shared, item) for item in items)

    yield run


@contextlib.contextmanager
def pool(**settings):
    import concurrent.futures

    with concurrent.futures.ProcessPoolExecutor(WORKERS, **settings) as executor:

        def run(function, shared, items, auto):
            return list(executor.map(function, items, chunksize=max(1, len(items) // (4 * WORKERS)) if auto else 1))

        yield run


def fresh():
    """A process for each task."""
    return pool(max_tasks_per_child=1)


@contextlib.contextmanager
def dask():
    import distributed

    cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:

        def run(function, shared, items, auto):
            shared = client.scatter(list(shared), broadcast=True) if shared else []
            # Arguments as iterables, one of each per call. `pure` would call once where arguments are equal.
            many = [[one] * len(items) for one in shared]
            return client.gather(client.map(function, *many, items, pure=False))

        yield run


@contextlib.contextmanager
def ray():
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30)
    try:

        def run(function, shared, items, auto):
            remote = ray.remote(function)
            shared = [ray.put(one) for one in shared]
            return ray.get([remote.remote(*shared, item) for item in items])

        yield run
    finally:
        ray.shutdown()


@contextlib.contextmanager
def lithops():
    import lithops

    local = {"lithops": {"backend": "localhost", "storage": "localhost"}, "localhost": {"worker_processes": WORKERS}}
    with lithops.FunctionExecutor(config=local, log_level="ERROR") as executor:

        def run(function, shared, items, auto):
            return executor.get_result(executor.map(function, list(items)), show_progressbar=False)

        yield run


CONTENDERS = {one.__name__: one for one in (dayfly, loky, pool, fresh, dask, ray, lithops)}


def main():
    contender, work, count, *rest = sys.argv[1:]
    function, shared, items = increment, (), range(int(count))
    expected = [number + 1 for number in items]
    # What contenders print is not for who reads our output.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if work == "array":
        array, times = points(int(rest[0])), int(rest[1]) if rest[1:] else 1
        function, shared = nearest, (array, len(items), times)
        expected = [place(array, number, len(items)) for number in items]
    with CONTENDERS[contender]() as run:
        if work != "first":
            run(increment, (), range(2 * WORKERS), False)
        started = time.monotonic()
        results = run(function, shared, items, work == "auto")
        seconds = time.monotonic() - started
        first_at = time.time()
    if list(results) != expected:
        raise SystemExit("wrong results")
    found = {"count": len(items), "seconds": seconds, "per_second": len(items) / seconds, "first_at": first_at}
    print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main()
