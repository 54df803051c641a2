"""One pass over chunks: their losses and gradients, and what becomes of them together."""

import functools
import math
import operator

import dask.array as da
import numpy as np
from dask.core import flatten

import numbarank as nr
from numbarank.dask._calls import call_on_one_thread, map_chunks, one_per_chunk
from numbarank.dask._inputs import read_gradient


def pass_over_chunks(function, inputs, settings, backward=None):
    """Return the results of a function of numbarank as dask arrays, from one pass over the chunks.

    ``settings`` are those of the loss, ``backward`` what a function with gradients takes beside them. A call without
    elements comes first: it checks all that does not depend on values, and tells the dtypes.
    """
    arrays, reduction, counts = dict(inputs.arrays), settings["reduction"], None
    probes = {name: np.ones_like(x._meta) if isinstance(x, da.Array) else x for name, x in arrays.items()}
    arguments = {**settings, **(backward or {})}
    if backward:
        gradient = arrays["gradient"] = read_gradient(arguments.pop("gradient"), inputs, reduction)
        probes["gradient"] = np.ones((), gradient.dtype) if isinstance(gradient, da.Array) else gradient
    dtypes = [result.dtype for result in flatten([getattr(nr, function)(**probes, **arguments)], container=tuple)]
    are_pairs = "group" not in arrays
    if reduction == "mean":
        counts = counts_of_pairs(inputs, dtypes[0]) if are_pairs else _counts_of_lists(inputs, settings)
        if backward:
            arrays["count"], arrays["total"] = counts if isinstance(counts, da.Array) else None, counts.sum()
    of_chunk = _results_of_chunk if are_pairs and arrays["weights"] is None else _results_of_checked_chunk
    call = {"function": function, "names": tuple(arrays), "settings": arguments, "dtypes": dtypes}
    results = map_chunks(
        of_chunk, *arrays.values(), chunks=inputs.chunks, dtype=object, broadcast=inputs.broadcast, **call
    )
    loss = _loss(results, inputs.loss_chunks, reduction, counts, dtypes[0])
    return loss, *(_gradient(results, i, inputs, dtype) for i, dtype in enumerate(dtypes[1:], 1))


def _results_of_checked_chunk(*arrays, block_id, **settings):
    """Do what ``_results_of_chunk`` does where values are checked: errors name the chunk, which Dask takes time for."""
    return _results_of_chunk(*arrays, chunk=block_id, **settings)


def _results_of_chunk(*arrays, function, names, settings, dtypes, broadcast, chunk=None):
    """Return the loss of a chunk, with as many axes, and other results, summed where their input is broadcast."""
    shape, arguments = _shape_of_chunk(arrays, broadcast), {**dict(zip(names, arrays, strict=True)), **settings}
    gradient, count, total = (arguments.pop(name, None) for name in ("gradient", "count", "total"))
    if total is not None:  # numbarank divides by what the chunk counts
        gradient = gradient * ((math.prod(shape) if count is None else count.item()) / (total or 1))
    if gradient is not None:
        arguments["gradient"] = gradient[:, 0] if "group" in names and np.ndim(gradient) == 2 else gradient
    for name, axes in zip(names[: len(dtypes) - 1], broadcast, strict=False):
        if axes:
            arguments[name] = _spread(arguments[name], shape, dtypes[0])
    loss, *others = call_on_one_thread(function, arguments, chunk)
    loss = np.asarray(loss, dtypes[0] if settings["reduction"] == "none" else np.float64)
    others = (_sum(x, axes, keepdims=True) if axes else x for x, axes in zip(others, broadcast, strict=False))
    return loss.reshape(loss.shape + (1,) * (len(shape) - loss.ndim)), *others


def _shape_of_chunk(arrays, broadcast):
    """Return the shape of the pairs, or of the scores, of a chunk."""
    shapes = [np.shape(x) for x, _ in zip(arrays, broadcast, strict=False)]
    if len({shape for shape, axes in zip(shapes, broadcast, strict=True) if shape and not axes}) > 1:
        raise ValueError(f"chunks of unknown size have the shapes {shapes[:3]}; they must be equal")
    return np.broadcast_shapes(*shapes)


def _spread(x, shape, loss_dtype):
    """Return an input written out for each pair, in the dtype of the computation: slopes are not rounded further."""
    x = np.broadcast_to(x, shape)
    return x if x.dtype.kind in "iu" else x.astype(np.result_type(loss_dtype, np.float32))


def _loss(results, chunks, reduction, counts, dtype):
    """Return the losses of the chunks as they are, or their sum, or their mean weighted by what the chunks count."""
    item = operator.itemgetter(0)
    if reduction == "none":
        losses = map_chunks(item, results, chunks=(*chunks, (1,))[: results.ndim], dtype=dtype)
        return losses[:, 0] if losses.ndim > len(chunks) else losses
    losses = map_chunks(item, results, chunks=one_per_chunk(results.chunks), dtype=np.float64)
    return map_chunks(_total, losses, counts, chunks=(), dtype=dtype, drop_axis=[*range(losses.ndim)], rounded_to=dtype)


def _total(losses, counts, rounded_to):
    if counts is not None:
        counted = np.asarray(counts) > 0
        shares = np.asarray(counts)[counted] / np.sum(counts)
        losses = losses[counted] * shares if shares.size else losses.flat[0]  # a mean of nothing is that of any chunk
    return _sum(losses, rounded_to=rounded_to)


def _gradient(results, i, inputs, dtype):
    """Return result i in the shape of the input before it: summed over the axes along which that is broadcast."""
    axes, item = inputs.broadcast[i - 1], operator.itemgetter(i)
    if not axes:
        return map_chunks(item, results, chunks=inputs.chunks, dtype=dtype)
    chunks = tuple((1,) * len(lengths) if axis in axes else lengths for axis, lengths in enumerate(inputs.chunks))
    sums, finalize = (
        map_chunks(item, results, chunks=chunks, dtype=np.float64),
        functools.partial(_sum, rounded_to=dtype),
    )
    keepdims = np.ndim(list(inputs.arrays.values())[i - 1]) > 0
    return da.reduction(sums, _sum, finalize, combine=_sum, axis=axes, keepdims=keepdims, dtype=dtype)


def _sum(array, axis=None, keepdims=False, rounded_to=np.float64):
    """Return a sum in float64, rounded at last; an infinite one is no reason for a warning."""
    with np.errstate(all="ignore"):
        return np.sum(array, axis=axis, keepdims=keepdims, dtype=np.float64).astype(rounded_to)


def counts_of_pairs(pairs, loss_dtype):
    """Return the number of pairs of each chunk, or their weight: a NumPy array, or a dask array where it is unknown."""
    chunks, arrays, weights = pairs.chunks, pairs.arrays.values(), pairs.arrays["weights"]
    if not math.isnan(sum(map(sum, chunks))):
        if weights is None:
            return np.asarray(math.prod(np.ix_(*chunks)))
        # the weights alone, in the shape of the pairs: scores need not be there before their gradients
        arrays = *[None] * 4, da.broadcast_to(da.asarray(weights), tuple(map(sum, chunks)), chunks)
    settings = {"broadcast": pairs.broadcast, "loss_dtype": loss_dtype}
    return map_chunks(_count_of_pairs, *arrays, chunks=one_per_chunk(chunks), dtype=np.float64, **settings)


def _count_of_pairs(*arrays, broadcast, loss_dtype, block_id):
    """Return the number of pairs of a chunk, or their weight: the loss of equal scores at a margin of 1."""
    shape, weights = _shape_of_chunk(arrays, broadcast), arrays[-1]
    count = math.prod(shape)
    if weights is not None:
        with np.errstate(over="ignore"):
            weights = _spread(weights, shape, loss_dtype).astype(np.float64)
        equal = {"input1": weights, "input2": weights, "target": 1, "margin": 1.0}
        (count,) = call_on_one_thread(
            "margin_ranking_loss", {**equal, "weights": weights, "reduction": "sum"}, block_id
        )
    return np.full((1,) * len(shape), count, np.float64)


def _counts_of_lists(lists, settings):
    """Return the number of pairs of each chunk, or their weight, as a dask array."""
    arrays, losers = dict(lists.arrays), settings["losers"]
    if losers is None or arrays["weights"] is None:  # then the scores say nothing about how many pairs there are
        arrays["scores"] = None
    return map_chunks(
        _count_of_lists, *arrays.values(), chunks=one_per_chunk(lists.chunks), dtype=np.float64, losers=losers
    )


def _count_of_lists(scores, labels, weights, where, group, *, losers, block_id):
    """Return the number of pairs of a chunk, or their weight: the loss of equal scores at a margin of 1.

    Where the choice of losers depends on the scores, these are replaced by their ranks, at a margin above all of them.
    """
    arguments = {"labels": labels, "weights": weights, "where": where, "group": group, "losers": losers}
    if scores is None:
        arguments |= {"scores": np.zeros(labels.shape), "reduction": "sum"}
        (count,) = call_on_one_thread("pairwise_hinge_loss", arguments, block_id)
    else:
        ranks = np.unique(scores, return_inverse=True)[1].reshape(labels.shape).astype(np.float64)
        arguments |= {"scores": ranks, "margin": float(ranks.size), "return_counts": True}
        *_, counts = call_on_one_thread("pairwise_hinge_loss_and_grad", arguments, block_id)
        count = counts.sum() / 2
    return np.full((1,) * labels.ndim, count)
