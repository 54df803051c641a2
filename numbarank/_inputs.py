"""What came in: its kind, device, dtype and shape. Every error message about an argument stands here."""

import functools
import math
import numbers
from typing import Any, NamedTuple

import numpy as np

from numbarank import _dispatch
from numbarank._reduction import REDUCTIONS

FLOAT_NAMES = ("float64", "float32", "float16", "bfloat16")
_DLPACK_CUDA = 2
_COMPUTED = frozenset(map(np.dtype, ("float32", "float64")))
_SIGNED = frozenset(map(np.dtype, ("int8", "int16", "int32", "int64")))
_EXACT = 2**53
_PLAIN = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED


class Input(NamedTuple):
    """One argument as an array on its device; a Python number is ``weak``: its dtype does not promote."""

    name: str
    array: Any
    device: str
    weak: bool


def read(name, value):
    """Recognise an argument and return it as an ``Input``; nothing is copied unless it is a list or a number.

    Raises
    ------
    TypeError
        If it is no array, list or number, or its dtype is not a real number's.
    ValueError
        If it is a ragged list.
    """
    if isinstance(value, np.ndarray):
        return Input(name, _plain_array(name, value), "cpu", False)
    if isinstance(value, (numbers.Number, np.generic, list, tuple)):
        weak = isinstance(value, numbers.Number) and not isinstance(value, np.generic)
        return Input(name, _from_python(name, value), "cpu", weak)
    if is_on_cuda(name, value):
        arrays = _dispatch.backend("cuda").arrays
        array = arrays.wrap(value)
        _check_dtype(name, array.dtype)
        return Input(name, array, arrays.device_of(array), False)
    raise TypeError(
        f"{name} is a {_type_name(value)}; it must be a NumPy array, a list, a number, a numbarank.Tensor or a "
        f"CUDA array: convert it first, for example with numpy.asarray({name})"
    )


def are_plain(input1, input2, target, margin, reduction):
    """Tell whether a loss needs no preparation: contiguous arrays of one shape and dtype, or a number as target.

    Most calls are like that; they need not pay for what the others take to be put in order.
    """
    if not (type(input1) is type(input2) is np.ndarray and reduction in REDUCTIONS):
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


def _is_small_integer(value):
    return type(value) is int and -_EXACT <= value <= _EXACT


def is_on_cuda(name, value):
    """Tell whether a foreign object offers a CUDA array, without importing its package."""
    if getattr(type(value), "__cuda_ndarray__", False):
        return True
    try:
        if hasattr(value, "__cuda_array_interface__"):
            return True
        return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] == _DLPACK_CUDA
    except RuntimeError as error:
        raise TypeError(
            f"{name} is a {_type_name(value)} that does not give out its memory ({error}): detach it first"
        ) from error


@functools.lru_cache  # NumPy makes a dtype's name anew each time
def is_float(dtype):
    """Tell whether a dtype is one of the four floating types that losses have."""
    return dtype.name in FLOAT_NAMES


def gradient_dtype(dtype):
    """Return the dtype of an input's gradient: its own in native byte order, or float64 for an integer."""
    if not is_float(dtype):
        return np.dtype(np.float64)
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def compute_dtype(dtype):
    """Return the dtype that a loss is computed in: float32 for the two half types, which are rounded at the store."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)


def common_device(input1, input2, target):
    """Return the one device that the inputs are on, or raise ValueError.

    Python numbers, and a 0-d target in host memory, fit every device.
    """
    inputs = [item for item in (input1, input2) if not item.weak]
    if target.array.ndim or target.device != "cpu":
        inputs.append(target)
    devices = {item.device for item in inputs}
    if len(devices) > 1:
        places = ", ".join(f"{item.name} is on {item.device}" for item in inputs)
        raise ValueError(f"{places}; all must be on one device: move them with numbarank.tensor(x, device=...)")
    return devices.pop() if devices else "cpu"


def loss_dtype(input1, input2, target):
    """Return the dtype of the loss: the scores' and the target's promoted, as PyTorch promotes them.

    Python numbers, 0-d targets and integer targets do not promote; integer scores count as float64.
    """
    check_scores(input1)
    check_scores(input2)
    _check_target(target)
    strong = [item.array.dtype for item in (input1, input2) if not item.weak]
    if target.array.ndim and is_float(target.array.dtype):
        strong.append(target.array.dtype)
    return _promoted(frozenset(map(gradient_dtype, strong))) if strong else np.dtype(np.float64)


@functools.lru_cache
def _promoted(dtypes):
    """Return the dtype that floating dtypes promote to: the widest, and float32 for the two halves together."""
    by_name = {dtype.name: dtype for dtype in dtypes}
    if by_name.keys() == {"float16", "bfloat16"}:
        return np.dtype(np.float32)
    return next(by_name[name] for name in FLOAT_NAMES if name in by_name)


def output_shape(input1, input2, target):
    """Return the shape that the three inputs broadcast to; a 0-d target stands for every pair."""
    scalar_target = target.array.ndim == 0
    items = (input1, input2) if scalar_target else (input1, input2, target)
    if len({item.array.ndim for item in items}) > 1:
        raise ValueError(
            f"{_shapes(input1, input2, target)}; all need the same number of dimensions: {_reshape_advice(items)}"
        )
    try:
        return np.broadcast_shapes(*(item.array.shape for item in items))
    except ValueError:
        raise ValueError(
            f"{_shapes(input1, input2, target)}; they do not broadcast: along each axis the lengths must be equal or 1"
        ) from None


def read_margin(margin):
    """Return the margin as a Python float, or raise TypeError."""
    return _real_number("margin", margin)


def read_gradient(gradient, shape, device):
    """Return the upstream gradient: a Python float, or an array of ``shape``, or a 0-d device array.

    None stands for 1.
    """
    if gradient is None:
        return 1.0
    item = read("gradient", gradient)
    check_scores(item)
    if item.array.ndim == 0 and item.device == "cpu":
        return _real_number("gradient", item.array[()])
    if item.device != device:
        raise ValueError(f"gradient is on {item.device} and the loss on {device}: move it there first")
    if item.array.shape not in (shape, ()):
        raise ValueError(f"gradient has shape {item.array.shape}; it must have the loss's shape {shape}")
    return item.array


def check_out(buffers, inputs, sources, arrays, names=None):
    """Check the caller's buffers for the gradients of ``inputs``: they may share memory with no source.

    Raises
    ------
    TypeError
        If a buffer is no array, or has another dtype than its gradient.
    ValueError
        If a buffer is on another device, has another shape, is not C-contiguous and writable, or overlaps.
    """
    if len(buffers) != len(inputs):
        raise ValueError(f"out holds {len(buffers)} buffers; it must hold {len(inputs)}, one for each gradient")
    names = names or [f"out[{i}]" for i in range(len(buffers))]
    for name, buffer, item in zip(names, buffers, inputs, strict=True):
        _check_buffer(name, buffer, item, arrays)
    others = [(source.name, source.array) for source in sources if source.device == inputs[0].device]
    for name, buffer in zip(names, buffers, strict=True):
        for other, array in others:
            if arrays.overlap(buffer, array):
                raise ValueError(f"{name} shares memory with {other}: pass buffers of their own")
        others.append((name, buffer))


def _check_buffer(name, buffer, item, arrays):
    dtype = gradient_dtype(item.array.dtype)
    if not arrays.is_array(buffer):
        raise TypeError(f"{name} is a {_type_name(buffer)}; it must be an array on {item.device}, as {item.name} is")
    if buffer.dtype != dtype:
        raise TypeError(f"{name} has dtype {buffer.dtype}; the gradient of {item.name} has {dtype}")
    if buffer.shape != item.array.shape:
        raise ValueError(f"{name} has shape {buffer.shape}; {item.name} has {item.array.shape}")
    if not arrays.is_writable_and_contiguous(buffer):
        raise ValueError(f"{name} must be writable and C-contiguous: allocate it with numpy.empty")


def _plain_array(name, array):
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; numbarank has no masks: pass {name}.compressed() or {name}.filled(value)"
        )
    _check_dtype(name, array.dtype)
    return array if type(array) is np.ndarray else array.view(np.ndarray)


def _from_python(name, value):
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} does not make an array: {error}") from error
    _check_dtype(name, array.dtype)
    return array


def _check_dtype(name, dtype):
    if is_float(dtype) or dtype.kind in "iub":
        return
    raise TypeError(
        f"{name} has dtype {dtype}; it must be float64, float32, float16, bfloat16 or an integer dtype: "
        f"convert it with {name}.astype(float)"
    )


def check_scores(item):
    """Raise TypeError for an argument that should be numbers and is True and False."""
    if item.array.dtype.kind == "b":
        raise TypeError(f"{item.name} has dtype bool; it must be a number: pass {item.name}.astype(float)")


def _check_target(target):
    dtype = target.array.dtype
    if dtype.kind == "b":
        raise TypeError(
            f"{target.name} has dtype bool; margin ranking needs +1 and -1: pass 2 * {target.name}.astype(float) - 1"
        )
    if dtype.kind == "u":
        raise TypeError(f"{target.name} has dtype {dtype}, which cannot hold -1: pass {target.name}.astype(numpy.int8)")


def _real_number(name, value):
    if not isinstance(value, (bool, np.bool_, complex, np.complexfloating, str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"{name} is {value!r}; it must be a real number")


def _shapes(*items):
    first, *rest = (f"{item.name} has shape {tuple(item.array.shape)}" for item in items)
    return ", ".join([first, *(text.replace(" has shape", "") for text in rest)])


def _reshape_advice(items):
    most = max(item.array.ndim for item in items)
    short = min(items, key=lambda item: item.array.ndim)
    full = next(item for item in items if item.array.ndim == most)
    shape = tuple(short.array.shape)
    rows = full.array.shape[: len(shape)] == shape
    padded = shape + (1,) * (most - len(shape)) if rows else (1,) * (most - len(shape)) + shape
    if math.prod(shape) == math.prod(full.array.shape):
        padded = tuple(full.array.shape)
    return f"reshape {short.name} with {short.name}.reshape({padded})"


def _type_name(value):
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# ---------------------------------------------------------------- lists


def read_mask(where):
    """Return the mask of the rows that take part as an ``Input``, or raise TypeError."""
    item = read("where", where)
    if item.array.dtype.kind != "b":
        raise TypeError(f"where has dtype {item.array.dtype}; it must be bool: pass where != 0")
    return item


def device_of_all(inputs):
    """Return the one device that all inputs are on, or raise ValueError."""
    if len({item.device for item in inputs}) > 1:
        places = ", ".join(f"{item.name} is on {item.device}" for item in inputs)
        raise ValueError(f"{places}; all must be on one device: move them with numbarank.tensor(x, device=...)")
    return inputs[0].device


def check_list_shapes(scores, *others):
    """Raise ValueError where scores are neither a list nor a list a row, or another input has another shape."""
    if scores.array.ndim not in (1, 2):
        raise ValueError(
            f"scores has shape {tuple(scores.array.shape)}; it must have one axis, or two with a list a row: reshape it "
            "with scores.reshape(-1)"
        )
    for item in others:
        if tuple(item.array.shape) != tuple(scores.array.shape):
            raise ValueError(f"{_shapes(scores, item)}; they must be equal, a {item.name[:-1]} for each score")


def read_power(power):
    """Return the power of the violations, 1 or 2, or raise ValueError."""
    if power in (1, 2) and not isinstance(power, bool):
        return int(power)
    raise ValueError(f"power is {power!r}; it must be 1 for the hinge or 2 for the squared hinge")


def read_finite_margin(margin, dtype=None):
    """Return the margin as a Python float that is finite, also in the dtype of the scores, or raise ValueError."""
    margin = read_margin(margin)
    with np.errstate(over="ignore"):
        if not np.isfinite(margin if dtype is None else dtype.type(margin)):
            raise ValueError(f"margin is {margin!r}; it must be finite" + (f" in {dtype}" if dtype else ""))
    return margin


def describe_fault(row, scores, labels, weights):
    """Return the message about the first row that a loss on lists cannot be computed with."""
    place = np.unravel_index(row, scores.array.shape)
    for item in (scores, labels, weights):
        if item is not None and not np.isfinite(item.array[place]):
            name, allowed, advice = item.name, "finite", "mend it or leave the row out"
            break
    else:
        name, allowed, advice, item = "weights", "0 or more", "a pair weighs the product of its two weights", weights
    index = ", ".join(map(str, place))
    return f"{name}[{index}] is {item.array[place]}; {name} must be {allowed}: {advice}"
