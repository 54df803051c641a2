"""All pairs of a group, each looked at: many at a time in vector registers, and so faster than a sort if they are few.

The rows are put in the order of their labels, so that a block of winners, rows of equal label, meets those before it.
"""

from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import RUNNING, loss_of_counts, scaled, slopes_times_scores, sum_up
from numbarank._cpu.memory import are_given, lane, lanes, moved, pointer_into, pointers, read, size_of, stack_of, write
from numbarank._cpu.rows import (
    EVERY_PAIR,
    FEW_WINNERS,
    LONG_FROM,
    SORTED,
    UNSORTED,
    Rows,
    first_group,
    number_rows,
    weight_of_pairs,
)
from numbarank._cpu.sorting import fill_keys, find_blocks, sort_keys
from numbarank._cpu.tasks import run_tasks
from numbarank._hinge import violation

PAIRS_PER_ROW = 500
PAIRS_PER_ROW_OF_SUMS = 90  # where more than counts is added up, which fills more registers
PADDING = 32  # rows of the widest register or two, and a multiple of RUNNING
LOWEST_GRADE, GRADES = -32, 64  # rows whose labels are one of so many whole numbers are counted, others sorted
_violation = part(violation)


class Order(NamedTuple):
    """The workspace in which rows are put in the order of their labels: a place for each row that takes part."""

    rows: Any
    spare_rows: Any
    starts: Any
    grades: Any
    labels: Any
    keys: Any
    spare_keys: Any


class Counts(NamedTuple):
    """The workspace in which active pairs are counted, by rows in the order of their labels.

    ``losers`` are the scores of the rows of lower labels, and elsewhere one that no winner lacks a distance to.
    """

    scores: Any
    losers: Any
    won: Any
    lost: Any
    slopes: Any
    active: Any


class Sums(NamedTuple):
    """The workspace in which weights and violations are added up, by rows in the order of their labels.

    Each row should win against those before its ``below`` and lose against those from its ``above`` on.
    """

    scores: Any
    weights: Any
    below: Any
    above: Any
    slopes: Any
    active: Any


WORKSPACES = 10  # parts of a thread's block, each of as many float64 numbers as a group has places


def places_for(longest):
    """Return how many places the workspace for groups of up to so many rows has."""
    return _whole_registers(longest) + 2


def _whole_registers(size):
    return (size + PADDING - 1) // PADDING * PADDING


_padded = part(_whole_registers)


@part
def _order_workspace(block, places, labels):
    part_size, small = 8 * places, np.int32(0)
    return Order(
        rows=pointer_into(block, 0, small),
        spare_rows=pointer_into(block, part_size // 2, small),
        starts=pointer_into(block, part_size, small),
        grades=pointer_into(block, part_size + part_size // 2, small),
        labels=pointer_into(block, 2 * part_size, labels),
        keys=pointer_into(block, 3 * part_size, np.uint64(0)),
        spare_keys=pointer_into(block, 4 * part_size, np.uint64(0)),
    )


@part
def _counts_workspace(block, places, scores):
    part_size, small = 8 * places, np.int32(0)
    return Counts(
        scores=pointer_into(block, 5 * part_size, scores),
        losers=pointer_into(block, 6 * part_size, scores),
        won=pointer_into(block, 7 * part_size, small),
        lost=pointer_into(block, 7 * part_size + part_size // 2, small),
        slopes=pointer_into(block, 8 * part_size, 0.0),
        active=pointer_into(block, 9 * part_size, 0.0),
    )


@part
def _sums_workspace(block, places, scores):
    part_size, small = 8 * places, np.int32(0)
    return Sums(
        scores=pointer_into(block, 5 * part_size, scores),
        weights=pointer_into(block, 6 * part_size, 0.0),
        below=pointer_into(block, 7 * part_size, small),
        above=pointer_into(block, 7 * part_size + part_size // 2, small),
        slopes=pointer_into(block, 8 * part_size, 0.0),
        active=pointer_into(block, 9 * part_size, 0.0),
    )


@part
def _fill(pointer, value, first, last):
    """Set some elements."""
    for i in range(first, last):
        pointer[i] = value


# ---------------------------------------------------------------- rows in the order of their labels


@part
def order_rows(given, has, count, order, sorter):
    """Put the rows that take part in the order of their labels; return how many they are, and of how many blocks.

    There are no blocks where rows have to be sorted and there is no sorter.
    """
    size = number_rows(given, has, count, order.spare_rows)
    for i in range(size):
        order.labels[i] = given.labels[order.spare_rows[i]]
    blocks = _order_by_grades(order, size)
    return size, (blocks if blocks > 0 or size == 0 or sorter == 0 else _order_by_keys(order, size, sorter))


@part
def _order_by_grades(order, size):
    """Order the rows by grades; return how many blocks these are, or 0 where a label is none."""
    labels, grades, rows, starts = order.labels, order.grades, order.rows, order.starts
    others = 0
    for i in range(size):
        label = np.float64(labels[i])
        within = label if label > LOWEST_GRADE else np.float64(LOWEST_GRADE)
        within = within if within < LOWEST_GRADE + GRADES - 1 else np.float64(LOWEST_GRADE + GRADES - 1)
        grade = np.int32(within)
        grades[i] = grade - np.int32(LOWEST_GRADE)
        others += grade != label
    if others > 0:
        return 0
    places = stack_of(GRADES, np.int32(0))
    _fill(places, np.int32(0), 0, GRADES)
    for i in range(size):
        places[grades[i]] += np.int32(1)
    blocks = place = 0
    for grade in range(GRADES):
        count, places[grade] = places[grade], np.int32(place)
        starts[blocks] = np.int32(place)
        blocks += count > 0
        place += count
    starts[blocks] = np.int32(size)
    for i in range(size):
        place = places[grades[i]]
        places[grades[i]] = np.int32(place + 1)
        rows[place] = order.spare_rows[i]
    return blocks


@part
def _order_by_keys(order, size, sorter):
    """Order the rows by any labels; return how many blocks these are."""
    bits = fill_keys(order.labels, None, order.keys, size)
    for i in range(size):
        order.rows[i] = order.spare_rows[i]
    sort_keys(sorter, order.keys, order.rows, order.spare_keys, order.spare_rows, size, bits)
    return find_blocks(order.keys, size, order.starts)


@part
def _has_few_pairs(starts, blocks, pairs_per_row):
    """Tell whether there are no more than so many pairs for each row that takes part."""
    pairs = 0
    for block in range(blocks):
        start, end = np.int64(starts[block]), np.int64(starts[block + 1])
        pairs += start * (end - start)
    return pairs <= pairs_per_row * starts[blocks]


# ---------------------------------------------------------------- active pairs, counted


@part
def _count_block(work, start, end, margin):
    """Count the active pairs of the winners of a block, two winners at a time."""
    scores, losers, won, lost = work.scores, work.losers, work.won, work.lost
    zero, nobody = type(margin)(0), type(margin)(np.inf)
    active = 0
    for first in range(start, end, 2):
        winner = scores[first]
        other = scores[first + 1] if first + 1 < end else nobody
        pairs = pairs_of_other = np.int32(0)
        for loser in range(_padded(start)):
            score = read(losers, loser)
            is_active = np.int32(_violation(winner, score, margin) >= zero)
            is_active_too = np.int32(_violation(other, score, margin) >= zero)
            write(lost, loser, np.int32(lane(lost, loser) + np.int32(is_active + is_active_too)))
            pairs = np.int32(pairs + is_active)  # 32 bits, as numba's own sum is not: twice as many a register
            pairs_of_other = np.int32(pairs_of_other + is_active_too)
        won[first], won[first + 1] = pairs, pairs_of_other
        active += pairs + pairs_of_other
    return active


@part
def _count(work, order, blocks, weights, has_weights, margin, is_squared):
    starts = order.starts
    size = np.int64(starts[blocks])
    _fill(work.lost, np.int32(0), 0, _padded(size))
    _fill(work.losers, type(margin)(-np.inf), 0, _padded(size))
    active = 0
    for block in range(blocks):
        start, end = np.int64(starts[block]), np.int64(starts[block + 1])
        active += _count_block(work, start, end, margin)
        for row in range(start, end):
            work.losers[row] = work.scores[row]
    for row in range(size):
        work.slopes[row] = np.float64(work.lost[row] - work.won[row])
        work.active[row] = np.float64(work.lost[row] + work.won[row])
    high, low = slopes_times_scores(work.slopes, work.scores, None, 0, size)
    return loss_of_counts(margin, active, high, low)


# ---------------------------------------------------------------- weights and violations, added up


@part
def _amounts(winner, loser, is_pair, margin):
    """Return 1 for an active pair and its violation, or else two zeros."""
    is_active = is_pair & (_violation(winner, loser, margin) >= type(margin)(0))
    z = _violation(np.float64(winner), np.float64(loser), np.float64(margin))
    return (1.0 if is_active else 0.0), (z if is_active & (z > 0) else 0.0)


@part
def _sum_few(work, first, is_squared, size, margin):
    """Add up all pairs of a few rows; return the loss of those that they should win."""
    slopes, active, losses = lanes(1.0), lanes(1.0), lanes(1.0)
    scores, weights, below, above = work.scores, work.weights, work.below, work.above
    last = (first + RUNNING if first + RUNNING < size else size) - 1
    for loser in range(below[last]):
        weight, score = weights[loser], scores[loser]
        for k in range(RUNNING):
            count, z = _amounts(scores[first + k], score, loser < below[first + k], margin)
            write(slopes, k, lane(slopes, k) - weight * (2 * z if is_squared else count))
            write(active, k, lane(active, k) + weight * count)
            write(losses, k, lane(losses, k) + weight * (z * z if is_squared else z))
    for winner in range(above[first], size):
        weight, score = weights[winner], scores[winner]
        for k in range(RUNNING):
            count, z = _amounts(score, scores[first + k], winner >= above[first + k], margin)
            write(slopes, k, lane(slopes, k) + weight * (2 * z if is_squared else count))
            write(active, k, lane(active, k) + weight * count)
    loss = 0.0
    for k in range(RUNNING):
        own = weights[first + k]
        work.slopes[first + k] = own * lane(slopes, k)
        work.active[first + k] = own * lane(active, k)
        loss += own * lane(losses, k)
    return loss


@part
def _sum(work, order, blocks, weights, has_weights, margin, is_squared):
    starts = order.starts
    size = np.int64(starts[blocks])
    width = _padded(size)
    _fill(work.weights, 0.0, 0, width)
    _fill(work.scores, type(margin)(0), size, width)
    _fill(work.below, np.int32(0), 0, width)
    _fill(work.above, np.int32(size), 0, width)
    for i in range(size):
        work.weights[i] = weights[order.rows[i]] if has_weights else 1.0
    for block in range(blocks):
        start, end = starts[block], starts[block + 1]
        _fill(work.below, start, start, end)
        _fill(work.above, end, start, end)
    loss = 0.0
    for first in range(0, size, RUNNING):
        loss += _sum_few(work, first, is_squared, size, margin)
    return loss


# ---------------------------------------------------------------- from the groups to their gradients


class Work(NamedTuple):
    """What the tasks of a call share."""

    given: Any
    has: Any
    offsets: Any
    groups: Any
    chunks: Any
    results: Any
    has_results: Any
    upstream: Any
    upstreams: Any
    margin: Any
    is_squared: Any
    is_mean: Any
    pairs_per_row: Any
    block: Any
    places: Any
    sorter: Any


class Results(NamedTuple):
    """What is found of each group, and of each row; ``units`` are what a group's gradient was divided by at first."""

    losses: Any
    pairs: Any
    units: Any
    strategies: Any
    gradient: Any
    counts: Any


@part
def _write_rows(order, work, size, factor, results, has_results):
    """Write the slopes times a factor and the active pairs where the rows stand."""
    for i in range(size):
        if has_results.gradient:
            results.gradient[order.rows[i]] = scaled(work.slopes[i], factor)
        if has_results.counts:
            results.counts[order.rows[i]] = work.active[i]


def _loop(wants_sums):
    """Return the loop over the groups in which every pair is looked at, and counted or added up."""
    make_workspace, add_pairs = (_sums_workspace, _sum) if wants_sums else (_counts_workspace, _count)

    @part
    def groups_of_chunk(work, chunk):
        given, has, offsets, results, is_squared = work.given, work.has, work.offsets, work.results, work.is_squared
        (block,) = moved((work.block,), chunk * WORKSPACES * work.places)
        order = _order_workspace(block, work.places, given.labels)
        workspace = make_workspace(block, work.places, given.scores)
        first = first_group(chunk, work.chunks, offsets, work.groups)
        for group in range(first, first_group(chunk + 1, work.chunks, offsets, work.groups)):
            start, count = offsets[group], offsets[group + 1] - offsets[group]
            if results.strategies[group] == FEW_WINNERS:
                continue
            results.losses[group] = results.pairs[group] = 0.0
            results.strategies[group] = np.int8(SORTED)
            if count >= LONG_FROM:
                continue
            rows = moved(given, start)
            size, blocks = order_rows(rows, has, count, order, work.sorter)
            if size > 0 and blocks == 0:
                results.strategies[group] = np.int8(UNSORTED)
                continue
            if not _has_few_pairs(order.starts, blocks, work.pairs_per_row):
                continue
            results.strategies[group] = np.int8(EVERY_PAIR)
            for i in range(size):
                workspace.scores[i] = rows.scores[order.rows[i]]
            loss = add_pairs(workspace, order, blocks, rows.weights, has.weights, work.margin, is_squared)
            pairs = weight_of_pairs(order.rows, rows.weights, has.weights, order.starts, blocks)
            unit = 1.0  # sums may exceed float32 where their mean does not
            if wants_sums and work.is_mean and pairs > 0:
                unit = pairs
            results.losses[group], results.pairs[group], results.units[group] = loss, pairs, unit
            factor = 1 / unit if work.is_mean else work.upstream[group % work.upstreams]
            written = Results(None, None, None, None, *moved((results.gradient, results.counts), start))
            _write_rows(order, workspace, size, factor, written, work.has_results)

    def loop(
        scores, labels, weights, where, offsets, upstream, margin, is_squared, is_mean, pairs_per_row, losses, pairs,
        units, strategies, gradient, counts, block, sorter, chunks, launch,
    ):  # fmt: skip
        given = Rows(scores, labels, weights, where)
        results = Results(losses, pairs, units, strategies, gradient, counts)
        groups = size_of(losses)
        offsets_, upstream_, block_ = pointers((offsets, upstream, block))
        work = Work(
            pointers(given),
            are_given(given),
            offsets_,
            groups,
            chunks,
            pointers(results),
            are_given(results),
            upstream_,
            size_of(upstream),
            margin,
            is_squared,
            is_mean,
            pairs_per_row,
            block_,
            size_of(block) // (chunks * WORKSPACES),
            sorter,
        )
        run_tasks(groups_of_chunk, work, chunks, launch)
        return sum_up(work.results.losses, groups), sum_up(work.results.pairs, groups)

    return CompiledLoop(f"every pair {wants_sums}", loop, (*Rows._fields, "offsets", "upstream"))


count_pairs, sum_pairs = _loop(False), _loop(True)
