"""A loss on given pairs: from the arguments of the public call to the backend and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from numbarank import _dispatch, _inputs, _reduction
from numbarank._tensor import Tensor, hand_back

NAMES = ("input1", "input2", "target")


@dataclass(frozen=True, eq=False)
class PairFormula:
    """The maths of one pair as plain scalar functions.

    ``value(x1, x2, y, margin)`` is the loss, ``slope(x1, x2, y, margin, upstream)`` its gradients by x1 and by y;
    the gradient by x2 is the first one's negative.
    """

    value: Callable
    slope: Callable


class Pairs(NamedTuple):
    """The pairs of one call, as a backend takes them."""

    inputs: tuple
    backend: object
    device: str
    shape: tuple
    size: int
    dtype: object
    x1: object
    x2: object
    y: object
    margin: float


def loss(formula, input1, input2, target, margin, reduction, out=None, stream=None):
    """Return the loss of a formula on pairs; a Tensor that can go backward where an input is a Tensor."""
    if out is not None:
        return _losses_into(out, formula, (input1, input2, target), margin, reduction, stream)
    if stream is None and _inputs.are_plain(input1, input2, target, margin, reduction):
        result = _walk_plain(formula, input1, input2, target, margin, reduction)
        return result if reduction == "none" else result[()]
    x1, x2, y = _array(input1), _array(input2), _array(target)
    if x1 is input1 and x2 is input2 and y is target:
        pairs = read_pairs((x1, x2, y), margin, stream)
        return _without_tensor(_forward(formula, pairs, reduction), pairs, reduction)
    return _tensor_loss(formula, (input1, input2, target), x1, x2, y, margin, reduction, stream)


def _losses_into(out, formula, inputs, margin, reduction, stream):
    """Write the losses of all pairs into the caller's buffer and return it."""
    if _reduction.check_reduction(reduction) != "none":
        raise ValueError(f"out is given and reduction is {reduction!r}; only the losses of 'none' need a buffer")
    if any(isinstance(value, Tensor) for value in inputs):
        raise TypeError("out is given and an input is a Tensor; it takes arrays only: pass their .data")
    pairs, given = read_pairs(inputs, margin, stream), _array(out)
    wanted = _inputs.Result("the loss", pairs.shape, pairs.dtype)
    (losses,) = _inputs.read_out([given], [wanted], pairs.inputs, pairs.device, pairs.backend.arrays, names=["out"])
    walk(formula, pairs, reduction, None, (False, False, False), with_loss=True, losses=losses)
    return given


def _tensor_loss(formula, operands, x1, x2, y, margin, reduction, stream):
    is_plain = stream is None and _inputs.are_plain(x1, x2, y, margin, reduction)
    if is_plain:
        result, device = _walk_plain(formula, x1, x2, y, margin, reduction), "cpu"
    else:
        pairs = read_pairs((x1, x2, y), margin, stream)
        result, device = _forward(formula, pairs, reduction), pairs.device

    def gradients(upstream, parents):
        if is_plain and reduction != "none" and parents[2] is None:
            grad1, grad2 = _empty_pair(x1)
            _walk_plain(formula, x1, x2, y, margin, reduction, float(upstream), grad1, grad2, with_loss=False)
            return grad1, grad2, None
        wanted = [parent is not None for parent in parents]
        return walk(formula, read_pairs((x1, x2, y), margin), reduction, upstream, wanted)[1]

    return Tensor.from_operation(result, device, operands, gradients)


def loss_and_grad(formula, input1, input2, target, margin, reduction, gradient, out, target_grad, stream):
    """Return the loss of a formula on pairs and its gradients, from one walk over them."""
    upstream = 1.0 if gradient is None else gradient
    is_simple = type(upstream) is float and target_grad is False and stream is None
    if is_simple and _inputs.are_plain(input1, input2, target, margin, reduction):
        gradients = _empty_pair(input1) if out is None else _plain_out(out, input1, input2, target)
        result = _walk_plain(formula, input1, input2, target, margin, reduction, upstream, *gradients)
        return result if reduction == "none" else result[()], gradients
    x1, x2, y = _array(input1), _array(input2), _array(target)
    pairs = read_pairs((x1, x2, y), margin, stream)
    wanted = (True, True, _inputs.read_flag("target_grad", target_grad))
    gradient, given = _array(gradient), None
    if out is not None:
        sources = pairs.inputs if gradient is None else (*pairs.inputs, _inputs.read("gradient", gradient))
        given, out = _read_out(out, pairs.inputs[: sum(wanted)], sources, pairs.device, pairs.backend.arrays)
    result, gradients = walk(formula, pairs, reduction, gradient, wanted, out, with_loss=True)
    gradients = given or gradients[: sum(wanted)]
    if not (x1 is input1 and x2 is input2 and y is target):
        return Tensor(result), tuple(Tensor(array) for array in gradients)
    if given is None:
        kinds = [item.from_dlpack for item in pairs.inputs]
        gradients = [hand_back(*pair, pairs.device) for pair in zip(gradients, kinds, strict=False)]
    return _without_tensor(result, pairs, reduction), tuple(gradients)


def _walk_plain(formula, x1, x2, y, margin, reduction, upstream=1.0, grad1=None, grad2=None, with_loss=True):
    """Walk over inputs that need no preparation; return the loss as an array."""
    cpu = _dispatch.backend("cpu")
    wants_total, divisor = with_loss, x1.size if reduction == "mean" else 1
    losses = None
    if reduction == "none":
        losses, wants_total = cpu.arrays.empty_like(x1) if with_loss else None, False
    total = cpu.pairs.run_plain(formula, x1, x2, y, margin, divisor, upstream, losses, grad1, grad2, wants_total)
    return total if wants_total else losses


def _empty_pair(array):
    empty_like = _dispatch.backend("cpu").arrays.empty_like
    return empty_like(array), empty_like(array)


def _plain_out(out, x1, x2, y):
    sources = [_inputs.Input(name, array, "cpu", False) for name, array in zip(NAMES, (x1, x2, y), strict=True)]
    if isinstance(y, (float, int)):
        sources.pop()
    return _read_out(out, sources[:2], sources, "cpu", _dispatch.backend("cpu").arrays)[0]


def _without_tensor(loss, pairs, reduction):
    loss = loss if reduction == "none" else pairs.backend.arrays.as_scalar(loss)
    return hand_back(loss, _inputs.kind_of_loss(pairs.inputs), pairs.device)


def read_pairs(arrays, margin, stream=None):
    """Check the three arrays and the margin, and lay the pairs out for their backend."""
    stream = _inputs.read_stream(stream)
    inputs = tuple(_inputs.read(name, array) for name, array in zip(NAMES, arrays, strict=True))
    margin = _inputs.read_margin(margin)
    device = _inputs.common_device(*inputs)
    inputs = _inputs.on_stream(inputs, stream, device)
    dtype = _inputs.loss_dtype(*inputs)
    shape = _inputs.output_shape(*inputs)
    backend = _dispatch.backend(device)
    storage = backend.pairs.storage_dtype(dtype)
    x1, x2 = (_lay_out_scores(item, device, shape, storage, backend.arrays) for item in inputs[:2])
    y = _lay_out_target(inputs[2], shape, storage, backend.arrays)
    return Pairs(inputs, backend, device, shape, math.prod(shape), dtype, x1, x2, y, margin)


def _forward(formula, pairs, reduction):
    return walk(formula, pairs, reduction, None, (False, False, False), with_loss=True)[0]


def walk(formula, pairs, reduction, gradient, wanted, out=None, with_loss=False, losses=None):
    """Walk once over the pairs; return the loss, or None, and the list of the gradients that are wanted."""
    arrays, into = pairs.backend.arrays, losses
    each = _reduction.check_reduction(reduction) == "none"
    upstream = _inputs.read_gradient(gradient, pairs.shape if each else (), pairs.device)
    if not isinstance(upstream, float):
        upstream = arrays.contiguous(upstream, upstream.shape, _inputs.compute_dtype(pairs.dtype))
    results = [_result_buffer(pairs, i, out) if wanted[i] else None for i in range(3)]
    if each and with_loss and (into is None or into.dtype != pairs.x1.dtype):
        losses = arrays.empty_beside(pairs.x1, pairs.shape, pairs.x1.dtype)
    total = pairs.backend.pairs.run(
        formula,
        pairs.x1,
        pairs.x2,
        pairs.y,
        pairs.margin,
        _reduction.divisor(reduction, pairs.size),
        upstream,
        losses,
        *results,
        wants_total=with_loss and not each,
    )
    gradients = [_finish_gradient(pairs, i, results[i], out) if wanted[i] else None for i in range(3)]
    loss = arrays.cast(losses if each else total, pairs.dtype) if with_loss else None
    if into is not None and into is not losses:
        arrays.copy_to(into, loss)
    return loss, gradients


def _array(value):
    return value._data if isinstance(value, Tensor) else value


def _lay_out_scores(scores, device, shape, storage, arrays):
    array = scores.array if scores.device == device else arrays.from_host(scores.array, device)
    return arrays.contiguous(array, shape, storage)


def _lay_out_target(target, shape, storage, arrays):
    if target.array.ndim == 0:
        return float(target.array) if target.device == "cpu" else target.array
    dtype = target.array.dtype
    return arrays.contiguous(target.array, shape, storage if _inputs.is_float(dtype) else dtype.newbyteorder("="))


def _result_buffer(pairs, i, out):
    """Return where the kernel writes a gradient: the caller's buffer where it has the shape and dtype of the pairs."""
    if out is not None and _is_direct(pairs, i):
        return out[i]
    dtype = pairs.x1.dtype if _is_direct(pairs, i) else _inputs.compute_dtype(pairs.dtype)
    return pairs.backend.arrays.empty_beside(pairs.x1, pairs.shape, dtype)


def _finish_gradient(pairs, i, result, out):
    """Return a gradient in its input's shape and dtype."""
    array = pairs.inputs[i].array
    arrays = pairs.backend.arrays
    if not _is_direct(pairs, i):
        result = arrays.sum_to(result, array.shape, _inputs.gradient_dtype(array.dtype))
        if out is not None:
            arrays.copy_to(out[i], result)
    return result if out is None else out[i]


def _is_direct(pairs, i):
    array = pairs.inputs[i].array
    return array.shape == pairs.shape and _inputs.gradient_dtype(array.dtype) == pairs.x1.dtype


def _read_out(out, inputs, sources, device, arrays):
    """Return the caller's buffers as they came, and as arrays that fit, one for each of the inputs."""
    buffers = tuple(map(_array, _inputs.read_sequence("out", out)))
    return buffers, _inputs.read_out(buffers, _inputs.gradients_of(inputs), sources, device, arrays)
