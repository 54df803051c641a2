"""The CPU backend: NumPy arrays and compiled loops."""

from numbarank._cpu import arrays, pairs

__all__ = ["arrays", "pairs"]
