"""All pairs of a group, each looked at: many at a time in vector registers, and so faster than a sort if they are few.

The rows are put in the order of their labels, so that a block of winners, rows of equal label, meets those before it.
"""

import functools
from typing import NamedTuple

import numpy as np

from numbarank._cpu.exact import RUNNING, loss_of_counts, scaled, slopes_times_scores
from numbarank._cpu.kernels import inline
from numbarank._cpu.memory import lane, lanes, write
from numbarank._cpu.sorting import fill_keys, find_blocks, number_rows, sorter, weight_of_pairs

PAIRS_A_ROW = 500
PAIRS_A_ROW_OF_SUMS = 90  # where more than counts is added up, which fills more registers
PADDING = 32  # rows of the widest register or two, and a multiple of RUNNING
LOWEST_GRADE, GRADES = -32, 64  # rows whose labels are one of so many whole numbers are counted, others sorted
_sort = sorter(1, False)


class Bench(NamedTuple):
    """Room for one group, a place for each row that takes part, in the order of their labels.

    ``losers`` are the scores of the rows of lower labels, and elsewhere one that no winner lacks a distance to.
    """

    rows: np.ndarray
    spare_rows: np.ndarray
    starts: np.ndarray
    labels: np.ndarray
    grades: np.ndarray
    grade_places: np.ndarray
    keys: np.ndarray
    spare_keys: np.ndarray
    scores: np.ndarray
    losers: np.ndarray
    weights: np.ndarray
    won: np.ndarray
    lost: np.ndarray
    below: np.ndarray
    above: np.ndarray
    slopes: np.ndarray
    active: np.ndarray


@inline
def _whole_registers(size):
    return (size + PADDING - 1) // PADDING * PADDING


@inline
def _fill(array, value, size):
    """Set the first elements of an array."""
    for i in range(size):
        array[i] = value


@inline
def bench(scores, labels, longest):
    """Return a bench for groups with such scores and labels, of up to so many rows.

    It is cut from one block, which malloc keeps for the next call. What never lives at the same time shares a place.
    """
    places = _whole_registers(longest) + 2
    block = np.empty(9 * places)
    weights, slopes, active = block[:places], block[places : 2 * places], block[2 * places : 3 * places]
    integers = block[3 * places : 6 * places].view(np.int32)
    rows, spare_rows, starts = integers[:places], integers[places : 2 * places], integers[2 * places : 3 * places]
    won, lost, grades = integers[3 * places : 4 * places], integers[4 * places : 5 * places], integers[5 * places :]
    return Bench(
        rows=rows,
        spare_rows=spare_rows,
        starts=starts,
        labels=block[6 * places : 7 * places].view(labels.dtype),
        grades=grades,
        grade_places=np.empty(GRADES, np.int32),
        keys=slopes.view(np.uint64),
        spare_keys=active.view(np.uint64),
        scores=block[7 * places : 8 * places].view(scores.dtype),
        losers=block[8 * places :].view(scores.dtype),
        weights=weights,
        won=won,
        lost=lost,
        below=won,
        above=lost,
        slopes=slopes,
        active=active,
    )


@inline
def order(bench, labels, weights, where):
    """Put the rows that take part in the order of their labels; return how many blocks of equal label they are."""
    size = number_rows(where, weights, bench.spare_rows[: len(labels)])
    if size < len(labels):
        for i in range(size):
            bench.labels[i] = labels[bench.spare_rows[i]]
        labels = bench.labels[:size]
    blocks = _order_by_grades(bench, labels)
    return blocks if blocks > 0 or size == 0 else _order_by_keys(bench, labels)


@inline
def has_few_pairs(bench, blocks, pairs_a_row):
    """Tell whether there are no more than so many pairs for each row that takes part."""
    pairs = 0
    for block in range(blocks):
        start, end = bench.starts[block], bench.starts[block + 1]
        pairs += start * (end - start)
    return pairs <= pairs_a_row * bench.starts[blocks]


@inline
def _order_by_grades(bench, labels):
    """Order the rows by grades; return how many blocks these are, or 0 where a label is none."""
    others, size = 0, len(labels)
    for i in range(size):
        label = np.float64(labels[i])
        grade = np.int32(min(max(label, LOWEST_GRADE), LOWEST_GRADE + GRADES - 1))
        bench.grades[i] = grade - LOWEST_GRADE
        others += grade != label
    if others > 0:
        return 0
    places = bench.grade_places
    _fill(places, 0, GRADES)
    for i in range(size):
        places[bench.grades[i]] += 1
    blocks = place = 0
    for grade in range(GRADES):
        count, places[grade] = places[grade], place
        bench.starts[blocks] = place
        blocks += count > 0
        place += count
    bench.starts[blocks] = size
    for i in range(size):
        place = places[bench.grades[i]]
        places[bench.grades[i]] = place + 1
        bench.rows[place] = bench.spare_rows[i]
    return blocks


@inline
def _order_by_keys(bench, labels):
    """Order the rows by any labels; return how many blocks these are."""
    size = len(labels)
    rows, keys = bench.rows[:size], bench.keys[:size]
    bits = fill_keys(labels, None, keys, 0, 1)
    for i in range(size):
        rows[i] = bench.spare_rows[i]
    _sort(keys, rows, bench.spare_keys, bench.spare_rows, bits)
    return find_blocks(keys, bench.starts)


@functools.cache
def walker(formula):
    """Return the loop that walks over the pairs of a group whose rows are in order.

    It leaves the slopes and the active pairs of the rows on the bench, and returns the loss and the sum of the weights
    of all pairs.
    """
    violation = inline(formula.violation)

    @inline
    def count_block(bench, start, end, margin):
        """Count the active pairs of the winners of a block, two winners at a time."""
        scores, losers, won, lost = bench.scores, bench.losers, bench.won, bench.lost
        zero, nobody = type(margin)(0), type(margin)(np.inf)
        active = 0
        for first in range(start, end, 2):
            winner = scores[first]
            other = scores[first + 1] if first + 1 < end else nobody
            pairs = pairs_of_other = np.int32(0)
            for loser in range(_whole_registers(start)):
                is_active = np.int32(violation(winner, losers[loser], margin) >= zero)
                is_active_too = np.int32(violation(other, losers[loser], margin) >= zero)
                lost[loser] += is_active + is_active_too
                pairs = np.int32(pairs + is_active)  # 32 bits, as numba's own sum is not: twice as many a register
                pairs_of_other = np.int32(pairs_of_other + is_active_too)
            won[first], won[first + 1] = pairs, pairs_of_other
            active += pairs + pairs_of_other
        return active

    @inline
    def count(bench, blocks, margin):
        size = bench.starts[blocks]
        _fill(bench.lost, 0, _whole_registers(size))
        _fill(bench.losers, -np.inf, _whole_registers(size))
        active = 0
        for block in range(blocks):
            start, end = bench.starts[block], bench.starts[block + 1]
            active += count_block(bench, start, end, margin)
            for row in range(start, end):
                bench.losers[row] = bench.scores[row]
        for row in range(size):
            bench.slopes[row] = bench.lost[row] - bench.won[row]
            bench.active[row] = bench.lost[row] + bench.won[row]
        high, low = slopes_times_scores(bench.slopes, bench.scores, None, 0, size)
        return loss_of_counts(margin, active, high, low)

    @inline
    def lacking(bench, winner, loser, is_pair, margin):
        """Return 1 for an active pair and its violation, or else two zeros."""
        scores = bench.scores
        is_active = is_pair & (violation(scores[winner], scores[loser], margin) >= type(margin)(0))
        z = violation(np.float64(scores[winner]), np.float64(scores[loser]), np.float64(margin))
        return (1.0 if is_active else 0.0), (max(z, 0.0) if is_active else 0.0)

    @inline
    def add_few(bench, first, is_squared, size, margin):
        """Add up all pairs of a few rows; return the loss of those that they should win."""
        slopes, active, losses = lanes(1.0), lanes(1.0), lanes(1.0)
        last = min(first + RUNNING, size) - 1
        for loser in range(bench.below[last]):
            weight = bench.weights[loser]
            for k in range(RUNNING):
                count, z = lacking(bench, first + k, loser, loser < bench.below[first + k], margin)
                write(slopes, k, lane(slopes, k) - weight * (2 * z if is_squared else count))
                write(active, k, lane(active, k) + weight * count)
                write(losses, k, lane(losses, k) + weight * (z * z if is_squared else z))
        for winner in range(bench.above[first], size):
            weight = bench.weights[winner]
            for k in range(RUNNING):
                count, z = lacking(bench, winner, first + k, winner >= bench.above[first + k], margin)
                write(slopes, k, lane(slopes, k) + weight * (2 * z if is_squared else count))
                write(active, k, lane(active, k) + weight * count)
        loss = 0.0
        for k in range(RUNNING):
            own = bench.weights[first + k]
            bench.slopes[first + k] = own * lane(slopes, k)
            bench.active[first + k] = own * lane(active, k)
            loss += own * lane(losses, k)
        return loss

    @inline
    def add(bench, blocks, weights, margin, is_squared):
        size = bench.starts[blocks]
        width = _whole_registers(size)
        _fill(bench.weights, 0, width)
        _fill(bench.scores[size:width], 0, width - size)
        _fill(bench.below, 0, width)
        _fill(bench.above, size, width)
        for i in range(size):
            bench.weights[i] = weights[bench.rows[i]] if weights.size > 0 else 1.0
        for block in range(blocks):
            start, end = bench.starts[block], bench.starts[block + 1]
            _fill(bench.below[start:end], start, end - start)
            _fill(bench.above[start:end], end, end - start)
        loss = 0.0
        for first in range(0, size, RUNNING):
            loss += add_few(bench, first, is_squared, size, margin)
        return loss

    @inline
    def walk(bench, blocks, scores, weights, margin, is_squared):
        for i in range(bench.starts[blocks]):
            bench.scores[i] = scores[bench.rows[i]]
        if is_squared or weights.size > 0:
            loss = add(bench, blocks, weights, margin, is_squared)
        else:
            loss = count(bench, blocks, margin)
        return loss, weight_of_pairs(bench.rows, weights, bench.starts, blocks)

    return walk


@inline
def write_rows(bench, blocks, factor, gradient, counts):
    """Write the slopes times a factor and the active pairs where the rows stand, and 0 for those that take no part."""
    size = bench.starts[blocks]
    if size < len(gradient):
        _fill(gradient, 0, len(gradient))
    if size < len(counts):
        _fill(counts, 0, len(counts))
    for i in range(size):
        if len(gradient) > 0:
            gradient[bench.rows[i]] = scaled(bench.slopes[i], factor)
        if len(counts) > 0:
            counts[bench.rows[i]] = bench.active[i]
