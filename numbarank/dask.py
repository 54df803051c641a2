"""Ranking losses of dask arrays: lazy, chunk by chunk, with gradients that are dask arrays.

A chunk is one call of the function of the same name in numbarank, on one thread: the threads are Dask's. For 'mean', a
chunk's mean counts with its share of all pairs, or of their weight.
"""

import functools
import math
import numbers
import operator
from typing import NamedTuple

import dask.array as da
import numba
import numpy as np
from dask.core import flatten
from numpy.typing import ArrayLike

import numbarank as nr

__all__ = [
    "align_groups",
    "margin_ranking_loss",
    "margin_ranking_loss_and_grad",
    "pairwise_hinge_loss",
    "pairwise_hinge_loss_and_grad",
]

_ALIGN = "call numbarank.dask.align_groups first, which puts the edges of the chunks between queries"


def margin_ranking_loss(
    input1: da.Array | ArrayLike,
    input2: da.Array | ArrayLike,
    target: da.Array | ArrayLike,
    margin: float | da.Array | ArrayLike = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weights: da.Array | ArrayLike | None = None,
) -> da.Array:
    """Return the margin ranking loss of dask arrays; see :func:`numbarank.margin_ranking_loss`.

    Parameters
    ----------
    input1, input2, target, margin, size_average, reduce, reduction, weights
        As there; arrays may be dask arrays. Where their chunks differ, Dask cuts them to fit.

    Returns
    -------
    dask array
        Not computed yet; without axes for 'mean' and 'sum'.

    Raises
    ------
    TypeError, ValueError
        As there, before anything is computed; for an invalid weight when it is computed, with the number of the chunk.

    Examples
    --------
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> liked, disliked = da.from_array([2.0, 1.5, 3.0], chunks=2), da.from_array([1.0, 2.0, 1.0], chunks=2)
    >>> loss = numbarank.dask.margin_ranking_loss(liked, disliked, 1, margin=1.0, weights=[1, 3, 1])
    >>> float(loss.compute())
    0.9
    """
    if size_average is not None or reduce is not None:
        reduction = nr.MarginRankingLoss(0.0, size_average, reduce).reduction
    pairs = _read_pairs(input1, input2, target, margin, weights)
    return _results("margin_ranking_loss", pairs, {"reduction": reduction})[0]


def margin_ranking_loss_and_grad(
    input1: da.Array | ArrayLike,
    input2: da.Array | ArrayLike,
    target: da.Array | ArrayLike,
    margin: float | da.Array | ArrayLike = 0.0,
    reduction: str = "mean",
    *,
    gradient: da.Array | ArrayLike | None = None,
    weights: da.Array | ArrayLike | None = None,
    target_grad: bool = False,
) -> tuple[da.Array, tuple[da.Array, ...]]:
    """Return the margin ranking loss of dask arrays and its gradients; compute them together, and it is one pass.

    Parameters
    ----------
    input1, input2, target, margin, reduction, gradient, weights, target_grad
        As in :func:`numbarank.margin_ranking_loss_and_grad`; arrays may be dask arrays.

    Returns
    -------
    loss, gradients : dask array, tuple of dask arrays
        As from :func:`numbarank.margin_ranking_loss_and_grad`, not computed yet.

    Raises
    ------
    TypeError, ValueError
        As :func:`margin_ranking_loss`.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> liked, disliked = da.from_array([2.0, 1.5, 3.0], chunks=2), da.from_array([1.0, 2.0, 1.0], chunks=2)
    >>> loss, (_, by_disliked) = numbarank.dask.margin_ranking_loss_and_grad(liked, disliked, 1, 1.0, "sum")
    >>> dask.compute(loss, by_disliked)
    (np.float64(1.5), array([1., 1., 0.]))
    """
    pairs = _read_pairs(input1, input2, target, margin, weights)
    backward = {"gradient": gradient, "target_grad": target_grad}
    loss, *gradients = _results("margin_ranking_loss_and_grad", pairs, {"reduction": reduction}, backward)
    return loss, tuple(gradients)


def pairwise_hinge_loss(
    scores: da.Array | ArrayLike,
    labels: da.Array | ArrayLike,
    *,
    qid: da.Array | ArrayLike | None = None,
    group: ArrayLike | nr.Groups | None = None,
    where: da.Array | ArrayLike | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: da.Array | ArrayLike | None = None,
    losers: int | float | None = None,
    reduction: str = "mean",
) -> da.Array:
    """Return the hinge loss of all pairs of every query group; see :func:`numbarank.pairwise_hinge_loss`.

    A query must lie in one chunk: :func:`align_groups` sees to it. So must a row of scores with two axes.

    Parameters
    ----------
    scores, labels, qid, group, where, margin, power, weights, losers, reduction
        As there; all arrays but `group` may be dask arrays, and are cut into the chunks of the scores.

    Returns
    -------
    dask array
        Not computed yet; without axes for 'mean' and 'sum', of unknown length for 'none' where `qid` is a dask array.

    Raises
    ------
    TypeError, ValueError
        As there; also for a query in two chunks. What depends on values, and on a `qid` that is a dask array, is raised
        when it is computed, and names the chunk.

    Examples
    --------
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> scores, labels = da.from_array([2.0, 1.5, 0.0, 1.0, 3.0], chunks=3), [1, 2, 0, 0, 1]
    >>> numbarank.dask.pairwise_hinge_loss(scores, labels, group=[3, 2], reduction="none").compute()
    array([1.5, 0. ])
    """
    lists = _read_lists(scores, labels, weights, where, qid, group)
    settings = {"margin": margin, "power": power, "losers": losers, "reduction": reduction}
    return _results("pairwise_hinge_loss", lists, settings)[0]


def pairwise_hinge_loss_and_grad(
    scores: da.Array | ArrayLike,
    labels: da.Array | ArrayLike,
    *,
    qid: da.Array | ArrayLike | None = None,
    group: ArrayLike | nr.Groups | None = None,
    where: da.Array | ArrayLike | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: da.Array | ArrayLike | None = None,
    losers: int | float | None = None,
    reduction: str = "mean",
    gradient: da.Array | ArrayLike | None = None,
    return_counts: bool = False,
) -> tuple[da.Array, ...]:
    """Return the hinge loss of all pairs of every query group and its gradient; compute them together.

    For 'mean', all pairs are counted before the first gradient is known: until then labels and weights stay in memory.

    Parameters
    ----------
    scores, labels, qid, group, where, margin, power, weights, losers, reduction, gradient, return_counts
        As in :func:`pairwise_hinge_loss` and :func:`numbarank.pairwise_hinge_loss_and_grad`.

    Returns
    -------
    loss, gradient, counts : dask arrays
        As from :func:`numbarank.pairwise_hinge_loss_and_grad`; the last two are in the chunks of the scores.

    Raises
    ------
    TypeError, ValueError
        As :func:`pairwise_hinge_loss`.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> scores, labels = da.from_array([2.0, 1.5, 0.0], chunks=3), da.from_array([1, 2, 0], chunks=3)
    >>> dask.compute(*numbarank.dask.pairwise_hinge_loss_and_grad(scores, labels, reduction="sum"))
    (np.float64(1.5), array([ 1., -1.,  0.]))
    """
    lists = _read_lists(scores, labels, weights, where, qid, group)
    settings = {"margin": margin, "power": power, "losers": losers, "reduction": reduction}
    backward = {"gradient": gradient, "return_counts": return_counts}
    return _results("pairwise_hinge_loss_and_grad", lists, settings, backward)


def align_groups(
    *arrays: da.Array | ArrayLike, qid: da.Array | ArrayLike | None = None, group: ArrayLike | nr.Groups | None = None
) -> tuple[da.Array, ...]:
    """Return arrays with the edges of their chunks moved to the nearest edges between queries.

    Parameters
    ----------
    *arrays : dask arrays or array_like of shape (rows, ...)
        Whatever has a row for each document: scores, labels, weights, features. All get the chunks that become of those
        of the first dask array among them.
    qid : dask array or array_like of int, shape (rows,)
        The id of each row's query; the rows of a query stand together. Of a dask array the edges between queries are
        computed here and now, as far as they lie next to those of the chunks: persist it if it is expensive.
    group : array_like of int, shape (groups,), or Groups
        How many rows each query has, in their order. Exactly one of `qid` and `group` is given.

    Returns
    -------
    tuple of dask arrays
        The arrays, and `qid` behind them if it was given.

    Raises
    ------
    TypeError, ValueError
        For not exactly one of `qid` and `group`; for chunks of unknown sizes, or arrays, ids and counts of different
        lengths.

    Examples
    --------
    >>> import dask.array as da
    >>> from numbarank.dask import align_groups
    >>> scores, qid = align_groups(da.arange(6.0, chunks=2), qid=da.from_array([7, 7, 7, 2, 2, 2], chunks=2))
    >>> scores.chunks
    ((3, 3),)
    """
    if (qid is None) == (group is None) or not arrays:
        raise TypeError("align_groups takes at least one array, and either qid or group")
    given = arrays if qid is None else (*arrays, qid)
    arrays = [_read(f"array {i}", array) for i, array in enumerate(given)]
    for array in arrays:
        if array.ndim == 0 or math.isnan(array.shape[0]):
            wrong = f"an array has shape {array.shape}; it must have rows, in chunks of known size"
            raise ValueError(f"{wrong}: call its compute_chunk_sizes() first")
    groups = None if isinstance(qid, da.Array) else _groups_of(qid, group)
    rows = len(qid) if groups is None else groups.rows
    for array in arrays:
        if array.shape[0] != rows:
            wrong = f"an array has shape {array.shape} and the queries have {rows} rows together"
            raise ValueError(f"{wrong}; they must be equal")
    first = next((array for array in given if isinstance(array, da.Array)), arrays[0])
    if groups is None:
        starts = _map_ids(_starts_of_chunk, qid.rechunk(first.chunks[:1]))
        offsets = np.unique([*starts.compute(), rows])
    else:
        offsets = groups.offsets
    edges = np.cumsum(first.chunks[0])[:-1]
    after = np.searchsorted(offsets, edges)
    before = np.maximum(after - 1, 0)
    nearest = np.where(offsets[after] - edges <= edges - offsets[before], offsets[after], offsets[before])
    chunks = tuple(np.diff(np.unique([0, *nearest, offsets[-1]])).tolist()) or (0,)
    return tuple(array.rechunk({0: chunks}) for array in arrays)


# ---------------------------------------------------------------- what is given


class _Inputs(NamedTuple):
    """What a loss is computed from."""

    arrays: dict  # by the names that numbarank has for them: dask arrays, numbers, or None
    chunks: tuple  # of the pairs, or of the scores of lists
    loss_chunks: tuple  # of the losses of 'none'
    broadcast: list  # for each array the axes along which it is broadcast to the chunks


def _read_pairs(input1, input2, target, margin, weights):
    """Return the inputs of a loss on pairs; what has no axes and is no score stands for every pair."""
    arrays = {"input1": _read("input1", input1), "input2": _read("input2", input2)}
    for name, value in {"target": target, "margin": margin, "weights": weights}.items():
        arrays[name] = _read(name, value, keep_scalar=True)
    full = {name: x for name, x in arrays.items() if name in ("input1", "input2") or np.ndim(x)}
    shapes = [x.shape for x in full.values()]
    known = [{n for n in lengths if n != 1 and not math.isnan(n)} for lengths in zip(*shapes, strict=False)]
    if len(set(map(len, shapes))) > 1 or any(len(lengths) > 1 for lengths in known):
        named = ", ".join(f"{name} {np.shape(x)}" for name, x in arrays.items() if name in full or name == "target")
        named = named.replace(" ", " has shape ", 1)
        raise ValueError(f"{named}; all need the same number of axes, and along each equal lengths or 1: reshape them")
    axes = tuple(range(len(shapes[0])))
    lengths, cut = da.unify_chunks(*(item for x in full.values() for item in (x, axes)))
    arrays.update(zip(full, cut, strict=True))
    chunks = tuple(lengths[axis] for axis in axes)
    broadcast = [
        tuple(axis for axis in axes if np.ndim(x) == 0 or (x.shape[axis] == 1 and sum(chunks[axis]) != 1))
        for x in arrays.values()
    ]
    return _Inputs(arrays, chunks, chunks, broadcast)


def _read_lists(scores, labels, weights, where, qid, group):
    """Return the inputs of a loss on lists, in the chunks of the scores or else of the first dask array."""
    given = {"scores": scores, "labels": labels, "weights": weights, "where": where}
    arrays = {name: None if value is None else _read(name, value) for name, value in given.items()}
    shape = arrays["scores"].shape
    if len(shape) not in (1, 2):
        raise ValueError(f"scores has shape {shape}; it must have one axis, or two with a list a row")
    lazy = [x for x in (*given.values(), qid) if isinstance(x, da.Array) and x.shape == shape]
    chunks = [*lazy, arrays["scores"]][0].chunks
    for name, x in arrays.items():
        if x is not None:
            wrong = f"scores has shape {shape}, {name} {x.shape}; they must be equal"
            arrays[name] = _in_chunks(name, x, chunks, wrong)
    broadcast = [()] * len(arrays)
    arrays["group"], loss_chunks = _read_groups(shape, chunks, qid, group, where)
    return _Inputs(arrays, chunks, loss_chunks, broadcast)


def _read_groups(shape, chunks, qid, group, where):
    """Return the sizes of the groups of each chunk, or None where they need not be known, and the groups' chunks."""
    has_two_axes, is_given = len(shape) == 2, qid is not None or group is not None
    if has_two_axes and is_given:
        raise ValueError(f"scores has shape {shape}, a list a row: leave qid and group out")
    if has_two_axes and len(chunks[1]) > 1:
        wrong = f"a list lies in {len(chunks[1])} chunks; it must lie in one"
        raise ValueError(f"{wrong}: pass scores.rechunk({{1: -1}}), and the others likewise")
    if where is not None and not has_two_axes:
        wrong = f"where is given and scores has shape {shape}; a mask needs scores with two axes, a list a row"
        raise ValueError(f"{wrong}: leave out the rows instead, as in scores[where]")
    if qid is not None and group is not None:
        raise ValueError("qid and group are both given; pass one of them")
    if not is_given and not has_two_axes and len(chunks[0]) > 1:
        wrong = f"scores has {len(chunks[0])} chunks, and without qid and group all rows are one query, in one chunk"
        raise ValueError(f"{wrong}: pass qid or group, or scores.rechunk(-1)")
    if not is_given:
        return None, chunks[:1] if has_two_axes else ((1,),)
    if math.isnan(sum(chunks[0])):
        wrong = "scores has chunks of unknown size, and queries must not lie in two of them"
        raise ValueError(f"{wrong}: call compute_chunk_sizes() on scores, labels, weights and qid first")
    if isinstance(qid, da.Array):
        wrong = f"qid has shape {qid.shape} and scores {shape}; they must be equal"
        sizes = _map_ids(_sizes_of_chunk, _in_chunks("qid", _read("qid", qid), chunks, wrong))
    else:
        sizes = _sizes_of_groups(_groups_of(qid, group), chunks[0])
    return sizes, sizes.chunks


def _read_gradient(gradient, inputs, reduction):
    """Return the upstream gradient: a number, or a dask array in the chunks of the loss, with the axes of inputs."""
    gradient = _read("gradient", 1.0 if gradient is None else gradient, keep_scalar=True)
    if np.ndim(gradient) == 0:
        return gradient
    chunks = inputs.loss_chunks if reduction == "none" else ()
    wrong = f"gradient has shape {gradient.shape}; it must have the loss's shape {tuple(map(sum, chunks))}"
    gradient = _in_chunks("gradient", gradient, chunks, wrong)
    return gradient[:, None] if len(inputs.chunks) > len(chunks) else gradient


def _read(name, value, keep_scalar=False):
    """Return an argument as a dask array of NumPy chunks; what is none yet becomes a single chunk."""
    if isinstance(value, da.Array):
        if not isinstance(value._meta, np.ndarray):
            raise TypeError(f"{name} has chunks of {type(value._meta).__name__}; they must be NumPy arrays")
        return value
    if keep_scalar and np.ndim(value) == 0:
        return value
    if not isinstance(value, (np.ndarray, np.generic, numbers.Number, list, tuple)):
        advice = f": pass {name}.to_dask_array(lengths=True)" if hasattr(value, "to_dask_array") else ""
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a dask array, NumPy array or list{advice}")
    return da.from_array(np.asanyarray(value), chunks=-1)


def _in_chunks(name, array, chunks, wrong_shape):
    """Return an array in given chunks; those of unknown size must be as many already."""
    shape, numblocks = tuple(map(sum, chunks)), tuple(map(len, chunks))
    lengths = zip(array.shape, shape, strict=False)
    if array.ndim != len(shape) or any(a != b and not math.isnan(a + b) for a, b in lengths):
        raise ValueError(wrong_shape)
    if not math.isnan(sum(shape + array.shape)):
        return array.rechunk(chunks)
    if array.numblocks != numblocks:
        wrong = f"{name} has {array.numblocks} chunks where {numblocks} are needed, some of unknown size"
        raise ValueError(f"{wrong}: call compute_chunk_sizes() on both arrays first")
    return array


def _groups_of(qid, group):
    if isinstance(group, da.Array):
        raise TypeError("group is a dask array; it must be a list or NumPy array: pass group.compute()")
    return group if isinstance(group, nr.Groups) else nr.Groups(qid=qid, group=group)


def _sizes_of_groups(groups, rows):
    """Return the sizes of groups that are known, in a chunk for each chunk of rows."""
    edges, offsets = np.cumsum(rows), groups.offsets
    if groups.rows != edges[-1]:
        raise ValueError(f"the queries have {groups.rows} rows together and scores has {edges[-1]}; they must be equal")
    firsts = np.searchsorted(offsets, edges[:-1])
    for edge, query in zip(edges, firsts - 1, strict=False):
        start, stop = offsets[query], offsets[query + 1]
        if stop != edge:
            wrong = f"query {query}, rows {start} to {stop - 1}, lies in two chunks, which meet at row {edge}"
            raise ValueError(f"{wrong}; it must lie in one: {_ALIGN}")
    return da.from_array(groups.sizes, chunks=(tuple(np.diff([0, *firsts, len(groups)]).tolist()),))


def _map_ids(function, qid):
    """Map a function over the chunks of ids; with each it gets the id of the row before, and it returns integers."""
    rows = np.array(qid.chunks[0])
    last = _map(operator.itemgetter(slice(-1, None)), qid, chunks=_ones(qid.chunks), dtype=qid.dtype)
    filled = np.maximum.accumulate(np.where(rows > 0, np.arange(len(rows)), 0))
    before = last.blocks[[0, *filled[:-1]]]
    return _map(function, qid, before, chunks=((math.nan,) * len(rows),), dtype=np.int64)


def _sizes_of_chunk(qid, before, *, block_id):
    """Return how many rows each query of a chunk has."""
    (groups,) = _call("Groups", {"qid": qid}, block_id)
    if block_id[0] > 0 and (qid[:1] == before).any():
        raise ValueError(f"chunk {block_id[0]}: query {qid[0]} began in a chunk before, and must lie in one: {_ALIGN}")
    return groups.sizes


def _starts_of_chunk(qid, before, *, block_info):
    """Return the first and the last row of a chunk at which a query starts."""
    chunk, ((row, _),) = block_info[0]["chunk-location"], block_info[0]["array-location"]
    (groups,) = _call("Groups", {"qid": qid}, chunk)
    is_continued = chunk[0] > 0 and (qid[:1] == before).any()
    starts = row + groups.offsets[int(is_continued) : -1]
    return np.concatenate([starts[:1], starts[-1:]])


# ---------------------------------------------------------------- a pass over chunks


def _results(function, inputs, settings, backward=None):
    """Return the results of a function of numbarank as dask arrays, from one pass over the chunks.

    ``settings`` are those of the loss, ``backward`` what a function with gradients takes beside them. A call without
    elements comes first: it checks all that does not depend on values, and tells the dtypes.
    """
    arrays, reduction, counts = dict(inputs.arrays), settings["reduction"], None
    probes = {name: np.ones_like(x._meta) if isinstance(x, da.Array) else x for name, x in arrays.items()}
    arguments = {**settings, **(backward or {})}
    if backward:
        gradient = arrays["gradient"] = _read_gradient(arguments.pop("gradient"), inputs, reduction)
        probes["gradient"] = np.ones((), gradient.dtype) if isinstance(gradient, da.Array) else gradient
    dtypes = [result.dtype for result in flatten([getattr(nr, function)(**probes, **arguments)], container=tuple)]
    are_pairs = "group" not in arrays
    if reduction == "mean":
        counts = _counts_of_pairs(inputs, dtypes[0]) if are_pairs else _counts_of_lists(inputs, settings)
        if backward:
            arrays["count"], arrays["total"] = counts if isinstance(counts, da.Array) else None, counts.sum()
    of_chunk = _results_of_chunk if are_pairs and arrays["weights"] is None else _results_of_checked_chunk
    call = {"function": function, "names": tuple(arrays), "settings": arguments, "dtypes": dtypes}
    results = _map(of_chunk, *arrays.values(), chunks=inputs.chunks, dtype=object, broadcast=inputs.broadcast, **call)
    loss = _loss(results, inputs.loss_chunks, reduction, counts, dtypes[0])
    return loss, *(_gradient(results, i, inputs, dtype) for i, dtype in enumerate(dtypes[1:], 1))


def _map(function, /, *arrays, chunks, dtype, **settings):
    """Map a function over chunks, without calling it to find out what it returns."""
    meta = np.empty((0,) * len(chunks), dtype)
    return da.map_blocks(function, *arrays, chunks=chunks, dtype=dtype, meta=meta, **settings)


def _ones(chunks):
    """Return the chunks of an array with one element for each chunk."""
    return tuple((1,) * len(lengths) for lengths in chunks)


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
    loss, *others = _call(function, arguments, chunk)
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


def _call(function, arguments, chunk=None):
    """Return all that a function of numbarank returns; it runs on one thread, and its errors name the chunk."""
    try:
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
    except ValueError:  # numba has no threading layer here, and losses run on one thread anyway
        threads = None
    try:
        return list(flatten([getattr(nr, function)(**arguments)], container=tuple))
    except ValueError as error:
        if chunk is None:
            raise
        raise ValueError(f"chunk {chunk[0] if len(chunk) == 1 else chunk}: {error}") from error
    finally:
        if threads is not None:
            numba.set_num_threads(threads)


def _loss(results, chunks, reduction, counts, dtype):
    """Return the losses of the chunks as they are, or their sum, or their mean weighted by what the chunks count."""
    item = operator.itemgetter(0)
    if reduction == "none":
        losses = _map(item, results, chunks=(*chunks, (1,))[: results.ndim], dtype=dtype)
        return losses[:, 0] if losses.ndim > len(chunks) else losses
    losses = _map(item, results, chunks=_ones(results.chunks), dtype=np.float64)
    return _map(_total, losses, counts, chunks=(), dtype=dtype, drop_axis=[*range(losses.ndim)], rounded_to=dtype)


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
        return _map(item, results, chunks=inputs.chunks, dtype=dtype)
    chunks = tuple((1,) * len(lengths) if axis in axes else lengths for axis, lengths in enumerate(inputs.chunks))
    sums, finalize = _map(item, results, chunks=chunks, dtype=np.float64), functools.partial(_sum, rounded_to=dtype)
    keepdims = np.ndim(list(inputs.arrays.values())[i - 1]) > 0
    return da.reduction(sums, _sum, finalize, combine=_sum, axis=axes, keepdims=keepdims, dtype=dtype)


def _sum(array, axis=None, keepdims=False, rounded_to=np.float64):
    """Return a sum in float64, rounded at last; an infinite one is no reason for a warning."""
    with np.errstate(all="ignore"):
        return np.sum(array, axis=axis, keepdims=keepdims, dtype=np.float64).astype(rounded_to)


def _counts_of_pairs(pairs, loss_dtype):
    """Return the number of pairs of each chunk, or their weight: a NumPy array, or a dask array where it is unknown."""
    chunks, arrays, weights = pairs.chunks, pairs.arrays.values(), pairs.arrays["weights"]
    if not math.isnan(sum(map(sum, chunks))):
        if weights is None:
            return np.asarray(math.prod(np.ix_(*chunks)))
        # the weights alone, in the shape of the pairs: scores need not be there before their gradients
        arrays = *[None] * 4, da.broadcast_to(da.asarray(weights), tuple(map(sum, chunks)), chunks)
    settings = {"broadcast": pairs.broadcast, "loss_dtype": loss_dtype}
    return _map(_count_of_pairs, *arrays, chunks=_ones(chunks), dtype=np.float64, **settings)


def _count_of_pairs(*arrays, broadcast, loss_dtype, block_id):
    """Return the number of pairs of a chunk, or their weight: the loss of equal scores at a margin of 1."""
    shape, weights = _shape_of_chunk(arrays, broadcast), arrays[-1]
    count = math.prod(shape)
    if weights is not None:
        with np.errstate(over="ignore"):
            weights = _spread(weights, shape, loss_dtype).astype(np.float64)
        equal = {"input1": weights, "input2": weights, "target": 1, "margin": 1.0}
        (count,) = _call("margin_ranking_loss", {**equal, "weights": weights, "reduction": "sum"}, block_id)
    return np.full((1,) * len(shape), count, np.float64)


def _counts_of_lists(lists, settings):
    """Return the number of pairs of each chunk, or their weight, as a dask array."""
    arrays, losers = dict(lists.arrays), settings["losers"]
    if losers is None or arrays["weights"] is None:  # then the scores say nothing about how many pairs there are
        arrays["scores"] = None
    return _map(_count_of_lists, *arrays.values(), chunks=_ones(lists.chunks), dtype=np.float64, losers=losers)


def _count_of_lists(scores, labels, weights, where, group, *, losers, block_id):
    """Return the number of pairs of a chunk, or their weight: the loss of equal scores at a margin of 1.

    Where the choice of losers depends on the scores, these are replaced by their ranks, at a margin above all of them.
    """
    arguments = {"labels": labels, "weights": weights, "where": where, "group": group, "losers": losers}
    if scores is None:
        arguments |= {"scores": np.zeros(labels.shape), "reduction": "sum"}
        (count,) = _call("pairwise_hinge_loss", arguments, block_id)
    else:
        ranks = np.unique(scores, return_inverse=True)[1].reshape(labels.shape).astype(np.float64)
        arguments |= {"scores": ranks, "margin": float(ranks.size), "return_counts": True}
        *_, counts = _call("pairwise_hinge_loss_and_grad", arguments, block_id)
        count = counts.sum() / 2
    return np.full((1,) * labels.ndim, count)
