"""Arguments that need no preparation: most calls have such, and need not pay for what puts others in order."""

import numpy as np

from numbarank._reduction import REDUCTIONS

_COMPUTED = frozenset(map(np.dtype, ("float32", "float64")))
_SIGNED = frozenset(map(np.dtype, ("int8", "int16", "int32", "int64")))
_EXACT = 2**53
_PLAIN = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED
_WRITABLE = _PLAIN | 0x400  # NPY_ARRAY_WRITEABLE


def are_plain(input1, input2, target, margin, reduction):
    """Tell whether a loss needs no preparation: contiguous arrays of one shape and dtype, or a number as target.

    Most calls are like that; they need not pay for what the others take to be put in order.
    """
    if not (type(input1) is type(input2) is np.ndarray and type(reduction) is str and reduction in REDUCTIONS):
        return False
    if type(margin) is not float and not _is_small_integer(margin):
        return False
    dtype, shape, flags = input1.dtype, input1.shape, input1.flags.num & input2.flags.num
    if type(target) is np.ndarray:
        flags &= target.flags.num
        if target.shape != shape or (target.dtype is not dtype and target.dtype not in _SIGNED):
            return False
    elif type(target) is not float and not _is_small_integer(target):
        return False
    return input2.dtype is dtype and input2.shape == shape and flags & _PLAIN == _PLAIN and dtype in _COMPUTED


def are_plain_weights(weights, like):
    """Tell whether weights need no preparation either, or there are none."""
    if weights is None:
        return True
    is_like = type(weights) is np.ndarray and weights.dtype is like.dtype and weights.shape == like.shape
    return is_like and weights.flags.num & _PLAIN == _PLAIN


def are_plain_buffers(buffers, like, sources):
    """Tell whether buffers are plain, like an array, writable, and share no memory with each other or with sources."""
    others = [source for source in sources if type(source) is np.ndarray]  # not numbers, and not what is not given
    for buffer in buffers:
        fits = type(buffer) is np.ndarray and buffer.dtype is like.dtype and buffer.shape == like.shape
        if not fits or buffer.flags.num & _WRITABLE != _WRITABLE:
            return False
        for other in others:
            if np.may_share_memory(buffer, other):
                return False
        others.append(buffer)
    return True


def _is_small_integer(value):
    return type(value) is int and -_EXACT <= value <= _EXACT
