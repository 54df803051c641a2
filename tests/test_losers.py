"""Pairs with the highest-scoring losers only, against the same pairs written out, on every device."""

import itertools
import time

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, REDUCTIONS, SIMULATOR, assert_bits, host, leaf, put

import numbarank as nr

TOLERANCE = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}
LOSERS = [1, 2, 3, 7, 10_000, 0.01, 0.25, 0.5, 0.999, 1.0]
powers = pytest.mark.parametrize("power", [1, 2])


def assert_close(actual, expected, size=None):
    actual, expected = host(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.abs(actual.astype(np.float64) - expected)
    assert (error <= TOLERANCE[actual.dtype.name] * (np.abs(expected) if size is None else size)).all()


def check(device, scores, labels, offsets, losers, power=1, reduction="mean", weights=None, where=None, margin=1.0):
    """Loss, gradient and counts, and the loss alone, against the pairs written out."""
    flat = [None if a is None else np.asarray(a).reshape(-1) for a in (scores, labels, weights, where)]
    computed = flat[0].astype(np.float32) if scores.dtype.itemsize == 2 else flat[0]
    expected = reference.AllPairs(computed, flat[1], offsets, margin, power, flat[2], flat[3], losers)
    given = {"weights": weights, "where": where}
    given = {name: put(value, device) for name, value in given.items() if value is not None}
    settings = {"margin": margin, "power": power, "reduction": reduction, "losers": losers, **given}
    if scores.ndim == 1:
        settings["group"] = np.diff(offsets)
    arguments = put(scores, device), put(labels, device)
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(*arguments, **settings, return_counts=True)
    assert_close(loss, expected.loss(reduction))
    assert_close(gradient.reshape(-1), expected.gradient(reduction), expected.gradient_size(reduction))
    assert_close(counts.reshape(-1), expected.counts())
    assert gradient.dtype == host(loss).dtype == scores.dtype
    assert_bits(nr.pairwise_hinge_loss(*arguments, **settings), loss)


def rows_of(rng, dtype, rows, levels, ties=True):
    scores = rng.standard_normal(rows).astype(dtype)
    labels = rng.integers(0, levels, rows) if levels < rows else rng.permutation(rows)
    return np.round(scores, 1) if ties else scores, labels


@powers
@pytest.mark.parametrize("levels", [2, 3, 5, 1000])
@pytest.mark.parametrize("losers", LOSERS[::3] if SIMULATOR else LOSERS)
def test_groups_of_all_lengths(device, losers, levels, power):
    rng = np.random.default_rng(levels)
    lengths = [5, 0, 1, 40, 2, 7] if SIMULATOR else [5, 0, 1, 40, 2, 200, 7, 33]
    scores, labels = rows_of(rng, np.float64, sum(lengths), levels)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for reduction in REDUCTIONS:
        check(device, scores, labels, offsets, losers, power, reduction)


@powers
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("losers", [2, 0.3])
def test_dtypes_weights_and_masks(device, losers, dtype, power):
    rng = np.random.default_rng(0)
    lists, length = (2, 12) if SIMULATOR else (6, 60)
    scores, labels = rows_of(rng, dtype, lists * length, 4)
    weights = rng.integers(0, 4, lists * length) / 2.0
    where = rng.random(lists * length) < 0.7
    where[:length] = False
    shape = lists, length
    scores, labels, weights, where = (a.reshape(shape) for a in (scores, labels, weights, where))
    offsets = np.arange(lists + 1) * length
    for mask in (None, where):
        for weight in (None, weights):
            check(device, scores, labels, offsets, losers, power, "none", weight, mask)
            check(device, scores, labels, offsets, losers, power, "mean", weight, mask)


@pytest.mark.parametrize("losers", [5, 0.3])
def test_groups_longer_than_a_block_of_threads(device, losers):
    rng = np.random.default_rng(5)
    lengths = [3, 20] if SIMULATOR else [3, 600]
    scores, labels = rows_of(rng, np.float32, sum(lengths), 4)
    weights = rng.integers(0, 3, sum(lengths)) / 2.0
    check(device, scores, labels, np.cumsum([0, *lengths]), losers, 1, "none", weights)


@pytest.mark.parametrize("margin", [-0.5, 0.0, 1.5])
def test_margins(device, margin):
    scores, labels = rows_of(np.random.default_rng(1), np.float32, 60, 3)
    check(device, scores, labels, [0, 60], 4, margin=margin)


def test_ties_at_the_last_place_go_to_the_row_that_stands_first(device):
    scores, labels = np.array([0.0, 1.0, 1.0, -0.0, 1.0, 0.0]), np.array([0, 0, 0, 0, 0, 1])
    for losers, active in ((1, [0, 1, 0, 0, 0]), (2, [0, 1, 1, 0, 0]), (4, [1, 1, 1, 0, 1])):
        _, gradient = nr.pairwise_hinge_loss_and_grad(
            put(scores, device), put(labels, device), losers=losers, reduction="sum"
        )
        assert host(gradient).tolist() == [*active, -losers]


def test_a_row_of_middle_label_meets_the_highest_of_the_lower_ones_alone(device):
    scores, labels = np.array([5.0, 3.5, 3.0, 2.0]), np.array([1, 0, 0, 2])
    _, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        put(scores, device), put(labels, device), losers=1, reduction="sum", return_counts=True
    )
    assert host(gradient).tolist() == [1, 0, 0, -1]
    assert host(counts).tolist() == [1, 0, 0, 1]


def test_a_share_of_decimal_digits_is_not_rounded_up_past_itself(device):
    scores, labels = np.zeros(101), np.arange(101) == 100
    _, gradient = nr.pairwise_hinge_loss_and_grad(
        put(scores, device), put(labels, device), losers=0.07, reduction="sum"
    )
    assert host(gradient)[-1] == -7  # 0.07 * 100 is 7.000000000000001


def test_rows_without_weight_are_no_losers(device):
    scores, labels = np.array([0.0, 3.0, 2.0]), np.array([1, 0, 0])
    loss = nr.pairwise_hinge_loss(
        put(scores, device), put(labels, device), losers=1, weights=put(np.array([1.0, 0.0, 1.0]), device)
    )
    assert float(host(loss)) == 3.0


def test_rows_of_a_mask_are_no_losers_whatever_they_hold(device):
    scores, labels = np.array([[0.0, np.nan, 2.0, np.inf, 1.0]]), np.array([[1, 0, 0, np.nan, 0]])
    where = np.array([[True, False, True, False, True]])
    arguments = {"where": put(where, device), "losers": 1, "reduction": "sum"}
    loss, gradient = nr.pairwise_hinge_loss_and_grad(put(scores, device), put(labels, device), **arguments)
    assert float(host(loss)) == 3.0
    assert host(gradient).tolist() == [[-1, 0, 1, 0, 0]]


def test_all_losers_are_all_pairs(device):
    scores, labels = rows_of(np.random.default_rng(2), np.float64, 50, 4)
    arguments = put(scores, device), put(labels, device)
    every = nr.pairwise_hinge_loss_and_grad(*arguments, return_counts=True)
    for losers in (1.0, 50):
        chosen = nr.pairwise_hinge_loss_and_grad(*arguments, losers=losers, return_counts=True)
        for a, b in zip(every, chosen, strict=True):
            assert_close(a, host(b), 1.0)


def test_without_pairs_all_is_0(device):
    for labels in (np.zeros(4), np.zeros(0)):
        scores = put(np.ones(len(labels)), device)
        loss, gradient = nr.pairwise_hinge_loss_and_grad(scores, put(labels, device), losers=2)
        assert float(host(loss)) == 0
        assert host(gradient).tolist() == [0] * len(labels)
    loss = nr.pairwise_hinge_loss(put(np.zeros(0), device), put(np.zeros(0), device), group=[], losers=2)
    assert float(host(loss)) == 0


def test_a_long_group_and_many_short_ones(cpu):
    rng = np.random.default_rng(3)
    lengths = [40_000, *[100] * 50]
    scores, labels = rows_of(rng, np.float32, sum(lengths), 5, ties=False)
    offsets, settings = np.concatenate([[0], np.cumsum(lengths)]), {"group": lengths, "losers": 300}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings, return_counts=True)
    loss_of_short, _ = nr.pairwise_hinge_loss_and_grad(
        scores[40_000:], labels[40_000:], group=lengths[1:], losers=300, reduction="sum"
    )
    expected = reference.AllPairs(scores[40_000:], labels[40_000:], offsets[1:] - 40_000, losers=300)
    assert_close(loss_of_short, expected.loss("sum"))
    total = pairs = 0.0
    for level in range(1, 5):
        lower = np.sort(scores[:40_000][labels[:40_000] < level])[-300:].astype(np.float64)
        winners = scores[:40_000][labels[:40_000] == level].astype(np.float64)
        total += np.maximum(1.0 - (winners[:, None] - lower), 0).sum()
        pairs += winners.size * lower.size
    assert float(loss) == pytest.approx((total + expected.loss("sum")) / (pairs + len(expected.losers)), rel=1e-6)
    assert gradient.sum(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    assert counts.sum() % 2 == 0


@powers
def test_the_same_bits_with_any_number_of_threads(cpu, power):
    scores, labels = rows_of(np.random.default_rng(4), np.float32, 60_000, 3)
    arguments = {"group": [3_000] * 20, "losers": 0.1, "power": power}
    expected = nr.pairwise_hinge_loss_and_grad(scores, labels, **arguments)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        for result, other in zip(nr.pairwise_hinge_loss_and_grad(scores, labels, **arguments), expected, strict=True):
            assert_bits(result, other)
    finally:
        numba.set_num_threads(threads)


def test_tensors_and_the_module_know_losers(device):
    scores, labels = leaf(np.array([2.0, 1.5, 0.0, 3.0]), device), put(np.array([1, 2, 0, 0]), device)
    criterion = nr.PairwiseHingeLoss(reduction="sum", losers=1)
    loss = criterion(scores, labels)
    loss.backward()
    assert loss.item() == 2.0 + 2.5
    assert host(scores.grad).tolist() == [-1, -1, 0, 2]
    assert repr(criterion) == "PairwiseHingeLoss(margin=1.0, power=1, reduction='sum', losers=1)"
    assert criterion.losers == 1


@pytest.mark.parametrize(
    ("losers", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (0.0, ValueError),
        (1.5, ValueError),
        (float("nan"), ValueError),
        (True, TypeError),
        ("all", TypeError),
        ([1], TypeError),
        (np.ones(1), TypeError),
    ],
)
def test_what_is_no_choice_is_refused(device, losers, error):
    with pytest.raises(error, match=r"losers is .*it must be None for all rows of lower label"):
        nr.pairwise_hinge_loss(put(np.ones(2), device), put(np.arange(2), device), losers=losers)
    with pytest.raises(error, match="losers is"):
        nr.PairwiseHingeLoss(losers=losers)


def test_numbers_of_numpy_are_choices(device):
    arguments = put(np.array([0.0, 3.0, 2.0]), device), put(np.array([1, 0, 0]), device)
    for losers in (np.int8(1), np.uint64(1), np.float32(0.5), np.float64(0.5)):
        assert float(host(nr.pairwise_hinge_loss(*arguments, losers=losers))) == 4.0


# ---------------------------------------------------------------- CUDA


@pytest.mark.parametrize(
    ("argument", "special"),
    [*itertools.product(["scores", "labels", "weights"], [np.nan, np.inf, -np.inf]), ("weights", -1.0)],
)
def test_a_group_that_cannot_be_computed_with_becomes_nan(cuda, argument, special):
    arrays = {"scores": np.arange(8.0), "labels": np.array([1.0, 0, 0, 1, 1, 1, 0, 0]), "weights": np.ones(8)}
    arrays[argument][4] = special
    arrays = {name: put(array, cuda) for name, array in arrays.items()}
    settings = {"group": [3, 2, 3], "losers": 1, "return_counts": True}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(**arrays, **settings, reduction="none")
    assert_bits(loss, np.array([3.0, np.nan, 3.0]))
    assert_bits(gradient, np.array([-1.0, 0.0, 1.0, np.nan, np.nan, -1.0, 0.0, 1.0]))
    assert_bits(counts, np.array([1.0, 0.0, 1.0, np.nan, np.nan, 1.0, 0.0, 1.0]))
    loss, gradient, _ = nr.pairwise_hinge_loss_and_grad(**arrays, **settings)
    assert np.isnan(host(loss))
    assert host(gradient)[[0, 2, 5, 7]].tolist() == [-0.5, 0.5, -0.5, 0.5]


def test_losers_are_found_on_the_stream_of_the_inputs_where_any_is_left_out(cuda, monkeypatch):
    from numbarank._cuda import driver

    stream, streams, launch = driver.cuda.stream(), [], driver.launch

    def note(kernel, blocks, stream, *arguments):
        streams.append(stream)
        launch(kernel, blocks, stream, *arguments)

    monkeypatch.setattr(driver, "launch", note)
    scores, labels = (put(array, cuda).bind(stream) for array in rows_of(np.random.default_rng(6), np.float64, 9, 3))
    for losers, launches in ((None, 2), (8, 2), (1.0, 2), (7, 4), (0.5, 4)):
        loss = nr.pairwise_hinge_loss(scores, labels, losers=losers)
        assert streams == [stream] * launches
        assert np.isfinite(host(loss))
        streams.clear()


@pytest.mark.usefixtures("cpu")
@powers
@pytest.mark.parametrize("losers", [0.01, 0.3, 1000])
def test_time_is_n_log_n_with_any_number_of_labels(losers, power):
    def seconds(rows, **settings):
        rng = np.random.default_rng(0)
        scores, labels = rng.standard_normal(rows), rng.permutation(rows)
        taken = []
        for _ in range(5):
            start = time.thread_time()
            nr.pairwise_hinge_loss_and_grad(scores, labels, power=power, **settings)
            taken.append(time.thread_time() - start)
        return min(taken[1:])  # the first call may compile

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        short, long, all_pairs = seconds(10_000, losers=losers), seconds(40_000, losers=losers), seconds(40_000)
    finally:
        numba.set_num_threads(before)
    assert long <= 8 * short, "4 times the rows, so 16 times the pairs"
    assert long <= 5 * all_pairs


@pytest.mark.usefixtures("cpu")
def test_a_violation_that_float32_rounds_up_to_0_is_not_carried_on():
    scores = np.float32([1 + 2**-23, 0, 0.9 * 2**-23, 0])
    _, gradient = nr.pairwise_hinge_loss_and_grad(scores, [1, 1, 0, 2], losers=100, power=2, reduction="sum")
    # -2 (1 + scores[2]) as the winner over row 2, and 2 as the loser against row 3
    np.testing.assert_allclose(gradient[1], -2 * float(scores[2]), rtol=1e-6)
