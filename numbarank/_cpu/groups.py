"""All pairs of every query group: serial or parallel, with the same bits either way.

Of a group with few pairs, every pair is looked at; the rows of others are sorted; all threads share a long one.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import prange

from numbarank._cpu import every_pair, sorted_groups, threads
from numbarank._cpu.exact import scaled, sum_up
from numbarank._cpu.kernels import Kernel, inline
from numbarank._cpu.memory import borrowed
from numbarank._cpu.sorting import loop, number_rows, part_of

LONGEST = 2**31 - 1  # rows of a group are numbered with 32 bits
TOGETHER_FROM = 32_768
PARALLEL_FROM = TOGETHER_FROM  # where a thread of the pool is woken on this one's core, milliseconds are lost
EVERY_PAIR, SORTED, TOGETHER = range(3)
_compiled = {}


def run(formula, scores, labels, weights, where, groups, margin, power, is_mean, upstream, losses, gradient, counts):
    """Walk over all pairs of every group, fill the buffers given and return the total.

    Parameters
    ----------
    formula : GroupFormula
    scores : C-contiguous float32 or float64 array
    labels : array of the same shape, of a dtype for which ``label_dtype`` is the identity
    weights : float64 array of the same shape, or None
    where : bool array of the same shape, or None
        False for rows that take no part.
    groups : Groups
    margin : float
    power : 1 or 2
    is_mean : bool
        Whether total and upstream gradient are divided by the number of pairs, or by the sum of their weights.
    upstream : float, or a float64 array with one number a group
    losses : float64 array to fill with one sum a group, or None
    gradient : array of the scores' shape and dtype to fill, or None
    counts : float64 array of the scores' shape to fill with the active pairs of each row, or None

    Returns
    -------
    total : float64 array without axes
    fault : int
        The first row with a score, label or weight that cannot be computed with: nothing was written then. Or -1.
    """
    absent = _absent(scores.dtype)
    is_parallel = scores.size >= PARALLEL_FROM and threads.may_run_parallel()
    is_counted = power == 1 and weights is None
    pairs_a_row = every_pair.PAIRS_A_ROW if is_counted else every_pair.PAIRS_A_ROW_OF_SUMS
    arguments = (
        _flat(scores),
        _flat(labels),
        absent.numbers if weights is None else _flat(weights),
        absent.flags if where is None else _flat(where),
        groups.offsets,
        np.array([upstream]) if type(upstream) is float else upstream,
        scores.dtype.type(margin),
        power == 2,
        is_mean,
        np.empty(len(groups)) if losses is None else losses,
        absent.scores if gradient is None else _flat(gradient),
        absent.numbers if counts is None else _flat(counts),
        np.empty(numba.get_num_threads() if is_parallel else 1, np.int64),
        np.int64(pairs_a_row),
    )
    key = formula, scores.dtype, labels.dtype, last_kind(groups.longest, pairs_a_row), is_parallel
    walk = _compiled.get(key)
    if walk is None:
        walk = _compiled[key] = kernel(formula, *key[3:]).compile(arguments)
    total, fault = walk(*arguments)
    return np.array(total), fault


def label_dtype(dtype):
    """Return the dtype in which the loops take labels of a dtype: one of the four that hold all others."""
    if dtype.kind == "u" and dtype.itemsize == 8:
        return np.dtype(np.uint64)
    if dtype.kind in "iub":
        return np.dtype(np.int64)
    return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)


def last_kind(longest, pairs_a_row):
    """Return the last of the kinds that groups of up to so many rows are walked over in."""
    if longest >= TOGETHER_FROM:
        return TOGETHER
    return SORTED if longest > 2 * pairs_a_row else EVERY_PAIR


class Absent(NamedTuple):
    """Arrays without elements, for what is not given or not wanted: one compilation serves with and without."""

    scores: np.ndarray
    numbers: np.ndarray
    flags: np.ndarray


@functools.cache
def _absent(dtype):
    return Absent(np.empty(0, dtype), np.empty(0), np.empty(0, np.bool_))


def _flat(array):
    return array if array.ndim == 1 else array.reshape(-1)


class Rows(NamedTuple):
    """What is given of the rows of all groups."""

    scores: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    where: np.ndarray


class Results(NamedTuple):
    """What is found of each group and of each row; ``units`` are what a group's gradient was divided by at first."""

    losses: np.ndarray
    pairs: np.ndarray
    units: np.ndarray
    kinds: np.ndarray
    gradient: np.ndarray
    counts: np.ndarray


class Order(NamedTuple):
    """The rows of the groups that are sorted, in the order of label and score, and how many blocks of equal label."""

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    blocks: np.ndarray


@inline
def _is_sound(given, row):
    """Tell whether a row can be computed with, or takes no part."""
    score, label = given.scores[row], given.labels[row]
    is_finite = (score - score == 0) & (label - label == 0)
    is_weighed = given.weights.size == 0 or ((given.weights[row] >= 0) & (given.weights[row] < np.inf))
    return (given.where.size > 0 and not given.where[row]) or (is_finite and is_weighed)


@inline
def _has_nonfinite(numbers):
    """Tell whether any number is not finite."""
    has_nonfinite = False
    for k in range(len(numbers)):
        has_nonfinite |= numbers[k] - numbers[k] != 0
    return has_nonfinite


@inline
def _has_negative(numbers):
    has_negative = False
    for k in range(len(numbers)):
        has_negative |= numbers[k] < 0
    return has_negative


@loop
def _first_fault(given, part, parts):
    """Return the first of a part of the rows that cannot be computed with, or -1."""
    first, last = part_of(0, len(given.scores), part, parts)
    weights = given.weights[first:last]
    may_have_fault = _has_nonfinite(given.scores[first:last]) | _has_nonfinite(given.labels[first:last])
    if may_have_fault | _has_nonfinite(weights) | _has_negative(weights):
        for row in range(first, last):
            if not _is_sound(given, row):
                return row
    return -1


@loop
def _first_of(chunk, chunks, offsets):
    """Return the first group that starts in a chunk of the rows or behind it."""
    low, high = 0, len(offsets) - 1
    while low < high and chunk > 0:
        group = (low + high) // 2
        if offsets[group] * chunks < offsets[-1] * chunk:
            low = group + 1
        else:
            high = group
    return low if chunk < chunks else len(offsets) - 1


@inline
def _groups_in(chunk, chunks, offsets):
    return range(_first_of(chunk, chunks, offsets), _first_of(chunk + 1, chunks, offsets))


@inline
def _longest_alone(chunk, chunks, offsets):
    longest = 0
    for group in _groups_in(chunk, chunks, offsets):
        rows = offsets[group + 1] - offsets[group]
        longest = max(longest, rows if rows < TOGETHER_FROM else 0)
    return longest


@inline
def _rows_of(group, offsets, given):
    first, last = offsets[group], offsets[group + 1]
    return given.scores[first:last], given.labels[first:last], given.weights[first:last], given.where[first:last]


@inline
def _results_of(group, offsets, results):
    first, last = offsets[group], offsets[group + 1]
    return results.gradient[first:last], results.counts[first:last]


@functools.cache
def _first_walker(formula):
    """Return the loop that tells the kinds of a chunk's groups, and walks over those of which it looks at every pair.

    It leaves gradients that are yet to be divided.
    """
    walk_pairs = every_pair.walker(formula)

    @loop
    def walk(chunk, chunks, offsets, given, margin, is_squared, is_mean, upstream, results, bench, pairs_a_row):
        given, results, bench = borrowed(given), borrowed(results), borrowed(bench)
        for group in _groups_in(chunk, chunks, offsets):
            scores, labels, weights, where = _rows_of(group, offsets, given)
            kind = TOGETHER
            if len(labels) < TOGETHER_FROM:
                blocks = every_pair.order(bench, labels, weights, where)
                kind = EVERY_PAIR if every_pair.has_few_pairs(bench, blocks, pairs_a_row) else SORTED
            if kind == EVERY_PAIR:
                gradient, counts = _results_of(group, offsets, results)
                loss, pairs = walk_pairs(bench, blocks, scores, weights, margin, is_squared)
                is_summed = is_squared or weights.size > 0  # sums may exceed float32 where their mean does not
                unit = pairs if is_mean and is_summed and pairs > 0 else 1.0
                factor = 1 / unit if is_mean else upstream[group % len(upstream)]
                every_pair.write_rows(bench, blocks, factor, gradient, counts)
                results.losses[group], results.pairs[group], results.units[group] = loss, pairs, unit
            results.kinds[group] = kind

    return walk


def _sorting_walkers(order, finish):
    """Return the loop that puts a group in order, and the one that walks over it then."""

    @loop
    def order_group(group, offsets, given, ordered, results):
        scores, labels, weights, where = _rows_of(group, offsets, given)
        first, last = offsets[group], offsets[group + 1]
        rows, starts = ordered.rows[first:last], ordered.starts[first + group : last + group + 1]
        size = number_rows(where, weights, rows)
        ordered.sizes[group] = size
        ordered.blocks[group], results.pairs[group] = order(scores, labels, weights, rows[:size], starts)

    @loop
    def walk_group(group, offsets, given, ordered, margin, is_squared, factor, results):
        scores, _, weights, _ = _rows_of(group, offsets, given)
        gradient, counts = _results_of(group, offsets, results)
        first, last = offsets[group], offsets[group + 1]
        rows = ordered.rows[first : first + ordered.sizes[group]]
        starts = ordered.starts[first + group : last + group + 1]
        results.losses[group] = finish(
            scores, weights, rows, starts, ordered.blocks[group], margin, is_squared, factor, gradient, counts
        )

    return order_group, walk_group


@functools.cache
def kernel(formula, last, is_parallel):
    """Return the walk over all groups, ready to be compiled, without what groups beyond the last kind would need."""
    walk_first = _first_walker(formula)
    order_alone, walk_alone = _sorting_walkers(*sorted_groups.walker(formula))
    order_together, walk_together = _sorting_walkers(*sorted_groups.team_walker(formula, is_parallel))
    has_sorted, has_long = last != EVERY_PAIR, last == TOGETHER

    def walk(
        scores, labels, weights, where, offsets, upstream, margin, is_squared, is_mean, losses, gradient, counts,
        faults, pairs_a_row,
    ):  # fmt: skip
        groups, chunks = len(offsets) - 1, len(faults)
        given = Rows(scores, labels, weights, where)
        results = Results(losses, np.zeros(groups), np.empty(groups), np.empty(groups, np.int8), gradient, counts)
        for chunk in prange(chunks):
            faults[chunk] = _first_fault(given, chunk, chunks)
        for fault in faults:
            if fault >= 0:
                return 0.0, fault

        for chunk in prange(chunks):
            bench = every_pair.bench(scores, labels, _longest_alone(chunk, chunks, offsets))
            walk_first(
                chunk, chunks, offsets, given, margin, is_squared, is_mean, upstream, results, bench, pairs_a_row
            )
        if has_sorted:
            ordered = Order(
                np.empty(len(scores), np.int32),
                np.empty(len(scores) + groups, np.int32),
                np.empty(groups, np.int64),
                np.empty(groups, np.int64),
            )
            for chunk in prange(chunks):
                for group in _groups_in(chunk, chunks, offsets):
                    if results.kinds[group] == SORTED:
                        order_alone(group, offsets, given, ordered, results)
        if has_long:
            for group in range(groups):
                if results.kinds[group] == TOGETHER:
                    order_together(group, offsets, given, ordered, results)

        all_pairs = sum_up(results.pairs)
        divisor = all_pairs if is_mean and all_pairs > 0 else 1.0
        if is_mean and gradient.size > 0:
            for chunk in prange(chunks):
                for group in _groups_in(chunk, chunks, offsets):
                    if results.kinds[group] == EVERY_PAIR:
                        factor = upstream[group % len(upstream)] * (results.units[group] / divisor)
                        for row in range(offsets[group], offsets[group + 1]):
                            gradient[row] = scaled(np.float64(gradient[row]), factor)
        if has_sorted:
            for chunk in prange(chunks):
                for group in _groups_in(chunk, chunks, offsets):
                    if results.kinds[group] == SORTED:
                        factor = upstream[group % len(upstream)] / divisor
                        walk_alone(group, offsets, given, ordered, margin, is_squared, factor, results)
        if has_long:
            for group in range(groups):
                if results.kinds[group] == TOGETHER:
                    factor = upstream[group % len(upstream)] / divisor
                    walk_together(group, offsets, given, ordered, margin, is_squared, factor, results)
        return sum_up(losses) / divisor, -1

    return Kernel(f"{formula.violation.__module__} {last} {is_parallel}", walk, 5, is_parallel)
