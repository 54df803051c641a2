"""Loops that are compiled when they are first needed, for the types that come."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock

from numbarank._cpu.cache import DiskCache
from numbarank._cpu.memory import array_type

_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child would wait forever for the compiler that another thread had locked
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_compiling.release, after_in_child=_compiling.release
    )


def inline(function):
    """Compile a part of loops: it becomes one with the loop that calls it."""
    return numba.njit(inline="always", error_model="numpy")(function)


class Kernel:
    """A loop over arrays, compiled for each combination of argument types on demand.

    Parameters
    ----------
    name : str
        Tells kernels with the same types apart in the disk cache.
    function : callable
    inputs : int
        How many of the first arguments are only read: one compilation then serves read-only and writable arrays.
    parallel : bool
    """

    def __init__(self, name, function, inputs, parallel=False):
        self._dispatcher = numba.njit(nogil=True, error_model="numpy", parallel=parallel)(function)
        self._dispatcher._cache = DiskCache(name)
        self._inputs = inputs

    def compile(self, arguments):
        """Return the compiled function for arguments like these; it takes no others, and checks nothing.

        A Python number, integers included, is taken as float64.
        """
        return _away_from_signals(self._compile, arguments)

    def _compile(self, arguments):
        kinds = tuple(_kind(argument, position < self._inputs) for position, argument in enumerate(arguments))
        with _compiling:
            return self._dispatcher.compile(kinds)


def _kind(argument, readonly):
    if isinstance(argument, np.ndarray):
        return array_type(argument, readonly)
    return types.float64 if type(argument) in (int, float) else numba.typeof(argument)


def _away_from_signals(function, *arguments):
    """Call a function in a thread, which no signal's handler interrupts: numba does not survive half a compilation."""
    if threading.current_thread() is not threading.main_thread() or global_compiler_lock.is_locked():
        return function(*arguments)
    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(function, *arguments)
        except RuntimeError:  # there are no more threads, or Python shuts down
            return function(*arguments)
        return future.result()
