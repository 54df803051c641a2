"""Arguments as tensors: numbers and lists become tensors, all else is refused with advice that runs on tensors."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

import numbarank
from numbarank.torch._memory import promoted_dtype

_UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
SIGNED = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
)
NUMBERS = SIGNED + _UNSIGNED
LABELS = (*NUMBERS, torch.bool)
MASK = (torch.bool,)
IDS = tuple(dtype for dtype in NUMBERS if dtype is not torch.bfloat16)  # which NumPy does not know

_LISTS = (list, tuple)


def as_tensors(values, kinds, scores, required):
    """Return arguments as tensors, None for those that are left out.

    Parameters
    ----------
    values : sequence
        The arguments.
    kinds : dict of tuple of torch.dtype
        The dtypes that each may have, by its name.
    scores, required : int
        How many of the first may be no number and no list, and how many may not be left out.

    Raises
    ------
    TypeError
        For an argument that is no tensor and makes none, and for other dtypes and layouts.
    """
    tensors = []
    for k, ((name, dtypes), value) in enumerate(zip(kinds.items(), values, strict=False)):
        tensor = value
        if not isinstance(value, Tensor):
            if value is None and k >= required:
                tensors.append(None)
                continue
            if k < scores:
                raise _no_tensor(name, value, "a torch.Tensor") from None
            tensor = _converted(name, value, tensors[:scores])
        if tensor.dtype not in dtypes or tensor.layout is not torch.strided:
            code = name if tensor is value else f"torch.as_tensor({name})"
            raise TypeError(f"{name} has {_fault_and_advice(tensor, dtypes).format(code)}") from None
        tensors.append(tensor)
    return tensors


def check_one_device(tensors):
    """Raise ValueError where not all tensors of a dict are on one device."""
    if len({tensor.device for tensor in tensors.values()}) > 1:
        places = ", ".join(f"{name} is on {tensor.device}" for name, tensor in tensors.items())
        raise ValueError(f"{places}; all must be on one device: move them with .to(device)")


def ids_as_tensor(name, values):
    """Return ids or counts as a tensor; lists and arrays are not put on torch's default device."""
    if values is None or isinstance(values, Tensor):
        return values
    if isinstance(values, numbarank.Groups):
        tensor = torch.as_tensor(values.sizes, device="cpu")
        if not torch.compiler.is_compiling():
            tensor.groups = values  # they are checked already
        return tensor
    if torch.compiler.is_compiling():
        return torch.as_tensor(values, device="cpu")
    array = np.asarray(values)
    kinds = "iuf" if isinstance(values, np.ndarray) else "iu"  # a list of large integers makes an array of floats
    if array.dtype.kind not in kinds or array.dtype.itemsize > 8 or isinstance(values, np.ma.MaskedArray):
        groups = numbarank.Groups(**{name: values})  # ids that are no numbers, or numbarank's error
        array = groups.sizes if name == "group" else np.repeat(np.arange(len(groups)), groups.sizes)
    array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
    return torch.as_tensor(array.view(array.dtype.str[1:]), device="cpu")  # without aliases such as ulonglong


def _converted(name, value, scores):
    """Return a number as a tensor in host memory, which fits every device, or a list as one beside the scores."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, (int, float)):
        return torch.as_tensor(number, dtype=torch.float64 if isinstance(number, float) else None, device="cpu")
    if not isinstance(value, _LISTS):
        raise _no_tensor(name, value, "a torch.Tensor, a number or a list of numbers") from None
    if value and isinstance(value[0], (Tensor, np.ndarray)):
        stacked = f"torch.stack({name})" if isinstance(value[0], Tensor) else f"torch.as_tensor(numpy.stack({name}))"
        raise TypeError(f"{name} is a {type(value).__name__} of {_type_name(value[0])}s: pass {stacked}") from None
    device = scores[0].device
    try:
        tensor = torch.as_tensor(value, device=device)
        # a target promotes the loss, and a list of floats must not
        floating = promoted_dtype(scores) if name == "target" else torch.float64
        return torch.as_tensor(value, dtype=floating, device=device) if tensor.is_floating_point() else tensor
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{name} is a {type(value).__name__} that makes no tensor"
        raise TypeError(f"{what}; it may hold numbers, and lists of equal length of them: {error}") from None


def _no_tensor(name, value, allowed):
    """Return the TypeError about an argument that is no tensor."""
    what = "None" if value is None else f"a {_type_name(value)}"
    way = _conversion(name, value)
    return TypeError(f"{name} is {what}; it must be {allowed}" + (f": pass {way}" if way else ""))


def _type_name(value):
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _conversion(name, value):
    """Return the code that makes a tensor of a value, or None."""
    if isinstance(value, np.ma.MaskedArray):
        return f"torch.as_tensor({name}.filled(0))"
    if isinstance(value, (int, float, np.generic, np.ndarray, *_LISTS)):
        return f"torch.as_tensor({name})"
    for method in ("to_numpy", "toarray"):  # pandas and polars, SciPy
        if hasattr(type(value), method):
            return f"torch.as_tensor({name}.{method}())"
    if hasattr(type(value), "__dlpack__"):
        return f"torch.from_dlpack({name})"
    is_iterable = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    return f"torch.as_tensor(list({name}))" if is_iterable else None


def _fault_and_advice(tensor, dtypes):
    """Return what is wrong with a tensor, and the code that mends it, in which {} stands for the tensor."""
    if tensor.layout is not torch.strided:
        return f"the layout {tensor.layout}; it must be dense: pass {{}}.to_dense()"
    dtype = tensor.dtype
    came = f"dtype {str(dtype).removeprefix('torch.')}"
    if dtypes is MASK:
        return f"{came}; it must be bool: pass {{}} != 0"
    if dtype is torch.bool and dtypes is SIGNED:
        return f"{came}; margin ranking needs +1 and -1: pass 2 * {{}}.to(torch.int8) - 1"
    if dtype is torch.bool and dtypes is NUMBERS:
        return f"{came}; it must be a number: pass {{}}.to(torch.float32)"
    if dtype in _UNSIGNED:
        return f"{came}, which cannot hold -1: pass {{}}.to(torch.int8)"
    if dtypes is IDS:
        return f"{came}; it must hold whole numbers: pass {{}}.to(torch.int64)"
    allowed = f"{came}; it must be float64, float32, float16, bfloat16 or an integer dtype: pass "
    if dtype.is_complex:
        return f"{allowed}{{0}}.real or {{0}}.imag"
    return allowed + ("{}.dequantize()" if tensor.is_quantized else "{}.to(torch.float32)")
