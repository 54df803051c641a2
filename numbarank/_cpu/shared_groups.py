"""All pairs of one long group, found by sorting: Python strings the phases together, and all threads share each.

What they share does not depend on how many they are: first so many runs of blocks are each merged by one task, then
every merge of two runs is split into pieces.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from numbarank import _exact
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import slopes_times_scores
from numbarank._cpu.memory import are_given, pointers, size_of
from numbarank._cpu.merging import (
    Runs,
    Sums,
    add_counts,
    add_losers,
    add_winners,
    bounds,
    find_ends,
    levels_of,
    merge_piece,
    run_merger,
    start_run,
)
from numbarank._cpu.sorting import fill_keys, part_of, sort_together
from numbarank._cpu.tasks import run_tasks

PIECES = 32


# ---------------------------------------------------------------- rows in the order of label and score


class Keys(NamedTuple):
    numbers: Any
    rows: Any
    keys: Any
    bits: Any
    size: Any


@part
def _fill_piece(work, piece):
    first, last = part_of(0, work.size, piece, PIECES)
    work.bits[piece] = fill_keys(work.numbers, work.rows, work.keys, first, last)


def _fill(numbers, rows, keys, bits, launch):
    work = Keys(*pointers((numbers, rows, keys, bits)), size_of(keys))
    run_tasks(_fill_piece, work, PIECES, launch)


_fill_keys = CompiledLoop("fill keys", _fill, ("numbers", "rows"))


def _filled(numbers, rows, keys, launch):
    """Set the keys to those of the rows' numbers; return the bits in which any two differ."""
    bits = np.empty(PIECES, np.uint64)
    _fill_keys(numbers.dtype, numbers, rows, keys, bits, launch)
    return int(np.bitwise_or.reduce(bits))


class Order(NamedTuple):
    """The rows of a group in the order of label and score, where each block of equal label starts, and all pairs."""

    rows: np.ndarray
    starts: np.ndarray
    pairs: float


def order_rows(scores, labels, weights, where, launch):
    """Return the order of the rows that take part."""
    rows = np.arange(len(scores), dtype=np.int32)
    if weights.size or where.size:
        rows = rows[(weights > 0 if weights.size else True) & (where != 0 if where.size else True)]
    keys = np.empty(len(rows), np.uint64)
    if len(rows) == 0 or _filled(labels, rows, keys, launch) == 0:
        return Order(rows, np.zeros(1, np.int32), 0.0)
    pieces = 1 if launch == 0 else PIECES // 4
    for numbers in (scores, labels):
        bits = _filled(numbers, rows, keys, launch)
        keys, rows = sort_together(keys, rows, bits, pieces, launch)
    firsts = np.flatnonzero(keys[1:] != keys[:-1])
    starts = np.empty(len(firsts) + 2, np.int32)
    starts[0], starts[-1] = 0, len(rows)
    np.add(firsts, 1, out=starts[1:-1], casting="unsafe")
    del keys, firsts
    return Order(rows, starts, _weight_of_pairs(rows, weights, starts))


def _weight_of_pairs(rows, weights, starts):
    """Return the sum of the weights of all pairs; without weights that is the number of pairs."""
    blocks = np.add.reduceat(weights[rows], starts[:-1]) if weights.size else np.diff(starts).astype(np.float64)
    pairs = np.cumsum(blocks)
    pairs -= blocks
    pairs *= blocks
    return float(pairs.sum())


# ---------------------------------------------------------------- merging


class Work(NamedTuple):
    """What the tasks of a phase share."""

    scores: Any
    runs: Any
    spare: Any
    sums: Any
    starts: Any
    blocks: Any
    width: Any
    levels: Any
    margin: Any
    is_squared: Any
    totals: Any


@part
def _work(
    scores, weights, run_scores, run_items, spare_scores, spare_items, slopes, counts, rows, starts, totals, width,
    levels, margin, is_squared,
):  # fmt: skip
    """Return what the tasks share, of the arrays of a group."""
    counts_, rows_, weights_ = pointers((counts, rows, weights))
    has_counts, has_weights = are_given((counts, weights))
    scores_, slopes_, starts_, totals_ = pointers((scores, slopes, starts, totals))
    return Work(
        scores_,
        Runs(*pointers((run_scores, run_items))),
        Runs(*pointers((spare_scores, spare_items))),
        Sums(slopes_, counts_, rows_, weights_, has_counts, has_weights),
        starts_,
        size_of(starts) - 1,
        width,
        levels,
        margin,
        is_squared,
        totals_,
    )


def _phase(name, task):
    """Return the loop that runs a task many times on a group."""

    def loop(
        scores, weights, run_scores, run_items, spare_scores, spare_items, slopes, counts, rows, starts, totals, width,
        levels, margin, is_squared, tasks, launch,
    ):  # fmt: skip
        work = _work(
            scores, weights, run_scores, run_items, spare_scores, spare_items, slopes, counts, rows, starts, totals,
            width, levels, margin, is_squared,
        )  # fmt: skip
        run_tasks(task, work, tasks, launch)

    return CompiledLoop(name, loop, ("scores", "weights"))


def _run_merging(wants_sums):
    merge_run = run_merger(wants_sums)

    @part
    def merge_one_run(work, run):
        begin, end = run << work.levels, (run + 1) << work.levels
        end = end if end < work.blocks else work.blocks
        start_run(work.scores, work.runs, work.sums, np.int64(work.starts[begin]), np.int64(work.starts[end]))
        work.totals[run] = merge_run(
            work.runs, work.spare, work.starts, begin, end, work.levels, False, work.margin, work.is_squared, work.sums
        )

    return _phase(f"merge runs {wants_sums}", merge_one_run)


@part
def _count_piece(work, task):
    piece, spare = task % PIECES, work.spare
    start, middle, stop = bounds(work.starts, task // PIECES * 2 * work.width, work.width, work.blocks)
    work.totals[task] = 0.0
    if middle < stop:
        find_ends(work.runs.scores, start, middle, stop, work.margin, spare.items, piece, PIECES)
        work.totals[task] = add_counts(work.runs, start, middle, stop, spare.items, work.sums, piece, PIECES)


@part
def _find_piece(work, task):
    start, middle, stop = bounds(work.starts, task // PIECES * 2 * work.width, work.width, work.blocks)
    if middle < stop:
        find_ends(work.runs.scores, start, middle, stop, work.margin, work.spare.items, task % PIECES, PIECES)


@part
def _sum_side(work, task):
    """Add up one side of a merge: that of the winners, or that of the losers."""
    runs, ends, sums = work.runs, work.spare.items, work.sums
    start, middle, stop = bounds(work.starts, task // 2 * 2 * work.width, work.width, work.blocks)
    work.totals[task] = 0.0
    if middle < stop and task % 2 == 0:
        work.totals[task] = add_winners(runs, start, middle, stop, ends, work.margin, work.is_squared, sums)
    elif middle < stop:
        add_losers(runs, start, middle, stop, ends, work.margin, work.is_squared, sums)


@part
def _merge_piece(work, task):
    start, middle, stop = bounds(work.starts, task // PIECES * 2 * work.width, work.width, work.blocks)
    merge_piece(work.runs, work.spare, start, middle, stop, task % PIECES, PIECES)


@part
def _multiply_piece(work, piece):
    """Add up the products of slopes and scores of a piece of the rows."""
    first, last = part_of(0, np.int64(work.starts[work.blocks]), piece, PIECES)
    high, low = slopes_times_scores(work.sums.slopes, work.scores, work.sums.rows, first, last)
    work.totals[piece], work.totals[PIECES + piece] = high, low


_merge_counting, _merge_summing = _run_merging(False), _run_merging(True)
_count_level, _merge_level = _phase("count level", _count_piece), _phase("merge level", _merge_piece)
_find_level, _sum_level = _phase("find level", _find_piece), _phase("sum level", _sum_side)
_multiply = _phase("multiply", _multiply_piece)


def loss(order, scores, weights, margin, power, slopes, counts, launch):
    """Fill the slopes of the rows, in their order, and the counts where they stand; return the loss of all pairs."""
    size, blocks = len(order.rows), len(order.starts) - 1
    counts[:] = 0
    slopes[:] = 0
    if blocks < 2:
        return 0.0
    wants_sums = power == 2 or weights.size > 0
    runs, spare = (Runs(np.empty(size, scores.dtype), np.empty(size, np.int32)) for _ in range(2))
    totals = np.zeros(2 * PIECES * PIECES)

    def run(phase, tasks, width=0, levels=0):
        phase(
            scores.dtype, scores, weights, *runs, *spare, slopes, counts, order.rows, order.starts, totals, width,
            levels, margin, power == 2, tasks, launch,
        )  # fmt: skip
        return float(np.sum(totals[:tasks]))

    levels = max(0, levels_of(blocks) - levels_of(PIECES))
    total = run(_merge_summing if wants_sums else _merge_counting, -(-blocks >> levels), levels=levels)
    if levels % 2 == 1:
        runs, spare = spare, runs
    width = 1 << levels
    while width < blocks:
        merges = -(-blocks // (2 * width))
        if wants_sums:
            run(_find_level, merges * PIECES, width)
            total += run(_sum_level, 2 * merges, width)
        else:
            total += run(_count_level, merges * PIECES, width)
        if 2 * width < blocks:
            run(_merge_level, merges * PIECES, width)
        runs, spare = spare, runs
        width *= 2
    if wants_sums:
        return total
    run(_multiply, PIECES)
    return _loss_of_products(margin, total, totals)


def _loss_of_products(margin, active, totals):
    """Return the hinge loss from the active pairs and the products of slopes and scores, as ``loss_of_counts`` does."""
    high = low = 0.0
    for piece in range(PIECES):
        high, error = _exact.two_sum(high, float(totals[piece]))
        low += error + float(totals[PIECES + piece])
    product, lost = _exact.two_product(float(margin), active)
    high, error = _exact.two_sum(product, high)
    low += error + lost
    return max(high + low if math.isfinite(low) else high, 0.0)
