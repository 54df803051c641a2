"""A loss on queries and items: how its arguments are read, and run on a backend."""

import math
from typing import Any, NamedTuple

import numpy as np

from numbarank import _arguments, _dispatch, _reduction
from numbarank._contract import Places, Retrieval, RetrievalResults
from numbarank._hinge import count_losers
from numbarank.losses import _call

_FLOAT64 = np.dtype(np.float64)


class RetrievalLoss(NamedTuple):
    """The hinge loss of retrieval with its settings; its operands are queries, items, bias and weights."""

    positives: Any
    exclude: Any
    margin: Any
    power: Any
    losers: Any
    reduction: Any
    memory: Any

    DIFFERENTIABLE = 3
    CONSTANT = ("weights",)

    def read(self, arrays, stream=None):
        """Check the arguments and lay them out for their backend; the factors are still those of a sum."""
        inputs, device, backend, dtype, given = read_table(*arrays[:3])
        compute = given[0].dtype
        positives, hidden, weights = read_places(self.positives, self.exclude, given, arrays[3])
        counts = np.diff(positives.offsets)
        losers = given[1].shape[0] - counts - np.diff(hidden.offsets)
        retrieval = Retrieval(
            *given,
            positives,
            hidden,
            weights,
            kept_of(losers, _arguments.read_losers(self.losers)),
            1.0,
            _arguments.read_finite_margin(self.margin, compute),
            _arguments.read_power(self.power),
            _arguments.read_whole("memory", self.memory, 1),
        )
        return _call.Request(inputs, backend, device, dtype, given[0].shape[:1], retrieval)

    def run(self, request, gradient=None, wanted=(True, False, False, False), buffers=None):
        """Pass once over all scores; return the loss, and the gradients by queries, items and bias that are wanted."""
        arrays, retrieval = request.backend.arrays, request.arguments
        each = _reduction.check_reduction(self.reduction) == "none"
        upstream = _arguments.read_gradient(gradient, request.shape if each else (), request.device)
        divisor = number_of_pairs(retrieval) if self.reduction == "mean" else 1.0
        retrieval = retrieval._replace(factors=_factors(upstream, divisor, arrays))
        buffers = [None] * 3 if buffers is None else [*buffers, None]
        results = [
            _result_for(like, buffer, arrays) if is_wanted else None
            for like, buffer, is_wanted in zip(retrieval[:3], buffers, wanted[1:], strict=False)
        ]
        loss, invalid = request.backend.retrieval.run(retrieval, each, RetrievalResults(*results))
        if invalid >= 0:
            raise ValueError(_arguments.describe_invalid_query(invalid))
        for k, (result, buffer) in enumerate(zip(results, buffers, strict=False)):
            if result is not None and result is not buffer:
                results[k] = _finished(result, buffer, request.inputs[k], arrays)
        return arrays.cast(arrays.divide(loss, divisor), request.dtype), results

    def run_plain(self, arrays):
        """Return None: all arguments are prepared."""

    def gradients(self, arrays, upstream, parents):
        """Return the gradients by queries, items and bias, None where the parent is."""
        return self.run(self.read(arrays), upstream, (True, *(parent is not None for parent in parents)))[1]

    def again(self, request):
        """Return the loss as it is computed again for its gradients."""
        return self

    def packages(self, request):
        """Return what makes the loss an array of the queries' package, and each gradient one of its own."""
        packages = [None if item is None else item.from_dlpack for item in request.inputs]
        return [packages[0], *packages]


def _factors(upstream, divisor, arrays):
    """Return what gradients are multiplied by."""
    if isinstance(upstream, float):
        return upstream / divisor
    return arrays.divide(arrays.contiguous(upstream, upstream.shape, _FLOAT64), divisor)


def _result_for(like, buffer, arrays):
    """Return what a gradient is written to: the caller's buffer, if it has the compute dtype."""
    return buffer if buffer is not None and buffer.dtype == like.dtype else arrays.empty_like(like)


def _finished(result, buffer, item, arrays):
    """Return a gradient in the dtype of its input, in the caller's buffer if there is one."""
    result = arrays.cast(result, _arguments.gradient_dtype(item.array.dtype))
    if buffer is None:
        return result
    arrays.copy_to(buffer, result)
    return buffer


# ---------------------------------------------------------------- what was given


def read_table(queries, items, bias):
    """Return the inputs, their device and backend, the results' dtype, and the three arrays in the compute dtype."""
    inputs, device = _arguments.read_embeddings(queries, items, bias)
    backend = _dispatch.backend(device)
    _arguments.check_rows(inputs, backend.retrieval.LONGEST)
    dtype = _arguments.promoted_dtype([item for item in inputs if item is not None])
    compute, contiguous = _arguments.compute_dtype(dtype), backend.arrays.contiguous
    given = [None if item is None else contiguous(item.array, item.array.shape, compute) for item in inputs]
    return inputs, device, backend, dtype, given


def read_places(positives, exclude, given, weights=None):
    """Return the positives, the other items that are no negatives, and the weights of the positives, all sorted."""
    queries, items = given[0].shape[0], given[1].shape[0]
    entries = _arguments.read_entries("positives", positives, queries, items)
    weights = _arguments.read_weights_of_entries(weights, entries)
    cells, order = _sorted_cells(entries, items)
    again = np.flatnonzero(cells[1:] == cells[:-1]) + 1
    if len(again) and weights is not None:
        _arguments.refuse_doubled_entry(entries, *order[again[0] - 1 : again[0] + 1])
    cells = np.delete(cells, again)
    others = np.unique(_sorted_cells(_arguments.read_entries("exclude", exclude, queries, items), items)[0])
    hidden = np.setdiff1d(others, cells, assume_unique=True)
    return _places(cells, queries, items), _places(hidden, queries, items), None if weights is None else weights[order]


def _sorted_cells(entries, items):
    """Return the numbers of the cells of the table that entries name, sorted, and the order that sorts them."""
    cells = entries.queries * items + entries.items
    if (cells[1:] >= cells[:-1]).all():
        return cells, np.arange(len(cells))
    order = np.argsort(cells, kind="stable")
    return cells[order], order


def _places(cells, queries, items):
    offsets = np.searchsorted(cells, np.arange(queries + 1) * items)
    return Places(offsets.astype(np.int64), (cells % max(items, 1)).astype(np.int32))


def kept_of(losers, chosen):
    """Return how many of its losers the positives of each query meet: all, or a share or number of the highest."""
    if chosen is None:
        return losers
    different, place = np.unique(losers, return_inverse=True)
    return np.array([count_losers(number, *chosen) for number in different.tolist()], np.int64)[place]


def number_of_pairs(retrieval):
    """Return the number of pairs of all queries, or the sum of their weights; 1 where that is 0."""
    offsets, weights = retrieval.positives.offsets, retrieval.weights
    if weights is None:
        return float(np.dot(np.diff(offsets).astype(object), retrieval.kept)) or 1.0
    queries = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return math.fsum(np.bincount(queries, weights, len(offsets) - 1) * retrieval.kept) or 1.0
