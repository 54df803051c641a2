"""All pairs of long lists in O(n log n): rows in the order of their scores are split by label, level by level.

A winner's active losers are the rows of lower label from one place of the order of scores on, its first place. Where
winners meet the highest losers only, the first place is not below the lowest of these. So whether two rows are an
active pair is told by two comparisons of whole numbers.

Each split parts the rows of lower labels from those of higher ones, both still in the order of their scores (a wavelet
tree), and adds up the pairs of the two parts. Only whole numbers and numbers that are never negative are added up:
nothing cancels, whatever the scores have in common. Sums keep their rounding errors, as equal numbers, added up many
times, round in one direction.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import added, loss_of_counts, rounded, slopes_times_scores
from numbarank._cpu.memory import (
    LANES,
    are_given,
    lane,
    lanes,
    moved,
    pointer_into,
    pointers,
    read,
    size_of,
    stack_of,
    write,
)
from numbarank._cpu.rows import SORTED, Rows, first_group, number_rows, weight_of_pairs
from numbarank._cpu.sorting import fill_keys, find_blocks, number_of_key, sort_keys
from numbarank._cpu.tasks import run_tasks
from numbarank._hinge import count_losers, violation

FEW = LANES  # rows of which every pair is looked at
STRETCHES = 4  # of winners whose first places are found side by side
_COLUMNS, _COLUMNS_OF_SUMS = 8, 32  # of a thread's workspace, with four bytes for each place
_violation, _count_losers = part(violation), part(count_losers)


def workspace_size(longest, wants_sums):
    """Return how many float64 numbers the workspace of a thread takes, for lists of up to so many rows."""
    return (longest + 2) * (_COLUMNS_OF_SUMS if wants_sums else _COLUMNS) // 2


class Workspace(NamedTuple):
    """A place for each row of a list, in the order of scores; a row's item is its number in the order of labels.

    The arrays that order the rows share memory with those of the splits: ``below`` counts the rows of lower labels
    before each place, ``entered`` the winners whose first place it is, ``high_items`` are those of higher labels.
    """

    keys: Any
    spare_keys: Any
    scores: Any
    items: Any
    firsts: Any
    place_of: Any
    starts: Any
    below: Any
    entered: Any
    high_items: Any
    high_firsts: Any


class SumsWorkspace(NamedTuple):
    """What is added up in a split besides, by place: over the losers from there on, and over the winners that enter.

    ``reached`` are the first places whose violation in float64 is not below 0.
    """

    reached: Any
    high_reached: Any
    high_scores: Any
    weights: Any
    moments: Any
    squares: Any
    entered: Any
    entered_reached: Any
    entered_moments: Any


class Sums(NamedTuple):
    """What is added up for the rows: the slopes by item, the active pairs where the row stands."""

    slopes: Any
    counts: Any
    rows: Any
    weights: Any
    has_counts: Any
    has_weights: Any


@part
def _workspace(block, places, scores, place_column):
    column, small, key = 4 * places, np.int32(0), np.uint64(0)
    return Workspace(
        keys=pointer_into(block, 0, key),
        below=pointer_into(block, 0, small),
        entered=pointer_into(block, column, small),
        spare_keys=pointer_into(block, 2 * column, key),
        high_items=pointer_into(block, 2 * column, small),
        high_firsts=pointer_into(block, 3 * column, small),
        items=pointer_into(block, 4 * column, small),
        firsts=pointer_into(block, 5 * column, small),
        place_of=pointer_into(block, place_column * column, small),
        starts=pointer_into(block, 6 * column, small),
        scores=scores,
    )


@part
def _sums_workspace(block, places, scores):
    column, small = 4 * places, np.int32(0)
    return SumsWorkspace(
        high_scores=pointer_into(block, 10 * column, scores),
        reached=pointer_into(block, 12 * column, small),
        high_reached=pointer_into(block, 13 * column, small),
        weights=pointer_into(block, 14 * column, 0.0),
        moments=pointer_into(block, 16 * column, 0.0),
        squares=pointer_into(block, 18 * column, 0.0),
        entered=pointer_into(block, 20 * column, 0.0),
        entered_reached=pointer_into(block, 24 * column, 0.0),
        entered_moments=pointer_into(block, 28 * column, 0.0),
    )


@part
def _lesser(a, b):
    return a if a < b else b


@part
def _weight(sums, item):
    return sums.weights[sums.rows[item]] if sums.has_weights else 1.0


# ---------------------------------------------------------------- the order of the rows


@part
def _order(given, has, count, rows, work, sorter):
    """Put the rows that take part in the order of score, and of label; return how many they are, of how many labels.

    Of equal scores, the row that stands first is the higher one.
    """
    keys, items, starts = work.keys, work.items, work.starts
    size = number_rows(given, has, count, rows)
    for i in range(size // 2):
        rows[i], rows[size - 1 - i] = rows[size - 1 - i], rows[i]
    if size == 0 or fill_keys(given.labels, rows, keys, size) == 0:
        return size, 0
    bits = fill_keys(given.scores, rows, keys, size)
    sort_keys(sorter, keys, rows, work.spare_keys, items, size, bits)
    for place in range(size):
        work.scores[place], work.place_of[place] = number_of_key(keys[place], work.scores[place]), place
    bits = fill_keys(given.labels, rows, keys, size)
    sort_keys(sorter, keys, work.place_of, work.spare_keys, items, size, bits)
    for item in range(size):
        place = work.place_of[item]
        items[place], work.high_items[item] = item, rows[place]
    for item in range(size):
        rows[item] = work.high_items[item]
    return size, find_blocks(keys, size, starts)


@part
def _is_active(scores, winner, loser, margin):
    return _violation(scores[winner], scores[loser], margin) >= type(margin)(0)


@part
def _find_firsts(scores, size, margin, firsts):
    """Find the first active place of each row as a winner.

    Some stretches of winners go side by side, so that none waits for the step before, and without branches, as none
    could be predicted.
    """
    winners, places = stack_of(STRETCHES, np.int64(0)), stack_of(STRETCHES, np.int64(0))
    for k in range(STRETCHES):
        winners[k] = size * k // STRETCHES
        places[k] = _first_of(scores, size, winners[k], margin)
    while True:
        steps = size
        for k in range(STRETCHES):
            steps = _lesser(steps, _lesser(size * (k + 1) // STRETCHES - winners[k], size - places[k]))
        if steps == 0:
            break
        for _ in range(steps):
            for k in range(STRETCHES):
                winner, place = winners[k], places[k]
                firsts[winner] = place
                is_active = _is_active(scores, winner, place, margin)
                winners[k], places[k] = winner + is_active, place + (1 - is_active)
    for k in range(STRETCHES):
        place = places[k]
        for winner in range(winners[k], size * (k + 1) // STRETCHES):
            while place < size and not _is_active(scores, winner, place, margin):
                place += 1
            firsts[winner] = place


@part
def _first_of(scores, size, winner, margin):
    low, high = 0, size
    while low < high:
        place = (low + high) // 2
        if _is_active(scores, winner, place, margin):
            high = place
        else:
            low = place + 1
    return low


@part
def _find_reached(scores, size, margin, firsts, reached):
    """Find from the first place of each winner on the first one whose violation in float64 is not below 0."""
    for winner in range(size):
        place, score = np.int64(firsts[winner]), np.float64(scores[winner])
        while place < size and _violation(score, np.float64(scores[place]), margin) < 0:
            place += 1
        reached[winner] = place


@part
def _raise_firsts(work, blocks, share, most, sums):
    """Raise the first places to the lowest losers that winners meet; return what all pairs weigh.

    Label by label, downwards, its rows leave a linked list of the places. The lowest loser that rows of one label meet
    is few links from that of the label before.
    """
    lower, higher, firsts, starts = work.below, work.entered, work.firsts, work.starts
    size = np.int64(starts[blocks])
    for link in range(size + 2):
        lower[link], higher[link] = link - 1, link + 1
    pairs = weight = weight_low = 0.0
    lowest, met = size + 1, 0
    for block in range(blocks - 1, 0, -1):
        own = own_low = 0.0
        for item in range(starts[block], starts[block + 1]):
            link, more = np.int64(work.place_of[item]) + 1, _weight(sums, item)
            higher[lower[link]], lower[higher[link]] = higher[link], lower[link]
            own, own_low = added(own, own_low, more)
            if link >= lowest:
                met, lowest = met - 1, (np.int64(higher[link]) if link == lowest else lowest)
                weight, weight_low = added(weight, weight_low, -more)
        wanted = _count_losers(np.int64(starts[block]), share, most)
        while met < wanted:
            met, lowest = met + 1, np.int64(lower[lowest])
            weight, weight_low = added(weight, weight_low, _weight(sums, work.items[lowest - 1]))
        while met > wanted:
            weight, weight_low = added(weight, weight_low, -_weight(sums, work.items[lowest - 1]))
            met, lowest = met - 1, np.int64(higher[lowest])
        pairs += rounded(own, own_low) * rounded(weight, weight_low)
        for item in range(starts[block], starts[block + 1]):
            place = work.place_of[item]
            firsts[place] = firsts[place] if firsts[place] > lowest - 1 else np.int32(lowest - 1)
    return pairs


# ---------------------------------------------------------------- active pairs, counted


@part
def _count_split(work, work_of_sums, begin, half, end, margin, is_squared, sums):
    """Count the active pairs of a split, part its rows, and return the number."""
    items, firsts, below, entered = work.items, work.firsts, work.below, work.entered
    slopes, counts, rows, has_counts = sums.slopes, sums.counts, sums.rows, sums.has_counts
    start, middle, stop = np.int64(work.starts[begin]), np.int64(work.starts[half]), np.int64(work.starts[end])
    for i in range(start, stop + 1):
        entered[i] = 0
    low = start
    for i in range(start, stop):
        is_low = items[i] < middle
        below[i] = low
        low += is_low
        entered[firsts[i]] += np.int32(1 - is_low)
    below[stop] = low
    total = winners = 0
    low, high = start, 0
    for i in range(start, stop):
        item, first = np.int64(items[i]), np.int64(firsts[i])
        is_low, first_low = item < middle, np.int64(below[first])
        winners += entered[i]
        losers = 0 if is_low else middle - first_low
        total += losers
        active = winners if is_low else losers
        slopes[item] += active if is_low else -active
        if has_counts:
            counts[rows[item]] += active
        items[low], firsts[low] = item, first_low
        work.high_items[high], work.high_firsts[high] = item, middle + first - first_low
        low, high = low + is_low, high + (1 - is_low)
    for k in range(stop - middle):
        items[middle + k], firsts[middle + k] = work.high_items[k], work.high_firsts[k]
    return np.float64(total)


@part
def _fill_lower_ends(starts, begin, end, ends):
    """Note for each of a few items, in their order, where the items of lower labels end."""
    for block in range(begin, end):
        for item in range(starts[block], starts[block + 1]):
            ends[item - starts[begin]] = starts[block]


@part
def _count_few(work, work_of_sums, begin, end, margin, is_squared, sums):
    """Count the active pairs of a few rows, looking at each; return their number."""
    items, slopes, counts, rows, has_counts = work.items, sums.slopes, sums.counts, sums.rows, sums.has_counts
    start, stop = np.int64(work.starts[begin]), np.int64(work.starts[end])
    ends, active, total = lanes(np.int32(0)), lanes(np.int32(0)), 0
    _fill_lower_ends(work.starts, begin, end, ends)
    (others,) = moved((items,), start)
    for i in range(start, stop):
        lower_end, losers = ends[items[i] - start], np.int32(0)
        for k in range(work.firsts[i] - start, stop - start):
            is_active = np.int32(read(others, k) < lower_end)
            losers = np.int32(losers + is_active)
            write(active, k, np.int32(lane(active, k) + is_active))
        slopes[items[i]] -= losers
        total += losers
        if has_counts:
            counts[rows[items[i]]] += losers
    for i in range(start, stop):
        winners = lane(active, i - start)
        slopes[items[i]] += winners
        if has_counts:
            counts[rows[items[i]]] += winners
    return np.float64(total)


# ---------------------------------------------------------------- weights and violations, added up


@part
def _add_at(sums, place, more):
    sums[2 * place], sums[2 * place + 1] = added(sums[2 * place], sums[2 * place + 1], more)


@part
def _added_from(high, low, sums, place):
    return added(high, low + sums[2 * place + 1], sums[2 * place])


@part
def _clear(sums, first, last):
    for k in range(2 * first, 2 * last):
        sums[k] = 0.0


@part
def _part_rows(work, sides, start, middle, stop):
    """Part the rows of lower labels from the others, for which it also notes where their losers begin."""
    below, items, firsts, reached, scores = work.below, work.items, work.firsts, sides.reached, work.scores
    low = start
    for i in range(start, stop):
        below[i] = low
        low += items[i] < middle
    below[stop] = low
    low, high = start, 0
    for i in range(start, stop):
        item, first, reach, score = items[i], firsts[i], reached[i], scores[i]
        is_low = item < middle
        items[low], firsts[low], reached[low], scores[low] = item, below[first], below[reach], score
        work.high_items[high], work.high_firsts[high] = item, first
        sides.high_reached[high], sides.high_scores[high] = reach, score
        low, high = low + is_low, high + (1 - is_low)
    for k in range(stop - middle):
        first, reach = work.high_firsts[k], sides.high_reached[k]
        items[middle + k], scores[middle + k] = work.high_items[k], sides.high_scores[k]
        work.high_firsts[k], sides.high_reached[k] = below[first], below[reach]
        firsts[middle + k], reached[middle + k] = middle + first - below[first], middle + reach - below[reach]


@part
def _sum_losers_above(scores, items, sides, start, middle, is_squared, sums):
    """Add up the losers from each place on: their weights, and violations of a winner that is as high as the place."""
    weight = weight_low = moment = moment_low = square = square_low = 0.0
    sides.weights[middle] = sides.moments[middle] = sides.squares[middle] = 0.0
    previous = np.float64(scores[middle - 1])
    for i in range(middle - 1, start - 1, -1):
        score = np.float64(scores[i])
        step, previous = previous - score, score
        more = step * rounded(weight, weight_low)
        if is_squared:
            square, square_low = added(square, square_low, step * (2 * rounded(moment, moment_low) + more))
            sides.squares[i] = rounded(square, square_low)
        moment, moment_low = added(moment, moment_low, more)
        weight, weight_low = added(weight, weight_low, _weight(sums, items[i]))
        sides.weights[i], sides.moments[i] = rounded(weight, weight_low), rounded(moment, moment_low)


@part
def _add_winners(work, sides, start, middle, stop, margin, is_squared, sums):
    """Add up the winners of a split, and note them at the first of their losers; return the loss."""
    scores, items, has_counts = work.scores, work.items, sums.has_counts
    if has_counts or not is_squared:
        _clear(sides.entered, start, middle + 1)
    if is_squared:
        _clear(sides.entered_reached, start, middle + 1)
        _clear(sides.entered_moments, start, middle + 1)
    total = total_low = 0.0
    for k in range(stop - middle):
        item, first, reached = items[middle + k], np.int64(work.high_firsts[k]), np.int64(sides.high_reached[k])
        z = _violation(np.float64(scores[middle + k]), np.float64(scores[reached]), np.float64(margin))
        z = z if reached < middle else 0.0
        own, weight = _weight(sums, item), sides.weights[first]
        moment = sides.moments[reached] + z * sides.weights[reached]
        if is_squared:
            square = sides.squares[reached] + z * (sides.moments[reached] + moment)
            sums.slopes[item] -= own * 2 * moment
            total, total_low = added(total, total_low, own * square)
            _add_at(sides.entered_reached, reached, own)
            _add_at(sides.entered_moments, reached, own * z)
        else:
            sums.slopes[item] -= own * weight
            total, total_low = added(total, total_low, own * moment)
        if has_counts:
            sums.counts[sums.rows[item]] += own * weight
        if has_counts or not is_squared:
            _add_at(sides.entered, first, own)
    return rounded(total, total_low)


@part
def _add_losers(scores, items, sides, start, middle, is_squared, sums):
    """Add up the losers of a split: the winners of each have entered at its place or before it."""
    weight = weight_low = reached = reached_low = moment = moment_low = 0.0
    previous = np.float64(scores[start])
    for i in range(start, middle):
        score, item, slope = np.float64(scores[i]), items[i], 0.0
        own = _weight(sums, item)
        if sums.has_counts or not is_squared:
            weight, weight_low = _added_from(weight, weight_low, sides.entered, i)
            slope = rounded(weight, weight_low)
        if sums.has_counts:
            sums.counts[sums.rows[item]] += own * slope
        if is_squared:
            moment, moment_low = added(moment, moment_low, (score - previous) * rounded(reached, reached_low))
            moment, moment_low = _added_from(moment, moment_low, sides.entered_moments, i)
            reached, reached_low = _added_from(reached, reached_low, sides.entered_reached, i)
            slope, previous = 2 * rounded(moment, moment_low), score
        sums.slopes[item] += own * slope


@part
def _sum_split(work, sides, begin, half, end, margin, is_squared, sums):
    """Part the rows of a split, add up the pairs of the two parts, and return the loss."""
    start, middle, stop = np.int64(work.starts[begin]), np.int64(work.starts[half]), np.int64(work.starts[end])
    _part_rows(work, sides, start, middle, stop)
    _sum_losers_above(work.scores, work.items, sides, start, middle, is_squared, sums)
    loss = _add_winners(work, sides, start, middle, stop, margin, is_squared, sums)
    _add_losers(work.scores, work.items, sides, start, middle, is_squared, sums)
    return loss


@part
def _sum_few(work, sides, begin, end, margin, is_squared, sums):
    """Add up the active pairs of a few rows, looking at each; return the loss."""
    items, scores, slopes, counts, rows = work.items, work.scores, sums.slopes, sums.counts, sums.rows
    start, stop = np.int64(work.starts[begin]), np.int64(work.starts[end])
    ends, total = lanes(np.int32(0)), 0.0
    _fill_lower_ends(work.starts, begin, end, ends)
    for i in range(start, stop):
        item, score = items[i], np.float64(scores[i])
        own, lower_end = _weight(sums, item), ends[item - start]
        weight = moment = square = 0.0
        for k in range(work.firsts[i], stop):
            loser = items[k]
            if loser < lower_end:
                z = _violation(score, np.float64(scores[k]), np.float64(margin))
                z, more = (z if z > 0 else 0.0), _weight(sums, loser)
                weight += more
                moment += more * z
                square += more * z * z
                slopes[loser] += own * more * (2 * z if is_squared else 1.0)
                if sums.has_counts:
                    counts[rows[loser]] += own * more
        slopes[item] -= own * (2 * moment if is_squared else weight)
        total += own * (square if is_squared else moment)
        if sums.has_counts:
            counts[rows[item]] += own * weight
    return total


# ---------------------------------------------------------------- from the lists to their slopes


def _splitter(wants_sums):
    """Return the function that splits the rows of a list by label, and counts or adds up the pairs of each split."""
    add_split, add_few = (_sum_split, _sum_few) if wants_sums else (_count_split, _count_few)

    @part
    def split(work, sides, blocks, margin, is_squared, sums):
        """Return the number of active pairs, or the loss."""
        begins, ends = stack_of(64, np.int64(0)), stack_of(64, np.int64(0))
        begins[0], ends[0], waiting, total = 0, blocks, 1, 0.0
        while waiting > 0:
            waiting -= 1
            begin, end = begins[waiting], ends[waiting]
            if work.starts[end] - work.starts[begin] <= FEW:
                total += add_few(work, sides, begin, end, margin, is_squared, sums)
                continue
            half = (begin + end) // 2
            total += add_split(work, sides, begin, half, end, margin, is_squared, sums)
            for first, last in ((half, end), (begin, half)):
                begins[waiting], ends[waiting] = first, last
                waiting += last - first > 1
        return total

    return split


class Work(NamedTuple):
    """What the tasks of a call share."""

    given: Any
    has: Any
    groups: Any
    chunks: Any
    offsets: Any
    strategies: Any
    losses: Any
    pairs: Any
    sizes: Any
    rows: Any
    slopes: Any
    counts: Any
    block: Any
    has_counts: Any
    margin: Any
    share: Any
    most: Any
    is_squared: Any
    places: Any
    sorter: Any


@functools.cache
def loop(wants_sums, is_limited):
    """Return the loop over the lists whose rows are sorted, and their pairs counted or added up.

    If it is limited, each row meets only the highest-scoring of the rows of lower labels.
    """
    split = _splitter(wants_sums)
    columns, place_column = (_COLUMNS_OF_SUMS if wants_sums else _COLUMNS), (7 if is_limited else 5)

    @part
    def find_pairs(work, list_work, sides, size, blocks, rows, sums):
        """Find where the active pairs of each row begin; return what all pairs weigh."""
        firsts = list_work.firsts
        _find_firsts(list_work.scores, size, work.margin, firsts)
        if is_limited:
            pairs = _raise_firsts(list_work, blocks, work.share, work.most, sums)
        else:
            pairs = weight_of_pairs(rows, sums.weights, sums.has_weights, list_work.starts, blocks)
        if wants_sums:
            _find_reached(list_work.scores, size, np.float64(work.margin), firsts, sides.reached)
        return pairs

    @part
    def add_list(work, list_work, sides, group, start, count):
        given, (rows, slopes, counts) = moved(work.given, start), moved((work.rows, work.slopes, work.counts), start)
        sums = Sums(slopes, counts, rows, given.weights, work.has_counts, work.has.weights)
        size, blocks = _order(given, work.has, count, rows, list_work, work.sorter)
        work.sizes[group], work.pairs[group], work.losses[group] = size, 0.0, 0.0
        if blocks > 0:
            work.pairs[group] = find_pairs(work, list_work, sides, size, blocks, rows, sums)
        for item in range(size):
            slopes[item] = 0.0
        if work.has_counts:
            for row in range(count):
                counts[row] = 0.0
        if blocks > 0:
            total = split(list_work, sides, blocks, work.margin, work.is_squared, sums)
            if not wants_sums:
                high, low = slopes_times_scores(slopes, given.scores, rows, 0, size)
                total = loss_of_counts(work.margin, total, high, low)
            work.losses[group] = total

    @part
    def lists_of_chunk(work, chunk):
        offsets = work.offsets
        (block,) = moved((work.block,), chunk * columns * work.places // 2)
        sides = _sums_workspace(block, work.places, work.given.scores)
        first = first_group(chunk, work.chunks, offsets, work.groups)
        for group in range(first, first_group(chunk + 1, work.chunks, offsets, work.groups)):
            if work.strategies[group] == SORTED:
                start = offsets[group]
                # counts need no scores once the first places are found: they stand where the slopes come to stand
                scores = block if wants_sums else moved((work.slopes,), start)[0]
                scores = pointer_into(scores, 32 * work.places if wants_sums else 0, work.given.scores)
                list_work = _workspace(block, work.places, scores, place_column)
                add_list(work, list_work, sides, group, start, offsets[group + 1] - start)

    def sort_lists(
        scores, labels, weights, where, offsets, margin, share, most, is_squared, strategies, losses, pairs, sizes,
        rows, slopes, counts, block, sorter, chunks, launch,
    ):  # fmt: skip
        given = Rows(scores, labels, weights, where)
        results = pointers((offsets, strategies, losses, pairs, sizes, rows, slopes, counts, block))
        has_counts = are_given((counts,))[0]
        places = 2 * size_of(block) // (chunks * columns)
        work = Work(
            pointers(given), are_given(given), size_of(losses), chunks, *results, has_counts, margin, share, most,
            is_squared, places, sorter,
        )  # fmt: skip
        run_tasks(lists_of_chunk, work, chunks, launch)

    return CompiledLoop(f"long lists {wants_sums} {is_limited}", sort_lists, (*Rows._fields, "offsets"))
