"""How many threads a loop may use: one wherever more could end or block the process that we are a guest in.

A fork takes along no threads, so a child stays serial if its parent had started numba's pool. Most forks run Python's
hooks. Those of C code may not, but the process id tells. Of forks before this module was imported, Linux tells.
"""

import collections
import functools
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import numba
from numba.np.ufunc import parallel

from numbarank._cpu.quota import cpu_quota

_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC in Linux's include/linux/sched.h


def may_run_parallel():
    """Tell whether a loop may use numba's pool of threads here and now."""
    if os.getpid() != _process:
        _after_fork_in_child()
    if _pool_is_lost or layer() is None:
        return False
    return layer() != "workqueue" or _is_only_thread()


def count():
    """Return how many threads a loop may use here and now."""
    return most() if may_run_parallel() else 1


def most():
    """Return how many threads of numba's pool a loop uses at most: as a user chose, or else within the quota."""
    threads = numba.get_num_threads()
    default, within_quota = _unchosen()
    return within_quota if threads == default else threads


@functools.cache
def _unchosen():
    """Return how many threads numba takes by itself, which are all processors, and how many of them the quota allows.

    Who sets ``NUMBA_NUM_THREADS`` chose, even if it is the same number.
    """
    if os.environ.get("NUMBA_NUM_THREADS"):
        return None, None
    default, quota = numba.config.NUMBA_DEFAULT_NUM_THREADS, cpu_quota()
    return default, default if quota is None else min(default, math.ceil(quota))


def share(pieces, function, count):
    """Call ``function(piece, worker)`` for all pieces on up to so many threads of Python's, this one among them.

    Nobody waits for a thread that gets no core in time, as one of numba's pool would be waited for: where NumPy has
    multiplied matrices, its own threads keep their cores busy for a while.
    """
    todo = collections.deque(pieces)

    def work(worker):
        while True:
            try:
                piece = todo.popleft()
            except IndexError:
                return
            function(piece, worker)

    pool = ThreadPoolExecutor(max(count - 1, 1))
    try:
        others = [pool.submit(work, worker) for worker in range(1, count)]
    except RuntimeError:  # there are no more threads, or Python shuts down
        others = []
    try:
        work(0)
    finally:
        todo.clear()
        pool.shutdown(wait=False, cancel_futures=True)
        begun = wait(other for other in others if not other.cancelled())
    for other in begun.done:
        other.result()


@functools.cache
def layer():
    """Start numba's pool, if that is still to be done, and return its threading layer, or None if it has none here."""
    try:
        numba.get_num_threads()
    except Exception:
        return None
    return numba.threading_layer()


def _is_only_thread():
    """Tell whether no other Python thread can be inside a parallel region, which numba's own pool does not survive."""
    return len(sys._current_frames()) == 1


def _after_fork_in_child():
    global _process, _pool_is_lost
    _process, _pool_is_lost = os.getpid(), _is_pool_started()


def _is_pool_started():
    return getattr(parallel, "_is_initialized", True)


def _may_be_a_fork():
    """Tell whether this process may run on after a fork, without a program of its own."""
    if sys.platform != "linux":
        return False  # numba's pools survive forks there
    try:
        with open("/proc/self/stat", "rb") as file:
            flags = int(file.read().rpartition(b")")[2].split()[6])
    except (OSError, ValueError, IndexError):
        return True
    return flags == 0 or bool(flags & _FORKED_WITHOUT_EXEC)  # sandboxes that imitate Linux show 0


_process = os.getpid()
_pool_is_lost = _is_pool_started() and _may_be_a_fork()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
