"""Groups of two levels with few winners, of which only the winners are sorted, against pairs written out."""

import itertools

import numba
import numpy as np
import pytest
import reference
from helpers import REDUCTIONS, assert_bits, in_ci

import numbarank as nr
from numbarank._cpu import two_levels

LENGTHS = [300, 1000, 256, 20, 255, 0, 257]


@pytest.fixture
def taken(cpu, monkeypatch):
    """How many groups were taken as such of few winners, by each call."""
    counts, loop = [], two_levels.sum_groups

    def counted(key, *arguments):
        loop(key, *arguments)
        counts.append(int((arguments[14] == two_levels.FEW_WINNERS).sum()))

    monkeypatch.setattr(two_levels, "sum_groups", counted)
    return counts


def clicks(dtype, lengths=LENGTHS, seed=0, ties=True):
    rng = np.random.default_rng(seed)
    scores, labels = rng.standard_normal(sum(lengths)).astype(dtype), rng.random(sum(lengths)) < 0.03
    return (np.round(scores, 1) if ties else scores), labels


def check(scores, labels, lengths, reduction="mean", **settings):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        scores, labels, group=lengths, reduction=reduction, return_counts=True, **settings
    )
    expected = reference.AllPairs(scores, labels, offsets, **settings)
    tolerance = 1e-6 if scores.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(loss, expected.loss(reduction), rtol=tolerance)
    error = np.abs(gradient - expected.gradient(reduction))
    assert (error <= tolerance * expected.gradient_size(reduction)).all()
    np.testing.assert_allclose(counts, expected.counts(), rtol=1e-12)
    alone = nr.pairwise_hinge_loss(scores, labels, group=lengths, reduction=reduction, **settings)
    assert_bits(alone, loss)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("losers", [None, 1, 20, 0.1])
def test_pairs_written_out(taken, losers, dtype, power):
    scores, labels = clicks(dtype)
    for reduction in REDUCTIONS:
        check(scores, labels, LENGTHS, reduction, power=power, losers=losers)
    assert taken == [4] * 6


@pytest.mark.parametrize("power", [1, 2])
def test_weights(taken, power):
    scores, labels = clicks(np.float64, seed=1)
    weights = np.random.default_rng(2).choice([0.0, 0.5, 1.0, 3.0], len(scores))
    check(scores, labels, LENGTHS, power=power, weights=weights)
    check(scores, labels, LENGTHS, "none", power=power, weights=weights, losers=5)
    assert taken == [4] * 2


@pytest.mark.parametrize(("power", "losers"), [(1, None), (2, 7)])
def test_masks_hide_rows_whatever_they_hold(taken, power, losers):
    scores, labels = (a.reshape(4, 300) for a in clicks(np.float64, [300] * 4))
    where = np.random.default_rng(3).random(scores.shape) < 0.8
    where[1] = False
    spoiled = np.where(where, scores, np.nan)
    results = nr.pairwise_hinge_loss_and_grad(spoiled, labels, where=where, power=power, losers=losers)
    flat = (a.reshape(-1) for a in (scores, labels, where))
    scores, labels, mask = flat
    expected = reference.AllPairs(scores, labels, np.arange(5) * 300, 1.0, power, None, mask, losers)
    np.testing.assert_allclose(results[0], expected.loss("mean"), rtol=1e-12)
    np.testing.assert_allclose(results[1].reshape(-1), expected.gradient("mean"), atol=1e-15)
    assert taken == [4]


def test_groups_of_more_levels_among_them(taken):
    scores, labels = clicks(np.float64)
    labels = labels.astype(int)
    labels[:300] = np.arange(300) % 4
    labels[1300:1556] = 1
    check(scores, labels, LENGTHS)
    check(scores, labels, LENGTHS, "none", weights=np.random.default_rng(4).random(len(scores)))
    check(scores, labels, LENGTHS, losers=3)
    assert taken == [3] * 6


@pytest.mark.parametrize("labels", [np.int8, np.float64, bool, *in_ci([np.uint64, np.float32])])
def test_labels_of_all_dtypes(taken, labels):
    scores, clicked = clicks(np.float32)
    check(scores, clicked.astype(labels), LENGTHS)
    assert taken == [4] * 2


@pytest.mark.parametrize("margin", [0.0, -0.5, 3.0])
def test_margins_and_ties(taken, margin):
    check(*clicks(np.float32), LENGTHS, margin=margin)
    scores, labels = clicks(np.float64)
    check(np.where(np.arange(len(scores)) % 2 == 0, 0.0, -0.0), labels, LENGTHS, margin=margin)
    assert taken == [4] * 4


def test_scores_far_from_0(taken):
    scores, labels = clicks(np.float64, ties=False)
    for power, losers in itertools.product((1, 2), (None, 9)):
        check(scores + 1e6, labels, LENGTHS, power=power, losers=losers)
    largest = np.float32(3e38)
    loss, gradient = nr.pairwise_hinge_loss_and_grad(
        np.where(labels[:300], largest, -largest).astype("f4"), labels[:300], power=2
    )
    assert loss == 0
    assert not gradient.any()


def test_one_long_group_and_threads(taken):
    scores, labels = clicks(np.float32, [70_000] * 2, ties=False)
    labels[::50] = True
    expected = nr.pairwise_hinge_loss_and_grad(scores, labels, group=[70_000] * 2, power=2)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        results = nr.pairwise_hinge_loss_and_grad(scores, labels, group=[70_000] * 2, power=2)
    finally:
        numba.set_num_threads(threads)
    for result, other in zip(results, expected, strict=True):
        assert_bits(result, other)
    assert taken == [2, 2]
    wide = scores.astype(np.float64).reshape(2, -1)
    total = sum(
        float((np.maximum(1 - (winner - row[~clicked]), 0) ** 2).sum())
        for row, clicked in zip(wide, labels.reshape(2, -1), strict=True)
        for winner in row[clicked]
    )
    pairs = sum(int(c.sum()) * int((~c).sum()) for c in labels.reshape(2, -1))
    assert float(expected[0]) == pytest.approx(total / pairs, rel=1e-6)
