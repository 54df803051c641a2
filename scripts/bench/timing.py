"""Time calls side by side in one process: batches of about 10 ms, A B A B, medians.

Before each batch the machine rests for two milliseconds, so that the idle threads of the pool that ran last stop
spinning, and one call that is not timed brings back what the others drove from the caches. Calls of more than 0.2 s do
without: what a cache holds makes no difference to them.
"""

import gc
import itertools
import time
from dataclasses import dataclass, field

import numpy as np

REST_SECONDS = 0.002
LONG_SECONDS = 0.2  # nobody waits that long for a processor, and what a cache holds makes no difference


class Candidate:
    """Something to time. Making one makes each call once, and keeps the time of the very first as ``first_call``.

    Parameters
    ----------
    name : str
    calls : sequence of callables
        Without arguments; they do the same work on different buffers and are taken in turn.
    clock : callable, default :func:`host_clock`
        Takes a list of calls, makes them and returns the seconds that they took.
    summary : callable, optional
        What it makes of the very first call's result is kept as ``first_result``.
    """

    def __init__(self, name, calls, clock=None, summary=lambda result: None):
        self.name = name
        self._calls = itertools.cycle(calls)
        self.clock = clock or host_clock
        call, results = next(self._calls), []
        self.first_call = self.clock([lambda: results.append(call())])
        self.first_result = summary(results.pop())
        if len(calls) > 1:
            self.seconds(len(calls) - 1)

    def seconds(self, count):
        """Make the next calls and return how long they took together."""
        return self.clock(list(itertools.islice(self._calls, count)))


@dataclass
class Times:
    """What one candidate took per call: the first call, compilation included, and later ones, batch by batch."""

    first_call: float
    per_call: list = field(default_factory=list)

    @property
    def median(self):
        """Seconds per call."""
        return float(np.median(self.per_call))

    def percentile(self, percent):
        """Return the seconds per call that ``percent`` of the batches stayed below."""
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


def interleave(candidates, seconds=3.0, batch_seconds=0.01, min_rounds=5, max_rounds=99, max_calls=2**16):
    """Time the candidates in turn, round after round.

    Parameters
    ----------
    candidates : sequence of Candidate
    seconds : float
        About how long all rounds together may take; ``min_rounds`` are made in any case.
    batch_seconds : float
        About how long the calls of one candidate in one round take; a longer call is made once.
    max_calls : int
        The most calls in a batch, whatever the clock says: that of an emulated device hardly moves.

    Returns
    -------
    dict of Times
        By the name of each candidate.
    """
    batches = [_calls_per_batch(candidate, batch_seconds, max_calls) for candidate in candidates]
    times = {candidate.name: Times(candidate.first_call) for candidate in candidates}
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(max_rounds):
            if done >= min_rounds and time.perf_counter() - start > seconds:
                break
            for candidate, (count, long_call) in zip(candidates, batches, strict=True):
                is_made = done == 0 and long_call  # to find out that it is long was its first round
                taken = long_call if is_made else _batch_seconds(candidate, count, long_call) / count
                times[candidate.name].per_call.append(taken)
    finally:
        gc.enable()
    return times


def _batch_seconds(candidate, count, is_long):
    time.sleep(REST_SECONDS)
    if not is_long:
        candidate.seconds(1)
    return candidate.seconds(count)


def _calls_per_batch(candidate, batch_seconds, max_calls):
    """Return how many calls make a batch, and the seconds of a call that takes long, or None."""
    count = 1
    while (elapsed := _undisturbed_seconds(candidate, count)) < batch_seconds / 2 and count < max_calls:
        count *= 2
    batch = max(1, round(count * min(1, batch_seconds / elapsed)))
    return batch, elapsed / count if elapsed > LONG_SECONDS else None


def _undisturbed_seconds(candidate, count):
    """Return the least of a few takes: one that waited for a processor says nothing of the calls."""
    taken = candidate.seconds(count)
    return taken if taken > LONG_SECONDS else min(taken, candidate.seconds(count), candidate.seconds(count))
