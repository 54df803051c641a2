"""One pass over pairs: their losses, gradients and total, serial or parallel, with the same bits either way.

A total is exact to the last place: every block of pairs keeps 64 running sums (lanes), each with its rounding errors
beside it, in the compute type; the lanes are folded in float64, and the blocks added in their order.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from numbarank._contract import PairResults, Pairs
from numbarank._cpu import threads
from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.memory import (
    LANES,
    are_given,
    computed,
    converts_halves,
    fill_row,
    given_or_spare,
    lane,
    lanes,
    pointers,
    prefetch,
    read,
    rows_at,
    size_of,
    spare_rows,
    stack_of,
    write,
    write_past_caches,
)
from numbarank._cpu.tasks import ONE_THREAD, launcher, run_tasks
from numbarank._exact import two_sum

BLOCK = 8192
EVEN_CHUNKS = 16  # they divide evenly among the usual numbers of threads
EVEN_FROM = 4 * BLOCK
MAX_CHUNKS = 1024
TOTALS = 2 * MAX_CHUNKS
PARALLEL_FROM = 50_000
LARGE_FROM = 2_000_000
CONVERTED_BELOW = 2048  # targets that are integers: longer ones are read as they are, by loops of their own
DOWN = 2.0**-64
_loops, _plain_loops = {}, {}


def run(formula, pairs, results, wants_total):
    """Pass once over the pairs, fill the results and return the total if it is asked for: see ``PairsBackend``."""
    x1, x2, y, margin, upstream, divisor = pairs
    losses, grad1, grad2, grad_y = results
    if x1.ndim != 1:
        x1, x2, y, upstream, losses, grad1, grad2, grad_y = map(
            _flat, (x1, x2, y, upstream, losses, grad1, grad2, grad_y)
        )
    wants_gradients = grad1 is not None or grad2 is not None or grad_y is not None
    if x1.size < CONVERTED_BELOW and isinstance(y, np.ndarray) and y.dtype.kind == "i":
        y = y.astype(_absent(x1.dtype).computed.dtype)
    has_targets, has_upstream = isinstance(y, np.ndarray), isinstance(upstream, np.ndarray)
    size = x1.size
    key = (
        formula,
        wants_gradients,
        x1.dtype.num,
        has_targets and y.dtype.num,
        losses is None or losses.dtype.num,
        grad1 is None or grad1.dtype.num,
        grad2 is None or grad2.dtype.num,
        grad_y is None or grad_y.dtype.num,
    )
    loop, absent = _loops.get(key) or (None, _absent(x1.dtype))
    arguments = (
        x1,
        x2,
        y if has_targets else absent.computed,
        0.0 if has_targets else y,
        margin,
        divisor,
        absent.total.copy() if wants_total else absent.total,
        wants_total,
        absent.scores if losses is None else losses,
        chunk_length(size),
        size >= LARGE_FROM,
        launcher() if size >= PARALLEL_FROM and threads.may_run_parallel() else ONE_THREAD,
    )
    if wants_gradients:
        arguments += (
            upstream if has_upstream else absent.computed,
            0.0 if has_upstream else upstream / (divisor or 1),
            absent.scores if grad1 is None else grad1,
            absent.scores if grad2 is None else grad2,
            grad_y,
        )
    if loop is None:
        loop = _compiled(formula, arguments)
        _loops[key] = loop, absent
    if loop(*arguments):
        _total_carefully(formula, arguments)
    return arguments[6] if wants_total else None


def run_plain(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, wants_total):
    """Do what ``run`` does with little around the loop, for results of the inputs' dtype.

    The arguments are the fields of ``Pairs`` and ``PairResults``, but ``upstream`` is a number, and there are both
    gradients by scores or none.
    """
    size, dtype = x1.size, x1.dtype
    if size >= PARALLEL_FROM or x1.ndim != 1:
        pairs, results = Pairs(x1, x2, y, margin, upstream, divisor), PairResults(losses, grad1, grad2)
        return run(formula, pairs, results, wants_total)
    target = 0.0
    if type(y) is np.ndarray:
        if y.dtype is not dtype and size < CONVERTED_BELOW:
            y = y.astype(dtype)
        key = formula, dtype, y.dtype, grad1 is None
        loop, no_scores, no_numbers, total = _plain_loops.get(key) or (None, *_absent(dtype))
    else:
        key = formula, dtype, None, grad1 is None
        loop, no_scores, no_numbers, total = _plain_loops.get(key) or (None, *_absent(dtype))
        y, target = no_numbers, y
    if wants_total:
        total = total.copy()
    length = BLOCK if size < EVEN_FROM else chunk_length(size)
    losses = no_scores if losses is None else losses
    arguments = x1, x2, y, target, margin, divisor, total, wants_total, losses, length, size >= LARGE_FROM, ONE_THREAD
    if grad1 is not None:
        arguments += no_numbers, upstream / (divisor or 1), grad1, grad2, None
    if loop is None:
        loop = _compiled(formula, arguments)
        _plain_loops[key] = loop, *_absent(dtype)
    if loop(*arguments):
        _total_carefully(formula, arguments)
    return total if wants_total else None


def _compiled(formula, arguments):
    """Return the compiled loop for arguments, whose numbers are taken as float64, integers included."""
    numbers, others = map(float, arguments[3:6]), arguments[6:]
    return kernel(formula, wants_gradients=len(others) > 6).compile((*arguments[:3], *numbers, *others))


def _total_carefully(formula, arguments):
    """Compute a total again that is not finite, or overflowed on the way."""
    x1, x2, y, target, margin, divisor, total, _, _, length, _, launch = arguments[:12]
    numbers = float(target), float(margin), float(divisor)
    careful_kernel(formula)((x1.dtype, y.dtype), x1, x2, y, *numbers, total, length, launch)


class Absent(NamedTuple):
    """Arrays without elements, for what is not given or not wanted: one compilation serves with and without."""

    scores: np.ndarray
    computed: np.ndarray
    total: np.ndarray


@functools.cache
def _absent(dtype):
    compute = dtype if dtype.itemsize > 2 else np.float32
    return Absent(np.empty(0, dtype), np.empty(0, compute), np.zeros((), compute))


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


_two_sum = part(two_sum)


class Inputs(NamedTuple):
    """What is read of each pair: pointers, or whether there are such arrays."""

    x1: Any
    x2: Any
    y: Any
    upstream: Any


class Results(NamedTuple):
    """What is written of each pair: pointers, or whether there are such arrays."""

    losses: Any
    grad1: Any
    grad2: Any
    grad_y: Any


class Work(NamedTuple):
    """What the tasks of a call share."""

    inputs: Any
    has_inputs: Any
    results: Any
    has_results: Any
    target: Any
    upstream: Any
    margin: Any
    size: Any
    chunk_length: Any
    wants_total: Any
    is_large: Any
    totals: Any


@part
def _with_lanes(high, low, sums, errors):
    """Return the two parts of a total, and all running sums and their errors with them."""
    for k in range(LANES):
        high, error = _two_sum(high, np.float64(lane(sums, k)))
        low += error + np.float64(lane(errors, k))
    return high, low


@functools.cache
def careful_kernel(formula):
    """Return the loop that adds the losses in float64, scaled down, where none overflows that is finite."""
    value = part(formula.value)

    @part
    def chunk_total(work, chunk):
        inputs, margin, totals = work.inputs, work.margin, work.totals
        high = low = 0.0
        for k in range(chunk * work.chunk_length, min((chunk + 1) * work.chunk_length, work.size)):
            y = type(margin)(read(inputs.y, k)) if work.has_inputs.y else work.target
            loss = value(read(inputs.x1, k), read(inputs.x2, k), y, margin)
            high, error = _two_sum(high, np.float64(loss) * DOWN)
            low += error
        write(totals, 2 * chunk, high)
        write(totals, 2 * chunk + 1, low)

    def loop(x1, x2, y, target, margin, divisor, total, chunk_length, launch):
        size, inputs = size_of(x1), Inputs(x1, x2, y, None)
        totals = stack_of(TOTALS, 0.0)
        work = Work(
            inputs=pointers(inputs),
            has_inputs=are_given(inputs),
            results=None,
            has_results=None,
            target=computed(x1, target),
            upstream=None,
            margin=computed(x1, margin),
            size=size,
            chunk_length=chunk_length,
            wants_total=True,
            is_large=False,
            totals=totals,
        )
        chunks = -(-size // chunk_length)
        run_tasks(chunk_total, work, chunks, launch)
        high, low = _folded(totals, chunks)
        result = pointers((total,))[0]
        # infinity has no low part
        result[0] = type(result[0])((high + low if math.isfinite(high) else high) / (divisor * DOWN))

    return CompiledLoop(f"{formula.value.__module__} careful", loop, ("x1", "x2", "y"))


@part
def _folded(totals, chunks):
    """Return the sum of the totals of chunks in two parts, added in their order whoever computed them."""
    high = low = 0.0
    for chunk in range(chunks):
        high, error = _two_sum(high, lane(totals, 2 * chunk))
        low += error + lane(totals, 2 * chunk + 1)
    return high, low


def _pair(formula):
    """Return the function that returns the loss of a pair."""
    value = part(formula.value)

    @part
    def pair(inputs, results, margin, k):
        return value(read(inputs.x1, k), read(inputs.x2, k), type(margin)(read(inputs.y, k)), margin)

    return pair


def _pair_with_gradients(formula):
    """Return the function that writes the gradients of a pair and returns its loss."""
    value, slope = part(formula.value), part(formula.slope)

    @part
    def pair(inputs, results, margin, k):
        x1, x2, y = read(inputs.x1, k), read(inputs.x2, k), type(margin)(read(inputs.y, k))
        by_x1, by_y = slope(x1, x2, y, margin, read(inputs.upstream, k))
        write(results.grad1, k, by_x1)
        write(results.grad2, k, -by_x1)
        write(results.grad_y, k, by_y)
        return value(x1, x2, y, margin)

    return pair


@functools.cache
def kernel(formula, wants_gradients):
    """Return the loop over the pairs of a formula, ready to be compiled."""
    pair = _pair_with_gradients(formula) if wants_gradients else _pair(formula)

    @part
    def chunk_total(work, chunk):
        margin, is_large, wants_total = work.margin, work.is_large, work.wants_total
        has_inputs, has_results = work.has_inputs, work.has_results
        spare_inputs, spare_results = spare_rows(work.inputs), spare_rows(work.results)
        if not has_inputs.y:
            fill_row(spare_inputs.y, work.target)
        if wants_gradients and not has_inputs.upstream:
            fill_row(spare_inputs.upstream, work.upstream)
        all_inputs, input_masks = given_or_spare(work.inputs, spare_inputs, has_inputs, False)
        all_results, result_masks = given_or_spare(work.results, spare_results, has_results, is_large)
        last_results, last_masks = given_or_spare(work.results, spare_results, has_results, False)
        chunk_end = (chunk + 1) * work.chunk_length
        chunk_end = chunk_end if chunk_end < work.size else work.size
        high = low = 0.0
        for start in range(chunk * work.chunk_length, chunk_end, BLOCK):
            sums, errors = lanes(margin), lanes(margin)
            stop = start + BLOCK if start + BLOCK < chunk_end else chunk_end
            rows_end = start + (stop - start) // LANES * LANES
            for row in range(start, rows_end, LANES):
                if is_large:
                    prefetch(work.inputs, row, has_inputs)
                inputs, results = rows_at(all_inputs, row, input_masks), rows_at(all_results, row, result_masks)
                if wants_total:
                    for k in range(LANES):
                        total, error = _two_sum(lane(sums, k), pair(inputs, results, margin, k))
                        write(sums, k, total)
                        write(errors, k, lane(errors, k) + error)
                else:
                    for k in range(LANES):
                        write(results.losses, k, pair(inputs, results, margin, k))
                if is_large:
                    write_past_caches(work.results, row, spare_results, has_results)
            high, low = _with_lanes(high, low, sums, errors)
            inputs, results = rows_at(all_inputs, rows_end, input_masks), rows_at(last_results, rows_end, last_masks)
            for k in range(stop - rows_end):
                loss = pair(inputs, results, margin, k)
                write(results.losses, k, loss)
                high, error = _two_sum(high, np.float64(loss))
                low += error
        write(work.totals, 2 * chunk, high)
        write(work.totals, 2 * chunk + 1, low)

    @part
    def run_chunks(work, divisor, total, launch):
        """Return whether the total is not finite, or overflowed on the way."""
        chunks = -(-work.size // work.chunk_length)
        run_tasks(chunk_total, work, chunks, launch)
        high, low = _folded(work.totals, chunks)
        if work.wants_total:
            total[0] = type(total[0])((high + low) / divisor)
        rest = high + low
        return work.wants_total and rest - rest != 0

    def forward(x1, x2, y, target, margin, divisor, total, wants_total, losses, length, is_large, launch):
        inputs, results = Inputs(x1, x2, y, None), Results(losses, None, None, None)
        work = Work(
            pointers(inputs),
            are_given(Inputs(None, None, y, None)),
            pointers(results),
            are_given(results),
            computed(x1, target),
            computed(x1, 0.0),
            computed(x1, margin),
            size_of(x1),
            length,
            wants_total,
            is_large,
            stack_of(TOTALS, 0.0),
        )
        return run_chunks(work, divisor, pointers((total,))[0], launch)

    def gradients(
        x1, x2, y, target, margin, divisor, total, wants_total, losses, length, is_large, launch,
        upstream, above, grad1, grad2, grad_y,
    ):  # fmt: skip
        inputs, results = Inputs(x1, x2, y, upstream), Results(losses, grad1, grad2, grad_y)
        work = Work(
            pointers(inputs),
            are_given(Inputs(None, None, y, upstream)),
            pointers(results),
            are_given(results),
            computed(x1, target),
            computed(x1, above),
            computed(x1, margin),
            size_of(x1),
            length,
            wants_total,
            is_large,
            stack_of(TOTALS, 0.0),
        )
        return run_chunks(work, divisor, pointers((total,))[0], launch)

    name = f"{formula.value.__module__} {wants_gradients}"
    return CompiledLoop(name, gradients if wants_gradients else forward, ("x1", "x2", "y", "upstream"))
