"""On which device, and on which of its streams, the arrays of a call are."""

from typing import Any, NamedTuple

from numbarank import _dispatch
from numbarank._arguments.words import blaming, is_whole, shown, type_name
from numbarank._packages import LEGACY_DEFAULT_STREAM


class Stream(NamedTuple):
    """A CUDA stream: its handle, and the object that keeps it alive."""

    handle: int
    owner: Any


def common_device(input1, input2, *others):
    """Return the one device that the inputs are on, or raise ValueError.

    Python numbers, and a target or weight in host memory that has no axes, fit every device.
    """
    inputs = [item for item in (input1, input2) if not item.weak]
    inputs += [item for item in others if item.array.ndim or item.device != "cpu"]
    return device_of_all(inputs) if inputs else "cpu"


def device_of_all(inputs):
    """Return the one device that all inputs are on, or raise ValueError."""
    if len({item.device for item in inputs}) > 1:
        places = ", ".join(f"{item.name} is on {item.device}" for item in inputs)
        raise ValueError(f"{places}; all must be on one device: move them with numbarank.tensor(x, device=...)")
    return inputs[0].device


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
    with blaming(f"stream is a {type_name(stream)} without a handle"):
        handle = stream if is_whole(stream) else _handle_of(stream)
    if not is_whole(handle):
        raise TypeError(
            f"stream is {shown(stream)}; it must be a stream of CuPy, PyTorch or numba, another with __cuda_stream__, "
            "or a handle: an int"
        )
    if not 0 < handle < 2**64:
        raise ValueError(
            f"stream is {shown(stream)}; a handle is more than 0: 1 is the legacy default stream, 2 the per-thread one"
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
    """Return the inputs, of which some may be None, for use on a stream where one is given.

    Raises
    ------
    ValueError
        Where they are on no device.
    """
    if stream is None:
        return inputs
    if device == "cpu":
        raise ValueError("stream is given and the inputs are on the CPU, which has no streams: leave stream out")
    there = [item for item in inputs if item is not None and item.device == device]
    bound = _dispatch.backend(device).arrays.on_stream([item.array for item in there], *stream)
    bound = {item.name: item._replace(array=array) for item, array in zip(there, bound, strict=True)}
    return tuple(item and bound.get(item.name, item) for item in inputs)
