"""Print, as JSON, the memory that calls take at their peak beyond the arrays that they return.

Each call runs once to be compiled, then under tracemalloc, which sees every NumPy array and Python object, and then
between two readings of /proc/self/status: the peak of the resident memory, reset before the call, less what was
resident then. That sees the compiled loops' own memory too, to about a quarter of a megabyte. The larger counts.
"""

import functools
import gc
import json
import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from .pairs import Pairs, Setting
from .peers import Numbarank, NumbarankOut

RESIDENT_READINGS = 3


def calls(dtype, size):
    """Return the calls by name; inputs are contiguous and of one dtype."""
    mean, none, scalar = Setting(dtype), Setting(dtype, reduction="none"), Setting(dtype, target_dtype="scalar")
    pairs = Pairs.random(size, mean)
    return {
        "forward": Numbarank(mean).forward(pairs),
        "forward, 'none'": Numbarank(none).forward(pairs),
        "forward, scalar target": Numbarank(scalar).forward(Pairs(pairs.x1, pairs.x2, 1.0)),
        "gradients": Numbarank(mean).gradients(pairs),
        "gradients, out=": NumbarankOut(mean).gradients(pairs),
        "gradients, scalar target": Numbarank(scalar).gradients(Pairs(pairs.x1, pairs.x2, 1.0)),
    }


def extra_bytes(call):
    """Return the bytes at the peak of a call beyond the arrays that it returns."""
    call()
    traced = max(0, _traced_peak(call))
    return max(traced, _lowest_resident_peak(call, enough=traced)) if _can_reset_peak() else traced


def _lowest_resident_peak(call, enough):
    """Return the lowest of a few readings, or the first that is low enough: no other would change what counts."""
    readings = []
    while len(readings) < RESIDENT_READINGS and min(readings, default=math.inf) > enough:
        readings.append(_resident_peak(call))
    return min(readings)


def _traced_peak(call):
    gc.collect()
    tracemalloc.start()
    result = call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - _new_bytes(call, result)


def _resident_peak(call):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = call()
    return _status("VmHWM") - before - _new_bytes(call, result)


def _can_reset_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def _new_bytes(call, result):
    """Return the size of the arrays in a result, without the caller's own buffers."""
    if isinstance(result, tuple):
        return sum(_new_bytes(call, part) for part in result)
    given = isinstance(call, functools.partial) and any(result is buffer for buffer in call.keywords.get("out", ()))
    return result.nbytes if isinstance(result, np.ndarray) and not given else 0


def main():
    dtype, *sizes = sys.argv[1:]
    cases = [
        {"dtype": dtype, "pairs": size, "work": work, "extra_bytes": extra_bytes(call)}
        for size in map(int, sizes)
        for work, call in calls(dtype, size).items()
    ]
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
