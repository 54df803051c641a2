"""Groups of neighbouring elements, read and written up to 128 bits at a time, which numba's indexing never does.

Loads leave the first-level cache alone and stores are the first to be evicted, as no element is used twice. The
simulator has none of this.
"""

import functools

from llvmlite import ir
from numba import types

from numbarank._cuda.driver import intrinsic

BYTES = 16
_GLOBAL = 1
# by size: the PTX type, the registers that it takes, and their constraint in assembly
_ACCESSES = {
    2: ("u16", 1, ir.IntType(16), "h"),
    4: ("u32", 1, ir.IntType(32), "r"),
    8: ("v2.u32", 2, ir.IntType(32), "r"),
    16: ("v4.u32", 4, ir.IntType(32), "r"),
}


def alignment(dtype, width):
    """Return what the address of an array must be a multiple of for groups of ``width`` elements."""
    return min(BYTES, width * dtype.itemsize)


@functools.cache
def loader(width):
    """Return the device function that reads a group of ``width`` elements as a tuple."""

    @intrinsic
    def load(typing_context, source, group):
        def generate(context, builder, signature, arguments):
            element, places = _accesses(context, builder, source, arguments, width)
            values = []
            for access, place, count in places:
                vector = _bitcast(builder, _load(builder, access, place), ir.VectorType(element, count))
                values += [builder.extract_element(vector, ir.IntType(32)(j)) for j in range(count)]
            return context.make_tuple(builder, signature.return_type, values)

        return types.UniTuple(source.dtype, width)(source, group), generate

    return load


@functools.cache
def storer(width):
    """Return the device function that writes an array of ``width`` values as a group."""

    @intrinsic
    def store(typing_context, destination, group, values):
        def generate(context, builder, signature, arguments):
            element, places = _accesses(context, builder, destination, arguments, width)
            value = context.make_array(values)(context, builder, arguments[2]).data
            for access, place, count in places:
                vector = ir.VectorType(element, count)(ir.Undefined)
                for j in range(count):
                    vector = builder.insert_element(vector, builder.load(value), ir.IntType(32)(j))
                    value = builder.gep(value, [ir.IntType(32)(1)])
                _store(builder, access, place, vector)
            return context.get_dummy_value()

        return types.none(destination, group, values), generate

    return store


def _accesses(context, builder, array, arguments, width):
    """Return the type of an element, and of each access that a group takes: how, where, and how many elements."""
    element = context.get_data_type(array.dtype)
    itemsize = array.dtype.bitwidth // 8
    count = min(BYTES // itemsize, width)
    start = context.make_array(array)(context, builder, arguments[0]).data
    start = builder.addrspacecast(start, element.as_pointer(_GLOBAL))
    first = builder.mul(arguments[1], ir.IntType(64)(width))
    places = []
    for j in range(0, width, count):
        place = builder.gep(start, [builder.add(first, ir.IntType(64)(j))])
        places.append((_ACCESSES[count * itemsize], place, count))
    return element, places


def _load(builder, access, place):
    """Return the registers of an access: one, or a vector."""
    name, count, register, constraint = access
    outputs = ", ".join(f"${j}" for j in range(count))
    result = ir.LiteralStructType([register] * count) if count > 1 else register
    loaded = builder.asm(
        ir.FunctionType(result, [place.type]),
        f"ld.global.nc.L1::no_allocate.{name} {_group(outputs, count)}, [${count}];",
        ",".join([f"={constraint}"] * count + ["l"]),
        [place],
        side_effect=False,
    )
    if count == 1:
        return loaded
    vector = ir.VectorType(register, count)(ir.Undefined)
    for j in range(count):
        vector = builder.insert_element(vector, builder.extract_value(loaded, j), ir.IntType(32)(j))
    return vector


def _store(builder, access, place, vector):
    name, count, register, constraint = access
    words = _bitcast(builder, vector, ir.VectorType(register, count))
    words = [builder.extract_element(words, ir.IntType(32)(j)) for j in range(count)]
    inputs = ", ".join(f"${j + 1}" for j in range(count))
    builder.asm(
        ir.FunctionType(ir.VoidType(), [place.type, *(word.type for word in words)]),
        f"st.global.cs.{name} [$0], {_group(inputs, count)};",
        ",".join(["l"] + [constraint] * count),
        [place, *words],
        side_effect=True,
    )


def _group(registers, count):
    return f"{{{registers}}}" if count > 1 else registers


def _bitcast(builder, value, to):
    return value if value.type == to else builder.bitcast(value, to)
