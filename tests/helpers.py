"""What the tests share: arrays on and off the device, comparisons that know ulps, NaN and signed zeros."""

import os
import re

import numpy as np
import pytest
import reference

import numbarank as nr

SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")

REDUCTIONS = ("none", "sum", "mean")
SIGNED_INTEGERS = (np.int8, np.int16, np.int32, np.int64)

# edges of warps, lanes and blocks; the simulator has a Python thread a CUDA thread and gets the small ones
SIZES = [0, 1, 31, 32, 33, 127, 128, 129]
if not SIMULATOR:
    SIZES += [2, 63, 64, 65, 255, 256, 257, 8191, 8192, 8193, 16383, 16384, 16385, 50_000, 1_000_003]
MANY = 135 if SIMULATOR else 3_000

needs_bfloat16 = pytest.mark.skipif(reference.BFLOAT16 is None, reason="ml_dtypes is not installed")
FLOATS = [
    pytest.param(np.dtype("float64"), id="float64"),
    pytest.param(np.dtype("float32"), id="float32"),
    pytest.param(np.dtype("float16"), id="float16"),
    pytest.param(reference.BFLOAT16, id="bfloat16", marks=needs_bfloat16),
]


def imported(package):
    """Import a package; where it is missing, the test or the file is skipped, and the report names it once."""
    return pytest.importorskip(package, reason=f"{package.partition('.')[0]} is not installed")


def in_ci(cases):
    """The cases of a test that .ci/run adds: they show the same with more types or numbers."""
    marks = [] if SIMULATOR else pytest.mark.environment  # which compiles nothing
    each = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*case, marks=marks) for case in each]


def shown(value):
    """A value as the name of a test, which is the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


def is_cut(figure):
    """Whether anything of a matplotlib figure, such as a label, reaches beyond its edges."""
    figure.draw_without_rendering()
    inches, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(inches.x0, inches.y0, width - inches.x1, height - inches.y1) < 0


def put(a, device):
    """The array as a caller of that device would have it: NumPy's own, or a device array."""
    return a if device == "cpu" else nr.tensor(a, device=device).data


def put_unchecked(a, device):
    """The same for arrays of any dtype, also of those that numbarank refuses."""
    if device == "cpu":
        return a
    from numba import cuda

    return cuda.to_device(a)


def host(x):
    """Any result as a NumPy array: scalars, arrays, device arrays and Tensors."""
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    tensor = x if isinstance(x, nr.Tensor) else nr.Tensor(x)
    return tensor.detach().cpu().numpy()


def leaf(a, device="cpu", requires_grad=True):
    return nr.tensor(a, device=device, requires_grad=requires_grad)


def random_pairs(shape, dtype=np.float64, target_dtype=None, seed=0):
    """Scores of ordinary size and targets of +1 and -1."""
    rng = np.random.default_rng(seed)
    x1, x2 = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    y = rng.choice([-1, 1], shape).astype(dtype if target_dtype is None else target_dtype)
    return x1, x2, y


def _same_place(actual, expected):
    """Equal, with NaN equal to NaN and 0 to -0."""
    return (actual == expected) | ((actual != actual) & (expected != expected))


def ulps_apart(actual, expected):
    """How many floating numbers lie between the two, plus one; 0 where both are equal or both NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"{actual.dtype} where {expected.dtype} was expected"
    integer = np.dtype(f"int{8 * actual.dtype.itemsize}")

    def ordered(a):
        bits = a.reshape(-1).view(integer).astype(np.int64)
        return np.where(bits < 0, np.iinfo(integer).min - bits, bits)

    a, b = ordered(actual), ordered(expected)
    apart = np.maximum(a, b).view(np.uint64) - np.minimum(a, b).view(np.uint64)
    actual, expected = actual.reshape(-1), expected.reshape(-1)
    finite = np.isfinite(actual) & np.isfinite(expected)
    apart = np.where(finite, apart, np.uint64(2**63))
    return np.where(_same_place(actual, expected), np.uint64(0), apart)


def assert_within(actual, expected, ulps=1):
    """Same dtype and shape, each element within that many ulp of the expected one; inf and NaN in place."""
    actual, expected = host(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"{actual.dtype} where {expected.dtype} was expected"
    assert actual.shape == expected.shape, f"shape {actual.shape} where {expected.shape} was expected"
    apart = ulps_apart(actual, expected)
    if (apart > ulps).any():
        worst = int(apart.argmax())
        pytest.fail(
            f"{int((apart > ulps).sum())} of {apart.size} elements are off by more than {ulps} ulp; "
            f"the worst, number {worst}, is {actual.reshape(-1)[worst]!r}, expected {expected.reshape(-1)[worst]!r}"
        )


def assert_same(actual, expected):
    """Same dtype, shape and values, bit for bit but for the sign of zero."""
    assert_within(actual, expected, ulps=0)


def assert_bits(actual, expected):
    """Same dtype, shape and bits, signs of zero included."""
    actual, expected = host(actual), host(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


def assert_gradient(actual, full, like, ulps=0):
    """A gradient against the oracle's slopes of every pair: these in the output's shape, else their sums."""
    actual, shape, dtype = host(actual), np.shape(like), reference.gradient_dtype(like)
    assert actual.dtype == dtype, f"gradient has {actual.dtype} where {dtype} was expected"
    if full.shape == shape:
        return assert_within(actual, full.astype(dtype), ulps)
    assert actual.shape == shape, f"gradient has shape {actual.shape}, its input {shape}"
    expected, slack = reference.summed_to(full, shape, dtype), reference.float64_sum_error(full, shape)
    near = ulps_apart(actual, expected).reshape(shape) <= ulps + 1
    with np.errstate(all="ignore"):
        near |= np.abs(actual.astype(np.float64) - expected.astype(np.float64)) <= 2 * slack
    assert near.all(), f"{actual[~near]} where {expected[~near]} was expected"
