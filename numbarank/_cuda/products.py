"""Matrix products, which CuPy computes on views of the memory; the only file that imports it."""

import contextlib

from numbarank._cuda import driver

_PROBLEM = (
    "queries and items on a device need CuPy for their matrix products: pip install 'numbarank[cuda12,cupy12]' or "
    "pip install 'numbarank[cuda13,cupy13]'; or pass copies in host memory, as in numbarank.Tensor(queries).cpu()"
)


def check():
    """Raise RuntimeError where there is no CuPy."""
    _cupy()


def matmul(a, b, out, stream, transpose_a=False, transpose_b=False):
    """Queue the product of two matrices on a stream; all are C-contiguous, of one dtype, on the current device."""
    cupy = _cupy()
    with _on(cupy, stream):
        a, b, out = _view(cupy, a), _view(cupy, b), _view(cupy, out)
        cupy.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=out)


def _cupy():
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(_PROBLEM) from error
    return cupy


@contextlib.contextmanager
def _on(cupy, stream):
    """Let CuPy work on the current device of numba, and on a stream."""
    device, pointer = driver.current_device(), driver.stream_pointer(stream)
    with cupy.cuda.Device(device), cupy.cuda.ExternalStream(pointer) if pointer else cupy.cuda.Stream.null:
        yield


def _view(cupy, array):
    """Return CuPy's array on the memory of another: its own way to take one over may wait for the array's stream."""
    memory = cupy.cuda.UnownedMemory(driver.address(array), array.nbytes, array, driver.current_device())
    return cupy.ndarray(tuple(array.shape), array.dtype, cupy.cuda.MemoryPointer(memory, 0))
