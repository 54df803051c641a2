"""Reading and writing inside compiled loops.

A value is read from where it is: from an array, or from a scalar that stands for every element. A result goes to
its array, or nowhere where that is None. The two half types are widened to float32 on the way in and rounded on the
way out. The types decide while compiling, so one loop serves every combination.
"""

import contextlib
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
_BYTES = ir.IntType(8).as_pointer()
_FLOAT, _WORD, _BITS, _SHORT, _BIT = ir.FloatType(), *map(ir.IntType, (64, 32, 16, 1))


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
def pointers(typing_context, arrays):
    """Return a tuple's arrays as pointers to their first elements; None stays what it is."""

    def generate(context, builder, signature, arguments):
        values = [
            cgutils.create_struct_proxy(array)(context, builder, value).data if _is_array(array) else value
            for array, value in zip(arrays, cgutils.unpack_tuple(builder, arguments[0]), strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, values)

    return _tuple_like(arrays, [types.CPointer(one.dtype) if _is_array(one) else one for one in arrays])(
        arrays
    ), generate


@intrinsic
def moved(typing_context, pointers, index):
    """Return the pointers of a tuple, each to the element ``index`` further on."""

    def generate(context, builder, signature, arguments):
        values = cgutils.unpack_tuple(builder, arguments[0])
        return _each_pointer(context, builder, pointers, values, lambda k: builder.gep(values[k], [arguments[1]]))

    return pointers(pointers, types.int64), generate


@intrinsic
def pointer_into(typing_context, block, offset, like):
    """Return a pointer to numbers of a type, so many bytes into a block of float64."""

    def generate(context, builder, signature, arguments):
        start = builder.gep(builder.bitcast(arguments[0], _BYTES), [arguments[1]])
        return builder.bitcast(start, context.get_data_type(element).as_pointer())

    element = like.dtype if isinstance(like, types.CPointer) else like
    return types.CPointer(element)(block, types.int64, like), generate


@intrinsic
def size_of(typing_context, array):
    """Return how many elements an array has."""

    def generate(context, builder, signature, arguments):
        return cgutils.create_struct_proxy(array)(context, builder, arguments[0]).nitems

    return types.int64(array), generate


@intrinsic
def are_given(typing_context, arrays):
    """Return a mask for each array of a tuple: all bits where it has elements, or else none. None stays what it is.

    Where there is no mask, a pointer is taken as given.
    """

    def generate(context, builder, signature, arguments):
        values = [
            _mask(builder, cgutils.create_struct_proxy(array)(context, builder, value).nitems)
            if _is_array(array)
            else value
            for array, value in zip(arrays, cgutils.unpack_tuple(builder, arguments[0]), strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, values)

    return _tuple_like(arrays, [types.int64 if _is_array(one) else one for one in arrays])(arrays), generate


def _masked(masks):
    """Return the places of a tuple's masks."""
    return [k for k, mask in enumerate(masks) if mask == types.int64]


def _if_given(builder, mask_type, mask):
    return builder.if_then(builder.trunc(mask, _BIT)) if mask_type == types.int64 else contextlib.nullcontext()


def _mask(builder, number):
    return builder.sext(builder.icmp_signed("!=", number, _WORD(0)), _WORD)


def _is_array(one):
    return isinstance(one, types.Array)


def _tuple_like(like, elements):
    """Return the type of a tuple with other elements."""
    return types.BaseTuple.from_types(tuple(elements), getattr(like, "instance_class", None))


def _each_pointer(context, builder, pointers, values, make):
    """Return a tuple of these types and values, each pointer replaced by what ``make`` returns for its index."""
    made = [make(k) if isinstance(one, types.CPointer) else values[k] for k, one in enumerate(pointers)]
    return context.make_tuple(builder, pointers, made)


@intrinsic
def read(typing_context, source, index):
    """Return an element of an input. No result is ever part of an input, so the loop vectorises without checks."""
    if not isinstance(source, types.CPointer):
        return source(source, index), _itself

    def generate(context, builder, signature, arguments):
        loaded = builder.load(builder.gep(arguments[0], [arguments[1]]))
        loaded.set_metadata("noalias", _results_scope(builder))
        return _widen(builder, source.dtype, loaded) if is_half else loaded

    is_half = isinstance(source.dtype, HalfType)
    return (types.float32 if is_half else source.dtype)(source, index), generate


def _results_scope(builder):
    """Return LLVM's metadata for memory that only results are written to."""
    domain = builder.module.add_metadata(["numbarank"])
    return builder.module.add_metadata([builder.module.add_metadata(["results", domain])])


@intrinsic
def write(typing_context, destination, index, value):
    """Store an element of a result, or nothing where there is no destination."""
    if not isinstance(destination, types.CPointer):
        return types.none(destination, index, value), _nothing

    def generate(context, builder, signature, arguments):
        stored = _narrow(builder, destination.dtype, arguments[2]) if is_half else arguments[2]
        store = builder.store(stored, builder.gep(arguments[0], [arguments[1]]))
        store.set_metadata("alias.scope", _results_scope(builder))
        return context.get_dummy_value()

    is_half = isinstance(destination.dtype, HalfType)
    return types.none(destination, index, types.float32 if is_half else destination.dtype), generate


@intrinsic
def computed(typing_context, array, value):
    """Return a float64 number in the type that an array's elements are computed in."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[1], types.float64, signature.return_type)

    number = types.float64 if array.dtype == types.float64 else types.float32
    return number(array, types.float64), generate


@intrinsic
def lanes(typing_context, like):
    """Return a pointer to ``LANES`` zeros on the stack, of the type of a number."""

    def generate(context, builder, signature, arguments):
        row = _row(context, builder, like)
        row_type = ir.ArrayType(context.get_data_type(like), LANES)
        builder.store(ir.Constant(row_type, None), builder.bitcast(row, row_type.as_pointer()))
        return row

    return types.CPointer(like)(like), generate


def _row(context, builder, element):
    row_type = ir.ArrayType(context.get_data_type(element), LANES)
    with builder.goto_entry_block():
        storage = builder.alloca(row_type)
    storage.align = LANES
    return builder.bitcast(storage, row_type.element.as_pointer())


@intrinsic(prefer_literal=True)
def stack_of(typing_context, count, like):
    """Return a pointer to uninitialised numbers on the stack, of a number's type; their count is a literal."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    element = types.unliteral(like)

    def generate(context, builder, signature, arguments):
        with builder.goto_entry_block():
            return builder.alloca(context.get_data_type(element), count.literal_value)

    return types.CPointer(element)(count, like), generate


@intrinsic
def spare_rows(typing_context, pointers):
    """Return for each pointer of a tuple one to ``LANES`` uninitialised elements on the stack."""

    def generate(context, builder, signature, arguments):
        values = cgutils.unpack_tuple(builder, arguments[0])
        return _each_pointer(context, builder, pointers, values, lambda k: _row(context, builder, pointers[k].dtype))

    return pointers(pointers), generate


@intrinsic
def given_or_spare(typing_context, pointers, spare, is_given, is_staged):
    """Return each pointer of a tuple, or its spare row if it is not given, or staged; and the masks for ``rows_at``."""

    def generate(context, builder, signature, arguments):
        values, spares, masks = (cgutils.unpack_tuple(builder, one) for one in arguments[:3])
        for k in _masked(is_given):
            masks[k] = builder.select(arguments[3], _WORD(0), masks[k])
            values[k] = builder.select(builder.trunc(masks[k], _BIT), values[k], spares[k])
        chosen, masks = context.make_tuple(builder, pointers, values), context.make_tuple(builder, is_given, masks)
        return context.make_tuple(builder, signature.return_type, [chosen, masks])

    return types.Tuple((pointers, is_given))(pointers, pointers, is_given, types.boolean), generate


@intrinsic
def rows_at(typing_context, pointers, index, masks):
    """Return each pointer of a tuple to the element ``index`` further on, or as it is where its mask is 0."""

    def generate(context, builder, signature, arguments):
        values, given = cgutils.unpack_tuple(builder, arguments[0]), cgutils.unpack_tuple(builder, arguments[2])
        steps = [arguments[1]] * len(values)
        for k in _masked(masks):
            steps[k] = builder.and_(arguments[1], given[k])
        return _each_pointer(context, builder, pointers, values, lambda k: builder.gep(values[k], [steps[k]]))

    return pointers(pointers, types.int64, masks), generate


@intrinsic
def fill_row(typing_context, row, value):
    """Set all elements of a row."""

    def generate(context, builder, signature, arguments):
        with cgutils.for_range(builder, _WORD(LANES)) as loop:
            builder.store(arguments[1], builder.gep(arguments[0], [loop.index]))
        return context.get_dummy_value()

    if value == row.dtype:
        return types.none(row, value), generate
    return types.none(row, value), lambda context, *_: context.get_dummy_value()  # rows of other types are given


@intrinsic
def write_past_caches(typing_context, pointers, index, rows, is_given):
    """Copy the rows of a tuple to where its pointers lead, without reading the cache lines that they fill."""

    def generate(context, builder, signature, arguments):
        values, sources, given = (cgutils.unpack_tuple(builder, arguments[k]) for k in (0, 2, 3))
        for k, one in enumerate(pointers):
            if isinstance(one, types.CPointer):
                with _if_given(builder, is_given[k], given[k]):
                    target = builder.gep(values[k], [arguments[1]])
                    _stream(context, builder, one.dtype, sources[k], target)
        return context.get_dummy_value()

    return types.none(pointers, types.int64, pointers, is_given), generate


def _stream(context, builder, element, source, target):
    size = context.get_abi_sizeof(context.get_data_type(element)) * LANES
    is_aligned = builder.icmp_unsigned("==", builder.and_(builder.ptrtoint(target, _WORD), _WORD(15)), _WORD(0))
    vector = ir.VectorType(_WORD, 2)
    source, target = (builder.bitcast(p, vector.as_pointer()) for p in (source, target))
    hint = builder.module.add_metadata([_BITS(1)])
    with builder.if_else(is_aligned) as (aligned, unaligned):
        for branch, alignment in ((aligned, 16), (unaligned, 1)):
            with branch, cgutils.for_range(builder, _WORD(size // 16)) as loop:
                value = builder.load(builder.gep(source, [loop.index]), align=16)
                stored = builder.store(value, builder.gep(target, [loop.index]), align=alignment)
                if branch is aligned:
                    stored.set_metadata("nontemporal", hint)


@intrinsic
def prefetch(typing_context, pointers, index, is_given):
    """Ask for the cache lines of ``LANES`` elements some way after an index, which may lie beyond the end."""

    def generate(context, builder, signature, arguments):
        values, given = (cgutils.unpack_tuple(builder, arguments[k]) for k in (0, 2))
        function_type = ir.FunctionType(ir.VoidType(), [_BYTES, _BITS, _BITS, _BITS])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        read_access, keep_close, data = _BITS(0), _BITS(3), _BITS(1)
        for k, one in enumerate(pointers):
            if not isinstance(one, types.CPointer):
                continue
            size = context.get_abi_sizeof(context.get_data_type(one.dtype)) * LANES
            with _if_given(builder, is_given[k], given[k]):
                start = builder.bitcast(builder.gep(values[k], [arguments[1]]), _BYTES)
                with cgutils.for_range(builder, _WORD(size // CACHE_LINE)) as loop:
                    line = builder.gep(start, [builder.add(builder.mul(loop.index, _WORD(CACHE_LINE)), _WORD(AHEAD))])
                    builder.call(function, [line, read_access, keep_close, data])
        return context.get_dummy_value()

    return types.none(pointers, types.int64, is_given), generate


@intrinsic
def lane(typing_context, storage, index):
    """Return one of the lanes."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return storage.dtype(storage, index), generate
