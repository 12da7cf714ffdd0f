"""Init code that takes about a second: it runs once per version, in the zygote, and each call gets a clone of its result."""

import time

STARTED = time.monotonic()

# Primes below a bound that grows until a second has passed: real work, not a sleep.
PRIMES = [2]
candidate = 3
while time.monotonic() - STARTED < 1.0:
    if all(candidate % prime for prime in PRIMES if prime * prime <= candidate):
        PRIMES.append(candidate)
    candidate += 2

INIT_SECONDS = time.monotonic() - STARTED


def handler(event, context):
    """event: {"index": n}; returns the n-th prime and what init cost."""
    return {"prime": PRIMES[event["index"]], "primes": len(PRIMES), "init_seconds": round(INIT_SECONDS, 3)}
