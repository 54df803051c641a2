"""DLPack on CUDA devices: how arrays change hands without a copy.

The structures are those of the DLPack specification before version 1, which every package still gives and takes.
"""

import ctypes
import weakref

import numpy as np

from numbarank._packages import LEGACY_DEFAULT_STREAM

CUDA = 2
MOST_AXES = 64
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_BFLOAT = 4
_FRESH, _USED = b"dltensor", b"used_dltensor"


class DLTensor(ctypes.Structure):
    """Memory on a device with a shape, and strides counted in elements."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class DLManagedTensor(ctypes.Structure):
    """A tensor and the function that gives it back."""


Deleter = ctypes.PYFUNCTYPE(None, ctypes.POINTER(DLManagedTensor))
DLManagedTensor._fields_ = (("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", Deleter))

# capsules are passed by address: a destructor must not touch the reference count of its dying capsule
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.POINTER(DLManagedTensor), ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_set_name = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))

_given = {}


class _Owner:
    """Memory of another package, given back when the last array on it is gone."""

    def __init__(self, managed):
        if managed.contents.deleter:
            weakref.finalize(self, managed.contents.deleter, managed).atexit = False


def take(value):
    """Take over the memory of an object: address, shape, strides in bytes, dtype, stream, owner and device.

    The producer makes the default stream wait for its own, so that is where the array may be used.
    """
    capsule = value.__dlpack__(stream=LEGACY_DEFAULT_STREAM)
    if not _is_valid(id(capsule), _FRESH):
        raise BufferError("__dlpack__ did not return a DLPack capsule that has not been used")
    managed = _pointer(id(capsule), _FRESH)
    tensor = managed.contents.tensor
    if tensor.device_type != CUDA:
        raise BufferError(f"__dlpack__ returned memory on device type {tensor.device_type}; CUDA is {CUDA}")
    if not 0 <= tensor.ndim <= MOST_AXES or (tensor.ndim and not tensor.shape):
        raise BufferError(f"__dlpack__ returned an array of {tensor.ndim} axes without a shape for them")
    dtype = _dtype(tensor)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(s * dtype.itemsize for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
    _set_name(id(capsule), _USED)
    address = (tensor.data or 0) + tensor.byte_offset
    return address, shape, strides, dtype, 0, _Owner(managed), tensor.device_id


def give(array, address, device):
    """Return a capsule of an array, which lives until the taker calls the deleter."""
    layout = (ctypes.c_int64 * max(1, 2 * array.ndim))(
        *array.shape, *(stride // array.dtype.itemsize for stride in array.strides)
    )
    code = _BFLOAT if array.dtype.name == "bfloat16" else _CODES[array.dtype.kind]
    shape = ctypes.cast(layout, ctypes.POINTER(ctypes.c_int64))
    strides = ctypes.cast(ctypes.addressof(layout) + 8 * array.ndim, ctypes.POINTER(ctypes.c_int64))
    tensor = DLTensor(address, CUDA, device, array.ndim, code, 8 * array.dtype.itemsize, 1, shape, strides, 0)
    managed = DLManagedTensor(tensor, None, _forget)
    pointer = ctypes.addressof(managed)
    _given[pointer] = managed, layout, array
    return _new_capsule(pointer, _FRESH, _destroy)


@Deleter
def _forget(managed):
    _given.pop(ctypes.addressof(managed.contents), None)


@_Destructor
def _destroy(capsule):
    if _is_valid(capsule, _FRESH):
        _forget(_pointer(capsule, _FRESH))


def _dtype(tensor):
    if tensor.lanes == 1 and tensor.code == _BFLOAT and tensor.bits == 16:
        return bfloat16()
    kind = next((kind for kind, code in _CODES.items() if code == tensor.code), "")
    try:
        if kind and tensor.lanes == 1 and tensor.bits % 8 == 0:
            return np.dtype(f"{kind}{tensor.bits // 8}")
    except TypeError:
        pass
    raise TypeError(f"a DLPack array of type code {tensor.code} and {tensor.lanes} x {tensor.bits} bits is not known")


def bfloat16():
    """Return NumPy's bfloat16, which it has as soon as ml_dtypes is imported."""
    try:
        return np.dtype("bfloat16")
    except TypeError:
        raise TypeError("a bfloat16 array needs the package ml_dtypes: install and import it") from None
