"""Measure from which size on parallel loops, loops for large inputs and sorting are faster on this machine.

For each size the same call is timed both ways, side by side. The constants stand in numbarank/_cpu: PARALLEL_FROM of
pairs.py and of groups.py, above which loops take all threads; LARGE_FROM of pairs.py, above which they ask for memory
ahead and write past the caches; PAIRS_PER_ROW and PAIRS_PER_ROW_OF_SUMS of every_pair.py, up to which every pair of a
group is looked at. Sizes are pairs, or the rows of lists, or the pairs per row of one list.
"""

import argparse
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from bench.goals import ratio
from bench.pairs import FLOAT32, MARGIN, Pairs
from bench.sweep import sets_of_buffers
from bench.timing import Candidate, interleave

import numbarank as nr
from numbarank._cpu import every_pair, groups, pairs

LEVELS = 5


class Threshold(NamedTuple):
    """A constant, and two values of it that turn a strategy on and off for all sizes of interest."""

    module: Any
    name: str
    on: float
    off: float
    low: int
    high: int
    works: dict[str, Callable]

    @property
    def sizes(self):
        """The lowest size, and its doubles up to the highest."""
        return [self.low << k for k in range(int(math.log2(self.high / self.low)) + 1)]


def forward(size):
    """Return calls of the loss, on as many inputs as the caches do not hold."""
    return [functools.partial(nr.margin_ranking_loss, *inputs) for inputs in random_pairs(size, "forward")]


def gradients(size):
    """Return calls of the loss with gradients into buffers."""
    return [
        functools.partial(nr.margin_ranking_loss_and_grad, *inputs, out=[np.ones_like(x) for x in inputs[:2]])
        for inputs in random_pairs(size, "gradients")
    ]


def random_pairs(size, work):
    """Return sets of arguments."""
    sets = sets_of_buffers(size * FLOAT32.bytes_per_pair(work), "cpu")
    return [
        (given.x1, given.x2, given.y, MARGIN) for given in (Pairs.random(size, FLOAT32, seed) for seed in range(sets))
    ]


def lists(size, length, dtype=np.float32, power=1):
    """Return a call of the loss of all pairs, with its gradient, of lists of a length with graded labels."""
    rng = np.random.default_rng(0)
    group = nr.Groups(group=[length] * (size // length))
    scores, labels = rng.standard_normal(group.rows).astype(dtype), rng.integers(LEVELS, size=group.rows).astype(dtype)
    return [functools.partial(nr.pairwise_hinge_loss_and_grad, scores, labels, group=group, power=power)]


def one_list(pairs_per_row, dtype, power):
    """Return a call for one list that has about so many pairs per row."""
    rows = round(pairs_per_row * 2 / (1 - 1 / LEVELS))
    return lists(rows, rows, dtype, power)


PAIRS = {"forward": forward, "with gradients, out=": gradients}
LISTS = {f"lists of {length:,}": functools.partial(lists, length=length) for length in (10, 100, 1000)}
HINGE, SQUARED_HINGE = (
    {
        f"power {power}, {dtype.__name__}": functools.partial(one_list, dtype=dtype, power=power)
        for dtype in (np.float32, np.float64)
    }
    for power in (1, 2)
)
THRESHOLDS = (
    Threshold(pairs, "PARALLEL_FROM", 0, math.inf, 10_000, 320_000, PAIRS),
    Threshold(pairs, "LARGE_FROM", 0, math.inf, 250_000, 16_000_000, PAIRS),
    Threshold(groups, "PARALLEL_FROM", 0, math.inf, 1_000, 64_000, LISTS),
    Threshold(every_pair, "PAIRS_PER_ROW", 10**6, 0, 25, 1600, HINGE),
    Threshold(every_pair, "PAIRS_PER_ROW_OF_SUMS", 10**6, 0, 25, 1600, SQUARED_HINGE),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each comparison takes (default 1)")
    seconds = parser.parse_args().seconds
    for threshold in THRESHOLDS:
        where = f"{threshold.name} of {threshold.module.__name__.rpartition('.')[2]}.py"
        chosen = getattr(threshold.module, threshold.name)
        print(f"\n{where} is {chosen:,}; below, the time with it on, over the time with it off")
        print(f"{'':<10}" + "".join(f"{work:>22}" for work in threshold.works))
        for size in threshold.sizes:
            ratios = [speedup(threshold, calls(size), seconds) for calls in threshold.works.values()]
            print(f"{size:<10,}" + "".join(f"{each:>22.2f}" for each in ratios), flush=True)


def speedup(threshold, calls, seconds):
    """Return the time of a call with a strategy always on, as a part of that with it never on."""
    candidates = [
        Candidate(value, [functools.partial(with_value, threshold, value, call) for call in calls])
        for value in (threshold.on, threshold.off)
    ]
    return ratio(interleave(candidates, seconds), threshold.on, threshold.off)


def with_value(threshold, value, call):
    """Make a call while a constant of the loops has another value."""
    chosen = getattr(threshold.module, threshold.name)
    setattr(threshold.module, threshold.name, value)
    try:
        return call()
    finally:
        setattr(threshold.module, threshold.name, chosen)


if __name__ == "__main__":
    main()
