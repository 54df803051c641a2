"""From a device to the backend that computes there. Both backends hold the modules ``arrays`` and ``pairs``."""

import functools


@functools.cache
def backend(device):
    """Return the backend of a device: 'cpu', 'cuda' or 'cuda:N'.

    Raises
    ------
    ValueError
        If the device is none of these.
    RuntimeError
        If CUDA cannot be used here: no GPU, no driver, or the extra is missing.
    """
    if check_device(device) == "cpu":
        from numbarank import _cpu as module  # imports by name are not seen by what makes one program of many modules
    else:
        from numbarank import _cuda as module
    return module


def check_device(device):
    """Return ``device`` if it is well formed, or raise ValueError."""
    if isinstance(device, str):
        name, _, number = device.partition(":")
        if device == "cpu" or device == "cuda" or (name == "cuda" and number.isdecimal()):
            return device
    came = repr(device) if type(device) is str else f"a {type(device).__name__}"
    raise ValueError(f"device is {came}; it must be 'cpu', 'cuda' or 'cuda:N'")
