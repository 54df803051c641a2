"""All pairs of a few winners with many losers, such as a query's positives with all other items.

Only the winners are put in order. The active winners of a loser are the lowest ones, so a loser needs no more than
their number. The losers that are active with anybody are active with the lowest winner; the others are skipped, many at
a time, and so are those that are not among the highest ones where only some are wanted.

Only numbers that are never negative are added up on the way: nothing cancels, whatever the scores have in common.
"""

from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import part
from numbarank._cpu.exact import scaled
from numbarank._cpu.memory import LANES, lane, lanes, moved, pointer_into, read, stack_of, write
from numbarank._cpu.sorting import number_of_key, sort_key, sort_keys
from numbarank._hinge import violation

BUCKETS, COUNTS = 1024, 1032  # the last eight are for numbers outside of the range, so that there is no branch
WAYS = 4  # sums side by side, so that none waits for the one before
SPARE = 1024  # losers that are gathered beyond twice those that are wanted, before the highest ones are selected
CHUNK = 4096  # losers added up before their sums go to the totals: many equal numbers round in one direction
_WINNER_COLUMNS, _CANDIDATE_COLUMNS = 12 + 3 * WAYS, 2
_ONE = np.uint64(1)
_violation = part(violation)


class Row(NamedTuple):
    """What is given of a row: pointers, and whether there are weights.

    ``scores`` may be written to. ``winners`` are places in the row, and ``weights`` beside them theirs;
    ``loser_weights`` stand in the order of the scores.
    """

    scores: Any
    winners: Any
    weights: Any
    loser_weights: Any
    has_weights: Any
    has_loser_weights: Any


class Written(NamedTuple):
    """What is written of a row: pointers in the order of the scores, and whether there are such arrays."""

    gradient: Any
    counts: Any
    factor: Any
    has_gradient: Any
    has_counts: Any


class Workspace(NamedTuple):
    """The workspace of a thread: places for winners from ``keys`` to ``squares``, and for candidates, which are losers.

    By the number of a loser's active winners, ``below`` has the sum of their weights, and ``distances`` the sum of
    their weighted distances to the highest one of them. ``amounts``, ``moments`` and ``squares`` add up the weights,
    violations and squared violations of the losers with so many active winners; violations of that highest winner.
    ``way_amounts`` and the like are those of some losers.
    """

    keys: Any
    order: Any
    spare_keys: Any
    spare_order: Any
    winners: Any
    thresholds: Any
    weights: Any
    below: Any
    distances: Any
    amounts: Any
    moments: Any
    squares: Any
    way_amounts: Any
    way_moments: Any
    way_squares: Any
    candidates: Any
    items: Any
    places: Any


def places_for_winners(most):
    """Return how many places the workspace has for the winners of rows with up to so many."""
    return _whole_lanes(2 * most + 2)


def places_for_candidates(items, most_kept):
    """Return how many places the workspace has for the candidates of rows with so many items, of which some stay."""
    return _whole_lanes(min(items, 2 * most_kept + SPARE)) + LANES


def _whole_lanes(size):
    return (size + LANES - 1) // LANES * LANES


def workspace_size(winner_places, candidate_places):
    """Return how many float64 numbers a thread's workspace takes."""
    return _WINNER_COLUMNS * winner_places + _CANDIDATE_COLUMNS * candidate_places


@part
def workspace(block, winner_places, candidate_places, scores):
    """Return the workspace in a block of float64 numbers."""
    column, wide = 8 * winner_places, 8 * candidate_places
    small, key = np.int32(0), np.uint64(0)
    rest = _WINNER_COLUMNS * column
    return Workspace(
        keys=pointer_into(block, 0, key),
        order=pointer_into(block, column, small),
        spare_keys=pointer_into(block, 2 * column, key),
        spare_order=pointer_into(block, 3 * column, small),
        winners=pointer_into(block, 4 * column, scores),
        thresholds=pointer_into(block, 5 * column, scores),
        weights=pointer_into(block, 6 * column, 0.0),
        below=pointer_into(block, 7 * column, 0.0),
        distances=pointer_into(block, 8 * column, 0.0),
        amounts=pointer_into(block, 9 * column, 0.0),
        moments=pointer_into(block, 10 * column, 0.0),
        squares=pointer_into(block, 11 * column, 0.0),
        way_amounts=pointer_into(block, 12 * column, 0.0),
        way_moments=pointer_into(block, (12 + WAYS) * column, 0.0),
        way_squares=pointer_into(block, (12 + 2 * WAYS) * column, 0.0),
        candidates=pointer_into(block, rest, scores),
        items=pointer_into(block, rest + wide, small),
        places=pointer_into(block, rest + wide + wide // 2, small),
    )


# ---------------------------------------------------------------- winners


@part
def order_winners(row, count, work, sorter):
    """Put the winners in the order of their scores."""
    scores, keys, bits = row.scores, work.keys, np.uint64(0)
    for i in range(count):
        keys[i], work.order[i] = sort_key(scores[row.winners[i]]), i
        bits |= keys[i] ^ keys[0]
    sort_keys(sorter, keys, work.order, work.spare_keys, work.spare_order, count, bits)
    for i in range(count):
        place = work.order[i]
        work.winners[i] = scores[row.winners[place]]
        work.weights[i] = row.weights[place] if row.has_weights else 1.0


@part
def _is_active(winner, key, margin):
    return _violation(winner, number_of_key(key, winner), margin) >= type(margin)(0)


@part
def threshold(winner, margin):
    """Return the smallest score with which a loser is active with a winner; infinity where none is."""
    lowest, highest = sort_key(type(margin)(-np.inf)), sort_key(type(margin)(np.inf))
    guess = winner - margin
    key = sort_key(guess if guess == guess else winner)
    step = _ONE
    if _is_active(winner, key, margin):
        inactive = lowest
        while key - lowest > step and _is_active(winner, key - step, margin):
            key -= step
            step += step
        if key - lowest > step:
            inactive = key - step
    else:
        inactive = key
        while highest - inactive > step and not _is_active(winner, inactive + step, margin):
            inactive += step
            step += step
        key = inactive + step if highest - inactive > step else highest
    while key - inactive > _ONE:
        middle = inactive + ((key - inactive) >> _ONE)
        if _is_active(winner, middle, margin):
            key = middle
        else:
            inactive = middle
    return number_of_key(key, winner)


@part
def find_candidates(row, work, items, count, keep, capacity, margin):
    """Gather the losers that are active with any of the winners, which are in order; return how many they are."""
    for i in range(count):
        work.thresholds[i] = threshold(work.winners[i], margin)
    return gather(row.scores, items, work.thresholds[0], keep, capacity, work.candidates, work.items)


@part
def add_pairs(row, work, size, count, stride, margin, is_squared, written):
    """Add up the pairs of the candidates, write all slopes and return the loss."""
    sum_winners(work, count)
    count_active_winners(work, size, count)
    add_losers(row, work, size, count, stride, margin, is_squared, written)
    return add_winners(row, work, count, is_squared, written)


@part
def sum_winners(work, count):
    """Fill the sums over the lowest winners."""
    weight = distance = 0.0
    work.below[0] = work.distances[0] = 0.0
    for i in range(count):
        if i > 0:
            distance += weight * (np.float64(work.winners[i]) - np.float64(work.winners[i - 1]))
        weight += work.weights[i]
        work.below[i + 1], work.distances[i + 1] = weight, distance


# ---------------------------------------------------------------- the losers that matter


@part
def _has_one_from(scores, start, lowest):
    """Tell whether one of ``LANES`` scores is not below a lowest one."""
    found = np.int32(0)
    for k in range(LANES):
        found |= np.int32(scores[start + k] >= lowest)
    return found != 0


@part
def gather(scores, count, lowest, keep, capacity, candidates, items):
    """Gather the ``keep`` highest of the scores from a lowest one on, in their order; return how many they are.

    Of equal scores the first ones stay. What is gathered is cut down to the highest ones each time that it is full, and
    that raises the lowest score: then most of the others are skipped.
    """
    size = 0
    for start in range(0, count, LANES):
        end = start + LANES
        if end > count:
            end = count
        elif not _has_one_from(scores, start, lowest):
            continue
        if size + LANES > capacity:
            size = cut(candidates, items, size, keep)
            lowest_kept = sort_key(_lowest(candidates, size))
            lowest = number_of_key(lowest_kept + _ONE, lowest)
        for i in range(start, end):
            score = scores[i]
            candidates[size], items[size] = score, i
            size += score >= lowest
    return cut(candidates, items, size, keep) if size > keep else size


@part
def _lowest(numbers, size):
    lowest = numbers[0]
    for k in range(1, size):
        lowest = numbers[k] if numbers[k] < lowest else lowest
    return lowest


@part
def cut(numbers, items, size, keep):
    """Keep the highest numbers, of equal ones the first, and the items beside them; return how many stay."""
    if size <= keep:
        return size
    last, equal = _last_key(numbers, size, keep)
    kept = 0
    for k in range(size):
        number, item = numbers[k], items[k]
        key = sort_key(number)
        is_equal = (key == last) & (equal > 0)
        numbers[kept], items[kept] = number, item
        equal -= is_equal
        kept += (key > last) | is_equal
    return kept


@part
def _last_key(numbers, size, keep):
    """Return a key, and how many numbers with that key belong to the highest ones, beside all with higher keys."""
    counts = stack_of(COUNTS, np.int32(0))
    low = high = sort_key(numbers[0])
    for k in range(size):
        key = sort_key(numbers[k])
        low, high = (key if key < low else low), (key if key > high else high)
    rest = np.int64(keep)
    while low < high:
        shift, span = np.uint64(0), high - low
        while (span >> shift) >= np.uint64(BUCKETS):
            shift += _ONE
        for bucket in range(BUCKETS):
            counts[bucket] = 0
        for k in range(size):
            distance = sort_key(numbers[k]) - low
            outside = np.uint64(BUCKETS) + (np.uint64(k) & np.uint64(7))
            counts[distance >> shift if distance <= span else outside] += np.int32(1)
        bucket = BUCKETS - 1
        while counts[bucket] < rest:
            rest -= counts[bucket]
            bucket -= 1
        low += np.uint64(bucket) << shift
        if counts[bucket] == rest:
            return low - _ONE, 0
        top = low + (_ONE << shift) - _ONE
        high = top if top < high else high
    return low, rest


# ---------------------------------------------------------------- pairs


@part
def count_active_winners(work, size, count):
    """Find for each candidate how many winners it is active with: a binary search, ``LANES`` candidates at a time."""
    thresholds, half = work.thresholds, 1
    while half + half <= count:
        half += half
    for i in range(count, 2 * half):
        thresholds[i] = np.inf
    for start in range(0, size, LANES):
        candidates, places = moved((work.candidates, work.places), start)
        found = lanes(np.int32(0))
        step = half
        while step > 0:
            for k in range(LANES):
                place = lane(found, k)
                is_active = read(thresholds, np.int64(place) + step - 1) <= read(candidates, k)
                write(found, k, np.int32(place + (np.int32(step) if is_active else np.int32(0))))
            step >>= 1
        for k in range(LANES):
            write(places, k, lane(found, k))


@part
def add_losers(row, work, size, count, stride, margin, is_squared, written):
    """Add up the candidates by their active winners, and write their slopes."""
    for k in range(count + 1):
        work.amounts[k] = work.moments[k] = work.squares[k] = 0.0
    chunk = CHUNK if 8 * count < CHUNK else 8 * count
    for first in range(0, size, chunk):
        for way in range(WAYS):
            for k in range(way * stride, way * stride + count + 1):
                work.way_amounts[k] = work.way_moments[k] = work.way_squares[k] = 0.0
        last = first + chunk if first + chunk < size else size
        _add_some_losers(row, work, first, last, stride, margin, is_squared, written)
        for way in range(WAYS):
            for k in range(1, count + 1):
                work.amounts[k] += work.way_amounts[way * stride + k]
                work.moments[k] += work.way_moments[way * stride + k]
                work.squares[k] += work.way_squares[way * stride + k]


@part
def _add_some_losers(row, work, first, last, stride, margin, is_squared, written):
    amounts, moments, squares = work.way_amounts, work.way_moments, work.way_squares
    for k in range(first, last):
        place, item = np.int64(work.places[k]), work.items[k]
        bucket = (k & (WAYS - 1)) * stride + place
        own = row.loser_weights[item] if row.has_loser_weights else 1.0
        z = _violation(np.float64(work.winners[place - 1]), np.float64(work.candidates[k]), np.float64(margin))
        z = z if z > 0 else 0.0
        weight = work.below[place]
        amounts[bucket] += own
        moments[bucket] += own * z
        if is_squared:
            squares[bucket] += own * z * z
            slope = 2 * (weight * z + work.distances[place])
        else:
            slope = weight
        if written.has_gradient:
            written.gradient[item] = scaled(own * slope, written.factor)
        if written.has_counts:
            written.counts[item] = own * weight


@part
def add_winners(row, work, count, is_squared, written):
    """Write the slopes of the winners and return the loss.

    From one winner to the next lower one, every violation grows by the distance of the two.
    """
    total = weight = moment = square = 0.0
    for i in range(count - 1, -1, -1):
        if weight > 0:
            step = np.float64(work.winners[i + 1]) - np.float64(work.winners[i])
            square += step * (2 * moment + step * weight)
            moment += step * weight
        weight += work.amounts[i + 1]
        moment += work.moments[i + 1]
        square += work.squares[i + 1]
        own, item = work.weights[i], row.winners[work.order[i]]
        total += own * (square if is_squared else moment)
        if written.has_gradient:
            written.gradient[item] = scaled(-own * (2 * moment if is_squared else weight), written.factor)
        if written.has_counts:
            written.counts[item] = own * weight
    return total
