"""Loops over so many pairs that no cache holds them: they fetch ahead, and store past the caches, 64 pairs at a time.

Most tests call few pairs large, so that they take the same loops, and serial ones, which compile faster.
"""

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, assert_gradient, assert_same, assert_within

import numbarank as nr
from numbarank._cpu import pairs, threads

pytestmark = pytest.mark.usefixtures("cpu")

SIZE = 20_011
TRUE_SIZE = 2_000_003
MARGIN = 0.25
EMPTY = 0xA5  # what is in memory that nothing was written to
may_run_parallel = threads.may_run_parallel
every_float = pytest.mark.parametrize("dtype", FLOATS)
# the stores differ between memory that begins at a multiple of 16 bytes and other memory
shifts = pytest.mark.parametrize("shift", [0, 1])


@pytest.fixture
def few_are_large(monkeypatch):
    """As if a thousand pairs were too many for any cache."""
    monkeypatch.setattr(pairs, "PARALLEL_FROM", 1000)
    monkeypatch.setattr(pairs, "LARGE_FROM", 1000)
    monkeypatch.setattr(threads, "may_run_parallel", lambda: False)


def inputs(size, dtype, target="like", seed=0):
    """Scores and targets; in every other pair quarters, of which many lie right at the margin."""
    rng = np.random.default_rng(seed)
    x1, x2 = (rng.standard_normal(size) for _ in range(2))
    for x in (x1, x2):
        x[::2] = rng.integers(-4, 5, x[::2].size) / 4
    y = rng.choice([-1, 1], size).astype(dtype if target == "like" else target) if target != "number" else -1
    return x1.astype(dtype), x2.astype(dtype), y


class Placed:
    """An array that begins some elements after a multiple of 64 bytes, and the memory around it."""

    def __init__(self, shift, size, dtype):
        dtype = np.dtype(dtype)
        self.memory = np.full(size * dtype.itemsize + 256, EMPTY, np.uint8)
        start = 64 + -self.memory.ctypes.data % 64 + shift * dtype.itemsize
        self.around = np.ones(self.memory.size, bool)
        self.around[start : start + size * dtype.itemsize] = False
        self.array = self.memory[start : start + size * dtype.itemsize].view(dtype)

    def assert_alone(self):
        assert (self.memory[self.around] == EMPTY).all(), "something was written beside the array"


def placed(array, shift):
    """A copy of an array in such a place; a number stays one."""
    if np.ndim(array) == 0:
        return array
    copy = Placed(shift, array.size, array.dtype).array
    copy[...] = array
    return copy


def assert_losses(arrays, shift):
    """Losses, written into a buffer."""
    out = Placed(shift, arrays[0].size, arrays[0].dtype)
    given = [placed(a, shift) for a in arrays]
    assert nr.margin_ranking_loss(*given, MARGIN, reduction="none", out=out.array) is out.array
    assert_same(out.array, reference.loss(*arrays, MARGIN, "none"))
    out.assert_alone()


def assert_gradients(arrays, shift, reduction, upstream=None, target_grad=False):
    """The loss, and its gradients, which are written into buffers, one of them in another place than the others."""
    size, likes = arrays[0].size, arrays if target_grad else arrays[:2]
    places = shift, 1 - shift, shift
    out = [Placed(place, size, reference.gradient_dtype(a)) for place, a in zip(places, likes, strict=False)]
    loss, gradients = nr.margin_ranking_loss_and_grad(
        *(placed(a, shift) for a in arrays),
        MARGIN,
        reduction,
        gradient=None if upstream is None else placed(upstream, shift),
        out=tuple(one.array for one in out),
        target_grad=target_grad,
    )
    assert_within(loss, reference.loss(*arrays, MARGIN, reduction), 0 if reduction == "none" else 1)
    slopes = reference.slopes(*arrays, MARGIN, reduction, 1.0 if upstream is None else upstream)
    for actual, full, like, one in zip(gradients, slopes, likes, out, strict=False):
        assert actual is one.array
        # 'mean' rounds the scale and its product with the slope
        assert_gradient(actual, full, like, 2 if reduction == "mean" else 0)
        one.assert_alone()


# ---------------------------------------------------------------- few pairs, called large


@shifts
def test_losses(few_are_large, shift):
    assert_losses(inputs(SIZE, np.float32), shift)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_loss_alone(few_are_large, reduction):
    arrays = inputs(SIZE, np.float32)
    loss = nr.margin_ranking_loss(*(placed(a, 1) for a in arrays), MARGIN, reduction=reduction)
    assert_within(loss, reference.loss(*arrays, MARGIN, reduction), 1)


@shifts
@every_float
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_loss_and_its_gradients(few_are_large, dtype, reduction, shift):
    assert_gradients(inputs(SIZE, dtype), shift, reduction)


@shifts
@every_float
def test_losses_and_three_gradients_of_an_upstream_gradient_for_every_pair(few_are_large, dtype, shift):
    upstream = np.random.default_rng(1).standard_normal(SIZE).astype(reference.compute_dtype(dtype))
    assert_gradients(inputs(SIZE, dtype), shift, "none", upstream, target_grad=True)


@shifts
@pytest.mark.parametrize("target", ["int8", "int64", "number"])
def test_other_targets(few_are_large, target, shift):
    assert_gradients(inputs(SIZE, np.float32, target), shift, "mean", upstream=-0.5)


@shifts
def test_the_gradient_of_an_integer_target_is_wider_than_its_scores(few_are_large, shift):
    assert_gradients(inputs(SIZE, np.float32, "int8"), shift, "sum", target_grad=True)


@pytest.mark.parametrize(
    "size",
    [1000, 1023, 1024, 1025, 8191, 8192, 8193, 16_383, 16_385, 32_767, 32_769, 65_536, 131_071, 131_073, 200_001],
)
def test_sizes_beside_those_of_rows_and_blocks(few_are_large, size):
    arrays = inputs(size, np.float32, seed=size)
    assert_losses(arrays, 0)
    assert_gradients(arrays, 1, "mean")


@pytest.mark.parametrize("place", [0, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("special", [np.inf, np.nan])
def test_one_special_score(few_are_large, special, place):
    arrays = inputs(SIZE, np.float32)
    arrays[1][place], arrays[2][place] = special, 1
    assert_losses(arrays, 0)
    assert_gradients(arrays, 1, "mean")


def test_serial_loops_and_parallel_ones_give_the_same_bits(few_are_large, monkeypatch):
    arrays = inputs(SIZE, np.float32)

    def results():
        loss, gradients = nr.margin_ranking_loss_and_grad(*arrays, MARGIN)
        return [array.tobytes() for array in (loss, *gradients)]

    serial = results()
    monkeypatch.setattr(threads, "may_run_parallel", may_run_parallel)
    assert results() == serial
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert results() == serial
    finally:
        numba.set_num_threads(before)


# ---------------------------------------------------------------- as many as it takes


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_two_million_pairs(reduction):
    assert_gradients(inputs(TRUE_SIZE, np.float32), 1, reduction)
