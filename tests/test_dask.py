"""Losses of dask arrays are those of one machine: lazily, on Dask's threads and on processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import reference
from helpers import REDUCTIONS, assert_bits, assert_within, imported, random_pairs

import numbarank as nr

imported("dask")
distributed = imported("distributed")

import dask  # noqa: E402
import dask.array as da  # noqa: E402
from dask.array.utils import assert_eq  # noqa: E402

import numbarank.dask as nrd  # noqa: E402
from numbarank.dask._chunks import counts_of_pairs  # noqa: E402
from numbarank.dask._inputs import read_pairs  # noqa: E402

pytestmark = pytest.mark.usefixtures("cpu")

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
CHUNKS = (3, 0, 8, 1, 0)
ROWS = sum(CHUNKS)
SIZES = [3, 0, 5, 2, 0, 1, 1]
CLUSTER_MEMORY = 2**29


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


@pytest.fixture
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def in_chunks(*arrays, chunks=(CHUNKS,)):
    return [da.from_array(array, chunks=chunks) for array in arrays]


def assert_like(result, expected, ulps=1):
    """A dask array that says before what it will be, and is what one machine returns: to 1e-12, or within that ulp."""
    assert_eq(result, result.compute())
    assert result.dtype == expected.dtype
    if expected.dtype == np.float64:
        assert_eq(result, np.asarray(expected), **CLOSE)
    else:
        assert_within(result.compute(), expected, ulps)


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_pairs_in_uneven_and_empty_chunks(scheduler, dtype, reduction):
    x1, x2, y = random_pairs(ROWS, dtype)
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, reduction, gradient=3.0, target_grad=True)
    lazy = in_chunks(x1, x2, y)
    assert_like(nrd.margin_ranking_loss(*lazy, 0.5, reduction=reduction), np.asarray(loss))
    result, slopes = nrd.margin_ranking_loss_and_grad(*lazy, 0.5, reduction, gradient=3.0, target_grad=True)
    assert_like(result, np.asarray(loss))
    assert len(slopes) == 3
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert slope.chunks == (CHUNKS,)
        assert_like(slope, gradient)
        if reduction != "mean":
            assert_bits(slope.compute(), gradient)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_loss_of_many_rounded_chunks_is_within_an_ulp(synchronous, dtype, seed):
    x1, x2, y = random_pairs(999, dtype, seed=seed)
    x1 *= np.exp(np.random.default_rng(seed).normal(size=999) * 2).astype(dtype)
    for reduction in ("mean", "sum"):
        expected = nr.margin_ranking_loss(x1, x2, y, 0.1, reduction=reduction)
        assert_like(nrd.margin_ranking_loss(*in_chunks(x1, x2, y, chunks=13), 0.1, reduction=reduction), expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype, target_dtype", [(np.float64, np.int8), (np.float32, None)])
def test_broadcast_inputs(synchronous, dtype, reduction, target_dtype):
    x1, x2, y = (
        random_pairs((4, 1, 3), dtype)[0],
        random_pairs((1, 6, 3), dtype, seed=1)[1],
        random_pairs((1, 6, 1), dtype, target_dtype, seed=2)[2],
    )
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, reduction, target_grad=True)
    grids = (x1, (3, 1, 2)), (x2, (1, 4, 2)), (y, (1, 3, 1))
    lazy = [da.from_array(x, chunks=chunks) for x, chunks in grids]
    result, slopes = nrd.margin_ranking_loss_and_grad(*lazy, 0.5, reduction, target_grad=True)
    assert_like(result, np.asarray(loss))
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert_like(slope, gradient)
    without_target, (slope, _) = nrd.margin_ranking_loss_and_grad(*lazy, 0.5, reduction)
    assert_like(without_target, np.asarray(loss))
    assert_like(slope, gradients[0])


@pytest.mark.parametrize("target", [1, -1.0, np.float32(1), np.array(-1, np.int8)])
def test_a_number_stands_for_every_pair(synchronous, target):
    x1, x2, _ = random_pairs(ROWS, np.float32)
    expected, gradients = nr.margin_ranking_loss_and_grad(x1, x2, target, 0.3, target_grad=True)
    for lazily in (target, da.asarray(target)):
        loss, slopes = nrd.margin_ranking_loss_and_grad(*in_chunks(x1, x2), lazily, 0.3, target_grad=True)
        assert_like(loss, expected)
        for slope, gradient in zip(slopes, gradients, strict=True):
            assert_like(slope, np.asarray(gradient))


def test_inputs_in_different_chunks(scheduler):
    x1, x2, y = random_pairs(ROWS)
    expected, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5)
    lazy = [da.from_array(x1, chunks=5), da.from_array(x2, chunks=7), y.tolist()]
    loss, slopes = nrd.margin_ranking_loss_and_grad(*lazy, 0.5)
    assert_like(loss, expected)
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert_like(slope, gradient)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pairs_in_chunks_of_unknown_size(scheduler, reduction):
    x1, x2, y = random_pairs(ROWS)
    kept = x1 > 0
    expected, gradients = nr.margin_ranking_loss_and_grad(x1[kept], x2[kept], y[kept], 0.5, reduction)
    lazy = [x[da.from_array(kept, chunks=(CHUNKS,))] for x in in_chunks(x1, x2, y)]
    loss, slopes = nrd.margin_ranking_loss_and_grad(*lazy, 0.5, reduction)
    assert_like(loss, np.asarray(expected))
    assert_like(nrd.margin_ranking_loss(*lazy, 0.5, reduction=reduction), np.asarray(expected))
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert_like(slope, gradient)


def test_chunks_of_unknown_size_must_be_equal(synchronous):
    x1, x2, _ = random_pairs(4)
    one, two = np.array([True, False, False, False]), np.array([True, True, False, False])
    lazy = [x[da.from_array(kept, chunks=4)] for x, kept in zip(in_chunks(x1, x2, chunks=4), (one, two), strict=True)]
    loss = nrd.margin_ranking_loss(*lazy, 1)
    with pytest.raises(ValueError, match=r"chunks of unknown size have the shapes \[\(1,\), \(2,\), \(\)\]"):
        loss.compute()


def test_no_pairs_at_all(scheduler):
    nothing = da.zeros(0)
    loss, slopes = nrd.margin_ranking_loss_and_grad(nothing, nothing, 1)
    assert np.isnan(loss.compute())
    assert nrd.margin_ranking_loss(nothing, nothing, 1, reduction="sum").compute() == 0
    assert [slope.compute().shape for slope in slopes] == [(0,), (0,)]


def test_a_single_pair_without_axes(scheduler):
    loss, (by_x1, by_x2) = nrd.margin_ranking_loss_and_grad(da.asarray(1.0), da.asarray(3.0), 1, 0.5)
    assert_like(loss, np.float64(2.5))
    assert_like(by_x1, np.asarray(-1.0))
    assert_like(by_x2, np.asarray(1.0))


def test_upstream_gradients(synchronous):
    x1, x2, y = random_pairs(ROWS)
    upstream = np.random.default_rng(1).standard_normal(ROWS)
    _, (expected, _) = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, "none", gradient=upstream)
    for gradient in (upstream, upstream.tolist(), da.from_array(upstream, chunks=4)):
        _, (slope, _) = nrd.margin_ranking_loss_and_grad(*in_chunks(x1, x2, y), 0.5, "none", gradient=gradient)
        assert_like(slope, expected)
    _, (expected, _) = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, gradient=2.0)
    for gradient in (2, np.float32(2), np.array(2.0), da.asarray(2.0)):
        _, (slope, _) = nrd.margin_ranking_loss_and_grad(*in_chunks(x1, x2, y), 0.5, gradient=gradient)
        assert_like(slope, expected)


def test_what_is_not_finite_comes_through_without_a_warning(scheduler):
    x1 = np.array([np.nan, 1.0, 2.0, np.inf])
    x2, y = np.array([0.0, 1.0, 3.0, 0.0]), np.array([1.0, 1.0, 1.0, -1.0])
    for rows, expected in ((slice(0, 2), np.nan), (slice(1, 3), 0.5), (slice(2, 4), np.inf), (slice(0, 4), np.nan)):
        loss = nrd.margin_ranking_loss(*in_chunks(x1[rows], x2[rows], y[rows], chunks=1), 0.0)
        np.testing.assert_equal(loss.compute(), expected)
    halves = da.full(100_000, 3.0, chunks=30_000, dtype=np.float16)
    assert nrd.margin_ranking_loss(halves, halves, 1, 2.0).compute() == 2
    assert nrd.margin_ranking_loss(halves, halves, 1, 2.0, reduction="sum").compute() == np.inf
    large = da.full(4, 1e308, chunks=2)
    assert nrd.margin_ranking_loss(large, 0 * large, -1).compute() == pytest.approx(1e308)


@pytest.mark.skipif(reference.BFLOAT16 is None, reason="ml_dtypes is not installed")
def test_bfloat16(synchronous):
    x1, x2, y = random_pairs((ROWS, 2), reference.BFLOAT16)
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2[:1], y, 0.5)
    lazy = in_chunks(x1, y, chunks=(CHUNKS, (2,)))
    result, slopes = nrd.margin_ranking_loss_and_grad(lazy[0], x2[:1], lazy[1], 0.5)
    assert_within(result.compute(), loss)
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert_within(slope.compute(), gradient)


def test_legacy_arguments(synchronous):
    x1, x2, y = random_pairs(ROWS)
    with pytest.warns(UserWarning, match="write reduction='sum'"):
        loss = nrd.margin_ranking_loss(*in_chunks(x1, x2, y), size_average=False)
    assert_like(loss, nr.margin_ranking_loss(x1, x2, y, reduction="sum"))


@pytest.mark.parametrize(
    "arguments, settings, error, message",
    [
        ((da.ones(3), da.ones(4), 1), {}, ValueError, r"input1 has shape \(3,\), input2 \(4,\), target \(\); all need"),
        ((da.ones((3, 1)), da.ones(3), 1), {}, ValueError, r"input1 has shape \(3, 1\), input2 \(3,\)"),
        ((da.ones(3), da.ones(3), da.ones(3) > 0), {}, TypeError, "target has dtype bool"),
        ((da.ones(3), da.ones(3), 1j), {}, TypeError, "target has dtype complex128"),
        ((da.ones(3), da.ones(3), 1), {"reduction": "max"}, ValueError, "reduction is 'max'"),
        ((da.ones(3), da.ones(3), 1), {"margin": "1"}, TypeError, "margin is '1'"),
        ((da.ones(3), da.ones(3), 1), {"margin": da.ones(3) > 0}, TypeError, "margin has dtype bool"),
        ((da.ones(3), da.ones(3), 1), {"margin": da.ones(4)}, ValueError, r"target \(\), margin \(4,\); all need"),
        ((da.ones(3), da.ones(3), 1), {"weights": da.ones(3) > 0}, TypeError, "weights has dtype bool"),
        ((da.ones(3), da.ones(3), 1), {"weights": "heavy"}, TypeError, "weights is a str"),
        ((da.ones(3), da.ones(3), 1), {"weights": nr.ones(3)}, TypeError, "weights is a Tensor"),
        ((da.ones(3), da.ones(3), 1), {"weights": da.ones((1, 3))}, ValueError, r"target \(\), weights \(1, 3\); all"),
        (
            (nr.ones(3), da.ones(3), 1),
            {},
            TypeError,
            "input1 is a Tensor; it must be a dask array, NumPy array or list",
        ),
        ((da.ones(3), da.ones(3), da.ma.masked_array([1, 1, 1])), {}, TypeError, "target is a masked array"),
    ],
)
def test_wrong_pairs_are_refused_before_anything_is_computed(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        nrd.margin_ranking_loss(*arguments, **settings)


@pytest.mark.parametrize(
    "gradient, reduction, message",
    [
        (np.ones(3), "mean", r"gradient has shape \(3,\); it must have the loss's shape \(\)"),
        (da.ones(4), "none", r"gradient has shape \(4,\); it must have the loss's shape \(3,\)"),
    ],
)
def test_wrong_upstream_gradients_are_refused(gradient, reduction, message):
    with pytest.raises(ValueError, match=message):
        nrd.margin_ranking_loss_and_grad(da.ones(3), da.ones(3), 1, reduction=reduction, gradient=gradient)


# ---------------------------------------------------------------- laziness and the size of the graph


class Source:
    """Chunks that count how often they are asked for."""

    def __init__(self, array):
        self.array, self.dtype, self.shape, self.ndim = array, array.dtype, array.shape, array.ndim
        self.asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return self.array[index]


def lazily(sources):
    return [da.from_array(source, chunks=((3, 9),), meta=source.array[:0]) for source in sources]


def test_nothing_is_computed_early_and_loss_and_gradients_share_a_pass(synchronous):
    sources = [Source(x) for x in random_pairs(ROWS)]
    lazy = lazily(sources)
    results = nrd.margin_ranking_loss_and_grad(*lazy, 0.5)
    assert [source.asked for source in sources] == [0, 0, 0]
    dask.compute(*results)
    assert [source.asked for source in sources] == [2, 2, 2]


def test_lists_are_read_once(synchronous):
    sources = [Source(x) for x in queries()]
    scores, labels, qid = lazily(sources)
    results = nrd.pairwise_hinge_loss_and_grad(scores, labels, qid=qid, return_counts=True)
    assert [source.asked for source in sources] == [0, 0, 0]
    dask.compute(*results)
    assert [source.asked for source in sources] == [2, 2, 2]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_graph_grows_with_the_chunks_and_no_faster(reduction):
    def tasks(chunks):
        x, qid = da.ones(chunks, chunks=1), da.arange(chunks, chunks=1)
        pairs = nrd.margin_ranking_loss_and_grad(x, x, 1, reduction=reduction)
        lists = nrd.pairwise_hinge_loss_and_grad(x, x, qid=qid, reduction=reduction)
        return sum(len(dict(result.__dask_graph__())) for result in (pairs[0], *pairs[1], *lists))

    assert tasks(1000) < 11 * tasks(100)


# ---------------------------------------------------------------- margins and weights of pairs


def settings_of(shape, dtype=np.float64):
    """Margins, and weights of which some are 0: all of the chunk of one pair among them."""
    rng = np.random.default_rng(4)
    weights = (rng.integers(0, 4, shape) * rng.random(shape)).astype(dtype)
    weights[sum(CHUNKS[:3])] = 0
    return (2 * rng.random(shape) - 0.5).astype(dtype), weights


def assert_weighted(lazy, arrays, margin, weights, reduction, gradient=None, ulps=2):
    """Loss and gradients of dask arrays are those of one machine, and the loss is within an ulp of the exact one.

    ``lazy`` are the scores, the target, the margin and the weights.
    """
    *inputs, lazy_margin, lazy_weights = lazy
    settings = {"gradient": gradient, "target_grad": True}
    loss, gradients = nr.margin_ranking_loss_and_grad(*arrays, margin, reduction, weights=weights, **settings)
    alone = nrd.margin_ranking_loss(*inputs, lazy_margin, reduction=reduction, weights=lazy_weights)
    result, slopes = nrd.margin_ranking_loss_and_grad(*inputs, lazy_margin, reduction, weights=lazy_weights, **settings)
    exact = reference.loss(*arrays, margin, reduction, weights)
    for one in (alone, result):
        assert_like(one, np.asarray(loss))
        assert_within(one.compute(), exact, 0 if reduction == "none" else 1)
    for slope, expected in zip(slopes, gradients, strict=True):
        assert_like(slope, np.asarray(expected), ulps)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_margins_and_weights_in_uneven_and_empty_chunks(scheduler, dtype, reduction):
    arrays, (margin, weights) = random_pairs(ROWS, dtype), settings_of(ROWS, dtype)
    lazy = in_chunks(*arrays, margin, weights)
    assert_weighted(lazy, arrays, margin, weights, reduction, 3.0)
    assert_weighted([*lazy[:3], 0.25, lazy[4]], arrays, 0.25, weights, reduction)
    assert_weighted([*lazy[:4], None], arrays, margin, None, reduction)
    assert_weighted([*lazy[:3], margin.tolist(), weights], arrays, margin.tolist(), weights, reduction)
    in_others = [da.from_array(margin, chunks=5), da.from_array(weights, chunks=7)]
    assert_weighted([*lazy[:3], *in_others], arrays, margin, weights, reduction)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_weighted_loss_of_many_rounded_chunks_is_within_an_ulp(synchronous, dtype, seed):
    arrays, rng = random_pairs(999, dtype, seed=seed), np.random.default_rng(seed)
    weights = np.exp(2 * rng.normal(size=999)) * rng.integers(0, 2, 999)
    lazy = in_chunks(*arrays, weights, chunks=13)
    for reduction in ("mean", "sum"):
        loss = nrd.margin_ranking_loss(*lazy[:3], 0.1, reduction=reduction, weights=lazy[3])
        assert_within(loss.compute(), reference.loss(*arrays, 0.1, reduction, weights), 1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(1, 5), (6, 1), (1, 1), (6, 5)], ids=str)
def test_margins_and_weights_broadcast_against_the_pairs(synchronous, shape, reduction):
    arrays, rng = random_pairs((6, 5)), np.random.default_rng(6)
    margin, weights = rng.random(shape), rng.random(shape)
    in_parts = [da.from_array(x, chunks=tuple(1 if n == 1 else 2 for n in shape)) for x in (margin, weights)]
    for rows in (slice(None), slice(1)):
        given = [x[rows] for x in arrays]
        lazy = [da.from_array(x, chunks=(4, 3)) for x in given]
        assert_weighted([*lazy, *in_parts], given, margin, weights, reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [2, np.float32(0.5), np.array(2.0)])
def test_a_weight_that_is_a_number(synchronous, weight, reduction):
    arrays = random_pairs(ROWS)
    for number in (weight, da.asarray(weight)):
        lazy = [*in_chunks(*arrays), da.asarray(0.5), number]
        assert_weighted(lazy, arrays, 0.5, weight, reduction)
    loss = nrd.margin_ranking_loss(da.asarray(1.0), da.asarray(3.0), 1, 0.5, weights=da.asarray(weight))
    assert_like(loss, np.float64(2.5))


def test_no_weight_has_no_mean_and_no_gradient(scheduler):
    x = da.arange(4.0, chunks=2)
    loss, slopes = nrd.margin_ranking_loss_and_grad(x, -x, -1, 1, weights=da.zeros(4, chunks=2))
    assert np.isnan(loss.compute())
    assert not any(slope.compute().any() for slope in slopes)
    assert nrd.margin_ranking_loss(x, -x, -1, reduction="sum", weights=0).compute() == 0
    nothing = da.zeros(0)
    assert np.isnan(nrd.margin_ranking_loss(nothing, nothing, 1, margin=nothing, weights=nothing).compute())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_chunk_of_weight_0_is_left_out_whatever_it_holds(synchronous, reduction):
    x1, x2, y = random_pairs(ROWS)
    margin, weights = settings_of(ROWS)
    x1[:3], x2[1:3], weights[:3], y[2] = np.inf, -np.inf, 0, np.nan
    arrays = x1, x2, y
    assert_weighted(in_chunks(*arrays, margin, weights), arrays, margin, weights, reduction)


def test_weights_are_summed_as_the_loss_rounds_them(synchronous):
    x, weights = np.arange(4, dtype=np.float32), np.array([1e-50, 1e-50, 1, 3])
    loss, (slope, _) = nr.margin_ranking_loss_and_grad(x, -x, -1, weights=weights)
    result, (by_x, _) = nrd.margin_ranking_loss_and_grad(*in_chunks(x, -x, chunks=2), -1, weights=weights)
    assert_like(result, loss)
    assert_like(by_x, slope)
    too_large = nrd.margin_ranking_loss(*in_chunks(x, -x, chunks=2), -1, weights=[1, 1, 1, 1e300])
    with pytest.raises(ValueError, match=r"chunk 1: weights\[1\] is"):
        too_large.compute()


def test_values_of_a_meta_are_no_weights(synchronous):
    weight = da.from_array(np.array(2.0), meta=np.array(-1.0))
    assert nrd.margin_ranking_loss(da.asarray(1.0), da.asarray(3.0), 1, 0.5, weights=weight).compute() == 2.5


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_margins_and_weights_in_chunks_of_unknown_size(scheduler, reduction):
    arrays, (margin, weights) = random_pairs(ROWS), settings_of(ROWS)
    kept = arrays[0] > -0.5
    given = [x[kept] for x in (*arrays, margin, weights)]
    lazy = [x[da.from_array(kept, chunks=(CHUNKS,))] for x in in_chunks(*arrays, margin, weights)]
    assert_weighted(lazy, given[:3], *given[3:], reduction)
    assert_weighted([*lazy[:4], 2.0], given[:3], given[3], 2.0, reduction)


def test_upstream_gradients_of_weighted_pairs(synchronous):
    arrays, (margin, weights) = random_pairs(ROWS), settings_of(ROWS)
    upstream = np.random.default_rng(1).standard_normal(ROWS)
    assert_weighted(in_chunks(*arrays, margin, weights), arrays, margin, weights, "none", upstream)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_errors_about_weights_name_the_chunk(scheduler, reduction, value):
    weights = np.ones(ROWS)
    weights[5] = value
    lazy = in_chunks(*random_pairs(ROWS), weights)
    loss, gradients = nrd.margin_ranking_loss_and_grad(*lazy[:3], 0.5, reduction, weights=lazy[3])
    for result in (loss, *gradients, nrd.margin_ranking_loss(*lazy[:3], 5, reduction=reduction, weights=lazy[3])):
        with pytest.raises(
            ValueError, match=rf"^chunk 2: weights\[2\] is {value}; weights must be 0 or more and finite"
        ):
            result.compute()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_errors_about_weights_of_a_grid_name_the_chunk(synchronous, reduction):
    x, weights = da.ones((4, 4), chunks=2), np.array([[1.0, 1, 1, -1]])
    loss = nrd.margin_ranking_loss(x[2:], x[2:], 1, 1, reduction=reduction, weights=weights)
    with pytest.raises(ValueError, match=r"^chunk \(0, 1\): weights\[0, 1\] is -1.0"):
        loss.compute()


def test_weights_and_margins_are_read_once_and_not_early(synchronous):
    sources = [Source(x) for x in (*random_pairs(ROWS), *settings_of(ROWS))]
    *lazy, margin, weights = lazily(sources)
    results = nrd.margin_ranking_loss_and_grad(*lazy, margin, weights=weights)
    assert [source.asked for source in sources] == [0] * 5
    dask.compute(*results)
    assert [source.asked for source in sources] == [2] * 5


def test_the_sum_of_the_weights_needs_the_weights_alone(synchronous):
    sources = [Source(x) for x in (*random_pairs(ROWS), settings_of(ROWS)[1])]
    *lazy, weights = lazily(sources)
    pairs = read_pairs(*lazy, 0.5, weights)
    counts_of_pairs(pairs, np.dtype(np.float64)).sum().compute()
    assert [source.asked for source in sources] == [0, 0, 0, 2]


# ---------------------------------------------------------------- lists


def queries(dtype=np.float64):
    rng = np.random.default_rng(5)
    scores = rng.standard_normal(ROWS).astype(dtype)
    return scores, rng.integers(3, size=ROWS).astype(dtype), np.repeat(np.arange(len(SIZES)), SIZES)


KINDS_OF_GROUPS = {
    "group": lambda qid: {"group": SIZES},
    "Groups": lambda qid: {"group": nr.Groups(group=SIZES)},
    "qid": lambda qid: {"qid": qid},
    "dask qid": lambda qid: {"qid": da.from_array(qid, chunks=(CHUNKS,))},
}


@pytest.mark.parametrize("kind", KINDS_OF_GROUPS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lists(scheduler, reduction, kind):
    scores, labels, qid = queries()
    weights = np.random.default_rng(6).random(ROWS)
    settings = {"margin": 0.7, "power": 2, "reduction": reduction}
    known = {"qid": qid} if "qid" in kind else {"group": SIZES}
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
        scores, labels, **known, weights=weights, **settings, gradient=3.0, return_counts=True
    )
    lazy, groups = in_chunks(scores, labels), KINDS_OF_GROUPS[kind](qid)
    assert_like(nrd.pairwise_hinge_loss(*lazy, **groups, weights=weights, **settings), np.asarray(loss))
    result, slope, active = nrd.pairwise_hinge_loss_and_grad(
        *lazy, **groups, weights=weights, **settings, gradient=3.0, return_counts=True
    )
    assert slope.chunks == active.chunks == (CHUNKS,)
    assert_like(result, np.asarray(loss))
    assert_like(slope, gradient)
    assert_like(active, counts)


@pytest.mark.parametrize("losers", [1, 3, 0.4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_highest_losers(synchronous, reduction, weighted, losers):
    scores, labels, _ = queries()
    weights = np.random.default_rng(6).choice([0.0, 0.5, 2.0], ROWS) if weighted else None
    settings = {"group": SIZES, "weights": weights, "losers": losers, "reduction": reduction}
    loss, gradient = nr.pairwise_hinge_loss_and_grad(np.round(scores, 1), labels, **settings)
    lazy = in_chunks(np.round(scores, 1), labels)
    assert_like(nrd.pairwise_hinge_loss(*lazy, **settings), np.asarray(loss))
    result, slope = nrd.pairwise_hinge_loss_and_grad(*lazy, **settings)
    assert_like(result, np.asarray(loss))
    assert_like(slope, gradient)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lists_in_float32(synchronous, reduction):
    scores, labels, qid = queries(np.float32)
    loss, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, qid=qid, reduction=reduction)
    result, slope = nrd.pairwise_hinge_loss_and_grad(*in_chunks(scores, labels), qid=qid, reduction=reduction)
    assert_like(result, np.asarray(loss))
    assert_like(slope, gradient)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_list_a_row(scheduler, reduction):
    scores, labels, _ = random_pairs((6, 5))
    where = np.random.default_rng(7).random((6, 5)) > 0.3
    upstream = np.arange(6.0) if reduction == "none" else 2.0
    settings = {"reduction": reduction, "gradient": upstream}
    loss, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, where=where, **settings)
    lazy = da.from_array(scores, chunks=(4, 5)), labels
    result, slope = nrd.pairwise_hinge_loss_and_grad(*lazy, where=da.from_array(where, chunks=(3, 2)), **settings)
    assert_like(result, np.asarray(loss))
    assert_like(slope, gradient)


def test_a_list_a_row_in_chunks_of_unknown_size(synchronous):
    scores, labels, _ = random_pairs((6, 5))
    kept = scores[:, 0] > 0
    expected, gradient = nr.pairwise_hinge_loss_and_grad(scores[kept], labels[kept])
    lazy = [x[da.from_array(kept, chunks=2)] for x in in_chunks(scores, labels, chunks=(2, 5))]
    loss, slope = nrd.pairwise_hinge_loss_and_grad(*lazy)
    assert_like(loss, expected)
    assert_like(slope, gradient)


def test_all_rows_are_one_query(synchronous):
    scores, labels, _ = queries()
    for upstream in (None, 2.0, np.array([2.0])):
        settings = {"reduction": "none", "gradient": upstream}
        expected, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings)
        loss, slope = nrd.pairwise_hinge_loss_and_grad(*in_chunks(scores, labels, chunks=-1), **settings)
        assert_like(loss, expected)
        assert_like(slope, gradient)


def test_an_upstream_gradient_for_each_query(synchronous):
    scores, labels, qid = queries()
    upstream = np.arange(1.0, 1 + len(SIZES))
    _, expected = nr.pairwise_hinge_loss_and_grad(scores, labels, group=SIZES, reduction="none", gradient=upstream)
    lazy = in_chunks(scores, labels)
    _, slope = nrd.pairwise_hinge_loss_and_grad(*lazy, group=SIZES, reduction="none", gradient=upstream)
    assert_like(slope, expected)
    lazy_qid = da.from_array(qid, chunks=(CHUNKS,))
    loss = nrd.pairwise_hinge_loss(*lazy, qid=lazy_qid, reduction="none")
    _, slope = nrd.pairwise_hinge_loss_and_grad(*lazy, qid=lazy_qid, reduction="none", gradient=2 * loss)
    losses = nr.pairwise_hinge_loss(scores, labels, qid=qid, reduction="none")
    _, expected = nr.pairwise_hinge_loss_and_grad(scores, labels, qid=qid, reduction="none", gradient=2 * losses)
    assert_like(slope, expected)


def test_without_any_pair_all_are_zero(synchronous):
    loss, gradient = nrd.pairwise_hinge_loss_and_grad(da.ones(4, chunks=2), da.ones(4, chunks=2), group=[2, 2])
    assert_like(loss, np.float64(0))
    assert_like(gradient, np.zeros(4))
    nothing = da.ones(0), da.ones(0)
    assert nrd.pairwise_hinge_loss(*nothing, qid=da.ones(0, dtype=int)).compute() == 0
    assert nrd.pairwise_hinge_loss(*nothing, group=[], reduction="none").compute().shape == (0,)


FOUR, IN_TWO = da.ones(4, chunks=2), da.ones((2, 4), chunks=(1, 2))


@pytest.mark.parametrize(
    "arrays, settings, error, message",
    [
        ((FOUR, FOUR), {"group": [1, 3]}, ValueError, r"query 1, rows 1 to 3, lies in two .* row 2; .*align_groups"),
        ((FOUR, FOUR), {"qid": [4, 5, 5, 5]}, ValueError, "query 1, rows 1 to 3, lies in two chunks"),
        ((FOUR, FOUR), {"group": [2, 3]}, ValueError, "the counts in group add up to 5 and scores has 4 rows"),
        ((FOUR, FOUR), {"group": da.ones(2)}, TypeError, r"group is a dask array; .* pass group.compute\(\)"),
        ((FOUR, FOUR), {"group": [2, 2], "qid": [0, 0, 1, 1]}, ValueError, "qid and group are both given"),
        ((FOUR, FOUR), {"qid": da.ones(3)}, ValueError, r"qid has shape \(3,\) and scores \(4,\)"),
        ((FOUR, FOUR), {"qid": [2, 2]}, ValueError, "qid has 2 ids and scores has 4 rows; .*, pass it as group"),
        ((FOUR, FOUR), {"qid": [2, 1, 2]}, ValueError, "qid has 3 ids and scores has 4 rows; they must be equal$"),
        ((FOUR, FOUR), {"group": [7, 7, 9, 9]}, ValueError, "add up to 32 and scores has 4 rows; .*, pass it as qid"),
        (
            (FOUR, FOUR),
            {"group": [2, 2], "weights": [1, 2]},
            ValueError,
            r"numpy.repeat\(numpy.sqrt\(weights\), group\)",
        ),
        (
            (FOUR.reshape(4, 1), FOUR.reshape(4, 1)),
            {},
            ValueError,
            r"shape \(4, 1\), 4 lists of one row each, .*reshape",
        ),
        ((FOUR.reshape(4, 1), FOUR), {}, ValueError, r"labels \(4,\); .*: pass scores.reshape\(-1\)"),
        (({1: 2.0}.values(), FOUR), {}, TypeError, r"scores is a dict_values; .*: pass list\(scores\)"),
        ((FOUR, FOUR), {}, ValueError, r"scores has 2 chunks, and without qid .* scores.rechunk\(-1\)"),
        ((FOUR, da.ones(5)), {}, ValueError, r"scores has shape \(4,\), labels \(5,\)"),
        ((FOUR, FOUR), {"group": [2, 2], "where": FOUR > 0}, ValueError, "a mask needs scores with two axes"),
        ((FOUR[FOUR > 0], FOUR[FOUR > 0]), {"group": [2, 2]}, ValueError, r"call compute_chunk_sizes\(\)"),
        (
            (FOUR, da.ones(4)[da.ones(4) > 0]),
            {"group": [2, 2]},
            ValueError,
            r"labels has .* unknown size: call compute_chunk_sizes\(\)",
        ),
        ((IN_TWO, IN_TWO), {}, ValueError, "a list lies in 2 chunks; it must lie in one"),
        ((IN_TWO, IN_TWO), {"group": [2]}, ValueError, "a list a row: leave qid and group out"),
        ((da.ones(()), 1), {}, ValueError, r"scores has shape \(\); it must have one axis"),
        ((FOUR, FOUR), {"group": [2, 2], "power": 3}, ValueError, "power is 3"),
        ((FOUR > 0, FOUR), {"group": [2, 2]}, TypeError, "scores has dtype bool"),
    ],
)
def test_wrong_lists_are_refused_before_anything_is_computed(arrays, settings, error, message):
    with pytest.raises(error, match=message):
        nrd.pairwise_hinge_loss(*arrays, **settings)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"qid": [0, 1, 1, 1, 2, 2]}, "chunk 2: query 1 began in a chunk before.*align_groups"),
        ({"qid": [0, 0, 1, 2, 1, 2]}, "chunk 2: qid has the rows of query 1 apart"),
        ({"qid": [0, 0, 1, -1, 2, 2]}, r"chunk 2: qid\[1\] is -1"),
        ({"qid": np.float32([0, 0, 1, 2**24 + 1, 2**24 + 2, 4])}, r"chunk 2: qid\[1\] is 16777216 in float32"),
        ({"qid": ["a", "b", "b", "b", "c", "c"]}, "chunk 2: query b began in a chunk before.*align_groups"),
        ({"qid": np.array(["a", "a", "b", None, "c", "c"])}, r"chunk 2: qid\[1\] is None, which is missing"),
        ({"scores": [0.0, 0, 0, 0, np.nan, 0]}, r"chunk 2: scores\[2\] is nan"),
        ({"labels": [0.0, 1, 0, np.inf, 1, 1]}, r"chunk 2: labels\[1\] is inf"),
    ],
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_errors_about_values_name_the_chunk(scheduler, reduction, change, message):
    arrays = {"scores": np.zeros(6), "labels": np.arange(6.0), "qid": [0, 0, 1, 1, 2, 2], **change}
    lazy = [da.from_array(np.asarray(arrays[name]), chunks=((2, 0, 4),)) for name in ("scores", "labels", "qid")]
    loss, gradient = nrd.pairwise_hinge_loss_and_grad(*lazy[:2], qid=lazy[2], reduction=reduction)
    for result in (loss, gradient):
        with pytest.raises(ValueError, match=message):
            result.compute()


@pytest.mark.parametrize("is_lazy", [True, False])
@pytest.mark.parametrize("dtype", ["U", "S", object, np.dtypes.StringDType()], ids=str)
def test_ids_of_text(synchronous, dtype, is_lazy):
    qid = np.array(["tea", "tea", "tea", "shoes", "shoes"]).astype(dtype)
    scores, labels = da.from_array([2.0, 1.5, 0.0, 1.0, 3.0], chunks=2), [1, 2, 0, 1, 0]
    aligned = nrd.align_groups(scores, labels, qid=da.from_array(qid, chunks=2) if is_lazy else qid)
    assert aligned[0].chunks == ((3, 2),)
    given = aligned[2] if is_lazy else qid
    assert nrd.pairwise_hinge_loss(*aligned[:2], qid=given, reduction="none").compute().tolist() == [1.5, 3.0]


def test_a_column_with_a_mask_is_a_table_of_lists(synchronous):
    column = da.ones((3, 1), chunks=1)
    assert nrd.pairwise_hinge_loss(column, column, where=column > 0, reduction="none").compute().tolist() == [0, 0, 0]


@pytest.mark.parametrize("rows", [(2, 0, 2), (2, 0, 0, 2), (0, 2, 2), (1, 1, 2)])
def test_a_query_that_goes_on_behind_empty_chunks_is_found(synchronous, rows):
    x, (qid,) = da.ones(4, chunks=(rows,)), in_chunks(np.array([1, 2, 2, 3]), chunks=(rows,))
    with pytest.raises(ValueError, match=f"chunk {len(rows) - 1}: query 2 began in a chunk before"):
        nrd.pairwise_hinge_loss(x, x, qid=qid).compute()
    (qid,) = in_chunks(np.array([1, 2, 3, 3]), chunks=(rows,))
    assert nrd.pairwise_hinge_loss(x, x, qid=qid).compute() == 0


# ---------------------------------------------------------------- align_groups


@pytest.mark.parametrize("seed", range(20))
def test_align_groups_moves_edges_to_the_nearest_query(synchronous, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 12, size=rng.integers(1, 9))
    rows = int(sizes.sum())
    qid = np.repeat(rng.permutation(len(sizes)), sizes)
    cuts = np.sort(rng.integers(0, rows + 1, size=rng.integers(0, 6)))
    chunks = (tuple(map(int, np.diff([0, *cuts, rows]))),)
    scores, features = np.arange(float(rows)), rng.random((rows, 2))
    offsets = np.cumsum([0, *sizes])
    nearest = {int(np.abs(offsets - cut).min()) for cut in cuts}
    by_group = nrd.align_groups(da.from_array(scores, chunks=chunks), features, group=sizes)
    by_qid = nrd.align_groups(da.from_array(scores, chunks=chunks), features, qid=da.from_array(qid, chunks=chunks))
    by_numpy = nrd.align_groups(da.from_array(scores, chunks=chunks), features, qid=qid)
    by_others = nrd.align_groups(da.from_array(scores, chunks=chunks), features, qid=da.from_array(qid, chunks=-1))
    assert (len(by_group), len(by_qid), len(by_numpy), len(by_others)) == (2, 3, 3, 3)
    assert by_group[0].chunks == by_qid[0].chunks == by_numpy[0].chunks == by_others[0].chunks
    for aligned in (by_group, by_qid, by_numpy, by_others):
        assert len({array.chunks[0] for array in aligned}) == 1
        edges = np.cumsum(aligned[0].chunks[0])
        assert set(edges) <= set(offsets)
        assert {int(np.abs(np.array([0, *edges]) - cut).min()) for cut in cuts} == nearest
        for array, expected in zip(aligned, (scores, features, qid), strict=False):
            assert_eq(array, expected)


def test_aligned_lists_are_those_of_one_machine(scheduler):
    scores, labels, qid = queries()
    expected, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, qid=qid)
    scores, labels, qid = nrd.align_groups(
        da.from_array(scores, chunks=4), da.from_array(labels, chunks=5), qid=da.from_array(qid, chunks=3)
    )
    loss, slope = nrd.pairwise_hinge_loss_and_grad(scores, labels, qid=qid)
    assert_like(loss, expected)
    assert_like(slope, gradient)


@pytest.mark.parametrize(
    "arrays, settings, error, message",
    [
        ((FOUR,), {}, TypeError, "at least one array, and either qid or group"),
        ((), {"group": [4]}, TypeError, "at least one array"),
        ((FOUR,), {"group": [5]}, ValueError, r"an array has shape \(4,\) and the queries have 5 rows"),
        ((FOUR[FOUR > 0],), {"group": [4]}, ValueError, r"compute_chunk_sizes\(\)"),
        ((1.0,), {"group": [1]}, ValueError, r"an array has shape \(\); it must have rows"),
        ((FOUR,), {"qid": FOUR[FOUR > 0]}, ValueError, r"compute_chunk_sizes\(\)"),
        ((FOUR,), {"qid": FOUR - 2}, ValueError, r"chunk [01]: qid\[0\] is -1"),
    ],
)
def test_wrong_arguments_of_align_groups(synchronous, arrays, settings, error, message):
    with pytest.raises(error, match=message):
        nrd.align_groups(*arrays, **settings)


# ---------------------------------------------------------------- threads and processes


def test_a_chunk_is_computed_on_one_thread_and_numbas_setting_stays(synchronous, monkeypatch):
    inside, before = [], numba.get_num_threads()

    def spy(function):
        def call(*args, **settings):
            inside.append(numba.get_num_threads())
            return function(*args, **settings)

        return call

    x = da.ones(4, chunks=2)
    results = [
        nrd.margin_ranking_loss(x, x, 1),
        nrd.margin_ranking_loss_and_grad(x, x, 1),
        nrd.pairwise_hinge_loss(x, x, group=[2, 2]),
        nrd.pairwise_hinge_loss_and_grad(x, x, group=[2, 2]),
    ]
    for name in nrd.__all__:
        if hasattr(nr, name):
            monkeypatch.setattr(nr, name, spy(getattr(nr, name)))
    dask.compute(*results)
    assert inside == [1] * 10, "two chunks each, and once for both losses of lists their pairs are counted"
    assert numba.get_num_threads() == before


def test_numba_without_threads_is_no_harm():
    program = (
        "from numbarank.dask import da, margin_ranking_loss as loss; print(loss(da.ones(3), [0, 0, 0], -1).compute())"
    )
    assert run(program, NUMBA_THREADING_LAYER="no such layer") == "1.0\n"


def run(program, **variables):
    """Run a program in a process of its own and return what it printed."""
    variables = {**os.environ, "PYTHONPATH": str(Path(nr.__file__).parents[1]), **variables}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def client():
    settings = {"distributed.admin.large-graph-warning-threshold": "100MB"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=CLUSTER_MEMORY,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_pairs_on_processes(client):
    x1, x2, y = random_pairs((50_000, 2))
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2[:1], y, 0.5)
    lazy = in_chunks(x1, y, chunks=(9_000, 2))
    result, slopes = dask.compute(*nrd.margin_ranking_loss_and_grad(lazy[0], x2[:1], lazy[1], 0.5))
    np.testing.assert_allclose(result, loss, **CLOSE)
    for slope, gradient in zip(slopes, gradients, strict=True):
        np.testing.assert_allclose(slope, gradient, **CLOSE)


def test_lists_on_processes(client):
    scores, labels, _ = random_pairs(50_000)
    qid = np.sort(np.random.default_rng(8).integers(700, size=50_000))
    expected, gradient = nr.pairwise_hinge_loss_and_grad(scores, labels, qid=qid)
    lazy = nrd.align_groups(*in_chunks(scores, labels, chunks=9_000), qid=da.from_array(qid, chunks=9_000))
    loss, slope = dask.compute(*nrd.pairwise_hinge_loss_and_grad(*lazy[:2], qid=lazy[2]))
    np.testing.assert_allclose(loss, expected, **CLOSE)
    np.testing.assert_allclose(slope, gradient, **CLOSE)


def peak_memory():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_memory_stays_bounded(client):
    """The arrays are larger than all workers may be together; they are made chunk by chunk."""
    x = da.ones(2 * CLUSTER_MEMORY // 12 + 1, chunks=1_000_000, dtype=np.float32)
    inputs = x, 2 * x, x + 0
    assert sum(array.nbytes for array in inputs) > 2 * CLUSTER_MEMORY
    loss, (by_x1, _) = nrd.margin_ranking_loss_and_grad(*inputs, 0.5, "sum")
    assert dask.compute(loss, -by_x1.sum(dtype=float)) == (np.float32(1.5 * x.size), x.size)
    assert max(client.run(peak_memory).values()) < CLUSTER_MEMORY


def test_the_example_of_the_page_runs_as_a_program():
    page = Path(__file__).parents[1] / "docs" / "distributed.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert run(program) == "0.52\n"
