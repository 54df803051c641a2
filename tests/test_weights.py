"""A margin and a weight for each pair, against the NumPy oracle: every device, reduction, dtype and shape."""

import math

import numpy as np
import pytest
import reference
from helpers import FLOATS, REDUCTIONS, SIMULATOR, assert_gradient, assert_within, host, put, random_pairs

import numbarank as nr

every_float = pytest.mark.parametrize("dtype", FLOATS)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
SIZES = [1, 7, 33, 135] if SIMULATOR else [1, 63, 64, 65, 1_000, 8_193, 60_000]


def settings_of(shape, dtype, seed=0):
    """Margins, and weights of which some are 0."""
    rng = np.random.default_rng(seed)
    weights = (rng.integers(0, 4, shape) * rng.random(shape)).astype(dtype)
    weights.flat[:1] = 1
    return (2 * rng.random(shape) - 0.5).astype(dtype), weights


def check(device, arrays, margin, weights, reduction, gradient=None):
    given = [put(array, device) for array in arrays]
    each = {"margin": put_if_array(margin, device), "weights": put_if_array(weights, device)}
    loss = nr.margin_ranking_loss(*given, reduction=reduction, **each)
    again, grads = nr.margin_ranking_loss_and_grad(
        *given, reduction=reduction, gradient=put_if_array(gradient, device), target_grad=True, **each
    )
    ulps = 0 if reduction == "none" else 1
    for one in (loss, again):
        assert_within(one, reference.loss(*arrays, margin, reduction, weights), ulps)
    upstream = 1.0 if gradient is None else gradient
    slopes = reference.slopes(*arrays, margin, reduction, upstream, weights)
    for grad, full, like in zip(grads, slopes, arrays, strict=True):
        assert_gradient(grad, full, like, 3 if reduction == "mean" else 0)


def put_if_array(value, device):
    return put(value, device) if isinstance(value, np.ndarray) else value


@every_reduction
@pytest.mark.parametrize("size", SIZES)
def test_sizes(device, size, reduction):
    arrays, (margin, weights) = random_pairs(size, np.float32, seed=size), settings_of(size, np.float32)
    check(device, arrays, margin, weights, reduction)


@every_reduction
@every_float
def test_dtypes(device, dtype, reduction):
    arrays, (margin, weights) = random_pairs(135, dtype), settings_of(135, dtype)
    check(device, arrays, margin, weights, reduction)
    check(device, arrays, margin, None, reduction)
    check(device, arrays, 0.25, weights, reduction)


@every_reduction
@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_integer_targets(device, dtype, reduction):
    x1, x2, y = random_pairs(70, np.float64)
    check(device, (x1, x2, y.astype(dtype)), *settings_of(70, np.float64), reduction)


@every_reduction
@pytest.mark.parametrize("shape", [(1, 5), (6, 1), (1, 1), (6, 5)], ids=str)
def test_broadcasts(device, reduction, shape):
    x1, x2, y = random_pairs((6, 5), np.float64)
    margin, weights = settings_of(shape, np.float64)
    check(device, (x1, x2, y), margin, weights, reduction)
    check(device, (x1[:1], x2[:1], y[:1]), margin, weights, reduction)


def test_weights_in_other_dtypes(device):
    arrays = random_pairs(40, np.float32)
    margin, weights = settings_of(40, np.float64)
    check(device, arrays, margin.astype(np.float32).astype(np.float64), np.arange(40), "sum")
    check(device, arrays, np.arange(40, dtype=np.int16), weights.astype(np.float32).astype(np.float64), "none")


@pytest.mark.parametrize("weight", [2.0, np.float32(2), np.array(2.0), 0])
def test_a_number_stands_for_every_pair(device, weight):
    arrays = random_pairs(20, np.float64)
    for reduction in REDUCTIONS:
        check(device, arrays, 0.5, np.full(20, float(weight)), reduction)
        given = [put(array, device) for array in arrays]
        loss = nr.margin_ranking_loss(*given, 0.5, reduction=reduction, weights=weight)
        assert_within(loss, reference.loss(*arrays, 0.5, reduction, np.full(20, float(weight))), ulps=1)


@every_reduction
def test_a_pair_of_weight_0_is_left_out_whatever_it_holds(device, reduction):
    x1, x2, y = random_pairs(12, np.float64)
    margin, weights = settings_of(12, np.float64)
    weights[:8] = 0
    x1[:4], x2[2:6], y[5], margin[6:8] = np.inf, -np.inf, np.nan, [np.nan, np.inf]
    check(device, (x1, x2, y), margin, weights, reduction)
    upstream = np.full(12, np.inf) if reduction == "none" else np.inf
    given = [put(array, device) for array in (x1, x2, y, margin)]
    _, gradients = nr.margin_ranking_loss_and_grad(
        *given, reduction, gradient=put_if_array(upstream, device), weights=put(weights, device)
    )
    assert not any(host(gradient)[:8].any() for gradient in gradients)


def test_equal_weights_change_no_mean(device):
    given = [put(array, device) for array in random_pairs(50, np.float64)]
    plain = nr.margin_ranking_loss(*given, 0.5)
    assert_within(nr.margin_ranking_loss(*given, 0.5, weights=put(np.full(50, 0.1), device)), host(plain), ulps=1)


def test_no_pairs_and_no_weight_have_no_mean(device):
    nothing, some = put(np.empty(0), device), put(np.array([1.0, 2.0]), device)
    assert math.isnan(host(nr.margin_ranking_loss(nothing, nothing, nothing, weights=nothing)))
    weights = put(np.zeros(2), device)
    loss, gradients = nr.margin_ranking_loss_and_grad(some, some, some, weights=weights)
    assert math.isnan(host(loss)) and not any(host(gradient).any() for gradient in gradients)
    assert host(nr.margin_ranking_loss(some, some, some, weights=weights, reduction="sum")) == 0


@every_reduction
def test_upstream_gradients(device, reduction):
    arrays, (margin, weights) = random_pairs(40, np.float32), settings_of(40, np.float32)
    gradient = np.linspace(-2, 2, 40, dtype=np.float32) if reduction == "none" else 3.0
    check(device, arrays, margin, weights, reduction, gradient)
    if reduction != "none" and device == "cuda":
        check(device, arrays, margin, weights, reduction, np.array(3.0, np.float32))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_sums_of_far_more_than_float_can_hold(device, reduction):
    x1, x2, y = np.full(4, -1e308), np.full(4, 7e307), np.ones(4)
    weights = np.array([1.0, 0.5, 0.25, 0.0])
    check(device, (x1, x2, y), np.zeros(4), weights, reduction)


def test_backward(device):
    arrays, (margin, weights) = random_pairs(30, np.float64), settings_of(30, np.float64)
    leaves = [nr.tensor(array, device=device, requires_grad=True) for array in arrays]
    each = [nr.tensor(array, device=device) for array in (margin, weights)]
    nr.margin_ranking_loss(*leaves, each[0], weights=each[1]).backward()
    for leaf, full, like in zip(leaves, reference.slopes(*arrays, margin, "mean", 1.0, weights), arrays, strict=True):
        assert_gradient(leaf.grad.data, full, like, 3)
    criterion = nr.MarginRankingLoss(0.5, reduction="sum")
    assert_within(criterion(*leaves, weights=each[1]).data, reference.loss(*arrays, 0.5, "sum", weights), ulps=1)


def test_buffers(device):
    arrays, (margin, weights) = random_pairs(30, np.float64), settings_of(30, np.float64)
    given, each = [put(array, device) for array in arrays], [put(array, device) for array in (margin, weights)]
    losses, *out = (put(np.empty(30), device) for _ in range(3))
    assert nr.margin_ranking_loss(*given, each[0], reduction="none", weights=each[1], out=losses) is losses
    assert_within(losses, reference.loss(*arrays, margin, "none", weights), ulps=0)
    _, gradients = nr.margin_ranking_loss_and_grad(*given, each[0], weights=each[1], out=out)
    assert gradients[0] is out[0] and gradients[1] is out[1]
    with pytest.raises(ValueError, match=r"^out\[0\] shares memory with weights"):
        nr.margin_ranking_loss_and_grad(*given, each[0], weights=each[1], out=[each[1], out[1]])
    with pytest.raises(ValueError, match=r"^out shares memory with margin"):
        nr.margin_ranking_loss(*given, each[0], reduction="none", weights=each[1], out=each[0])


INVALID = [-1.0, float("nan"), float("inf"), -float("inf")]


@every_reduction
@pytest.mark.parametrize("value", INVALID)
def test_invalid_weights(device, value, reduction):
    x1, x2, y = random_pairs(10, np.float64)
    weights = np.ones(10)
    weights[7] = value
    given = [put(array, device) for array in (x1, x2, y)]
    calls = (
        lambda: nr.margin_ranking_loss(*given, 5.0, reduction=reduction, weights=put(weights, device)),
        lambda: nr.margin_ranking_loss_and_grad(*given, 5.0, reduction, weights=put(weights, device))[0],
    )
    for call in calls:
        if device == "cpu":
            with pytest.raises(ValueError, match=r"^weights\[7\] is .*; weights must be 0 or more and finite"):
                call()
        else:
            assert np.isnan(host(call())).tolist() == ([k == 7 for k in range(10)] if reduction == "none" else True)


def test_invalid_weights_leave_gradients_of_a_mean_alone(cpu):
    x1, x2, y = random_pairs(10, np.float64)
    out = [np.full(10, 5.0), np.full(10, 5.0)]
    with pytest.raises(ValueError, match="weights"):
        nr.margin_ranking_loss_and_grad(x1, x2, y, weights=np.full(10, -1.0), out=out)
    assert all((buffer == 5).all() for buffer in out)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        ({"weights": np.array([True, False])}, TypeError, "weights has dtype bool"),
        ({"weights": np.ma.masked_array([1.0, 2.0], [0, 1])}, TypeError, "weights is a masked array"),
        ({"weights": np.ones(3)}, ValueError, r"weights \(3,\); they do not broadcast"),
        ({"weights": np.ones((1, 2))}, ValueError, "same number of dimensions"),
        ({"weights": "heavy"}, TypeError, "weights is a str"),
        ({"margin": np.ones(3)}, ValueError, r"margin \(3,\); they do not broadcast"),
        ({"margin": [True, False]}, TypeError, "margin has dtype bool"),
        ({"margin": ["1", "2"]}, TypeError, "margin"),
        ({"margin": np.ma.masked_array([1.0, 2.0], [0, 1])}, TypeError, "margin is a masked array"),
        ({"margin": nr.tensor([1.0, 2.0], requires_grad=True)}, TypeError, "margin requires a gradient"),
        ({"weights": nr.tensor([1.0, 2.0], requires_grad=True)}, TypeError, "weights requires a gradient"),
    ],
)
def test_what_is_no_margin_and_no_weight(cpu, settings, error, message):
    x = np.array([1.0, 2.0])
    for call in (nr.margin_ranking_loss, nr.margin_ranking_loss_and_grad):
        with pytest.raises(error, match=message):
            call(x, x, x, **settings)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_the_threads(cpu, dtype):
    import numba

    arrays, (margin, weights) = random_pairs(130_000, dtype), settings_of(130_000, dtype)
    before, results = numba.get_num_threads(), []
    for threads in {1, before}:
        numba.set_num_threads(threads)
        loss, gradients = nr.margin_ranking_loss_and_grad(*arrays, margin, weights=weights)
        results.append((loss.tobytes(), *(gradient.tobytes() for gradient in gradients)))
    numba.set_num_threads(before)
    assert len(set(results)) == 1
    check("cpu", arrays, margin, weights, "mean")


@every_reduction
def test_large_loops(cpu, reduction, monkeypatch):
    from numbarank._cpu import pairs

    monkeypatch.setattr(pairs, "LARGE_FROM", 1_000)
    for shift in (0, 1):
        arrays = [array[shift:] for array in random_pairs(20_001, np.float32)]
        margin, weights = (array[shift:] for array in settings_of(20_001, np.float32))
        check("cpu", arrays, margin, weights, reduction)
