"""Vectors in host memory: ids, and whole numbers such as counts and indices."""

import numbers

import numpy as np

from numbarank._arguments.inputs import is_on_cuda, read_in_host_memory
from numbarank._arguments.words import type_name


def whole_numbers(name, values, meaning, advice=""):
    """Return the values as a vector of whole numbers, of the dtype that they have."""
    array = read_vector(name, values, meaning)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind == "f":
        check_whole(name, array)
    elif array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold whole numbers, {meaning}{advice}")
    return array


def read_vector(name, values, meaning):
    """Return what NumPy makes of values in host memory, which must have one axis."""
    is_cuda = is_on_cuda(name, values)
    is_single = isinstance(values, (str, bytes, numbers.Number))
    array = None if is_cuda or is_single else read_in_host_memory(name, values)
    if array is None or (array.dtype == object and array.ndim == 0):
        advice = f": pass numbarank.Tensor({name}).cpu().numpy()" if is_cuda else ""
        raise TypeError(
            f"{name} is a {type_name(values)}; it must be a list or NumPy array in host memory, {meaning}{advice}"
        )
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must have one axis, {meaning}")
    return array


def check_whole(name, array):
    """Raise ValueError where floating numbers are no whole numbers."""
    is_fraction = ~(array == np.floor(array)) | np.isinf(array)
    if is_fraction.any():
        i = int(np.argmax(is_fraction))
        what = "missing" if np.isnan(array[i]) else "no whole number"
        raise ValueError(f"{name}[{i}] is {array[i]}, which is {what}; {name} must hold whole numbers")
