"""Random pairs of scores, and what all implementations that are timed on them have in common."""

import importlib
from dataclasses import dataclass

import numpy as np

MARGIN = 0.5
MOST_RANDOM = 2**20  # more pairs repeat themselves, as random numbers take longer than what is timed


@dataclass(frozen=True)
class Setting:
    """What all implementations in a comparison have in common."""

    dtype: str = "float32"
    target_dtype: str = "same"
    reduction: str = "mean"
    device: str = "cpu"

    def __str__(self):
        return f"{self.dtype}, target {self.target_dtype}, reduction '{self.reduction}', {self.device}"

    def numpy_dtype(self):
        """Return the scores' dtype; bfloat16 comes from ml_dtypes."""
        if self.dtype == "bfloat16":
            return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return np.dtype(self.dtype)

    def bytes_per_pair(self, work):
        """Return the bytes that must move for a pair: scores and target in, gradients and 'none' losses out."""
        size = self.numpy_dtype().itemsize
        target = {"same": size, "int8": 1, "scalar": 0}[self.target_dtype]
        return size * (2 + self.arrays_written(work)) + target

    def arrays_written(self, work):
        """Return how many arrays of the scores' size a call returns."""
        return (2 if work == "gradients" else 0) + (self.reduction == "none")


FLOAT32 = Setting()


@dataclass(frozen=True)
class Pairs:
    """One set of inputs in host memory; the target is an array or a number."""

    x1: np.ndarray
    x2: np.ndarray
    y: np.ndarray | float

    @classmethod
    def random(cls, size, setting, seed=0):
        """Return scores of ordinary size, half of them in the wrong order."""
        rng, count = np.random.default_rng(seed), min(size, MOST_RANDOM)
        dtype = setting.numpy_dtype()
        x1, x2 = (np.resize(rng.standard_normal(count, np.float32).astype(dtype), size) for _ in range(2))
        if setting.target_dtype == "scalar":
            return cls(x1, x2, 1.0)
        y = rng.integers(0, 2, count, np.int8) * np.int8(2) - np.int8(1)
        return cls(x1, x2, np.resize(y if setting.target_dtype == "int8" else y.astype(dtype), size))

    def arrays(self):
        """Return the inputs that are arrays."""
        return [x for x in (self.x1, self.x2, self.y) if isinstance(x, np.ndarray)]
