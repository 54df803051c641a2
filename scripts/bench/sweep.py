"""Calls timed side by side, at one size after the other, and the record of all that was timed."""

import functools
from pathlib import Path

import numpy as np

from . import roofline
from .pairs import FLOAT32, Pairs
from .peers import IMPLEMENTATIONS, OURS
from .timing import Candidate, event_clock, interleave

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
CUDA_CACHE_BYTES = 2**27
DEFAULT_CACHE_BYTES = 2**25
QUICKLY = {"seconds": 0.05, "batch_seconds": 0.001, "min_rounds": 2, "max_calls": 16}


class Sweep:
    """Times calls and keeps their rows.

    Parameters
    ----------
    options : argparse.Namespace
        With ``seconds``, about how long one comparison may take, and ``rounds``, how many it has at least; ``quick``,
        whether only to try the script; and ``peers``, the names of those that may take part.
    shrink : int
        What ``quick`` divides sizes by.
    """

    def __init__(self, options, shrink=1):
        self.options = options
        self.rows = []
        self.left_out = {}
        self._shrink = shrink if options.quick else 1
        thoroughly = {"seconds": options.seconds, "min_rounds": options.rounds}
        self._interleave = functools.partial(interleave, **QUICKLY if options.quick else thoroughly)

    def size(self, count):
        """Return a number of pairs or items, fewer if this is only to try the script."""
        return max(1, count // self._shrink)

    def measure(self, work, size, names, setting=FLOAT32, with_roofline=False, rotate=False):
        """Time implementations on the same random pairs and return their Times by name.

        Parameters
        ----------
        work : {'forward', 'gradients'}
        size : int
            How many pairs.
        names : sequence of str
            Who takes part; who is not installed, or cannot, is left out.
        with_roofline : bool
            Whether the bare kernels of :mod:`roofline` take part too; they appear as their fastest, by 'roofline'.
        rotate : bool
            Whether several sets of pairs are taken in turn, so that no cache holds those that come next.
        """
        bytes_moved = size * setting.bytes_per_pair(work)
        count = sets_of_buffers(bytes_moved, setting.device) if rotate else 1
        sets = [Pairs.random(size, setting, seed) for seed in range(count)]
        allowed = [name for name in dict.fromkeys(names) if name.startswith(OURS) or name in self.options.peers]
        candidates = self._candidates(work, sets, allowed, setting)
        if with_roofline:
            candidates += self._bare_kernels(work, sets, setting)
        times = self._interleave(candidates)
        kernels = [taken for name, taken in times.items() if name.startswith(roofline.ROOFLINE)]
        fastest = min(kernels, key=lambda taken: taken.median, default=None)
        for candidate in candidates:
            clock = "events" if candidate.clock is event_clock else "host"
            conditions = {**vars(setting), "sets_of_buffers": count, "clock": clock}
            self._keep(work, size, candidate.name, times, bytes_moved, fastest, **conditions)
        return times | ({roofline.ROOFLINE: fastest} if kernels else {})

    def compare(self, work, size, calls):
        """Time calls on the CPU by name, keep their rows, and return their Times by name."""
        times = self._interleave([Candidate(name, [call]) for name, call in calls.items()])
        for name in times:
            self._keep(work, size, name, times, clock="host")
        return times

    def leave_out(self, name, reason):
        """Keep, and print if it is new, why something is not timed: an error or words."""
        if isinstance(reason, ModuleNotFoundError):
            reason = f"{reason.name} is not installed"
        reason = str(reason).strip().split("\n")[0]
        if self.left_out.get(name) != reason:
            print(f"left out: {name}: {reason}", flush=True)
        self.left_out[name] = reason

    def _keep(self, work, size, name, times, bytes_moved=None, fastest_kernel=None, **conditions):
        taken = times[name]
        figures = {
            "median_seconds": taken.median,
            "p20_seconds": taken.percentile(20),
            "p80_seconds": taken.percentile(80),
            "rounds": len(taken.per_call),
            "first_call_seconds": taken.first_call,
            "bytes": bytes_moved,
            "gb_per_s": bytes_moved and bytes_moved / taken.median / 1e9,
            "share_of_roofline": fastest_kernel and fastest_kernel.median / taken.median,
            "times_numbarank": taken.median / times[OURS].median if OURS in times else None,
        }
        self.rows.append({"work": work, "pairs": size, "peer": name, **conditions, **figures})

    def _candidates(self, work, sets, names, setting):
        candidates, expected = [], None
        for name in names:
            try:
                implementation = IMPLEMENTATIONS[name](setting)
                calls = [getattr(implementation, work)(pairs) for pairs in sets]
                candidate = Candidate(name, calls, implementation.clock, implementation.mean_loss)
            except Exception as error:
                if name.startswith(OURS):
                    raise
                self.leave_out(name, error)
                continue
            mean_loss = candidate.first_result
            expected = mean_loss if expected is None else expected
            if np.isclose(mean_loss, expected, rtol=TOLERANCES[setting.dtype], equal_nan=True):
                candidates.append(candidate)
            else:
                self.leave_out(name, f"its mean loss is {mean_loss:.9g}, numbarank's {expected:.9g}")
        return candidates

    def _bare_kernels(self, work, sets, setting):
        if setting.device == "cuda":
            calls = roofline.device_copy(sets[0].x1.size * setting.bytes_per_pair(work))
            return [Candidate(name, [call], event_clock) for name, call in calls.items()]
        written = setting.arrays_written(work)
        if written > 2 and setting.target_dtype != "same":
            return []
        parallel = not self.options.quick  # the parallel ones take long to compile
        kernels = [
            roofline.kernels(pairs.arrays(), [np.ones_like(pairs.x1) for _ in range(written)], parallel)
            for pairs in sets
        ]
        return [Candidate(name, [calls[name] for calls in kernels]) for name in kernels[0]]


def sets_of_buffers(bytes_moved, device):
    """Return how many sets keep caches from helping: 1 where a call needs little, as in a small training step."""
    cache = CUDA_CACHE_BYTES if device == "cuda" else last_level_cache_bytes()
    return -(-4 * cache // bytes_moved) if bytes_moved > cache / 8 else 1


@functools.cache
def last_level_cache_bytes():
    """Return the size of the largest cache that Linux names, or 32 MiB."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size[:-1]) << {"K": 10, "M": 20}[size[-1]] for size in sizes), default=DEFAULT_CACHE_BYTES)
