"""Device memory that calls use again: where memory is given back, the driver waits for all that is queued."""

import collections
import contextlib
import math
import threading

import numpy as np

from numbarank._cuda import driver

_FLOAT64 = np.dtype(np.float64)
_LARGEST_KEPT = 2**26  # bytes
_MOST_STREAMS = 16
_CELLS = 128


class _Kept(threading.local):
    """What each thread keeps: a workspace for each of its latest streams, and the memory of its next totals."""

    def __init__(self):
        self.workspaces = collections.OrderedDict()
        self.cells = {}


_kept = _Kept()


class _Workspace:
    """The memory of a device for what calls on one stream compute on the way."""

    def __init__(self):
        self.shapes, self.arrays, self.memory = None, (), None
        self.last_use = driver.new_event()

    def arrays_of(self, shapes):
        if shapes != self.shapes:
            sizes = [math.prod(shape) for shape in shapes]
            if self.memory is None or self.memory.size < sum(sizes):
                self.memory = driver.empty((sum(sizes),), _FLOAT64)
            self.shapes, self.arrays = shapes, tuple(_split(self.memory, sizes, shapes))
        return self.arrays


@contextlib.contextmanager
def workspace(device, stream, *shapes):
    """Yield uninitialised float64 arrays on the current device, for what is queued on a stream meanwhile."""
    key = device, driver.stream_pointer(stream)
    found = _kept.workspaces.pop(key, None) or _Workspace()
    if key[1]:  # the driver may give the handle to another stream, while the last use is still queued
        found.last_use.wait(stream)
    yield found.arrays_of(shapes)
    if key[1]:
        found.last_use.record(stream)
    if found.memory.nbytes <= _LARGEST_KEPT:
        _kept.workspaces[key] = found
        if len(_kept.workspaces) > _MOST_STREAMS:
            _kept.workspaces.popitem(last=False)


def _split(memory, sizes, shapes):
    start = 0
    for size, shape in zip(sizes, shapes, strict=True):
        yield driver.reinterpret(driver.elements(memory, start, start + size), shape, _FLOAT64)
        start += size


def cell(dtype, device, stream):
    """Return a vector of one element on the current device; many such share their memory."""
    memory, used = _kept.cells.get((device, dtype), (None, _CELLS))
    if used == _CELLS:
        memory, used = driver.empty((_CELLS,), dtype), 0
    _kept.cells[device, dtype] = memory, used + 1
    one = driver.elements(memory, used, used + 1)
    one.stream = stream
    return one
