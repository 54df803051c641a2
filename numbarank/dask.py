"""Ranking losses of dask arrays: lazy, chunk by chunk, with gradients that are dask arrays.

A chunk is one call of the function of the same name in numbarank, on one thread: the threads are Dask's. For 'mean', a
chunk's mean counts with its share of all pairs, or of their weight.
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

_PAIRS, _LISTS = ("input1", "input2", "target", "margin", "weights"), ("scores", "labels", "weights", "where")
_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)
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
        As in :func:`numbarank.margin_ranking_loss`; arrays may be dask arrays. Where their chunks differ, Dask cuts
        them to fit.

    Returns
    -------
    dask array
        Not computed yet; without axes for 'mean' and 'sum'.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.margin_ranking_loss`, before anything is computed; for an invalid weight when it is
        computed, with the number of the chunk.

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
    probe = nr.margin_ranking_loss(**pairs.probes(), reduction=reduction)
    return _loss_of_pairs(pairs, reduction, None, [probe.dtype])[0]


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
    >>> float(loss), by_disliked
    (1.5, array([1., 1., 0.]))
    """
    pairs = _read_pairs(input1, input2, target, margin, weights)
    gradient = _read_gradient(gradient, pairs.chunks if reduction == "none" else ())
    probe, slopes = nr.margin_ranking_loss_and_grad(
        **pairs.probes(), reduction=reduction, gradient=_probe(gradient), target_grad=target_grad
    )
    loss, *gradients = _loss_of_pairs(pairs, reduction, gradient, [result.dtype for result in (probe, *slopes)])
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

    A query must lie in one chunk: :func:`align_groups` sees to it. So must a row of scores with two axes.

    Parameters
    ----------
    scores, labels, qid, group, where, margin, power, weights, reduction
        As in :func:`numbarank.pairwise_hinge_loss`; all arrays but `group` may be dask arrays. They are cut into the
        chunks of the scores.

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
    probe = nr.pairwise_hinge_loss(**lists.probes(), **settings)
    return _loss_of_lists(lists, settings, None, [probe.dtype])[0]


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
    scores, labels, qid, group, where, margin, power, weights, reduction, gradient, return_counts
        As in :func:`pairwise_hinge_loss` and :func:`numbarank.pairwise_hinge_loss_and_grad`.

    Returns
    -------
    loss, gradient, counts : dask arrays
        As from :func:`numbarank.pairwise_hinge_loss_and_grad`, the counts if asked for; the last two in the chunks of
        the scores.

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
    >>> float(loss), gradient
    (1.5, array([ 1., -1.,  0.]))
    """
    lists = _read_lists(scores, labels, qid, group, where, weights)
    gradient = _read_gradient(gradient, lists.group_chunks if reduction == "none" else ())
    settings = {"margin": margin, "power": power, "reduction": reduction}
    probes = nr.pairwise_hinge_loss_and_grad(
        **lists.probes(), **settings, gradient=_probe(gradient), return_counts=return_counts
    )
    return _loss_of_lists(lists, settings, gradient, [probe.dtype for probe in probes])


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
    for array in arrays:
        if array.ndim == 0 or math.isnan(array.shape[0]):
            raise ValueError(
                f"an array has shape {array.shape}; it must have rows, in chunks of known size: call its "
                "compute_chunk_sizes() first"
            )
    offsets = _offsets_of_dask(arrays[-1]) if isinstance(qid, da.Array) else _groups_of(qid, group).offsets
    for array in arrays:
        if array.shape[0] != offsets[-1]:
            raise ValueError(
                f"an array has shape {array.shape} and the queries have {offsets[-1]} rows together; they must be equal"
            )
    edges = np.cumsum(arrays[like].chunks[0])[:-1]
    after = np.searchsorted(offsets, edges)
    before = np.maximum(after - 1, 0)
    nearest = np.where(offsets[after] - edges <= edges - offsets[before], offsets[after], offsets[before])
    chunks = tuple(map(int, np.diff(np.unique([0, *nearest, offsets[-1]])))) or (0,)
    return tuple(array.rechunk({0: chunks}) for array in arrays)


# ---------------------------------------------------------------- arguments


def _read(name, value, keep_number=False):
    """Return an argument as a dask array of NumPy chunks; what is none yet becomes a single chunk."""
    if isinstance(value, da.Array):
        if not isinstance(value._meta, np.ndarray):
            raise TypeError(f"{name} has chunks of {type(value._meta).__name__}; they must be NumPy arrays")
        return value
    if keep_number and np.ndim(value) == 0:
        return value
    if not isinstance(value, (np.ndarray, np.generic, numbers.Number, list, tuple)):
        advice = f": pass {name}.to_dask_array(lengths=True)" if hasattr(value, "to_dask_array") else ""
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a dask array, NumPy array or list{advice}")
    return da.from_array(np.asanyarray(value), chunks=-1)


def _read_gradient(gradient, chunks):
    """Return the upstream gradient, 1.0 for None: a number, or a dask array in the chunks of the loss."""
    gradient = _read("gradient", 1.0 if gradient is None else gradient, keep_number=True)
    if np.ndim(gradient) == 0:
        return gradient
    wrong = f"gradient has shape {gradient.shape}; it must have the loss's shape {tuple(map(sum, chunks))}"
    return _in_chunks("gradient", gradient, chunks, wrong)


def _in_chunks(name, array, chunks, wrong_shape):
    """Return an array in given chunks; those of unknown size must be as many already."""
    shape, blocks = tuple(map(sum, chunks)), tuple(map(len, chunks))
    if not _may_be_equal(array.shape, shape):
        raise ValueError(wrong_shape)
    if not math.isnan(sum(shape) + sum(array.shape)):
        return array.rechunk(chunks)
    if array.numblocks != blocks:
        raise ValueError(
            f"{name} has {array.numblocks} chunks where {blocks} are needed, some of unknown size: call "
            "compute_chunk_sizes() on both arrays first"
        )
    return array


def _may_be_equal(shape, other):
    """Tell whether shapes are equal as far as Dask knows."""
    return len(shape) == len(other) and all(a == b or math.isnan(a + b) for a, b in zip(shape, other, strict=True))


def _probe(value):
    """Return what stands for an argument in a call that only checks arguments: for an array one without elements."""
    return np.ones_like(value._meta) if isinstance(value, da.Array) else value


def _groups_of(qid, group):
    if isinstance(group, da.Array):
        raise TypeError("group is a dask array; it must be a list or NumPy array: pass group.compute()")
    return group if isinstance(group, nr.Groups) else nr.Groups(qid=qid, group=group)


# ---------------------------------------------------------------- a pass over chunks


def _map(function, *arrays, chunks, dtype, **settings):
    """Map a function over chunks, without calling it to find out what it returns."""
    meta = np.empty((0,) * len(chunks), dtype)
    return da.map_blocks(function, *arrays, chunks=chunks, dtype=dtype, meta=meta, **settings)


def _pass(function, arrays, gradient, counts, chunks, dtypes, **settings):
    """Return an array of which each chunk is a tuple: the loss of the chunk, and a result for each further dtype.

    ``counts`` has what each chunk counts in a mean, and is None for other reductions.
    """
    upstream = None, None, None
    if len(dtypes) > 1:
        of_chunk = counts if isinstance(counts, da.Array) else None
        upstream = gradient, of_chunk, None if counts is None else counts.sum()
    settings.update(others=len(dtypes) - 1, loss_dtype=dtypes[0])
    return _map(function, *arrays, *upstream, chunks=chunks, dtype=np.dtype(object), **settings)


def _item(results, i, chunks, dtype):
    """Return one item of the tuples of a pass as an array."""
    return _map(operator.itemgetter(i), results, chunks=chunks, dtype=dtype)


def _ones(chunks):
    """Return the chunks of an array with one element for each chunk."""
    return tuple((1,) * len(lengths) for lengths in chunks)


def _loss(results, reduction, counts, chunks, dtype, of_nothing):
    """Return the losses of the chunks: as they are, or combined into their sum or mean."""
    if reduction == "none":
        return _item(results, 0, chunks, dtype)
    losses = _item(results, 0, _ones(results.chunks), _FLOAT64)
    settings = {"drop_axis": list(range(losses.ndim)), "dtype": dtype, "meta": np.empty((), dtype)}
    return da.map_blocks(_finalize, losses, counts, of_nothing=of_nothing, loss_dtype=dtype, **settings)


def _finalize(losses, counts, of_nothing, loss_dtype):
    if counts is not None:
        there = np.asarray(counts) > 0
        losses = losses[there] * (np.asarray(counts)[there] / np.sum(counts)) if there.any() else of_nothing
    return _sum(losses, rounded_to=loss_dtype)


def _sum(array, axis=None, keepdims=False, rounded_to=_FLOAT64):
    """Return a sum in float64, rounded at last; an infinite one is no reason for a warning."""
    with np.errstate(all="ignore"):
        return np.sum(array, axis=axis, keepdims=keepdims, dtype=_FLOAT64).astype(rounded_to)


def _part(loss, reduction, ndim, dtype):
    """Return the losses of a chunk; a sum or mean as float64 array of one element."""
    return loss.astype(dtype, copy=False) if reduction == "none" else np.full((1,) * ndim, loss, _FLOAT64)


def _scaled(upstream, count, total, size=None):
    """Return the upstream gradient of a chunk: for a mean, times its share, of which the count is known or its size."""
    return upstream if total is None else upstream * ((size if count is None else count.item()) / (total or 1))


@contextlib.contextmanager
def _one_chunk(block_id):
    """Leave the other cores to the other threads of Dask's, and say in errors about values which chunk they are in."""
    try:
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
    except ValueError:  # numba has no threading layer here, and losses run on one thread anyway
        threads = None
    try:
        yield
    except ValueError as error:
        raise ValueError(f"chunk {block_id[0] if len(block_id) == 1 else block_id}: {error}") from error
    finally:
        if threads is not None:
            numba.set_num_threads(threads)


# ---------------------------------------------------------------- pairs


class _Pairs(NamedTuple):
    """The pairs of one call, all cut at the same edges.

    ``arrays`` are those of ``_PAIRS``: dask arrays, numbers or None; ``summed`` has for each the axes along which it
    was broadcast.
    """

    arrays: list
    chunks: tuple
    summed: list

    def probes(self):
        """Return the arguments of a call that only checks them."""
        return dict(zip(_PAIRS, map(_probe, self.arrays), strict=True))


def _read_pairs(*given):
    """Return the pairs; what has no axes and is no score stands for every pair."""
    arrays = [_read(name, x, keep_number=i > 1) for i, (name, x) in enumerate(zip(_PAIRS, given, strict=True))]
    full = [i for i, x in enumerate(arrays) if i < 2 or np.ndim(x)]
    _check_pair_shapes({_PAIRS[i]: np.shape(arrays[i]) for i in sorted({0, 1, 2, *full})})
    axes = tuple(range(arrays[0].ndim))
    lengths, cut = da.unify_chunks(*itertools.chain.from_iterable((arrays[i], axes) for i in full))
    for i, array in zip(full, cut, strict=True):
        arrays[i] = array
    chunks = tuple(lengths[axis] for axis in axes)
    shape = tuple(map(sum, chunks))
    summed = [
        tuple(axis for axis in axes if np.ndim(x) == 0 or (x.shape[axis] == 1 and shape[axis] != 1)) for x in arrays
    ]
    return _Pairs(arrays, chunks, summed)


def _check_pair_shapes(shapes):
    full = [shape for name, shape in shapes.items() if shape or name != "target"]
    known = [{n for n in lengths if n != 1 and not math.isnan(n)} for lengths in zip(*full, strict=False)]
    if len(set(map(len, full))) > 1 or any(len(lengths) > 1 for lengths in known):
        named = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{named.replace(' ', ' has shape ', 1)}; all need the same number of dimensions, and along each the "
            "lengths must be equal or 1: reshape or slice them first"
        )


def _loss_of_pairs(pairs, reduction, gradient, dtypes):
    """Return the loss, and as many gradients as there are dtypes behind that of the loss."""
    counts = _counts_of_pairs(pairs, dtypes[0]) if reduction == "mean" else None
    settings = {"reduction": reduction, "summed": pairs.summed}
    function = _pairs_of_chunk if pairs.arrays[4] is None else _weighted_pairs_of_chunk
    results = _pass(function, pairs.arrays, gradient, counts, pairs.chunks, dtypes, **settings)
    loss = _loss(results, reduction, counts, pairs.chunks, dtypes[0], of_nothing=math.nan)
    return loss, *(_gradient_of(results, i, pairs, dtype) for i, dtype in enumerate(dtypes[1:]))


def _gradient_of(results, i, pairs, dtype):
    """Return the gradient by an input, summed over the axes along which it was broadcast."""
    axes, ndim = pairs.summed[i], np.ndim(pairs.arrays[i])
    if not axes:
        return _item(results, i + 1, pairs.chunks, dtype)
    chunks = tuple((1,) * len(lengths) if axis in axes else lengths for axis, lengths in enumerate(pairs.chunks))
    finalize, meta = functools.partial(_sum, rounded_to=dtype), np.empty((0,) * ndim, dtype)
    settings = {"axis": axes, "keepdims": ndim > 0, "dtype": dtype, "meta": meta}
    return da.reduction(_item(results, i + 1, chunks, _FLOAT64), _sum, finalize, combine=_sum, **settings)


def _counts_of_pairs(pairs, dtype):
    """Return what each chunk counts in a mean: a NumPy array, or a dask array where that is not known yet."""
    arrays, summed, weights = pairs.arrays, pairs.summed, pairs.arrays[4]
    if not math.isnan(sum(map(sum, pairs.chunks))):
        if weights is None:
            return functools.reduce(np.multiply.outer, map(np.array, pairs.chunks), np.int64(1))
        # the weights alone, in the shape of the pairs: scores need not be there before their gradients
        shape = tuple(map(sum, pairs.chunks))
        arrays, summed = [da.broadcast_to(da.asarray(weights), shape, pairs.chunks)], [()]
    settings = {"is_weighted": weights is not None, "summed": summed, "loss_dtype": dtype}
    return _map(_count_of_chunk, *arrays, chunks=_ones(pairs.chunks), dtype=_FLOAT64, **settings)


def _count_of_chunk(*arrays, is_weighted, summed, loss_dtype, block_id):
    """Return the number of pairs of a chunk, or the sum of their weights, which come last."""
    shape = _shape_of_pairs(arrays, summed)
    count = math.prod(shape)
    if is_weighted:
        with np.errstate(over="ignore"):
            weights = _spread(arrays[-1], shape, loss_dtype).astype(_FLOAT64)
        with _one_chunk(block_id):  # the loss of equal scores is the margin
            count = nr.margin_ranking_loss(weights, weights, 1, 1.0, reduction="sum", weights=weights)
    return np.full((1,) * len(shape), count, _FLOAT64)


def _pairs_of_chunk(x1, x2, y, margin, weights, *upstream, reduction, summed, others, loss_dtype, where=()):
    """Return the loss of a chunk, and its gradients, in float64 where they are to be summed."""
    settings = {"margin": margin, "reduction": reduction, "weights": weights}
    shape, slopes = _shape_of_pairs((x1, x2, y, margin, weights), summed), ()
    with _one_chunk(where):
        if others:
            settings.update(gradient=_scaled(*upstream, math.prod(shape)), target_grad=others == 3)
            inputs = [
                _spread(x, shape, loss_dtype) if summed[i] and i < others else x for i, x in enumerate((x1, x2, y))
            ]
            loss, slopes = nr.margin_ranking_loss_and_grad(*inputs, **settings)
        else:
            loss = nr.margin_ranking_loss(x1, x2, y, **settings)
    slopes = [_sum(slope, axes, keepdims=True) if axes else slope for slope, axes in zip(slopes, summed, strict=False)]
    return _part(loss, reduction, len(shape), loss_dtype), *slopes


def _weighted_pairs_of_chunk(*arrays, block_id, **settings):
    """Do what ``_pairs_of_chunk`` does where an error may be about a weight; Dask takes longer to tell the chunk."""
    return _pairs_of_chunk(*arrays, where=block_id, **settings)


def _shape_of_pairs(arrays, summed):
    shapes = [np.shape(x) for x in arrays]
    whole = [shape for shape, axes in zip(shapes, summed, strict=True) if not axes]
    if len(set(whole)) > 1:
        raise ValueError(f"chunks of unknown size have the shapes {shapes[:3]}; they must be equal")
    return np.broadcast_shapes(*shapes)


def _spread(x, shape, loss_dtype):
    """Return an input written out for each pair, in the dtype of the computation: slopes are not rounded further."""
    x = np.broadcast_to(x, shape)
    return x if x.dtype.kind in "iu" else x.astype(loss_dtype if loss_dtype.itemsize >= 4 else np.float32)


# ---------------------------------------------------------------- lists


class _Lists(NamedTuple):
    """The query groups of one call.

    ``arrays`` are those of ``_LISTS`` in the same chunks, or None; ``sizes`` has in the chunk for each chunk of them
    the sizes of its groups, and is None where these need not be known.
    """

    arrays: list
    sizes: Any
    group_chunks: tuple

    def probes(self):
        """Return the arguments of a call that only checks them: no lists, as there are no rows."""
        group = [] if self.arrays[0].ndim == 1 else None
        return {**dict(zip(_LISTS, map(_probe, self.arrays), strict=True)), "group": group}


def _read_lists(scores, labels, qid, group, where, weights):
    given = scores, labels, weights, where
    first = next((value for value in (*given, qid) if isinstance(value, da.Array)), None)
    arrays = [None if x is None else _read(name, x) for name, x in zip(_LISTS, given, strict=True)]
    scores = arrays[0]
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores has shape {scores.shape}; it must have one axis, or two with a list a row")
    chunks = scores.chunks if first is None or not _may_be_equal(first.shape, scores.shape) else first.chunks
    for i, name in enumerate(_LISTS):
        if arrays[i] is not None:
            wrong = f"scores has shape {scores.shape}, {name} {arrays[i].shape}; they must be equal"
            arrays[i] = _in_chunks(name, arrays[i], chunks, wrong)
    return _Lists(arrays, *_read_groups(scores, chunks, qid, group, where))


def _read_groups(scores, chunks, qid, group, where):
    """Return the sizes of the groups of each chunk, or None where they need not be known, and their chunks."""
    if scores.ndim == 2:
        if qid is not None or group is not None:
            raise ValueError(f"scores has shape {scores.shape}, a list a row: leave qid and group out")
        if len(chunks[1]) > 1:
            raise ValueError(
                f"a list lies in {len(chunks[1])} chunks; it must lie in one: pass scores.rechunk({{1: -1}}), and the "
                "others likewise"
            )
        return None, chunks[:1]
    if where is not None:
        raise ValueError(
            f"where is given and scores has shape {scores.shape}; a mask needs scores with two axes, a list a row: "
            "leave out the rows instead, as in scores[where]"
        )
    if qid is None and group is None:
        if len(chunks[0]) > 1:
            raise ValueError(
                f"scores has {len(chunks[0])} chunks, and without qid and group all rows are one query, which must lie "
                "in one chunk: pass qid or group, or scores.rechunk(-1)"
            )
        return None, ((1,),)
    if qid is not None and group is not None:
        raise ValueError("qid and group are both given; pass one of them")
    if math.isnan(sum(chunks[0])):
        raise ValueError(
            "scores has chunks of unknown size, and queries must not lie in two of them: call compute_chunk_sizes() on "
            "scores, labels, weights and qid first"
        )
    is_lazy = isinstance(qid, da.Array)
    sizes = _sizes_of_dask(_read("qid", qid), chunks) if is_lazy else _sizes_of_known(_groups_of(qid, group), chunks[0])
    return sizes, sizes.chunks


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
    wrong = f"qid has shape {qid.shape} and scores {(sum(chunks[0]),)}; they must be equal"
    qid, rows = _in_chunks("qid", qid, chunks, wrong), np.array(chunks[0])
    filled = np.maximum.accumulate(np.where(rows > 0, np.arange(len(rows)), 0))
    last = _map(operator.itemgetter(slice(-1, None)), qid, chunks=_ones(chunks), dtype=qid.dtype)
    before = last.blocks[[0, *filled[:-1]]]
    return _map(_sizes_of_chunk, qid, before, chunks=((math.nan,) * len(rows),), dtype=_INT64)


def _sizes_of_chunk(qid, before, *, block_id):
    """Return how many rows each query of a chunk has; ``before`` is the id of the row before, if there is one."""
    with _one_chunk(block_id):
        sizes = nr.Groups(qid=qid).sizes
        if block_id[0] > 0 and (qid[:1] == before).any():
            raise ValueError(f"query {qid[0]} began in a chunk before, and must lie in one: {_ALIGN}")
    return sizes


def _loss_of_lists(lists, settings, gradient, dtypes):
    """Return the loss, and as many of gradient and active pairs as there are dtypes behind that of the loss."""
    (scores, *others), counts = lists.arrays, None
    if settings["reduction"] == "mean":
        counts = _map(_count_of_lists, *others, lists.sizes, chunks=_ones(scores.chunks), dtype=_FLOAT64)
    if scores.ndim == 2 and np.ndim(gradient):
        gradient = gradient[:, None]
    arrays = *lists.arrays, lists.sizes
    results = _pass(_lists_of_chunk, arrays, gradient, counts, scores.chunks, dtypes, settings=settings)
    loss_chunks = (*lists.group_chunks, (1,))[: scores.ndim]
    loss = _loss(results, settings["reduction"], counts, loss_chunks, dtypes[0], of_nothing=0.0)
    loss = loss[:, 0] if loss.ndim == 2 else loss
    return loss, *(_item(results, i + 1, scores.chunks, dtype) for i, dtype in enumerate(dtypes[1:]))


def _count_of_lists(labels, weights, where, sizes, *, block_id):
    """Return the weight of all pairs of a chunk: their loss where no score differs and the margin is 1."""
    settings = {"group": sizes, "where": where, "weights": weights, "reduction": "sum"}
    with _one_chunk(block_id[:1]):
        count = nr.pairwise_hinge_loss(np.zeros(labels.shape), labels, **settings)
    return np.full((1,) * labels.ndim, count)


def _lists_of_chunk(scores, labels, weights, where, sizes, *upstream, settings, others, loss_dtype, block_id):
    """Return the loss of a chunk, and its gradient and active pairs as far as they are wanted."""
    settings = {"group": sizes, "where": where, "weights": weights, **settings}
    with _one_chunk(block_id[:1]):
        if others:
            gradient = _scaled(*upstream)
            gradient = np.reshape(gradient, -1) if np.ndim(gradient) else gradient
            settings.update(gradient=gradient, return_counts=others == 2)
            loss, *results = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings)
        else:
            loss, results = nr.pairwise_hinge_loss(scores, labels, **settings), ()
    loss = _part(loss, settings["reduction"], scores.ndim, loss_dtype)
    return loss.reshape(-1, *(1,) * (scores.ndim - 1)), *results


# ---------------------------------------------------------------- edges between queries


def _offsets_of_dask(qid):
    """Return the edges between queries next to the edges of the chunks: those in between are never wanted."""
    rows = np.array(qid.chunks[0])
    starts = (np.cumsum(rows) - rows)[rows > 0]
    table = _map(_edges_of_chunk, qid, chunks=((1,) * len(rows), (4,)), new_axis=1, dtype=_INT64)
    first, last, first_edge, last_edge = table.compute()[rows > 0].T
    joined = starts[1:][first[1:] == last[:-1]]
    return np.setdiff1d([*starts, *(starts + first_edge), *(starts + last_edge), rows.sum()], joined)


def _edges_of_chunk(qid, *, block_id):
    """Return the first and the last id of a chunk, where the second query starts, and where the last one does."""
    with _one_chunk(block_id[:1]):
        offsets = nr.Groups(qid=qid).offsets
    return np.array([[qid[0], qid[-1], offsets[1], offsets[-2]]] if len(qid) else [[-1, -1, 0, 0]], _INT64)
