"""A loss on all pairs of query groups: how its arguments are read, and run on a backend."""

from typing import Any, NamedTuple

import numpy as np

from numbarank import _arguments, _dispatch, _reduction
from numbarank._contract import ListResults, Lists
from numbarank._groups import Groups, groups_of_rows
from numbarank.losses import _call

_FLOAT64, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)


class ListLoss(NamedTuple):
    """A loss on all pairs of query groups with its settings; its operands are scores, labels and weights."""

    qid: Any
    group: Any
    where: Any
    margin: Any
    power: Any
    reduction: Any
    losers: Any = None

    DIFFERENTIABLE = 1
    CONSTANT = ("weights",)

    def read(self, arrays, stream=None):
        """Check the arguments and lay the lists out for their backend."""
        stream = _arguments.read_stream(stream)
        scores, labels = _arguments.read("scores", arrays[0]), _arguments.read("labels", arrays[1])
        weights = None if arrays[2] is None else _arguments.read("weights", arrays[2])
        where = None if self.where is None else _arguments.read_mask(_call.array_of(self.where))
        _arguments.check_number(scores)
        inputs = scores, labels, weights, where
        device = _arguments.device_of_all([item for item in inputs if item is not None])
        _arguments.check_list_shapes(scores, labels, where)
        groups = _groups_of(scores, self.qid, self.group, where)
        _arguments.check_weights_of_rows(weights, scores, len(groups), self._source_of_sizes(scores))
        inputs = scores, labels, weights, where = _arguments.on_stream(inputs, stream, device)
        dtype, backend = _arguments.gradient_dtype(scores.array.dtype), _dispatch.backend(device)
        _arguments.check_longest(groups.longest, backend.groups.LONGEST, device)
        compute = _arguments.compute_dtype(dtype)
        contiguous, shape = backend.arrays.contiguous, scores.array.shape
        lists = Lists(
            contiguous(scores.array, shape, compute),
            contiguous(labels.array, shape, backend.groups.label_dtype(labels.array.dtype)),
            None if weights is None else contiguous(weights.array, shape, _FLOAT64),
            None if where is None else contiguous(where.array, shape, _BOOL),
            groups,
            _arguments.read_finite_margin(self.margin, compute),
            _arguments.read_power(self.power),
            _arguments.read_losers(self.losers),
        )
        return _call.Request(inputs, backend, device, dtype, (len(groups),), lists)

    def _source_of_sizes(self, scores):
        """Return how a caller writes the sizes of the groups."""
        if self.qid is not None:
            return "numbarank.Groups(qid=qid).sizes"
        if self.group is None:
            return tuple(scores.array.shape)[-1]
        return "group.sizes" if isinstance(self.group, Groups) else "group"

    def run(self, request, gradient=None, wanted=(True, False, False), buffers=None):
        """Pass once over all pairs; return the loss, and the gradient and the active pairs, None where not wanted."""
        arrays, lists = request.backend.arrays, request.arguments
        each = _reduction.check_reduction(self.reduction) == "none"
        upstream = _arguments.read_gradient(gradient, request.shape if each else (), request.device)
        if not isinstance(upstream, float):
            upstream = arrays.contiguous(upstream, upstream.shape, _FLOAT64)
        (buffer,), shape, compute = buffers or [None], lists.scores.shape, lists.scores.dtype
        is_direct = buffer is not None and buffer.dtype == compute
        result = counts = None
        if wanted[1]:
            result = buffer if is_direct else arrays.empty_beside(lists.scores, shape, compute)
        if wanted[2]:
            counts = arrays.empty_beside(lists.scores, shape, _FLOAT64)
        lists = Lists(*lists[:-2], self.reduction == "mean", upstream)
        loss, invalid = request.backend.groups.run(lists, request.dtype, each, ListResults(result, counts))
        if invalid >= 0:
            raise ValueError(_arguments.describe_invalid_row(invalid, *request.inputs[:3]))
        if result is not None and not is_direct:
            result = arrays.cast(result, request.dtype)
            if buffer is not None:
                arrays.copy_to(buffer, result)
                result = buffer
        return loss, [result, counts]

    def run_plain(self, arrays):
        """Return None: all lists are prepared."""

    def gradients(self, arrays, upstream, parents):
        """Return the gradient by the scores."""
        return self.run(self.read(arrays), upstream, (True, True, False))[1][:1]

    def again(self, request):
        """Return the loss as it is computed again for its gradients: with the groups that are known."""
        if request.inputs[0].array.ndim == 2:
            return self
        return self._replace(qid=None, group=request.arguments.groups)

    def packages(self, request):
        """Return what makes loss, gradient and counts arrays of the scores' package."""
        return [request.inputs[0].from_dlpack] * 3


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
        return Groups.of_offsets(
            np.arange(shape[0] + 1, dtype=np.int64) * shape[1], longest=shape[1] if shape[0] else 0
        )
    if where is not None:
        raise ValueError(
            f"where is given and scores has shape {tuple(shape)}; a mask needs scores with two axes, a list a row: "
            "leave out the rows instead, as in scores[where]"
        )
    if len(given) == 2:
        raise ValueError("qid and group are both given; pass one of them")
    if not given:
        return Groups.of_offsets(np.array([0, shape[0]]), longest=shape[0])
    return groups_of_rows(shape[0], qid, group)
