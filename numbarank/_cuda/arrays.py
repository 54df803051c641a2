"""What the package needs of arrays, on CUDA devices: the twin of the CPU backend's file of this name."""

import functools
import math
import operator

import numpy as np

from numbarank._cuda import dlpack, driver, foreign
from numbarank._cuda.driver import cuda, inline
from numbarank._cuda.memory import bits_dtype, converter, offset
from numbarank._packages import LEGACY_DEFAULT_STREAM
from numbarank._precision import compute_dtype

wrap, wrap_writable, empty_beside, on_stream = (
    foreign.wrap,
    foreign.wrap_writable,
    foreign.empty_beside,
    driver.on_stream,
)
FAN = 64


def is_array(value):
    """Tell whether a value is an array of this backend."""
    return isinstance(value, driver.DeviceArray)


def device_of(array):
    """Return the device that an array is on."""
    return f"cuda:{driver.device_of(array)}"


def empty_like(array):
    """Return an uninitialised C-contiguous array of the shape and dtype of another, on its device and stream."""
    return empty_beside(array, array.shape, array.dtype)


def one_like(array):
    """Return a 1 of the dtype and on the device of an array, without axes."""
    return from_host(np.array(1, array.dtype), device_of(array))


def from_host(array, device):
    """Return a copy of a NumPy array on a device."""
    array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    with driver.activate(driver.device_number(device)):
        result = driver.empty(array.shape, array.dtype)
    if array.size:
        raw = bits_dtype(array.dtype)
        with driver.activate(driver.device_of(result)):
            driver.reinterpret(result, (array.size,), raw).copy_to_device(array.reshape(-1).view(raw))
    return result


def to_host(array):
    """Return a copy of an array as NumPy's, when all that was queued before has run."""
    array = contiguous(array, array.shape, array.dtype)
    with driver.activate(driver.device_of(array)):
        host = bits(array).copy_to_host()
        if array.stream:
            array.stream.synchronize()
    return host.view(array.dtype)


def to_dlpack(array, *, stream=None, max_version=None, dl_device=None, copy=None):
    """Return a DLPack capsule of an array, for use on a stream, which waits for the array's own."""
    if dl_device not in (None, dlpack_device(array)):
        raise BufferError(f"the array is on {device_of(array)}; it is not copied to device {dl_device}")
    with driver.activate(driver.device_of(array)):
        array = _gather(array, array.shape, empty_like(array)) if copy else array
        reader = stream or LEGACY_DEFAULT_STREAM
        writer = driver.stream_pointer(array.stream) or LEGACY_DEFAULT_STREAM
        if reader not in (-1, writer):
            driver.wait(driver.stream_at(reader), array.stream)
        return dlpack.give(array, driver.address(array), driver.device_of(array))


def dlpack_device(array):
    """Return the type and the number of the device that an array is on, as DLPack counts them."""
    return dlpack.CUDA, driver.device_of(array)


def item(array):
    """Return the only element of an array as a Python number."""
    return to_host(array).item()


def copy(array):
    """Return a C-contiguous copy of an array."""
    return _gather(array, array.shape, empty_like(array))


def copy_to(destination, array):
    """Write an array into another of the same shape and dtype."""
    _gather(array, array.shape, destination)


def add_to(destination, array):
    """Add an array to another of the same shape and floating dtype, which is C-contiguous."""
    _launch(combine_kernel(operator.add, True), destination, flat(destination), flat(array))


def as_scalar(array):
    """Return an array without axes as it is: reading its number would make the host wait for the device."""
    return array


def cast(array, dtype):
    """Return an array in a dtype, rounded once; itself where it has it already."""
    return array if array.dtype == dtype else _gather(array, array.shape, empty_beside(array, array.shape, dtype))


def contiguous(array, shape, dtype):
    """Return an array broadcast to a shape in a dtype, C-contiguous; itself where it is that already."""
    if array.dtype == dtype and array.shape == shape and array.is_c_contiguous():
        return array
    return _gather(array, shape, empty_beside(array, shape, dtype))


def overlap(array, other):
    """Tell whether two arrays may share memory: whether the ranges of their addresses overlap."""
    if not (array.size and other.size) or driver.device_of(array) != driver.device_of(other):
        return False
    (start, stop), (other_start, other_stop) = _extent(array), _extent(other)
    return start < other_stop and other_start < stop


def is_writable_and_contiguous(array):
    """Tell whether a kernel can write into an array."""
    return array.is_c_contiguous()


def add(a, b):
    """Return a + b, broadcast; b may be a Python number."""
    return _combine(operator.add, a, b)


def subtract(a, b):
    """Return a - b, broadcast; b may be a Python number."""
    return _combine(operator.sub, a, b)


def multiply(a, b):
    """Return a * b, broadcast; b may be a Python number."""
    return _combine(operator.mul, a, b)


def divide(a, number):
    """Return a / number, where a is floating."""
    return _combine(operator.truediv, a, number)


def sign(a):
    """Return -1, 0 or 1 for each element, NaN for NaN."""
    return _combine(_compare, a, 0)


def sum_to(array, shape, dtype):
    """Sum an array over the axes along which ``shape`` was broadcast to it: in float64, rounded once.

    Each pass adds up to ``FAN`` elements a thread, in a fixed order, until one sum an output is left.
    """
    array = contiguous(array, array.shape, compute_dtype(array.dtype))
    padded = (1,) * (array.ndim - len(shape)) + tuple(shape)
    strides = [stride // array.dtype.itemsize for stride in array.strides]
    axes = list(zip(array.shape, strides, padded, strict=True))
    kept = _merged([(length, stride) for length, stride, wanted in axes if length == wanted])
    summed = _merged([(length, stride) for length, stride, wanted in axes if length != wanted])
    outputs, count = math.prod(kept[0]), math.prod(summed[0])
    if array.size == 0:
        return from_host(np.zeros(shape, dtype), device_of(array))
    sums = flat(array)
    while count > 1:
        rows = -(-count // FAN)
        summed_inside = summed[1][-1] < kept[1][-1]
        sums = _add_up(sums, kept, summed, (outputs, rows, count), summed_inside)
        kept = (outputs,), (rows if summed_inside else 1,)
        summed, count = ((rows,), (1 if summed_inside else outputs,)), rows
    return cast(driver.reinterpret(sums, tuple(shape), sums.dtype), dtype)


def _add_up(source, kept, summed, sizes, summed_inside):
    outputs, rows, _ = sizes
    sums = empty_beside(source, (outputs * rows,), np.dtype(np.float64))
    layout = (*_unsigned(kept), *_unsigned(summed))
    return _launch(sums_kernel(), sums, source, *layout, *map(np.uint64, sizes), summed_inside)


@functools.cache
def sums_kernel():
    """Return the kernel in which each thread adds up to ``FAN`` elements."""

    @cuda.jit
    def sums_kernel(
        source, kept_shape, kept_strides, summed_shape, summed_strides, outputs, rows, count, summed_inside, sums
    ):
        task = np.uint64(cuda.grid(1))
        while task < outputs * rows:
            output, row = (task // rows, task % rows) if summed_inside else (task % outputs, task // outputs)
            start = offset(output, kept_shape, kept_strides)
            total = 0.0
            while row < count:
                total += np.float64(source[start + offset(row, summed_shape, summed_strides)])
                row += rows
            sums[task] = total
            task += np.uint64(cuda.gridsize(1))

    return sums_kernel


def _combine(operation, a, b):
    dtype = _result_dtype(a, b)
    compute = compute_dtype(dtype)
    shape = np.broadcast_shapes(a.shape, b.shape) if is_array(b) else tuple(a.shape)
    a = contiguous(a, shape, compute)
    b = flat(contiguous(b, shape, compute)) if is_array(b) else driver.number(b, compute)
    result = empty_beside(a, shape, compute)
    return cast(_launch(combine_kernel(operation, is_array(b)), result, flat(a), b), dtype)


def _result_dtype(a, b):
    """Return the dtype of a + b; a Python number promotes no float."""
    if is_array(b):
        return np.result_type(a.dtype, b.dtype)
    return np.result_type(a.dtype, b) if a.dtype.kind in "iu" else a.dtype


@functools.cache
def combine_kernel(operation, with_array):
    """Return the kernel of an operation of two arrays, or of an array and a number."""
    other = _element if with_array else _number

    @cuda.jit
    def combine_kernel(a, b, result):
        k = np.uint64(cuda.grid(1))
        while k < np.uint64(result.size):
            result[k] = operation(a[k], other(b, k))
            k += np.uint64(cuda.gridsize(1))

    return combine_kernel


@inline
def _element(array, k):
    return array[k]


@inline
def _number(number, k):
    return number


@inline
def _compare(a, b):
    number = type(a)
    return a if a != a else number(a > b) - number(a < b)


OPERATIONS = operator.add, operator.sub, operator.mul, operator.truediv, _compare


def _gather(array, shape, destination):
    """Write an array, broadcast to a shape, into a C-contiguous array of that many elements."""
    if destination.size == 0:
        return destination
    layout = _broadcast_strides(array, shape)
    source, start = _memory_of(array)
    kernel = gather_kernel(array.dtype, destination.dtype)
    return _launch(kernel, destination, source, start, *_unsigned(_merged(layout)))


@functools.cache
def gather_kernel(source_dtype, dtype):
    """Return the kernel that copies elements from where strides say into a C-contiguous array."""
    convert = converter(source_dtype, dtype)

    @cuda.jit
    def gather_kernel(source, start, shape, strides, destination):
        k = np.uint64(cuda.grid(1))
        while k < np.uint64(destination.size):
            destination[k] = convert(source[start + offset(k, shape, strides)])
            k += np.uint64(cuda.gridsize(1))

    return gather_kernel


def _launch(kernel, result, source, *arguments):
    """Queue a kernel that fills a result on the stream of the arrays that it takes, and return the result."""
    if result.size:
        device = driver.device_of(source)
        with driver.activate(device):
            stream = driver.common_stream(*filter(is_array, (source, *arguments, result)))
            driver.launch(kernel, driver.grid(result.size, device), stream, source, *arguments, flat(bits(result)))
            driver.leave_on(result, stream)
    return result


def _broadcast_strides(array, shape):
    """Return the axes of an array broadcast to a shape, each its length and its stride in elements."""
    lead = len(shape) - array.ndim
    strides = [stride // array.dtype.itemsize for stride in array.strides]
    strides = [0 if length == 1 else stride for length, stride in zip(array.shape, strides, strict=True)]
    return list(zip(shape, [0] * lead + strides, strict=True))


def _merged(axes):
    """Return the shape and the strides of the fewest axes that pass over the same elements in the same order."""
    merged = [(1, 0)]
    for length, stride in axes:
        outer_length, outer_stride = merged[-1]
        if outer_length == 1 or outer_stride == length * stride:
            merged[-1] = (outer_length * length, stride)
        elif length > 1:
            merged.append((length, stride))
    return tuple(zip(*merged, strict=True))


def _unsigned(layout):
    shape, strides = layout
    return tuple(map(np.uint64, shape)), tuple(map(np.int64, strides))


def _memory_of(array):
    """Return all the memory between an array's first and last address as a vector, and where its element 0 lies."""
    if array.is_c_contiguous():
        return flat(bits(array)), 0
    dtype = bits_dtype(array.dtype)
    start, stop = _extent(array)
    length = (stop - start) // dtype.itemsize
    source = driver.array_at(start, (length,), (dtype.itemsize,), dtype, owner=array, stream=array.stream)
    return source, (driver.address(array) - start) // dtype.itemsize


def _extent(array):
    """Return the first address of an array and the one behind its last."""
    return driver.extent(driver.address(array), array.shape, array.strides, array.dtype.itemsize)


def flat(array):
    """Return a C-contiguous array as a vector."""
    return array if array.ndim == 1 else driver.reinterpret(array, (array.size,), array.dtype)


def bits(array):
    """Return a C-contiguous array as kernels and copies see it: bfloat16, which numba does not know, as its bits."""
    dtype = bits_dtype(array.dtype)
    return array if dtype == array.dtype else driver.reinterpret(array, tuple(array.shape), dtype)
