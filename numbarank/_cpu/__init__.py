"""The CPU backend: NumPy arrays and compiled loops."""

from numbarank._cpu import arrays, pairs

__all__ = ["arrays", "groups", "pairs", "retrieval"]


def __getattr__(name):
    """Import the loops over query groups and retrieval when they are first needed: that takes a while."""
    if name == "groups":
        import numbarank._cpu.groups as module
    elif name == "retrieval":
        import numbarank._cpu.retrieval as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return module
