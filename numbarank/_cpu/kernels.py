"""Loops that are compiled when they are first needed, for the types that come."""

import numba
import numpy as np
from numba import types

from numbarank._cpu.cache import DiskCache
from numbarank._cpu.memory import array_type


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

        A number, integers included, is taken as float64.
        """
        kinds = (self._kind(argument, position < self._inputs) for position, argument in enumerate(arguments))
        return self._dispatcher.compile(tuple(kinds))

    @staticmethod
    def _kind(argument, readonly):
        if isinstance(argument, np.ndarray):
            return array_type(argument, readonly)
        return types.none if argument is None else types.float64
