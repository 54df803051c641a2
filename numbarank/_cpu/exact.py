"""Sums that keep their rounding errors, for the loops over groups."""

import math

import numpy as np

from numbarank import _exact
from numbarank._cpu.compiler import part
from numbarank._cpu.memory import lane, lanes, write

RUNNING = 16  # sums side by side, so that none waits for the one before
scaled, two_sum, two_product = map(part, (_exact.scaled, _exact.two_sum, _exact.two_product))


@part
def added(high, low, more):
    """Return a sum, and the sum of its rounding errors, after one more."""
    high, error = two_sum(high, more)
    return high, low + error


@part
def rounded(high, low):
    """Return a sum with its rounding errors, unless these are not finite."""
    return high + low if low - low == 0 else high


@part
def sum_up(numbers, count):
    """Return the sum of numbers, added in their order whoever computed them."""
    high = low = 0.0
    for k in range(count):
        high, low = added(high, low, numbers[k])
    return rounded(high, low)


@part
def slopes_times_scores(slopes, scores, rows, first, last):
    """Return the sum of the products of some rows in two numbers, as if computed with twice the bits.

    Without ``rows``, the scores stand in the order of the slopes.
    """
    highs, lows = lanes(1.0), lanes(1.0)
    aligned = first + (last - first) // RUNNING * RUNNING
    for start in range(first, aligned, RUNNING):
        for k in range(RUNNING):
            row = start + k if rows is None else rows[start + k]
            product, lost = two_product(slopes[start + k], np.float64(scores[row]))
            high, error = two_sum(lane(highs, k), product)
            write(highs, k, high)
            write(lows, k, lane(lows, k) + (error + lost))
    high = low = 0.0
    for k in range(RUNNING):
        high, error = two_sum(high, lane(highs, k))
        low += error + lane(lows, k)
    for i in range(aligned, last):
        row = i if rows is None else rows[i]
        product, lost = two_product(slopes[i], np.float64(scores[row]))
        high, error = two_sum(high, product)
        low += error + lost
    return high, low


@part
def loss_of_counts(margin, active, high, low):
    """Return the hinge loss of all pairs from their active number and the sum of the products of slopes and scores.

    The loss is homogeneous in scores and margin together, and so the sum of each times its own slope (Euler). That
    cancels where the scores have much in common, hence the bits.
    """
    product, lost = two_product(np.float64(margin), np.float64(active))
    high, error = two_sum(product, high)
    low += error + lost
    loss = rounded(high, low)
    return 0.0 if loss < 0 else loss


def sum_rounded_once(numbers):
    """Return the sum of numbers, rounded once."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # infinite on the way, or at last
        return float(np.sum(numbers))
