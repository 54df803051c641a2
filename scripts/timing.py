"""Time calls side by side in one process: batches of about 10 ms, A B A B, medians.

Before each batch the machine rests for two milliseconds, so that the idle threads of the pool that ran last stop
spinning, and one call that is not timed brings back what the others drove from the caches.
"""

import gc
import itertools
import time

import numpy as np

REST_SECONDS = 0.002


class Contender:
    """Something to time. Making one makes each call once, and keeps the time of the very first as ``first_call``.

    Parameters
    ----------
    name : str
    calls : sequence of callables
        Without arguments; they do the same work on different buffers and are taken in turn.
    clock : callable, default :func:`host_clock`
        Takes a list of calls, makes them and returns the seconds that they took.
    """

    def __init__(self, name, calls, clock=None):
        self.name = name
        self._calls = itertools.cycle(calls)
        self.clock = clock or host_clock
        self.first_call = self.seconds(1)
        if len(calls) > 1:
            self.seconds(len(calls) - 1)

    def seconds(self, count):
        """Make the next calls and return how long they took together."""
        return self.clock(list(itertools.islice(self._calls, count)))


class Times:
    """What one contender took for a call: the first call, compilation included, and later ones, batch by batch."""

    def __init__(self, first_call):
        self.first_call = first_call
        self.per_call = []

    @property
    def median(self):
        """Seconds a call."""
        return float(np.median(self.per_call))

    def percentile(self, percent):
        """Return the seconds a call that ``percent`` of the batches stayed below."""
        return float(np.percentile(self.per_call, percent))


def host_clock(calls):
    """Make the calls and return the seconds they took by the host's clock."""
    start = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - start


def event_clock(calls):
    """Make the calls and return the seconds between two events on CUDA's default stream."""
    from numba import cuda

    begin, end = cuda.event(), cuda.event()
    begin.record()
    for call in calls:
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def interleave(contenders, seconds=3.0, batch_seconds=0.01, min_rounds=7, max_rounds=99, max_calls=2**16):
    """Time the contenders in turn, round after round.

    Parameters
    ----------
    contenders : sequence of Contender
    seconds : float
        About how long all rounds together may take; ``min_rounds`` are made in any case.
    batch_seconds : float
        About how long the calls of one contender in one round take; a longer call is made once.
    max_calls : int
        The most calls in a batch, whatever the clock says: that of an emulated device hardly moves.

    Returns
    -------
    list of list of float
        For each contender its seconds a call, one number a round.
    """
    counts = [_calls_a_batch(contender, batch_seconds, max_calls) for contender in contenders]
    per_call = [[] for _ in contenders]
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(max_rounds):
            if done >= min_rounds and time.perf_counter() - start > seconds:
                break
            for contender, count, times in zip(contenders, counts, per_call, strict=True):
                times.append(_batch_seconds(contender, count) / count)
    finally:
        gc.enable()
    return per_call


def _batch_seconds(contender, count):
    time.sleep(REST_SECONDS)
    contender.seconds(1)
    return contender.seconds(count)


def _calls_a_batch(contender, batch_seconds, max_calls):
    count = 1
    while (elapsed := _undisturbed_seconds(contender, count)) < batch_seconds / 2 and count < max_calls:
        count *= 2
    return max(1, round(count * min(1, batch_seconds / elapsed)))


def _undisturbed_seconds(contender, count):
    """Return the least of a few takes: one that waited for a processor says nothing of the calls."""
    return min(contender.seconds(count) for _ in range(3))
