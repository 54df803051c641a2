"""All pairs of groups whose rows are sorted, in O(n log n): each group by one thread, several at a time."""

import functools
from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import loss_of_counts, slopes_times_scores
from numbarank._cpu.highest import highest_merger
from numbarank._cpu.memory import are_given, moved, pointer_into, pointers, size_of
from numbarank._cpu.merging import Runs, Sums, levels_of, run_merger, start_run
from numbarank._cpu.rows import SORTED, Rows, first_group, number_rows, weight_of_pairs
from numbarank._cpu.sorting import fill_keys, find_blocks, sort_keys
from numbarank._cpu.tasks import run_tasks

WORKSPACES = 5  # parts of a thread's block, each of as many float64 numbers as a group has places


def places_for(longest):
    """Return how many places the workspace for groups of up to so many rows has."""
    return longest + 1


_levels_of = part(levels_of)


class Workspace(NamedTuple):
    """A place for each row of a group."""

    starts: Any
    keys: Any
    spare_keys: Any
    spare_rows: Any
    runs: Any
    spare: Any


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


@part
def _workspace(block, places, scores):
    part_size, small = 8 * places, np.int32(0)
    return Workspace(
        starts=pointer_into(block, 0, small),
        spare_rows=pointer_into(block, part_size // 2, small),
        keys=pointer_into(block, part_size, np.uint64(0)),
        spare_keys=pointer_into(block, 2 * part_size, np.uint64(0)),
        runs=Runs(pointer_into(block, 3 * part_size, scores), pointer_into(block, part_size, small)),
        spare=Runs(pointer_into(block, 4 * part_size, scores), pointer_into(block, 2 * part_size, small)),
    )


@part
def _order(rows, has, count, numbers, workspace, sorter, is_first_higher):
    """Put the numbered rows in the order of label and score; return how many take part, and of how many blocks.

    Of rows of equal label and score, the first one may count as the higher one, and then goes last.
    """
    size, keys = number_rows(rows, has, count, numbers), workspace.keys
    if is_first_higher:
        for i in range(size // 2):
            numbers[i], numbers[size - 1 - i] = numbers[size - 1 - i], numbers[i]
    if size == 0 or fill_keys(rows.labels, numbers, keys, 0, size) == 0:
        return size, 0
    bits = fill_keys(rows.scores, numbers, keys, 0, size)
    sort_keys(sorter, keys, numbers, workspace.spare_keys, workspace.spare_rows, size, bits)
    bits = fill_keys(rows.labels, numbers, keys, 0, size)
    sort_keys(sorter, keys, numbers, workspace.spare_keys, workspace.spare_rows, size, bits)
    return size, find_blocks(keys, size, workspace.starts)


@part
def _sum(total, slopes, scores, rows, size, margin):
    return total


@part
def _loss_of_count(active, slopes, scores, rows, size, margin):
    high, low = slopes_times_scores(slopes, scores, rows, 0, size)
    return loss_of_counts(margin, active, high, low)


@functools.cache
def loop(wants_sums, is_limited):
    """Return the loop over the groups whose rows are sorted, and their pairs counted or added up.

    If it is limited, each row meets only the highest-scoring of the rows of lower labels.
    """
    merge_run, merge_highest = run_merger(wants_sums), highest_merger(wants_sums)
    loss_of = _sum if wants_sums else _loss_of_count

    @part
    def groups_of_chunk(work, chunk):
        has, offsets, margin, is_squared = work.has, work.offsets, work.margin, work.is_squared
        (block,) = moved((work.block,), chunk * WORKSPACES * work.places)
        workspace = _workspace(block, work.places, work.given.scores)
        first = first_group(chunk, work.chunks, offsets, work.groups)
        for group in range(first, first_group(chunk + 1, work.chunks, offsets, work.groups)):
            if work.strategies[group] != SORTED:
                continue
            start, count = offsets[group], offsets[group + 1] - offsets[group]
            rows = moved(work.given, start)
            numbers, slopes, counts = moved((work.rows, work.slopes, work.counts), start)
            size, blocks = _order(rows, has, count, numbers, workspace, work.sorter, is_limited)
            sums = Sums(slopes, counts, numbers, rows.weights, work.has_counts, has.weights)
            if work.has_counts:
                for row in range(count):
                    counts[row] = 0.0
            work.sizes[group] = size
            runs, spare, starts = workspace.runs, workspace.spare, workspace.starts
            start_run(rows.scores, runs, sums, 0, size)
            if is_limited:
                total, pairs = merge_highest(
                    runs, spare, starts, blocks, work.share, work.most, margin, is_squared, sums
                )
            else:
                pairs = weight_of_pairs(numbers, rows.weights, has.weights, starts, blocks)
                total = merge_run(runs, spare, starts, 0, blocks, _levels_of(blocks), True, margin, is_squared, sums)
            work.pairs[group] = pairs
            work.losses[group] = loss_of(total, slopes, rows.scores, numbers, size, margin)

    def sort_groups(
        scores, labels, weights, where, offsets, margin, share, most, is_squared, strategies, losses, pairs, sizes,
        rows, slopes, counts, block, sorter, chunks, launch,
    ):  # fmt: skip
        given = Rows(scores, labels, weights, where)
        results = pointers((offsets, strategies, losses, pairs, sizes, rows, slopes, counts, block))
        work = Work(
            pointers(given),
            are_given(given),
            size_of(losses),
            chunks,
            *results,
            are_given((counts,))[0],
            margin,
            share,
            most,
            is_squared,
            size_of(block) // (chunks * WORKSPACES),
            sorter,
        )
        run_tasks(groups_of_chunk, work, chunks, launch)

    return CompiledLoop(f"sorted groups {wants_sums} {is_limited}", sort_groups, (*Rows._fields, "offsets"))
