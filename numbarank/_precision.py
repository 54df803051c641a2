"""The dtype that is computed in: one rule for what comes in and for both backends."""

import numpy as np

_FLOAT32 = np.dtype(np.float32)


def compute_dtype(dtype):
    """Return the dtype to compute in: float32 for the two half types, which are rounded at the store, or its own."""
    return _FLOAT32 if dtype.itemsize == 2 and dtype.kind in "fV" else dtype
