"""What the package needs of arrays, on NumPy: the twin of the CUDA backend's file of this name."""

import numpy as np

_OVERLAP_WORK = 100_000  # beyond it NumPy answers yes: strides can be made that take it years


def is_array(value):
    """Tell whether a value is an array of this backend."""
    return type(value) is np.ndarray


def device_of(array):
    """Return the device that an array is on."""
    return "cpu"


def wrap(value):
    """Return an array on the memory that an object offers through DLPack; it may be read-only."""
    try:
        array = np.from_dlpack(value)
    except RuntimeError as error:  # NumPy before 2.5
        raise BufferError(*error.args) from error
    if array.size and array.flags.owndata:  # NumPy takes new memory for a null pointer
        raise BufferError(f"its pointer is null, and its shape {array.shape}")
    return array


def empty_beside(array, shape, dtype):
    """Return an uninitialised array on the device of another."""
    return np.empty(shape, dtype)


def empty_like(array):
    """Return an uninitialised array of the same shape and dtype."""
    return np.empty(array.shape, array.dtype)


def one_like(array):
    """Return a 1 of the dtype and on the device of an array, without axes."""
    return np.array(1, array.dtype)


def from_host(array, device):
    """Return a copy of a NumPy array on this backend's device."""
    return copy(array)


def copy(array):
    """Return a C-contiguous copy of an array."""
    return np.array(array, order="C", subok=False)


def to_host(array):
    """Return an array as NumPy's."""
    return array


def contiguous(array, shape, dtype):
    """Return an array broadcast to a shape in a dtype, C-contiguous and aligned; itself where it is that already."""
    if array.shape != shape:
        array = np.broadcast_to(array, shape)
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(all="ignore"):
        return np.require(array, dtype, "CA")


def as_scalar(array):
    """Return an array without axes as NumPy's functions return such results."""
    return array[()]


def cast(array, dtype):
    """Return an array in a dtype, rounded once; itself where it has it already."""
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def sum_to(array, shape, dtype):
    """Sum an array over the axes along which ``shape`` was broadcast to it: in float64, rounded once."""
    if array.shape == shape:
        return cast(array, dtype)
    lead = array.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, length in enumerate(shape) if length != array.shape[lead + i])
    with np.errstate(all="ignore"):
        return cast(np.asarray(np.sum(array, axis=axes, dtype=np.float64)).reshape(shape), dtype)


def copy_to(destination, array):
    """Write an array into another of the same shape and dtype."""
    destination[...] = array


def overlap(array, other):
    """Tell whether two arrays share memory."""
    return np.may_share_memory(array, other, max_work=_OVERLAP_WORK)


def is_writable_and_contiguous(array):
    """Tell whether a kernel can write into an array."""
    return array.flags.writeable and array.flags.c_contiguous and array.flags.aligned


def to_dlpack(array, **options):
    """Return a DLPack capsule of an array."""
    return array.__dlpack__(**options)


def dlpack_device(array):
    """Return the type and the number of the device that an array is on, as DLPack counts them."""
    return array.__dlpack_device__()


def item(array):
    """Return the only element of an array as a Python number."""
    return array.item()


def add(a, b):
    """Return a + b, broadcast."""
    return _quietly(np.add, a, b)


def subtract(a, b):
    """Return a - b, broadcast."""
    return _quietly(np.subtract, a, b)


def multiply(a, b):
    """Return a * b, broadcast."""
    return _quietly(np.multiply, a, b)


def divide(a, number):
    """Return a / number, where a is floating."""
    return _quietly(np.divide, a, number)


def sign(a):
    """Return -1, 0 or 1 for each element, NaN for NaN."""
    return _quietly(np.sign, a)


def _quietly(function, array, *operands):
    is_float = array.dtype.kind not in "iu"
    with np.errstate(all="ignore"):
        if is_float:  # ml_dtypes' numbers promote beside Python's
            operands = [other if isinstance(other, np.ndarray) else array.dtype.type(other) for other in operands]
        return np.asarray(function(array, *operands))
