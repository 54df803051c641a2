"""Vectors of whole numbers in host memory: ids, counts and indices."""

import numbers

import numpy as np

from numbarank._arguments.inputs import is_on_cuda, read_in_host_memory


def whole_numbers(name, values, meaning, advice=""):
    """Return the values as a vector of whole numbers, of the dtype that they have."""
    if isinstance(values, (str, bytes, numbers.Number)) or is_on_cuda(name, values):
        raise TypeError(
            f"{name} is a {type(values).__name__}; it must be a list or NumPy array in host memory, {meaning}"
        )
    array = read_in_host_memory(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must have one axis, {meaning}")
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind == "f":
        _check_whole(name, array)
    elif array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold whole numbers, {meaning}{advice}")
    return array


def _check_whole(name, array):
    is_fraction = ~(array == np.floor(array)) | np.isinf(array)
    if is_fraction.any():
        i = int(np.argmax(is_fraction))
        what = "missing" if np.isnan(array[i]) else "no whole number"
        raise ValueError(f"{name}[{i}] is {array[i]}, which is {what}; {name} must hold whole numbers")
