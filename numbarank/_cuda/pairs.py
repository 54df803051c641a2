"""One pass over pairs on a CUDA device: their losses, gradients and total.

A total is added up in two kernels, in an order that depends on the size and the device alone: each block leaves one
partial sum, a single block adds these. Sums are float64; those of float64 losses carry their rounding errors along.
"""

import functools
import math
from typing import NamedTuple

import numba
import numpy as np

from numbarank._contract import PairResults, Pairs
from numbarank._cuda import arrays, driver, memory, pool, vectors
from numbarank._cuda.driver import THREADS, cuda, inline
from numbarank._exact import Weights, corrected_quotient, two_product, two_sum, unless_zero
from numbarank._precision import compute_dtype

_DOWN = 2.0**-64
_two_sum, _two_product, _unless_zero, _corrected_quotient = map(
    inline, (two_sum, two_product, unless_zero, corrected_quotient)
)


class Layout(NamedTuple):
    """Which inputs a kernel reads, and which dtypes of results it writes, in groups of how many."""

    scores: np.dtype
    target: tuple | None
    margin: tuple | None
    weights: tuple | None
    upstream: tuple | None
    divisor: tuple | None
    results: tuple
    width: int


def run(formula, pairs, results, wants_total):
    """Pass once over the pairs, fill the results, return total and invalid pair: see ``PairsBackend``."""
    x1, x2, y, margin, weights, upstream, divisor = pairs
    compute, device = compute_dtype(x1.dtype), driver.device_of(x1)
    if x1.size == 0:
        return _total_of_nothing(compute, divisor, arrays.device_of(x1)) if wants_total else None, -1
    by_weights = divisor is None
    if by_weights:
        wants_gradients = any(result is not None for result in results[1:])
        divisor = _sum_of_weights(weights) if wants_gradients else 1
    elif not arrays.is_array(upstream):
        upstream /= divisor
    width = _width(x1.dtype, (x1, x2, y, margin, weights, upstream, *results))
    dtypes = tuple(None if result is None else result.dtype for result in results)
    layout = Layout(x1.dtype, *map(_element, (y, margin, weights, upstream, divisor)), dtypes, width)
    kernel = pairs_kernel(formula, layout, wants_total)
    blocks = driver.grid(-(-x1.size // width), device)
    values = (x1, x2, y, margin, weights, upstream, divisor, *results)
    with driver.activate(device):
        stream = driver.common_stream(*filter(arrays.is_array, values))
        given, total = [_argument(value, compute) for value in values], None
        if wants_total:
            with pool.workspace(device, stream, (6, driver.max_blocks(device))) as (partials,):
                driver.launch(kernel, blocks, stream, *given, partials)
                total = pool.cell(compute, device, stream)
                divisor = 1.0 if by_weights else float(divisor)
                driver.launch(finish_kernel(by_weights), 1, stream, partials, blocks, divisor, total)
        else:
            driver.launch(kernel, blocks, stream, *given, 0)
        for result in filter(arrays.is_array, results):
            driver.leave_on(result, stream)
        return driver.reinterpret(total, (), compute) if wants_total else None, -1


def _sum_of_weights(weights):
    return run(Weights, Pairs(weights, weights, 0.0, 0.0), PairResults(), True)[0]


def storage_dtype(dtype):
    """Return the dtype in which the kernels take the scores of a loss: its own."""
    return dtype


def _total_of_nothing(compute, divisor, device):
    return arrays.from_host(np.array(0.0 if divisor else math.nan, compute), device)


def _element(value):
    """Return what tells how an input is read: its dtype, and whether it is a single element; None for a number."""
    return (value.dtype, value.ndim == 0) if arrays.is_array(value) else None


def _width(dtype, values):
    """Return how many pairs to read at a time: as many as 128 bits hold, or one where an address does not fit."""
    width = vectors.BYTES // dtype.itemsize
    in_groups = (value for value in values if arrays.is_array(value) and value.ndim)
    fits = all(driver.address(array) % vectors.alignment(array.dtype, width) == 0 for array in in_groups)
    return width if fits else 1


def _argument(value, compute):
    """Return what a kernel is given: a vector, a number of the compute dtype, or 0 for a result not wanted."""
    if arrays.is_array(value):
        return arrays.flat(arrays.bits(value))
    return 0 if value is None else driver.number(value, compute)


@inline
def _add(high, low, x):
    total, error = _two_sum(high, x)
    return total, low + error


@inline
def _add_plainly(high, low, x):
    """Add without the rounding error, which is far below the last place of a float32."""
    return high + np.float64(x), low


@inline
def _add_scaled(high, low, x):
    """Add so much less of each number that no sum overflows."""
    return _add(high, low, x * _DOWN)


@inline
def _add_nothing(high, low, x):
    return high, low


@inline
def _weighted(weight, value):
    """Return a value times its weight, 0 for a weight of 0, or NaN for one that is negative or not finite."""
    number = type(weight)
    return _unless_zero(weight, value * (weight if number(0) <= weight < number(math.inf) else number(math.nan)))


@inline
def _block_total(highs, lows, high, low):
    """Return the sum over the threads of a block, the same in each of them, by way of two shared arrays."""
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
def pairs_kernel(formula, layout, wants_total):
    """Return the kernel that passes over the pairs of a formula."""
    may_overflow, has_weights = layout.scores.itemsize > 4, wants_total and layout.weights is not None
    add = (_add if may_overflow else _add_plainly) if wants_total else _add_nothing
    pass_over_pairs = _pass_over_pairs(formula, layout, add)
    total_again = _pass_over_pairs(formula, layout._replace(results=(None,) * 4), _add_scaled)
    inputs = layout.target, layout.divisor, layout.upstream
    prepare_target, prepare_divisor, prepare_upstream = (_source(layout, element).prepare for element in inputs)
    divides_upstream = layout.upstream is None and layout.divisor is not None

    @cuda.jit
    def pairs_kernel(x1, x2, y, margin, weights, upstream, divisor, losses, grad1, grad2, grad_y, partials):
        thread, threads = np.uint64(cuda.grid(1)), np.uint64(cuda.gridsize(1))
        one = type(x1[0])(1)
        y, divisor = prepare_target(y, one), prepare_divisor(divisor, one)
        upstream = prepare_upstream(upstream, divisor)
        if divides_upstream:
            upstream /= divisor
        high, low, weight_high, weight_low = pass_over_pairs(
            x1, x2, y, margin, weights, upstream, losses, grad1, grad2, grad_y, thread, threads
        )
        if wants_total:
            highs = cuda.shared.array(THREADS, np.float64)
            lows = cuda.shared.array(
                THREADS, np.float64
            )  # on a line of its own, by which the simulator tells arrays apart
            high, low = _block_total(highs, lows, high, low)
            scale = 1.0
            if may_overflow and not math.isfinite(high + low):
                scale = _DOWN
                high, low, _, _ = total_again(x1, x2, y, margin, weights, upstream, 0, 0, 0, 0, thread, threads)
                high, low = _block_total(highs, lows, high, low)
            block = cuda.blockIdx.x
            if cuda.threadIdx.x == 0:
                partials[0, block], partials[1, block], partials[2, block] = high, low, scale
            if has_weights:
                weight_high, weight_low = _block_total(highs, lows, weight_high, weight_low)
                if cuda.threadIdx.x == 0:
                    partials[3, block], partials[4, block], partials[5, block] = weight_high, weight_low, 1.0

    return pairs_kernel


def _source(layout, element, width=1):
    return memory.source(element, compute_dtype(layout.scores), width)


def _pass_over_pairs(formula, layout, add):
    """Return the device function in which a thread passes over its pairs, several at a time.

    It adds their losses, and their weights, each in two parts.
    """
    compute_several = _compute_pairs(formula, layout, layout.width, add)
    compute_one = _compute_pairs(formula, layout, 1, add)
    width = np.uint64(layout.width)

    @inline
    def pass_over_pairs(x1, x2, y, margin, weights, upstream, losses, grad1, grad2, grad_y, thread, threads):
        sums = 0.0, 0.0, 0.0, 0.0
        size = np.uint64(x1.size)
        groups = size // width
        group = thread
        while group < groups:
            sums = compute_several(sums, x1, x2, y, margin, weights, upstream, losses, grad1, grad2, grad_y, group)
            group += threads
        k = groups * width + thread
        if k < size:
            sums = compute_one(sums, x1, x2, y, margin, weights, upstream, losses, grad1, grad2, grad_y, k)
        return sums

    return pass_over_pairs


def _compute_pairs(formula, layout, width, add):
    """Return the device function that reads some neighbouring pairs, writes what is wanted and adds their losses."""
    value, slope = inline(formula.value), inline(formula.slope)
    compute = compute_dtype(layout.scores)
    has_margins, has_weights = layout.margin is not None, layout.weights is not None
    fill_scores = _source(layout, (layout.scores, False), width).fill
    inputs = layout.target, layout.margin, layout.weights, layout.upstream
    fill_target, fill_margin, fill_weights, fill_upstream = (_source(layout, one, width).fill for one in inputs)
    write_losses, write_grad1, write_grad2, write_grad_y = (memory.sink(d, compute, width) for d in layout.results)
    number = numba.from_dtype(compute)

    @inline
    def compute_pairs(sums, x1, x2, y, margin, weights, upstream, losses, grad1, grad2, grad_y, group):
        high, low, weight_high, weight_low = sums
        a, b = cuda.local.array(width, number), cuda.local.array(width, number)
        c, u = cuda.local.array(width, number), cuda.local.array(width, number)
        loss, by_x1 = cuda.local.array(width, number), cuda.local.array(width, number)
        by_x2, by_y = cuda.local.array(width, number), cuda.local.array(width, number)
        fill_scores(a, x1, group)
        fill_scores(b, x2, group)
        fill_target(c, y, group)
        fill_upstream(u, upstream, group)
        if has_margins:
            m = cuda.local.array(width, number)
            fill_margin(m, margin, group)
        if has_weights:
            w = cuda.local.array(width, number)
            fill_weights(w, weights, group)
        for j in range(width):
            distance = m[j] if has_margins else margin
            if has_weights:
                u[j] = _weighted(w[j], u[j])
            loss[j] = value(a[j], b[j], c[j], distance)
            by_x1[j], by_y[j] = slope(a[j], b[j], c[j], distance, u[j])
            if has_weights:
                loss[j] = _weighted(w[j], loss[j])
                by_x1[j], by_y[j] = _unless_zero(w[j], by_x1[j]), _unless_zero(w[j], by_y[j])
                weight_high, weight_low = add(weight_high, weight_low, _weighted(w[j], type(w[j])(1)))
            by_x2[j] = -by_x1[j]
            high, low = add(high, low, loss[j])
        write_losses(losses, group, loss)
        write_grad1(grad1, group, by_x1)
        write_grad2(grad2, group, by_x2)
        write_grad_y(grad_y, group, by_y)
        return high, low, weight_high, weight_low

    return compute_pairs


@functools.cache
def finish_kernel(by_weights):
    """Return the kernel of one block that adds the partial sums, and divides by a number or by those of the weights."""

    @inline
    def total(highs, lows, partials, first, blocks, scale):
        high = low = 0.0
        block = cuda.threadIdx.x
        while block < blocks:
            factor = scale / partials[first + 2, block]
            high, low = _add(high, low + partials[first + 1, block] * factor, partials[first, block] * factor)
            block += THREADS
        return _block_total(highs, lows, high, low)

    @cuda.jit
    def finish_kernel(partials, blocks, divisor, result):
        highs = cuda.shared.array(THREADS, np.float64)
        lows = cuda.shared.array(THREADS, np.float64)  # on a line of its own, by which the simulator tells arrays apart
        high, low = total(highs, lows, partials, 0, blocks, 1.0)
        scale = 1.0
        if not math.isfinite(high + low):
            high, low = total(highs, lows, partials, 0, blocks, _DOWN)
            scale = _DOWN
        low = low if math.isfinite(high) else 0.0
        if by_weights:
            weight_high, weight_low = total(highs, lows, partials, 3, blocks, scale)
            guess = high / weight_high
            product, error = _two_product(guess, weight_high)
            quotient = _corrected_quotient(guess, product, error, high, low, weight_high, weight_low)
        else:
            quotient = (high + low) / (divisor * scale)
        if cuda.threadIdx.x == 0:
            result[0] = quotient

    return finish_kernel
