"""All pairs of neighbouring blocks of rows, found while the blocks are merged by score, level by level.

The rows of a group stand in the order of their labels, rows of equal label in the order of their scores. Where two
neighbouring blocks are merged, every row of the upper one is the winner, and every row of the lower one the loser, of a
pair. A winner's active pairs are those with the losers of the highest scores, and a loser's those with the winners of
the lowest. So two passes over the blocks find where the active pairs of every row end.

Only whole numbers and numbers that are never negative are added up on the way: nothing cancels, whatever the scores
have in common.
"""

from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import part
from numbarank._cpu.sorting import part_of
from numbarank._hinge import violation

FEW_ROWS, FEW_LEVELS = 32, 4
_ONE = np.uint64(1)
_violation = part(violation)


class Runs(NamedTuple):
    """Scores, and beside each the number of its row in the order of labels."""

    scores: Any
    items: Any


class Sums(NamedTuple):
    """What is added up for the rows: the slopes in the order of labels, the active pairs where the row stands."""

    slopes: Any
    counts: Any
    rows: Any
    weights: Any
    has_counts: Any
    has_weights: Any


# ---------------------------------------------------------------- merging by score


@part
def merge_into(source, destination, first, first_end, second, second_end, place):
    """Merge one run with another one, into the places from one on.

    It goes from both ends at once and without branches: which run is next cannot be predicted, and so the two ends do
    not wait for each other.
    """
    scores, items, to_scores, to_items = source.scores, source.items, destination.scores, destination.items
    i, i_end, j, j_end, k = (
        np.uint64(first),
        np.uint64(first_end),
        np.uint64(second),
        np.uint64(second_end),
        np.uint64(place),
    )
    p, q, last = i_end - _ONE, j_end - _ONE, k + (i_end - i) + (j_end - j) - _ONE
    while True:
        left_rest, right_rest = p + _ONE - i, q + _ONE - j
        steps = (left_rest if left_rest < right_rest else right_rest) // np.uint64(2)
        if steps == 0:
            break
        for _ in range(steps):
            a, b = scores[i], scores[j]
            is_right = b < a
            right = np.uint64(is_right)
            to_scores[k] = b if is_right else a
            to_items[k] = items[i + (j - i) * right]
            i, j, k = i + (_ONE - right), j + right, k + _ONE
            a, b = scores[p], scores[q]
            is_left = b < a
            left = np.uint64(is_left)
            to_scores[last] = a if is_left else b
            to_items[last] = items[q - (q - p) * left]
            p, q, last = p - left, q - (_ONE - left), last - _ONE
    i_end, j_end = p + _ONE, q + _ONE
    while i < i_end and j < j_end:
        if scores[j] < scores[i]:
            to_scores[k], to_items[k] = scores[j], items[j]
            j += _ONE
        else:
            to_scores[k], to_items[k] = scores[i], items[i]
            i += _ONE
        k += _ONE
    if i == i_end:
        i, i_end = j, j_end
    for rest in range(i, i_end):
        to_scores[k], to_items[k] = scores[rest], items[rest]
        k += _ONE


@part
def merge_piece(source, destination, start, middle, stop, piece, pieces):
    """Merge two neighbouring runs, as far as they come to lie in one of equal parts of their joint place."""
    begin, end = part_of(0, stop - start, piece, pieces)
    first = _count_from_left(source.scores, start, middle, stop, begin)
    last = _count_from_left(source.scores, start, middle, stop, end)
    merge_into(
        source, destination, start + first, start + last, middle + begin - first, middle + end - last, start + begin
    )


@part
def _count_from_left(scores, start, middle, stop, count):
    """Return how many of the first ``count`` of two merged runs come from the left one, which goes first in a tie."""
    low, high = count - (stop - middle), middle - start
    low, high = low if low > 0 else 0, high if high < count else count
    while low < high:
        left = (low + high) // 2
        if scores[start + left] <= scores[middle + count - left - 1]:
            low = left + 1
        else:
            high = left
    return low


# ---------------------------------------------------------------- where the active pairs end


@part
def _is_active(scores, winner, loser, margin):
    return _violation(scores[winner], scores[loser], margin) >= type(margin)(0)


@part
def _first_active_loser(scores, start, middle, winner, margin):
    low, high = start, middle
    while low < high:
        loser = (low + high) // np.uint64(2)
        if _is_active(scores, winner, loser, margin):
            high = loser
        else:
            low = loser + _ONE
    return low


@part
def _last_active_winner(scores, middle, stop, loser, margin):
    low, high = middle, stop
    while low < high:
        winner = (low + high) // np.uint64(2)
        if _is_active(scores, winner, loser, margin):
            low = winner + _ONE
        else:
            high = winner
    return low


@part
def find_ends(scores, start, middle, stop, margin, ends, piece, pieces):
    """Find where the active pairs of every row of two blocks, or of a piece of them, end.

    The active losers of a winner lie from its end to the upper block, the active winners of a loser from the upper
    block to its end. Both are looked for at once and without branches, as in ``merge_into``.
    """
    winner_end, winner = part_of(np.uint64(middle), np.uint64(stop), np.uint64(piece), np.uint64(pieces))
    loser, loser_end = part_of(np.uint64(start), np.uint64(middle), np.uint64(piece), np.uint64(pieces))
    start, stop = np.uint64(start), np.uint64(stop)
    lowest = highest = np.uint64(middle)
    if piece + 1 < pieces and winner > winner_end:
        lowest = _first_active_loser(scores, start, lowest, winner - _ONE, margin)
    if piece > 0 and loser < loser_end:
        highest = _last_active_winner(scores, highest, stop, loser, margin)
    while True:
        winners, losers = winner - winner_end, loser_end - loser
        below, above = lowest - start, stop - highest
        steps = winners if winners < below else below
        others = losers if losers < above else above
        steps = steps if steps < others else others
        if steps == 0:
            break
        for _ in range(steps):
            ends[winner - _ONE], ends[loser] = np.int32(lowest), np.int32(highest)
            more = np.uint64(_is_active(scores, winner - _ONE, lowest - _ONE, margin))
            winner, lowest = winner - (_ONE - more), lowest - more
            more = np.uint64(_is_active(scores, highest, loser, margin))
            loser, highest = loser + (_ONE - more), highest + more
    while winner > winner_end:
        winner -= _ONE
        while lowest > start and _is_active(scores, winner, lowest - _ONE, margin):
            lowest -= _ONE
        ends[winner] = np.int32(lowest)
    while loser < loser_end:
        while highest < stop and _is_active(scores, highest, loser, margin):
            highest += _ONE
        ends[loser] = np.int32(highest)
        loser += _ONE


# ---------------------------------------------------------------- what the active pairs add up to


@part
def add_counts(runs, start, middle, stop, ends, sums, piece, pieces):
    """Add the number of active pairs to the slopes of the rows of both sides; return it."""
    items, slopes, counts, rows, has_counts = runs.items, sums.slopes, sums.counts, sums.rows, sums.has_counts
    total = 0
    first, last = part_of(middle, stop, piece, pieces)
    for winner in range(first, last):
        item, count = items[winner], middle - ends[winner]
        slopes[item] -= count
        if has_counts:
            counts[rows[item]] += count
        total += count
    first, last = part_of(start, middle, piece, pieces)
    for loser in range(first, last):
        item, count = items[loser], ends[loser] - middle
        slopes[item] += count
        if has_counts:
            counts[rows[item]] += count
    return np.float64(total)


@part
def _weight(sums, item):
    return sums.weights[sums.rows[item]] if sums.has_weights else 1.0


@part
def add_winners(runs, start, middle, stop, ends, margin, is_squared, sums):
    """Add the slopes of the winners and return the loss.

    From one winner to the next lower one, every violation grows by the distance of the two.
    """
    scores, items, slopes, counts, rows = runs.scores, runs.items, sums.slopes, sums.counts, sums.rows
    total = weight = first_moment = second_moment = 0.0
    lowest = middle
    previous = np.float64(scores[stop - 1])
    for winner in range(stop - 1, middle - 1, -1):
        score = np.float64(scores[winner])
        if weight > 0:
            step = previous - score
            second_moment += step * (2 * first_moment + step * weight)
            first_moment += step * weight
        previous = score
        for loser in range(lowest - 1, ends[winner] - 1, -1):
            z = _violation(score, np.float64(scores[loser]), np.float64(margin))
            z = z if z > 0 else 0.0
            more = _weight(sums, items[loser])
            weight += more
            first_moment += more * z
            second_moment += more * z * z
        lowest = np.int64(ends[winner])
        item = items[winner]
        own = _weight(sums, item)
        slopes[item] -= own * (2 * first_moment if is_squared else weight)
        if sums.has_counts:
            counts[rows[item]] += own * weight
        total += own * (second_moment if is_squared else first_moment)
    return total


@part
def add_losers(runs, start, middle, stop, ends, margin, is_squared, sums):
    """Add the slopes of the losers."""
    scores, items, slopes, counts, rows = runs.scores, runs.items, sums.slopes, sums.counts, sums.rows
    weight = moment = 0.0
    highest = middle
    previous = np.float64(scores[start])
    for loser in range(start, middle):
        score = np.float64(scores[loser])
        if weight > 0:
            moment += (score - previous) * weight
        previous = score
        for winner in range(highest, ends[loser]):
            z = _violation(np.float64(scores[winner]), score, np.float64(margin))
            more = _weight(sums, items[winner])
            weight += more
            moment += more * (z if z > 0 else 0.0)
        highest = np.int64(ends[loser])
        item = items[loser]
        own = _weight(sums, item)
        slopes[item] += own * (2 * moment if is_squared else weight)
        if sums.has_counts:
            counts[rows[item]] += own * weight


# ---------------------------------------------------------------- a few short blocks


@part
def _count_few(runs, starts, begin, end, margin, is_squared, sums):
    """Count the active pairs of a few short blocks, looking at each; return them."""
    scores, slopes, counts, rows, first = runs.scores, sums.slopes, sums.counts, sums.rows, starts[begin]
    total = 0.0
    for block in range(begin + 1, end):
        for winner in range(starts[block], starts[block + 1]):
            active = 0.0
            for loser in range(first, starts[block]):
                one = 1.0 if _is_active(scores, winner, loser, margin) else 0.0
                slopes[loser] += one
                active += one
                if sums.has_counts:
                    counts[rows[loser]] += one
            slopes[winner] -= active
            total += active
            if sums.has_counts:
                counts[rows[winner]] += active
    return total


@part
def _sum_few(runs, starts, begin, end, margin, is_squared, sums):
    """Add up the pairs of a few short blocks, looking at each; return the loss."""
    scores, slopes, counts, rows, first = runs.scores, sums.slopes, sums.counts, sums.rows, starts[begin]
    total = 0.0
    for block in range(begin + 1, end):
        for winner in range(starts[block], starts[block + 1]):
            own = _weight(sums, winner)
            slope = count = 0.0
            for loser in range(first, starts[block]):
                if _is_active(scores, winner, loser, margin):
                    z = _violation(np.float64(scores[winner]), np.float64(scores[loser]), np.float64(margin))
                    z = z if z > 0 else 0.0
                    weight = own * _weight(sums, loser)
                    more = 2 * weight * z if is_squared else weight
                    slopes[loser] += more
                    slope += more
                    count += weight
                    total += weight * (z * z if is_squared else z)
                    if sums.has_counts:
                        counts[rows[loser]] += weight
            slopes[winner] -= slope
            if sums.has_counts:
                counts[rows[winner]] += count
    return total


@part
def _sort_few(runs, start, stop):
    scores, items = runs.scores, runs.items
    for i in range(start + 1, stop):
        score, item = scores[i], items[i]
        j = i
        while j > start and scores[j - 1] > score:
            scores[j], items[j] = scores[j - 1], items[j - 1]
            j -= 1
        scores[j], items[j] = score, item


# ---------------------------------------------------------------- a run of blocks


@part
def bounds(starts, block, width, end):
    """Return where two neighbours start, meet and stop; the second one is empty where there is none."""
    middle, stop = block + width, block + 2 * width
    middle, stop = middle if middle < end else end, stop if stop < end else end
    return np.int64(starts[block]), np.int64(starts[middle]), np.int64(starts[stop])


@part
def count_level(runs, spare, start, middle, stop, margin, is_squared, sums):
    return add_counts(runs, start, middle, stop, spare.items, sums, 0, 1)


@part
def sum_level(runs, spare, start, middle, stop, margin, is_squared, sums):
    total = add_winners(runs, start, middle, stop, spare.items, margin, is_squared, sums)
    add_losers(runs, start, middle, stop, spare.items, margin, is_squared, sums)
    return total


def levels_of(blocks):
    """Return how many times pairs of neighbours must be merged until one is left."""
    levels = 0
    while 1 << levels < blocks:
        levels += 1
    return levels


@part
def start_run(scores, runs, sums, first, last):
    """Set the scores of some rows beside their numbers, and their slopes to 0."""
    for i in range(first, last):
        runs.scores[i], runs.items[i], sums.slopes[i] = scores[sums.rows[i]], i, 0.0


def run_merger(wants_sums):
    """Return the function with which one thread merges the blocks of a run, and counts or adds up their pairs."""
    add_few, add_level = (_sum_few, sum_level) if wants_sums else (_count_few, count_level)

    @part
    def merge_levels(runs, spare, starts, begin, end, width, levels, is_top, margin, is_squared, sums):
        total = 0.0
        for level in range(levels):
            for block in range(begin, end, 2 * width):
                start, middle, stop = bounds(starts, block, width, end)
                if middle < stop:
                    find_ends(runs.scores, start, middle, stop, margin, spare.items, 0, 1)
                    total += add_level(runs, spare, start, middle, stop, margin, is_squared, sums)
                if not (is_top and level + 1 == levels):
                    merge_into(runs, spare, start, middle, middle, stop, start)
            runs, spare = spare, runs
            width *= 2
        return total

    @part
    def merge_run(runs, spare, starts, begin, end, levels, is_top, margin, is_squared, sums):
        """Merge the blocks from begin to end; return the number of active pairs, or the loss.

        After an odd number of levels the result stands in ``spare``. At the top the blocks are not merged any more.
        """
        total = 0.0
        low_levels = levels if levels < FEW_LEVELS else FEW_LEVELS
        few = 1 << low_levels
        for block in range(begin, end, few):
            stop = block + few if block + few < end else end
            if low_levels % 2 == 0 and starts[stop] - starts[block] <= FEW_ROWS:
                total += add_few(runs, starts, block, stop, margin, is_squared, sums)
                _sort_few(runs, np.int64(starts[block]), np.int64(starts[stop]))
            else:
                is_last = is_top and low_levels == levels
                total += merge_levels(
                    runs, spare, starts, block, stop, 1, low_levels, is_last, margin, is_squared, sums
                )
        if levels > low_levels:
            rest = levels - low_levels
            total += merge_levels(runs, spare, starts, begin, end, few, rest, is_top, margin, is_squared, sums)
        return total

    return merge_run
