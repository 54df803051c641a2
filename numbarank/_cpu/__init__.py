"""The CPU backend: NumPy arrays and compiled loops."""

import importlib

from numbarank._cpu import arrays, pairs

__all__ = ["arrays", "groups", "pairs", "retrieval"]


def __getattr__(name):
    """Import the loops over query groups and retrieval when they are first needed: that takes a while."""
    if name in ("groups", "retrieval"):
        return importlib.import_module(f"numbarank._cpu.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
