"""Queries and items: scores tile by tile, from NumPy's products, and one compiled pass over each tile."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from numbarank._cpu import arrays, few_winners, sorting, threads
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.few_winners import Row, Written
from numbarank._cpu.memory import are_given, moved, pointers, size_of
from numbarank._cpu.sorting import part_of, sort_key
from numbarank._cpu.tasks import ONE_THREAD, launcher, run_tasks

LONGEST = 2**31 - 1  # queries and items are numbered with 32 bits
PARALLEL_FROM = 32_768  # scores of a tile
WITHOUT, ACTIVE, INVALID = range(3)


class Tile(NamedTuple):
    """What is given of the queries of a tile, and what is written."""

    scores: Any
    bias: Any
    offsets: Any
    winners: Any
    weights: Any
    hidden_offsets: Any
    hidden: Any
    kept: Any
    factors: Any
    losses: Any
    states: Any
    block: Any


class Work(NamedTuple):
    """What the tasks of a pass share."""

    tile: Any
    has: Any
    queries: Any
    items: Any
    factors: Any
    margin: Any
    is_squared: Any
    wants_gradient: Any
    winner_places: Any
    candidate_places: Any
    size: Any
    sorter: Any
    chunks: Any


@part
def complete(scores, bias, has_bias, items):
    """Add the bias to the scores of a query; return whether all are finite."""
    if has_bias:
        for i in range(items):
            scores[i] += bias[i]
    invalid = np.int32(0)
    for i in range(items):
        invalid |= np.int32(not (scores[i] - scores[i] == 0))
    return invalid == 0


@part
def hide(scores, places, first, last):
    """Make sure that some scores are never a loser's."""
    for k in range(first, last):
        scores[places[k]] = -np.inf


@part
def _pass_over_query(work, workspace, query):
    tile, items = work.tile, work.items
    (scores,) = moved((tile.scores,), query * items)
    tile.losses[query], tile.states[query] = 0.0, np.int8(WITHOUT)
    if not complete(scores, tile.bias, work.has.bias, items):
        tile.states[query] = np.int8(INVALID)
        return
    first, last = tile.offsets[query], tile.offsets[query + 1]
    count, keep = last - first, tile.kept[query]
    size = 0
    winners, weights = moved((tile.winners, tile.weights), first)
    row = Row(scores, winners, weights, weights, work.has.weights, False)
    if count > 0 and keep > 0:
        few_winners.order_winners(row, count, workspace, work.sorter)
        hide(scores, tile.winners, first, last)
        hide(scores, tile.hidden, tile.hidden_offsets[query], tile.hidden_offsets[query + 1])
        size = few_winners.find_candidates(row, workspace, items, count, keep, work.candidate_places, work.margin)
    if work.wants_gradient:
        for i in range(items):
            scores[i] = 0
    if size > 0:
        tile.states[query] = np.int8(ACTIVE)
        written = Written(scores, workspace.amounts, tile.factors[query % work.factors], work.wants_gradient, False)
        tile.losses[query] = few_winners.add_pairs(
            row, workspace, size, count, work.winner_places, work.margin, work.is_squared, written
        )


@part
def _pass_over_chunk(work, chunk):
    (block,) = moved((work.tile.block,), chunk * work.size)
    workspace = few_winners.workspace(block, work.winner_places, work.candidate_places, work.tile.scores)
    first, last = part_of(0, work.queries, chunk, work.chunks)
    for query in range(first, last):
        _pass_over_query(work, workspace, query)


def _pass(
    scores, bias, offsets, winners, weights, hidden_offsets, hidden, kept, factors, losses, states, block, items,
    margin, is_squared, wants_gradient, winner_places, candidate_places, sorter, chunks, launch,
):  # fmt: skip
    tile = Tile(
        scores, bias, offsets, winners, weights, hidden_offsets, hidden, kept, factors, losses, states, block
    )
    work = Work(
        pointers(tile), are_given(tile), size_of(losses), items, size_of(factors), margin, is_squared, wants_gradient,
        winner_places, candidate_places, size_of(block) // chunks, sorter, chunks,
    )  # fmt: skip
    run_tasks(_pass_over_chunk, work, chunks, launch)


_GIVEN = ("bias", "offsets", "winners", "weights", "hidden_offsets", "hidden", "kept", "factors")
_pass_loop = CompiledLoop("retrieval", _pass, _GIVEN)
