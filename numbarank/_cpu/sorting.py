"""A stable radix sort of 64-bit keys with an item beside each."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numbarank._cpu.compiler import CompiledLoop, part
from numbarank._cpu.memory import stack_of
from numbarank._cpu.tasks import call_address, pointer_at

DIGIT, WIDE_DIGIT, WIDE_FROM = 8, 11, 2048  # bits that are sorted at a time, and from how many keys on it is more
MOST_BUCKETS = 2048
INSERTION_BELOW = 40
_WORD = ir.IntType(64)


@intrinsic
def sort_key(typing_context, number):
    """Return a number of 64 bits that stands in the same order; 0 and -0 have the same."""

    def of_float(context, builder, signature, arguments):
        width = number.bitwidth
        positive = builder.fadd(arguments[0], ir.Constant(arguments[0].type, 0.0))
        bits = builder.bitcast(positive, ir.IntType(width))
        sign = ir.Constant(bits.type, 1 << (width - 1))
        is_negative = builder.icmp_signed("<", bits, ir.Constant(bits.type, 0))
        ordered = builder.select(is_negative, builder.not_(bits), builder.or_(bits, sign))
        return builder.zext(ordered, _WORD) if width < 64 else ordered

    def of_integer(context, builder, signature, arguments):
        if not number.signed:
            return arguments[0]
        wide = builder.sext(arguments[0], _WORD) if number.bitwidth < 64 else arguments[0]
        return builder.xor(wide, _WORD(1 << 63))

    return types.uint64(number), of_float if isinstance(number, types.Float) else of_integer


@intrinsic
def number_of_key(typing_context, key, like):
    """Return the floating number with a key, of a number's type."""

    def generate(context, builder, signature, arguments):
        width = like.bitwidth
        kind = ir.IntType(width)
        bits = builder.trunc(arguments[0], kind) if width < 64 else arguments[0]
        sign = ir.Constant(kind, 1 << (width - 1))
        is_negative = builder.icmp_unsigned("<", bits, sign)
        bits = builder.select(is_negative, builder.not_(bits), builder.xor(bits, sign))
        return builder.bitcast(bits, context.get_data_type(like))

    return like(types.uint64, like), generate


@part
def fill_keys(numbers, rows, keys, size):
    """Set the keys to those of the rows' numbers; return the bits in which any differs from the key of row 0.

    Without ``rows``, the numbers stand in the order of the keys.
    """
    key, bits = sort_key(numbers[0 if rows is None else rows[0]]), np.uint64(0)
    for i in range(size):
        keys[i] = sort_key(numbers[i if rows is None else rows[i]])
        bits |= keys[i] ^ key
    return bits


@part
def find_blocks(keys, size, starts):
    """Note where each block of equal keys starts and where the last one ends; return how many they are."""
    blocks = 0
    for i in range(size):
        if i == 0 or keys[i] != keys[i - 1]:
            starts[blocks] = i
            blocks += 1
    starts[blocks] = size
    return blocks


known_sorter = 0


def sorter():
    """Return the address of the function that sorts keys by one thread: it is compiled when a call first needs it."""
    global known_sorter
    known_sorter = known_sorter or CompiledLoop("sort keys", _sort, has_address=True).address(*[types.int64] * 6)
    return known_sorter


def _sort(keys, items, spare_keys, spare_items, size, bits):
    key, item = np.uint64(0), np.int32(0)
    keys_, spare_keys_ = pointer_at(keys, key), pointer_at(spare_keys, key)
    _sort_keys(keys_, pointer_at(items, item), spare_keys_, pointer_at(spare_items, item), size, np.uint64(bits))


@part
def sort_keys(sorter, keys, items, spare_keys, spare_items, size, bits):
    """Sort keys that differ in some bits, and items with them."""
    call_address(sorter, (keys, items, spare_keys, spare_items, size, bits))


@part
def _sort_keys(keys, items, spare_keys, spare_items, size, bits):
    if size < INSERTION_BELOW:
        _insert(keys, items, size)
        return
    places = stack_of(MOST_BUCKETS, np.int64(0))
    width = np.uint64(WIDE_DIGIT if size >= WIDE_FROM else DIGIT)
    is_swapped, shift = False, np.uint64(0)
    while shift < 64 and (bits >> shift) > 0:
        if (bits >> shift) & np.uint64(1) == 0:  # a digit begins with a bit in which keys differ
            shift += np.uint64(1)
            continue
        buckets = np.int64(1) << np.int64(width)
        _count(keys, size, shift, buckets, places)
        place = 0
        for value in range(buckets):
            place, places[value] = place + places[value], place
        _scatter(keys, items, size, shift, buckets, places, spare_keys, spare_items)
        keys, items, spare_keys, spare_items = spare_keys, spare_items, keys, items
        is_swapped = not is_swapped
        shift += width
    if is_swapped:
        for k in range(size):
            spare_keys[k], spare_items[k] = keys[k], items[k]


@part
def _insert(keys, items, size):
    for i in range(1, size):
        key, item = keys[i], items[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j], items[j] = keys[j - 1], items[j - 1]
            j -= 1
        keys[j], items[j] = key, item


@part
def _count(keys, size, shift, buckets, counts):
    """Count how often a digit has each value."""
    for value in range(buckets):
        counts[value] = 0
    for k in range(size):
        counts[(keys[k] >> shift) & np.uint64(buckets - 1)] += 1


@part
def _scatter(keys, items, size, shift, buckets, places, to_keys, to_items):
    """Move each item to the next place of its digit's value."""
    for k in range(size):
        key = keys[k]
        value = (key >> shift) & np.uint64(buckets - 1)
        place = places[value]
        to_keys[place], to_items[place] = key, items[k]
        places[value] = place + 1
