"""What came in: its kind, device, dtype and shape. Every error message about an argument stands here."""

import contextlib
import functools
import inspect
import math
import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numbarank import _dispatch
from numbarank._packages import LEGACY_DEFAULT_STREAM, is_a, package_of
from numbarank._reduction import REDUCTIONS

FLOAT_NAMES = ("float64", "float32", "float16", "bfloat16")
_DLPACK_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu"}  # 3 is host memory that a GPU can reach
_TORCH_EDGE = "numbarank.torch.margin_ranking_loss or numbarank.torch.pairwise_hinge_loss"
_COMPUTED = frozenset(map(np.dtype, ("float32", "float64")))
_SIGNED = frozenset(map(np.dtype, ("int8", "int16", "int32", "int64")))
_EXACT = 2**53
_PLAIN = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED
_FROM_PYTHON = (numbers.Number, np.generic, list, tuple)
_IN_LISTS = (*_FROM_PYTHON, np.ndarray)
_NOT_REAL = (bool, np.bool_, complex, np.complexfloating, np.flexible, np.datetime64, np.timedelta64, np.ndarray)
_ADVICE = {
    "c": "pass {name}.real or {name}.imag",
    "S": "turn the text into numbers first",
    "U": "turn the text into numbers first",
    "T": "turn the text into numbers first",
    "M": "subtract a date and divide by a unit of time",
    "m": "divide {name} by a unit of time",
    "V": "pass one of its fields, if it has any",
}


class Input(NamedTuple):
    """One argument as an array on its device; a Python number is ``weak``: its dtype does not promote.

    ``from_dlpack`` makes arrays of the argument's package; it is None where they are the device's own.
    """

    name: str
    array: Any
    device: str
    weak: bool
    from_dlpack: Callable | None = None


class Stream(NamedTuple):
    """A CUDA stream: its handle, and the object that keeps it alive."""

    handle: int
    owner: Any


class Result(NamedTuple):
    """What a caller's buffer must fit."""

    words: str
    shape: tuple
    dtype: np.dtype


def read(name, value):
    """Recognise an argument and return it as an ``Input``; nothing is copied unless it is a list or a number.

    Raises
    ------
    TypeError
        If it is no array, list or number, or its dtype is not a real number's.
    ValueError, BufferError
        If it is a ragged list, or memory on a device that is not laid out as it says.
    """
    kind = type(value)  # what isinstance asks can lie
    if issubclass(kind, np.ndarray):
        return Input(name, _plain_array(name, value), "cpu", False)
    if issubclass(kind, _FROM_PYTHON):
        weak = issubclass(kind, numbers.Number) and not issubclass(kind, np.generic)
        return Input(name, _from_python(name, value), "cpu", weak)
    _refuse_by_name(name, value)
    place = _place(name, value)
    if place == "cuda":
        return _on_cuda(name, value, _dispatch.backend(place).arrays.wrap)
    if place == "cpu":
        return _through_dlpack(name, value)
    raise TypeError(
        f"{name} is a {_type_name(value)}; it must be a NumPy array, a list, a number, a numbarank.Tensor, a CUDA "
        f"array or one that offers DLPack: convert it first, for example with {_conversion(name, value)}"
    )


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


def _is_small_integer(value):
    return type(value) is int and -_EXACT <= value <= _EXACT


def _is_whole(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_on_cuda(name, value):
    """Tell whether a foreign object offers a CUDA array, without importing its package."""
    return _place(name, value) == "cuda"


def _place(name, value):
    """Return where a foreign object offers an array, 'cpu' or 'cuda', or None."""
    if isinstance(value, type):
        return None
    with _blaming(f"{name} is a {_type_name(value)} that does not give out its memory"):
        if getattr(type(value), "__cuda_ndarray__", False) or hasattr(value, "__cuda_array_interface__"):
            return "cuda"
        device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else None
        is_known = isinstance(device, tuple) and len(device) == 2 and isinstance(device[0], numbers.Integral)
        return _DLPACK_DEVICES.get(int(device[0])) if is_known else None


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


def kind_of_loss(inputs):
    """Return what makes the loss an array of the package of the first input that is on a device."""
    return next((item.from_dlpack for item in inputs if item.device != "cpu"), None)


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


@functools.lru_cache
def arithmetic_dtype(a, b):
    """Return the dtype of a sum or product: NumPy's, or beside bfloat16, which NumPy does not know, a loss's."""
    return _promoted(frozenset(map(gradient_dtype, (a, b)))) if "bfloat16" in (a.name, b.name) else np.result_type(a, b)


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
    shapes = {item.array.shape for item in items}
    try:
        return shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{_shapes(input1, input2, target)}; they do not broadcast: along each of at most 32 axes the lengths "
            "must be equal or 1"
        ) from None


def read_margin(margin):
    """Return the margin as a Python float, or raise TypeError."""
    return _real_number("margin", margin)


def read_stream(stream):
    """Return a stream argument as a ``Stream``, or None.

    Raises
    ------
    TypeError
        If it is neither a handle nor an object that has one.
    ValueError
        If it is a handle that no stream has.
    """
    if stream is None:
        return None
    with _blaming(f"stream is a {_type_name(stream)} without a handle"):
        handle = stream if _is_whole(stream) else _handle_of(stream)
    if not _is_whole(handle):
        raise TypeError(
            f"stream is {_shown(stream)}; it must be a stream of CuPy, PyTorch or numba, another with __cuda_stream__, "
            "or a handle: an int"
        )
    if not 0 < handle < 2**64:
        raise ValueError(
            f"stream is {_shown(stream)}; a handle is more than 0: 1 is the legacy default stream, 2 the per-thread one"
        )
    return Stream(int(handle), stream)


def _handle_of(stream):
    """Return the handle of a package's stream, in which 0 stands for the legacy default one; None without any."""
    if hasattr(stream, "__cuda_stream__"):
        return stream.__cuda_stream__()[1] or LEGACY_DEFAULT_STREAM
    for name in ("cuda_stream", "ptr"):
        if hasattr(stream, name):
            return getattr(stream, name) or LEGACY_DEFAULT_STREAM
    return int(stream) or LEGACY_DEFAULT_STREAM if hasattr(stream, "handle") else None


def on_stream(inputs, stream, device):
    """Return the inputs for use on a stream where one is given, or raise ValueError where they are on no device."""
    if stream is None:
        return inputs
    if device == "cpu":
        raise ValueError("stream is given and the inputs are on the CPU, which has no streams: leave stream out")
    there = [item.array for item in inputs if item.device == device]
    bound = iter(_dispatch.backend(device).arrays.on_stream(there, *stream))
    return tuple(item._replace(array=next(bound)) if item.device == device else item for item in inputs)


def read_flag(name, value):
    """Return the truth of a value, or raise TypeError."""
    try:
        return bool(value)
    except Exception as error:
        raise TypeError(f"{name} is {_shown(value)}; it must be True or False") from error


def read_dtype(dtype):
    """Return what NumPy makes of a dtype argument."""
    with _blaming("dtype must be one that NumPy knows"):
        return np.dtype(dtype)


def read_shape(shape):
    """Return the shape that ``zeros(*shape)`` and the like mean: some lengths, or one tuple of them."""
    with _blaming("shape must be lengths of at least 0"):
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        shape = tuple(map(operator.index, lengths))
    if min(shape, default=0) < 0:
        raise ValueError(f"shape is {shape}; each length must be at least 0")
    return shape


def read_seed(seed):
    """Return a seed as NumPy's generators take it, None or an int."""
    if seed is None:
        return None
    with _blaming("seed must be None or an int"):
        seed = operator.index(seed)
    if seed < 0:
        raise ValueError(f"seed is {_shown(seed)}; it must be at least 0")
    return seed


def read_gradient(gradient, shape, device):
    """Return the upstream gradient: a Python float, or an array of ``shape``, or a 0-d device array.

    None stands for 1.
    """
    if gradient is None:
        return 1.0
    item = read("gradient", gradient)
    check_number(item)
    if item.array.ndim == 0 and item.device == "cpu":
        return _real_number("gradient", item.array[()])
    if item.device != device:
        raise ValueError(f"gradient is on {item.device} and the loss on {device}: move it there first")
    if item.array.shape not in (shape, ()):
        raise ValueError(f"gradient has shape {item.array.shape}; it must have the loss's shape {shape}")
    return item.array


def read_sequence(name, value):
    """Return the items of a tuple or list of arrays."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} is a {_type_name(value)}; it must be a tuple of arrays, one for each gradient")
    with _blaming(f"{name} does not give out its items"):
        return tuple(value)


def gradients_of(inputs):
    """Return what the gradients of inputs are."""
    return [
        Result(f"the gradient of {item.name}", item.array.shape, gradient_dtype(item.array.dtype)) for item in inputs
    ]


def read_out(buffers, results, sources, device, arrays, names=None):
    """Return the caller's buffers for ``results`` as arrays: they may share memory with no source.

    Raises
    ------
    TypeError
        If a buffer is no array, or has another dtype than its result.
    ValueError
        If a buffer is on another device, has another shape, is not C-contiguous and writable, or overlaps.
    """
    if len(buffers) != len(results):
        raise ValueError(f"out holds {len(buffers)} buffers; it must hold {len(results)}, one for each gradient")
    names = names or [f"out[{i}]" for i in range(len(buffers))]
    buffers = [_as_array(name, buffer, device, arrays) for name, buffer in zip(names, buffers, strict=True)]
    for name, buffer, result in zip(names, buffers, results, strict=True):
        _check_buffer(name, buffer, result, device, arrays)
    others = [(source.name, source.array) for source in sources if source.device == device]
    for name, buffer in zip(names, buffers, strict=True):
        for other, array in others:
            if arrays.overlap(buffer, array):
                raise ValueError(f"{name} shares memory with {other}: pass buffers of their own")
        others.append((name, buffer))
    return buffers


def _as_array(name, buffer, device, arrays):
    if arrays.is_array(buffer):
        return buffer
    if device != "cpu" and is_on_cuda(name, buffer):
        return _on_cuda(name, buffer, arrays.wrap_writable).array
    expected = f"an array on {device}"
    if device == "cpu":
        has_view = is_a(buffer, "torch", "Tensor")
        expected = "a numpy.ndarray, and no subclass of it" + (f": pass {name}.numpy()" if has_view else "")
    raise TypeError(f"{name} is a {_type_name(buffer)}; it must be {expected}")


def _check_buffer(name, buffer, result, device, arrays):
    if arrays.device_of(buffer) != device:
        raise ValueError(f"{name} is on {arrays.device_of(buffer)}; it must be on {device}, as the inputs are")
    if buffer.dtype != result.dtype:
        raise TypeError(f"{name} has dtype {buffer.dtype}; {result.words} has {result.dtype}")
    if buffer.shape != result.shape:
        raise ValueError(f"{name} has shape {buffer.shape}; {result.words} has {result.shape}")
    if not arrays.is_writable_and_contiguous(buffer):
        raise ValueError(f"{name} must be writable and C-contiguous: allocate it with numpy.empty")


def _plain_array(name, array):
    _refuse_mask(name, array)
    array = np.ndarray.view(array, np.ndarray) if type(array) is not np.ndarray else array
    _check_dtype(name, array.dtype)
    return array


def _refuse_mask(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; numbarank has no masks: pass {name}.compressed() or {name}.filled(value)"
        )


def _from_python(name, value):
    with _blaming(f"{name} does not make an array"):
        if isinstance(value, (list, tuple)):
            _check_elements(value)
        array = np.asarray(value)
    _check_dtype(name, array.dtype)
    return array


def _check_elements(values):
    """Refuse what NumPy would convert by calling foreign code, and masks, which it would drop."""
    kinds = set(map(type, values))
    for kind in kinds:
        if issubclass(kind, np.ma.MaskedArray) or not issubclass(kind, _IN_LISTS):
            raise TypeError(f"it holds a {_name_of(kind)}; lists may hold numbers, lists and arrays without masks")
    if any(issubclass(kind, (list, tuple)) for kind in kinds):
        for value in values:
            if isinstance(value, (list, tuple)):
                _check_elements(value)


def _on_cuda(name, value, wrap):
    with _blaming(f"{name} is a {_type_name(value)} that is no usable CUDA array"):
        package = package_of(value)
        array = wrap(value, package)
    _check_dtype(name, array.dtype)
    device = _dispatch.backend("cuda").arrays.device_of(array)
    return Input(name, array, device, False, package and package.from_dlpack)


def _through_dlpack(name, value):
    with _blaming(f"{name} is a {_type_name(value)} that gives out no usable memory"):
        if str(getattr(value, "dtype", "")).endswith("bfloat16"):
            is_tensor = is_a(value, "torch", "Tensor")
            way = f"{name}.float(), or use {_TORCH_EDGE}" if is_tensor else f"numpy.asarray({name})"
            raise TypeError(f"NumPy takes no bfloat16 through DLPack; pass {way}")
        array = _dispatch.backend("cpu").arrays.wrap(value)
    _check_dtype(name, array.dtype)
    return Input(name, array, "cpu", False)


def _refuse_by_name(name, value):
    """Raise TypeError for arrays that have no values yet, or would lose something here, and name their way."""
    if is_a(value, "dask.array", "Array"):
        raise TypeError(
            f"{name} is a dask array; use the function of the same name of numbarank.dask, as in "
            "numbarank.dask.margin_ranking_loss"
        )
    if is_a(value, "jax.core", "Tracer"):
        raise TypeError(
            f"{name} is a JAX tracer, which has no values yet: call numbarank in a function given to "
            "jax.pure_callback, or outside of jax.jit, jax.grad and jax.vmap"
        )
    if is_a(value, "torch", "Tensor"):
        with _blaming(f"{name} is a {_type_name(value)} that cannot be read"):
            _refuse_tensor(name, value)


def _refuse_tensor(name, tensor):
    if tensor.requires_grad:
        raise TypeError(f"it requires a gradient, which would end here; use {_TORCH_EDGE}, or pass {name}.detach()")
    if tensor.is_neg():
        raise TypeError(f"its memory holds the negatives of its values; pass {name}.resolve_neg()")


def _conversion(name, value):
    """Return the call that makes a NumPy array of an object of a package without DLPack."""
    methods = (method for method in ("to_numpy", "toarray") if inspect.getattr_static(type(value), method, None))
    return next((f"{name}.{method}()" for method in methods), f"numpy.asarray({name})")


def _check_dtype(name, dtype):
    if is_float(dtype) or dtype.kind in "iub":
        return
    advice = _ADVICE.get(dtype.kind if dtype.isbuiltin != 2 else "", "convert it with numpy.asarray({name}, float)")
    raise TypeError(
        f"{name} has dtype {dtype}; it must be float64, float32, float16, bfloat16 or an integer dtype: "
        + advice.format(name=name)
    )


def check_number(item):
    """Refuse truth values where numbers are meant."""
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
    raise TypeError(f"{name} is {_shown(value)}; it must be a real number without a gradient") from cause


@contextlib.contextmanager
def _blaming(problem):
    """Turn whatever a caller's object raises into an error that begins with the problem."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        kinds = {BufferError: BufferError, ValueError: ValueError, OverflowError: ValueError}
        kind = next((kinds[kind] for kind in kinds if isinstance(error, kind)), TypeError)
        raise kind(f"{problem}: {_shown(error, str)}") from error


def _shown(value, text=repr):
    """Return a value as messages show it, short, and whatever its own text does."""
    try:
        shown = text(value) or _type_name(value)
    except Exception:
        shown = f"an object of type {_type_name(value)}"
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


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
    return _name_of(type(value))


def _name_of(kind):
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# ---------------------------------------------------------------- lists


def read_mask(where):
    """Return the mask of the rows that take part as an ``Input``, or raise TypeError."""
    item = read("where", where)
    if item.array.dtype.kind != "b":
        raise TypeError(f"where has dtype {item.array.dtype}; it must be bool: pass where != 0")
    return item


def read_in_host_memory(name, values):
    """Return what NumPy makes of values that are not computed with on a device."""
    _refuse_mask(name, values)
    _refuse_by_name(name, values)
    with _blaming(f"{name} does not make an array"):
        return np.asarray(values)


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
            f"{_shapes(scores)}; it must have one axis, or two with a list a row: reshape it with scores.reshape(-1)"
        )
    for item in others:
        if tuple(item.array.shape) != tuple(scores.array.shape):
            raise ValueError(f"{_shapes(scores, item)}; they must be equal, a {item.name[:-1]} for each score")


def check_longest(rows, allowed, device):
    """Raise ValueError where the longest group has more rows than a device takes."""
    if rows > allowed:
        elsewhere = "" if device == "cpu" else "compute it on the CPU, with numbarank.Tensor(scores).cpu(), or "
        raise ValueError(
            f"scores has a group of {rows} rows; on {device} a group may have {allowed}: {elsewhere}leave rows out"
        )


def read_power(power):
    """Return the power of the violations, 1 or 2, or raise ValueError."""
    if power in (1, 2) and not isinstance(power, bool):
        return int(power)
    raise ValueError(f"power is {power!r}; it must be 1 for the hinge or 2 for the squared hinge")


def read_finite_margin(margin, dtype=None):
    """Return the margin as a Python float that is finite, also in the dtype of the scores, or raise ValueError."""
    margin = read_margin(margin)
    if abs(margin) <= _largest(dtype):
        return margin
    raise ValueError(f"margin is {margin!r}; it must be finite" + (f" in {dtype}" if dtype else ""))


@functools.cache
def _largest(dtype):
    return float(np.finfo(dtype or np.float64).max)


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
