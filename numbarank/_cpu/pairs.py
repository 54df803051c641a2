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
from numbarank._cpu.memory import LANES, computed, converts_halves, lane, lanes, offset, pointer, read, write

BLOCK = 8192
MAX_CHUNKS = 4096
PARALLEL_FROM = 50_000
_DOWN = 2.0**-64
_INPUTS = 5
_compiled = {}


def run(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, grad_y, wants_total):
    """Walk once over the pairs, fill the buffers given and return the total if it is asked for.

    Parameters
    ----------
    formula : PairFormula
    x1, x2 : C-contiguous arrays of one shape and of one dtype for which ``storage_dtype`` is the identity
    y : a like array, or one of a signed integer dtype, or a float for every pair
    margin : float
    divisor : int
        Total and upstream gradient are divided by it.
    upstream : float, or an array of the compute dtype
    losses, grad1, grad2, grad_y : arrays of the compute dtype or of that of x1 to fill, or None
        The losses and the gradients by x1, x2 and y.
    wants_total : bool

    Returns
    -------
    float64 or float32, the dtype that the loss is computed in, or None
    """
    dtype = x1.dtype
    if x1.ndim != 1:
        x1, x2, y, upstream, losses, grad1, grad2, grad_y = map(
            _flat, (x1, x2, y, upstream, losses, grad1, grad2, grad_y)
        )
    if type(upstream) is float:
        upstream /= divisor or 1
    parallel = x1.size >= PARALLEL_FROM and threads.may_run_parallel()
    arguments = (x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y)
    if wants_total:
        arguments += (divisor, np.empty((chunk_count(x1.size), 2)) if parallel else None)
    key = (
        formula,
        dtype,
        None if type(y) is float else y.dtype,
        type(upstream),
        losses is None,
        grad1 is None,
        grad2 is None,
        grad_y is None,
        wants_total,
        parallel,
    )
    walk = _compiled.get(key)
    if walk is None:
        walk = _compiled[key] = loops(formula)[wants_total, parallel].compile(arguments)
    result = walk(*arguments)
    if wants_total:
        return np.float64(result) if dtype.itemsize == 8 else np.float32(result)


def storage_dtype(dtype):
    """Return the dtype in which the loops take the scores of a loss: its own, unless it is a half they cannot read."""
    return dtype if dtype.itemsize > 2 or converts_halves(dtype) else np.dtype(np.float32)


def _flat(array):
    return array.reshape(-1) if isinstance(array, np.ndarray) else array


def chunk_count(size):
    """Return how many chunks a total is added up from: it depends on the size alone, never on the threads."""
    blocks = -(-size // BLOCK)
    return -(-blocks // _blocks_a_chunk(size)) if blocks else 0


def _blocks_a_chunk(size):
    return max(1, -(-size // (BLOCK * MAX_CHUNKS)))


_chunk_count = inline(chunk_count)
_blocks_a_chunk = inline(_blocks_a_chunk)


@inline
def _two_sum(a, b):
    """Return a + b and its rounding error (Knuth, The Art of Computer Programming, vol. 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@inline
def _rounded(high, low, divisor, margin):
    """Return the two parts of a total as one number of the compute type; an infinite total has no low part."""
    total = high + low if math.isfinite(high) else high
    return np.float64(type(margin)(total / divisor))


@functools.cache
def loops(formula):
    """Return the walks over the pairs of a formula, by whether they total and run in parallel."""
    value, slope = inline(formula.value), inline(formula.slope)

    @inline
    def pair(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, k):
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
    def careful_total(x1, x2, y, margin, start, stop, scale):
        """Add the losses in float64, where no float32 overflows, each times a scale."""
        high = low = 0.0
        for k in range(start, stop):
            loss = value(read(x1, k), read(x2, k), type(margin)(read(y, k)), margin)
            high, error = _two_sum(high, np.float64(loss) * scale)
            low += error
        return high, low

    @inline
    def block_total(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, start, stop):
        sums, errors = lanes(margin), lanes(margin)
        rows_end = start + (stop - start) // LANES * LANES
        for row in range(start, rows_end, LANES):
            x1_, x2_, y_, upstream_ = offset(x1, row), offset(x2, row), offset(y, row), offset(upstream, row)
            losses_, grad1_, grad2_ = offset(losses, row), offset(grad1, row), offset(grad2, row)
            grad_y_ = offset(grad_y, row)
            for k in range(LANES):
                loss = pair(x1_, x2_, y_, margin, upstream_, losses_, grad1_, grad2_, grad_y_, k)
                total, error = _two_sum(lane(sums, k), loss)
                write(sums, k, total)
                write(errors, k, lane(errors, k) + error)
        high = low = 0.0
        for k in range(LANES):
            high, error = _two_sum(high, np.float64(lane(sums, k)))
            low += error + np.float64(lane(errors, k))
        for k in range(rows_end, stop):
            loss = pair(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, k)
            high, error = _two_sum(high, np.float64(loss))
            low += error
        if not math.isfinite(high + low):
            high, low = careful_total(x1, x2, y, margin, start, stop, 1.0)
        return high, low

    @inline
    def chunk_total(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, chunk):
        size = x1.size
        x1, x2, y, upstream = pointer(x1), pointer(x2), pointer(y), pointer(upstream)
        losses, grad1, grad2, grad_y = pointer(losses), pointer(grad1), pointer(grad2), pointer(grad_y)
        length = BLOCK * _blocks_a_chunk(size)
        chunk_end = min((chunk + 1) * length, size)
        high = low = 0.0
        for start in range(chunk * length, chunk_end, BLOCK):
            stop = min(start + BLOCK, chunk_end)
            more, error = block_total(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, start, stop)
            high, rounding = _two_sum(high, more)
            low += rounding + error
        return high, low

    @inline
    def finish(x1, x2, y, margin, high, low, divisor):
        if math.isinf(high):
            high, low = careful_total(pointer(x1), pointer(x2), pointer(y), margin, 0, x1.size, _DOWN)
            return _rounded(high, low, divisor * _DOWN, margin)
        return _rounded(high, low, divisor, margin)

    def total(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, divisor, partials):
        margin_ = computed(x1, margin)
        high = low = 0.0
        for chunk in range(_chunk_count(x1.size)):
            more, error = chunk_total(x1, x2, y, margin_, upstream, losses, grad1, grad2, grad_y, chunk)
            high, rounding = _two_sum(high, more)
            low += rounding + error
        return finish(x1, x2, y, margin_, high, low, divisor)

    def total_parallel(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, divisor, partials):
        margin_ = computed(x1, margin)
        for chunk in prange(len(partials)):
            partials[chunk] = chunk_total(x1, x2, y, margin_, upstream, losses, grad1, grad2, grad_y, chunk)
        high = low = 0.0
        for chunk in range(len(partials)):
            high, rounding = _two_sum(high, partials[chunk, 0])
            low += rounding + partials[chunk, 1]
        return finish(x1, x2, y, margin_, high, low, divisor)

    @inline
    def block(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, start, stop):
        x1, x2, y, upstream = pointer(x1), pointer(x2), pointer(y), pointer(upstream)
        losses, grad1, grad2, grad_y = pointer(losses), pointer(grad1), pointer(grad2), pointer(grad_y)
        for k in range(start, stop):
            pair(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y, k)

    def each(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y):
        margin_ = computed(x1, margin)
        block(x1, x2, y, margin_, upstream, losses, grad1, grad2, grad_y, 0, x1.size)

    def each_parallel(x1, x2, y, margin, upstream, losses, grad1, grad2, grad_y):
        margin_ = computed(x1, margin)
        for number in prange(-(-x1.size // BLOCK)):
            start = number * BLOCK
            stop = min(start + BLOCK, x1.size)
            block(x1, x2, y, margin_, upstream, losses, grad1, grad2, grad_y, start, stop)

    def kernel(function, parallel):
        return Kernel(f"{formula.value.__module__} {function.__name__}", function, _INPUTS, parallel)

    return {
        (True, False): kernel(total, parallel=False),
        (True, True): kernel(total_parallel, parallel=True),
        (False, False): kernel(each, parallel=False),
        (False, True): kernel(each_parallel, parallel=True),
    }
