"""Queries and items: scores tile by tile, from NumPy's products, and one compiled pass over each tile."""

import functools
from typing import Any, NamedTuple

import numpy as np

from numbarank._cpu import few_winners, sorting, threads
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.exact import sum_rounded_once
from numbarank._cpu.few_winners import Row, Written
from numbarank._cpu.memory import are_given, moved, pointer_into, pointers, size_of
from numbarank._cpu.sorting import number_of_key, sort_key, sort_keys
from numbarank._hinge import highest_allowed

LONGEST = 2**31 - 1  # queries and items are numbered with 32 bits
PARALLEL_FROM, PIECES = 2**21, 16  # scores of a tile, and its parts that threads take
WITHOUT, ACTIVE, INVALID = range(3)
_highest_allowed = part(highest_allowed)


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
    sorter: Any


@part
def complete(scores, bias, has_bias, items):
    """Add the bias to the scores of a query; return whether all are finite."""
    if has_bias:
        for i in range(items):
            scores[i] += bias[i]
    invalid = np.int32(0)
    for i in range(items):
        invalid |= np.int32(scores[i] - scores[i] != 0)
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


def _pass(
    scores, bias, offsets, winners, weights, hidden_offsets, hidden, kept, factors, losses, states, block, items,
    margin, is_squared, wants_gradient, winner_places, candidate_places, sorter,
):  # fmt: skip
    tile = Tile(scores, bias, offsets, winners, weights, hidden_offsets, hidden, kept, factors, losses, states, block)
    work = Work(
        pointers(tile), are_given(tile), size_of(losses), items, size_of(factors), margin, is_squared, wants_gradient,
        winner_places, candidate_places, sorter,
    )  # fmt: skip
    workspace = few_winners.workspace(work.tile.block, winner_places, candidate_places, work.tile.scores)
    for query in range(work.queries):
        _pass_over_query(work, workspace, query)


_GIVEN = ("bias", "offsets", "winners", "weights", "hidden_offsets", "hidden", "kept", "factors")
_pass_loop = CompiledLoop("retrieval", _pass, _GIVEN)


# ---------------------------------------------------------------- tiles


class Plan(NamedTuple):
    """How many queries a tile has, what is needed for one after the other, and a workspace for each thread."""

    rows: int
    scores: np.ndarray
    states: np.ndarray
    blocks: np.ndarray

    def share(self, count, function):
        """Call a function for parts of so many queries of a tile, and the workspace of the thread that takes each."""
        step = count if len(self.blocks) == 1 else -(-count // PIECES)
        pieces = [slice(start, min(start + step, count)) for start in range(0, count, step)]
        threads.share(pieces, lambda piece, worker: function(piece, self.blocks[worker]), len(self.blocks))


def _plan(retrieval, workspace):
    """Return the plan for tiles that take about so much memory with the workspaces, each of so many float64 numbers."""
    queries, items, dtype = len(retrieval.queries), len(retrieval.items), retrieval.queries.dtype
    workers = threads.count()
    rows = max(1, min(queries, (retrieval.memory - workers * workspace * 8) // (items * dtype.itemsize)))
    workers = min(workers, rows) if rows * items >= PARALLEL_FROM else 1
    return Plan(rows, np.empty((rows, items), dtype), np.empty(rows, np.int8), np.empty((workers, workspace)))


def run(retrieval, wants_each, results):
    """Pass over the scores of all queries, fill the results and return the losses or their sum, and an invalid query.

    The query is the first one with a score that is NaN or infinite, and then the results are not complete; or -1.
    """
    queries, items = retrieval.queries, retrieval.items
    losses = np.zeros(len(queries))
    sums = _Gradients(retrieval, results)
    if len(queries) and len(items):
        invalid = _run_tiles(retrieval, losses, sums)
        if invalid >= 0:
            return None, invalid
    sums.finish()
    return (losses if wants_each else np.array(sum_rounded_once(losses))), -1


def _run_tiles(retrieval, losses, sums):
    queries, items = retrieval.queries, retrieval.items
    places = (
        few_winners.places_for_winners(int(np.diff(retrieval.positives.offsets).max())),
        few_winners.places_for_candidates(len(items), int(retrieval.kept.max())),
    )
    plan = _plan(retrieval, few_winners.workspace_size(*places))
    for first in range(0, len(queries), plan.rows):
        some = slice(first, first + plan.rows)
        tile = _scores(retrieval, some, plan)
        states = plan.states[: len(tile)]
        arguments = retrieval, first, tile, losses, states, sums.are_wanted, places
        plan.share(len(tile), functools.partial(_pass_over_queries, *arguments))
        if INVALID in states:
            return first + int(np.argmax(states == INVALID))
        sums.add(some, tile, ACTIVE in states)
    return -1


def _pass_over_queries(retrieval, first, tile, losses, states, wants_gradient, places, piece, block):
    """Fill the losses and states of some queries of a tile; turn their scores into the gradient by these if wanted."""
    bias, weights, factors = retrieval.bias, retrieval.weights, np.atleast_1d(retrieval.factors)
    positives, hidden, dtype = retrieval.positives, retrieval.hidden, tile.dtype
    some = slice(first + piece.start, first + piece.stop)
    _pass_loop(
        dtype, tile[piece].reshape(-1), np.empty(0, dtype) if bias is None else bias, positives.offsets[some.start :],
        positives.items, np.empty(0) if weights is None else weights, hidden.offsets[some.start :], hidden.items,
        retrieval.kept[some], factors[some] if len(factors) > 1 else factors, losses[some], states[piece],
        block, tile.shape[1], dtype.type(retrieval.margin), retrieval.power == 2, wants_gradient, *places,
        sorting.sorter(),
    )  # fmt: skip


def _scores(retrieval, some, plan):
    """Return the products of some queries and all items, in the buffer of a plan."""
    queries = retrieval.queries[some]
    with np.errstate(all="ignore"):
        return np.matmul(queries, retrieval.items.T, out=plan.scores[: len(queries)])


class _Gradients:
    """The gradients by queries, items and bias, added up tile by tile."""

    def __init__(self, retrieval, results):
        self._queries, self._items, self._results = retrieval.queries, retrieval.items, results
        self._product = self._is_started = None
        self.are_wanted = any(result is not None for result in results)

    def add(self, some, gradient, is_active):
        """Add what comes of the gradient by the scores of some queries; it is 0 where no pair is active."""
        by_queries, by_items, by_bias = self._results
        with np.errstate(all="ignore"):
            if by_queries is not None:
                if is_active:
                    np.matmul(gradient, self._items, out=by_queries[some])
                else:
                    by_queries[some] = 0
            if is_active and by_items is not None:
                self._add_product(gradient, self._queries[some], by_items)
            if is_active and by_bias is not None:
                column = np.ones(len(gradient), gradient.dtype) @ gradient
                np.add(by_bias, column, out=by_bias) if self._is_started else np.copyto(by_bias, column)
        self._is_started = self._is_started or is_active

    def _add_product(self, gradient, queries, by_items):
        if not self._is_started:
            np.matmul(gradient.T, queries, out=by_items)
            return
        if self._product is None:
            self._product = np.empty_like(by_items)
        np.matmul(gradient.T, queries, out=self._product)
        np.add(by_items, self._product, out=by_items)

    def finish(self):
        """Set to 0 what nothing was added to."""
        for result in () if self._is_started else self._results:
            if result is not None:
                result[...] = 0


# ---------------------------------------------------------------- the highest scores


class Best(NamedTuple):
    """What is given of the queries of a tile, and what is written: so many of the highest scores of each."""

    scores: Any
    bias: Any
    offsets: Any
    positives: Any
    hidden_offsets: Any
    hidden: Any
    indices: Any
    best: Any
    states: Any
    block: Any


class BestWork(NamedTuple):
    """What the tasks of such a pass share."""

    tile: Any
    has: Any
    queries: Any
    items: Any
    wanted: Any
    skip: Any
    share: Any
    share_below_zero: Any
    distance: Any
    places: Any
    sorter: Any


class Sorted(NamedTuple):
    """The workspace of a thread, with places for candidates."""

    candidates: Any
    items: Any
    order: Any
    keys: Any
    spare_keys: Any
    spare_order: Any


_SORTED_COLUMNS = 5


@part
def _sorted_workspace(block, places, scores):
    part_size, small, key = 8 * places, np.int32(0), np.uint64(0)
    return Sorted(
        candidates=pointer_into(block, 0, scores),
        items=pointer_into(block, part_size, small),
        order=pointer_into(block, part_size + part_size // 2, small),
        keys=pointer_into(block, 2 * part_size, key),
        spare_keys=pointer_into(block, 3 * part_size, key),
        spare_order=pointer_into(block, 4 * part_size, small),
    )


@part
def _hide_above(scores, items, bound):
    for i in range(items):
        score = scores[i]
        scores[i] = score if np.float64(score) <= bound else type(score)(-np.inf)


@part
def _sort_candidates(workspace, size, sorter):
    """Put candidates in the order of their scores, the highest first, of equal ones the first item."""
    bits = np.uint64(0)
    for k in range(size):
        workspace.keys[k], workspace.order[k] = ~sort_key(workspace.candidates[k]), k
        bits |= workspace.keys[k] ^ workspace.keys[0]
    sort_keys(sorter, workspace.keys, workspace.order, workspace.spare_keys, workspace.spare_order, size, bits)


@part
def _best_of_query(work, workspace, query):
    tile, items = work.tile, work.items
    (scores,) = moved((tile.scores,), query * items)
    tile.states[query] = np.int8(WITHOUT)
    if not complete(scores, tile.bias, work.has.bias, items):
        tile.states[query] = np.int8(INVALID)
        return
    first, last = tile.offsets[query], tile.offsets[query + 1]
    highest = -np.inf
    for k in range(first, last):
        score = np.float64(scores[tile.positives[k]])
        highest = score if score > highest else highest
    hide(scores, tile.positives, first, last)
    hide(scores, tile.hidden, tile.hidden_offsets[query], tile.hidden_offsets[query + 1])
    if last > first:
        bound = _highest_allowed(highest, work.share, work.share_below_zero, work.distance)
        if bound < np.inf:
            _hide_above(scores, items, bound)
    like = scores[0]
    lowest = number_of_key(sort_key(type(like)(-np.inf)) + np.uint64(1), like)
    keep = work.skip + work.wanted
    size = few_winners.gather(scores, items, lowest, keep, work.places, workspace.candidates, workspace.items)
    _sort_candidates(workspace, size, work.sorter)
    for k in range(work.wanted):
        index, score = np.int64(-1), type(like)(-np.inf)
        if work.skip + k < size:
            place = workspace.order[work.skip + k]
            index, score = np.int64(workspace.items[place]), workspace.candidates[place]
        tile.indices[query * work.wanted + k], tile.best[query * work.wanted + k] = index, score


def _best(
    scores, bias, offsets, positives, hidden_offsets, hidden, indices, best, states, block, items, wanted, skip,
    share, share_below_zero, distance, places, sorter,
):  # fmt: skip
    tile = Best(scores, bias, offsets, positives, hidden_offsets, hidden, indices, best, states, block)
    work = BestWork(
        pointers(tile), are_given(tile), size_of(states), items, wanted, skip, share, share_below_zero, distance,
        places, sorter,
    )  # fmt: skip
    workspace = _sorted_workspace(work.tile.block, places, work.tile.scores)
    for query in range(work.queries):
        _best_of_query(work, workspace, query)


_best_loop = CompiledLoop("highest scores", _best, ("bias", "offsets", "positives", "hidden_offsets", "hidden"))


def highest_scores(retrieval, wanted, skip, bounds):
    """Return the highest scores of each query and their items, -inf and -1 where there are none, and an invalid query.

    Those above the ``bounds`` are left out, and the first ``skip`` of the rest: see the contract.
    """
    queries, items, dtype = len(retrieval.queries), len(retrieval.items), retrieval.queries.dtype
    indices, scores = np.full((queries, wanted), -1), np.full((queries, wanted), -np.inf, dtype)
    skip = min(skip, items)
    found = min(wanted, items - skip)
    if queries == 0 or items == 0:
        return indices, scores, -1
    places = few_winners.places_for_candidates(items, skip + found)
    plan = _plan(retrieval, _SORTED_COLUMNS * places)
    for first in range(0, queries, plan.rows):
        some = slice(first, first + plan.rows)
        tile = _scores(retrieval, some, plan)
        states, shape = plan.states[: len(tile)], (len(tile), found)
        some_indices, some_scores = np.empty(shape, np.int64), np.empty(shape, dtype)
        arguments = retrieval, first, tile, some_indices, some_scores, states, skip, bounds, places
        plan.share(len(tile), functools.partial(_best_of_queries, *arguments))
        if INVALID in states:
            return indices, scores, first + int(np.argmax(states == INVALID))
        indices[some, :found], scores[some, :found] = some_indices, some_scores
    return indices, scores, -1


def _best_of_queries(retrieval, first, tile, indices, scores, states, skip, bounds, places, piece, block):
    """Fill the indices, scores and states of some queries of a tile."""
    bias, positives, hidden, start = retrieval.bias, retrieval.positives, retrieval.hidden, first + piece.start
    _best_loop(
        tile.dtype, tile[piece].reshape(-1), np.empty(0, tile.dtype) if bias is None else bias,
        positives.offsets[start:], positives.items, hidden.offsets[start:], hidden.items, indices[piece].reshape(-1),
        scores[piece].reshape(-1), states[piece], block, tile.shape[1], indices.shape[1], skip, *bounds, places,
        sorting.sorter(),
    )  # fmt: skip
