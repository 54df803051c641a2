"""The CPU backend: NumPy arrays and compiled loops."""

from numbarank._cpu import arrays, groups, pairs

__all__ = ["arrays", "groups", "pairs"]
