"""What came in as an array: recognised, without a copy where it is one, and without an import of its package."""

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping, MappingView, Set
from typing import Any, NamedTuple

import numpy as np

from numbarank import _dispatch
from numbarank._arguments.dtypes import check_dtype, check_number
from numbarank._arguments.settings import read_margin
from numbarank._arguments.words import blaming, name_of, type_name
from numbarank._packages import is_a, package_of

_DLPACK_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu"}  # 3 is host memory that a GPU can reach
_FOR_TORCH = "the losses of numbarank.torch"
_FROM_PYTHON = (numbers.Number, np.generic, list, tuple)
_IN_LISTS = (*_FROM_PYTHON, np.ndarray)


class Input(NamedTuple):
    """One argument as an array on its device; a Python number is ``weak``: its dtype does not promote.

    ``from_dlpack`` makes arrays of the argument's package; it is None where they are the device's own. ``is_torchs``
    tells that advice about the argument is given in torch's words.
    """

    name: str
    array: Any
    device: str
    weak: bool
    from_dlpack: Callable | None = None
    is_torchs: bool = False


def read(name, value):
    """Recognise an argument and return it as an ``Input``; nothing is copied unless it is a list or a number.

    Raises
    ------
    TypeError
        If it is no array, list or number, or its dtype is not a real number's.
    ValueError, BufferError
        If it is a ragged list, or memory on a device that is not laid out as it says.
    """
    cls = type(value)  # what isinstance asks can lie
    if issubclass(cls, np.ndarray):
        return Input(name, _plain_array(name, value), "cpu", False)
    if issubclass(cls, _FROM_PYTHON):
        weak = issubclass(cls, numbers.Number) and not issubclass(cls, np.generic)
        return Input(name, _from_python(name, value), "cpu", weak)
    _refuse_by_name(name, value)
    place = _place(name, value)
    if place == "cuda":
        return on_cuda(name, value, _dispatch.backend(place).arrays.wrap)
    if place == "cpu":
        return _through_dlpack(name, value)
    raise TypeError(
        f"{name} is a {type_name(value)}; it must be a NumPy array, a list, a number, a numbarank.Tensor, a CUDA "
        f"array or one that offers DLPack: {_conversion(name, value)}"
    )


def read_mask(where):
    """Return the mask of the rows that take part as an ``Input``, or raise TypeError."""
    item = read("where", where)
    if item.array.dtype.kind != "b":
        raise TypeError(f"where has dtype {item.array.dtype}; it must be bool: pass where != 0")
    return item


def read_margin_of_pairs(margin):
    """Return the margin as a Python float, or as an ``Input`` where there is one for each pair."""
    cls = type(margin)
    if issubclass(cls, (list, tuple)):
        return _read_numbers("margin", margin)
    if issubclass(cls, np.ndarray):
        return _read_numbers("margin", margin) if np.ndarray.ndim.__get__(margin) else read_margin(margin)
    if issubclass(cls, _FROM_PYTHON) or (_place("margin", margin) is None and not _list_of("margin", margin)):
        return read_margin(margin)
    item = _read_numbers("margin", margin)
    return item if item.array.ndim or item.device != "cpu" else read_margin(item.array)


def read_weights_of_pairs(weights):
    """Return the weights as an ``Input``, or raise TypeError."""
    return _read_numbers("weights", weights)


def _read_numbers(name, values):
    item = read(name, values)
    check_number(item)
    return item


def read_in_host_memory(name, values):
    """Return what NumPy makes of values that are not computed with on a device."""
    _refuse_mask(name, values)
    _refuse_by_name(name, values)
    with blaming(f"{name} does not make an array"):
        array = np.asarray(values)
    if array.ndim == 0 and (instead := _list_of(name, values)):
        raise TypeError(f"{name} is a {type_name(values)}; it must be a list or NumPy array: pass {instead}")
    return array


def is_on_cuda(name, value):
    """Tell whether a foreign object offers a CUDA array, without importing its package."""
    return _place(name, value) == "cuda"


def _place(name, value):
    """Return where a foreign object offers an array, 'cpu' or 'cuda', or None."""
    if isinstance(value, type):
        return None
    with blaming(f"{name} is a {type_name(value)} that does not give out its memory"):
        if getattr(type(value), "__cuda_ndarray__", False) or hasattr(value, "__cuda_array_interface__"):
            return "cuda"
        device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else None
        is_known = isinstance(device, tuple) and len(device) == 2 and isinstance(device[0], numbers.Integral)
        return _DLPACK_DEVICES.get(int(device[0])) if is_known else None


def _plain_array(name, array):
    _refuse_mask(name, array)
    array = np.ndarray.view(array, np.ndarray) if type(array) is not np.ndarray else array
    check_dtype(name, array.dtype)
    return array


def _refuse_mask(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; numbarank has no masks: pass {name}.compressed() or {name}.filled(value)"
        )


def _from_python(name, value):
    with blaming(f"{name} does not make an array"):
        if isinstance(value, (list, tuple)):
            _check_elements(value)
        array = np.asarray(value)
    check_dtype(name, array.dtype)
    return array


def _check_elements(values):
    """Refuse what NumPy would convert by calling foreign code, and masks, which it would drop."""
    classes = set(map(type, values))
    for cls in classes:
        if issubclass(cls, np.ma.MaskedArray) or not issubclass(cls, _IN_LISTS):
            raise TypeError(f"it holds a {name_of(cls)}; lists may hold numbers, lists and arrays without masks")
    if any(issubclass(cls, (list, tuple)) for cls in classes):
        for value in values:
            if isinstance(value, (list, tuple)):
                _check_elements(value)


def on_cuda(name, value, wrap):
    with blaming(f"{name} is a {type_name(value)} that is no usable CUDA array"):
        package = package_of(value)
        array = wrap(value, package)
    check_dtype(name, array.dtype)
    device = _dispatch.backend("cuda").arrays.device_of(array)
    return Input(name, array, device, False, package and package.from_dlpack, is_a(value, "torch", "Tensor"))


def _through_dlpack(name, value):
    with blaming(f"{name} is a {type_name(value)} that gives out no usable memory"):
        if str(getattr(value, "dtype", "")).endswith("bfloat16"):
            is_tensor = is_a(value, "torch", "Tensor")
            way = f"{name}.float(), or use {_FOR_TORCH}" if is_tensor else f"numpy.asarray({name})"
            raise TypeError(f"NumPy takes no bfloat16 through DLPack; pass {way}")
        array = _dispatch.backend("cpu").arrays.wrap(value)
    check_dtype(name, array.dtype)
    return Input(name, array, "cpu", False, is_torchs=is_a(value, "torch", "Tensor"))


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
        with blaming(f"{name} is a {type_name(value)} that cannot be read"):
            _refuse_tensor(name, value)


def _refuse_tensor(name, tensor):
    if tensor.requires_grad:
        raise TypeError(f"it requires a gradient, which would end here; use {_FOR_TORCH}, or pass {name}.detach()")
    if tensor.is_neg():
        raise TypeError(f"its memory holds the negatives of its values; pass {name}.resolve_neg()")


def _conversion(name, value):
    """Return the advice how to make an array or a list of an object without DLPack."""
    if instead := _list_of(name, value):
        return f"pass {instead}"
    methods = (method for method in ("to_numpy", "toarray") if inspect.getattr_static(type(value), method, None))
    call = next((f"{name}.{method}()" for method in methods), f"numpy.asarray({name})")
    return f"convert it first, for example with {call}"


def _list_of(name, value):
    """Return what to pass for an object of which NumPy makes no array of its elements: a list; None for others."""
    cls = type(value)
    if issubclass(cls, Mapping):
        return f"list({name}.values())"
    if issubclass(cls, (Iterator, MappingView)):
        return f"list({name})"
    return "a list, since a set has no order" if issubclass(cls, Set) else None
