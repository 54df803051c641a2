"""The door to numba.cuda, and the only file that imports it: devices, streams, launches and views of memory."""

import contextlib
import functools
import threading
import types
import warnings

import numpy as np

try:
    from numba import cuda
    from numba.core import config
    from numba.cuda.cudadrv import devicearray
    from numba.cuda.cudadrv.driver import CudaAPIError
    from numba.cuda.extending import intrinsic  # noqa: F401

    if config.ENABLE_CUDASIM:
        from numba.cuda.simulator.kernel import _get_kernel_context as _context
    else:
        from numba.cuda.cudadrv.driver import MemoryPointer, device_extents, get_devptr_for_active_ctx

    _problem = "no usable NVIDIA GPU and driver were found" if not cuda.is_available() else None
except (ImportError, AttributeError, OSError, RuntimeError) as error:
    _problem = str(error)
if _problem:
    raise RuntimeError(
        f"CUDA cannot be used here: {_problem}; it needs an NVIDIA GPU with its driver, and the extra "
        "for its CUDA version: pip install 'numbarank[cuda12]' or pip install 'numbarank[cuda13]'"
    )

SIMULATING = bool(config.ENABLE_CUDASIM)
DeviceArray = devicearray.FakeCUDAArray if SIMULATING else devicearray.DeviceNDArray

# the simulator starts a Python thread for every CUDA thread
THREADS = 8 if SIMULATING else 256
_BLOCKS_A_PROCESSOR = 16
_SIMULATED_BLOCKS = 4
_simulation = threading.Lock()
new_event = cuda.event if SIMULATING else functools.partial(cuda.event, timing=False)


class _Events(threading.local):
    """One event for each thread and device, used again and again: a wait is for what was recorded before it."""

    def __init__(self):
        self.of_device = {}

    def __getitem__(self, device):
        if device not in self.of_device:
            self.of_device[device] = new_event()
        return self.of_device[device]


_events = _Events()


class _Simulated:
    """numba.cuda inside of the kernel that the simulator runs: it puts that into the file of the kernel alone."""

    def __getattr__(self, name):
        return getattr(_context(), name)


# what device functions use that are in another file than their kernels
inside = _Simulated() if SIMULATING else cuda


def inline(function):
    """Compile a device function into its callers; the simulator calls it as it is."""
    return function if SIMULATING else cuda.jit(device=True, inline="always")(function)


def grid(tasks, device):
    """Return how many blocks share the tasks of a launch, which loops over what is more than a task a thread."""
    return max(1, min(-(-tasks // THREADS), max_blocks(device)))


@functools.cache
def max_blocks(device):
    """Return the most blocks of any launch on a device."""
    if SIMULATING:
        return _SIMULATED_BLOCKS
    return _BLOCKS_A_PROCESSOR * cuda.gpus[device].MULTIPROCESSOR_COUNT


def launch(kernel, blocks, stream, *arguments):
    """Queue a kernel on the current device."""
    _configured(kernel, blocks, stream_pointer(stream), current_device())(*arguments)


def _configure(kernel, blocks, pointer, device):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba warns of small grids
        return kernel[blocks, THREADS, cuda.external_stream(pointer) if pointer else 0]


def _simulate(kernel, blocks, pointer, device):
    def run(*arguments):
        # one simulated kernel at a time; NumPy's scalars warn where a GPU computes NaN or infinity
        with _simulation, warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            kernel[blocks, THREADS](*arguments)

    return run


_configured = _simulate if SIMULATING else functools.lru_cache(maxsize=4096)(_configure)


@functools.cache
def device_count():
    """Return how many devices there are."""
    return len(cuda.gpus)


def device_name():
    """Return the name of the current device."""
    name = "numba's CUDA simulator" if SIMULATING else cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else name


def current_device():
    """Return the number of the device that launches go to."""
    return 0 if device_count() == 1 else cuda.get_current_device().id


def device_number(device):
    """Return the number in 'cuda:N'; the current device's for 'cuda'."""
    number = int(device.partition(":")[2] or current_device())
    if not 0 <= number < device_count():
        raise ValueError(f"device is {device!r}; this machine has {device_count()} CUDA device(s), counted from 0")
    return number


def device_of(array):
    """Return the number of the device that an array is on."""
    return 0 if device_count() == 1 else array.gpu_data.context.device.id


def activate(device):
    """Return a context in which allocations and launches go to a device."""
    return contextlib.nullcontext() if device == current_device() else cuda.gpus[device]


def stream_pointer(stream):
    """Return a stream's handle; 0 stands for the default stream."""
    return int(stream) if stream and not SIMULATING else 0


def stream_at(pointer, owner=None):
    """Return the stream with a handle that another package gave; it keeps the owner alive."""
    if SIMULATING:
        return 0
    stream = cuda.external_stream(pointer)
    stream.owner = owner
    return stream


def on_stream(arrays, pointer, owner):
    """Return arrays of one device for use on the stream with a handle, which waits for those that they are on."""
    others = {stream_pointer(array.stream): array.stream for array in arrays}
    others.pop(pointer, None)
    with activate(device_of(arrays[0])):
        stream = stream_at(pointer, owner)
        for other in others.values():
            wait(stream, other)
    return [array.bind(stream) for array in arrays]


def common_stream(*arrays):
    """Return a stream on which the arrays may be used: the first but the default one, which waits for the others."""
    streams = {stream_pointer(array.stream): array.stream for array in arrays}
    common = next(filter(None, streams), 0)
    for pointer, stream in streams.items():
        if pointer != common:
            wait(streams[common], stream)
    return streams.get(common, 0)


def leave_on(array, stream):
    """Leave a result on the stream that it was written on; the one that it was on before waits for that."""
    if stream_pointer(array.stream) != stream_pointer(stream):
        wait(array.stream, stream)
    array.stream = stream


def wait(stream, other):
    """Let a stream wait for what is queued on another so far; the host does not wait."""
    event = _events[current_device()]
    event.record(other)
    event.wait(stream)


def empty(shape, dtype, stream=0):
    """Return an uninitialised C-contiguous array on the current device."""
    return cuda.device_array(shape, dtype, stream=stream)


def elements(array, start, stop):
    """Return a vector's elements from ``start`` to ``stop``."""
    if SIMULATING:
        return DeviceArray(array._ary[start:stop], array.stream)
    size = array.dtype.itemsize
    memory = array.gpu_data.view(start * size, stop * size)
    return DeviceArray((stop - start,), (size,), array.dtype, stream=array.stream, gpu_data=memory)


def number(value, dtype):
    """Return a Python number as a kernel takes it: in the compute dtype, lest it promote the rest."""
    with np.errstate(all="ignore"):
        return dtype.type(value)


def reinterpret(array, shape, dtype):
    """Return the memory of a C-contiguous array under another shape, and a dtype of the same size."""
    if SIMULATING:
        return DeviceArray(array._ary.reshape(shape).view(dtype), array.stream)
    strides = contiguous_strides(shape, dtype.itemsize)
    return DeviceArray(shape, strides, dtype, stream=array.stream, gpu_data=array.gpu_data)


def relabel(array, dtype):
    """Return the memory of an array with a dtype of the same size; strides may be any."""
    if SIMULATING:
        return DeviceArray(array._ary.view(dtype), array.stream)
    return DeviceArray(array.shape, array.strides, dtype, stream=array.stream, gpu_data=array.gpu_data)


def contiguous_strides(shape, itemsize):
    """Return the strides of a C-contiguous array."""
    strides = []
    for length in reversed(shape):
        strides.append(itemsize)
        itemsize *= length
    return tuple(reversed(strides))


def address(array):
    """Return the address of an array's first element."""
    if SIMULATING:
        return array._ary.__array_interface__["data"][0]
    pointer = array.device_ctypes_pointer
    return int(getattr(pointer, "value", pointer) or 0)


def extent(pointer, shape, strides, itemsize):
    """Return the first address of an array of one element at least, and the one behind its last."""
    steps = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    low, high = sum(step for step in steps if step < 0), sum(step for step in steps if step > 0)
    return pointer + low, pointer + high + itemsize


def check_allocated(start, stop):
    """Raise BufferError unless the driver has allocated all bytes between two addresses on the current device.

    A kernel that reads others ends the use of CUDA in the whole process.
    """
    if SIMULATING:
        return
    place = start
    while place < stop:  # memory that grows, as PyTorch's expandable segments do, is several allocations in a row
        try:
            memory = MemoryPointer(cuda.current_context(), get_devptr_for_active_ctx(place), 1)
            place = int(device_extents(memory)[1])
        except CudaAPIError as error:
            where = "is not on its device" if place == start else f"is allocated to {place:#x} only"
            raise BufferError(f"a device array at {start:#x} to {stop:#x} {where}: {error}") from error


def array_at(pointer, shape, strides, dtype, owner, stream=0):
    """Return the array at an address on the current device; it keeps the owner alive. numba knows the dtype."""
    interface = {
        "data": (pointer, False),
        "shape": tuple(shape),
        "strides": tuple(strides),
        "typestr": dtype.str,
        "version": 3,
    }
    if SIMULATING:
        memory = types.SimpleNamespace(__array_interface__=interface, owner=owner)
        return DeviceArray(np.asarray(memory), stream)
    array = cuda.from_cuda_array_interface(interface, owner=owner, sync=False)
    array.stream = stream
    return array
