"""Reading and writing inside compiled loops.

A value is read from where it is: from an array, or from a scalar that stands for every element. A result goes to
its array, or nowhere where that is None. The types decide while compiling, so one loop serves every combination.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _itself(context, builder, signature, arguments):
    return arguments[0]


@intrinsic
def pointer(typing_context, source):
    """Return the pointer to a contiguous array's first element; a scalar or None stays what it is."""
    if not isinstance(source, types.Array):
        return source(source), _itself

    def generate(context, builder, signature, arguments):
        return cgutils.create_struct_proxy(source)(context, builder, arguments[0]).data

    return types.CPointer(source.dtype)(source), generate


@intrinsic
def offset(typing_context, source, index):
    """Return the pointer to the element ``index`` further on."""
    if not isinstance(source, types.CPointer):
        return source(source, index), _itself

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return source(source, index), generate


@intrinsic
def read(typing_context, source, index):
    """Return an element of an input. Inputs never change during a loop, so the loop vectorises without checks."""
    if not isinstance(source, types.CPointer):
        return source(source, index), _itself

    def generate(context, builder, signature, arguments):
        loaded = builder.load(builder.gep(arguments[0], [arguments[1]]))
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    return source.dtype(source, index), generate


@intrinsic
def write(typing_context, destination, index, value):
    """Store an element of a result, or nothing where there is no destination."""
    is_pointer = isinstance(destination, types.CPointer)

    def generate(context, builder, signature, arguments):
        if is_pointer:
            builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    value = destination.dtype if is_pointer else value
    return types.none(destination, index, value), generate


LANES = 64


@intrinsic
def lanes(typing_context, zero):
    """Return a pointer to ``LANES`` zeros on the stack."""

    def generate(context, builder, signature, arguments):
        kind = ir.ArrayType(context.get_data_type(zero), LANES)
        with builder.goto_entry_block():
            storage = builder.alloca(kind)
        storage.align = LANES
        builder.store(ir.Constant(kind, None), storage)
        return builder.bitcast(storage, kind.element.as_pointer())

    return types.CPointer(zero)(zero), generate


@intrinsic
def lane(typing_context, storage, index):
    """Return one of the lanes."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return storage.dtype(storage, index), generate
