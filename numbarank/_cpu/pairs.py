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
from numbarank._cpu.tasks import ONE_THREAD, launch_on, run_tasks
from numbarank._exact import Weights, corrected_quotient, two_product, two_sum, unless_zero
from numbarank._precision import compute_dtype

BLOCK = 8192
EVEN_CHUNKS = 16  # they divide evenly among the usual numbers of threads
EVEN_FROM = 4 * BLOCK
MAX_CHUNKS = 1024
PARTS = 4  # a chunk keeps its total and the sum of its weights, in two parts each
TOTALS = PARTS * MAX_CHUNKS
PARALLEL_FROM = 50_000
LARGE_FROM = 2_000_000
CONVERTED_BELOW = 2048  # targets that are integers: longer ones are read as they are, by loops of their own
DOWN = 2.0**-64
_loops, _plain_loops = {}, {}


def run(formula, pairs, results, wants_total):
    """Pass once over the pairs, fill the results, return total and invalid pair: see ``PairsBackend``."""
    if pairs.x1.ndim != 1:
        pairs, results = Pairs(*map(_flat, pairs)), PairResults(*map(_flat, results))
    x1, x2, y, margin, weights, upstream, divisor = pairs
    losses, grad1, grad2, grad_y = results
    if type(y) is np.ndarray and y.dtype.kind == "i" and x1.size < CONVERTED_BELOW:
        y = y.astype(compute_dtype(x1.dtype))
    key = _key(formula, x1, y, margin, weights, losses, grad1, grad2, grad_y)
    loop, absent = _loops.get(key) or (None, _absent(x1.dtype))
    total = absent.total.copy() if wants_total else absent.total
    arguments = _loss_arguments(x1, x2, y, margin, weights, divisor, total, wants_total, losses, absent)
    if grad1 is not None or grad2 is not None or grad_y is not None:
        if divisor is None and type(upstream) is not np.ndarray:
            divisor, invalid = _sum_of_weights(weights)
            if invalid >= 0:
                return None, invalid
        arguments += _gradient_arguments(upstream, divisor, grad1, grad2, grad_y, absent)
    if loop is None:
        loop = _compiled(formula, arguments)
        _loops[key] = loop, absent
    invalid = -1
    if loop(*arguments):
        invalid = _first_invalid(weights)
        if wants_total and invalid < 0:
            _total_carefully(formula, arguments)
    return total if wants_total else None, invalid


def _key(formula, x1, y, margin, weights, losses, grad1, grad2, grad_y):
    """Return what tells the types of a loop's arguments apart."""
    return (
        formula,
        weights is not None or type(margin) is np.ndarray,
        x1.dtype.num,
        type(y) is np.ndarray and y.dtype.num,
        losses is None or losses.dtype.num,
        grad1 is None or grad1.dtype.num,
        grad2 is None or grad2.dtype.num,
        grad_y is None or grad_y.dtype.num,
    )


def _loss_arguments(x1, x2, y, margin, weights, divisor, total, wants_total, losses, absent):
    """Return the arguments of a loop without gradients, which are the first ones of a loop with them."""
    size, has_targets, has_margins = x1.size, type(y) is np.ndarray, type(margin) is np.ndarray
    arguments = (
        x1,
        x2,
        y if has_targets else absent.computed,
        0.0 if has_targets else y,
        0.0 if has_margins else margin,
        1 if divisor is None else divisor,
        total,
        wants_total,
        absent.scores if losses is None else losses,
        BLOCK if size < EVEN_FROM else chunk_length(size),
        size >= LARGE_FROM,
        launch_on(threads.count()) if size >= PARALLEL_FROM else ONE_THREAD,
    )
    if not has_margins and weights is None:
        return arguments + _ALL_ALIKE
    margins = margin if has_margins else absent.computed
    return *arguments, margins, absent.computed if weights is None else weights, divisor is None


def _gradient_arguments(upstream, divisor, grad1, grad2, grad_y, absent):
    """Return the arguments that a loop with gradients has besides."""
    has_upstream = type(upstream) is np.ndarray
    return (
        upstream if has_upstream else absent.computed,
        0.0 if has_upstream else upstream / (divisor or 1),
        absent.scores if grad1 is None else grad1,
        absent.scores if grad2 is None else grad2,
        grad_y,
    )


def run_plain(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, wants_total):
    """Do what ``run`` does with little around the loop, for results of the inputs' dtype, and return the total.

    The arguments are the fields of ``Pairs`` and ``PairResults``, but ``upstream`` is a number, and there are both
    gradients by scores or none.
    """
    size, dtype = x1.size, x1.dtype
    if size >= PARALLEL_FROM or x1.ndim != 1:
        pairs = Pairs(x1, x2, y, margin, None, upstream, divisor)
        return run(formula, pairs, PairResults(losses, grad1, grad2), wants_total)[0]
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
    arguments = (
        x1, x2, y, target, margin, divisor, total, wants_total, losses, length, size >= LARGE_FROM, ONE_THREAD,
        None, None, None,
    )  # fmt: skip
    if grad1 is not None:
        arguments += no_numbers, upstream / (divisor or 1), grad1, grad2, None
    if loop is None:
        loop = _compiled(formula, arguments)
        _plain_loops[key] = loop, *_absent(dtype)
    if loop(*arguments):
        _total_carefully(formula, arguments)
    return total if wants_total else None


_ALL_ALIKE = None, None, None  # in place of margins, weights, and whether the sum of these is the divisor


def _compiled(formula, arguments):
    """Return the compiled loop for arguments, whose numbers are taken as float64, integers included."""
    numbers, others = map(float, arguments[3:6]), arguments[6:]
    loop = kernel(formula, wants_gradients=len(others) > 9, is_each=arguments[12] is not None)
    return loop.compile((*arguments[:3], *numbers, *others))


def _total_carefully(formula, arguments):
    """Compute a total again that is not finite, or overflowed on the way."""
    x1, x2, y, target, margin, divisor, total, _, _, length, _, launch, *each = arguments[:15]
    numbers, key = (float(target), float(margin), float(divisor)), (x1.dtype, y.dtype)
    careful_kernel(formula, each[0] is not None)(key, x1, x2, y, *numbers, total, length, launch, *each)


def _sum_of_weights(weights):
    """Return the sum of weights, and the first one that is none, or -1."""
    total = run_plain(Weights, weights, weights, 0.0, 0.0, 1, 1.0, None, None, None, True)
    return float(total), -1 if math.isfinite(total) else _first_invalid(weights)


def _first_invalid(weights):
    """Return where the first weight is that is negative or not finite, or -1."""
    if weights is None:
        return -1
    is_invalid = ~((weights >= 0) & (weights < np.inf))
    return int(np.argmax(is_invalid)) if is_invalid.any() else -1


class Absent(NamedTuple):
    """Arrays without elements, for what is not given or not wanted: one compilation serves with and without."""

    scores: np.ndarray
    computed: np.ndarray
    total: np.ndarray


@functools.cache
def _absent(dtype):
    compute = compute_dtype(dtype)
    return Absent(np.empty(0, dtype), np.empty(0, compute), np.zeros((), compute))


def storage_dtype(dtype):
    """Return the dtype in which the loops take the scores of a loss: its own, unless it is a half they cannot read."""
    return dtype if converts_halves(dtype) else compute_dtype(dtype)


def _flat(array):
    return array.reshape(-1) if isinstance(array, np.ndarray) else array


def chunk_length(size):
    """Return how many pairs a partial total is of: that depends on the size alone, never on the threads."""
    if size < EVEN_FROM:
        return BLOCK
    chunks = min(MAX_CHUNKS, EVEN_CHUNKS * -(-size // (EVEN_CHUNKS * BLOCK)))
    return LANES * -(-size // (LANES * chunks))


_two_sum, _two_product, _unless_zero, _corrected_quotient = map(
    part, (two_sum, two_product, unless_zero, corrected_quotient)
)


@part
def _quotient(high, low, divisor_high, divisor_low):
    """Return the quotient of two sums in two parts each."""
    guess = high / divisor_high
    product, error = _two_product(guess, divisor_high)
    return _corrected_quotient(guess, product, error, high, low, divisor_high, divisor_low)


@part
def _checked(weight):
    """Return a weight, or NaN where it is negative."""
    return weight if weight >= type(weight)(0) else type(weight)(np.nan)


class Inputs(NamedTuple):
    """What is read of each pair: pointers, or whether there are such arrays."""

    x1: Any
    x2: Any
    y: Any
    upstream: Any
    margins: Any
    weights: Any


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
def careful_kernel(formula, is_each=False):
    """Return the loop that adds the losses in float64, scaled down, where none overflows that is finite."""
    value = part(formula.value)

    @part
    def chunk_total(work, chunk):
        inputs, has_inputs, totals, margin = work.inputs, work.has_inputs, work.totals, work.margin
        high = low = weight_high = weight_low = 0.0
        for k in range(chunk * work.chunk_length, min((chunk + 1) * work.chunk_length, work.size)):
            y = type(margin)(read(inputs.y, k)) if has_inputs.y else work.target
            if is_each:
                distance = read(inputs.margins, k) if has_inputs.margins else margin
                loss = np.float64(value(read(inputs.x1, k), read(inputs.x2, k), y, distance))
                weight = np.float64(read(inputs.weights, k)) if has_inputs.weights else 1.0
                high, error = _two_sum(high, _unless_zero(weight, weight * (loss * DOWN)))
                low += error
                weight_high, error = _two_sum(weight_high, weight * DOWN)
                weight_low += error
            else:
                loss = np.float64(value(read(inputs.x1, k), read(inputs.x2, k), y, margin))
                high, error = _two_sum(high, loss * DOWN)
                low += error
        _write_totals(totals, chunk, high, low, weight_high, weight_low)

    def loop(x1, x2, y, target, margin, divisor, total, chunk_length, launch, margins, weights, by_weights):
        size, inputs = size_of(x1), Inputs(x1, x2, y, None, margins, weights)
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
        high, low = _folded(totals, chunks, 0)
        low = low if math.isfinite(high) else 0.0  # infinity has no low part
        result = pointers((total,))[0]
        if is_each and by_weights:
            weight_high, weight_low = _folded(totals, chunks, 2)
            result[0] = type(result[0])(_quotient(high, low, weight_high, weight_low))
        else:
            result[0] = type(result[0])((high + low) / (divisor * DOWN))

    inputs = ("x1", "x2", "y", "margins", "weights")
    return CompiledLoop(f"{formula.value.__module__} {formula.value.__name__} careful {is_each}", loop, inputs)


@part
def _write_totals(totals, chunk, high, low, weight_high, weight_low):
    """Keep what a chunk adds to the total and to the sum of the weights, each in two parts."""
    write(totals, PARTS * chunk, high)
    write(totals, PARTS * chunk + 1, low)
    write(totals, PARTS * chunk + 2, weight_high)
    write(totals, PARTS * chunk + 3, weight_low)


@part
def _folded(totals, chunks, first):
    """Return the sum of the totals of chunks in two parts, added in their order whoever computed them."""
    high = low = 0.0
    for chunk in range(chunks):
        high, error = _two_sum(high, lane(totals, PARTS * chunk + first))
        low += error + lane(totals, PARTS * chunk + first + 1)
    return high, low


def _pair(formula, is_each):
    """Return the function that returns the loss of a pair."""
    value = part(formula.value)

    @part
    def pair(inputs, results, margin, k):
        return value(read(inputs.x1, k), read(inputs.x2, k), type(margin)(read(inputs.y, k)), margin)

    @part
    def weighted_pair(inputs, results, margin, k):
        margin, weight = read(inputs.margins, k), read(inputs.weights, k)
        loss = value(read(inputs.x1, k), read(inputs.x2, k), type(margin)(read(inputs.y, k)), margin)
        return _unless_zero(weight, weight * loss)

    return weighted_pair if is_each else pair


def _pair_with_gradients(formula, is_each):
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

    @part
    def weighted_pair(inputs, results, margin, k):
        margin, weight = read(inputs.margins, k), read(inputs.weights, k)
        x1, x2, y = read(inputs.x1, k), read(inputs.x2, k), type(margin)(read(inputs.y, k))
        by_x1, by_y = slope(x1, x2, y, margin, weight * read(inputs.upstream, k))
        by_x1 = _unless_zero(weight, by_x1)
        write(results.grad1, k, by_x1)
        write(results.grad2, k, -by_x1)
        write(results.grad_y, k, _unless_zero(weight, by_y))
        return _unless_zero(weight, weight * value(x1, x2, y, margin))

    return weighted_pair if is_each else pair


@functools.cache
def kernel(formula, wants_gradients, is_each=False):
    """Return the loop over the pairs of a formula, ready to be compiled; with a margin and a weight for each or not."""
    pair = (_pair_with_gradients if wants_gradients else _pair)(formula, is_each)

    @part
    def chunk_total(work, chunk):
        margin, is_large, wants_total = work.margin, work.is_large, work.wants_total
        has_inputs, has_results = work.has_inputs, work.has_results
        spare_inputs, spare_results = spare_rows(work.inputs), spare_rows(work.results)
        if not has_inputs.y:
            fill_row(spare_inputs.y, work.target)
        if wants_gradients and not has_inputs.upstream:
            fill_row(spare_inputs.upstream, work.upstream)
        if is_each and not has_inputs.margins:
            fill_row(spare_inputs.margins, margin)
        if is_each and not has_inputs.weights:
            fill_row(spare_inputs.weights, type(margin)(1))
        all_inputs, input_masks = given_or_spare(work.inputs, spare_inputs, has_inputs, False)
        all_results, result_masks = given_or_spare(work.results, spare_results, has_results, is_large)
        last_results, last_masks = given_or_spare(work.results, spare_results, has_results, False)
        chunk_end = (chunk + 1) * work.chunk_length
        chunk_end = chunk_end if chunk_end < work.size else work.size
        high = low = weight_high = weight_low = 0.0
        for start in range(chunk * work.chunk_length, chunk_end, BLOCK):
            sums, errors = lanes(margin), lanes(margin)
            if is_each:
                weight_sums, weight_errors = lanes(margin), lanes(margin)
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
                if is_each:
                    for k in range(LANES):
                        total, error = _two_sum(lane(weight_sums, k), _checked(read(inputs.weights, k)))
                        write(weight_sums, k, total)
                        write(weight_errors, k, lane(weight_errors, k) + error)
                if is_large:
                    write_past_caches(work.results, row, spare_results, has_results)
            high, low = _with_lanes(high, low, sums, errors)
            if is_each:
                weight_high, weight_low = _with_lanes(weight_high, weight_low, weight_sums, weight_errors)
            inputs, results = rows_at(all_inputs, rows_end, input_masks), rows_at(last_results, rows_end, last_masks)
            for k in range(stop - rows_end):
                loss = pair(inputs, results, margin, k)
                write(results.losses, k, loss)
                high, error = _two_sum(high, np.float64(loss))
                low += error
                if is_each:
                    weight_high, error = _two_sum(weight_high, np.float64(_checked(read(inputs.weights, k))))
                    weight_low += error
        _write_totals(work.totals, chunk, high, low, weight_high, weight_low)

    @part
    def run_chunks(
        inputs, results, masks, numbers, size, length, is_large, launch, wants_total, divisor, by_weights, total
    ):
        """Return whether a total is not finite, or overflowed on the way."""
        work = Work(
            inputs, masks[0], results, masks[1], *numbers, size, length, wants_total, is_large, stack_of(TOTALS, 0.0)
        )
        chunks = -(-work.size // work.chunk_length)
        run_tasks(chunk_total, work, chunks, launch)
        high, low = _folded(work.totals, chunks, 0)
        rest = high + low
        is_finite = not work.wants_total or rest - rest == 0
        if is_each:
            weight_high, weight_low = _folded(work.totals, chunks, 2)
            rest = weight_high + weight_low
            is_finite = is_finite and rest - rest == 0
        if work.wants_total:
            if is_each and by_weights:
                total[0] = type(total[0])(_quotient(high, low, weight_high, weight_low))
            else:
                total[0] = type(total[0])((high + low) / divisor)
        return not is_finite

    def forward(
        x1, x2, y, target, margin, divisor, total, wants_total, losses, length, is_large, launch,
        margins, weights, by_weights,
    ):  # fmt: skip
        inputs, results = Inputs(x1, x2, y, None, margins, weights), Results(losses, None, None, None)
        masks = are_given(Inputs(None, None, y, None, margins, weights)), are_given(results)
        numbers = computed(x1, target), computed(x1, 0.0), computed(x1, margin)
        return run_chunks(
            pointers(inputs), pointers(results), masks, numbers, size_of(x1), length, is_large, launch,
            wants_total, divisor, by_weights, pointers((total,))[0],
        )  # fmt: skip

    def gradients(
        x1, x2, y, target, margin, divisor, total, wants_total, losses, length, is_large, launch,
        margins, weights, by_weights, upstream, above, grad1, grad2, grad_y,
    ):  # fmt: skip
        inputs, results = Inputs(x1, x2, y, upstream, margins, weights), Results(losses, grad1, grad2, grad_y)
        masks = are_given(Inputs(None, None, y, upstream, margins, weights)), are_given(results)
        numbers = computed(x1, target), computed(x1, above), computed(x1, margin)
        return run_chunks(
            pointers(inputs), pointers(results), masks, numbers, size_of(x1), length, is_large, launch,
            wants_total, divisor, by_weights, pointers((total,))[0],
        )  # fmt: skip

    name = f"{formula.value.__module__} {formula.value.__name__} {wants_gradients} {is_each}"
    inputs = ("x1", "x2", "y", "margins", "weights", "upstream")
    return CompiledLoop(name, gradients if wants_gradients else forward, inputs)
