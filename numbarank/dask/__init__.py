"""Ranking losses of dask arrays: lazy, chunk by chunk, with gradients that are dask arrays.

A chunk is one call of the function of the same name in numbarank, on one thread: the threads are Dask's. For 'mean', a
chunk's mean counts with its share of all pairs, or of their weight.
"""

import math

import dask.array as da
import numpy as np
from numpy.typing import ArrayLike

import numbarank as nr
from numbarank.dask._chunks import pass_over_chunks
from numbarank.dask._inputs import groups_of, map_ids, read, read_lists, read_pairs, starts_of_chunk

__all__ = [
    "align_groups",
    "margin_ranking_loss",
    "margin_ranking_loss_and_grad",
    "pairwise_hinge_loss",
    "pairwise_hinge_loss_and_grad",
]


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
    pairs = read_pairs(input1, input2, target, margin, weights)
    return pass_over_chunks("margin_ranking_loss", pairs, {"reduction": reduction})[0]


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
    pairs = read_pairs(input1, input2, target, margin, weights)
    backward = {"gradient": gradient, "target_grad": target_grad}
    loss, *gradients = pass_over_chunks("margin_ranking_loss_and_grad", pairs, {"reduction": reduction}, backward)
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
    lists = read_lists(scores, labels, weights, where, qid, group)
    settings = {"margin": margin, "power": power, "losers": losers, "reduction": reduction}
    return pass_over_chunks("pairwise_hinge_loss", lists, settings)[0]


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
    lists = read_lists(scores, labels, weights, where, qid, group)
    settings = {"margin": margin, "power": power, "losers": losers, "reduction": reduction}
    backward = {"gradient": gradient, "return_counts": return_counts}
    return pass_over_chunks("pairwise_hinge_loss_and_grad", lists, settings, backward)


def align_groups(
    *arrays: da.Array | ArrayLike, qid: da.Array | ArrayLike | None = None, group: ArrayLike | nr.Groups | None = None
) -> tuple[da.Array, ...]:
    """Return arrays with the edges of their chunks moved to the nearest edges between queries.

    Parameters
    ----------
    *arrays : dask arrays or array_like of shape (rows, ...)
        Whatever has a row for each document: scores, labels, weights, features. All get the chunks that become of those
        of the first dask array among them.
    qid : dask array or array_like of shape (rows,)
        The id of each row's query, as in :class:`numbarank.Groups`; the rows of a query stand together. Of a dask array
        the edges between queries are computed here and now, as far as they lie next to those of the chunks: persist it
        if it is expensive.
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
    arrays = [read(f"array {i}", array) for i, array in enumerate(given)]
    for array in arrays:
        if array.ndim == 0 or math.isnan(array.shape[0]):
            wrong = f"an array has shape {array.shape}; it must have rows, in chunks of known size"
            raise ValueError(f"{wrong}: call its compute_chunk_sizes() first")
    groups = None if isinstance(qid, da.Array) else groups_of(qid, group)
    rows = len(qid) if groups is None else groups.rows
    for array in arrays:
        if array.shape[0] != rows:
            wrong = f"an array has shape {array.shape} and the queries have {rows} rows together"
            raise ValueError(f"{wrong}; they must be equal")
    first = next((array for array in given if isinstance(array, da.Array)), arrays[0])
    if groups is None:
        starts = map_ids(starts_of_chunk, qid.rechunk(first.chunks[:1]))
        offsets = np.unique([*starts.compute(), rows])
    else:
        offsets = groups.offsets
    edges = np.cumsum(first.chunks[0])[:-1]
    after = np.searchsorted(offsets, edges)
    before = np.maximum(after - 1, 0)
    nearest = np.where(offsets[after] - edges <= edges - offsets[before], offsets[after], offsets[before])
    chunks = tuple(np.diff(np.unique([0, *nearest, offsets[-1]])).tolist()) or (0,)
    return tuple(array.rechunk({0: chunks}) for array in arrays)
