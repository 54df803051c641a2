"""numba's compiler for the processor, with those declarations alone that loops over numbers need.

numba's own target reads those of strings, dicts, random numbers and linear algebra (SciPy's, where it is installed)
before it compiles anything, which takes half a second.
"""

from functools import cached_property

from numba.core import cgutils, target_extension, types, typing
from numba.core.cpu import CPUContext
from numba.core.descriptors import TargetDescriptor
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

NAME = "numbarank"


class LoopTypes(typing.Context):
    """The types of what loops call."""

    def load_additional_registries(self):
        from numba.core.typing import mathdecl

        self.install_registry(mathdecl.registry)

    def install_registry(self, registry):
        with target_extension.target_override(NAME):
            super().install_registry(registry)


class LoopCode(CPUContext):
    """The code of what loops call."""

    def load_additional_registries(self):
        from numba.core import optional  # noqa: F401
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(mathimpl.registry)

    def make_array(self, array_type):
        """Return how an array is laid out: numba asks a module for it that reads the declarations of strings."""
        return cgutils.create_struct_proxy(array_type)

    def post_lowering(self, module, library):
        """Link no functions that count references: no loop counts any."""


class LoopTarget(TargetDescriptor):
    """The processor, as a target of numba's."""

    options = cpu_target.options

    @cached_property
    def typing_context(self):
        return LoopTypes()

    @cached_property
    def target_context(self):
        return LoopCode(self.typing_context, NAME)


class LoopDispatcher(Dispatcher):
    """A function with what numba compiled of it."""

    targetdescr = LoopTarget(NAME)

    def get_call_template(self, arguments, keywords):
        """Compile nothing once for a constant and again for a variable."""
        return super().get_call_template(tuple(map(types.unliteral, arguments)), keywords)


class Loops(target_extension.CPU):
    """The name of the target in numba's registry: what is declared for the processor is declared for it."""


def _jit(**options):
    """Return the decorator that numba compiles functions of its own with."""
    return lambda function: LoopDispatcher(function, targetoptions=options)


target_extension.target_registry.pop(NAME, None)  # of a module that was imported before
target_extension.target_registry[NAME] = Loops
target_extension.dispatcher_registry[Loops] = LoopDispatcher
target_extension.jit_registry[Loops] = _jit
