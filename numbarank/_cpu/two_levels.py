"""All pairs of groups of two levels with few winners, such as clicks or films liked: only the winners are sorted."""

from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu import few_winners
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.every_pair import Results
from numbarank._cpu.exact import rounded, two_sum
from numbarank._cpu.few_winners import Row, Written
from numbarank._cpu.memory import LANES, are_given, moved, pointer_into, pointers, size_of
from numbarank._cpu.rows import FEW_WINNERS, Rows, first_group, takes_part
from numbarank._cpu.tasks import run_tasks
from numbarank._hinge import count_losers

FEW_FROM = 256  # rows of a group from which on it pays
ROWS_PER_WINNER, MOST_WINNERS = 8, 4096
_count_losers = part(count_losers)


def are_likely(labels):
    """Tell whether the labels of a long group are of two levels, and few of the upper one."""
    if len(set(labels[:: labels.size // 32].tolist())) > 2:
        return False
    low, high = labels.min(), labels.max()
    winners = np.count_nonzero(labels == high)
    return winners <= min(labels.size // ROWS_PER_WINNER, MOST_WINNERS) and (
        winners + np.count_nonzero(labels == low) == labels.size
    )


class Places(NamedTuple):
    """How many places the workspaces have for the rows of a group, for winners, and for candidates."""

    rows: int
    winners: int
    candidates: int


def places_for(longest, most_losers):
    """Return the places for groups of up to so many rows, of which winners meet up to so many losers."""
    most_winners = min(longest // ROWS_PER_WINNER, MOST_WINNERS)
    return Places(
        longest + LANES,
        few_winners.places_for_winners(most_winners),
        few_winners.places_for_candidates(longest, min(longest, most_losers)),
    )


def workspace_size(places):
    """Return how many float64 numbers a thread's workspace takes."""
    return places.rows + 2 * places.winners + few_winners.workspace_size(places.winners, places.candidates)


class Split(NamedTuple):
    """The workspace for the scores of a group, and for the rows and weights of its winners."""

    scores: Any
    winners: Any
    weights: Any


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
    share: Any
    most: Any
    is_squared: Any
    is_mean: Any
    block: Any
    places: Any
    size: Any
    sorter: Any


@part
def _split_workspace(block, places, scores):
    return Split(
        pointer_into(block, 0, scores),
        pointer_into(block, 8 * places.rows, np.int32(0)),
        pointer_into(block, 8 * (places.rows + places.winners), 0.0),
    )


@part
def _lowest_and_highest(labels, count):
    low = high = labels[0]
    for row in range(count):
        label = labels[row]
        low = label if label < low else low
        high = label if label > high else high
    return low, high


@part
def _has_label(labels, start, label):
    """Tell whether one of ``LANES`` rows has a label."""
    found = np.int32(0)
    for k in range(LANES):
        found |= np.int32(labels[start + k] == label)
    return found != 0


@part
def _count_levels(rows, has, count, low, high, scores):
    """Copy the scores of the rows that take part; return how many of these have the high, the low and another label."""
    winners = losers = others = np.int32(0)
    for row in range(count):
        label, is_part = rows.labels[row], takes_part(rows, has, row)
        is_winner, is_loser = is_part & (label == high), is_part & (label == low)
        scores[row] = rows.scores[row] if is_part else type(rows.scores[row])(-np.inf)
        # 32 bits, as numba's own sums are not: twice as many a register
        winners = np.int32(winners + np.int32(is_winner))
        losers = np.int32(losers + np.int32(is_loser))
        others = np.int32(others + np.int32(is_part) - np.int32(is_winner) - np.int32(is_loser))
    return np.int64(winners), np.int64(losers), others


@part
def _split(rows, has, count, split):
    """Copy the scores of the rows that take part, and gather the winners; return how many win and lose.

    They are -1 and 0 where there are few rows, more levels than two, or many winners.
    """
    most = count // ROWS_PER_WINNER if count // ROWS_PER_WINNER < MOST_WINNERS else MOST_WINNERS
    if count < FEW_FROM:
        return -1, 0
    low, high = _lowest_and_highest(rows.labels, count)
    if low == high:
        return 0, 0
    winners, losers, others = _count_levels(rows, has, count, low, high, split.scores)
    if winners > most or others > 0:
        return -1, 0
    place = 0
    for start in range(0, count, LANES):
        end = start + LANES if start + LANES < count else count
        if end - start == LANES and not _has_label(rows.labels, start, high):
            continue
        for row in range(start, end):
            if rows.labels[row] == high and takes_part(rows, has, row):
                split.winners[place] = row
                split.weights[place] = rows.weights[row] if has.weights else 1.0
                place += 1
    return (winners if losers > 0 else 0), losers


@part
def _weight_of_pairs(rows, has, count, split, winners, kept):
    """Return what the pairs of all winners with so many losers weigh; with weights, these are all losers."""
    if not has.weights:
        return np.float64(winners) * kept
    weight = lost = own = 0.0
    for k in range(winners):
        own += split.weights[k]
    for row in range(count):
        weight, error = two_sum(weight, rows.weights[row] if split.scores[row] > -np.inf else 0.0)
        lost += error
    return own * rounded(weight, lost)


@part
def _zero(numbers, is_given, count):
    if is_given:
        for row in range(count):
            numbers[row] = 0


@part
def _add_pairs(rows, count, winners, losers, split, workspace, work, group, gradient, counts):
    """Add up the pairs of a group and write its results."""
    has, results, places = work.has, work.results, work.places
    kept = _count_losers(losers, work.share, work.most)
    row = Row(split.scores, split.winners, split.weights, rows.weights, has.weights, has.weights)
    few_winners.order_winners(row, winners, workspace, work.sorter)
    for k in range(winners):
        split.scores[split.winners[k]] = -np.inf
    pairs = _weight_of_pairs(rows, has, count, split, winners, kept)
    unit = pairs if work.is_mean and pairs > 0 else 1.0  # sums may exceed float32 where their mean does not
    results.pairs[group], results.units[group] = pairs, unit
    factor = 1 / unit if work.is_mean else work.upstream[group % work.upstreams]
    size = few_winners.find_candidates(row, workspace, count, winners, kept, places.candidates, work.margin)
    if size > 0:
        written = Written(gradient, counts, factor, work.has_results.gradient, work.has_results.counts)
        results.losses[group] = few_winners.add_pairs(
            row, workspace, size, winners, places.winners, work.margin, work.is_squared, written
        )


@part
def _groups_of_chunk(work, chunk):
    offsets, results, places = work.offsets, work.results, work.places
    (block,) = moved((work.block,), chunk * work.size)
    (rest,) = moved((block,), places.rows + 2 * places.winners)
    split = _split_workspace(block, places, work.given.scores)
    workspace = few_winners.workspace(rest, places.winners, places.candidates, work.given.scores)
    first = first_group(chunk, work.chunks, offsets, work.groups)
    for group in range(first, first_group(chunk + 1, work.chunks, offsets, work.groups)):
        start, count = offsets[group], offsets[group + 1] - offsets[group]
        rows = moved(work.given, start)
        winners, losers = _split(rows, work.has, count, split)
        if winners < 0:
            continue
        results.strategies[group] = np.int8(FEW_WINNERS)
        results.losses[group], results.units[group] = 0.0, 1.0
        gradient, counts = moved((results.gradient, results.counts), start)
        _zero(gradient, work.has_results.gradient, count)
        _zero(counts, work.has_results.counts, count)
        if winners > 0:
            _add_pairs(rows, count, winners, losers, split, workspace, work, group, gradient, counts)


def _loop(
    scores, labels, weights, where, offsets, upstream, margin, share, most, is_squared, is_mean, losses, pairs, units,
    strategies, gradient, counts, block, row_places, winner_places, candidate_places, sorter, chunks, launch,
):  # fmt: skip
    given = Rows(scores, labels, weights, where)
    results = Results(losses, pairs, units, strategies, gradient, counts)
    offsets_, upstream_, block_ = pointers((offsets, upstream, block))
    work = Work(
        pointers(given), are_given(given), offsets_, size_of(losses), chunks, pointers(results), are_given(results),
        upstream_, size_of(upstream), margin, share, most, is_squared, is_mean, block_,
        Places(row_places, winner_places, candidate_places), size_of(block) // chunks, sorter,
    )  # fmt: skip
    run_tasks(_groups_of_chunk, work, chunks, launch)


sum_groups = CompiledLoop("two levels", _loop, (*Rows._fields, "offsets", "upstream"))
