"""All pairs of every query group in O(n log n): serial or parallel, with the same bits either way.

The rows of a group are put in the order of their labels, rows of equal label in the order of their scores. These
blocks are then merged by score, two neighbours at a time and level by level, as a merge sort does. Where two blocks
meet, every row of the upper one is the winner, and every row of the lower one the loser, of a pair. A winner's active
pairs are those with the losers of the highest scores, and a loser's those with the winners of the lowest. So two walks
over the blocks find where the active pairs of every row end.

Only whole numbers and numbers that are never negative are added up on the way: nothing cancels, whatever the scores
have in common.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numba import prange

from numbarank._cpu import threads
from numbarank._cpu.kernels import Kernel, inline
from numbarank._cpu.sorting import loop, loop_together, sort_key, sorter

LONGEST = 2**31 - 1  # rows of a group are numbered with 32 bits
PARALLEL_FROM = 5_000
TOGETHER_FROM = 32_768
MAX_CHUNKS = 512
PIECES = 32
FEW_ROWS, FEW_LEVELS = 32, 4
_SPLITTER = 2.0**27 + 1
_ONE = np.uint64(1)
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
    is_dividable = len(groups) > 1 or scores.size >= TOGETHER_FROM
    is_parallel = is_dividable and scores.size >= PARALLEL_FROM and threads.may_run_parallel()
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
    )
    key = formula, scores.dtype, labels.dtype, is_parallel
    walk = _compiled.get(key)
    if walk is None:
        walk = _compiled[key] = kernel(formula, is_parallel).compile(arguments)
    total, fault = walk(*arguments)
    return np.array(total), fault


def label_dtype(dtype):
    """Return the dtype in which the loops take labels of a dtype: one of the three that hold all others."""
    if dtype.kind == "u" and dtype.itemsize == 8:
        return np.dtype(np.uint64)
    return np.dtype(np.int64 if dtype.kind in "iub" else np.float64)


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


# ---------------------------------------------------------------- rows in the order of label and score


@loop
def _rows_of(scores, labels, weights, where, rows):
    """Number the rows that take part; return how many they are, and the first that cannot be computed with, or -1."""
    size = 0
    for k in range(len(scores)):
        if where.size == 0 or where[k]:
            is_finite = scores[k] - scores[k] == 0 and labels[k] - labels[k] == 0
            if not is_finite or (weights.size > 0 and not 0 <= weights[k] < np.inf):
                return size, k
            rows[size] = k
            size += 1
    return size, -1


@loop
def _fill_keys(numbers, rows, keys, part, parts):
    """Set a part of the keys to those of the rows' numbers; return the bits in which any differs from the first."""
    first, last = _part_of(0, len(rows), part, parts)
    key, bits = sort_key(numbers[rows[0]]), np.uint64(0)
    for i in range(first, last):
        keys[i] = sort_key(numbers[rows[i]])
        bits |= keys[i] ^ key
    return bits


@loop
def _find_blocks(keys, rows, weights, starts):
    """Note where each label starts and where the last one ends; return how many they are, and the weight of all pairs.

    Without weights that is the number of pairs.
    """
    blocks = 0
    pairs = below = weight = 0.0
    for i in range(len(keys)):
        if i == 0 or keys[i] != keys[i - 1]:
            starts[blocks] = i
            blocks += 1
            below += weight
            weight = 0.0
        more = weights[rows[i]] if weights.size > 0 else 1.0
        weight += more
        pairs += below * more
    starts[blocks] = len(keys)
    return blocks, pairs


@functools.cache
def _orderer(pieces, is_parallel):
    """Return the loop that puts rows in the order of label and score, in so many pieces."""
    sort = sorter(pieces, is_parallel)

    @loop_together(is_parallel)
    def fill_keys(numbers, rows, keys):
        bits = np.empty(pieces, np.uint64)
        for piece in prange(pieces):
            bits[piece] = _fill_keys(numbers, rows, keys, piece, pieces)
        differing = np.uint64(0)
        for piece in range(pieces):
            differing |= bits[piece]
        return differing

    @loop
    def order(scores, labels, weights, rows, starts):
        size = len(rows)
        keys, spare_keys, spare_rows = np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.int32)
        if size == 0 or fill_keys(labels, rows, keys) == 0:
            return 0, 0.0
        bits = fill_keys(scores, rows, keys)
        sort(keys, rows, spare_keys, spare_rows, bits)
        bits = fill_keys(labels, rows, keys)
        sort(keys, rows, spare_keys, spare_rows, bits)
        return _find_blocks(keys, rows, weights, starts)

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
    begin, end = _part_of(0, stop - start, part, parts)
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


@inline
def _part_of(start, stop, part, parts):
    size = stop - start
    return start + size * part // parts, start + size * (part + 1) // parts


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
        winner_end, winner = _part_of(np.uint64(middle), np.uint64(stop), np.uint64(part), np.uint64(parts))
        loser, loser_end = _part_of(np.uint64(start), np.uint64(middle), np.uint64(part), np.uint64(parts))
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
    first, last = _part_of(middle, stop, part, parts)
    for winner in range(first, last):
        item, count = here.items[winner], middle - ends[winner]
        slopes[item] -= count
        if counts.size > 0:
            counts[rows[item]] += count
        total += count
    first, last = _part_of(start, middle, part, parts)
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
                    weight = own * _weight(weights, rows, loser) if z >= 0 else 0.0
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


@inline
def _two_sum(a, b):
    """Return a + b and its rounding error (Knuth, The Art of Computer Programming, vol. 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@inline
def _halves(a):
    big = _SPLITTER * a
    high = big - (big - a)
    return high, a - high


@inline
def _two_product(a, b):
    """Return a * b and its rounding error (Dekker, A floating-point technique for extending the precision, 1971)."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


@loop
def _slopes_times_scores(scores, sums, part, parts):
    """Return the sum of the products of a part of the rows in two numbers, as if computed with twice the bits."""
    high = low = 0.0
    first, last = _part_of(0, len(sums.rows), part, parts)
    for i in range(first, last):
        product, error = _two_product(sums.slopes[i], np.float64(scores[sums.rows[i]]))
        high, more = _two_sum(high, product)
        low += error + more
    return high, low


@loop
def _loss_of_counts(margin, active, highs, lows):
    """Return the hinge loss of all pairs from their active number and the sums of products of slopes and scores.

    The loss is homogeneous in scores and margin together, and so the sum of each times its own slope (Euler). That
    cancels where the scores have much in common, hence the bits.
    """
    high, low = _two_product(np.float64(margin), active)
    for part in range(len(highs)):
        high, more = _two_sum(high, highs[part])
        low += lows[part] + more
    return max(high + low if math.isfinite(low) else high, 0.0)


@loop
def _start(scores, here, sums, part, parts):
    """Set the scores of a part of the rows beside their numbers, and their sums to 0."""
    first, last = _part_of(0, len(sums.rows), part, parts)
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
        high, low = _slopes_times_scores(scores, sums, 0, 1)
        return _loss_of_counts(margin, total, np.array([high]), np.array([low]))

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
        return _total(totals)

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
        return _total(totals)

    @together
    def merge(here, there, starts, blocks, width):
        for task in prange(-(-blocks // (2 * width)) * PIECES):
            first, middle, last = _bounds(starts, task // PIECES * 2 * width, width, blocks)
            _merge_part(here, there, first, middle, last, task % PIECES, PIECES)

    @together
    def loss_of_counts(scores, sums, margin, active):
        highs, lows = np.empty(PIECES), np.empty(PIECES)
        for part in prange(PIECES):
            highs[part], lows[part] = _slopes_times_scores(scores, sums, part, PIECES)
        return _loss_of_counts(margin, active, highs, lows)

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
        return loss_of_counts(scores, sums, margin, total)

    return walk


# ---------------------------------------------------------------- all groups


@inline
def _is_long(group, offsets):
    return offsets[group + 1] - offsets[group] >= TOGETHER_FROM


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


@loop
def _total(numbers):
    """Return the sum of numbers, added in their order whoever computed them."""
    total = error = 0.0
    for number in numbers:
        total, more = _two_sum(total, number)
        error += more
    return total + error if math.isfinite(error) else total


@loop
def _write(factor, sums, gradient, part, parts):
    """Write the slopes of a part of the rows, times a factor, where the rows stand."""
    if gradient.size > 0:
        first, last = _part_of(0, len(sums.rows), part, parts)
        for i in range(first, last):
            gradient[sums.rows[i]] = factor * sums.slopes[i]


@functools.cache
def kernel(formula, is_parallel):
    """Return the walk over all groups, ready to be compiled.

    Short groups are shared out among the threads. On a long one all threads work together.
    """
    order, walk_alone = _orderer(1, False), _group_walker(formula)
    order_together, walk_together = _orderer(PIECES, is_parallel), _team_walker(formula, is_parallel)

    @loop
    def order_group(group, scores, labels, weights, where, offsets, rows, starts):
        """Return how many rows take part, how many labels they have, the weight of all pairs, and the first fault."""
        first, last = offsets[group], offsets[group + 1]
        scores, labels, weights, where = scores[first:last], labels[first:last], weights[first:last], where[first:last]
        rows, starts = rows[first:last], starts[first + group : last + group + 1]
        size, fault = _rows_of(scores, labels, weights, where, rows)
        if fault >= 0:
            return size, 0, 0.0, first + fault
        if last - first < TOGETHER_FROM:
            blocks, pairs = order(scores, labels, weights, rows[:size], starts)
        else:
            blocks, pairs = order_together(scores, labels, weights, rows[:size], starts)
        return size, blocks, pairs, fault

    @loop_together(is_parallel)
    def write_together(factor, sums, gradient):
        for part in prange(PIECES):
            _write(factor, sums, gradient, part, PIECES)

    @loop
    def loss_of_group(
        group, scores, weights, offsets, rows, starts, size, blocks, margin, is_squared, factor, gradient, counts
    ):
        """Return the loss of a group, and write the gradient and the counts of its rows."""
        first, last = offsets[group], offsets[group + 1]
        gradient, counts = gradient[first:last], counts[first:last]
        gradient[:] = 0
        counts[:] = 0
        if blocks < 2:
            return 0.0
        scores, starts = scores[first:last], starts[first + group : last + group + 1]
        sums = Sums(np.empty(size), counts, rows[first : first + size], weights[first:last])
        if last - first < TOGETHER_FROM:
            loss = walk_alone(scores, starts, blocks, margin, is_squared, sums)
            _write(factor, sums, gradient, 0, 1)
        else:
            loss = walk_together(scores, starts, blocks, margin, is_squared, sums)
            write_together(factor, sums, gradient)
        return loss

    def walk(scores, labels, weights, where, offsets, upstream, margin, is_squared, is_mean, losses, gradient, counts):
        groups = len(offsets) - 1
        chunks = min(MAX_CHUNKS, groups)
        rows, starts = np.empty(len(scores), np.int32), np.empty(len(scores) + groups, np.int32)
        sizes, blocks = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        pairs, faults = np.zeros(groups), np.zeros(groups, np.int64)
        for chunk in prange(chunks):
            for group in range(_first_of(chunk, chunks, offsets), _first_of(chunk + 1, chunks, offsets)):
                if not _is_long(group, offsets):
                    sizes[group], blocks[group], pairs[group], faults[group] = order_group(
                        group, scores, labels, weights, where, offsets, rows, starts
                    )
        for group in range(groups):
            if _is_long(group, offsets):
                sizes[group], blocks[group], pairs[group], faults[group] = order_group(
                    group, scores, labels, weights, where, offsets, rows, starts
                )
            if faults[group] >= 0:
                return 0.0, faults[group]
        all_pairs = _total(pairs)
        divisor = all_pairs if is_mean and all_pairs > 0 else 1.0
        for chunk in prange(chunks):
            for group in range(_first_of(chunk, chunks, offsets), _first_of(chunk + 1, chunks, offsets)):
                if not _is_long(group, offsets):
                    factor = upstream[group % len(upstream)] / divisor
                    losses[group] = loss_of_group(
                        group, scores, weights, offsets, rows, starts, sizes[group], blocks[group], margin, is_squared,
                        factor, gradient, counts,
                    )  # fmt: skip
        for group in range(groups):
            if _is_long(group, offsets):
                factor = upstream[group % len(upstream)] / divisor
                losses[group] = loss_of_group(
                    group, scores, weights, offsets, rows, starts, sizes[group], blocks[group], margin, is_squared,
                    factor, gradient, counts,
                )  # fmt: skip
        return _total(losses) / divisor, -1

    return Kernel(f"{formula.violation.__module__} {is_parallel}", walk, 5, is_parallel)
