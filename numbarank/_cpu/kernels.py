"""Loops that are compiled when they are first needed, for the types that come."""

import numba
from numba import types


def inline(function):
    """Compile a part of loops: it becomes one with the loop that calls it."""
    return numba.njit(inline="always", error_model="numpy")(function)


class Kernel:
    """A loop over arrays, compiled for each combination of argument types on demand.

    Parameters
    ----------
    function : callable
    inputs : int
        How many of the first arguments are only read: one compilation then serves read-only and writable arrays.
    parallel : bool
    """

    def __init__(self, function, inputs, parallel=False):
        self._dispatcher = numba.njit(nogil=True, error_model="numpy", parallel=parallel)(function)
        self._inputs = inputs

    def compile(self, arguments):
        """Return the compiled function for arguments like these; it takes no others, and checks nothing."""
        kinds = [numba.typeof(argument) for argument in arguments]
        for position, kind in enumerate(kinds[: self._inputs]):
            if isinstance(kind, types.Array):
                kinds[position] = kind.copy(readonly=True)
        return self._dispatcher.compile(tuple(kinds))
