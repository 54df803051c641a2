"""The memory roofline: bare numba kernels that move the bytes that a loss must move, and compute next to nothing.

A naive kernel does not reach it, so there are several: serial and parallel, with and without prefetching one page
ahead, with ordinary stores and with stores that bypass the caches. The fastest of them counts.
"""

import functools
import itertools

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

WORD = np.dtype(np.uint64)
ROW = 64
LINE = 64 // WORD.itemsize
PAGE = 4096 // WORD.itemsize
BLOCK = 4096
ROOFLINE = "roofline"


def _element(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for the cache line of an element, which may lie beyond the array's end."""

    def generate(context, builder, signature, arguments):
        integer = ir.IntType(32)
        pointer = builder.bitcast(_element(context, builder, array, *arguments), cgutils.voidptr_t)
        function_type = ir.FunctionType(ir.VoidType(), [pointer.type, integer, integer, integer])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        read, keep_close, data = integer(0), integer(3), integer(1)
        builder.call(function, [pointer, read, keep_close, data])
        return context.get_dummy_value()

    return types.none(array, index), generate


@intrinsic
def _write_past_caches(typing_context, array, index, value):
    """Store an element without reading its cache line first."""

    def generate(context, builder, signature, arguments):
        stored = builder.store(arguments[2], _element(context, builder, array, *arguments[:2]), align=WORD.itemsize)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.none(array, index, array.dtype), generate


@njit(inline="always")
def _put(destination, k, word, past_caches):
    if past_caches:
        _write_past_caches(destination, k, word)
    else:
        destination[k] = word


@njit(inline="always")
def _move(source, destination, start, length, prefetch, past_caches):
    """Fold words into one, or copy them; a source that is not there gives nothing."""
    folded = np.uint64(0)
    if source is not None:
        words = source[start : start + length]
        if prefetch:
            for k in range(0, length, LINE):
                _prefetch(words, k + PAGE)
        if destination is None:
            for k in range(length if prefetch else words.size):
                folded ^= words[k]
        else:
            copy = destination[start : start + length]
            for k in range(length if prefetch else words.size):
                _put(copy, k, words[k], past_caches)
    return folded


@functools.cache
def _kernel(parallel, prefetch, past_caches, narrowing):
    """Return a kernel that reads a, b, c and d, and copies each of the first three that has a destination.

    Each word of c goes with ``narrowing`` words of the others.
    """
    row, row_c, block_c = ROW, ROW // narrowing, BLOCK // narrowing

    def in_rows(a, b, c, d, to_a, to_b, to_c, folded):
        _ = parallel  # numba's disk cache tells kernels apart by what they refer to
        for block in prange(folded.size):
            for i in range(block * BLOCK // row, min((block + 1) * BLOCK, a.size) // row):
                folded[block] ^= _move(a, to_a, i * row, row, True, past_caches)
                folded[block] ^= _move(b, to_b, i * row, row, True, past_caches)
                folded[block] ^= _move(c, to_c, i * row_c, row_c, True, past_caches)
                folded[block] ^= _move(d, None, i * row, row, True, past_caches)

    def in_blocks(a, b, c, d, to_a, to_b, to_c, folded):
        _ = parallel
        for block in prange(folded.size):
            folded[block] ^= _move(a, to_a, block * BLOCK, BLOCK, False, past_caches)
            folded[block] ^= _move(b, to_b, block * BLOCK, BLOCK, False, past_caches)
            folded[block] ^= _move(c, to_c, block * block_c, block_c, False, past_caches)
            folded[block] ^= _move(d, None, block * BLOCK, BLOCK, False, past_caches)

    return njit(parallel=parallel, nogil=True, cache=True)(in_rows if prefetch else in_blocks)


def kernels(reads, writes, parallel=True, name=ROOFLINE):
    """Return, by name, calls of the kernels at hand on given arrays of any dtype.

    Parameters
    ----------
    reads, writes : sequences of contiguous arrays
        Two to four to read, and up to three to write, which must be as large.
    parallel : bool
        Whether the parallel kernels are among them.
    name : str
        What their names begin with.
    """
    threads = ("serial", "parallel") if parallel else ("serial",)
    choices = itertools.product(threads, ("", "prefetch"), ("", "past caches") if writes else ("",))
    return {", ".join(filter(None, (name, *words))): _prepared(words, reads, writes) for words in choices}


def _prepared(words, reads, writes):
    a, b, c, d = (*map(_as_words, reads), None, None)[:4]
    to_a, to_b, to_c = (*map(_as_words, writes), None, None, None)[:3]
    narrowing = 1 if c is None else reads[0].itemsize // reads[2].itemsize
    kernel = _kernel(*(word in words for word in ("parallel", "prefetch", "past caches")), narrowing)
    folded = np.zeros(-(-a.size // BLOCK), WORD)
    return functools.partial(kernel, a, b, c, d, to_a, to_b, to_c, folded)


def _as_words(array):
    """Return the memory of a contiguous array as machine words."""
    memory = array.reshape(-1).view(np.uint8)
    return memory[: memory.size // WORD.itemsize * WORD.itemsize].view(WORD)


def device_copy(size):
    """Return a call that copies on a CUDA device, by the name; it reads and writes ``size`` bytes in all."""
    from numba import cuda

    source = cuda.to_device(np.zeros(max(size // 2, 1), np.uint8))
    destination = cuda.device_array_like(source)
    return {f"{ROOFLINE}, device copy": functools.partial(destination.copy_to_device, source)}
