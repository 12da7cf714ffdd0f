"""Prices options by simulation: many seeds, a fresh instance each; the known answers and their error bounds are checked.

    pip install -r requirements.txt, and the wheel of dayfly
    python montecarlo.py [--calls 200] [--paths 10000] [--plot montecarlo.png] [--timeline timeline.png]

Ends with 1 when a price lies more than four standard errors from what mathematics says. See docs/examples/montecarlo.md.
"""

import argparse
import math
import statistics
import sys
import time

import numpy as np

import dayfly

# A share, an option on it that ends in a year, and the market: yearly rates, trading days.
START, STRIKE, RATE, VOLATILITY, YEARS, DAYS = 100.0, 105.0, 0.03, 0.25, 1.0, 252
# For each call a stream of random numbers of its own, the same in each run.
SEED = 20090101
# A deviation beyond this comes by chance once in 16,000 runs of other seeds.
ERRORS_MAX = 4.0
EUROPEAN, GEOMETRIC, ARITHMETIC = "European", "Asian, geometric mean", "Asian, arithmetic mean"
PAYOFFS = (EUROPEAN, GEOMETRIC, ARITHMETIC)
# What Lambda gives a whole processor to.
MEMORY_MB = 1769


def simulate(call, paths):
    """Walks `paths` price paths, day by day; returns for each payoff the sum and the sum of squares, discounted."""
    random = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(call,)))
    step = YEARS / DAYS
    logs = random.standard_normal((paths, DAYS))
    logs *= VOLATILITY * math.sqrt(step)
    logs += (RATE - VOLATILITY**2 / 2) * step
    np.cumsum(logs, axis=1, out=logs)
    means = np.exp(logs.mean(axis=1)), np.exp(logs, out=logs).mean(axis=1)
    ends = np.stack([logs[:, -1], *means]) * START
    payoffs = math.exp(-RATE * YEARS) * np.maximum(ends - STRIKE, 0.0)
    return payoffs.sum(axis=1), np.square(payoffs).sum(axis=1)


def known_prices():
    """Black and Scholes (1973), and for the geometric mean Kemna and Vorst (1990), whose logarithm is normal too."""
    mean = (RATE - VOLATILITY**2 / 2) * YEARS
    variance = VOLATILITY**2 * YEARS
    # The mean of the logarithms of days 1 to n.
    n = DAYS
    return {
        EUROPEAN: call_price(mean, variance),
        GEOMETRIC: call_price(mean * (n + 1) / (2 * n), variance * (n + 1) * (2 * n + 1) / (6 * n * n)),
    }


def call_price(mean, variance):
    """Today's price of max(START × e^X − STRIKE, 0) in a year, X normal with this mean and variance."""
    normal = statistics.NormalDist().cdf
    deviation = math.sqrt(variance)
    above = (math.log(START / STRIKE) + mean) / deviation
    value = START * math.exp(mean + variance / 2) * normal(above + deviation) - STRIKE * normal(above)
    return math.exp(-RATE * YEARS) * value


def estimates(sums, squares, paths):
    """Prices and their standard errors after each call; arrays of (calls, payoffs)."""
    counts = paths * np.arange(1, len(sums) + 1)[:, None]
    prices = np.cumsum(sums, axis=0) / counts
    variances = np.cumsum(squares, axis=0) / counts - prices**2
    return prices, np.sqrt(variances / (counts - 1))


def check(prices, errors):
    """Prints the table; whether every known price is within its bound."""
    known, good = known_prices(), True
    print(f"\n{'call option':24}{'simulated':>12}{'± error':>10}{'exact':>12}{'off by':>16}")
    for name, price, error in zip(PAYOFFS, prices, errors):
        exact, verdict = "", "no formula"
        if name in known:
            off = (price - known[name]) / error
            good &= abs(off) <= ERRORS_MAX
            exact, verdict = f"{known[name]:.4f}", f"{off:+.2f} errors"
        print(f"{name:24}{price:12.4f}{error:10.4f}{exact:>12}{verdict:>16}")
    return good


def draw(prices, errors, paths, path):
    """How the prices settle as calls come in, and how far from the exact ones they are."""
    from matplotlib.figure import Figure

    known = known_prices()
    millions = paths * np.arange(1, len(prices) + 1) / 1e6
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    both = figure.subplots(1, len(known))
    for axes, (name, exact) in zip(both, known.items()):
        column = PAYOFFS.index(name)
        price, error = prices[:, column], errors[:, column]
        axes.fill_between(
            millions, price - 2 * error, price + 2 * error, color="#2b6cb0", alpha=0.2, lw=0, label="± 2 standard errors"
        )
        axes.plot(millions, price, color="#2b6cb0", label="simulated")
        axes.axhline(exact, color="#c53030", linestyle="--", label=f"exact: {exact:.4f}")
        # The first calls alone would set the scale.
        reach = 4 * error[min(len(error) // 10, len(error) - 1)]
        axes.set(xlabel="million paths", ylabel="price", title=name, ylim=(exact - reach, exact + reach), xlim=(0, millions[-1]))
        axes.legend(frameon=False)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="how many instances simulate")
    parser.add_argument("--paths", type=int, default=10_000, help="price paths for each call")
    parser.add_argument("--plot", default="montecarlo.png", metavar="FILE", help="how the prices settle (png, svg, pdf)")
    parser.add_argument("--timeline", default="timeline.png", metavar="FILE", help="when each call ran")
    options = parser.parse_args()
    if options.calls < 1 or options.paths < 2:
        parser.error("at least one call of two paths is needed")

    started = time.monotonic()
    job = dayfly.map(simulate, range(options.calls), [options.paths] * options.calls, memory=MEMORY_MB)
    sums, squares = map(np.array, zip(*job))
    seconds = time.monotonic() - started
    job.wait()
    total = options.calls * options.paths
    print(f"{total:,} paths of {DAYS} days in {options.calls} calls: {seconds:.2f} s, {job.cost:.6f} USD at Lambda's prices")

    prices, errors = estimates(sums, squares, options.paths)
    good = check(prices[-1], errors[-1])
    draw(prices, errors, options.paths, options.plot)
    job.plot(options.timeline)
    print(f"\n{options.plot}: how the prices settle. {options.timeline}: when each call ran.")
    if not good:
        print(f"A price is more than {ERRORS_MAX:.0f} standard errors off.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
