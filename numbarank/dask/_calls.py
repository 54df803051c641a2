"""Calls of numbarank on a chunk, and Dask's calls of functions on all chunks."""

import dask.array as da
import numba
import numpy as np
from dask.core import flatten

import numbarank as nr


def map_chunks(function, /, *arrays, chunks, dtype, **settings):
    """Map a function over chunks, without calling it to find out what it returns."""
    meta = np.empty((0,) * len(chunks), dtype)
    return da.map_blocks(function, *arrays, chunks=chunks, dtype=dtype, meta=meta, **settings)


def one_per_chunk(chunks):
    """Return the chunks of an array with one element for each chunk."""
    return tuple((1,) * len(lengths) for lengths in chunks)


def call_on_one_thread(function, arguments, chunk=None):
    """Return all that a function of numbarank returns; it runs on one thread, and its errors name the chunk."""
    try:
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
    except ValueError:  # numba has no threading layer here, and losses run on one thread anyway
        threads = None
    try:
        return list(flatten([getattr(nr, function)(**arguments)], container=tuple))
    except ValueError as error:
        if chunk is None:
            raise
        raise ValueError(f"chunk {chunk[0] if len(chunk) == 1 else chunk}: {error}") from error
    finally:
        if threads is not None:
            numba.set_num_threads(threads)
