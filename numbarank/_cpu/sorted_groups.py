"""All pairs of a group, found by sorting, in O(n log n): by one thread, or by all of them with the same bits.

The rows of a group are put in the order of their labels, rows of equal label in the order of their scores. These
blocks are then merged by score, two neighbours at a time and level by level, as a merge sort does. Where two blocks
meet, every row of the upper one is the winner, and every row of the lower one the loser, of a pair. A winner's active
pairs are those with the losers of the highest scores, and a loser's those with the winners of the lowest. So two walks
over the blocks find where the active pairs of every row end.

Only whole numbers and numbers that are never negative are added up on the way: nothing cancels, whatever the scores
have in common.
"""

import functools
from typing import NamedTuple

import numpy as np
from numba import prange

from numbarank._cpu.exact import loss_of_counts, scaled, slopes_times_scores, sum_up, two_sum
from numbarank._cpu.kernels import inline
from numbarank._cpu.sorting import fill_keys, find_blocks, loop, loop_together, part_of, sorter, weight_of_pairs

PIECES = 32
FEW_ROWS, FEW_LEVELS = 32, 4
_ONE = np.uint64(1)


# ---------------------------------------------------------------- rows in the order of label and score


@functools.cache
def _orderer(pieces, is_parallel):
    """Return the loop that puts rows in the order of label and score, in so many pieces."""
    sort = sorter(pieces, is_parallel)

    @loop_together(is_parallel)
    def fill_all_keys(numbers, rows, keys):
        bits = np.empty(pieces, np.uint64)
        for piece in prange(pieces):
            bits[piece] = fill_keys(numbers, rows, keys, piece, pieces)
        differing = np.uint64(0)
        for piece in range(pieces):
            differing |= bits[piece]
        return differing

    @loop
    def order(scores, labels, weights, rows, starts):
        size = len(rows)
        keys, spare_keys, spare_rows = np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.int32)
        if size == 0 or fill_all_keys(labels, rows, keys) == 0:
            return 0, 0.0
        bits = fill_all_keys(scores, rows, keys)
        sort(keys, rows, spare_keys, spare_rows, bits)
        bits = fill_all_keys(labels, rows, keys)
        sort(keys, rows, spare_keys, spare_rows, bits)
        blocks = find_blocks(keys, starts)
        return blocks, weight_of_pairs(rows, weights, starts, blocks)

    return order


# ---------------------------------------------------------------- merging by score


class Place(NamedTuple):
    """Scores, and beside each the number of its row in the order of labels."""

    scores: np.ndarray
    items: np.ndarray


@loop
def _merge(here, there, i, i_end, j, j_end, k):
    """Merge the runs from i and from j, up to their ends, into the places from k on.

    It goes from both ends at once and without branches: which run is next cannot be predicted, and so the two ends do
    not wait for each other.
    """
    p, q, last = i_end - _ONE, j_end - _ONE, k + (i_end - i) + (j_end - j) - _ONE
    while True:
        steps = min(p + _ONE - i, q + _ONE - j) // np.uint64(2)
        if steps == 0:
            break
        for _ in range(steps):
            a, b = here.scores[i], here.scores[j]
            is_right = b < a
            right = np.uint64(is_right)
            there.scores[k] = b if is_right else a
            there.items[k] = here.items[i + (j - i) * right]
            i, j, k = i + (_ONE - right), j + right, k + _ONE
            a, b = here.scores[p], here.scores[q]
            is_left = b < a
            left = np.uint64(is_left)
            there.scores[last] = a if is_left else b
            there.items[last] = here.items[q - (q - p) * left]
            p, q, last = p - left, q - (_ONE - left), last - _ONE
    i_end, j_end = p + _ONE, q + _ONE
    while i < i_end and j < j_end:
        if here.scores[j] < here.scores[i]:
            there.scores[k], there.items[k] = here.scores[j], here.items[j]
            j += _ONE
        else:
            there.scores[k], there.items[k] = here.scores[i], here.items[i]
            i += _ONE
        k += _ONE
    if i == i_end:
        i, i_end = j, j_end
    for rest in range(i, i_end):
        there.scores[k], there.items[k] = here.scores[rest], here.items[rest]
        k += _ONE


@loop
def _merge_part(here, there, start, middle, stop, part, parts):
    """Merge two neighbouring runs, as far as they come to lie in one of equal parts of their joint place."""
    begin, end = part_of(0, stop - start, part, parts)
    first = _count_from_left(here.scores, start, middle, stop, begin)
    last = _count_from_left(here.scores, start, middle, stop, end)
    _merge(
        here,
        there,
        np.uint64(start + first),
        np.uint64(start + last),
        np.uint64(middle + begin - first),
        np.uint64(middle + end - last),
        np.uint64(start + begin),
    )


@loop
def _count_from_left(scores, start, middle, stop, count):
    """Return how many of the first ``count`` of two merged runs come from the left one, which goes first in a tie."""
    low, high = max(0, count - (stop - middle)), min(count, middle - start)
    while low < high:
        left = (low + high) // 2
        if scores[start + left] <= scores[middle + count - left - 1]:
            low = left + 1
        else:
            high = left
    return low


# ---------------------------------------------------------------- where two blocks meet


@functools.cache
def _end_finder(formula):
    """Return the loop that finds where the active pairs of every row of two blocks end.

    The active losers of a winner lie from its end to the upper block, the active winners of a loser from the upper
    block to its end. Both are looked for at once and without branches, as in ``_merge``.
    """
    violation = inline(formula.violation)

    @inline
    def is_active(scores, winner, loser, margin):
        return violation(scores[winner], scores[loser], margin) >= type(margin)(0)

    @loop
    def first_active_loser(scores, start, middle, winner, margin):
        low, high = start, middle
        while low < high:
            loser = (low + high) // np.uint64(2)
            if is_active(scores, winner, loser, margin):
                high = loser
            else:
                low = loser + _ONE
        return low

    @loop
    def last_active_winner(scores, middle, stop, loser, margin):
        low, high = middle, stop
        while low < high:
            winner = (low + high) // np.uint64(2)
            if is_active(scores, winner, loser, margin):
                low = winner + _ONE
            else:
                high = winner
        return low

    @loop
    def find_ends(scores, start, middle, stop, margin, ends, part, parts):
        winner_end, winner = part_of(np.uint64(middle), np.uint64(stop), np.uint64(part), np.uint64(parts))
        loser, loser_end = part_of(np.uint64(start), np.uint64(middle), np.uint64(part), np.uint64(parts))
        start, stop = np.uint64(start), np.uint64(stop)
        lowest = highest = np.uint64(middle)
        if part + 1 < parts and winner > winner_end:
            lowest = first_active_loser(scores, start, lowest, winner - _ONE, margin)
        if part > 0 and loser < loser_end:
            highest = last_active_winner(scores, highest, stop, loser, margin)
        while True:
            steps = min(min(winner - winner_end, lowest - start), min(loser_end - loser, stop - highest))
            if steps == 0:
                break
            for _ in range(steps):
                ends[winner - _ONE], ends[loser] = lowest, highest
                more = np.uint64(is_active(scores, winner - _ONE, lowest - _ONE, margin))
                winner, lowest = winner - (_ONE - more), lowest - more
                more = np.uint64(is_active(scores, highest, loser, margin))
                loser, highest = loser + (_ONE - more), highest + more
        while winner > winner_end:
            winner -= _ONE
            while lowest > start and is_active(scores, winner, lowest - _ONE, margin):
                lowest -= _ONE
            ends[winner] = lowest
        while loser < loser_end:
            while highest < stop and is_active(scores, highest, loser, margin):
                highest += _ONE
            ends[loser] = highest
            loser += _ONE

    return find_ends


class Sums(NamedTuple):
    """What is added up for the rows: the slopes in the order of labels, the active pairs where the row stands.

    Counts and weights have no elements where there are none.
    """

    slopes: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    weights: np.ndarray


@inline
def _weight(weights, rows, item):
    return weights[rows[item]] if weights.size > 0 else 1.0


@loop
def _add_counts(here, start, middle, stop, ends, sums, part, parts):
    """Add the number of active pairs to the slopes of the rows of both sides; return it."""
    slopes, counts, rows, _ = sums
    total = 0
    first, last = part_of(middle, stop, part, parts)
    for winner in range(first, last):
        item, count = here.items[winner], middle - ends[winner]
        slopes[item] -= count
        if counts.size > 0:
            counts[rows[item]] += count
        total += count
    first, last = part_of(start, middle, part, parts)
    for loser in range(first, last):
        item, count = here.items[loser], ends[loser] - middle
        slopes[item] += count
        if counts.size > 0:
            counts[rows[item]] += count
    return total


@loop
def _add_winners(here, start, middle, stop, ends, margin, is_squared, sums):
    """Add the slopes of the winners and return the loss.

    From one winner to the next lower one, every violation grows by the distance of the two.
    """
    slopes, counts, rows, weights = sums
    total = weight = first_moment = second_moment = 0.0
    lowest = middle
    previous = np.float64(here.scores[stop - 1])
    for winner in range(stop - 1, middle - 1, -1):
        score = np.float64(here.scores[winner])
        if weight > 0:
            step = previous - score
            second_moment += step * (2 * first_moment + step * weight)
            first_moment += step * weight
        previous = score
        for loser in range(lowest - 1, ends[winner] - 1, -1):
            violation = max(np.float64(margin) - (score - np.float64(here.scores[loser])), 0.0)
            more = _weight(weights, rows, here.items[loser])
            weight += more
            first_moment += more * violation
            second_moment += more * violation * violation
        lowest = ends[winner]
        item = here.items[winner]
        own = _weight(weights, rows, item)
        slopes[item] -= own * (2 * first_moment if is_squared else weight)
        if counts.size > 0:
            counts[rows[item]] += own * weight
        total += own * (second_moment if is_squared else first_moment)
    return total


@loop
def _add_losers(here, start, middle, stop, ends, margin, is_squared, sums):
    """Add the slopes of the losers."""
    slopes, counts, rows, weights = sums
    weight = moment = 0.0
    highest = middle
    previous = np.float64(here.scores[start])
    for loser in range(start, middle):
        score = np.float64(here.scores[loser])
        if weight > 0:
            moment += (score - previous) * weight
        previous = score
        for winner in range(highest, ends[loser]):
            violation = max(np.float64(margin) - (np.float64(here.scores[winner]) - score), 0.0)
            more = _weight(weights, rows, here.items[winner])
            weight += more
            moment += more * violation
        highest = ends[loser]
        item = here.items[loser]
        own = _weight(weights, rows, item)
        slopes[item] += own * (2 * moment if is_squared else weight)
        if counts.size > 0:
            counts[rows[item]] += own * weight


@functools.cache
def _meeting_of_few(formula):
    """Return the loop that looks at every pair of a few short blocks, and sorts them into one."""
    violation = inline(formula.violation)

    @loop
    def let_few_meet(here, starts, begin, end, margin, is_squared, sums):
        slopes, counts, rows, weights = sums
        scores, first = here.scores, starts[begin]
        is_plain = not is_squared and weights.size == 0
        total = 0.0
        for block in range(begin + 1, end):
            for winner in range(starts[block], starts[block + 1]):
                own = _weight(weights, rows, winner)
                slope = count = 0.0
                for loser in range(first, starts[block]):
                    z = np.float64(violation(scores[winner], scores[loser], margin))
                    weight, z = (own * _weight(weights, rows, loser), z) if z >= 0 else (0.0, 0.0)
                    more = 2 * weight * z if is_squared else weight
                    slopes[loser] += more
                    slope += more
                    count += weight
                    total += weight if is_plain else weight * (z * z if is_squared else z)
                    if counts.size > 0:
                        counts[rows[loser]] += weight
                slopes[winner] -= slope
                if counts.size > 0:
                    counts[rows[winner]] += count
        _sort_few(here, first, starts[end])
        return total

    return let_few_meet


@loop
def _sort_few(place, start, stop):
    for i in range(start + 1, stop):
        score, item = place.scores[i], place.items[i]
        j = i
        while j > start and place.scores[j - 1] > score:
            place.scores[j], place.items[j] = place.scores[j - 1], place.items[j - 1]
            j -= 1
        place.scores[j], place.items[j] = score, item


# ---------------------------------------------------------------- one group


@functools.cache
def _climber(formula):
    """Return the loop that lets the blocks from begin to end meet, level by level, and merges them."""
    find_ends, let_few_meet = _end_finder(formula), _meeting_of_few(formula)

    @loop
    def climb_levels(here, there, starts, begin, end, width, levels, is_top, margin, is_squared, sums):
        total = 0.0
        for level in range(levels):
            for block in range(begin, end, 2 * width):
                start, middle, stop = _bounds(starts, block, width, end)
                if middle < stop:
                    find_ends(here.scores, start, middle, stop, margin, there.items, 0, 1)
                    if is_squared or sums.weights.size > 0:
                        total += _add_winners(here, start, middle, stop, there.items, margin, is_squared, sums)
                        _add_losers(here, start, middle, stop, there.items, margin, is_squared, sums)
                    else:
                        total += _add_counts(here, start, middle, stop, there.items, sums, 0, 1)
                if not (is_top and level + 1 == levels):
                    ends = np.uint64(start), np.uint64(middle), np.uint64(stop)
                    _merge(here, there, ends[0], ends[1], ends[1], ends[2], ends[0])
            here, there = there, here
            width *= 2
        return total

    @loop
    def climb(here, there, starts, begin, end, levels, is_top, margin, is_squared, sums):
        total = 0.0
        low_levels = min(levels, FEW_LEVELS)
        few = 1 << low_levels
        for block in range(begin, end, few):
            stop = min(block + few, end)
            if low_levels % 2 == 0 and starts[stop] - starts[block] <= FEW_ROWS:
                total += let_few_meet(here, starts, block, stop, margin, is_squared, sums)
            else:
                ends_here = is_top and low_levels == levels
                total += climb_levels(
                    here, there, starts, block, stop, 1, low_levels, ends_here, margin, is_squared, sums
                )
        if levels > low_levels:
            rest = levels - low_levels
            total += climb_levels(here, there, starts, begin, end, few, rest, is_top, margin, is_squared, sums)
        return total

    return climb


@inline
def _bounds(starts, block, width, end):
    """Return where two neighbours start, meet and stop; the second one is empty where there is none."""
    return starts[block], starts[min(block + width, end)], starts[min(block + 2 * width, end)]


@loop
def _levels(blocks):
    levels = 0
    while 1 << levels < blocks:
        levels += 1
    return levels


@loop
def _start(scores, here, sums, part, parts):
    """Set the scores of a part of the rows beside their numbers, and their sums to 0."""
    first, last = part_of(0, len(sums.rows), part, parts)
    for i in range(first, last):
        here.scores[i], here.items[i], sums.slopes[i] = scores[sums.rows[i]], i, 0.0


@loop
def _place(scores, size):
    return Place(np.empty(size, scores.dtype), np.empty(size, np.int32))


@functools.cache
def _group_walker(formula):
    """Return the loop with which one thread walks over a group."""
    climb = _climber(formula)

    @loop
    def walk(scores, starts, blocks, margin, is_squared, sums):
        here, there = _place(scores, len(sums.rows)), _place(scores, len(sums.rows))
        _start(scores, here, sums, 0, 1)
        total = climb(here, there, starts, 0, blocks, _levels(blocks), True, margin, is_squared, sums)
        if is_squared or sums.weights.size > 0:
            return total
        high, low = slopes_times_scores(sums.slopes, scores, sums.rows, 0, len(sums.rows))
        return loss_of_counts(margin, total, high, low)

    return walk


@functools.cache
def _team_walker(formula, is_parallel):
    """Return the loop with which all threads walk over a long group.

    What they share does not depend on how many they are: first so many runs of blocks each climb alone, then every
    meeting is split into parts.
    """
    climb, find_ends = _climber(formula), _end_finder(formula)
    together = loop_together(is_parallel)

    @together
    def start(scores, here, sums):
        for part in prange(PIECES):
            _start(scores, here, sums, part, PIECES)

    @together
    def climb_alone(here, there, starts, blocks, levels, margin, is_squared, sums):
        runs = -(-blocks // (1 << levels))
        totals = np.zeros(runs)
        for run in prange(runs):
            begin, end = run << levels, min((run + 1) << levels, blocks)
            totals[run] = climb(here, there, starts, begin, end, levels, False, margin, is_squared, sums)
        return sum_up(totals)

    @together
    def meet(here, there, starts, blocks, width, margin, is_squared, sums):
        meetings = -(-blocks // (2 * width))
        is_plain = not is_squared and sums.weights.size == 0
        totals = np.zeros(meetings * PIECES)
        for task in prange(meetings * PIECES):
            first, middle, last = _bounds(starts, task // PIECES * 2 * width, width, blocks)
            if middle < last:
                find_ends(here.scores, first, middle, last, margin, there.items, task % PIECES, PIECES)
                if is_plain:
                    totals[task] = _add_counts(here, first, middle, last, there.items, sums, task % PIECES, PIECES)
        for task in prange(0 if is_plain else 2 * meetings):
            first, middle, last = _bounds(starts, task // 2 * 2 * width, width, blocks)
            if middle < last and task % 2 == 0:
                totals[task] = _add_winners(here, first, middle, last, there.items, margin, is_squared, sums)
            elif middle < last:
                _add_losers(here, first, middle, last, there.items, margin, is_squared, sums)
        return sum_up(totals)

    @together
    def merge(here, there, starts, blocks, width):
        for task in prange(-(-blocks // (2 * width)) * PIECES):
            first, middle, last = _bounds(starts, task // PIECES * 2 * width, width, blocks)
            _merge_part(here, there, first, middle, last, task % PIECES, PIECES)

    @together
    def loss_together(scores, sums, margin, active):
        highs, lows = np.empty(PIECES), np.empty(PIECES)
        for part in prange(PIECES):
            first, last = part_of(0, len(sums.rows), part, PIECES)
            highs[part], lows[part] = slopes_times_scores(sums.slopes, scores, sums.rows, first, last)
        high = low = 0.0
        for part in range(PIECES):
            high, error = two_sum(high, highs[part])
            low += error + lows[part]
        return loss_of_counts(margin, active, high, low)

    @loop
    def walk(scores, starts, blocks, margin, is_squared, sums):
        here, there = _place(scores, len(sums.rows)), _place(scores, len(sums.rows))
        start(scores, here, sums)
        levels = max(0, _levels(blocks) - _levels(PIECES))
        total = climb_alone(here, there, starts, blocks, levels, margin, is_squared, sums)
        if levels % 2 == 1:
            here, there = there, here
        width = 1 << levels
        while width < blocks:
            total += meet(here, there, starts, blocks, width, margin, is_squared, sums)
            if 2 * width < blocks:
                merge(here, there, starts, blocks, width)
            here, there = there, here
            width *= 2
        if is_squared or sums.weights.size > 0:
            return total
        return loss_together(scores, sums, margin, total)

    return walk


# ---------------------------------------------------------------- from the rows to their gradient


@loop
def _write(factor, sums, gradient, part, parts):
    """Write the slopes of a part of the rows, times a factor, where the rows stand."""
    if gradient.size > 0:
        first, last = part_of(0, len(sums.rows), part, parts)
        for i in range(first, last):
            gradient[sums.rows[i]] = scaled(sums.slopes[i], factor)


@functools.cache
def walker(formula):
    """Return the loops that put a group in order and walk over its pairs then, with one thread.

    ``order(scores, labels, weights, rows, starts)`` sorts the rows, notes where each label starts, and returns how many
    labels there are and the weight of all pairs. ``walk(scores, weights, rows, starts, blocks, margin,
    is_squared, factor, gradient, counts)`` writes the gradient times the factor and the counts, and returns the loss.
    """
    return _orderer(1, False), _finisher(_group_walker(formula), _write_alone)


@functools.cache
def team_walker(formula, is_parallel):
    """Return the same loops, for a long group that all threads share."""

    @loop_together(is_parallel)
    def write_together(factor, sums, gradient):
        for part in prange(PIECES):
            _write(factor, sums, gradient, part, PIECES)

    order = _orderer(PIECES, True) if is_parallel else _orderer(1, False)
    return order, _finisher(_team_walker(formula, is_parallel), write_together)


@loop
def _write_alone(factor, sums, gradient):
    _write(factor, sums, gradient, 0, 1)


def _finisher(walk, write):
    @loop
    def finish(scores, weights, rows, starts, blocks, margin, is_squared, factor, gradient, counts):
        gradient[:] = 0
        counts[:] = 0
        if blocks < 2:
            return 0.0
        sums = Sums(np.empty(len(rows)), counts, rows, weights)
        loss = walk(scores, starts, blocks, margin, is_squared, sums)
        write(factor, sums, gradient)
        return loss

    return finish
