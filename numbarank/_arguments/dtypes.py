"""Which dtypes are computed with, and what they promote to."""

import functools

import numpy as np

from numbarank._arguments.words import blaming

FLOAT_NAMES = ("float64", "float32", "float16", "bfloat16")
_ADVICE = {
    "c": "pass {name}.real or {name}.imag",
    "S": "turn the text into numbers first",
    "U": "turn the text into numbers first",
    "T": "turn the text into numbers first",
    "M": "subtract a date and divide by a unit of time",
    "m": "divide {name} by a unit of time",
    "V": "pass one of its fields, if it has any",
}

_OF_TORCH = {"float": "torch.float64", "numpy.int8": "torch.int8"}


@functools.lru_cache  # NumPy makes a dtype's name anew each time
def is_float(dtype):
    """Tell whether a dtype is one of the four floating types that losses have."""
    return dtype.name in FLOAT_NAMES


def gradient_dtype(dtype):
    """Return the dtype of an input's gradient: its own in native byte order, or float64 for an integer."""
    if not is_float(dtype):
        return np.dtype(np.float64)
    return dtype if dtype.isnative else dtype.newbyteorder("=")


@functools.lru_cache
def arithmetic_dtype(*dtypes):
    """Return the dtype of a sum or product: NumPy's, or beside bfloat16, which NumPy does not know, a loss's."""
    if any(dtype.kind == "b" for dtype in dtypes):
        raise TypeError("a Tensor of dtype bool takes no part in arithmetic: make it one of numbers, with dtype=float")
    if any(dtype.name == "bfloat16" for dtype in dtypes):
        return _promoted(frozenset(map(gradient_dtype, dtypes)))
    return np.result_type(*dtypes)


def loss_dtype(input1, input2, target):
    """Return the dtype of the loss: the scores' and the target's promoted, as PyTorch promotes them.

    Python numbers, 0-d targets and integer targets do not promote; integer scores count as float64.
    """
    check_number(input1)
    check_number(input2)
    _check_target(target)
    strong = [item.array.dtype for item in (input1, input2) if not item.weak]
    if target.array.ndim and is_float(target.array.dtype):
        strong.append(target.array.dtype)
    return _promoted(frozenset(map(gradient_dtype, strong))) if strong else np.dtype(np.float64)


def promoted_dtype(inputs):
    """Return the dtype that the dtypes of inputs promote to; integers count as float64."""
    return _promoted(frozenset(gradient_dtype(item.array.dtype) for item in inputs))


@functools.lru_cache
def _promoted(dtypes):
    """Return the dtype that floating dtypes promote to: the widest, and float32 for the two halves together."""
    by_name = {dtype.name: dtype for dtype in dtypes}
    if by_name.keys() == {"float16", "bfloat16"}:
        return np.dtype(np.float32)
    return next(by_name[name] for name in FLOAT_NAMES if name in by_name)


def read_dtype(dtype):
    """Return what NumPy makes of a dtype argument."""
    with blaming("dtype must be one that NumPy knows"):
        return np.dtype(dtype)


def check_dtype(name, dtype):
    if is_float(dtype) or dtype.kind in "iub":
        return
    advice = _ADVICE.get(dtype.kind if dtype.isbuiltin != 2 else "", "convert it with numpy.asarray({name}, float)")
    raise TypeError(
        f"{name} has dtype {dtype}; it must be float64, float32, float16, bfloat16 or an integer dtype: "
        + advice.format(name=name)
    )


def check_differentiable(dtype):
    """Raise TypeError where the data of a Tensor has a dtype that is not floating."""
    if not is_float(dtype):
        raise TypeError(f"data has dtype {dtype}; only floating data can require a gradient: pass dtype=float")


def check_number(item):
    """Refuse truth values where numbers are meant."""
    if item.array.dtype.kind == "b":
        raise TypeError(f"{item.name} has dtype bool; it must be a number: pass {_cast(item, 'float')}")


def _check_target(target):
    dtype = target.array.dtype
    if dtype.kind == "b":
        raise TypeError(
            f"{target.name} has dtype bool; margin ranking needs +1 and -1: pass 2 * {_cast(target, 'float')} - 1"
        )
    if dtype.kind == "u":
        raise TypeError(f"{target.name} has dtype {dtype}, which cannot hold -1: pass {_cast(target, 'numpy.int8')}")


def _cast(item, dtype):
    """Return the code that casts an argument to a dtype of NumPy's, as its package writes it."""
    return f"{item.name}.to({_OF_TORCH[dtype]})" if item.is_torchs else f"{item.name}.astype({dtype})"
