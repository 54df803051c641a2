"""Ranking losses of dask arrays: lazy, chunk by chunk, with gradients that are dask arrays.

A chunk is one call of the function of the same name in numbarank, on one thread: the threads are Dask's. For 'mean', a
chunk's mean counts with its share of all pairs.
"""

import contextlib
import functools
import itertools
import math
import numbers
import operator
from typing import Any, NamedTuple

import dask.array as da
import numba
import numpy as np
from numpy.typing import ArrayLike

import numbarank as nr

__all__ = [
    "align_groups",
    "margin_ranking_loss",
    "margin_ranking_loss_and_grad",
    "pairwise_hinge_loss",
    "pairwise_hinge_loss_and_grad",
]

_FLOAT64, _INT64, _OBJECT = np.dtype(np.float64), np.dtype(np.int64), np.dtype(object)
_ALIGN = "call numbarank.dask.align_groups first, which puts the edges of the chunks between queries"


def margin_ranking_loss(
    input1: da.Array | ArrayLike,
    input2: da.Array | ArrayLike,
    target: da.Array | ArrayLike,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> da.Array:
    """Return the margin ranking loss of dask arrays; see :func:`numbarank.margin_ranking_loss`.

    Parameters
    ----------
    input1, input2 : dask array or array_like of shape (...)
        The two scores of each pair.
    target : dask array, array_like or number
        1 where ``input1`` should score higher, -1 where ``input2`` should. The three broadcast together. Where their
        chunks differ, Dask cuts them to fit.
    margin, size_average, reduce, reduction
        As in :func:`numbarank.margin_ranking_loss`.

    Returns
    -------
    dask array
        Not computed yet; without axes for 'mean' and 'sum'.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.margin_ranking_loss`, before anything is computed.

    Examples
    --------
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> liked, disliked = da.from_array([2.0, 1.5, 3.0], chunks=2), da.from_array([1.0, 2.0, 1.0], chunks=2)
    >>> loss = numbarank.dask.margin_ranking_loss(liked, disliked, 1, margin=1.0)
    >>> float(loss.compute())
    0.5
    """
    if size_average is not None or reduce is not None:
        reduction = nr.MarginRankingLoss(margin, size_average, reduce).reduction
    pairs = _read_pairs(input1, input2, target)
    probe = nr.margin_ranking_loss(*map(_nothing, pairs.inputs), margin, reduction=reduction)
    return _walk_pairs(pairs, margin, reduction, None, probe.dtype, ())[0]


def margin_ranking_loss_and_grad(
    input1: da.Array | ArrayLike,
    input2: da.Array | ArrayLike,
    target: da.Array | ArrayLike,
    margin: float = 0.0,
    reduction: str = "mean",
    *,
    gradient: da.Array | ArrayLike | None = None,
    target_grad: bool = False,
) -> tuple[da.Array, tuple[da.Array, ...]]:
    """Return the margin ranking loss of dask arrays and its gradients; compute them together, and it is one pass.

    Parameters
    ----------
    input1, input2, target, margin, reduction
        As in :func:`margin_ranking_loss`.
    gradient : float, dask array or array_like, optional
        The upstream gradient, 1 by default: a number, or for ``reduction='none'`` an array of the loss's shape.
    target_grad : bool, default False
        Whether to return the gradient by the target too.

    Returns
    -------
    loss : dask array
        As from :func:`margin_ranking_loss`.
    gradients : tuple of dask arrays
        The gradients by ``input1`` and ``input2``, and by ``target`` if asked for, each in its input's shape and dtype
        (float64 where that is an integer).

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
    >>> results = numbarank.dask.margin_ranking_loss_and_grad(liked, disliked, 1, 1.0, "sum")
    >>> loss, (by_liked, by_disliked) = dask.compute(*results)
    >>> float(loss)
    1.5
    >>> by_disliked
    array([1., 1., 0.])
    """
    pairs = _read_pairs(input1, input2, target)
    gradient = _read_gradient(gradient, pairs.chunks if reduction == "none" else ())
    probe, slopes = nr.margin_ranking_loss_and_grad(
        *map(_nothing, pairs.inputs), margin, reduction, gradient=_if_number(gradient), target_grad=target_grad
    )
    loss, *gradients = _walk_pairs(pairs, margin, reduction, gradient, probe.dtype, [slope.dtype for slope in slopes])
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
    reduction: str = "mean",
) -> da.Array:
    """Return the hinge loss of all pairs of every query group; see :func:`numbarank.pairwise_hinge_loss`.

    A query must lie in one chunk: :func:`align_groups` sees to it.

    Parameters
    ----------
    scores : dask array or array_like of shape (rows,) or (lists, length)
        With two axes each row is a group, and must lie in one chunk.
    labels, where, weights : dask array or array_like of the scores' shape
        They are cut into the chunks of the scores.
    qid : dask array or array_like of int, shape (rows,), optional
        The id of each row's query; the rows of a query stand together.
    group : array_like of int, shape (groups,), or Groups, optional
        How many rows each query has, in their order.
    margin, power, reduction
        As in :func:`numbarank.pairwise_hinge_loss`.

    Returns
    -------
    dask array
        Not computed yet; without axes for 'mean' and 'sum', of unknown length for 'none' where `qid` is a dask array.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.pairwise_hinge_loss`; also for a query in two chunks. What depends on values, and on a `qid`
        that is a dask array, is raised when it is computed, and names the chunk.

    Examples
    --------
    >>> import dask.array as da
    >>> import numbarank.dask
    >>> scores = da.from_array([2.0, 1.5, 0.0, 1.0, 3.0], chunks=3)
    >>> labels = da.from_array([1, 2, 0, 0, 1], chunks=3)
    >>> numbarank.dask.pairwise_hinge_loss(scores, labels, group=[3, 2], reduction="none").compute()
    array([1.5, 0. ])
    """
    lists = _read_lists(scores, labels, qid, group, where, weights)
    settings = {"margin": margin, "power": power, "reduction": reduction}
    probe = nr.pairwise_hinge_loss(*map(_nothing, lists.inputs[:2]), **_probed(lists), **settings)
    return _walk_lists(lists, settings, None, probe.dtype, ())[0]


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
    reduction: str = "mean",
    gradient: da.Array | ArrayLike | None = None,
    return_counts: bool = False,
) -> tuple[da.Array, ...]:
    """Return the hinge loss of all pairs of every query group and its gradient; compute them together.

    For 'mean', all pairs are counted before the first gradient is known: until then labels and weights stay in memory.

    Parameters
    ----------
    scores, labels, qid, group, where, margin, power, weights, reduction
        As in :func:`pairwise_hinge_loss`.
    gradient : float, dask array or array_like, optional
        The upstream gradient, 1 by default: a number, or for ``reduction='none'`` one number for each group.
    return_counts : bool, default False
        Whether to return how many active pairs each row is in.

    Returns
    -------
    loss : dask array
        As from :func:`pairwise_hinge_loss`.
    gradient : dask array
        In the shape, chunks and dtype of the scores, float64 where these are integers.
    counts : float64 dask array
        If asked for: how many active pairs each row is in, or the sum of their weights.

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
    >>> loss, gradient = dask.compute(*numbarank.dask.pairwise_hinge_loss_and_grad(scores, labels, reduction="sum"))
    >>> float(loss)
    1.5
    >>> gradient
    array([ 1., -1.,  0.])
    """
    lists = _read_lists(scores, labels, qid, group, where, weights)
    gradient = _read_gradient(gradient, lists.group_chunks if reduction == "none" else ())
    settings = {"margin": margin, "power": power, "reduction": reduction}
    probe, *others = nr.pairwise_hinge_loss_and_grad(
        *map(_nothing, lists.inputs[:2]),
        **_probed(lists),
        **settings,
        gradient=_if_number(gradient),
        return_counts=return_counts,
    )
    return _walk_lists(lists, settings, gradient, probe.dtype, [other.dtype for other in others])


def align_groups(
    *arrays: da.Array | ArrayLike,
    qid: da.Array | ArrayLike | None = None,
    group: ArrayLike | nr.Groups | None = None,
) -> tuple[da.Array, ...]:
    """Return arrays with the edges of their chunks moved to the nearest edges between queries.

    Parameters
    ----------
    *arrays : dask arrays or array_like of shape (rows, ...)
        Whatever has a row for each document: scores, labels, weights, features. All get the chunks that become of those
        of the first dask array among them.
    qid : dask array or array_like of int, shape (rows,)
        The id of each row's query; the rows of a query stand together. Of a dask array the ids at the edges of the
        chunks are computed here and now: persist it if it is expensive.
    group : array_like of int, shape (groups,), or Groups
        How many rows each query has, in their order. Exactly one of `qid` and `group` is given.

    Returns
    -------
    tuple of dask arrays
        The arrays, and `qid` behind them if it was given.

    Raises
    ------
    TypeError
        For not exactly one of `qid` and `group`.
    ValueError
        For chunks of unknown sizes, or arrays, ids and counts of different lengths.

    Examples
    --------
    >>> import dask.array as da
    >>> from numbarank.dask import align_groups
    >>> scores, qid = da.arange(6.0, chunks=2), da.from_array([7, 7, 7, 2, 2, 2], chunks=2)
    >>> scores, qid = align_groups(scores, qid=qid)
    >>> scores.chunks
    ((3, 3),)
    """
    if (qid is None) == (group is None) or not arrays:
        raise TypeError("align_groups takes at least one array, and either qid or group")
    given = arrays if qid is None else (*arrays, qid)
    like = next((i for i, array in enumerate(given) if isinstance(array, da.Array)), 0)
    arrays = [_read(f"array {i}", array) for i, array in enumerate(given)]
    rows = [_known_chunks(array) for array in arrays]
    offsets = _offsets_of_dask(arrays[-1]) if isinstance(qid, da.Array) else _groups_of(qid, group).offsets
    for array in arrays:
        if array.shape[0] != offsets[-1]:
            raise ValueError(
                f"an array has shape {array.shape} and the queries have {offsets[-1]} rows together; they must be equal"
            )
    edges = np.cumsum(rows[like])[:-1]
    after = np.searchsorted(offsets, edges)
    before = np.maximum(after - 1, 0)
    nearest = np.where(offsets[after] - edges <= edges - offsets[before], offsets[after], offsets[before])
    chunks = tuple(map(int, np.diff(np.unique([0, *nearest, offsets[-1]])))) or (0,)
    return tuple(array.rechunk({0: chunks}) for array in arrays)


# ---------------------------------------------------------------- arguments


def _read(name, value):
    """Return an argument as a dask array of NumPy chunks; what is none yet becomes a single chunk."""
    if isinstance(value, da.Array):
        if not isinstance(value._meta, np.ndarray):
            raise TypeError(f"{name} has chunks of {type(value._meta).__name__}; they must be NumPy arrays")
        return value
    if not isinstance(value, (np.ndarray, np.generic, numbers.Number, list, tuple)):
        advice = f": pass {name}.to_dask_array(lengths=True)" if hasattr(value, "to_dask_array") else ""
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a dask array, NumPy array or list{advice}")
    return da.from_array(np.asanyarray(value), chunks=-1)


def _read_gradient(gradient, chunks):
    """Return the upstream gradient, 1.0 for None: a number, or a dask array in the chunks of the loss."""
    if gradient is None:
        return 1.0
    if np.ndim(gradient) == 0 and not isinstance(gradient, da.Array):
        return gradient
    gradient = _read("gradient", gradient)
    if gradient.ndim == 0:
        return gradient
    shape = tuple(map(sum, chunks))
    if gradient.ndim != len(shape) or not all(map(_may_be_equal, gradient.shape, shape)):
        raise ValueError(f"gradient has shape {gradient.shape}; it must have the loss's shape {shape}")
    return _in_chunks("gradient", gradient, chunks)


def _in_chunks(name, array, chunks):
    """Return an array in given chunks; those of unknown size must be as many already."""
    if array.chunks == chunks:
        return array
    if math.isnan(sum(map(sum, chunks)) + sum(array.shape)):
        if array.numblocks == tuple(map(len, chunks)):
            return array
        raise ValueError(
            f"{name} has {array.numblocks} chunks where {tuple(map(len, chunks))} are needed, some of unknown size: "
            "call compute_chunk_sizes() on both arrays first"
        )
    return array.rechunk(chunks)


def _known_chunks(array):
    """Return how many rows each chunk has, or raise ValueError where there are none, or Dask does not know."""
    if array.ndim == 0 or math.isnan(array.shape[0]):
        raise ValueError(
            f"an array has shape {array.shape}; it must have rows, in chunks of known size: call its "
            "compute_chunk_sizes() first"
        )
    return array.chunks[0]


def _may_be_equal(length, other):
    return length == other or math.isnan(length) or math.isnan(other)


def _nothing(value):
    """Return an array like a dask array's chunks, but without elements: enough to check arguments and know dtypes."""
    return value._meta if isinstance(value, da.Array) else value


def _if_number(gradient):
    """Return an upstream gradient that can be checked now, or None: the chunks of an array are checked as they come."""
    return None if isinstance(gradient, da.Array) else gradient


def _groups_of(qid, group):
    if isinstance(group, da.Array):
        raise TypeError("group is a dask array; it must be a list or NumPy array: pass group.compute()")
    return group if isinstance(group, nr.Groups) else nr.Groups(qid=qid, group=group)


# ---------------------------------------------------------------- graphs


def _walk(function, arguments, chunks, **settings):
    """Return an array of which each chunk is a tuple: the loss of the chunk, and what else the function returns."""
    meta = np.empty((0,) * len(chunks), _OBJECT)
    return da.map_blocks(function, *arguments, chunks=chunks, dtype=_OBJECT, meta=meta, **settings)


def _item(walked, i, chunks, dtype):
    """Return one item of each tuple as an array."""
    return walked.map_blocks(
        operator.itemgetter(i), chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype)
    )


def _ones(chunks):
    """Return the chunks of an array with one element for each chunk."""
    return tuple((1,) * len(lengths) for lengths in chunks)


def _reduced(walked, counts, of_nothing, dtype):
    """Return the loss without axes, of those of the chunks; where there are counts it is the mean."""
    losses = _item(walked, 0, _ones(walked.chunks), _FLOAT64)
    axes = list(range(losses.ndim))
    finish = functools.partial(_reduce, of_nothing=of_nothing, loss_dtype=dtype)
    return da.map_blocks(finish, losses, counts, drop_axis=axes, dtype=dtype, meta=np.empty((), dtype))


def _reduce(losses, counts, of_nothing, loss_dtype):
    if counts is not None:
        there = np.asarray(counts) > 0
        shares = np.asarray(counts)[there] / np.sum(counts)
        losses = losses[there] * shares if there.any() else of_nothing
    return _sum(losses, rounded_to=loss_dtype)


def _sum(array, axis=None, keepdims=False, rounded_to=_FLOAT64):
    """Return a sum in float64, rounded at last; an infinite one is no reason for a warning."""
    with np.errstate(all="ignore"):
        return np.sum(array, axis=axis, keepdims=keepdims, dtype=_FLOAT64).astype(rounded_to)


@contextlib.contextmanager
def _one_thread():
    """Leave the other cores to the other threads of Dask's."""
    try:
        threads = numba.get_num_threads()
    except ValueError:  # numba has no threading layer here, and losses run on one thread anyway
        yield
        return
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


# ---------------------------------------------------------------- pairs


class _Pairs(NamedTuple):
    """The pairs of one call, all cut at the same edges.

    ``summed`` has for each input the axes along which it was broadcast, and ``counts`` the pairs of each chunk.
    """

    inputs: list
    chunks: tuple
    summed: list
    counts: Any


def _read_pairs(input1, input2, target):
    if np.ndim(target) or isinstance(target, da.Array):
        target = _read("target", target)
    inputs = [_read("input1", input1), _read("input2", input2), target]
    full = inputs if np.ndim(target) else inputs[:2]
    _check_pair_shapes([np.shape(x) for x in inputs], [x.shape for x in full])
    axes = tuple(range(max(map(np.ndim, inputs))))
    lengths, cut = da.unify_chunks(*itertools.chain.from_iterable((x, axes) for x in full))
    chunks = tuple(lengths[axis] for axis in axes)
    inputs[: len(full)] = cut
    shape = tuple(map(sum, chunks))
    summed = [
        tuple(axis for axis in axes if np.ndim(x) == 0 or (x.shape[axis] == 1 and shape[axis] != 1)) for x in inputs
    ]
    return _Pairs(inputs, chunks, summed, _pairs_in_chunks(inputs, chunks))


def _check_pair_shapes(shapes, full):
    fit = len(set(map(len, full))) == 1 and all(
        len({length for length in lengths if length != 1 and not math.isnan(length)}) <= 1
        for lengths in zip(*full, strict=True)
    )
    if not fit:
        raise ValueError(
            f"input1 has shape {shapes[0]}, input2 {shapes[1]}, target {shapes[2]}; all need the same number of "
            "dimensions, and along each the lengths must be equal or 1: reshape or slice them first"
        )


def _pairs_in_chunks(inputs, chunks):
    """Return how many pairs each chunk has: a NumPy array, or a dask array where Dask does not know."""
    if math.isnan(sum(map(sum, chunks))):
        meta = np.empty((0,) * len(chunks), _INT64)
        return da.map_blocks(_count_pairs, *inputs, chunks=_ones(chunks), dtype=_INT64, meta=meta)
    return functools.reduce(np.multiply.outer, map(np.array, chunks), np.int64(1))


def _walk_pairs(pairs, margin, reduction, gradient, dtype, gradient_dtypes):
    """Return the loss and as many gradients as there are dtypes for them."""
    is_mean = reduction == "mean"
    total = pairs.counts.sum() if is_mean and gradient_dtypes else None
    walked = _walk(
        _walk_pairs_of_chunk,
        (*pairs.inputs, gradient, total),
        pairs.chunks,
        margin=margin,
        reduction=reduction,
        summed=pairs.summed,
        gradients=len(gradient_dtypes),
        loss_dtype=dtype,
    )
    if reduction == "none":
        loss = _item(walked, 0, pairs.chunks, dtype)
    else:
        loss = _reduced(walked, pairs.counts if is_mean else None, math.nan, dtype)
    gradients = [_gradient_of(walked, i, pairs, dtype) for i, dtype in enumerate(gradient_dtypes)]
    return loss, *gradients


def _gradient_of(walked, i, pairs, dtype):
    """Return the gradient by an input, summed over the axes along which it was broadcast."""
    axes, ones = pairs.summed[i], _ones(pairs.chunks)
    if not axes:
        return _item(walked, i + 1, pairs.chunks, dtype)
    chunks = tuple(ones[axis] if axis in axes else lengths for axis, lengths in enumerate(pairs.chunks))
    return da.reduction(
        _item(walked, i + 1, chunks, _FLOAT64),
        chunk=_sum,
        combine=_sum,
        aggregate=functools.partial(_sum, rounded_to=dtype),
        axis=axes,
        keepdims=np.ndim(pairs.inputs[i]) > 0,
        dtype=dtype,
        meta=np.empty((0,) * np.ndim(pairs.inputs[i]), dtype),
    )


def _count_pairs(x1, x2, y):
    return np.full((1,) * x1.ndim, math.prod(np.broadcast_shapes(x1.shape, x2.shape, np.shape(y))))


def _walk_pairs_of_chunk(x1, x2, y, upstream, total, *, margin, reduction, summed, gradients, loss_dtype):
    """Return the loss of a chunk, and its gradients, in float64 where they are to be summed."""
    inputs = [x1, x2, y]
    shape = _shape_of_pairs(inputs, summed)
    if not gradients:
        with _one_thread():
            loss = nr.margin_ranking_loss(*inputs, margin, reduction=reduction)
        return (_part(loss, reduction, x1.ndim, loss_dtype),)
    if total is not None:
        upstream = upstream * (math.prod(shape) / (total or 1))
    for i in range(gradients):
        if summed[i]:
            inputs[i] = _spread(inputs[i], shape, loss_dtype)
    with _one_thread():
        loss, slopes = nr.margin_ranking_loss_and_grad(
            *inputs, margin, reduction, gradient=upstream, target_grad=gradients == 3
        )
    slopes = [_sum(slopes[i], summed[i], keepdims=True) if summed[i] else slopes[i] for i in range(gradients)]
    return _part(loss, reduction, x1.ndim, loss_dtype), *slopes


def _shape_of_pairs(inputs, summed):
    shapes = [np.shape(x) for x in inputs]
    whole = {shape for shape, axes in zip(shapes, summed, strict=True) if not axes}
    if len(whole) > 1:
        raise ValueError(f"chunks of unknown size have the shapes {shapes}; they must be equal")
    return np.broadcast_shapes(*shapes)


def _spread(x, shape, loss_dtype):
    """Return an input written out for each pair, in the dtype of the computation: slopes are not rounded further."""
    x = np.broadcast_to(x, shape)
    return x if x.dtype.kind in "iu" else x.astype(loss_dtype if loss_dtype.itemsize >= 4 else np.float32)


def _part(loss, reduction, ndim, dtype):
    """Return the losses of a chunk; a sum or mean as float64 array of one element."""
    return loss.astype(dtype, copy=False) if reduction == "none" else np.full((1,) * ndim, loss, _FLOAT64)


# ---------------------------------------------------------------- lists


class _Lists(NamedTuple):
    """The query groups of one call.

    ``inputs`` are scores, labels, weights and mask in the same chunks, or None; ``sizes`` has in the chunk for each
    chunk of them the sizes of its groups, and is None where these need not be known.
    """

    inputs: tuple
    sizes: Any
    group_chunks: tuple


def _read_lists(scores, labels, qid, group, where, weights):
    given = {"scores": scores, "labels": labels, "weights": weights, "where": where}
    first = next((value for value in (*given.values(), qid) if isinstance(value, da.Array)), None)
    arrays = {name: None if value is None else _read(name, value) for name, value in given.items()}
    scores = arrays["scores"]
    _check_list_shapes(**arrays)
    chunks = scores.chunks if first is None or first.ndim != scores.ndim else first.chunks
    for name, array in arrays.items():
        if array is not None:
            arrays[name] = _in_chunks(name, array, chunks)
    inputs = tuple(arrays.values())
    if scores.ndim == 2:
        if qid is not None or group is not None:
            raise ValueError(f"scores has shape {scores.shape}, a list a row: leave qid and group out")
        if len(chunks[1]) > 1:
            raise ValueError(
                f"a list lies in {len(chunks[1])} chunks; it must lie in one: pass scores.rechunk({{1: -1}}), and the "
                "others likewise"
            )
        return _Lists(inputs, None, chunks[:1])
    sizes = _sizes_of_groups(chunks, qid, group)
    return _Lists(inputs, sizes, ((1,),) if sizes is None else sizes.chunks)


def _check_list_shapes(scores, labels, weights, where):
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores has shape {scores.shape}; it must have one axis, or two with a list a row")
    for name, array in (("labels", labels), ("weights", weights), ("where", where)):
        if array is None:
            continue
        if array.ndim != scores.ndim or not all(map(_may_be_equal, array.shape, scores.shape)):
            raise ValueError(f"scores has shape {scores.shape}, {name} {array.shape}; they must be equal")
    if where is not None and scores.ndim == 1:
        raise ValueError(
            f"where is given and scores has shape {scores.shape}; a mask needs scores with two axes, a list a row: "
            "leave out the rows instead, as in scores[where]"
        )


def _probed(lists):
    """Return the optional inputs without rows."""
    _, _, weights, where = lists.inputs
    return {"weights": _nothing(weights), "where": _nothing(where)}


def _sizes_of_groups(chunks, qid, group):
    """Return an array with the sizes of the groups of each chunk, or None where all rows are one group."""
    if qid is None and group is None:
        if len(chunks[0]) > 1:
            raise ValueError(
                f"scores has {len(chunks[0])} chunks, and without qid and group all rows are one query, which must lie "
                "in one chunk: pass qid or group, or scores.rechunk(-1)"
            )
        return None
    if qid is not None and group is not None:
        raise ValueError("qid and group are both given; pass one of them")
    if math.isnan(sum(chunks[0])):
        raise ValueError(
            "scores has chunks of unknown size, and queries must not lie in two of them: call compute_chunk_sizes() on "
            "scores, labels, weights and qid first"
        )
    if isinstance(qid, da.Array):
        return _sizes_of_dask(_read("qid", qid), chunks)
    return _sizes_of_known(_groups_of(qid, group), chunks[0])


def _sizes_of_known(groups, rows):
    if groups.rows != sum(rows):
        raise ValueError(f"the queries have {groups.rows} rows together and scores has {sum(rows)}; they must be equal")
    edges = np.cumsum(rows)[:-1]
    firsts = np.searchsorted(groups.offsets, edges)
    inside = np.flatnonzero(groups.offsets[firsts] != edges)
    if len(inside):
        chunk, query = inside[0], firsts[inside[0]] - 1
        start, stop = groups.offsets[query : query + 2]
        raise ValueError(
            f"query {query}, rows {start} to {stop - 1}, lies in two chunks, which meet at row {edges[chunk]}; it "
            f"must lie in one: {_ALIGN}"
        )
    return da.from_array(groups.sizes, chunks=(tuple(map(int, np.diff([0, *firsts, len(groups)]))),))


def _sizes_of_dask(qid, chunks):
    if qid.ndim != 1 or not _may_be_equal(qid.shape[0], sum(chunks[0])):
        raise ValueError(f"qid has shape {qid.shape} and scores {(sum(chunks[0]),)}; they must be equal")
    qid, rows = _in_chunks("qid", qid, chunks), np.array(chunks[0])
    filled = np.maximum.accumulate(np.where(rows > 0, np.arange(len(rows)), 0))
    last = qid.map_blocks(operator.itemgetter(slice(-1, None)), chunks=_ones(chunks), dtype=qid.dtype, meta=qid._meta)
    before = last.blocks[[0, *filled[:-1]]]
    unknown, meta = ((math.nan,) * len(rows),), np.empty(0, _INT64)
    return da.map_blocks(_sizes_of_chunk, qid, before, chunks=unknown, dtype=_INT64, meta=meta)


def _sizes_of_chunk(qid, before, *, block_id):
    """Return how many rows each query of a chunk has; ``before`` is the id of the row before, if there is one."""
    with _naming_chunk(block_id):
        sizes = nr.Groups(qid=qid).sizes
        if block_id[0] > 0 and (qid[:1] == before).any():
            raise ValueError(f"query {qid[0]} began in a chunk before, and must lie in one: {_ALIGN}")
    return sizes


@contextlib.contextmanager
def _naming_chunk(block_id):
    """Say in errors about values which chunk they are in: they number its rows from 0."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"chunk {block_id[0]}: {error}") from error


def _walk_lists(lists, settings, gradient, dtype, other_dtypes):
    """Return the loss, and as many of gradient and active pairs as there are dtypes for them."""
    scores, *others = lists.inputs
    pairs = total = None
    if settings["reduction"] == "mean":
        meta, chunks = np.empty((0,) * scores.ndim), _ones(scores.chunks)
        pairs = da.map_blocks(_count_pairs_of_lists, *others, lists.sizes, chunks=chunks, dtype=_FLOAT64, meta=meta)
        total = pairs.sum()
    if scores.ndim == 2 and np.ndim(gradient):
        gradient = gradient[:, None]
    upstream = (gradient, pairs, total) if other_dtypes else (None, None, None)
    walked = _walk(
        _walk_lists_of_chunk,
        (*lists.inputs, lists.sizes, *upstream),
        scores.chunks,
        settings=settings,
        others=len(other_dtypes),
        loss_dtype=dtype,
    )
    if settings["reduction"] != "none":
        loss = _reduced(walked, pairs, 0.0, dtype)
    elif scores.ndim == 2:
        loss = _item(walked, 0, (*lists.group_chunks, (1,)), dtype)[:, 0]
    else:
        loss = _item(walked, 0, lists.group_chunks, dtype)
    return loss, *(_item(walked, i + 1, scores.chunks, dtype) for i, dtype in enumerate(other_dtypes))


def _count_pairs_of_lists(labels, weights, where, sizes, *, block_id):
    """Return the weight of all pairs of a chunk: their loss where no score differs and the margin is 1."""
    with _naming_chunk(block_id), _one_thread():
        pairs = nr.pairwise_hinge_loss(
            np.zeros(labels.shape), labels, group=sizes, where=where, weights=weights, reduction="sum"
        )
    return np.full((1,) * labels.ndim, pairs)


def _walk_lists_of_chunk(
    scores, labels, weights, where, sizes, upstream, pairs, total, *, settings, others, loss_dtype, block_id
):
    """Return the loss of a chunk, and its gradient and active pairs as far as they are wanted."""
    arguments = {"group": sizes, "where": where, "weights": weights, **settings}
    with _naming_chunk(block_id), _one_thread():
        if not others:
            loss, *results = (nr.pairwise_hinge_loss(scores, labels, **arguments),)
        else:
            if total is not None:
                upstream = upstream * (pairs.item() / (total or 1))
            if np.ndim(upstream):
                upstream = np.reshape(upstream, -1)
            loss, *results = nr.pairwise_hinge_loss_and_grad(
                scores, labels, **arguments, gradient=upstream, return_counts=others == 2
            )
    loss = _part(loss, settings["reduction"], scores.ndim, loss_dtype)
    return loss.reshape(-1, *scores.shape[1:2] and (1,)), *results


# ---------------------------------------------------------------- edges between queries


def _offsets_of_dask(qid):
    """Return the edges between queries next to the edges of the chunks: those in between are never wanted."""
    rows = np.array(_known_chunks(qid))
    starts = (np.cumsum(rows) - rows)[rows > 0]
    meta = np.empty((0, 0), _INT64)
    table = qid.map_blocks(_edges_of_chunk, chunks=((1,) * len(rows), (4,)), new_axis=1, dtype=_INT64, meta=meta)
    first, last, first_edge, last_edge = table.compute()[rows > 0].T
    joined = starts[1:][first[1:] == last[:-1]]
    return np.setdiff1d([*starts, *(starts + first_edge), *(starts + last_edge), rows.sum()], joined)


def _edges_of_chunk(qid, *, block_id):
    """Return the first and the last id of a chunk, where the second query starts, and where the last one does."""
    with _naming_chunk(block_id):
        offsets = nr.Groups(qid=qid).offsets
    return np.array([[qid[0], qid[-1], offsets[1], offsets[-2]]] if len(qid) else [[-1, -1, 0, 0]], _INT64)
