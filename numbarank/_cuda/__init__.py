"""The CUDA backend: device arrays and kernels. Importing it needs a GPU, or numba's CUDA simulator."""

from numbarank._cuda import arrays, groups, pairs, retrieval

__all__ = ["arrays", "groups", "pairs", "retrieval"]
