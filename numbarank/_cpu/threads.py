"""When a parallel loop may run: never where it could end the process that we are a guest in."""

import functools
import os
import sys

import numba
from numba.np.ufunc import parallel

_pool_was_lost = False


def may_run_parallel():
    """Tell whether a loop may use more than one thread here and now."""
    if _pool_was_lost or numba.get_num_threads() == 1:
        return False
    return _layer() != "workqueue" or _is_only_thread()


@functools.cache
def _layer():
    """Return numba's threading layer; the pool runs by now, so that it is settled."""
    return numba.threading_layer()


def _is_only_thread():
    """Tell whether no other Python thread can be inside a parallel region, which numba's own pool does not survive."""
    return len(sys._current_frames()) == 1


def _after_fork_in_child():
    """Stay serial in a child whose parent had started the pool: a fork takes along no threads."""
    global _pool_was_lost
    _pool_was_lost = getattr(parallel, "_is_initialized", True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
