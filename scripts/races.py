"""Races between contestants on the same pairs, and the record of all that was timed."""

import functools
from pathlib import Path

import ceilings
import numpy as np
from contestants import CONTESTANTS, FLOAT32, OURS, Pairs
from timing import Contender, Times, event_clock, interleave

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
CUDA_CACHE_BYTES = 2**27
DEFAULT_CACHE_BYTES = 2**25
QUICKLY = {"seconds": 0.05, "batch_seconds": 0.001, "min_rounds": 2, "max_calls": 16, "parallel_ceilings": False}


class Races:
    """Runs races and keeps their rows.

    Parameters
    ----------
    peers : sequence of str
        The peers that may take part.
    seconds, batch_seconds, min_rounds, max_calls
        As in :func:`timing.interleave`.
    parallel_ceilings : bool
        Whether the parallel kernels among the ceilings take part: they take long to compile.
    """

    def __init__(self, peers, seconds=3.0, batch_seconds=0.01, min_rounds=7, max_calls=2**16, parallel_ceilings=True):
        self.rows = []
        self.left_out = {}
        self.peers = set(peers)
        self._interleave = functools.partial(
            interleave, seconds=seconds, batch_seconds=batch_seconds, min_rounds=min_rounds, max_calls=max_calls
        )
        self._parallel_ceilings = parallel_ceilings

    def race(self, work, size, names, setting=FLOAT32, ceiling=False, rotate=False):
        """Time contestants on the same random pairs and return their Times by name.

        Parameters
        ----------
        work : {'forward', 'gradients'}
        size : int
            How many pairs.
        names : sequence of str
            Who takes part; who is not installed, or cannot, is left out.
        ceiling : bool
            Whether the bare kernels of :mod:`ceilings` take part too; they appear as their fastest, by 'ceiling'.
        rotate : bool
            Whether several sets of pairs are taken in turn, so that no cache holds those that come next.
        """
        octets = size * setting.bytes_a_pair(work)
        count = sets_of_buffers(octets, setting.device) if rotate else 1
        sets = [Pairs.random(size, setting, seed) for seed in range(count)]
        allowed = [name for name in dict.fromkeys(names) if name.startswith(OURS) or name in self.peers]
        entries = self._contenders(work, sets, allowed, setting)
        if ceiling:
            entries += self._ceiling_contenders(work, sets, setting)
        times = self._time(entries)
        kernels = [name for name in times if name.startswith(ceilings.NAME)]
        fastest = times[min(kernels, key=lambda name: times[name].median)] if kernels else None
        conditions = {**vars(setting), "sets_of_buffers": count}
        for entry in entries:
            conditions["clock"] = "events" if entry.clock is event_clock else "host"
            self._keep(work, size, entry.name, times, octets=octets, ceiling=fastest, **conditions)
        return times | ({ceilings.NAME: fastest} if kernels else {})

    def compare(self, work, size, calls):
        """Time calls on the CPU by name, keep their rows, and return their Times by name."""
        times = self._time([Contender(name, [call]) for name, call in calls.items()])
        for name in times:
            self._keep(work, size, name, times, clock="host")
        return times

    def _time(self, contenders):
        times = {contender.name: Times(contender.first_call) for contender in contenders}
        for one, per_call in zip(times.values(), self._interleave(contenders), strict=True):
            one.per_call = per_call
        return times

    def _keep(self, work, size, name, times, octets=None, ceiling=None, **conditions):
        taken = times[name]
        figures = {
            "median_seconds": taken.median,
            "p20_seconds": taken.percentile(20),
            "p80_seconds": taken.percentile(80),
            "rounds": len(taken.per_call),
            "first_call_seconds": taken.first_call,
            "bytes": octets,
            "gb_per_s": octets and octets / taken.median / 1e9,
            "share_of_ceiling": ceiling and ceiling.median / taken.median,
            "times_numbarank": taken.median / times[OURS].median if OURS in times else None,
        }
        self.rows.append({"work": work, "pairs": size, "contestant": name, **conditions, **figures})

    def _contenders(self, work, sets, names, setting):
        entries, expected = [], None
        for name in names:
            try:
                contestant = CONTESTANTS[name](setting)
                calls = [getattr(contestant, work)(pairs) for pairs in sets]
                contender = Contender(name, calls, contestant.clock)
                mean_loss = contestant.mean_loss(calls[0]())
            except Exception as error:
                if name.startswith(OURS):
                    raise
                self._leave_out(name, error)
                continue
            expected = mean_loss if expected is None else expected
            if np.isclose(mean_loss, expected, rtol=TOLERANCES[setting.dtype], equal_nan=True):
                entries.append(contender)
            else:
                self._leave_out(name, f"its mean loss is {mean_loss:.9g}, numbarank's {expected:.9g}")
        return entries

    def _ceiling_contenders(self, work, sets, setting):
        octets = sets[0].x1.size * setting.bytes_a_pair(work)
        if setting.device == "cuda":
            return [Contender(name, [call], event_clock) for name, call in ceilings.device_copy(octets).items()]
        written = setting.arrays_written(work)
        if written > 2 and setting.target_dtype != "same":
            return []
        kernels = [
            ceilings.kernels(pairs.arrays(), [np.ones_like(pairs.x1) for _ in range(written)], self._parallel_ceilings)
            for pairs in sets
        ]
        return [Contender(name, [calls[name] for calls in kernels]) for name in kernels[0]]

    def _leave_out(self, name, reason):
        if isinstance(reason, ModuleNotFoundError):
            reason = f"{reason.name} is not installed"
        reason = str(reason).strip().split("\n")[0]
        if self.left_out.get(name) != reason:
            print(f"left out: {name}: {reason}")
        self.left_out[name] = reason


def sets_of_buffers(octets, device):
    """Return how many sets keep caches from helping: 1 where a call needs little, as in a small training step."""
    cache = CUDA_CACHE_BYTES if device == "cuda" else last_level_cache_bytes()
    return -(-4 * cache // octets) if octets > cache / 8 else 1


@functools.cache
def last_level_cache_bytes():
    """Return the size of the largest cache that Linux names, or 32 MiB."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(size[:-1]) << {"K": 10, "M": 20}[size[-1]] for size in sizes), default=DEFAULT_CACHE_BYTES)
