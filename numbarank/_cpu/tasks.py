"""Tasks that a compiled loop shares among the threads of numba's pool, or does one after the other.

Parallel code stands in one function, which calls a task by its address: no loop is compiled for one thread and again
for several.
"""

import functools

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from numbarank._cpu.compiler import CompiledLoop

_WORD, _BYTES = ir.IntType(64), ir.IntType(8).as_pointer()
_TASK = ir.FunctionType(ir.VoidType(), [_BYTES, _WORD])
_LAUNCH = ir.FunctionType(ir.VoidType(), [_WORD, _WORD, _WORD])
ONE_THREAD = 0


@functools.cache
def launcher():
    """Return the address of the function that runs tasks on all threads."""
    loop = CompiledLoop("launch", _launch, parallel=True)
    return loop.address(types.int64, types.int64, types.int64)


def _launch(task, work, count):
    for index_ in prange(count):
        # as it is, the index has another type here than in the compiled body
        call_address(task, (work, np.int64(index_)))


@intrinsic
def call_address(typing_context, address, arguments):
    """Call a C function that returns nothing by its address, with a tuple of pointers and whole numbers of 64 bits."""

    def generate(context, builder, signature, values):
        words = [
            builder.ptrtoint(value, _WORD) if isinstance(value.type, ir.PointerType) else value
            for value in cgutils.unpack_tuple(builder, values[1])
        ]
        function_type = ir.FunctionType(ir.VoidType(), [_WORD] * len(words))
        builder.call(builder.inttoptr(values[0], function_type.as_pointer()), words)
        return context.get_dummy_value()

    return types.none(types.int64, arguments), generate


@intrinsic
def pointer_at(typing_context, address, like):
    """Return a pointer to numbers of a type at an address."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_data_type(like).as_pointer())

    return types.CPointer(like)(types.int64, like), generate


@intrinsic
def run_tasks(typing_context, task, work, count, launch):
    """Call ``task(work, index)`` for every index below ``count``: on all threads, or on this one for ONE_THREAD.

    ``work`` is a tuple of scalars, pointers and arrays; it must outlive the call, and the tasks may not raise.
    """
    signature = task.get_call_type(typing_context, (work, types.int64), {})

    def generate(context, builder, _, arguments):
        value, count, launch = arguments[1:]
        storage = builder.alloca(value.type)
        builder.store(value, storage)
        function = _as_c_function(context, builder, task.dispatcher.get_compile_result(signature), value.type)
        data = builder.bitcast(storage, _BYTES)
        is_parallel = builder.icmp_unsigned("!=", launch, _WORD(0))
        with builder.if_else(is_parallel) as (parallel, serial):
            with parallel:
                launching = builder.inttoptr(launch, _LAUNCH.as_pointer())
                builder.call(launching, [builder.ptrtoint(function, _WORD), builder.ptrtoint(data, _WORD), count])
            with serial:
                _loop(builder, count, lambda index: builder.call(function, [data, index]))
        return context.get_dummy_value()

    return types.none(task, work, types.int64, types.int64), generate


def _as_c_function(context, builder, compiled, work):
    """Return a C function, in the module that is being built, that calls a compiled function with what it points to."""
    context.add_linking_libs([compiled.library])
    function = ir.Function(builder.module, _TASK, builder.module.get_unique_name("task"))
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    value = inner.load(inner.bitcast(function.args[0], work.as_pointer()))
    callee = context.declare_function(builder.module, compiled.fndesc)
    context.call_conv.call_function(inner, callee, types.none, compiled.signature.args, [value, function.args[1]])
    inner.ret_void()
    return function


def _loop(builder, count, body):
    with cgutils.for_range(builder, count) as loop:
        body(loop.index)
