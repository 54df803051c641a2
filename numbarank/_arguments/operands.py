"""What a Tensor is combined with."""

import numpy as np

from numbarank._arguments.dtypes import is_float


def check_operand(operation, device, expected_device):
    """Raise an error where a Tensor on a device cannot be the second operand of an operation."""
    if operation == "divide":
        raise TypeError("a Tensor can be divided by numbers only: multiply by the reciprocals")
    if device != expected_device:
        raise ValueError(f"one Tensor is on {expected_device} and the other on {device}: move one with .to(device)")


def read_number(value):
    """Return the second operand of an operation as a Python number; NotImplemented where it is none."""
    if isinstance(value, np.ndarray):
        raise TypeError(
            "a Tensor combines with numbers and Tensors, not with numpy.ndarray: wrap it with numbarank.tensor(...)"
        )
    if isinstance(value, np.generic) and (is_float(value.dtype) or value.dtype.kind in "iub"):
        return value.item()
    if isinstance(value, float):
        return float.__float__(value)
    return int.__int__(value) if isinstance(value, int) else NotImplemented


def describe_overflow(dtype, error):
    """Return the message about a number that is beyond a dtype."""
    return f"a Tensor of dtype {dtype} cannot take that number: {error}"
