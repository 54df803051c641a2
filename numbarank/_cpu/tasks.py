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
_LAUNCH = ir.FunctionType(ir.VoidType(), [_WORD] * 4)
ONE_THREAD = 0
_get_threads = types.ExternalFunction("get_num_threads", types.intp())  # numba's own, of this thread
_set_threads = types.ExternalFunction("set_num_threads", types.void(types.int32))
_launches = []  # these arrays stay where they are


@functools.cache
def launch_on(threads):
    """Return what makes ``run_tasks`` use so many threads: the address of a function's address and their number."""
    if threads == 1:
        return ONE_THREAD
    _launches.append(np.array([_launcher(), threads], np.int64))
    return _launches[-1].ctypes.data


@functools.cache
def _launcher():
    """Return the address of the function that runs tasks on several threads."""
    loop = CompiledLoop("launch", _launch, parallel=True)
    return loop.address(*[types.int64] * 4)


def _launch(task, work, count, threads):
    before = _get_threads()
    _set_threads(threads)
    for index_ in prange(count):
        # as it is, the index has another type here than in the compiled body
        call_address(task, (work, np.int64(index_)))
    _set_threads(before)


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
    """Call ``task(work, index)`` for every index below ``count``, on as many threads as ``launch_on`` was told.

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
                words = builder.inttoptr(launch, _WORD.as_pointer())
                launcher = builder.inttoptr(builder.load(words), _LAUNCH.as_pointer())
                threads = builder.load(builder.gep(words, [_WORD(1)]))
                task_and_work = [builder.ptrtoint(function, _WORD), builder.ptrtoint(data, _WORD)]
                builder.call(launcher, [*task_and_work, count, threads])
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
