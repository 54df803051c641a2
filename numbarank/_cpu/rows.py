"""The rows of query groups: which take part, which group they belong to, and how its pairs are found."""

from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import part
from numbarank._cpu.exact import added, rounded

LONG_FROM = 32_768  # rows of a group that is sorted without a count of its pairs
EVERY_PAIR, FEW_WINNERS, SORTED, UNSORTED = range(4)  # how the pairs of a group are found


class Rows(NamedTuple):
    """What is given of the rows: pointers, or whether there are such arrays."""

    scores: Any
    labels: Any
    weights: Any
    where: Any


@part
def first_group(chunk, chunks, offsets, groups):
    """Return the first group that starts in a chunk of the rows or behind it."""
    low, high = 0, groups
    while low < high and chunk > 0:
        group = (low + high) // 2
        if offsets[group] * chunks < offsets[groups] * chunk:
            low = group + 1
        else:
            high = group
    return low if chunk < chunks else groups


@part
def takes_part(given, has, row):
    """Tell whether a row takes part: one of the mask, if there is one, that weighs something."""
    is_part = True
    if has.where:
        is_part = given.where[row] != 0
    if has.weights:
        is_part &= given.weights[row] > 0
    return is_part


@part
def number_rows(given, has, count, rows):
    """Number the rows that take part; return how many."""
    size = 0
    for row in range(count):
        rows[size] = row
        size += takes_part(given, has, row)
    return size


@part
def weight_of_pairs(rows, weights, has_weights, starts, blocks):
    """Return the sum of the weights of all pairs of blocks; without weights that is the number of pairs."""
    pairs = pairs_low = below = below_low = 0.0
    for block in range(blocks):
        weight, weight_low = np.float64(starts[block + 1] - starts[block]), 0.0
        if has_weights:
            weight = 0.0
            for i in range(starts[block], starts[block + 1]):
                weight, weight_low = added(weight, weight_low, weights[rows[i]])
        weight = rounded(weight, weight_low)
        pairs, pairs_low = added(pairs, pairs_low, rounded(below, below_low) * weight)
        below, below_low = added(below, below_low, weight)
    return rounded(pairs, pairs_low)
