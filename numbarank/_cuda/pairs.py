"""One walk over pairs on a CUDA device: their losses, gradients and total.

A total is added up in two kernels, in an order that depends on the size and the device alone: each block leaves one
partial sum, a single block adds these. Sums are float64; those of float64 losses carry their rounding errors along.
"""

import functools
import math
import threading

import numpy as np

from numbarank._cuda import arrays, driver
from numbarank._cuda.driver import THREADS, cuda, inline
from numbarank._cuda.memory import NUMBER, cell, elements, writer

_DOWN = 2.0**-64
_kept = threading.local()


def run(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, grad_y, wants_total):
    """Walk once over the pairs, fill the buffers given and return the total if it is asked for.

    Parameters
    ----------
    formula : PairFormula
    x1, x2 : C-contiguous arrays of one shape and one floating dtype
    y : a like array, or one of a signed integer dtype, or a float or 0-d array for every pair
    margin : float
    divisor : int
        The total is divided by it, and the upstream gradient unless that is an array of the pairs' shape.
    upstream : float, or an array of the compute dtype: of the pairs' shape, or 0-d
    losses, grad1, grad2, grad_y : arrays of the compute dtype or of that of x1 to fill, or None
        The losses and the gradients by x1, x2 and y.
    wants_total : bool

    Returns
    -------
    0-d array of the compute dtype, or None
    """
    compute, device, results = arrays.compute_dtype(x1.dtype), driver.device_of(x1), (losses, grad1, grad2, grad_y)
    if x1.size == 0:
        nothing = np.array(0.0 if divisor else math.nan, compute)
        return arrays.from_host(nothing, arrays.device_of(x1)) if wants_total else None
    if not arrays.is_array(upstream):
        upstream /= divisor
    kernel = walk_kernel(
        formula,
        compute,
        elements(x1.dtype, compute),
        _source(y, compute),
        _source(upstream, compute),
        tuple(writer(compute, None if result is None else result.dtype) for result in results),
        wants_total,
    )
    blocks = driver.grid(x1.size, device)
    with driver.activate(device):
        stream = driver.common_stream(*filter(arrays.is_array, (x1, x2, y, upstream, *results)))
        partials = _partials(device, stream) if wants_total else 0
        values = (x1, x2, y, margin, upstream, divisor, *results)
        driver.launch(kernel, blocks, stream, *(_argument(value, compute) for value in values), partials)
        for result in results:
            if result is not None:
                result.stream = stream
        return _finish(partials, blocks, divisor, compute, stream) if wants_total else None


def storage_dtype(dtype):
    """Return the dtype in which the kernels take the scores of a loss: its own."""
    return dtype


def _source(value, compute):
    if not arrays.is_array(value):
        return NUMBER
    return (elements if value.ndim else cell)(value.dtype, compute)


def _argument(value, compute):
    """Return what a kernel is given: a vector, a number of the compute dtype, or 0 for a result not wanted."""
    if arrays.is_array(value):
        return arrays.flat(arrays.bits(value))
    return 0 if value is None else driver.number(value, compute)


def _partials(device, stream):
    """Return the buffer of this thread for partial sums on a stream, whose work follows one after the other."""
    key = device, driver.stream_pointer(stream)
    buffers = vars(_kept)
    if key not in buffers:
        buffers[key] = driver.empty((3, driver.max_blocks(device)), np.float64)
    return buffers[key]


def _finish(partials, blocks, divisor, dtype, stream):
    result = driver.empty((1,), dtype, stream)
    driver.launch(finish_kernel(), 1, stream, partials, blocks, float(divisor), result)
    return driver.reinterpret(result, (), dtype)


@inline
def _two_sum(a, b):
    """Return a + b and its rounding error (Knuth, The Art of Computer Programming, vol. 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@inline
def _add(high, low, x):
    total, error = _two_sum(high, x)
    return total, low + error


@inline
def _add_plainly(high, low, x):
    """Add without the rounding error, which is far below the last place of a float32."""
    return high + np.float64(x), low


@inline
def _block_total(high, low):
    """Return the sum over the threads of a block, the same in each of them."""
    highs = cuda.shared.array(THREADS, np.float64)
    lows = cuda.shared.array(THREADS, np.float64)
    thread = cuda.threadIdx.x
    highs[thread], lows[thread] = high, low
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            high, low = _add(highs[thread], lows[thread], highs[thread + half])
            highs[thread], lows[thread] = high, low + lows[thread + half]
        cuda.syncthreads()
        half //= 2
    high, low = highs[0], lows[0]
    cuda.syncthreads()
    return high, low


@functools.cache
def walk_kernel(formula, compute, x_source, y_source, upstream_source, writers, wants_total):
    """Return the kernel that walks over the pairs of a formula."""
    value, slope = inline(formula.value), inline(formula.slope)
    x_at, y_at, upstream_at = x_source.at, y_source.at, upstream_source.at
    prepare_y, prepare_upstream = y_source.prepare, upstream_source.prepare
    write_loss, write_grad1, write_grad2, write_grad_y = writers
    may_overflow = compute.itemsize > 4
    add = _add if may_overflow else _add_plainly

    @cuda.jit
    def walk_kernel(x1, x2, y, margin, upstream, divisor, losses, grad1, grad2, grad_y, partials):
        size = np.uint64(x1.size)
        thread, threads = np.uint64(cuda.grid(1)), np.uint64(cuda.gridsize(1))
        y_, upstream_ = prepare_y(y, type(margin)(1)), prepare_upstream(upstream, divisor)
        high = low = 0.0
        k = thread
        while k < size:
            a, b, c = x_at(x1, k), x_at(x2, k), y_at(y_, k)
            loss = value(a, b, c, margin)
            by_x1, by_y = slope(a, b, c, margin, upstream_at(upstream_, k))
            write_loss(losses, k, loss)
            write_grad1(grad1, k, by_x1)
            write_grad2(grad2, k, -by_x1)
            write_grad_y(grad_y, k, by_y)
            if wants_total:
                high, low = add(high, low, loss)
            k += threads
        if wants_total:
            high, low = _block_total(high, low)
            unit = 1.0
            if may_overflow and not math.isfinite(high + low):
                unit = _DOWN
                high = low = 0.0
                k = thread
                while k < size:
                    loss = value(x_at(x1, k), x_at(x2, k), y_at(y_, k), margin)
                    high, low = _add(high, low, loss * unit)
                    k += threads
                high, low = _block_total(high, low)
            if cuda.threadIdx.x == 0:
                block = cuda.blockIdx.x
                partials[0, block], partials[1, block], partials[2, block] = high, low, unit

    return walk_kernel


@functools.cache
def finish_kernel():
    """Return the kernel of one block that adds the partial sums."""

    @inline
    def total(partials, blocks, scale):
        high = low = 0.0
        block = cuda.threadIdx.x
        while block < blocks:
            factor = scale / partials[2, block]
            high, low = _add(high, low + partials[1, block] * factor, partials[0, block] * factor)
            block += THREADS
        return _block_total(high, low)

    @cuda.jit
    def finish_kernel(partials, blocks, divisor, result):
        high, low = total(partials, blocks, 1.0)
        if not math.isfinite(high + low):
            high, low = total(partials, blocks, _DOWN)
            divisor *= _DOWN
        if cuda.threadIdx.x == 0:
            result[0] = (high + low if math.isfinite(high) else high) / divisor

    return finish_kernel
