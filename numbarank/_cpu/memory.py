"""Reading and writing inside compiled loops.

A value is read from where it is: from an array, or from a scalar that stands for every element. A result goes to
its array, or nowhere where that is None. The two half types are widened to float32 on the way in and rounded on the
way out. The types decide while compiling, so one loop serves every combination.
"""

import functools
import platform

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

LANES = 64
AHEAD, CACHE_LINE = 1536, 64  # bytes; of distances from 256 to 16,384, those around 1,536 were the fastest
_FLOAT, _WORD, _BITS, _SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.IntType(16)


class HalfType(types.Type):
    """The element type of float16 or bfloat16 arrays; such elements are computed in float32."""

    def __init__(self, name):
        super().__init__(name)
        self.bitwidth = 16


@register_model(HalfType)
class HalfModel(models.PrimitiveModel):
    """A half number is 16 bits."""

    def __init__(self, manager, half):
        super().__init__(manager, half, _SHORT)


FLOAT16, BFLOAT16 = HalfType("float16 element"), HalfType("bfloat16 element")


def array_type(array, readonly):
    """Return numba's type for a contiguous array, which may be of a half type."""
    halves = {"float16": FLOAT16, "bfloat16": BFLOAT16}
    element = halves.get(array.dtype.name) or numba.from_dtype(array.dtype)
    return types.Array(element, array.ndim, "C", readonly=readonly)


@functools.lru_cache
def converts_halves(dtype):
    """Tell whether loops can read a half type here: float16 needs the processor's help."""
    if dtype.name == "bfloat16":
        return True
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return "+f16c" in features.split(",") or platform.machine() in ("aarch64", "arm64")


def _widen(builder, half, loaded):
    if half == FLOAT16:
        return builder.fpext(builder.bitcast(loaded, ir.HalfType()), _FLOAT)
    bits = builder.shl(builder.zext(loaded, _BITS), _BITS(16))
    return builder.bitcast(bits, _FLOAT)


def _narrow(builder, half, value):
    if half == FLOAT16:
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), _SHORT)
    bits = builder.bitcast(value, _BITS)
    upper = builder.lshr(bits, _BITS(16))
    half_to_even = builder.add(_BITS(0x7FFF), builder.and_(upper, _BITS(1)))
    rounded = builder.lshr(builder.add(bits, half_to_even), _BITS(16))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, builder.or_(upper, _BITS(0x40)), rounded), _SHORT)


def _itself(context, builder, signature, arguments):
    return arguments[0]


def _nothing(context, builder, signature, arguments):
    return context.get_dummy_value()


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
        return _widen(builder, source.dtype, loaded) if is_half else loaded

    is_half = isinstance(source.dtype, HalfType)
    return (types.float32 if is_half else source.dtype)(source, index), generate


@intrinsic
def write(typing_context, destination, index, value):
    """Store an element of a result, or nothing where there is no destination."""
    if not isinstance(destination, types.CPointer):
        return types.none(destination, index, value), _nothing

    def generate(context, builder, signature, arguments):
        stored = _narrow(builder, destination.dtype, arguments[2]) if is_half else arguments[2]
        builder.store(stored, builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    is_half = isinstance(destination.dtype, HalfType)
    return types.none(destination, index, types.float32 if is_half else destination.dtype), generate


@intrinsic
def computed(typing_context, array, value):
    """Return a float64 number in the type that an array's elements are computed in."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[1], types.float64, signature.return_type)

    kind = types.float64 if array.dtype == types.float64 else types.float32
    return kind(array, types.float64), generate


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
def staged_row(typing_context, destination, index):
    """Return a row on the stack that takes the place of the ``LANES`` elements of a destination from an index on."""
    if not isinstance(destination, types.CPointer):
        return destination(destination, index), _itself

    def generate(context, builder, signature, arguments):
        kind = ir.ArrayType(context.get_data_type(destination.dtype), LANES)
        with builder.goto_entry_block():
            storage = builder.alloca(kind)
        storage.align = LANES
        return builder.bitcast(storage, kind.element.as_pointer())

    return destination(destination, index), generate


@intrinsic
def write_past_caches(typing_context, destination, index, row):
    """Copy a row to memory without reading the cache lines that it fills."""
    if not isinstance(destination, types.CPointer):
        return types.none(destination, index, row), _nothing

    def generate(context, builder, signature, arguments):
        element = context.get_data_type(destination.dtype)
        size = context.get_abi_sizeof(element) * LANES
        target = builder.gep(arguments[0], [arguments[1]])
        is_aligned = builder.icmp_unsigned("==", builder.and_(builder.ptrtoint(target, _WORD), _WORD(15)), _WORD(0))
        vector = ir.VectorType(_WORD, 2)
        source, target = (builder.bitcast(p, vector.as_pointer()) for p in (arguments[2], target))
        hint = builder.module.add_metadata([_BITS(1)])
        with builder.if_else(is_aligned) as (aligned, unaligned):
            for branch, alignment in ((aligned, 16), (unaligned, 1)):
                with branch:
                    for k in range(size // 16):
                        value = builder.load(builder.gep(source, [_BITS(k)]), align=16)
                        stored = builder.store(value, builder.gep(target, [_BITS(k)]), align=alignment)
                        if branch is aligned:
                            stored.set_metadata("nontemporal", hint)
        return context.get_dummy_value()

    return types.none(destination, index, row), generate


@intrinsic
def prefetch(typing_context, source, index):
    """Ask for the cache lines of ``LANES`` elements some way after an index, which may lie beyond the end."""
    if not isinstance(source, types.CPointer):
        return types.none(source, index), _nothing

    def generate(context, builder, signature, arguments):
        size = context.get_abi_sizeof(context.get_data_type(source.dtype)) * LANES
        octet = ir.IntType(8).as_pointer()
        start = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), octet)
        kind = ir.FunctionType(ir.VoidType(), [octet, _BITS, _BITS, _BITS])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read_access, keep_close, data = _BITS(0), _BITS(3), _BITS(1)
        for line in range(AHEAD, AHEAD + size, CACHE_LINE):
            builder.call(function, [builder.gep(start, [_BITS(line)]), read_access, keep_close, data])
        return context.get_dummy_value()

    return types.none(source, index), generate


@intrinsic
def lane(typing_context, storage, index):
    """Return one of the lanes."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return storage.dtype(storage, index), generate


@intrinsic
def borrowed(typing_context, value):
    """Return an array, or a tuple of arrays, without counting references, which takes longer than a short loop.

    The caller lends them and keeps them until the last use.
    """

    def lend(context, builder, kind, given):
        if isinstance(kind, types.BaseTuple):
            elements = [lend(context, builder, one, builder.extract_value(given, k)) for k, one in enumerate(kind)]
            return context.make_tuple(builder, kind, elements)
        array = cgutils.create_struct_proxy(kind)(context, builder, given)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()

    def generate(context, builder, signature, arguments):
        return lend(context, builder, value, arguments[0])

    return value(value), generate
