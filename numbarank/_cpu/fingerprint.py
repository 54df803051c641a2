"""What a compiled loop is made of: all functions, classes and constants of ours that it reaches.

They are told by their bytecode and values. So another docstring, comment or line number is the same loop, and a changed
constant in another file is another one, with or without the sources at hand.
"""

import hashlib
import types

import numpy as np

_PACKAGE = __name__.partition(".")[0]
_PLAIN = (int, float, str, bytes, type(None), np.generic, np.dtype)


def fingerprint(*roots):
    """Return a hash of everything of ours that some functions and classes reach."""
    seen, words, waiting = set(), [], list(roots)
    while waiting:
        one = waiting.pop()
        if isinstance(one, (tuple, list)):
            waiting += one
        elif type(one) is dict and all(isinstance(key, str) for key in one):
            waiting += one.items()
        elif isinstance(one, _PLAIN):
            words.append(repr(one))
        elif id(one) not in seen:
            seen.add(id(one))
            description, reached = _describe(one)
            words.append(description)
            waiting += reached
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def _describe(one):
    """Return what tells an object from another version of it, in words, and the objects that it reaches."""
    if hasattr(one, "py_func"):  # compiled by numba
        return repr(sorted(one.targetoptions.items())), [one.py_func]
    for attribute in ("_defn", "__wrapped__"):  # an intrinsic, or a function behind a cache
        if isinstance(getattr(one, attribute, None), types.FunctionType):
            return attribute, [getattr(one, attribute)]
    is_ours = str(getattr(one, "__module__", "")).partition(".")[0] == _PACKAGE
    if isinstance(one, types.FunctionType) and is_ours:
        return _describe_function(one)
    if isinstance(one, type) and is_ours:
        members = [value for name, value in vars(one).items() if isinstance(value, types.FunctionType)]
        return f"{one.__qualname__} {getattr(one, '_fields', '')}", [*members, *one.__bases__]
    if type(one).__module__.startswith(("numba.core.types", "llvmlite.ir", _PACKAGE)):
        return f"{type(one).__qualname__} {one}", []
    return getattr(one, "__qualname__", type(one).__qualname__), []


def _describe_function(function):
    words, names = _describe_code(function.__code__, function.__doc__)
    reached = [cell.cell_contents for cell in function.__closure__ or ()] + list(function.__defaults__ or ())
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, types.ModuleType):
            if value.__name__.startswith(f"{_PACKAGE}."):  # the names after a dot are among the others
                reached += [vars(value)[other] for other in names if other in vars(value)]
        else:
            reached.append(value)
    return f"{function.__qualname__} {words}", reached


def _describe_code(code, docstring=None):
    """Return bytecode in words, and the names that it uses, those of the functions inside it included."""
    constants = list(code.co_consts)
    if docstring is not None and constants[:1] == [docstring]:
        del constants[0]
    inner = [_describe_code(constant) for constant in constants if isinstance(constant, types.CodeType)]
    plain = [_in_order(constant) for constant in constants if not isinstance(constant, types.CodeType)]
    names = dict.fromkeys([*code.co_names, *(name for _, more in inner for name in more)])
    return repr((code.co_code, plain, code.co_names, code.co_freevars, [words for words, _ in inner])), list(names)


def _in_order(constant):
    """Return a constant in words; those of sets come in an order that differs from process to process."""
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
