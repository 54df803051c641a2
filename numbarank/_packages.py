"""CuPy and PyTorch as packages of CUDA arrays; they are asked where a caller has loaded them, and never imported."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

LEGACY_DEFAULT_STREAM = 1


class Package(NamedTuple):
    """What a package offers beside one of its CUDA arrays.

    ``current_stream()`` is the handle of the stream that it works on now, ``allocate(bytes)`` an array of memory from
    its pool for use on that stream; ``from_dlpack(array)`` makes an array of the package.
    """

    current_stream: Callable[[], int]
    allocate: Callable[[int], Any]
    from_dlpack: Callable[[Any], Any]


def is_a(value, module, name):
    """Tell whether a value is of a class of a package, which is loaded if that is so, and never imported for it."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and issubclass(type(value), cls)


def package_of(value):
    """Return the package of a CUDA array, or None."""
    if is_a(value, "torch", "Tensor"):
        return _torch(value.device)
    return _cupy() if is_a(value, "cupy", "ndarray") else None


def _torch(device):
    torch = sys.modules["torch"]
    return Package(
        lambda: torch.cuda.current_stream(device).cuda_stream or LEGACY_DEFAULT_STREAM,
        lambda size: torch.empty(size, dtype=torch.uint8, device=device),
        torch.from_dlpack,
    )


def _cupy():
    cupy = sys.modules["cupy"]
    return Package(
        lambda: cupy.cuda.get_current_stream().ptr or LEGACY_DEFAULT_STREAM,
        lambda size: cupy.empty(size, cupy.uint8),
        cupy.from_dlpack,
    )
