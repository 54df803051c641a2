"""A loss on all pairs of query groups: from the arguments of the public call to the backend and back."""

import functools
from typing import NamedTuple

import numpy as np

from numbarank import _dispatch, _inputs, _reduction
from numbarank._groups import Groups
from numbarank._tensor import Tensor, hand_back

_FLOAT64, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)


class Lists(NamedTuple):
    """The query groups of one call, as a backend takes them."""

    inputs: tuple
    backend: object
    device: str
    groups: Groups
    dtype: object
    scores: object
    labels: object
    weights: object
    where: object
    margin: float
    power: int


def loss(scores, labels, qid, group, where, margin, power, weights, reduction, stream=None):
    """Return the loss of all pairs; a Tensor that can go backward where an input is a Tensor."""
    arrays = _array(scores), _array(labels), _array(weights)
    lists = read_lists(*arrays, qid, group, _array(where), margin, power, stream)
    result, _, _ = walk(lists, reduction, None, False, False)
    if not _has_tensor(scores, labels, weights):
        return _without_tensor(result, lists, reduction)
    known = lists.groups if lists.scores.ndim == 1 else None

    def gradients(upstream, parents):
        again = read_lists(*arrays, None, known, _array(where), margin, power)
        return [walk(again, reduction, upstream, True, False)[1]]

    return Tensor.from_operation(result, lists.device, (scores,), gradients)


def loss_and_grad(
    scores, labels, qid, group, where, margin, power, weights, reduction, gradient, out, return_counts, stream
):
    """Return the loss of all pairs, its gradient by the scores and, on request, the active pairs of each row."""
    arrays = _array(scores), _array(labels), _array(weights)
    lists = read_lists(*arrays, qid, group, _array(where), margin, power, stream)
    gradient, given, out = _array(gradient), _array(out), None
    if given is not None:
        sources = [item for item in lists.inputs if item is not None]
        if gradient is not None:
            sources.append(_inputs.read("gradient", gradient))
        wanted = _inputs.gradients_of(lists.inputs[:1])
        (out,) = _inputs.read_out([given], wanted, sources, lists.device, lists.backend.arrays, names=["out"])
    result, by_scores, counts = walk(lists, reduction, gradient, True, return_counts, out)
    if _has_tensor(scores, labels, weights):
        others = (by_scores, counts) if return_counts else (by_scores,)
        return Tensor(result), *map(Tensor, others)
    by_scores = _as_scores(by_scores, lists) if given is None else given
    others = (by_scores, _as_scores(counts, lists)) if return_counts else (by_scores,)
    return _without_tensor(result, lists, reduction), *others


def read_lists(scores, labels, weights, qid, group, where, margin, power, stream=None):
    """Check the arguments and lay the lists out for their backend."""
    stream = _inputs.read_stream(stream)
    scores, labels = _inputs.read("scores", scores), _inputs.read("labels", labels)
    weights = None if weights is None else _inputs.read("weights", weights)
    where = None if where is None else _inputs.read_mask(where)
    _inputs.check_number(scores)
    inputs = tuple(item for item in (scores, labels, weights, where) if item is not None)
    device = _inputs.device_of_all(inputs)
    _inputs.check_list_shapes(*inputs)
    on_stream = {item.name: item for item in _inputs.on_stream(inputs, stream, device)}
    scores, labels, weights, where = map(on_stream.get, ("scores", "labels", "weights", "where"))
    groups = _groups_of(scores, qid, group, where)
    dtype = _inputs.gradient_dtype(scores.array.dtype)
    compute = _inputs.compute_dtype(dtype)
    backend = _dispatch.backend(device)
    _inputs.check_longest(groups.longest, backend.groups.LONGEST, device)

    contiguous, shape = backend.arrays.contiguous, scores.array.shape
    return Lists(
        inputs=(scores, labels, weights, where),
        backend=backend,
        device=device,
        groups=groups,
        dtype=dtype,
        scores=contiguous(scores.array, shape, compute),
        labels=contiguous(labels.array, shape, backend.groups.label_dtype(labels.array.dtype)),
        weights=None if weights is None else contiguous(weights.array, shape, _FLOAT64),
        where=None if where is None else contiguous(where.array, shape, _BOOL),
        margin=_inputs.read_finite_margin(margin, compute),
        power=_inputs.read_power(power),
    )


def _groups_of(scores, qid, group, where):
    """Return the groups of the rows: of 2-D scores each row is one."""
    shape = scores.array.shape
    given = [name for name, value in (("qid", qid), ("group", group)) if value is not None]
    if len(shape) == 2:
        if given:
            raise ValueError(
                f"scores has shape {tuple(shape)}, a list a row, and {given[0]} is given too: leave {given[0]} out, or "
                "pass scores with one axis"
            )
        return Groups.of_offsets(np.arange(shape[0] + 1, dtype=np.int64) * shape[1])
    if where is not None:
        raise ValueError(
            f"where is given and scores has shape {tuple(shape)}; a mask needs scores with two axes, a list a row: "
            "leave out the rows instead, as in scores[where]"
        )
    if len(given) == 2:
        raise ValueError("qid and group are both given; pass one of them")
    if not given:
        return Groups.of_offsets(np.array([0, shape[0]]))
    groups = group if isinstance(group, Groups) else Groups(qid=qid, group=group)
    if groups.rows != shape[0]:
        what = f"qid has {groups.rows} ids" if qid is not None else f"the counts in group add up to {groups.rows}"
        raise ValueError(f"{what} and scores has {shape[0]} rows; they must be equal")
    return groups


def walk(lists, reduction, gradient, wants_gradient, wants_counts, out=None):
    """Walk once over all pairs; return the loss, and the gradient and the active pairs, or None."""
    arrays, device, groups = lists.backend.arrays, lists.device, lists.groups
    each = _reduction.check_reduction(reduction) == "none"
    upstream = _inputs.read_gradient(gradient, (len(groups),) if each else (), device)
    if not isinstance(upstream, float):
        upstream = arrays.contiguous(upstream, upstream.shape, _FLOAT64)
    shape, compute = lists.scores.shape, lists.scores.dtype
    is_direct = out is not None and out.dtype == compute
    empty = functools.partial(arrays.empty_beside, lists.scores)
    result = (out if is_direct else empty(shape, compute)) if wants_gradient else None
    counts = empty(shape, _FLOAT64) if wants_counts else None
    loss, fault = lists.backend.groups.run(
        lists.scores,
        lists.labels,
        lists.weights,
        lists.where,
        groups,
        lists.margin,
        lists.power,
        reduction == "mean",
        upstream,
        lists.dtype,
        each,
        result,
        counts,
    )
    if fault >= 0:
        raise ValueError(_inputs.describe_fault(fault, *lists.inputs[:3]))
    if wants_gradient and not is_direct:
        result = arrays.cast(result, lists.dtype)
        if out is not None:
            arrays.copy_to(out, result)
            result = out
    return loss, result, counts


def _without_tensor(loss, lists, reduction):
    return _as_scores(loss if reduction == "none" else lists.backend.arrays.as_scalar(loss), lists)


def _as_scores(array, lists):
    """Return a result as an array of the scores' package."""
    return hand_back(array, lists.inputs[0].from_dlpack, lists.device)


def _array(value):
    return value._data if isinstance(value, Tensor) else value


def _has_tensor(*values):
    return any(isinstance(value, Tensor) for value in values)
