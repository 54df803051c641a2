"""Measure from which size on parallel loops, and loops for large inputs, are faster on this machine.

For each size the same call is timed both ways, side by side. The two constants stand in numbarank/_cpu/pairs.py:
PARALLEL_FROM, above which loops take all threads, and LARGE_FROM, above which they ask for memory ahead and write
past the caches.
"""

import argparse
import functools
import math

import numpy as np
from contestants import FLOAT32, MARGIN, Pairs
from races import sets_of_buffers
from tables import counted
from timing import Contender, interleave

import numbarank as nr
from numbarank._cpu import pairs as loops

RANGES = {"PARALLEL_FROM": (10_000, 320_000), "LARGE_FROM": (250_000, 16_000_000)}
ALWAYS, NEVER = 0, math.inf


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each comparison takes (default 1)")
    seconds = parser.parse_args().seconds
    for constant, (low, high) in RANGES.items():
        print(f"\n{constant} is {getattr(loops, constant):,}; below, the time with it on, over the time with it off")
        print(f"{'':<20}{'forward':>20}{'with gradients, out=':>24}")
        for size in [low << k for k in range(int(math.log2(high / low)) + 1)]:
            forward, gradients = (speedup(constant, work, size, seconds) for work in ("forward", "gradients"))
            print(f"{counted(size):<20}{forward:>20.2f}{gradients:>24.2f}", flush=True)


def speedup(constant, work, size, seconds):
    """Return the time of a call with a kind of loop always on, as a part of that with it never on."""
    sets = [
        Pairs.random(size, FLOAT32, seed) for seed in range(sets_of_buffers(size * FLOAT32.bytes_a_pair(work), "cpu"))
    ]
    calls = [prepared(work, pairs) for pairs in sets]
    contenders = [
        Contender(str(value), [functools.partial(with_constant, constant, value, call) for call in calls])
        for value in (ALWAYS, NEVER)
    ]
    on, off = (np.median(per_call) for per_call in interleave(contenders, seconds))
    return on / off


def prepared(work, pairs):
    """Return a call of the loss, or of the loss with gradients into buffers."""
    inputs = (pairs.x1, pairs.x2, pairs.y, MARGIN)
    if work == "forward":
        return functools.partial(nr.margin_ranking_loss, *inputs)
    return functools.partial(nr.margin_ranking_loss_and_grad, *inputs, out=[np.ones_like(x) for x in inputs[:2]])


def with_constant(constant, value, call):
    """Make a call while a constant of the loops has another value."""
    chosen = getattr(loops, constant)
    setattr(loops, constant, value)
    try:
        return call()
    finally:
        setattr(loops, constant, chosen)


if __name__ == "__main__":
    main()
