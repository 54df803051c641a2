"""Which rows of lower label each row meets where these are the highest-scoring ones alone.

All rows of a group are ranked, the highest first. Of rows of equal score, the one that stands first is the higher one;
those that take no part come last. What a row meets then are the rows of lower label among so many of the first ranks:
its limit, which is found by walking along the ranks. A pair is compared by two whole numbers, ties included.
"""

import functools

import numba
import numpy as np

from numbarank._cuda import driver
from numbarank._cuda.driver import THREADS, cuda, inline
from numbarank._cuda.rows import weigher
from numbarank._hinge import count_losers

# the parts of a ranking: the rank and the limit of each row, and the row of each rank of a group
PARTS = 3
RANK, LIMIT, ROW = range(PARTS)
_INT64 = np.dtype(np.int64)
_count_losers = inline(count_losers)


def may_leave_out(losers, longest):
    """Tell whether a share and a number of losers may leave out any, in groups of up to so many rows."""
    return losers is not None and (losers[0] < 1.0 or losers[1] < longest - 1)


def rank(layout, rows, tasks, losers, memory, blocks, stream):
    """Queue what ranks the rows and finds their limits, in float64 memory; return it as whole numbers."""
    ranking, labels, places = driver.relabel(memory, _INT64), rows[1], tasks[1:4]
    kernel = rank_kernel(layout.scores, layout.has_weights, layout.has_mask)
    driver.launch(kernel, blocks, stream, *rows, *places, *losers, ranking)
    driver.launch(limit_kernel(labels.dtype), blocks, stream, labels, *places, ranking)
    return ranking


@functools.cache
def rank_kernel(dtype, has_weights, has_mask):
    """Return the kernel in which each thread ranks a row of its group and counts its losers; scores have a dtype."""
    kind, lowest, weight_of = numba.from_dtype(dtype), dtype.type(-np.inf), weigher(has_weights, has_mask)

    @inline
    def height_of(scores, labels, weights, where, k):
        return scores[k] if weight_of(scores, labels, weights, where, k) > 0.0 else lowest

    @cuda.jit
    def rank_kernel(scores, labels, weights, where, starts, stops, rows, share, most, ranking):
        heights = cuda.shared.array(THREADS, kind)
        thread, step = np.uint64(cuda.threadIdx.x), np.uint64(THREADS)
        task = np.uint64(cuda.blockIdx.x)
        while task < np.uint64(rows.size):
            start, stop, row = np.uint64(starts[task]), np.uint64(stops[task]), np.uint64(rows[task]) + thread
            place = row if row < stop else start
            height, label = height_of(scores, labels, weights, where, place), labels[place]
            rank, lower, tile = np.uint64(0), np.uint64(0), start
            while tile < stop:
                size = step if stop - tile > step else stop - tile
                cuda.syncthreads()
                if thread < size:
                    heights[thread] = height_of(scores, labels, weights, where, tile + thread)
                cuda.syncthreads()
                j = np.uint64(0)
                while row < stop and j < size:
                    other = heights[j]
                    if other > height or (other == height and tile + j < row):
                        rank += np.uint64(1)
                    if other > lowest and labels[tile + j] < label:
                        lower += np.uint64(1)
                    j += np.uint64(1)
                tile += step
            if row < stop:
                ranking[RANK, row] = rank
                ranking[ROW, start + rank] = row
                ranking[LIMIT, row] = _count_losers(lower, share, most)
            task += np.uint64(cuda.gridDim.x)

    return rank_kernel


@functools.cache
def limit_kernel(dtype):
    """Return the kernel in which each thread walks along the ranks to its row's last loser; labels have a dtype."""
    kind = numba.from_dtype(dtype)

    @cuda.jit
    def limit_kernel(labels, starts, stops, rows, ranking):
        tile_labels = cuda.shared.array(THREADS, kind)
        thread, step = np.uint64(cuda.threadIdx.x), np.uint64(THREADS)
        task = np.uint64(cuda.blockIdx.x)
        while task < np.uint64(rows.size):
            tile, stop, row = np.uint64(starts[task]), np.uint64(stops[task]), np.uint64(rows[task]) + thread
            place = row if row < stop else tile
            label, missing = labels[place], ranking[LIMIT, place] if row < stop else np.int64(0)
            limit = np.int64(0)
            while tile < stop:
                size = step if stop - tile > step else stop - tile
                cuda.syncthreads()
                if thread < size:
                    tile_labels[thread] = labels[np.uint64(ranking[ROW, tile + thread])]
                cuda.syncthreads()
                j = np.uint64(0)
                while missing > 0 and j < size:
                    if tile_labels[j] < label:
                        missing -= np.int64(1)
                    limit += np.int64(1)
                    j += np.uint64(1)
                tile += step
            if row < stop:
                ranking[LIMIT, row] = limit
            task += np.uint64(cuda.gridDim.x)

    return limit_kernel
