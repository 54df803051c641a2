"""All pairs of every query group: by one thread or several, with the same bits either way.

Of a group with few pairs, every pair is looked at; the rows of others are sorted, each group by one thread.
Python strings the phases together; each is a compiled loop over chunks of the rows.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu import arrays, every_pair, long_lists, sorting, threads, two_levels
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import scaled, sum_rounded_once
from numbarank._cpu.memory import pointers, size_of
from numbarank._cpu.rows import FEW_WINNERS, LONG_FROM, SORTED, UNSORTED
from numbarank._cpu.tasks import launch_on, run_tasks

LONGEST = 2**31 - 1  # rows of a group are numbered with 32 bits
PARALLEL_FROM = LONG_FROM  # where a thread of the pool is woken on this one's core, milliseconds are lost


def run(lists, dtype, wants_each, results):
    """Pass over all pairs of every group, fill the results, return loss and invalid row: see ``GroupsBackend``."""
    scores, labels, weights, where, groups, margin, power, losers, is_mean, upstream = lists
    gradient, counts = results
    absent = _absent(scores.dtype)
    if scores.ndim != 1:
        scores, labels, weights, where, gradient, counts = map(
            _flat, (scores, labels, weights, where, gradient, counts)
        )
    call = Call(
        scores,
        labels,
        absent.numbers if weights is None else weights,
        absent.flags if where is None else where.view(np.uint8),
        groups.offsets,
        np.array([upstream]) if type(upstream) is float else upstream,
        scores.dtype.type(margin),
        power,
        is_mean,
        np.empty(len(groups)),
        absent.scores if gradient is None else gradient,
        absent.numbers if counts is None else counts,
        losers,
    )
    invalid = _first_invalid_row(call)
    if invalid >= 0:
        return None, invalid
    total = _total(call, groups)
    return arrays.cast(call.losses if wants_each else np.array(total), dtype), -1


def label_dtype(dtype):
    """Return the dtype in which the loops take labels of a dtype: one of a few that hold all others."""
    if dtype.kind == "u" and dtype.itemsize == 8:
        return np.dtype(np.uint64)
    if dtype.kind == "b":
        return np.dtype(np.int8)
    if dtype.kind in "iu":
        return np.dtype(np.int64)
    return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)


class Absent(NamedTuple):
    """Arrays without elements, for what is not given or not wanted: one compilation serves with and without."""

    scores: np.ndarray
    numbers: np.ndarray
    flags: np.ndarray


@functools.cache
def _absent(dtype):
    return Absent(np.empty(0, dtype), np.empty(0), np.empty(0, np.uint8))


def _flat(array):
    return None if array is None else array.reshape(-1)


class Call(NamedTuple):
    """One call's arrays of one axis, and its settings."""

    scores: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    where: np.ndarray
    offsets: np.ndarray
    upstream: np.ndarray
    margin: np.generic
    power: int
    is_mean: bool
    losses: np.ndarray
    gradient: np.ndarray
    counts: np.ndarray
    losers: tuple | None


def _first_invalid_row(call):
    """Return the first row that takes part and cannot be computed with, or -1."""
    scores, labels, weights, where = call[:4]
    is_valid = _are_finite(scores) and (labels.dtype.kind != "f" or _are_finite(labels))
    if is_valid and (weights.size == 0 or (weights.min() >= 0 and weights.max() < np.inf)):
        return -1
    invalid = ~np.isfinite(scores) | ~np.isfinite(labels)
    if weights.size:
        invalid |= ~((weights >= 0) & (weights < np.inf))
    if where.size:
        invalid &= where != 0
    return int(np.argmax(invalid)) if invalid.any() else -1


def _are_finite(numbers):
    return np.count_nonzero(np.isfinite(numbers)) == numbers.size  # faster than all() for short lists


class Found(NamedTuple):
    """What the phases find of the groups, and of the rows of sorted ones in the order of label and score.

    ``units`` are what the gradient of a group was divided by at first, ``sizes`` how many rows of it take part.
    """

    strategies: np.ndarray
    pairs: np.ndarray
    units: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray
    slopes: np.ndarray


def _total(call, groups):
    """Fill the buffers of a call and return the total."""
    count = len(groups)
    chunks = threads.count() if call.scores.size >= PARALLEL_FROM and count > 1 else 1
    launch = launch_on(chunks)
    found = Found(np.zeros(count, np.int8), np.zeros(count), np.empty(count), _SIZES, _ROWS, _SLOPES)
    has_few_winners = groups.longest >= two_levels.FEW_FROM and _are_few_winners_likely(call, groups)
    if has_few_winners:
        _take_few_winners(call, found, groups, chunks, launch)
    if call.where.size or call.weights.size:
        _clear(call, found, has_few_winners)
    total = all_pairs = 0.0
    if not (has_few_winners and (found.strategies == FEW_WINNERS).all()):
        total, all_pairs = _choose_strategies(call, found, groups, chunks, launch)
    # shorter ones cannot have more pairs
    may_be_sorted = call.losers is not None or groups.longest > 2 * _pairs_per_row(call)
    any_sorted = may_be_sorted and (found.strategies >= SORTED).any()
    if any_sorted:
        size = len(call.scores)
        found = found._replace(sizes=np.empty(count, np.int64), rows=np.empty(size, np.int32), slopes=np.empty(size))
        _sort_groups(call, found, groups, chunks, launch)
    if any_sorted or has_few_winners:
        total, all_pairs = sum_rounded_once(call.losses), sum_rounded_once(found.pairs)
    divisor = all_pairs if call.is_mean and all_pairs > 0 else 1.0
    if call.gradient.size and (call.is_mean or any_sorted):
        _write_gradient(call, found, divisor, chunks, launch)
    return total / divisor


def _clear(call, found, has_few_winners):
    """Set what belongs to rows that take no part to 0, but in groups of which all rows are written already."""
    if not has_few_winners:
        call.gradient[:] = 0
        call.counts[:] = 0
        return
    for group in np.flatnonzero(found.strategies != FEW_WINNERS):
        call.gradient[call.offsets[group] : call.offsets[group + 1]] = 0
        call.counts[call.offsets[group] : call.offsets[group + 1]] = 0


def _choose_strategies(call, found, groups, chunks, launch):
    """Choose how the pairs of each other group are found; return the totals of those of which each is looked at."""
    longest = _longest_below(LONG_FROM, groups)
    if call.losers is None and (longest > 0 or groups.longest == 0):
        return _look_at_pairs(call, found, longest, chunks, launch)
    found.strategies[found.strategies != FEW_WINNERS] = SORTED
    return 0.0, 0.0


def _are_few_winners_likely(call, groups):
    """Tell by the longest group whether groups of two levels with few winners are to be looked for."""
    if call.losers is not None and call.weights.size:
        return False
    longest = int(np.argmax(groups.sizes)) if len(groups) > 1 else 0
    return two_levels.are_likely(call.labels[groups.offsets[longest] : groups.offsets[longest + 1]])


def _take_few_winners(call, found, groups, chunks, launch):
    """Find the pairs of the groups of two levels with few winners."""
    share, most = call.losers or (1.0, LONGEST)
    places = two_levels.places_for(groups.longest, most)
    two_levels.sum_groups(
        (call.scores.dtype, call.labels.dtype), *call[:6], call.margin, share, most, call.power == 2, call.is_mean,
        call.losses, found.pairs, found.units, found.strategies, call.gradient, call.counts,
        np.empty(chunks * two_levels.workspace_size(places)), *places, sorting.sorter(), chunks, launch,
    )  # fmt: skip


_SIZES, _ROWS, _SLOPES = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)


def _longest_below(length, groups):
    """Return the length of the longest group that is shorter than a length."""
    if groups.longest < length:
        return groups.longest
    sizes = groups.sizes
    return int(sizes[sizes < length].max(initial=0))


def _wants_sums(call):
    return call.power == 2 or call.weights.size > 0


def _pairs_per_row(call):
    return every_pair.PAIRS_PER_ROW_OF_SUMS if _wants_sums(call) else every_pair.PAIRS_PER_ROW


def _look_at_pairs(call, found, longest, chunks, launch):
    """Find the strategy of each group, and the pairs of those of which each is looked at; return their totals."""
    loop, pairs_per_row = every_pair.sum_pairs if _wants_sums(call) else every_pair.count_pairs, _pairs_per_row(call)
    if longest > 4 * pairs_per_row:
        sizes = np.diff(call.offsets)
        if sizes.min() > 4 * pairs_per_row and not _have_few_pairs(call, sizes, pairs_per_row).any():
            found.strategies[found.strategies != FEW_WINNERS] = SORTED
            return 0.0, 0.0
    block = np.empty(chunks * every_pair.WORKSPACES * every_pair.places_for(longest))

    arguments = (
        *call[:7], call.power == 2, call.is_mean, pairs_per_row, call.losses, found.pairs, found.units,
        found.strategies, call.gradient, call.counts, block,
    )  # fmt: skip
    key, known = (call.scores.dtype, call.labels.dtype), sorting.known_sorter
    totals = loop(key, *arguments, known, chunks, launch)
    if not known and UNSORTED in found.strategies.tobytes():  # labels that are no grades: now with a sorter
        return loop(key, *arguments, sorting.sorter(), chunks, launch)
    return totals


def _have_few_pairs(call, sizes, pairs_per_row):
    """Tell for long groups whether they may have no more than so many pairs a row.

    Then all but ``2 * pairs_per_row`` of the rows have one label: here the median of three. If that is another one, a
    group is sorted of which to look at every pair would be faster.
    """
    starts, ends = call.offsets[:-1], call.offsets[1:]
    label = np.sort([call.labels[starts], call.labels[(starts + ends) // 2], call.labels[ends - 1]], axis=0)[1]
    has_label = call.labels == np.repeat(label, sizes)
    if call.where.size:
        has_label &= call.where != 0
        sizes = np.add.reduceat(call.where, starts, dtype=np.int64)
    return np.add.reduceat(has_label, starts, dtype=np.int64) >= sizes - 2 * pairs_per_row


def _sort_groups(call, found, groups, chunks, launch):
    wants_sums = _wants_sums(call)
    block = np.empty(chunks * long_lists.workspace_size(groups.longest, wants_sums))
    share, most = call.losers or (1.0, LONGEST)
    long_lists.loop(wants_sums, call.losers is not None)(
        (call.scores.dtype, call.labels.dtype), *call[:5], call.margin, share, most, call.power == 2, found.strategies,
        call.losses, found.pairs, found.sizes, found.rows, found.slopes, call.counts, block, sorting.sorter(), chunks,
        launch,
    )  # fmt: skip


# ---------------------------------------------------------------- gradients


class Work(NamedTuple):
    """What the tasks of a call share."""

    offsets: Any
    upstream: Any
    strategies: Any
    units: Any
    rows: Any
    sizes: Any
    slopes: Any
    gradient: Any
    groups: Any
    upstreams: Any
    is_mean: Any
    divisor: Any
    pieces: Any


@part
def _write_piece(work, piece):
    """Write the gradients of a piece of the rows, whatever groups they belong to."""
    offsets, gradient = work.offsets, work.gradient
    size = offsets[work.groups]
    first, last = size * piece // work.pieces, size * (piece + 1) // work.pieces
    low, group = 0, work.groups
    while low < group:  # the first group that ends behind the first row
        middle = (low + group) // 2
        if offsets[middle + 1] > first:
            group = middle
        else:
            low = middle + 1
    while group < work.groups and offsets[group] < last:
        start, factor = offsets[group], work.upstream[group % work.upstreams] / work.divisor
        begin, end = first if first > start else start, last if last < offsets[group + 1] else offsets[group + 1]
        if work.strategies[group] < SORTED:
            for row in range(begin, end if work.is_mean else begin):
                gradient[row] = scaled(np.float64(gradient[row]), factor * work.units[group])
        else:
            end = end if end < start + work.sizes[group] else start + work.sizes[group]
            for i in range(begin, end):
                gradient[start + work.rows[i]] = scaled(work.slopes[i], factor)
        group += 1


def _write(offsets, upstream, strategies, units, rows, sizes, slopes, gradient, is_mean, divisor, pieces, launch):
    arrays = pointers((offsets, upstream, strategies, units, rows, sizes, slopes, gradient))
    work = Work(*arrays, size_of(strategies), size_of(upstream), is_mean, divisor, pieces)
    run_tasks(_write_piece, work, pieces, launch)


_write_loop = CompiledLoop("write gradient", _write, ("offsets", "upstream"))


def _write_gradient(call, found, divisor, chunks, launch):
    """Write the slopes times their factors where the rows stand, or divide what stands there."""
    _write_loop(
        call.scores.dtype, call.offsets, call.upstream, found.strategies, found.units, found.rows, found.sizes,
        found.slopes, call.gradient, call.is_mean, divisor, chunks, launch,
    )  # fmt: skip
