"""The type hints tell the truth: what ``typed_use.py`` says of each result, and mypy checks, is so when it runs."""

import ast
import functools
import importlib
import inspect
import re
import sys
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from helpers import SIMULATOR, imported
from test_site import MODULES, public_names

TEXT = Path(__file__).with_name("typed_use.py").read_text()
STUBS = sorted((Path(__file__).parents[1] / "numbarank/losses").glob("[!_]*.pyi"))


def check(value, hint):
    """Stand in for typing.assert_type, and look at the value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        for one, hint_of_it in zip(value, hints, strict=True):
            check(one, hint_of_it)
    elif origin is np.ndarray:
        (dtype,) = typing.get_args(arguments[1])
        assert isinstance(value, np.ndarray) and dtype in (typing.Any, value.dtype.type)
    else:
        assert isinstance(value, hint if origin in (None, types.UnionType) else origin)
    return value


@pytest.fixture
def typed_use():
    if sys.version_info < (3, 11):
        pytest.skip("typing.assert_type is new in Python 3.11")
    if SIMULATOR:
        pytest.skip("no kernel is called here")
    for package in ("torch", "dask"):
        imported(package)
    return importlib.import_module("typed_use")


@pytest.mark.parametrize("name", re.findall(r"^def (\w+)\(\) -> None:", TEXT, re.MULTILINE))
def test_results_are_what_the_hints_say(typed_use, name, monkeypatch):
    hints = []
    monkeypatch.setattr(typed_use, "assert_type", lambda value, hint: (hints.append(hint), check(value, hint))[1])
    getattr(typed_use, name)()
    assert hints


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_used(module):
    if module in ("numbarank.torch", "numbarank.dask"):
        imported(module.removeprefix("numbarank."))
    names = public_names(importlib.import_module(module))
    prefix = {"numbarank": "nr", "numbarank.objectives": "objectives"}.get(module, module)
    assert names and not [name for name in names if not re.search(rf"\b{re.escape(prefix)}\.{name}\b", TEXT)]


def signatures(stub):
    """The names of a stub's functions and methods, and of the parameters of each overload of them."""
    keys = {
        node.name: [line.target.id for line in node.body if isinstance(line, ast.AnnAssign)]
        for node in ast.parse(stub.with_name("_types.pyi").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    found = {}
    tree = ast.parse(stub.read_text())
    classes = [("", tree), *((f"{node.name}.", node) for node in tree.body if isinstance(node, ast.ClassDef))]
    for prefix, node in classes:
        for function in node.body:
            if isinstance(function, ast.FunctionDef):
                settings = function.args.kwarg and keys[function.args.kwarg.annotation.slice.id]
                names = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)] + (settings or [])
                found.setdefault(prefix + function.name, []).append(names)
    return found


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_stubs_have_the_parameters_of_their_functions(stub):
    module = importlib.import_module(f"numbarank.losses.{stub.stem}")
    found = signatures(stub)
    assert set(public_names(module)) <= {name.split(".")[0] for name in found}
    for name, overloads in found.items():
        function = functools.reduce(getattr, name.split("."), module)
        if not isinstance(function, property):
            names = list(inspect.signature(function).parameters)
            assert sorted(overloads[-1]) == sorted(names), name
            assert all(set(some) <= set(names) and some[:2] == names[:2] for some in overloads), name
