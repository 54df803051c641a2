"""What a loss is computed from, as dask arrays in fitting chunks; and where queries start in them."""

import math
import numbers
import operator
from collections.abc import Iterator, MappingView
from typing import NamedTuple

import dask.array as da
import numpy as np

import numbarank as nr
from numbarank.dask._calls import call_on_one_thread, map_chunks, one_per_chunk

_ALIGN = "call numbarank.dask.align_groups first, which puts the edges of the chunks between queries"


class Inputs(NamedTuple):
    """What a loss is computed from."""

    arrays: dict  # by the names that numbarank has for them: dask arrays, numbers, or None
    chunks: tuple  # of the pairs, or of the scores of lists
    loss_chunks: tuple  # of the losses of 'none'
    broadcast: list  # for each array the axes along which it is broadcast to the chunks


def read_pairs(input1, input2, target, margin, weights):
    """Return the inputs of a loss on pairs; what has no axes and is no score stands for every pair."""
    arrays = {"input1": read("input1", input1), "input2": read("input2", input2)}
    for name, value in {"target": target, "margin": margin, "weights": weights}.items():
        arrays[name] = read(name, value, keep_scalar=True)
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
    return Inputs(arrays, chunks, chunks, broadcast)


def read_lists(scores, labels, weights, where, qid, group):
    """Return the inputs of a loss on lists, in the chunks of the scores or else of the first dask array."""
    given = {"scores": scores, "labels": labels, "weights": weights, "where": where}
    arrays = {name: None if value is None else read(name, value) for name, value in given.items()}
    shape = arrays["scores"].shape
    if len(shape) not in (1, 2):
        raise ValueError(f"scores has shape {shape}; it must have one axis, or two with a list a row")
    _check_shapes(arrays, qid, group)
    lazy = [x for x in (*given.values(), qid) if isinstance(x, da.Array) and x.shape == shape]
    chunks = [*lazy, arrays["scores"]][0].chunks
    for name, x in arrays.items():
        if x is not None:
            wrong = f"scores has shape {shape}, {name} {x.shape}; they must be equal"
            arrays[name] = _in_chunks(name, x, chunks, wrong)
    broadcast = [()] * len(arrays)
    arrays["group"], loss_chunks = _read_groups(shape, chunks, qid, group, where)
    return Inputs(arrays, chunks, loss_chunks, broadcast)


def _check_shapes(arrays, qid, group):
    """Have numbarank raise its error where shapes do not fit or scores are a column; it needs no values for that."""
    arrays = {name: x for name, x in arrays.items() if x is not None}
    shapes, (rows, *columns) = {x.shape for x in arrays.values()}, arrays["scores"].shape
    if any(math.isnan(sum(shape)) for shape in shapes):
        return
    if len(shapes) > 1 or (rows > 1 and columns == [1] and "where" not in arrays):
        zeros = {name: np.broadcast_to(False if name == "where" else 0.0, x.shape) for name, x in arrays.items()}
        known = {} if isinstance(qid, da.Array) or isinstance(group, da.Array) else {"qid": qid, "group": group}
        nr.pairwise_hinge_loss(**zeros, **known)


def _check_rows(rows, **groups):
    """Have numbarank raise its error about ids or counts of another number of rows."""
    nr.pairwise_hinge_loss(*[np.broadcast_to(0.0, rows)] * 2, **groups)


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
        sizes = map_ids(_sizes_of_chunk, _in_chunks("qid", read("qid", qid), chunks, wrong))
    else:
        if qid is not None and np.shape(qid) != shape:
            _check_rows(shape, qid=qid)
        sizes = _sizes_of_groups(groups_of(qid, group), chunks[0])
    return sizes, sizes.chunks


def read_gradient(gradient, inputs, reduction):
    """Return the upstream gradient: a number, or a dask array in the chunks of the loss, with the axes of inputs."""
    gradient = read("gradient", 1.0 if gradient is None else gradient, keep_scalar=True)
    if np.ndim(gradient) == 0:
        return gradient
    chunks = inputs.loss_chunks if reduction == "none" else ()
    wrong = f"gradient has shape {gradient.shape}; it must have the loss's shape {tuple(map(sum, chunks))}"
    gradient = _in_chunks("gradient", gradient, chunks, wrong)
    return gradient[:, None] if len(inputs.chunks) > len(chunks) else gradient


def read(name, value, keep_scalar=False):
    """Return an argument as a dask array of NumPy chunks; what is none yet becomes a single chunk."""
    if isinstance(value, da.Array):
        if not isinstance(value._meta, np.ndarray):
            raise TypeError(f"{name} has chunks of {type(value._meta).__name__}; they must be NumPy arrays")
        return value
    if keep_scalar and np.ndim(value) == 0:
        return value
    if not isinstance(value, (np.ndarray, np.generic, numbers.Number, list, tuple)):
        advice = f": pass {name}.to_dask_array(lengths=True)" if hasattr(value, "to_dask_array") else ""
        advice = f": pass list({name})" if isinstance(value, (Iterator, MappingView)) else advice
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


def groups_of(qid, group):
    if isinstance(group, da.Array):
        raise TypeError("group is a dask array; it must be a list or NumPy array: pass group.compute()")
    return group if isinstance(group, nr.Groups) else nr.Groups(qid=qid, group=group)


def _sizes_of_groups(groups, rows):
    """Return the sizes of groups that are known, in a chunk for each chunk of rows."""
    edges, offsets = np.cumsum(rows), groups.offsets
    if groups.rows != edges[-1]:
        _check_rows(edges[-1], group=groups)
    firsts = np.searchsorted(offsets, edges[:-1])
    for edge, query in zip(edges, firsts - 1, strict=False):
        start, stop = offsets[query], offsets[query + 1]
        if stop != edge:
            wrong = f"query {query}, rows {start} to {stop - 1}, lies in two chunks, which meet at row {edge}"
            raise ValueError(f"{wrong}; it must lie in one: {_ALIGN}")
    return da.from_array(groups.sizes, chunks=(tuple(np.diff([0, *firsts, len(groups)]).tolist()),))


def map_ids(function, qid):
    """Map a function over the chunks of ids; with each it gets the id of the row before, and it returns integers."""
    rows = np.array(qid.chunks[0])
    last = map_chunks(operator.itemgetter(slice(-1, None)), qid, chunks=one_per_chunk(qid.chunks), dtype=qid.dtype)
    filled = np.maximum.accumulate(np.where(rows > 0, np.arange(len(rows)), 0))
    before = last.blocks[[0, *filled[:-1]]]
    return map_chunks(function, qid, before, chunks=((math.nan,) * len(rows),), dtype=np.int64)


def _sizes_of_chunk(qid, before, *, block_id):
    """Return how many rows each query of a chunk has."""
    (groups,) = call_on_one_thread("Groups", {"qid": qid}, block_id)
    if block_id[0] > 0 and (qid[:1] == before).any():
        raise ValueError(f"chunk {block_id[0]}: query {qid[0]} began in a chunk before, and must lie in one: {_ALIGN}")
    return groups.sizes


def starts_of_chunk(qid, before, *, block_info):
    """Return the first and the last row of a chunk at which a query starts."""
    chunk, ((row, _),) = block_info[0]["chunk-location"], block_info[0]["array-location"]
    (groups,) = call_on_one_thread("Groups", {"qid": qid}, chunk)
    is_continued = chunk[0] > 0 and (qid[:1] == before).any()
    starts = row + groups.offsets[int(is_continued) : -1]
    return np.concatenate([starts[:1], starts[-1:]])
