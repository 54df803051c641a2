"""A loss on given pairs: from the arguments of the public call to the backend and back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from numbarank import _dispatch, _inputs, _reduction
from numbarank._tensor import Tensor

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


def loss(formula, input1, input2, target, margin, reduction):
    """Return the loss of a formula on pairs; a Tensor that can go backward where an input is a Tensor."""
    if _are_plain(input1, input2, target, margin, reduction):
        return _walk_plain(formula, input1, input2, target, margin, reduction, True)
    x1, x2, y = _array(input1), _array(input2), _array(target)
    if x1 is input1 and x2 is input2 and y is target:
        return _forward(formula, read_pairs((x1, x2, y), margin), reduction)
    return _tensor_loss(formula, (input1, input2, target), x1, x2, y, margin, reduction)


def _tensor_loss(formula, values, x1, x2, y, margin, reduction):
    if _are_plain(x1, x2, y, margin, reduction):
        result, device = _walk_plain(formula, x1, x2, y, margin, reduction, True), "cpu"
    else:
        pairs = read_pairs((x1, x2, y), margin)
        result, device = _forward(formula, pairs, reduction), pairs.device

    def gradients(upstream, parents):
        wanted = [parent is not None for parent in parents]
        if wanted == [True, True, False] and _are_plain(x1, x2, y, margin, reduction):
            grad1, grad2 = _empty_pair(x1)
            _walk_plain(formula, x1, x2, y, margin, reduction, False, float(upstream), grad1, grad2)
            return grad1, grad2, None
        return walk(formula, read_pairs((x1, x2, y), margin), reduction, upstream, wanted)[1]

    parents = [value if isinstance(value, Tensor) else None for value in values]
    return Tensor.from_operation(result, device, parents, gradients)


def loss_and_grad(formula, input1, input2, target, margin, reduction, gradient, out, target_grad):
    """Return the loss of a formula on pairs and its gradients, from one walk over them."""
    x1, x2, y = _array(input1), _array(input2), _array(target)
    has_options = gradient is not None or out is not None or target_grad
    if not has_options and _are_plain(x1, x2, y, margin, reduction):
        gradients = _empty_pair(x1)
        result = _walk_plain(formula, x1, x2, y, margin, reduction, True, 1.0, *gradients)
    else:
        pairs = read_pairs((x1, x2, y), margin)
        wanted = (True, True, bool(target_grad))
        gradient = _array(gradient)
        out = None if out is None else _read_out(out, pairs, gradient, wanted)
        result, gradients = walk(formula, pairs, reduction, gradient, wanted, out, with_loss=True)
        gradients = tuple(gradients[: sum(wanted)])
    if x1 is input1 and x2 is input2 and y is target:
        return result, gradients
    return Tensor(result), tuple(Tensor(array) for array in gradients)


def _are_plain(x1, x2, y, margin, reduction):
    """Tell whether the arguments are in order as they are, which takes longer to establish for every other kind."""
    return reduction in ("mean", "sum") and type(margin) is float and _inputs.are_plain(x1, x2, y)


def _walk_plain(formula, x1, x2, y, margin, reduction, wants_total, upstream=1.0, grad1=None, grad2=None):
    """Walk over inputs that need no preparation."""
    divisor = x1.size if reduction == "mean" else 1
    run = _dispatch.backend("cpu").pairs.run
    return run(formula, x1, x2, y, margin, divisor, upstream, None, grad1, grad2, None, wants_total)


def _empty_pair(array):
    empty_like = _dispatch.backend("cpu").arrays.empty_like
    return empty_like(array), empty_like(array)


def read_pairs(arrays, margin):
    """Check the three arrays and the margin, and lay the pairs out for their backend."""
    inputs = tuple(_inputs.read(name, array) for name, array in zip(NAMES, arrays, strict=True))
    margin = _inputs.read_margin(margin)
    device = _inputs.common_device(*inputs)
    dtype = _inputs.loss_dtype(*inputs)
    shape = _inputs.output_shape(*inputs)
    backend = _dispatch.backend(device)
    storage = backend.pairs.storage_dtype(dtype)
    x1, x2 = (_lay_out_scores(item, device, shape, storage, backend.arrays) for item in inputs[:2])
    y = _lay_out_target(inputs[2], shape, storage, backend.arrays)
    return Pairs(inputs, backend, device, shape, math.prod(shape), dtype, x1, x2, y, margin)


def _forward(formula, pairs, reduction):
    return walk(formula, pairs, reduction, None, (False, False, False), with_loss=True)[0]


def walk(formula, pairs, reduction, gradient, wanted, out=None, with_loss=False):
    """Walk once over the pairs; return the loss, or None, and the list of the gradients that are wanted."""
    arrays = pairs.backend.arrays
    each = _reduction.check_reduction(reduction) == "none"
    upstream = _inputs.read_gradient(gradient, pairs.shape if each else (), pairs.device)
    if not isinstance(upstream, float):
        upstream = arrays.contiguous(upstream, upstream.shape, _inputs.compute_dtype(pairs.dtype))
    results = [_result_buffer(pairs, i, out) if wanted[i] else None for i in range(3)]
    losses = arrays.empty(pairs.shape, pairs.x1.dtype, pairs.device) if each and with_loss else None
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
    loss = losses if each else total
    return (arrays.cast(loss, pairs.dtype) if with_loss else None), gradients


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
    return pairs.backend.arrays.empty(pairs.shape, dtype, pairs.device)


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


def _read_out(out, pairs, gradient, wanted):
    """Return the caller's buffers, checked, one for each input or None."""
    if not isinstance(out, (tuple, list)):
        raise TypeError(f"out is a {type(out).__name__}; it must be a tuple of arrays, one for each gradient")
    buffers = [_array(buffer) for buffer in out]
    inputs = [item for item, is_wanted in zip(pairs.inputs, wanted, strict=True) if is_wanted]
    sources = pairs.inputs if gradient is None else (*pairs.inputs, _inputs.read("gradient", gradient))
    _inputs.check_out(buffers, inputs, sources, pairs.backend.arrays)
    return (*buffers, None)[:3]
