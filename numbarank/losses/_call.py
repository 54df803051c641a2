"""One call of a loss: from the arguments of a public function to a backend, and back.

A loss is an object with its settings, ``PairLoss`` or ``ListLoss``: it reads operands into a ``Request``, and runs that
on its backend.
"""

import functools
from typing import Any, NamedTuple

from numbarank import _arguments
from numbarank._tensor import Tensor


class Request(NamedTuple):
    """Everything that came in, checked: the inputs as they are (None for what was not given), and for the backend.

    ``dtype`` is that of the loss, ``shape`` that of the losses of 'none'.
    """

    inputs: tuple
    backend: Any
    device: str
    dtype: Any
    shape: tuple
    arguments: Any


def forward(loss, operands, stream=None):
    """Return a loss; a Tensor that can go backward where an operand is a Tensor."""
    if not _has_tensor(operands):
        request = loss.read(operands, stream)
        return _loss_to_caller(loss, request, loss.run(request)[0])
    arrays = _arrays_of(loss, operands)
    result, device = loss.run_plain(arrays) if stream is None else None, "cpu"
    if result is None:
        request = loss.read(arrays, stream)
        loss, result, device = loss.again(request), loss.run(request)[0], request.device
    gradients = functools.partial(loss.gradients, arrays)
    return Tensor.from_operation(result, device, operands[: loss.DIFFERENTIABLE], gradients)


def forward_and_backward(loss, operands, gradient, wanted, given, stream, names=None):
    """Return a loss and a tuple of its other results that are wanted, from one pass.

    The first of these are the gradients by the operands; they go into the caller's buffers where some are ``given``.
    """
    has_tensor, gradient = _has_tensor(operands), array_of(gradient)
    request = loss.read(_arrays_of(loss, operands) if has_tensor else operands, stream)
    buffers = None
    if given is not None:
        given = tuple(map(array_of, given))
        sources = [item for item in request.inputs if item is not None]
        if gradient is not None:
            sources.append(_arguments.read("gradient", gradient))
        expected = _arguments.gradients_of(request.inputs[: sum(wanted[: loss.DIFFERENTIABLE])])
        buffers = _arguments.read_out(given, expected, sources, request.device, request.backend.arrays, names)
    result, others = loss.run(request, gradient, (True, *wanted), buffers)
    others = [other for other in others if other is not None]
    if has_tensor:
        return Tensor(result), tuple(map(Tensor, _replaced(others, given)))
    if request.device != "cpu":
        packages = loss.packages(request)[1:]
        others = [to_caller(*pair, request.device) for pair in zip(others, packages, strict=False)]
    return _loss_to_caller(loss, request, result), _replaced(others, given)


def _replaced(results, given):
    """Return results with the caller's buffers, which hold the first of them, as they came."""
    return tuple(results) if given is None else (*given, *results[len(given) :])


def _has_tensor(operands):
    for operand in operands:  # noqa: SIM110 (any() of a generator takes three times as long)
        if isinstance(operand, Tensor):
            return True
    return False


def _arrays_of(loss, operands):
    """Return operands with the arrays of Tensors, or raise TypeError where a gradient is required that there is not."""
    for name, operand in zip(loss.CONSTANT, operands[-len(loss.CONSTANT) :], strict=True):
        if isinstance(operand, Tensor) and operand.requires_grad:
            raise TypeError(f"{name} requires a gradient, and there is none by {name}: pass {name}.detach()")
    return [operand._data if isinstance(operand, Tensor) else operand for operand in operands]


def array_of(value):
    """Return the array of a Tensor; anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


def _loss_to_caller(loss, request, result):
    """Return a loss as an array of a package, or as results without axes are returned."""
    result = result if loss.reduction == "none" else request.backend.arrays.as_scalar(result)
    return result if request.device == "cpu" else to_caller(result, loss.packages(request)[0], request.device)


def to_caller(array, from_dlpack, device):
    """Return a result as an array of the caller's package, which takes its memory over, or as it is."""
    return array if from_dlpack is None else from_dlpack(Tensor._wrap(array, device))
