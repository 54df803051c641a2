"""Gradients that come from above: of a loss, and of a Tensor."""

from numbarank import _dispatch
from numbarank._arguments.dtypes import check_number
from numbarank._arguments.inputs import read
from numbarank._arguments.settings import real_number


def read_gradient(gradient, shape, device):
    """Return the upstream gradient: a Python float, or an array of ``shape``, or a 0-d device array.

    None stands for 1.
    """
    if gradient is None:
        return 1.0
    item = read("gradient", gradient)
    check_number(item)
    if item.array.ndim == 0 and item.device == "cpu":
        return real_number("gradient", item.array[()])
    if item.device != device:
        raise ValueError(f"gradient is on {item.device} and the loss on {device}: move it there first")
    if item.array.shape not in (shape, ()):
        raise ValueError(f"gradient has shape {item.array.shape}; it must have the loss's shape {shape}")
    return item.array


def read_first_gradient(gradient, tensor):
    """Return the gradient that a backward pass begins with as an array of a Tensor's shape, on its device."""
    item = read("gradient", gradient)
    check_number(item)
    array, device = item.array, item.device
    if device == "cpu" and tensor.device != "cpu":
        device = tensor.device
        array = _dispatch.backend(device).arrays.from_host(array, device)
    check_gradient("gradient", tuple(array.shape), device, tensor)
    return array


def check_no_gradient_needed(tensor):
    """Raise RuntimeError where a backward pass cannot begin with a 1."""
    if tensor.ndim:
        raise RuntimeError(
            f"backward() of a Tensor of shape {tensor.shape} needs the gradient from above: pass an array of that shape"
        )


def check_gradient(name, shape, device, tensor):
    """Raise ValueError where a gradient has another shape than its Tensor, or is on another device."""
    if shape != tensor.shape or device != tensor.device:
        raise ValueError(f"{name} has shape {shape} on {device}; the Tensor has {tensor.shape} on {tensor.device}")
