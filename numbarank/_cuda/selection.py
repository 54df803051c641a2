"""The highest scores of a row that a block shares, found exactly: by whole numbers in the order of the scores.

What is not a candidate has the score -inf. Bisection counts the scores from a number on, until that many are wanted: a
pass over the row for each bit, and nothing is moved. Of equal scores the first ones are the higher ones.
"""

import functools
import math

import numpy as np

from numbarank._cuda.blocks import block_sum
from numbarank._cuda.driver import THREADS, inline, inside

_ONE = np.uint64(1)


@functools.cache
def keyer(dtype):
    """Return the device function for a whole number in the order of the scores of a dtype; -0 is 0."""
    number, unsigned = dtype.type, np.dtype(f"u{dtype.itemsize}").type
    sign = np.uint64(1 << (8 * dtype.itemsize - 1))
    largest = np.uint64((1 << (8 * dtype.itemsize)) - 1)

    @inline
    def key_of(score):
        bits = np.uint64((score + number(0)).view(unsigned))
        return largest - bits if bits >= sign else bits + sign

    return key_of


@inline
def hide(scores, items, start, stop):
    """Make sure that some scores of a row are no candidates."""
    k = start + np.uint64(inside.threadIdx.x)
    while k < stop:
        scores[np.uint64(items[k])] = -math.inf
        k += np.uint64(THREADS)


@functools.cache
def selector(dtype):
    """Return the device function that hides all scores of a row but so many of the highest ones."""
    key_of, highest = keyer(dtype), np.uint64((1 << (8 * dtype.itemsize)) - 1)

    @inline
    def count(scores, end, low, high, counts):
        """Return how many of the first scores have a key from ``low`` to ``high``."""
        found, i = np.int64(0), np.uint64(inside.threadIdx.x)
        while i < end:
            key = key_of(scores[i])
            if low <= key and key <= high:
                found += np.int64(1)
            i += np.uint64(THREADS)
        return block_sum(counts, found)

    @inline
    def lowest_kept(scores, keep, counts):
        """Return the key of the last score to keep, and how many of the first scores with that key stay."""
        items = np.uint64(scores.size)
        low, high, found = np.uint64(0), highest, np.int64(items)
        while low < high and found != keep:
            middle = low + ((high - low) >> _ONE) + _ONE
            more = count(scores, items, middle, highest, counts)
            if more >= keep:
                low, found = middle, more
            else:
                high = middle - _ONE
        begin, end = np.uint64(0), items
        if found != keep:
            rest = keep - count(scores, items, low + _ONE, highest, counts)
            while end - begin > _ONE:
                middle = begin + ((end - begin) >> _ONE)
                if count(scores, middle, low, low, counts) >= rest:
                    end = middle
                else:
                    begin = middle
        return low, end

    @inline
    def keep_highest(scores, keep, counts):
        low, end = lowest_kept(scores, keep, counts)
        i = np.uint64(inside.threadIdx.x)
        while i < np.uint64(scores.size):
            key = key_of(scores[i])
            if key < low or (key == low and i >= end):
                scores[i] = -math.inf
            i += np.uint64(THREADS)
        inside.syncthreads()

    return keep_highest
