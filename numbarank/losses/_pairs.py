"""A loss on given pairs: how its arguments are read, and run on a backend."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from numbarank import _arguments, _dispatch, _reduction
from numbarank._contract import PairResults, Pairs
from numbarank._tensor import Tensor
from numbarank.losses import _call

NAMES = ("input1", "input2", "target", "margin", "weights")


@dataclass(frozen=True, eq=False)
class PairFormula:
    """The maths of one pair as plain scalar functions.

    ``value(x1, x2, y, margin)`` is the loss, ``slope(x1, x2, y, margin, upstream)`` its gradients by x1 and by y;
    the gradient by x2 is the first one's negative.
    """

    value: Callable
    slope: Callable


def loss(formula, input1, input2, target, margin, reduction, weights=None, out=None, stream=None):
    """Return the loss of a formula on pairs; a Tensor that can go backward where an input is a Tensor."""
    operands = input1, input2, target, margin, weights
    if out is not None:
        return _losses_into(out, PairLoss(formula, reduction), operands, stream)
    is_plain = stream is None and _arguments.are_plain(input1, input2, target, margin, reduction)
    if is_plain and _arguments.are_plain_weights(weights, input1):
        result = _run_plain(formula, input1, input2, target, margin, reduction, weights=weights)
        return result if reduction == "none" else result[()]
    return _call.forward(PairLoss(formula, reduction), operands, stream)


def loss_and_grad(
    formula,
    input1,
    input2,
    target,
    margin,
    reduction,
    gradient=None,
    weights=None,
    out=None,
    target_grad=False,
    stream=None,
):
    """Return the loss of a formula on pairs and its gradients, from one pass over them."""
    upstream = 1.0 if gradient is None else gradient
    is_simple = type(upstream) is float and target_grad is False and stream is None
    is_plain = is_simple and _arguments.are_plain(input1, input2, target, margin, reduction)
    if is_plain and _arguments.are_plain_weights(weights, input1):
        gradients = _empty_pair(input1) if out is None else _plain_buffers(out, input1, input2, target, weights)
        result = _run_plain(formula, input1, input2, target, margin, reduction, upstream, *gradients, weights=weights)
        return result if reduction == "none" else result[()], gradients
    wanted = (True, True, _arguments.read_flag("target_grad", target_grad))
    given = None if out is None else _arguments.read_sequence("out", out)
    criterion, operands = PairLoss(formula, reduction), (input1, input2, target, margin, weights)
    return _call.forward_and_backward(criterion, operands, gradient, wanted, given, stream)


class PairLoss(NamedTuple):
    """A loss on pairs; its operands are those of ``NAMES``, of which weights may be None."""

    formula: PairFormula
    reduction: Any

    DIFFERENTIABLE = 3
    CONSTANT = NAMES[3:]

    def read(self, operands, stream=None):
        """Check the operands and lay the pairs out for their backend."""
        stream = _arguments.read_stream(stream)
        inputs = tuple(_arguments.read(name, operand) for name, operand in zip(NAMES[:3], operands[:3], strict=True))
        margin = _arguments.read_margin_of_pairs(operands[3])
        weights = None if operands[4] is None else _arguments.read_weights_of_pairs(operands[4])
        has_margins = isinstance(margin, _arguments.Input)
        others = [item for item in (margin if has_margins else None, weights) if item is not None]
        device = _arguments.common_device(*inputs, *others)
        inputs = _arguments.on_stream((*inputs, *others), stream, device)
        dtype, shape = _arguments.loss_dtype(*inputs[:3]), _arguments.output_shape(*inputs)
        backend = _dispatch.backend(device)
        lay_out = functools.partial(_lay_out, device=device, shape=shape, arrays=backend.arrays)
        storage, compute = backend.pairs.storage_dtype(dtype), _arguments.compute_dtype(dtype)
        pairs = Pairs(
            x1=lay_out(inputs[0], storage),
            x2=lay_out(inputs[1], storage),
            y=_lay_out_target(inputs[2], shape, storage, backend.arrays),
            margin=lay_out(inputs[3], compute) if has_margins else margin,
            weights=None if weights is None else lay_out(inputs[-1], compute),
        )
        return _call.Request(inputs, backend, device, dtype, shape, pairs)

    def run(self, request, gradient=None, wanted=(True, False, False, False), buffers=None):
        """Pass once over the pairs; return the loss and the list of the gradients, None for what is not wanted."""
        arrays, pairs = request.backend.arrays, request.arguments
        each = _reduction.check_reduction(self.reduction) == "none"
        upstream = _arguments.read_gradient(gradient, request.shape if each else (), request.device)
        if not isinstance(upstream, float):
            upstream = arrays.contiguous(upstream, upstream.shape, _arguments.compute_dtype(request.dtype))
        losses = arrays.empty_beside(pairs.x1, request.shape, pairs.x1.dtype) if each and wanted[0] else None
        buffers = [None] * 3 if buffers is None else [*buffers, None]
        results = [_result_buffer(request, i, buffers[i]) if wanted[1 + i] else None for i in range(3)]
        pairs = pairs._replace(upstream=upstream, divisor=self._divisor(request))
        total = _run(self.formula, request, pairs, PairResults(losses, *results), wanted[0] and not each)
        gradients = [_finish_gradient(request, i, results[i], buffers[i]) if wanted[1 + i] else None for i in range(3)]
        return arrays.cast(losses if each else total, request.dtype) if wanted[0] else None, gradients

    def _divisor(self, request):
        is_weighted_mean = self.reduction == "mean" and request.arguments.weights is not None
        return None if is_weighted_mean else _reduction.divisor(self.reduction, math.prod(request.shape))

    def run_plain(self, operands):
        """Return the loss where the operands need no preparation, or None."""
        if operands[4] is None and _arguments.are_plain(*operands[:4], self.reduction):
            return _run_plain(self.formula, *operands[:4], self.reduction)
        return None

    def gradients(self, operands, upstream, parents):
        """Return the gradients by those of the first three operands that have parents."""
        wanted = [parent is not None for parent in parents]
        is_simple = self.reduction != "none" and not wanted[2] and operands[4] is None
        if is_simple and _arguments.are_plain(*operands[:4], self.reduction):
            by_x1, by_x2 = _empty_pair(operands[0])
            _run_plain(self.formula, *operands[:4], self.reduction, float(upstream), by_x1, by_x2, False)
            return by_x1, by_x2, None
        return self.run(self.read(operands), upstream, (False, *wanted))[1]

    def again(self, request):
        """Return the loss as it is computed again for its gradients."""
        return self

    def packages(self, request):
        """Return what makes the loss, and each gradient, an array of a package: of the first on a device, its own."""
        on_device = (item.from_dlpack for item in request.inputs if item.device != "cpu")
        return [next(on_device, None), *(item.from_dlpack for item in request.inputs)]


def _run(formula, request, pairs, results, wants_total):
    """Pass once over the pairs, and return the total; raise ValueError about the first weight that is none."""
    total, invalid = request.backend.pairs.run(formula, pairs, results, wants_total)
    if invalid >= 0:
        raise ValueError(_arguments.describe_invalid_weight(invalid, request.inputs[-1].array, request.shape))
    return total


def _run_plain(
    formula, x1, x2, y, margin, reduction, upstream=1.0, grad1=None, grad2=None, with_loss=True, weights=None
):
    """Pass over inputs that need no preparation; return the loss as an array."""
    cpu = _dispatch.backend("cpu")
    wants_total, divisor = with_loss, x1.size if reduction == "mean" else 1
    losses = None
    if reduction == "none":
        losses, wants_total = cpu.arrays.empty_like(x1) if with_loss else None, False
    if weights is None:
        total = cpu.pairs.run_plain(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, wants_total)
    else:
        divisor = None if reduction == "mean" else 1
        pairs, results = Pairs(x1, x2, y, margin, weights, upstream, divisor), PairResults(losses, grad1, grad2)
        total, invalid = cpu.pairs.run(formula, pairs, results, wants_total)
        if invalid >= 0:
            raise ValueError(_arguments.describe_invalid_weight(invalid, weights, x1.shape))
    return total if wants_total else losses


def _empty_pair(array):
    empty_like = _dispatch.backend("cpu").arrays.empty_like
    return empty_like(array), empty_like(array)


def _plain_buffers(out, x1, x2, y, weights):
    buffers = tuple(out) if type(out) in (tuple, list) else ()
    if len(buffers) == 2 and _arguments.are_plain_buffers(buffers, x1, (x1, x2, y, weights)):
        return buffers
    given = {"input1": x1, "input2": x2, "target": y, "weights": weights}
    sources = [_arguments.Input(name, array, "cpu", False) for name, array in given.items() if hasattr(array, "dtype")]
    given = tuple(map(_call.array_of, _arguments.read_sequence("out", out)))
    _arguments.read_out(given, _arguments.gradients_of(sources[:2]), sources, "cpu", _dispatch.backend("cpu").arrays)
    return given


def _losses_into(out, criterion, operands, stream):
    """Write the losses of all pairs into the caller's buffer and return it."""
    if _reduction.check_reduction(criterion.reduction) != "none":
        raise ValueError(
            f"out is given and reduction is {criterion.reduction!r}; only the losses of 'none' need a buffer"
        )
    if any(isinstance(operand, Tensor) for operand in operands):
        raise TypeError("out is given and an input is a Tensor; it takes arrays only: pass their .data")
    request, given = criterion.read(operands, stream), _call.array_of(out)
    arrays, pairs = request.backend.arrays, request.arguments
    expected = _arguments.Result("the loss", request.shape, request.dtype)
    (buffer,) = _arguments.read_out([given], [expected], request.inputs, request.device, arrays, names=["out"])
    is_direct = buffer.dtype == pairs.x1.dtype
    losses = buffer if is_direct else arrays.empty_beside(pairs.x1, request.shape, pairs.x1.dtype)
    _run(criterion.formula, request, pairs, PairResults(losses), False)
    if not is_direct:
        arrays.copy_to(buffer, arrays.cast(losses, request.dtype))
    return given


def _lay_out(item, dtype, device, shape, arrays):
    array = item.array if item.device == device else arrays.from_host(item.array, device)
    return arrays.contiguous(array, shape, dtype)


def _lay_out_target(target, shape, storage, arrays):
    if target.array.ndim == 0:
        return float(target.array) if target.device == "cpu" else target.array
    dtype = target.array.dtype
    return arrays.contiguous(target.array, shape, storage if _arguments.is_float(dtype) else dtype.newbyteorder("="))


def _result_buffer(request, i, buffer):
    """Return where a gradient is written: the caller's buffer where it has the shape and dtype of the pairs."""
    x1, is_direct = request.arguments.x1, _is_direct(request, i)
    if buffer is not None and is_direct:
        return buffer
    dtype = x1.dtype if is_direct else _arguments.compute_dtype(request.dtype)
    return request.backend.arrays.empty_beside(x1, request.shape, dtype)


def _finish_gradient(request, i, result, buffer):
    """Return a gradient in its input's shape and dtype."""
    array, arrays = request.inputs[i].array, request.backend.arrays
    if not _is_direct(request, i):
        result = arrays.sum_to(result, array.shape, _arguments.gradient_dtype(array.dtype))
        if buffer is not None:
            arrays.copy_to(buffer, result)
    return result if buffer is None else buffer


def _is_direct(request, i):
    array = request.inputs[i].array
    return array.shape == request.shape and _arguments.gradient_dtype(array.dtype) == request.arguments.x1.dtype
