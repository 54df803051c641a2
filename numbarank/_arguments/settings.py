"""Arguments that are numbers, flags and names."""

import functools
import operator
import sys

import numpy as np

from numbarank._arguments.words import blaming, shown

_NOT_REAL = (bool, np.bool_, complex, np.complexfloating, np.flexible, np.datetime64, np.timedelta64, np.ndarray)


def read_margin(margin):
    """Return the margin as a Python float, or raise TypeError."""
    return real_number("margin", margin)


def read_finite_margin(margin, dtype=None):
    """Return the margin as a Python float that is finite, also in the dtype of the scores, or raise ValueError."""
    margin = read_margin(margin)
    # torch.compile traces this without a dtype, and warns of functions with a cache
    if abs(margin) <= (sys.float_info.max if dtype is None else _largest(dtype)):
        return margin
    raise ValueError(f"margin is {margin!r}; it must be finite" + (f" in {dtype}" if dtype else ""))


@functools.cache
def _largest(dtype):
    return float(np.finfo(dtype).max)


def real_number(name, value):
    if type(value) is float:
        return value
    cause = None
    try:
        number = value[()] if type(value) is np.ndarray and value.ndim == 0 else value
        # float() also reads text out of buffers, and would lose the gradient of a margin
        has_value = hasattr(type(number), "__float__") or hasattr(type(number), "__index__")
        if has_value and not isinstance(number, _NOT_REAL) and not getattr(number, "requires_grad", False):
            return float(number)
    except Exception as error:
        cause = error
    raise TypeError(f"{name} is {shown(value)}; it must be a real number without a gradient") from cause


def read_power(power):
    """Return the power of the violations, 1 or 2, or raise ValueError."""
    if power in (1, 2) and not isinstance(power, bool):
        return int(power)
    raise ValueError(f"power is {power!r}; it must be 1 for the hinge or 2 for the squared hinge")


def read_flag(name, value):
    """Return the truth of a value, or raise TypeError."""
    try:
        return bool(value)
    except Exception as error:
        raise TypeError(f"{name} is {shown(value)}; it must be True or False") from error


def read_seed(seed):
    """Return a seed as NumPy's generators take it, None or an int."""
    if seed is None:
        return None
    with blaming("seed must be None or an int"):
        seed = operator.index(seed)
    if seed < 0:
        raise ValueError(f"seed is {shown(seed)}; it must be at least 0")
    return seed
