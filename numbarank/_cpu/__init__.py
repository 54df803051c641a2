"""The CPU backend: NumPy arrays and compiled loops."""

import importlib

from numbarank._cpu import arrays, pairs

__all__ = ["arrays", "groups", "pairs"]


def __getattr__(name):
    """Import the loops over query groups when they are first needed: that takes a while."""
    if name == "groups":
        return importlib.import_module("numbarank._cpu.groups")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
