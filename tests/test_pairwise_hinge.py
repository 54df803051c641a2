"""Pairwise hinge loss against all pairs written out: every device, reduction, power and kind of group."""

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, REDUCTIONS, SIMULATOR, assert_bits, host, imported, in_ci, leaf, put
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import numbarank as nr

TOLERANCE = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}
powers = pytest.mark.parametrize("power", [1, 2])
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
both_floats = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def pytest_generate_tests(metafunc):
    ways = ["every pair", "sorted"] if metafunc.config.getoption("--device") == "cpu" else ["every pair"]
    metafunc.parametrize("way", ways, indirect=True, scope="module")


@pytest.fixture(autouse=True, scope="module")
def way(request):
    """Groups as they are passed over, and as if they had more pairs."""
    from numbarank._cpu import every_pair

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "sorted":
            patch.setattr(every_pair, "PAIRS_PER_ROW", 0)
            patch.setattr(every_pair, "PAIRS_PER_ROW_OF_SUMS", 0)
        yield


def assert_close(actual, expected, size=None):
    """Equal within the tolerance of the dtype, relative to a size."""
    actual, expected = host(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    size = np.abs(expected) if size is None else size
    tolerance = TOLERANCE[actual.dtype.name]
    error = np.abs(actual.astype(np.float64) - expected)
    assert (error <= tolerance * size).all(), f"{actual} where {expected} was expected"


def check(device, scores, labels, offsets=None, margin=1.0, power=1, weights=None, reduction="mean", where=None):
    """Loss, gradient and counts, and the loss alone, against the pairs written out."""
    flat = [None if a is None else np.asarray(a).reshape(-1) for a in (scores, labels, weights, where)]
    offsets = np.arange(len(scores) + 1) * scores.shape[1] if scores.ndim == 2 else offsets
    expected = reference.AllPairs(flat[0], flat[1], offsets, margin, power, flat[2], flat[3])
    there = {"weights": weights, "where": where}
    there = {name: put(value, device) for name, value in there.items() if value is not None}
    if offsets is not None and scores.ndim == 1:
        there["group"] = np.diff(offsets)
    arguments = put(scores, device), put(labels, device)
    settings = {"margin": margin, "power": power, "reduction": reduction, **there}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(*arguments, **settings, return_counts=True)
    assert_close(loss, expected.loss(reduction))
    assert_close(gradient.reshape(-1), expected.gradient(reduction), expected.gradient_size(reduction))
    assert gradient.dtype == scores.dtype
    assert host(loss).dtype == scores.dtype
    if weights is None:
        assert np.array_equal(host(counts).reshape(-1), expected.counts())
    else:
        np.testing.assert_allclose(host(counts).reshape(-1), expected.counts(), rtol=1e-12)
    assert_bits(nr.pairwise_hinge_loss(*arguments, **settings), loss)


def lists(rng, dtype, rows, levels, ties):
    scores = rng.standard_normal(rows).astype(dtype)
    if ties:
        scores = np.round(scores, 1)
    return scores, rng.integers(0, levels, rows) if levels < rows else rng.permutation(rows)


# ---------------------------------------------------------------- small lists by hand


@pytest.mark.parametrize("weights", [None, np.ones(3)])
def test_what_a_pair_lacks_is_not_rounded_to_the_scores_dtype(device, weights):
    scores, labels = np.array([0.3, 0.2, 0.1], np.float32), np.array([0, 1, 2])
    weights = None if weights is None else put(weights, device)
    _, gradient = nr.pairwise_hinge_loss_and_grad(
        put(scores, device)[:3], put(labels, device), power=2, weights=weights, reduction="sum", margin=0.0
    )
    low, middle, high = scores.astype(np.float64)
    by_middle = 2 * (middle - high) - 2 * (low - middle)
    assert by_middle != 0
    assert float(host(gradient)[1]) == np.float32(by_middle)


def test_three_rows_by_hand(device):
    scores, labels = put(np.array([2.0, 1.5, 0.0]), device), put(np.array([1, 2, 0]), device)
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(scores, labels, reduction="sum", return_counts=True)
    assert float(host(loss)) == 1 - (1.5 - 2.0)
    assert host(gradient).tolist() == [1, -1, 0]
    assert host(counts).tolist() == [1, 1, 0]
    assert float(host(nr.pairwise_hinge_loss(scores, labels))) == 1.5 / 3
    assert float(host(nr.pairwise_hinge_loss(scores, labels, power=2))) == 1.5**2 / 3


@pytest.mark.parametrize(("margin", "active"), [(1.0, 1), (np.nextafter(1.0, 0), 0), (0.0, 0), (-1.0, 0), (5.0, 1)])
def test_a_pair_at_the_kink(device, margin, active):
    arguments = put(np.array([2.0, 1.0]), device), put(np.array([1, 0]), device)
    _, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        *arguments, margin=margin, reduction="sum", return_counts=True
    )
    assert host(counts).tolist() == [active, active]
    assert host(gradient).tolist() == [-active, active]


def test_zeros_of_both_signs_tie(device):
    scores, labels = put(np.array([0.0, -0.0, -0.0, 0.0]), device), put(np.array([1, 0, 1, 0]), device)
    _, _, counts = nr.pairwise_hinge_loss_and_grad(scores, labels, margin=0.0, return_counts=True)
    assert host(counts).tolist() == [2, 2, 2, 2]


def test_labels_of_both_zeros_are_equal(device):
    loss = nr.pairwise_hinge_loss(put(np.zeros(2), device), put(np.array([0.0, -0.0]), device), reduction="sum")
    assert float(host(loss)) == 0


@pytest.mark.parametrize("large", [1e200, np.float32(3e38)])
def test_large_scores_in_the_right_order_cost_nothing(device, large):
    scores = np.array([0.5, -1, 0, 1], getattr(large, "dtype", np.float64)) * large
    loss, gradient = nr.pairwise_hinge_loss_and_grad(put(scores, device), put(np.array([2, 0, 1, 3]), device), power=2)
    assert float(host(loss)) == 0
    assert host(gradient).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("large", [1e200, 1.5e308])
def test_a_row_without_weight_costs_nothing_however_wrong_it_stands(device, large):
    scores, labels = put(np.array([-large, large, 0.0, 0.5]), device), put(np.array([1, 0, 1, 0]), device)
    weights = put(np.array([0.0, 1.0, 0.0, 1.0]), device)
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        scores, labels, weights=weights, power=2, reduction="sum", return_counts=True
    )
    assert float(host(loss)) == 0
    assert host(gradient).tolist() == host(counts).tolist() == [0, 0, 0, 0]


LABELS = {
    "grades": [0, 4, 2, 2, 1, 0, 3, 4, 1, 2],
    "clicks": [-1, 1, 1, -1, -1, 1, -1, -1, 1, -1],
    "lowest and highest grade": [-32, 31, 0, 5, 31, -32, 7, 0, 5, 5],
    "beyond the grades": [-33, 31, 0, 5, 32, -32, 7, 0, 5, 5],
    "half stars": [0.5, 5.0, 2.5, 2.0, 4.5, 3.0, 0.5, 1.0, 2.5, 5.0],
    "large": [1e300, -1e300, 2.0, 3e18, 2.0, 1e300, 0.0, -0.0, 1e-300, 2.0],
    "int64": np.array([2**63 - 1, 2**63 - 2, -(2**63), 1 - 2**63, 0, 0, 1, 2**53, 2**53 + 1, 2**63 - 2]),
    "uint64": np.array([2**64 - 1, 2**64 - 2, 2**63, 2**63 - 1, 0, 0, 1, 2**53, 2**53 + 1, 2**64 - 2], np.uint64),
}


OF_FLOAT32 = [(np.float32, name) for name in LABELS]


@powers
@pytest.mark.parametrize(
    ("dtype", "name"), [*((np.float64, name) for name in LABELS), *OF_FLOAT32[:2], *in_ci(OF_FLOAT32[2:])]
)
def test_labels_of_every_kind(device, dtype, power, name):
    scores = np.random.default_rng(4).standard_normal(10).astype(dtype)
    check(device, scores, np.array(LABELS[name]), power=power, reduction="sum")


@powers
@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_kind_where_rows_take_no_part(device, power, name):
    rng = np.random.default_rng(5)
    scores, labels = rng.standard_normal((2, 10)), np.array([LABELS[name]] * 2)
    where, weights = rng.random((2, 10)) < 0.7, rng.integers(0, 3, (2, 10)).astype(np.float64)
    check(device, scores, labels, power=power, weights=weights, where=where)


@powers
@pytest.mark.parametrize("rows", [3, 4, 5, 7, 8, 9] if SIMULATOR else [15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_lists_as_long_as_registers(device, power, rows):
    scores, labels = lists(np.random.default_rng(rows), np.float64, rows, 3, ties=True)
    check(device, scores, labels, power=power)


@pytest.mark.parametrize("weight", [1e-25, 1.0, 1e20])
def test_a_mean_in_float32_does_not_depend_on_the_size_of_the_weights(device, weight):
    rng, rows = np.random.default_rng(8), 30 if SIMULATOR else 150
    scores, labels = rng.standard_normal(rows).astype(np.float32), rng.integers(0, 2, rows)
    check(device, scores, labels, weights=np.full(rows, weight))


def test_a_mean_of_large_squares_in_float32(device):
    scores, labels = np.repeat(np.float32([-2e36, 2e36]), 75), np.repeat([1, 0], 75)
    _, gradient = nr.pairwise_hinge_loss_and_grad(put(scores, device), put(labels, device), power=2)
    np.testing.assert_allclose(host(gradient), np.repeat(np.float32([-8e36, 8e36]) / 75, 75), rtol=1e-6)


@every_reduction
def test_an_infinite_upstream_gradient_reaches_rows_of_active_pairs_only(device, reduction):
    scores, labels = put(np.array([[5.0, 0.5, 1.0, 3.0]]), device), put(np.array([[3, 2, 1, 0]]), device)
    where = put(np.array([[True, True, True, False]]), device)
    upstream = put(np.array([np.inf]), device) if reduction == "none" else np.inf
    _, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, where=where, reduction=reduction, gradient=upstream)
    assert host(gradient).tolist() == [[0, -np.inf, np.inf, 0]]


@every_reduction
@powers
def test_groups_without_a_pair(device, reduction, power):
    scores, labels = put(np.array([1.0, 2.0, 3.0]), device), put(np.array([1, 4, 4]), device)
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        scores, labels, group=[1, 0, 2, 0], power=power, reduction=reduction, return_counts=True
    )
    assert host(loss).tolist() == ([0] * 4 if reduction == "none" else 0)
    assert host(gradient).tolist() == host(counts).tolist() == [0, 0, 0]


@every_reduction
def test_no_rows_at_all(device, reduction):
    loss, gradient = nr.pairwise_hinge_loss_and_grad(
        put(np.zeros(0), device), put(np.zeros(0), device), group=[], reduction=reduction
    )
    assert host(loss).tolist() == ([] if reduction == "none" else 0)
    assert host(gradient).shape == (0,)


# ---------------------------------------------------------------- against the pairs written out


SIZES = [1, 2, 5, 17] if SIMULATOR else [1, 2, 3, 31, 32, 33, 63, 64, 65, 200, 701]


@powers
@both_floats
@pytest.mark.parametrize("rows", SIZES)
def test_one_list(device, rows, dtype, power):
    rng = np.random.default_rng(rows)
    for levels in {2, 5, rows} if SIMULATOR else (2, 5, 40, rows):
        for margin in (0.0, 1.0, -0.3):
            check(device, *lists(rng, dtype, rows, levels, ties=levels == 5), None, margin, power, None, "sum")


@every_reduction
@powers
@pytest.mark.parametrize("weighted", [False, True])
def test_groups(device, reduction, power, weighted):
    rng = np.random.default_rng(3)
    sizes = [0, 1, 2, 5, 0, 11, 3] if SIMULATOR else [0, 1, 2, 50, 0, 130, 3, 40]
    offsets = np.r_[0, np.cumsum(sizes)]
    scores, labels = lists(rng, np.float64, offsets[-1], 4, ties=True)
    weights = rng.integers(0, 3, offsets[-1]) * 0.5 if weighted else None
    for margin in (1.0, 0.0, -0.5, 50.0):
        check(device, scores, labels, offsets, margin, power, weights, reduction)


@both_floats
@powers
def test_a_common_offset_changes_nothing(device, dtype, power):
    rng = np.random.default_rng(5)
    scores = (rng.integers(-40, 40, 30 if SIMULATOR else 300) / 16).astype(dtype)
    labels = rng.integers(0, 6, len(scores))
    check(device, scores + dtype(1e6), labels, None, 0.25, power, None, "sum")
    plain = nr.pairwise_hinge_loss(put(scores, device), put(labels, device), power=power)
    moved = nr.pairwise_hinge_loss(put(scores + dtype(1e6), device), put(labels, device), power=power)
    assert_close(moved, host(plain).astype(np.float64))


@powers
def test_a_row_far_away_costs_no_places(device, power):
    """One score of 1e9 must not round away the violations of the others."""
    scores, labels = np.array([1e9, 1.0, 1.0 - 1e-6, 0.5]), np.array([3, 2, 1, 0])
    check(device, scores, labels, None, 1e-3, power, None, "sum")


@pytest.mark.parametrize("labels", [np.int8, np.uint8, np.bool_, np.int64, np.uint64, np.float64, *in_ci([np.float32])])
def test_dtypes_of_labels(device, labels):
    scores = np.array([0.5, 0.25, 2.0, 1.0])
    check(device, scores, np.array([1, 0, 0, 1]).astype(labels), reduction="sum")


@pytest.mark.parametrize("dtype", [np.float64, *in_ci([np.float32])])
def test_labels_that_differ_by_less_than_a_score_could(device, dtype):
    labels = 1 + np.array([0, 1, 2, 1, 0]) * 2.0**-40
    check(device, np.array([0.5, 0.25, 0, 1, -1], dtype), labels, power=2)
    check(device, np.array([0.5, 0.25, 0, 1, -1], dtype), labels)


@pytest.mark.parametrize("high", [np.int64(2**60), np.uint64(2**63 + 2**60)])
def test_large_labels_stay_apart(device, high):
    labels = np.array([high + high.dtype.type(1), high])
    assert float(host(nr.pairwise_hinge_loss(put(np.zeros(2), device), put(labels, device)))) == 1


@pytest.mark.parametrize("dtype", FLOATS[2:])
def test_half_types_are_computed_in_float32(device, dtype):
    scores, labels = np.array([0.5, 0.25, 2.0, 1.0]), np.array([1, 0, 0, 1])
    loss, gradient = nr.pairwise_hinge_loss_and_grad(put(scores.astype(dtype), device), put(labels, device))
    assert (loss.dtype, gradient.dtype) == (dtype, dtype)
    expected = reference.AllPairs(scores, labels)
    assert_close(loss, expected.loss("mean"))
    assert_close(gradient, expected.gradient("mean"))


def test_integer_scores_count_as_float64(device):
    loss, gradient = nr.pairwise_hinge_loss_and_grad(put(np.array([1, 3]), device), put(np.array([1, 0]), device))
    assert (float(host(loss)), gradient.dtype) == (3.0, np.float64)


@powers
def test_lists_in_rows_with_a_mask(device, power):
    rng = np.random.default_rng(8)
    scores, labels = rng.standard_normal((5, 9)), rng.integers(0, 3, (5, 9))
    where = rng.random((5, 9)) < 0.7
    where[2] = False
    for reduction in REDUCTIONS:
        check(device, scores, labels, power=power, reduction=reduction)
        check(device, scores, labels, power=power, reduction=reduction, where=where)
    spoiled, expected = scores.copy(), nr.pairwise_hinge_loss_and_grad(scores, labels, where=where, reduction="none")
    spoiled[~where] = np.nan
    loss, gradient = nr.pairwise_hinge_loss_and_grad(
        put(spoiled, device), put(labels, device), where=put(where, device), reduction="none"
    )
    assert_close(loss, expected[0])
    assert_close(gradient, expected[1])
    assert (host(gradient)[~where] == 0).all()


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from([np.dtype("float32"), np.dtype("float64")]))
    sizes = draw(st.lists(st.integers(0, 6 if SIMULATOR else 60), max_size=4))
    rows = sum(sizes)
    elements = st.sampled_from([0.0, -0.0, 1.0, 0.5, -1.0]) | st.floats(-1e6, 1e6, width=32)
    scores = draw(hnp.arrays(dtype, rows, elements=elements))
    labels = draw(hnp.arrays(np.float64, rows, elements=st.integers(-3, 3) | st.floats(-2, 2)))
    weights = draw(st.none() | hnp.arrays(np.float64, rows, elements=st.sampled_from([0.0, 1.0, 0.25, 3.0])))
    margin = draw(st.sampled_from([0.0, 1.0, -1.0, 0.5, 100.0]))
    return scores, labels, np.r_[0, np.cumsum(sizes)].astype(int), margin, draw(st.sampled_from([1, 2])), weights


@given(problem=problems(), reduction=st.sampled_from(REDUCTIONS), losers=st.sampled_from([None, 1, 2, 5, 0.3, 0.5]))
def test_any_lists(device, problem, reduction, losers):
    check_any(device, *problem, reduction, losers)


def check_any(device, scores, labels, offsets, margin, power, weights, reduction, losers=None):
    """As ``check``; the loss relative to the scores, of which its rounding error is a part."""
    expected = reference.AllPairs(scores, labels, offsets, margin, power, weights, losers=losers)
    given = {} if weights is None else {"weights": put(weights, device)}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        put(scores, device), put(labels, device), group=np.diff(offsets), margin=margin, power=power,
        reduction=reduction, return_counts=True, losers=losers, **given,
    )  # fmt: skip
    assert np.allclose(host(counts), expected.counts(), rtol=1e-12, atol=0)
    largest = 2 * np.abs(scores.astype(np.float64)).max(initial=0) + abs(margin)
    size = largest**power * expected.weights.sum() / expected.divisor(reduction)
    assert_close(loss, expected.loss(reduction), size)
    assert_close(
        gradient, expected.gradient(reduction), expected.gradient_size(reduction) + (largest if power == 2 else 0)
    )


# ---------------------------------------------------------------- agreement with margin_ranking_loss


@both_floats
@every_reduction
def test_margin_ranking_loss_of_the_pairs_written_out(device, dtype, reduction):
    rng = np.random.default_rng(1)
    scores, labels = lists(rng, dtype, 25 if SIMULATOR else 150, 5, ties=True)
    winners, losers, _ = reference.pairs_of(labels, [0, len(scores)])
    for margin in (0.0, 0.1, 1.0):
        pairs = nr.margin_ranking_loss(scores[winners], scores[losers], 1, margin, reduction=reduction)
        upstream = 1.0
        _, (by_winner, by_loser) = nr.margin_ranking_loss_and_grad(
            scores[winners], scores[losers], 1, margin, "sum" if reduction == "none" else reduction
        )
        loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
            put(scores, device), put(labels, device), margin=margin, reduction=reduction, gradient=upstream,
            return_counts=True,
        )  # fmt: skip
        assert_close(np.squeeze(host(loss)), pairs.astype(np.float64).sum() if reduction == "none" else float(pairs))
        expected = np.bincount(winners, by_winner, len(scores)) + np.bincount(losers, by_loser, len(scores))
        size = np.bincount(winners, -by_winner, len(scores)) + np.bincount(losers, by_loser, len(scores))
        assert_close(gradient, expected, size)
        active = by_loser != 0
        expected = np.bincount(winners, active, len(scores)) + np.bincount(losers, active, len(scores))
        assert host(counts).tolist() == expected.tolist()


# ---------------------------------------------------------------- gradients


@powers
@every_reduction
def test_gradient_against_central_differences(cpu, power, reduction):
    rng = np.random.default_rng(2)
    scores, labels, weights = rng.standard_normal(20), rng.integers(0, 4, 20), rng.random(20)
    settings = {"group": [8, 12], "power": power, "weights": weights, "reduction": reduction, "margin": 0.7}
    upstream = np.array([2.0, -3.0]) if reduction == "none" else 2.0
    _, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings, gradient=upstream)
    for row in range(20):
        step = np.zeros(20)
        step[row] = 1e-6
        up, down = (nr.pairwise_hinge_loss(s, labels, **settings) for s in (scores + step, scores - step))
        assert np.sum(upstream * (up - down)) / 2e-6 == pytest.approx(gradient[row], rel=1e-6, abs=1e-6)


@powers
def test_permuting_rows_permutes_the_gradient(device, power):
    rng = np.random.default_rng(4)
    scores, labels = lists(rng, np.float64, 20 if SIMULATOR else 500, 7, ties=False)
    order = rng.permutation(len(scores))
    _, gradient = nr.pairwise_hinge_loss_and_grad(put(scores, device), put(labels, device), power=power)
    _, permuted = nr.pairwise_hinge_loss_and_grad(put(scores[order], device), put(labels[order], device), power=power)
    np.testing.assert_allclose(host(permuted), host(gradient)[order], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_backward_of_a_list_a_row(device, reduction):
    rng = np.random.default_rng(3)
    scores, labels, where = rng.standard_normal((3, 5)), rng.integers(3, size=(3, 5)), rng.random((3, 5)) < 0.8
    leaf = nr.tensor(scores, device=device, requires_grad=True)
    loss = nr.pairwise_hinge_loss(leaf, put(labels, device), where=put(where, device), reduction=reduction)
    assert loss.shape == ((3,) if reduction == "none" else ())
    loss.backward(None if loss.shape == () else put(np.ones(3), device))
    expected = nr.pairwise_hinge_loss_and_grad(scores, labels, where=where, reduction=reduction)[1]
    np.testing.assert_allclose(host(leaf.grad), expected, rtol=1e-12)


def test_the_loss_of_a_tensor_is_an_array(cpu):
    loss = nr.pairwise_hinge_loss(nr.tensor([0.0, 1.0]), [1, 0])
    assert type(loss.numpy()) is np.ndarray
    assert loss.numpy() == 2.0


@every_reduction
@powers
def test_backward(device, reduction, power):
    rng = np.random.default_rng(6)
    scores, labels = lists(rng, np.float64, 12, 3, ties=False)
    upstream = np.array([1.0, -2.0, 0.5]) if reduction == "none" else 3.0
    tensor = leaf(scores, device)
    criterion = nr.PairwiseHingeLoss(margin=0.5, power=power, reduction=reduction)
    loss = criterion(tensor, put(labels, device), group=[4, 0, 8])
    if reduction == "none":
        loss.backward(put(upstream, device))
    else:
        (3.0 * loss).backward()
    moved = put(upstream, device) if reduction == "none" else upstream
    plain, gradient = nr.pairwise_hinge_loss_and_grad(
        put(scores, device), put(labels, device), group=[4, 0, 8], margin=0.5, power=power, reduction=reduction,
        gradient=moved,
    )  # fmt: skip
    assert_bits(tensor.grad, gradient)
    assert_bits(loss.detach(), plain)


def test_tensors_in_tensors_out(device):
    results = nr.pairwise_hinge_loss_and_grad(
        leaf([1.0, 2.0], device), put(np.array([1, 0]), device), return_counts=True
    )
    assert [type(result) for result in results] == [nr.Tensor] * 3
    loss = nr.pairwise_hinge_loss(put(np.array([1.0, 2.0]), device), nr.tensor([1, 0], device=device))
    assert isinstance(loss, nr.Tensor) and not loss.requires_grad


def test_out_is_filled_and_returned(device):
    scores, labels, buffer = (put(a, device) for a in (np.array([1.0, 2.0]), np.array([1, 0]), np.empty(2)))
    _, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, out=buffer)
    assert gradient is buffer
    assert host(buffer).tolist() == [-1, 1]


def test_groups_for_reuse(device):
    scores, labels = np.array([1.0, 2.0, 0.0, 3.0]), np.array([1, 0, 1, 0])
    groups = nr.Groups(qid=[3, 3, 1, 1])
    for _ in range(2):
        loss = nr.pairwise_hinge_loss(put(scores, device), put(labels, device), group=groups, reduction="none")
        assert host(loss).tolist() == [2.0, 4.0]


def test_inputs_of_any_layout(cpu):
    rng = np.random.default_rng(7)
    scores, labels = lists(rng, np.float64, 40, 3, ties=True)
    expected = nr.pairwise_hinge_loss(scores, labels)
    odd = scores.astype(">f8"), np.repeat(labels, 2)[::2]
    for array in odd:
        array.flags.writeable = False
    assert_bits(nr.pairwise_hinge_loss(*odd), expected)
    assert_bits(nr.pairwise_hinge_loss(scores.tolist(), labels.tolist()), expected)


# ---------------------------------------------------------------- serial and parallel


@every_reduction
@powers
@pytest.mark.parametrize("weighted", [False, True])
def test_groups_of_few_and_of_many_pairs_in_one_call(cpu, monkeypatch, power, weighted, reduction):
    from numbarank._cpu import every_pair

    for limit in ("PAIRS_PER_ROW", "PAIRS_PER_ROW_OF_SUMS"):
        monkeypatch.setattr(every_pair, limit, 5)
    rng = np.random.default_rng(12)
    few, many = (np.arange(60) == 7) * 1, rng.permutation(60)
    labels = np.concatenate([few, many, [], few, many]).astype(np.int64)
    scores, weights = rng.standard_normal(240), rng.integers(0, 3, 240) if weighted else None
    check(cpu, scores, labels, np.array([0, 60, 120, 120, 180, 240]), 1.0, power, weights, reduction)


@powers
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["many groups", "one group", "one group of distinct labels", "both", "long groups of few pairs"]
)
def test_bits_do_not_depend_on_the_threads(cpu, monkeypatch, name, power, weighted):
    from numbarank._cpu import groups

    monkeypatch.setattr(groups, "PARALLEL_FROM", 100)
    rng = np.random.default_rng(9)
    rows = 40_000
    sizes = {
        "many groups": [100] * 400,
        "both": [35_000] + [5] * 1000,
        "long groups of few pairs": [32_767, 7_233],
    }.get(name, [rows])
    scores, labels = lists(rng, np.float64, rows, rows if "distinct" in name else 5, ties=False)
    if "few" in name:
        labels = labels * (rng.random(rows) < 0.001)
    settings = {"group": sizes, "power": power, "weights": rng.random(rows) if weighted else None}

    def results():
        return nr.pairwise_hinge_loss_and_grad(scores, labels, **settings, return_counts=True)

    parallel = results()
    available = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        serial = results()
    finally:
        numba.set_num_threads(available)
    for a, b in zip(serial, parallel, strict=True):
        assert_bits(a, b)


@powers
def test_a_long_list_against_short_sums(cpu, power):
    """Two levels and sorted scores: every violation is known."""
    n = 40_000
    scores, labels = np.arange(2.0 * n), np.repeat([1, 0], n)
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        scores, labels, power=power, reduction="sum", return_counts=True
    )
    distance = np.arange(1.0, 2 * n)
    pairs = np.minimum(distance, 2 * n - distance)
    assert float(loss) == pytest.approx(float((pairs * (distance + 1) ** power).sum()), rel=1e-13)
    assert (counts == n).all()
    slope = n if power == 1 else 2 * (n + n * (n + 1) / 2)
    assert gradient[n] == pytest.approx(slope, rel=1e-13)
    assert gradient[n - 1] == pytest.approx(-slope, rel=1e-13)


# ---------------------------------------------------------------- what is refused


NAN, INF = np.nan, np.inf
PLAIN = {"scores": np.zeros(3), "labels": np.arange(3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": np.array([0, NAN, 0])}, r"scores\[1\] is nan; scores must be finite"),
        ({"scores": np.array([0, 0, -INF])}, r"scores\[2\] is -inf; scores must be finite"),
        ({"labels": np.array([0, 1, INF])}, r"labels\[2\] is inf; labels must be finite"),
        ({"weights": np.array([1, NAN, 1])}, r"weights\[1\] is nan; weights must be finite"),
        ({"weights": np.array([1, 1, -1.0])}, r"weights\[2\] is -1.0; weights must be 0 or more"),
    ],
    ids=str,
)
@pytest.mark.parametrize("group", [None, [1, 2]])
def test_numbers_that_cannot_be_computed_with(cpu, arguments, message, group):
    buffer = np.full(3, 7.0)
    with pytest.raises(ValueError, match=message):
        nr.pairwise_hinge_loss_and_grad(**{**PLAIN, **arguments}, group=group, out=buffer)
    assert (buffer == 7).all()


def test_the_index_of_an_invalid_row_in_lists(cpu):
    scores = np.zeros((2, 3))
    scores[1, 2] = NAN
    with pytest.raises(ValueError, match=r"scores\[1, 2\] is nan"):
        nr.pairwise_hinge_loss(scores, np.zeros((2, 3)))


# ---------------------------------------------------------------- CUDA


@powers
@pytest.mark.parametrize("argument", ["scores", "labels", "weights"])
@pytest.mark.parametrize("special", [NAN, INF, -INF])
def test_a_group_that_cannot_be_computed_with_becomes_nan(cuda, power, argument, special):
    arrays = {"scores": np.arange(7.0), "labels": np.array([1.0, 0, 1, 0, 1, 1, 0]), "weights": np.ones(7)}
    arrays[argument][3] = special
    settings = {"group": [2, 3, 2], "power": power, "return_counts": True}
    arrays = {name: put(array, cuda) for name, array in arrays.items()}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(**arrays, **settings, reduction="none")
    assert np.isnan(host(loss)).tolist() == [False, True, False]
    assert (
        np.isnan(host(gradient)).tolist() == np.isnan(host(counts)).tolist() == [False] * 2 + [True] * 3 + [False] * 2
    )
    loss, gradient, _ = nr.pairwise_hinge_loss_and_grad(**arrays, **settings)
    assert np.isnan(host(loss))
    assert np.isfinite(host(gradient)).tolist() == [True] * 2 + [False] * 3 + [True] * 2


def test_a_negative_weight_on_cuda(cuda):
    arrays = (put(np.array(a), cuda) for a in ([0.0, 1.0], [1, 0]))
    loss = nr.pairwise_hinge_loss(*arrays, weights=put(np.array([1.0, -1.0]), cuda))
    assert np.isnan(host(loss))


GROUPED = {
    "reused": {"group": nr.Groups(group=[2, 2])},
    "counts": {"group": [2, 2]},
    "ids": {"qid": [5, 5, 3, 3]},
    "a list a row": {},
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_go_to_a_device_once(cuda, monkeypatch, name):
    from numbarank._cuda import arrays

    shape = (2, 2) if name == "a list a row" else (4,)
    scores, labels = put(np.zeros(shape), cuda), put(np.arange(4).reshape(shape), cuda)
    first = host(nr.pairwise_hinge_loss(scores, labels, **GROUPED[name]))
    assert first == 1.0
    monkeypatch.setattr(arrays, "from_host", None)
    assert host(nr.pairwise_hinge_loss(scores, labels, **GROUPED[name])) == first


def test_many_groups_go_to_a_device(cuda, monkeypatch):
    from numbarank._cuda import groups

    monkeypatch.setattr(groups, "_LARGEST_KEPT", 8)
    scores, labels = put(np.zeros(5), cuda), put(np.arange(5), cuda)
    for counts in ([2, 3], [3, 2], [2, 3]):
        losses = host(nr.pairwise_hinge_loss(scores, labels, group=counts, reduction="none"))
        assert losses.tolist() == [count * (count - 1) / 2 for count in counts]


COLUMN = np.array([[2.0], [1.5], [0.0]]), np.array([[1], [2], [0]])


@pytest.mark.parametrize("wrap", [np.asarray, np.ndarray.tolist, nr.Tensor], ids=["array", "list", "Tensor"])
def test_a_column_of_scores_is_no_table_of_lists(device, wrap):
    arrays = [wrap(array) if wrap is np.ndarray.tolist else wrap(put(array, device)) for array in COLUMN]
    for function in (nr.pairwise_hinge_loss, nr.pairwise_hinge_loss_and_grad, nr.PairwiseHingeLoss()):
        with pytest.raises(ValueError) as error:
            function(*arrays)
        assert str(error.value).startswith(
            "scores has shape (3, 1), 3 lists of one row each, and a pair takes two rows"
        )
        assert "pass scores.reshape(-1) and labels.reshape(-1) if it is one list" in str(error.value)


def test_the_advice_for_a_column_works(device):
    scores, labels = (put(array, device) for array in COLUMN)
    loss, gradient = nr.pairwise_hinge_loss_and_grad(scores.reshape(-1), labels.reshape(-1), reduction="sum")
    assert (float(host(loss)), host(gradient).tolist()) == (1.5, [1.0, -1.0, 0.0])
    where = put(np.ones((3, 1), bool), device)
    assert host(nr.pairwise_hinge_loss(scores, labels, where=where, reduction="none")).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("name", ["scores", "labels", "weights"])
@pytest.mark.parametrize("shape", [(3, 1), (1, 3)], ids=str)
def test_a_column_or_row_beside_vectors_names_the_reshape(device, name, shape):
    arrays = {"scores": np.array([2.0, 1.5, 0.0]), "labels": np.array([1, 2, 0]), "weights": np.array([1.0, 2.0, 1.0])}
    wrong = {key: put(array.reshape(shape) if key == name else array, device) for key, array in arrays.items()}
    with pytest.raises(ValueError, match=rf"one value for each score: pass {name}\.reshape\(-1\)$"):
        nr.pairwise_hinge_loss(**wrong)
    wrong[name] = wrong[name].reshape(-1)
    assert float(host(nr.pairwise_hinge_loss(**wrong, reduction="sum"))) == 2 * 1.5


def test_tables_that_do_not_fit_are_not_flattened(device):
    scores, labels = put(np.zeros((2, 3)), device), put(np.arange(6), device)
    with pytest.raises(ValueError, match=r"labels \(6,\); they must be equal, one value for each score$"):
        nr.pairwise_hinge_loss(scores, labels)


@pytest.mark.parametrize("shape", [(1, 1), (0, 1), (3, 0), (1, 0)], ids=str)
def test_small_tables_of_lists(device, shape):
    loss, gradient = nr.pairwise_hinge_loss_and_grad(put(np.ones(shape), device), put(np.ones(shape), device))
    assert (float(host(loss)), host(gradient).shape) == (0.0, shape)


@pytest.mark.parametrize("groups", [{"group": [1, 1, 1]}, {"qid": [5, 7, 6]}], ids=str)
def test_queries_of_one_row_make_no_pair(device, groups):
    scores, labels = (put(array.reshape(-1), device) for array in COLUMN)
    assert host(nr.pairwise_hinge_loss(scores, labels, **groups, reduction="none")).tolist() == [0.0, 0.0, 0.0]


def test_arrays_on_two_devices(cuda):
    with pytest.raises(ValueError, match="scores is on cuda:0, labels is on cpu; all must be on one device"):
        nr.pairwise_hinge_loss(put(np.zeros(3), cuda), np.zeros(3))


def test_ids_on_a_device(cuda):
    scores, labels, qid = put(np.zeros(3), cuda), put(np.arange(3), cuda), put(np.array([4, 4, 9]), cuda)
    advice = r"pass numbarank\.Tensor\(qid\)\.cpu\(\)\.numpy\(\)"
    with pytest.raises(
        TypeError, match=rf"qid is a .*; it must be a list or NumPy array in host memory, .*: {advice}$"
    ):
        nr.pairwise_hinge_loss(scores, labels, qid=qid)
    losses = nr.pairwise_hinge_loss(scores, labels, qid=nr.Tensor(qid).cpu().numpy(), reduction="none")
    assert host(losses).tolist() == [1.0, 0.0]


# ---------------------------------------------------------------- other packages


def test_rax(cpu):
    """rax has the hinge of every pair of a list, averaged over the pairs."""
    rax = imported("rax")
    rng = np.random.default_rng(10)
    scores, labels = rng.standard_normal((4, 12)).astype(np.float32), rng.integers(0, 3, (4, 12)).astype(np.float32)
    where = rng.random((4, 12)) < 0.8
    expected = rax.pairwise_hinge_loss(scores, labels, where=where)
    assert_close(nr.pairwise_hinge_loss(scores, labels, where=where), float(expected))


@pytest.mark.parametrize("masked", [0, 500])
@pytest.mark.parametrize(("liked", "is_sorted"), [(20, False), (2500, True), (None, True)])
def test_long_lists_of_few_pairs_are_not_sorted(cpu, monkeypatch, liked, is_sorted, masked):
    from numbarank._cpu import every_pair, groups

    monkeypatch.setattr(every_pair, "PAIRS_PER_ROW", 500)
    sort_groups, calls = groups._sort_groups, []
    monkeypatch.setattr(groups, "_sort_groups", lambda *call: (calls.append(call), sort_groups(*call)))
    rng = np.random.default_rng(0)
    labels = rng.permutation(5000) if liked is None else (np.arange(5000) < liked) * 1
    scores, where = rng.standard_normal(5000), np.arange(5000) >= masked
    labels = np.roll(labels, masked + 300)
    loss = nr.pairwise_hinge_loss(scores[None], labels[None], where=where[None], reduction="sum")
    assert len(calls) == is_sorted
    z = 1.0 - (scores[where][:, None] - scores[where])
    pairs = (labels[where][:, None] > labels[where]) & (z > 0)
    assert_close(loss, z[pairs].sum())


@pytest.mark.parametrize("rows", [100_000, pytest.param(4_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("losers", [None, 0.3])
@pytest.mark.parametrize("labels", ["grades", "clicks"])
def test_equal_weights_do_not_add_up_to_an_error(cpu, labels, losers, rows):
    rng = np.random.default_rng(0)
    scores = np.round(rng.standard_normal(rows), 2)
    labels = rng.integers(0, 5, rows) if labels == "grades" else rng.random(rows) < 1000 / rows
    settings = {"losers": losers, "reduction": "sum", "return_counts": True}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(scores, labels, weights=np.full(rows, 0.1), **settings)
    # whole numbers, but for the loss
    pairs, slopes, active = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings)
    np.testing.assert_allclose(loss, 0.01 * pairs, rtol=1e-13)
    np.testing.assert_allclose(counts, 0.01 * active, rtol=1e-13)
    assert (np.abs(gradient - 0.01 * slopes) <= 1e-13 * 0.01 * active).all()
    mean = nr.pairwise_hinge_loss(scores, labels, weights=np.full(rows, 0.1), losers=losers)
    np.testing.assert_allclose(mean, nr.pairwise_hinge_loss(scores, labels, losers=losers), rtol=1e-13)
