"""Against torch on the CPU, where torch is installed: bit for bit where that is promised."""

import itertools
import warnings

import numpy as np
import pytest
import reference
from helpers import (
    MANY,
    REDUCTIONS,
    SIMULATOR,
    assert_same,
    assert_within,
    imported,
    leaf,
    put,
    random_pairs,
    ulps_apart,
)

import numbarank as nr

torch = imported("torch")

from torch.nn import functional as F  # noqa: E402

real = pytest.mark.parametrize("dtype", [np.dtype("float32"), np.dtype("float64")], ids=str)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)

TORCH = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-45, -1e-40, 3e38, -3e38, float("inf"), -float("inf"), float("nan")]
MARGINS = [0.0, 0.1, float("nan")] if SIMULATOR else [0.0, 0.1, float("nan"), 1.0, -1.0, float("inf"), -float("inf")]


def special_pairs(dtype):
    cases = itertools.product(SPECIAL, SPECIAL, [1.0, -1.0])
    return [np.ascontiguousarray(column) for column in np.array(list(cases), dtype).T]


def in_torch(arrays, margin, reduction, upstream=None):
    """torch's loss and the gradients of all three inputs, as NumPy arrays."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    loss = F.margin_ranking_loss(*tensors, margin=margin, reduction=reduction)
    loss.backward(torch.ones_like(loss) if upstream is None else torch.tensor(upstream))
    return loss.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


def here(arrays, margin, reduction, device, upstream=None):
    return nr.margin_ranking_loss_and_grad(
        *(put(a, device) for a in arrays), margin, reduction, gradient=upstream, target_grad=True
    )


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("make", [special_pairs, lambda dtype: random_pairs(MANY, dtype)], ids=["special", "random"])
@real
def test_unreduced_losses_and_gradients_are_torchs_bit_for_bit(device, dtype, make, margin):
    arrays = make(dtype)
    expected, slopes = in_torch(arrays, margin, "none")
    loss, grads = here(arrays, margin, "none", device)
    assert_same(nr.margin_ranking_loss(*(put(a, device) for a in arrays), margin, reduction="none"), expected)
    assert_same(loss, expected)
    for grad, slope in zip(grads, slopes, strict=True):
        assert_same(grad, slope)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("make", [special_pairs, lambda dtype: random_pairs(MANY, dtype)], ids=["special", "random"])
@pytest.mark.parametrize(("reduction", "ulps"), [("sum", 0), ("mean", 1)])
@real
def test_gradients_of_reduced_losses(device, dtype, make, reduction, ulps, margin):
    arrays = make(dtype)
    _, slopes = in_torch(arrays, margin, reduction)
    _, grads = here(arrays, margin, reduction, device)
    for grad, slope in zip(grads, slopes, strict=True):
        assert_within(grad, slope, ulps)


@real
def test_gradients_through_tensors(device, dtype):
    arrays = random_pairs(MANY, dtype)
    for reduction, ulps in (("sum", 0), ("mean", 1)):
        tensors = [leaf(a, device) for a in arrays]
        nr.margin_ranking_loss(*tensors, 0.3, reduction=reduction).backward()
        _, slopes = in_torch(arrays, 0.3, reduction)
        for tensor, slope in zip(tensors, slopes, strict=True):
            assert_within(tensor.grad, slope, ulps)


@real
def test_upstream_gradients(device, dtype):
    arrays = special_pairs(dtype)
    upstream = np.random.default_rng(0).choice([0.0, 1.0, -2.5, np.nan, np.inf], arrays[0].size).astype(dtype)
    _, slopes = in_torch(arrays, 0.5, "none", upstream)
    _, grads = here(arrays, 0.5, "none", device, put(upstream, device))
    for grad, slope in zip(grads, slopes, strict=True):
        assert_same(grad, slope)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@real
def test_reduced_losses_are_nearer_the_truth_than_torchs(device, dtype, reduction):
    arrays = random_pairs(MANY, dtype)
    pairs = F.margin_ranking_loss(*map(torch.tensor, arrays), margin=0.3, reduction="none").numpy()
    exact = reference.exact_sum(pairs)
    truth = reference.rounded(exact if reduction == "sum" else exact / pairs.size, dtype)
    loss = nr.margin_ranking_loss(*(put(a, device) for a in arrays), 0.3, reduction=reduction)
    assert_within(loss, truth, 1)
    theirs = F.margin_ranking_loss(*map(torch.tensor, arrays), margin=0.3, reduction=reduction).numpy()
    assert ulps_apart(theirs, truth) <= 100, "the truth itself is wrong"


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@real
def test_reduced_special_values(device, dtype, reduction, margin):
    cases = list(itertools.product(SPECIAL[::2], [1.0, float("inf"), float("nan")], [1.0, -1.0, 0.0]))
    for case in cases[:: 10 if SIMULATOR else 1]:
        arrays = [np.array([value, 1.0], dtype) for value in case]
        expected = F.margin_ranking_loss(*map(torch.tensor, arrays), margin=margin, reduction=reduction)
        actual = nr.margin_ranking_loss(*(put(a, device) for a in arrays), margin, reduction=reduction)
        assert_within(actual, expected.numpy(), 1)


@pytest.mark.parametrize("dtypes", list(itertools.product(TORCH, repeat=3)), ids="-".join)
def test_promotion_of_floating_arrays(device, dtypes):
    ours = [np.ones(2, reference.BFLOAT16 if name == "bfloat16" else name) for name in dtypes]
    theirs = [torch.ones(2, dtype=TORCH[name], requires_grad=True) for name in dtypes]
    expected = F.margin_ranking_loss(*theirs, margin=0.5)
    expected.backward()
    loss, grads = here(ours, 0.5, "mean", device)
    assert str(loss.dtype) == str(expected.dtype).removeprefix("torch.")
    assert float(nr.Tensor(loss).item() if device == "cuda" else loss) == expected.item() == 0.5
    assert [str(grad.dtype) for grad in grads] == [str(t.grad.dtype).removeprefix("torch.") for t in theirs]


@pytest.mark.parametrize("integer", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("floating", ["float32", "float64"])
def test_integer_targets_do_not_promote(device, floating, integer):
    x1, x2, y = random_pairs(MANY, floating, integer)
    expected = F.margin_ranking_loss(*map(torch.tensor, (x1, x2, y)), margin=0.5, reduction="none").numpy()
    loss = nr.margin_ranking_loss(*(put(a, device) for a in (x1, x2, y)), 0.5, reduction="none")
    assert_same(loss, expected)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_differ_from_torch_by_two_ulp_of_the_largest_operand_at_most(device, name):
    dtype = reference.BFLOAT16 if name == "bfloat16" else np.dtype(name)
    if dtype is None:
        pytest.skip("ml_dtypes is not installed")
    # differences and margin of one sign, so that nothing cancels after torch's first rounding
    x1, x2, _ = random_pairs(MANY, dtype)
    high, low = np.maximum(x1, x2), np.minimum(x1, x2)
    tensors = [torch.tensor(a.astype(np.float32)).to(TORCH[name]) for a in (low, high)]
    expected = F.margin_ranking_loss(*tensors, torch.ones(MANY, dtype=TORCH[name]), margin=0.5, reduction="none")
    expected = expected.to(torch.float32).numpy().astype(dtype)
    loss = nr.margin_ranking_loss(put(low, device), put(high, device), 1, 0.5, reduction="none")
    assert_within(loss, expected, 2)


@every_reduction
@pytest.mark.parametrize(
    "shapes",
    [
        ((4, 1), (1, 6), (1, 1)),
        ((1,), (5,), (1,)),
        ((2, 1, 3), (1, 4, 1), (2, 4, 3)),
        ((), (), ()),
        ((0,), (0,), (0,)),
    ],
    ids=str,
)
def test_shapes(device, shapes, reduction):
    rng = np.random.default_rng(4)
    x1, x2 = (np.asarray(rng.standard_normal(shape)) for shape in shapes[:2])
    arrays = [x1, x2, np.asarray(rng.choice([-1.0, 1.0], shapes[2]))]
    expected, slopes = in_torch(arrays, 0.3, reduction)
    loss, grads = here(arrays, 0.3, reduction, device)
    assert_within(loss, expected, 0 if reduction == "none" else 4)
    for grad, slope in zip(grads, slopes, strict=True):
        assert grad.shape == slope.shape
        np.testing.assert_allclose(nr.Tensor(grad).cpu().numpy(), slope, rtol=1e-13, atol=1e-15)


@every_reduction
def test_legacy_arguments(device, reduction):
    arrays = random_pairs(10, np.float64)
    for size_average, reduce in itertools.product([None, True, False, 0, 1], repeat=2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            expected = torch.nn.MarginRankingLoss(0.3, size_average, reduce, reduction)(*map(torch.tensor, arrays))
            loss = nr.MarginRankingLoss(0.3, size_average, reduce, reduction)(*(put(a, device) for a in arrays))
        assert_within(loss, expected.numpy(), 4)


def test_inputs_changed_in_place_give_the_gradient_at_the_changed_values(cpu):
    arrays = random_pairs(100, np.float64)
    x1, x2, y = (leaf(a) for a in arrays)
    loss = nr.margin_ranking_loss(x1, x2, y, 0.3)
    x1.data += 1
    loss.backward()
    _, slopes = in_torch([arrays[0] + 1, *arrays[1:]], 0.3, "mean")
    for tensor, slope in zip((x1, x2, y), slopes, strict=True):
        assert_within(tensor.grad, slope, 1)


def test_a_weighted_sum_of_losses(device):
    x1, x2, y = random_pairs(50, np.float64)
    ours, theirs = (
        [leaf(a, device) for a in (x1, x2, y)],
        [torch.tensor(a, requires_grad=True) for a in (x1, x2, y)],
    )
    results = []
    for loss, tensors in ((nr.margin_ranking_loss, ours), (F.margin_ranking_loss, theirs)):
        first = loss(*tensors, margin=0.3)
        second = loss(tensors[1], tensors[0], tensors[2], margin=1.0, reduction="sum")
        total = 2 * first - second * first + 3
        total.backward()
        results.append(total.item())
    assert results[0] == pytest.approx(results[1], rel=1e-14)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.cpu().numpy(), b.grad.numpy(), rtol=1e-13, atol=1e-15)


def test_the_same_tensor_twice(device):
    _, x, y = random_pairs(20, np.float64)
    ours, theirs = leaf(x, device), torch.tensor(x, requires_grad=True)
    nr.margin_ranking_loss(ours, ours, put(y, device), 1).backward()
    F.margin_ranking_loss(theirs, theirs, torch.tensor(y), 1).backward()
    assert_same(ours.grad, theirs.grad.numpy())


def test_torch_takes_our_tensors_by_dlpack(cpu):
    x = nr.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    there = torch.from_dlpack(x)
    assert there.dtype == torch.float32
    there[0, 0] = 9
    assert_same(x, np.array([[9, 2], [3, 4]], np.float32))


def test_triplet_margin_loss(device):
    rng = np.random.default_rng(2)
    anchor, positive, negative = (torch.tensor(rng.standard_normal((30, 5))) for _ in range(3))
    d_positive, d_negative = ((anchor - other).norm(dim=1) for other in (positive, negative))
    expected = F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: (a - b).norm(dim=1), margin=1
    )
    loss = nr.margin_ranking_loss(put(d_negative.numpy(), device), put(d_positive.numpy(), device), 1, 1)
    assert_within(loss, expected.numpy(), 4)


def test_a_margin_between_two_bfloat16(cpu):
    """torch's CPU operators round the margin to bfloat16, where the pair is at it; here it is beyond it."""
    from numbarank.torch import margin_ranking_loss

    for function, gradient in [(F.margin_ranking_loss, -1), (margin_ranking_loss, 0)]:
        x1 = torch.tensor([1.703125], dtype=torch.bfloat16, requires_grad=True)
        loss = function(x1, torch.zeros_like(x1), torch.ones_like(x1), margin=1.7)
        loss.backward()
        assert (loss.item(), x1.grad.item()) == (0, gradient)
