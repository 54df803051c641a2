"""Loops that are compiled when they are first needed, for the types that come."""

import inspect
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import (
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)

from numbarank._cpu.cache import DiskCache
from numbarank._cpu.memory import HalfModel, array_type
from numbarank._cpu.target import LoopCode, LoopDispatcher

_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child would wait forever for the compiler that another thread had locked
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_compiling.release, after_in_child=_compiling.release
    )


class PartLibrary(JITCodeLibrary):
    """The code of a part of loops: it is optimised and turned into machine code with the loops, never by itself."""

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        self._raise_if_finalized()
        self._finalized = True


class LoopLibrary(JITCodeLibrary):
    """The code of a loop with all of its parts, those of parts included."""

    def add_linking_library(self, library):
        if library in self._linking_libraries:
            return
        super().add_linking_library(library)
        if isinstance(library, PartLibrary):
            for part_of_part in library._linking_libraries:
                self.add_linking_library(part_of_part)

    def _optimize_final_module(self):
        parts = {
            function.name
            for library in self._linking_libraries
            if isinstance(library, PartLibrary)
            for function in library._final_module.functions
            if not function.is_declaration
        }
        for function in self._final_module.functions:
            if function.name in parts:
                function.linkage = "internal"
        super()._optimize_final_module()


class LoopsCompiler(CompilerBase):
    """numba's compiler with the passes that plain loops need."""

    def define_pipelines(self):
        passes = PassManager("loops")
        for one in _PASSES:
            passes.add_pass(one, one.name())
        passes.finalize()
        return [passes]


# not the one that notes where variables are used for the last time: only counted references need it
_PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    RewriteSemanticConstants,
    DeadBranchPrune,
    GenericRewrites,
    ReconstructSSA,
    DeadBranchPrune,
    NopythonTypeInference,
    PreLowerStripPhis,
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
)


class PartCompiler(LoopsCompiler):
    """numba's compiler, for parts of loops."""

    def __init__(self, typing_context, target_context, library, arguments, return_type, flags, local_types):
        library = PartLibrary(target_context.codegen(), "part")
        flags.no_compile = True
        super().__init__(typing_context, target_context, library, arguments, return_type, flags, local_types)

    def compile_extra(self, function):
        compiled = super().compile_extra(function)
        compiled = compiled._replace(entry_point=[].append)  # numba wants one of C's functions, which nobody calls
        self.state.targetctx.insert_user_function(compiled.entry_point, compiled.fndesc, [compiled.library])
        return compiled


class LoopCompiler(LoopsCompiler):
    """numba's compiler, for loops with parts."""

    def __init__(self, typing_context, target_context, library, *others):
        library = LoopLibrary(target_context.codegen(), "loop")
        library.enable_object_caching()
        super().__init__(typing_context, target_context, library, *others)


# no reference is counted: the caller of a loop keeps its arrays
_OPTIONS = {"nopython": True, "error_model": "numpy", "nogil": True, "_nrt": False}


def part(function):
    """Compile a part of loops."""
    options = dict(_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return LoopDispatcher(function, targetoptions=options, pipeline_class=PartCompiler)


_COMPILED_WITH = (
    LoopsCompiler, PartCompiler, PartLibrary, LoopCompiler, LoopLibrary, LoopDispatcher, LoopCode, part, array_type,
    HalfModel,
)  # fmt: skip


class CompiledLoop:
    """A loop over arrays, compiled for each combination of argument types on demand.

    Parameters
    ----------
    name : str
        Tells loops with the same types apart in the disk cache.
    function : callable
    inputs : sequence of str
        The arguments that are only read: one compilation then serves read-only and writable arrays.
    parallel : bool
    has_address : bool
        Whether C functions can call it, by its address.
    """

    def __init__(self, name, function, inputs=(), parallel=False, has_address=False):
        if parallel:
            options = {"nopython": True, "error_model": "numpy", "nogil": True, "parallel": True}
            self._dispatcher = CPUDispatcher(function, targetoptions=options)
        else:
            options = dict(_OPTIONS, no_cfunc_wrapper=not has_address)
            self._dispatcher = LoopDispatcher(function, targetoptions=options, pipeline_class=LoopCompiler)
        self._dispatcher._cache = DiskCache(name, (function, *_COMPILED_WITH))
        self._is_read_only = [argument in inputs for argument in inspect.signature(function).parameters]
        self._functions = {}

    def __call__(self, key, *arguments):
        """Call the function for a key, which must tell all combinations of argument types apart that come."""
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self.compile(arguments)
        return function(*arguments)

    def compile(self, arguments):
        """Return the compiled function for arguments like these; it takes no others, and checks nothing."""
        argument_types = tuple(map(_type_of, arguments, self._is_read_only))
        return _away_from_signals(self._compile, argument_types)

    def address(self, *argument_types):
        """Return the address of a C function of these types."""
        _away_from_signals(self._compile, argument_types)
        compiled = self._dispatcher.get_compile_result(types.none(*argument_types))
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)

    def _compile(self, argument_types):
        with _compiling:
            return self._dispatcher.compile(argument_types)


def _type_of(argument, readonly):
    if isinstance(argument, np.ndarray):
        return array_type(argument, readonly)
    return {float: types.float64, int: types.int64}.get(type(argument)) or numba.typeof(argument)


def _away_from_signals(function, *arguments):
    """Call a function in a thread, which no signal's handler interrupts: numba does not survive half a compilation."""
    if threading.current_thread() is not threading.main_thread() or global_compiler_lock.is_locked():
        return function(*arguments)
    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(function, *arguments)
        except RuntimeError:  # there are no more threads, or Python shuts down
            return function(*arguments)
        return future.result()
