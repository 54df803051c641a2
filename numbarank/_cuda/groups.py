"""All pairs of every query group on a CUDA device, tile by tile.

A block takes as many rows of a group as it has threads, and compares them with all rows of the group, which pass
through shared memory. Tiles and no sort: one thread adds up all pairs of a row in a fixed order, without atomics and
without waiting for others but twice a tile. The work grows with the square of the length, hence a limit to it.
Where rows meet the highest-scoring losers alone, these are found before (highest.py).
"""

import functools
import itertools
import math
from typing import NamedTuple

import numba
import numpy as np

from numbarank._cuda import arrays, driver, highest, memory, pool
from numbarank._cuda.blocks import block_sum
from numbarank._cuda.driver import THREADS, cuda, inline
from numbarank._cuda.highest import LIMIT, RANK
from numbarank._cuda.rows import weigher
from numbarank._exact import scaled
from numbarank._hinge import violation

LONGEST = 65_536
_LARGEST_KEPT = 2**20  # bytes
_FLOAT64 = np.dtype(np.float64)
_scaled, _violation = inline(scaled), inline(violation)


def run(lists, dtype, wants_each, results):
    """Pass over all pairs of every group, fill the results, return loss and invalid row: see ``GroupsBackend``."""
    scores, labels, weights, where, groups, margin, _, losers, is_mean, upstream = lists
    gradient, counts = results
    device = driver.device_of(scores)
    with driver.activate(device):
        shape = (len(groups),) if wants_each else ()
        if groups.rows == 0:
            return arrays.from_host(np.zeros(shape, dtype), arrays.device_of(scores)), -1
        losses = arrays.empty_beside(scores, shape, dtype) if wants_each else None
        given = scores, labels, weights, where, upstream, losses, gradient, counts
        stream = driver.common_stream(*filter(arrays.is_array, given))
        tasks = _tasks(groups, device, stream)
        loss = losses if wants_each else pool.cell(dtype, device, stream)
        layout = _layout(lists, counts)
        shapes = (groups.rows,), (2, len(tasks.groups)), (1,)
        if layout.is_limited:
            shapes += ((highest.PARTS, groups.rows),)
        with pool.workspace(device, stream, *shapes) as (slopes, sums, divisor, *ranking):
            rows = [slopes if array is None else arrays.flat(array) for array in (scores, labels, weights, where)]
            blocks = min(len(tasks.groups), driver.max_blocks(device))
            if layout.is_limited:
                ranking = [highest.rank(layout, rows, tasks, losers, *ranking, blocks, stream)]
            driver.launch(
                groups_kernel(layout),
                blocks,
                stream,
                *rows,
                slopes if counts is None else arrays.flat(counts),
                *tasks[:4],
                driver.number(margin, scores.dtype),
                upstream if isinstance(upstream, float) else 1.0,
                slopes if isinstance(upstream, float) else arrays.flat(upstream),
                slopes,
                sums,
                tuple(ranking),
            )
            driver.launch(
                finish_kernel(dtype), 1, stream, tasks.firsts, sums, is_mean, wants_each, divisor, arrays.bits(loss)
            )
            if gradient is not None:
                blocks = driver.grid(groups.rows, device)
                driver.launch(write_kernel(), blocks, stream, slopes, divisor, arrays.flat(gradient))
        for array in (losses, gradient, counts):
            if array is not None:
                driver.leave_on(array, stream)
        return driver.reinterpret(loss, shape, dtype), -1


def label_dtype(dtype):
    """Return the dtype in which the kernels compare labels of a dtype: its own, unless that is a half type or bool."""
    if dtype.kind == "b":
        return np.dtype(np.int8)
    return arrays.compute_dtype(dtype)


class Layout(NamedTuple):
    """What a kernel reads and adds up."""

    scores: np.dtype
    has_weights: bool
    has_mask: bool
    wants_counts: bool
    is_squared: bool
    upstream: str
    is_limited: bool = False


class Tasks(NamedTuple):
    """What the blocks do, on the device: the rows from ``rows`` on against all of their group.

    ``firsts`` says which task is the first of each group; ``starts`` and ``stops`` where the group of a task lies.
    """

    groups: object
    starts: object
    stops: object
    rows: object
    firsts: object


def _layout(lists, counts):
    """Return what the kernel of these lists reads, and adds up."""
    return Layout(
        lists.scores.dtype,
        lists.weights is not None,
        lists.where is not None,
        counts is not None,
        lists.power == 2,
        _upstream_form(lists.upstream),
        highest.may_leave_out(lists.losers, lists.groups.longest),
    )


def _upstream_form(upstream):
    return "number" if isinstance(upstream, float) else "each" if upstream.ndim else "cell"


def _tasks(groups, device, stream):
    """Return the tasks of the blocks; for use on a stream they are put on its device once, for all equal groups."""
    key = device, driver.stream_pointer(stream)
    if key not in groups.on_devices:
        if groups.offsets.nbytes <= _LARGEST_KEPT:
            groups.on_devices = _on_devices(groups.offsets.tobytes())
        if key not in groups.on_devices:
            tasks = _put_tasks(groups, device)
            if stream:
                driver.wait(stream, tasks.groups.stream)
            return groups.on_devices.setdefault(key, tasks)
    return groups.on_devices[key]


@functools.lru_cache(maxsize=16)
def _on_devices(offsets):
    """Return the dictionary that groups of these offsets share."""
    return {}


def _put_tasks(groups, device):
    """Copy the tasks to a device, all at once."""
    counts = -(-groups.sizes // THREADS)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    owners = np.repeat(np.arange(len(groups)), counts)
    starts, stops = groups.offsets[:-1][owners], groups.offsets[1:][owners]
    rows = starts + (np.arange(len(owners)) - firsts[owners]) * THREADS
    columns = owners, starts, stops, rows, firsts
    ends = np.cumsum([0, *map(len, columns)]).tolist()
    together = arrays.from_host(np.concatenate(columns).astype(np.int64), f"cuda:{device}")
    return Tasks(*(driver.elements(together, start, end) for start, end in itertools.pairwise(ends)))


@functools.cache
def groups_kernel(layout):
    """Return the kernel in which each thread compares a row with all rows of its group.

    It takes a ranking, in a tuple that is otherwise empty, where rows meet the highest losers alone.
    """
    has_weights, has_mask, wants_counts, is_squared = layout[1:5]
    kind, weight_of, is_limited = numba.from_dtype(layout.scores), weigher(has_weights, has_mask), layout.is_limited
    each, cell = layout.upstream == "each", layout.upstream == "cell"

    @cuda.jit
    def groups_kernel(
        scores, labels, weights, where, counts, owners, starts, stops, rows, margin, scale, upstream, slopes, sums,
        rankings,
    ):  # fmt: skip
        tile_scores = cuda.shared.array(THREADS, kind)
        tile_weights = cuda.shared.array(THREADS, numba.float64)
        numbers = cuda.shared.array(THREADS, numba.float64)
        if is_limited:
            ranking = rankings[0]
            tile_ranks = cuda.shared.array(THREADS, numba.int32)
            tile_limits = cuda.shared.array(THREADS, numba.int32)
        thread, step = np.uint64(cuda.threadIdx.x), np.uint64(THREADS)
        task = np.uint64(cuda.blockIdx.x)
        while task < np.uint64(owners.size):
            tile, stop, row = np.uint64(starts[task]), np.uint64(stops[task]), np.uint64(rows[task]) + thread
            place = row if row < stop else tile
            score, label = scores[place], labels[place]
            own = weight_of(scores, labels, weights, where, place)
            takes_part = row < stop and not own < 0.0
            if is_limited:
                rank, limit = np.int32(ranking[RANK, place]), np.int32(ranking[LIMIT, place])
            slope = count = loss = pairs = 0.0
            is_sound = True
            while tile < stop:
                size = step if stop - tile > step else stop - tile
                cuda.syncthreads()
                if thread < size:
                    tile_scores[thread] = scores[tile + thread]
                    tile_weights[thread] = weight_of(scores, labels, weights, where, tile + thread)
                    if is_limited:
                        tile_ranks[thread] = ranking[RANK, tile + thread]
                        tile_limits[thread] = ranking[LIMIT, tile + thread]
                cuda.syncthreads()
                j = np.uint64(0)
                while takes_part and j < size:
                    other, other_label, weight = tile_scores[j], labels[tile + j], own * tile_weights[j]
                    is_winner = label > other_label
                    winner, loser = (score, other) if is_winner else (other, score)
                    is_sound = is_sound and tile_weights[j] == tile_weights[j]
                    is_pair = tile_weights[j] >= 0.0 and label != other_label
                    if is_limited:
                        is_pair = is_pair and (tile_ranks[j] < limit if is_winner else rank < tile_limits[j])
                    if is_pair:
                        is_active = _violation(winner, loser, margin) >= type(margin)(0) and weight > 0.0
                        z = _violation(np.float64(winner), np.float64(loser), np.float64(margin))
                        active, z = (weight, 0.0 if z < 0.0 else z) if is_active else (0.0, 0.0)
                        more = 2.0 * active * z if is_squared else active
                        slope += -more if is_winner else more
                        count += active
                        if is_winner:
                            pairs += weight
                            loss += active * z * z if is_squared else active * z
                    j += np.uint64(1)
                tile += step
            if not is_sound:
                slope, count, loss, pairs = math.nan, math.nan, math.nan, 0.0
            if row < stop:
                factor = upstream[owners[task]] if each else upstream[0] if cell else scale
                slopes[row] = _scaled(slope, factor)
                if wants_counts:
                    counts[row] = count
            loss, pairs = block_sum(numbers, loss), block_sum(numbers, pairs)
            if thread == 0:
                sums[0, task], sums[1, task] = loss, pairs
            task += np.uint64(cuda.gridDim.x)

    return groups_kernel


@functools.cache
def finish_kernel(dtype):
    """Return the kernel of one block that adds up each group, and all groups, in their order; losses have a dtype."""
    convert = memory.converter(_FLOAT64, dtype)

    @cuda.jit
    def finish_kernel(firsts, sums, is_mean, wants_each, divisor, losses):
        numbers = cuda.shared.array(THREADS, numba.float64)
        total = pairs = 0.0
        group = cuda.threadIdx.x
        while group < firsts.size - 1:
            loss = 0.0
            for task in range(firsts[group], firsts[group + 1]):
                loss += sums[0, task]
                pairs += sums[1, task]
            if wants_each:
                losses[group] = convert(loss)
            total += loss
            group += THREADS
        total, pairs = block_sum(numbers, total), block_sum(numbers, pairs)
        if cuda.threadIdx.x == 0:
            divisor[0] = pairs if is_mean and pairs > 0.0 else 1.0
            if not wants_each:
                losses[0] = convert(total / divisor[0])

    return finish_kernel


@functools.cache
def write_kernel():
    """Return the kernel that divides the slopes and rounds them."""

    @cuda.jit
    def write_kernel(slopes, divisor, gradient):
        k = np.uint64(cuda.grid(1))
        while k < np.uint64(gradient.size):
            gradient[k] = slopes[k] / divisor[0]
            k += np.uint64(cuda.gridsize(1))

    return write_kernel
