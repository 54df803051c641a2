"""One walk over pairs: their losses, gradients and total, serial or parallel, with the same bits either way.

A total is exact to the last place: every block of pairs keeps 64 running sums (lanes), each with its rounding errors
beside it, in the compute type; the lanes are folded in float64, and the blocks added in their order.
"""

import functools
import math

import numpy as np
from numba import prange

from numbarank._cpu import threads
from numbarank._cpu.kernels import Kernel, inline
from numbarank._cpu.memory import (
    LANES,
    computed,
    converts_halves,
    lane,
    lanes,
    offset,
    pointer,
    prefetch,
    read,
    staged_row,
    write,
    write_past_caches,
)
from numbarank._exact import two_sum

BLOCK = 8192
EVEN_CHUNKS = 16  # they divide evenly among the usual numbers of threads
EVEN_FROM = 4 * BLOCK
MAX_CHUNKS = 4096
PARALLEL_FROM = 50_000
LARGE_FROM = 2_000_000
_DOWN = 2.0**-64
_compiled, _compiled_plain = {}, {}


def run(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, grad_y, wants_total):
    """Walk once over the pairs, fill the buffers given and return the total if it is asked for.

    Parameters
    ----------
    formula : PairFormula
    x1, x2 : C-contiguous arrays of one shape and of one dtype for which ``storage_dtype`` is the identity
    y : a like array, or one of a signed integer dtype, or a number for every pair
    margin : number
    divisor : int
        Total and upstream gradient are divided by it.
    upstream : float, or an array of the compute dtype
    losses, grad1, grad2, grad_y : arrays of the compute dtype or of that of x1 to fill, or None
        The losses and the gradients by x1, x2 and y.
    wants_total : bool

    Returns
    -------
    array without axes, of the dtype that the loss is computed in, or None
    """
    dtype = x1.dtype
    total = np.empty((), dtype if dtype.itemsize > 2 else np.float32) if wants_total else None
    if x1.ndim != 1:
        x1, x2, y, upstream, losses, grad1, grad2, grad_y = map(
            _flat, (x1, x2, y, upstream, losses, grad1, grad2, grad_y)
        )
    if type(upstream) is float:
        upstream /= divisor or 1
    size = x1.size
    is_parallel = size >= PARALLEL_FROM and threads.may_run_parallel()
    is_large = size >= LARGE_FROM
    arguments = (
        x1,
        x2,
        y,
        upstream,
        margin,
        losses,
        grad1,
        grad2,
        grad_y,
        divisor,
        np.empty((-(-size // chunk_length(size)), 2)) if is_parallel else None,
        total,
    )
    key = (
        formula,
        dtype,
        y.dtype if type(y) is np.ndarray else None,
        type(upstream),
        losses is not None and losses.dtype,
        grad1 is not None and grad1.dtype,
        grad2 is not None and grad2.dtype,
        grad_y is not None and grad_y.dtype,
        wants_total,
        is_parallel,
        is_large,
    )
    walk = _compiled.get(key)
    if walk is None:
        walk = _compiled[key] = kernel(formula, wants_total, is_parallel, is_large).compile(arguments)
    walk(*arguments)
    return total


def run_plain(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, wants_total):
    """Do what ``run`` does with little around the walk, for results of the inputs' dtype.

    The arguments are those of ``run``, but ``upstream`` is a number, and there are both gradients or none.
    """
    dtype, size = x1.dtype, x1.size
    if size >= PARALLEL_FROM or x1.ndim != 1:
        return run(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, None, wants_total)
    total = np.empty((), dtype) if wants_total else None
    arguments = (x1, x2, y, upstream / (divisor or 1), margin, losses, grad1, grad2, None, divisor, None, total)
    key = (formula, dtype, y.dtype if type(y) is np.ndarray else None, losses is None, grad1 is None, wants_total)
    walk = _compiled_plain.get(key)
    if walk is None:
        walk = _compiled_plain[key] = kernel(formula, wants_total, False, False).compile(arguments)
    walk(*arguments)
    return total


def storage_dtype(dtype):
    """Return the dtype in which the loops take the scores of a loss: its own, unless it is a half they cannot read."""
    return dtype if dtype.itemsize > 2 or converts_halves(dtype) else np.dtype(np.float32)


def _flat(array):
    return array.reshape(-1) if isinstance(array, np.ndarray) else array


def chunk_length(size):
    """Return how many pairs a partial total is of: that depends on the size alone, never on the threads."""
    if size < EVEN_FROM:
        return BLOCK
    chunks = min(MAX_CHUNKS, EVEN_CHUNKS * -(-size // (EVEN_CHUNKS * BLOCK)))
    return LANES * -(-size // (LANES * chunks))


_chunk_length, _two_sum = inline(chunk_length), inline(two_sum)


@inline
def _rounded(high, low, divisor, margin):
    """Return the two parts of a total as one number of the compute type; an infinite total has no low part."""
    total = high + low if math.isfinite(high) else high
    return type(margin)(total / divisor)


@inline
def _add(high, low, number):
    total, error = _two_sum(high, np.float64(number))
    return total, low + error


@inline
def _pointers(a, b, c, d):
    return pointer(a), pointer(b), pointer(c), pointer(d)


@inline
def _offsets(arrays, index):
    a, b, c, d = arrays
    return offset(a, index), offset(b, index), offset(c, index), offset(d, index)


@inline
def _staged_rows(results, index):
    a, b, c, d = results
    return staged_row(a, index), staged_row(b, index), staged_row(c, index), staged_row(d, index)


@inline
def _write_past_caches(results, index, rows):
    a, b, c, d = results
    row_a, row_b, row_c, row_d = rows
    write_past_caches(a, index, row_a)
    write_past_caches(b, index, row_b)
    write_past_caches(c, index, row_c)
    write_past_caches(d, index, row_d)


@inline
def _prefetch(inputs, index):
    a, b, c, d = inputs
    prefetch(a, index)
    prefetch(b, index)
    prefetch(c, index)
    prefetch(d, index)


@functools.cache
def kernel(formula, wants_total, is_parallel, is_large):
    """Return the walk over the pairs of a formula, ready to be compiled."""
    value, slope = inline(formula.value), inline(formula.slope)

    @inline
    def pair(inputs, results, margin, k):
        x1, x2, y, upstream = inputs
        losses, grad1, grad2, grad_y = results
        a, b = read(x1, k), read(x2, k)
        c, u = type(margin)(read(y, k)), type(margin)(read(upstream, k))
        loss = value(a, b, c, margin)
        by_x1, by_y = slope(a, b, c, margin, u)
        write(losses, k, loss)
        write(grad1, k, by_x1)
        write(grad2, k, -by_x1)
        write(grad_y, k, by_y)
        return loss

    @inline
    def row(inputs, results, margin, start, sums, errors):
        if is_large:
            _prefetch(inputs, start)
        inputs_ = _offsets(inputs, start)
        results_ = _staged_rows(results, start) if is_large else _offsets(results, start)
        for k in range(LANES):
            loss = pair(inputs_, results_, margin, k)
            if wants_total:
                total, error = _two_sum(lane(sums, k), loss)
                write(sums, k, total)
                write(errors, k, lane(errors, k) + error)
        if is_large:
            _write_past_caches(results, start, results_)

    @inline
    def careful_total(inputs, margin, start, stop, scale):
        """Add the losses in float64, where no float32 overflows, each times a scale."""
        x1, x2, y, _ = inputs
        high = low = 0.0
        for k in range(start, stop):
            loss = value(read(x1, k), read(x2, k), type(margin)(read(y, k)), margin)
            high, low = _add(high, low, np.float64(loss) * scale)
        return high, low

    @inline
    def block(inputs, results, margin, start, stop):
        sums, errors = lanes(margin), lanes(margin)
        rows_end = start + (stop - start) // LANES * LANES
        for row_start in range(start, rows_end, LANES):
            row(inputs, results, margin, row_start, sums, errors)
        high = low = 0.0
        if wants_total:
            for k in range(LANES):
                high, low = _add(high, low, lane(sums, k))
                low += np.float64(lane(errors, k))
        for k in range(rows_end, stop):
            high, low = _add(high, low, pair(inputs, results, margin, k))
        if wants_total and not math.isfinite(high + low):
            high, low = careful_total(inputs, margin, start, stop, 1.0)
        return high, low

    @inline
    def chunk_total(inputs, results, margin, chunk, size):
        length = _chunk_length(size)
        chunk_end = min((chunk + 1) * length, size)
        high = low = 0.0
        for start in range(chunk * length, chunk_end, BLOCK):
            more, error = block(inputs, results, margin, start, min(start + BLOCK, chunk_end))
            high, low = _add(high, low, more)
            low += error
        return high, low

    @inline
    def finish(inputs, margin, size, high, low, divisor):
        if math.isinf(high):
            high, low = careful_total(inputs, margin, 0, size, _DOWN)
            return _rounded(high, low, divisor * _DOWN, margin)
        return _rounded(high, low, divisor, margin)

    def serial(x1, x2, y, upstream, margin, losses, grad1, grad2, grad_y, divisor, partials, total):
        margin_, size = computed(x1, margin), x1.size
        inputs, results = _pointers(x1, x2, y, upstream), _pointers(losses, grad1, grad2, grad_y)
        high = low = 0.0
        for chunk in range(-(-size // _chunk_length(size))):
            more, error = chunk_total(inputs, results, margin_, chunk, size)
            high, low = _add(high, low, more)
            low += error
        write(pointer(total), 0, finish(inputs, margin_, size, high, low, divisor))

    def parallel(x1, x2, y, upstream, margin, losses, grad1, grad2, grad_y, divisor, partials, total):
        margin_, size = computed(x1, margin), x1.size
        for chunk in prange(len(partials)):
            inputs, results = _pointers(x1, x2, y, upstream), _pointers(losses, grad1, grad2, grad_y)
            partials[chunk, 0], partials[chunk, 1] = chunk_total(inputs, results, margin_, chunk, size)
        high = low = 0.0
        for chunk in range(len(partials)):
            high, low = _add(high, low, partials[chunk, 0])
            low += partials[chunk, 1]
        inputs = _pointers(x1, x2, y, upstream)
        write(pointer(total), 0, finish(inputs, margin_, size, high, low, divisor))

    walk = parallel if is_parallel else serial
    return Kernel(f"{formula.value.__module__} {wants_total} {is_large} {walk.__name__}", walk, 4, is_parallel)
