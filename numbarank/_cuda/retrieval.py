"""Queries and items on a CUDA device: scores tile by tile, from CuPy's products, and kernels over each tile.

A block takes a query. Its positives, the winners, are few: their scores and slopes are in a workspace, and each loser
is compared with all of them, once to add up the winners' slopes and the loss, and once to write its own slope in the
place of its score. Losers that take no part have the score -inf, with which nobody is active. All sums have a fixed
order. The host copies the places of positives to the device, and waits for nothing else.
"""

import functools
import math
from typing import NamedTuple

import numba
import numpy as np

from numbarank._cuda import arrays, driver, pool, products
from numbarank._cuda.blocks import block_sum
from numbarank._cuda.driver import THREADS, cuda, inline
from numbarank._cuda.selection import hide, selector
from numbarank._exact import scaled
from numbarank._hinge import highest_allowed, violation

LONGEST = 2**31 - 1
LANES = max(4, THREADS // 8)  # threads that share a winner
WAYS = THREADS // LANES
_INT64, _FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
_scaled, _violation, _highest_allowed = inline(scaled), inline(violation), inline(highest_allowed)


# ---------------------------------------------------------------- kernels


@inline
def _complete(scores, bias, has_bias, counts):
    """Add the bias to the scores of a row; return whether all are finite, the same in each thread."""
    i, invalid = np.uint64(cuda.threadIdx.x), np.int64(0)
    while i < np.uint64(scores.size):
        score = scores[i]
        if has_bias:
            score += bias[i]
            scores[i] = score
        if score - score != type(score)(0):
            invalid += np.int64(1)
        i += np.uint64(THREADS)
    return block_sum(counts, invalid) == 0


@inline
def _take_winners(scores, positives, start, stop, winners):
    """Copy the scores of the winners into the workspace."""
    k = start + np.uint64(cuda.threadIdx.x)
    while k < stop:
        winners[k] = scores[np.uint64(positives[k])]
        k += np.uint64(THREADS)
    cuda.syncthreads()


@inline
def _lowest(winners, start, stop, margin):
    """Return the lowest score of the winners; infinity, with which no loser is active, where there are none."""
    lowest = type(margin)(math.inf)
    for k in range(start, stop):
        winner = type(margin)(winners[k])
        lowest = lowest if lowest <= winner else winner
    return lowest


@inline
def _count_active(scores, lowest, margin, counts):
    """Return how many losers are active with any winner: with the lowest one."""
    i, found = np.uint64(cuda.threadIdx.x), np.int64(0)
    while i < np.uint64(scores.size):
        if _violation(lowest, scores[i], margin) >= type(margin)(0):
            found += np.int64(1)
        i += np.uint64(THREADS)
    return block_sum(counts, found)


@inline
def _pair(winner, loser, margin, is_squared):
    """Return slope and loss of a pair, 0 where it is not active."""
    if not _violation(winner, loser, margin) >= type(margin)(0):
        return 0.0, 0.0
    z = _violation(np.float64(winner), np.float64(loser), np.float64(margin))
    z = 0.0 if z < 0.0 else z
    return (2.0 * z, z * z) if is_squared else (1.0, z)


@inline
def _sum_over_lanes(numbers, lane):
    """Add up what the threads of each winner have, in place."""
    thread, half = cuda.threadIdx.x, LANES // 2
    cuda.syncthreads()
    while half > 0:
        if lane < half:
            numbers[0, thread] += numbers[0, thread + half]
            numbers[1, thread] += numbers[1, thread + half]
        cuda.syncthreads()
        half //= 2


@inline
def _add_winners(scores, start, stop, winners, slopes, weights, has_weights, margin, is_squared, numbers):
    """Write the slopes of the winners into the workspace and return their loss, which is whole in some threads."""
    thread = cuda.threadIdx.x
    lane, winner_of_thread = thread % LANES, np.uint64(thread // LANES)
    total, first = 0.0, start
    while first < stop:
        k, slope, loss = first + winner_of_thread, 0.0, 0.0
        if k < stop:
            winner, i = type(margin)(winners[k]), np.uint64(lane)
            while i < np.uint64(scores.size):
                more, amount = _pair(winner, scores[i], margin, is_squared)
                slope += more
                loss += amount
                i += np.uint64(LANES)
        numbers[0, thread], numbers[1, thread] = slope, loss
        _sum_over_lanes(numbers, lane)
        if k < stop and lane == 0:
            weight = weights[k] if has_weights else 1.0
            slopes[k] = _scaled(numbers[0, thread], weight)
            total += _scaled(numbers[1, thread], weight)
        cuda.syncthreads()
        first += np.uint64(WAYS)
    return total


@inline
def _write_losers(scores, start, stop, winners, weights, has_weights, margin, is_squared, factor):
    """Put the slopes of all losers in the place of their scores."""
    lowest, i = _lowest(winners, start, stop, margin), np.uint64(cuda.threadIdx.x)
    while i < np.uint64(scores.size):
        loser, slope = scores[i], 0.0
        if _violation(lowest, loser, margin) >= type(margin)(0):
            for k in range(start, stop):
                more, _ = _pair(type(margin)(winners[k]), loser, margin, is_squared)
                slope += _scaled(more, weights[k] if has_weights else 1.0)
        scores[i] = _scaled(slope, factor)
        i += np.uint64(THREADS)
    cuda.syncthreads()


@inline
def _write_winners(scores, positives, start, stop, slopes, factor):
    k = start + np.uint64(cuda.threadIdx.x)
    while k < stop:
        scores[np.uint64(positives[k])] = _scaled(-slopes[k], factor)
        k += np.uint64(THREADS)


@inline
def _fill(scores, number):
    i = np.uint64(cuda.threadIdx.x)
    while i < np.uint64(scores.size):
        scores[i] = number
        i += np.uint64(THREADS)


@functools.cache
def prepare_kernel(dtype):
    """Return the kernel that leaves in a tile the scores of the losers alone; its first query has a number.

    The scores of the winners go into the workspace. The losses become 0, or NaN where a score is not finite.
    """
    keep_highest = selector(dtype)

    @cuda.jit
    def prepare_kernel(
        table, bias, has_bias, offsets, positives, hidden_offsets, hidden, kept, first_query, margin, winners, losses
    ):
        counts = cuda.shared.array(THREADS, numba.int64)
        row = np.uint64(cuda.blockIdx.x)
        while row < np.uint64(table.shape[0]):
            scores, query = table[row], first_query + row
            start, stop = np.uint64(offsets[query]), np.uint64(offsets[query + np.uint64(1)])
            is_sound = _complete(scores, bias, has_bias, counts)
            _take_winners(scores, positives, start, stop, winners)
            hide(scores, positives, start, stop)
            start_hidden, stop_hidden = hidden_offsets[query], hidden_offsets[query + np.uint64(1)]
            hide(scores, hidden, np.uint64(start_hidden), np.uint64(stop_hidden))
            cuda.syncthreads()
            if is_sound:
                lowest = _lowest(winners, start, stop, margin)
                if _count_active(scores, lowest, margin, counts) > kept[query]:
                    keep_highest(scores, kept[query], counts)
            if cuda.threadIdx.x == 0:
                losses[query] = 0.0 if is_sound else math.nan
            row += np.uint64(cuda.gridDim.x)

    return prepare_kernel


@functools.cache
def pass_kernel(dtype):
    """Return the kernel that turns the scores of a tile into the gradient by them, and writes the losses."""

    @cuda.jit
    def pass_kernel(
        table, offsets, positives, weights, has_weights, factors, each, first_query, margin, is_squared,
        wants_gradient, winners, slopes, losses,
    ):  # fmt: skip
        numbers = cuda.shared.array((2, THREADS), numba.float64)
        row = np.uint64(cuda.blockIdx.x)
        while row < np.uint64(table.shape[0]):
            scores, query = table[row], first_query + row
            start, stop = np.uint64(offsets[query]), np.uint64(offsets[query + np.uint64(1)])
            if losses[query] == 0.0:
                loss = _add_winners(
                    scores, start, stop, winners, slopes, weights, has_weights, margin, is_squared, numbers
                )
                loss = block_sum(numbers[0], loss)
                if cuda.threadIdx.x == 0:
                    losses[query] = loss
                if wants_gradient:
                    factor = factors[query if each else np.uint64(0)]
                    _write_losers(scores, start, stop, winners, weights, has_weights, margin, is_squared, factor)
                    _write_winners(scores, positives, start, stop, slopes, factor)
            else:
                _fill(scores, math.nan)
            row += np.uint64(cuda.gridDim.x)

    return pass_kernel


@inline
def _bound(scores, positives, start, stop, share, share_below_zero, distance):
    """Return what no score may be above beside the highest positive; infinity where there is none."""
    highest = -math.inf
    for k in range(start, stop):
        score = np.float64(scores[np.uint64(positives[k])])
        highest = highest if score <= highest else score
    return _highest_allowed(highest, share, share_below_zero, distance) if start < stop else math.inf


@inline
def _count_up_to(scores, bound, counts):
    """Hide the scores above a bound, and return how many candidates there are in all."""
    i, found = np.uint64(cuda.threadIdx.x), np.int64(0)
    while i < np.uint64(scores.size):
        score = scores[i]
        if score > -math.inf:
            if np.float64(score) <= bound:
                found += np.int64(1)
            else:
                scores[i] = -math.inf
        i += np.uint64(THREADS)
    return block_sum(counts, found)


@inline
def _gather(scores, places, counts):
    """Write down which items are candidates: those of the first thread, then those of the next."""
    thread, found = np.uint64(cuda.threadIdx.x), np.int64(0)
    i = thread
    while i < np.uint64(scores.size):
        if scores[i] > -math.inf:
            found += np.int64(1)
        i += np.uint64(THREADS)
    counts[thread] = found
    cuda.syncthreads()
    place = np.uint64(0)
    for before in range(thread):
        place += np.uint64(counts[before])
    i = thread
    while i < np.uint64(scores.size):
        if scores[i] > -math.inf:
            places[place] = i
            place += np.uint64(1)
        i += np.uint64(THREADS)
    cuda.syncthreads()


@inline
def _write_best(scores, places, size, skip, indices, best):
    """Put each candidate where so many come before it; ``skip`` of them are left out."""
    c = np.int64(cuda.threadIdx.x)
    while c < size:
        item = places[c]
        score, rank = scores[np.uint64(item)], np.int64(0)
        for k in range(size):
            other = places[k]
            height = scores[np.uint64(other)]
            if height > score or (height == score and other < item):
                rank += np.int64(1)
        if rank >= skip:
            indices[np.uint64(rank - skip)], best[np.uint64(rank - skip)] = item, score
        c += np.int64(THREADS)


@inline
def _write_missing(found, number, indices, best):
    """Fill the places from so many on."""
    k = np.uint64(found) + np.uint64(cuda.threadIdx.x)
    while k < np.uint64(best.size):
        indices[k], best[k] = -1, number
        k += np.uint64(THREADS)


@functools.cache
def best_kernel(dtype):
    """Return the kernel that finds the highest scores of each query of a tile; its first query has a number."""
    keep_highest = selector(dtype)

    @cuda.jit
    def best_kernel(
        table, bias, has_bias, offsets, positives, hidden_offsets, hidden, first_query, skip, share, share_below_zero,
        distance, places, indices, best,
    ):  # fmt: skip
        counts = cuda.shared.array(THREADS, numba.int64)
        row, block = np.uint64(cuda.blockIdx.x), np.uint64(cuda.blockIdx.x)
        while row < np.uint64(table.shape[0]):
            scores, query = table[row], first_query + row
            start, stop = np.uint64(offsets[query]), np.uint64(offsets[query + np.uint64(1)])
            found, missing = np.int64(0), math.nan
            if _complete(scores, bias, has_bias, counts):
                bound = _bound(scores, positives, start, stop, share, share_below_zero, distance)
                cuda.syncthreads()
                hide(scores, positives, start, stop)
                start, stop = np.uint64(hidden_offsets[query]), np.uint64(hidden_offsets[query + np.uint64(1)])
                hide(scores, hidden, start, stop)
                cuda.syncthreads()
                size, most = _count_up_to(scores, bound, counts), skip + np.int64(best.shape[1])
                if size > most:
                    keep_highest(scores, most, counts)
                    size = most
                _gather(scores, places[block], counts)
                _write_best(scores, places[block], size, skip, indices[row], best[row])
                found, missing = size - skip if size > skip else np.int64(0), -math.inf
            _write_missing(found, missing, indices[row], best[row])
            cuda.syncthreads()
            row += np.uint64(cuda.gridDim.x)

    return best_kernel


@functools.cache
def total_kernel():
    """Return the kernel of one block that adds up the losses."""

    @cuda.jit
    def total_kernel(losses, total):
        numbers = cuda.shared.array(THREADS, numba.float64)
        k, loss = np.uint64(cuda.threadIdx.x), 0.0
        while k < np.uint64(losses.size):
            loss += losses[k]
            k += np.uint64(THREADS)
        loss = block_sum(numbers, loss)
        if cuda.threadIdx.x == 0:
            total[0] = loss

    return total_kernel


# ---------------------------------------------------------------- tiles


class Given(NamedTuple):
    """What the kernels read beside the scores, on the device; what there is none of is an array without elements."""

    offsets: object
    positives: object
    hidden_offsets: object
    hidden: object
    kept: object
    weights: object
    factors: object


def _put(retrieval, stream):
    """Copy what is in host memory to the device, all at once."""
    positives, hidden, weights, factors = retrieval[3:6] + retrieval[7:8]
    columns = [positives.offsets, positives.items, hidden.offsets, hidden.items]
    columns.append(np.zeros(0) if retrieval.kept is None else retrieval.kept)
    columns = [column.astype(np.int64) for column in columns]
    numbers = np.zeros(0) if weights is None else weights, np.array([factors if isinstance(factors, float) else 1.0])
    columns += [column.astype(np.float64).view(np.int64) for column in numbers]
    together = arrays.empty_beside(retrieval.queries, (sum(map(len, columns)),), _INT64)
    together.copy_to_device(np.concatenate(columns), stream=stream)
    driver.leave_on(together, stream)
    ends = np.cumsum([0, *map(len, columns)]).tolist()
    parts = [driver.elements(together, *ends[k : k + 2]) for k in range(len(columns))]
    parts[5:] = [driver.relabel(part, _FLOAT64) for part in parts[5:]]
    if arrays.is_array(factors):
        parts[6] = arrays.flat(factors)
    return Given(*parts)


def _rows_of(array, first, last):
    """Return some rows of a C-contiguous matrix."""
    width = array.shape[1]
    if width == 0:
        return driver.reinterpret(array, (last - first, 0), array.dtype)
    part = driver.elements(arrays.flat(array), first * width, last * width)
    return driver.reinterpret(part, (last - first, width), array.dtype)


class Tiles:
    """The scores of some queries after the other, in a buffer."""

    def __init__(self, retrieval, stream, bytes_beside=0):
        self._queries, self._items, self._stream = retrieval.queries, retrieval.items, stream
        queries, items, dtype = retrieval.queries.shape[0], retrieval.items.shape[0], retrieval.queries.dtype
        self.rows = max(1, min(queries, retrieval.memory // (items * dtype.itemsize + bytes_beside)))
        self._scores = arrays.empty_beside(retrieval.queries, (self.rows, items), dtype)
        driver.leave_on(self._scores, stream)

    def __iter__(self):
        count = self._queries.shape[0]
        for first in range(0, count, self.rows):
            last = min(first + self.rows, count)
            queries, scores = _rows_of(self._queries, first, last), _rows_of(self._scores, 0, last - first)
            products.matmul(queries, self._items, scores, self._stream, transpose_b=True)
            yield first, last, queries, scores


def run(retrieval, wants_each, results):
    """Pass over the scores of all queries, fill the results, return losses and invalid query: see the contract."""
    products.check()
    device = driver.device_of(retrieval.queries)
    with driver.activate(device):
        stream, retrieval, bound = _on_one_stream(retrieval, results)
        losses = arrays.empty_beside(retrieval.queries, retrieval.queries.shape[:1], _FLOAT64)
        if retrieval.queries.shape[0] and retrieval.items.shape[0]:
            _run_tiles(retrieval, losses, bound, device, stream)
        else:
            for array in (losses, *filter(arrays.is_array, bound)):
                arrays.copy_to(array, arrays.from_host(np.zeros(array.shape, array.dtype), f"cuda:{device}"))
        loss = losses if wants_each else _total(losses, stream)
        for array in filter(arrays.is_array, results):
            driver.leave_on(array, stream)
    return loss, -1


def _on_one_stream(retrieval, results=()):
    """Return a stream, and everything for use on it."""
    given = retrieval.queries, retrieval.items, retrieval.bias, retrieval.factors
    stream = driver.common_stream(*filter(arrays.is_array, (*given, *results)))
    given, results = ([a.bind(stream) if arrays.is_array(a) else a for a in some] for some in (given, results))
    return stream, retrieval._replace(**dict(zip(("queries", "items", "bias", "factors"), given, strict=True))), results


def _total(losses, stream):
    total = arrays.empty_beside(losses, (), _FLOAT64)
    driver.launch(total_kernel(), 1, stream, losses, arrays.flat(total))
    return total


def _run_tiles(retrieval, losses, results, device, stream):
    bias, factors, dtype = retrieval.bias, retrieval.factors, retrieval.queries.dtype
    given, tiles, sums = _put(retrieval, stream), Tiles(retrieval, stream), _Gradients(retrieval, results, stream)
    each, has_weights = arrays.is_array(factors) and factors.ndim == 1, retrieval.weights is not None
    margin, places = driver.number(retrieval.margin, dtype), max(1, given.positives.size)
    with pool.workspace(device, stream, (places,), (places,)) as (winners, slopes):
        for first, last, queries, scores in tiles:
            blocks, query = min(last - first, driver.max_blocks(device)), np.uint64(first)
            driver.launch(
                prepare_kernel(dtype), blocks, stream, scores, arrays.flat(scores) if bias is None else bias,
                bias is not None, *given[:5], query, margin, winners, losses,
            )  # fmt: skip
            driver.launch(
                pass_kernel(dtype), blocks, stream, scores, given.offsets, given.positives, given.weights, has_weights,
                given.factors, each, query, margin, retrieval.power == 2, sums.are_wanted, winners, slopes, losses,
            )  # fmt: skip
            sums.add(first, last, queries, scores)


class _Gradients:
    """The gradients by queries, items and bias, added up tile by tile."""

    def __init__(self, retrieval, results, stream):
        self._items, self._results, self._stream = retrieval.items, results, stream
        self._product = None
        self.are_wanted = any(result is not None for result in results)

    def add(self, first, last, queries, gradient):
        """Add what comes of the gradient by the scores of some queries."""
        by_queries, by_items, by_bias = self._results
        if by_queries is not None:
            products.matmul(gradient, self._items, _rows_of(by_queries, first, last), self._stream)
        if by_items is not None:
            self._add_product(first, queries, gradient, by_items)
        if by_bias is not None:
            column = arrays.sum_to(gradient, by_bias.shape, by_bias.dtype)
            arrays.add_to(by_bias, column) if first else arrays.copy_to(by_bias, column)

    def _add_product(self, first, queries, gradient, by_items):
        if first == 0:
            products.matmul(gradient, queries, by_items, self._stream, transpose_a=True)
            return
        if self._product is None:
            self._product = arrays.empty_like(by_items)
        products.matmul(gradient, queries, self._product, self._stream, transpose_a=True)
        arrays.add_to(by_items, self._product)


# ---------------------------------------------------------------- the highest scores


def highest_scores(retrieval, wanted, skip, bounds):
    """Return the highest scores of each query and their items, and an invalid query: see the contract."""
    products.check()
    queries, items = retrieval.queries, retrieval.items
    device, count, dtype = driver.device_of(queries), items.shape[0], queries.dtype
    shape, skip = (queries.shape[0], wanted), min(skip, count)
    if 0 in (*queries.shape[:1], count):
        return _on_device(np.full(shape, -1), device), _on_device(np.full(shape, -np.inf, dtype), device), -1
    with driver.activate(device):
        stream, retrieval, _ = _on_one_stream(retrieval)
        indices, best = (arrays.empty_beside(retrieval.queries, shape, each) for each in (_INT64, dtype))
        given, places = _put(retrieval, stream), min(count, skip + wanted)
        tiles = Tiles(retrieval, stream, 8 * places)
        blocks = min(tiles.rows, driver.max_blocks(device))
        with pool.workspace(device, stream, (blocks, places)) as (workspace,):
            for first, last, _, scores in tiles:
                driver.launch(
                    best_kernel(dtype), min(last - first, blocks), stream,
                    scores, arrays.flat(scores) if retrieval.bias is None else retrieval.bias,
                    retrieval.bias is not None, *given[:4], np.uint64(first), skip, *bounds,
                    driver.relabel(workspace, _INT64), _rows_of(indices, first, last), _rows_of(best, first, last),
                )  # fmt: skip
    return indices, best, -1


def _on_device(array, device):
    return arrays.from_host(array, f"cuda:{device}")
