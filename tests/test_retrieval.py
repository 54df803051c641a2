"""The hinge loss of retrieval against its pairs written out."""

import contextlib
import importlib.util
import re
import sys
import types

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, SIMULATOR, assert_bits, assert_within, host, imported, put
from numpy.testing import assert_allclose

import numbarank as nr

pytestmark = pytest.mark.usefixtures("products")
on_cpu = pytest.mark.usefixtures("cpu")
on_cuda = pytest.mark.usefixtures("cuda")
REDUCTIONS = ("none", "sum", "mean")
LOSERS = (None, 3, 0.3) if SIMULATOR else (None, 1, 3, 1000, 0.001, 0.3, 1.0)
MANY_LOSERS = (None, 7) if SIMULATOR else (None, 1, 100, 3000, 0.2)


class Case:
    """Embeddings whose products are exact and often equal, positives, and items that are excluded."""

    def __init__(self, queries=7, items=90, width=4, positives=5, dtype="f8", seed=0, spread=3, device="cpu"):
        rng = np.random.default_rng(seed)
        self.rng, self.device = rng, device
        if SIMULATOR:
            queries, items, positives = min(queries, 5), min(items, 37), min(positives, 9)
        self.queries, self.items = (
            (rng.integers(-spread, spread + 1, (count, width)) / 4).astype(dtype) for count in (queries, items)
        )
        self.bias = (rng.integers(-3, 4, items) / 8).astype(dtype)
        self.positives = self.entries(positives)
        self.exclude = self.entries(2 * positives)
        self.weights = rng.integers(0, 5, len(self.positives[0])) / 2

    def entries(self, most):
        """Different entries in any order: some queries have none."""
        count = len(self.queries) * most // 2
        cells = self.rng.permutation(len(self.queries) * len(self.items))[:count]
        return tuple(np.divmod(cells[cells < (len(self.queries) - 1) * len(self.items)], len(self.items)))

    def scores(self, bias=None):
        return self.queries @ self.items.T + (0 if bias is None else bias)

    def check(self, rtol=1e-12, bias=None, reduction="mean", gradient=None, **settings):
        scores = self.scores(bias)
        named = {name: value for name, value in settings.items() if name != "memory"}
        expected = reference.RetrievalPairs(scores, self.positives, **named)
        upstream = 1.0 if gradient is None else gradient
        by_scores = expected.gradient(reduction, upstream)
        options = {"bias": self.put(bias), "reduction": reduction, **settings}
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*self.given(), gradient=self.put(gradient), **options)
        assert_allclose(host(loss), expected.loss(reduction), rtol, atol=1e-300)
        assert_bits(nr.retrieval_hinge_loss(*self.given(), **options), loss)
        gradients = tuple(map(host, gradients))
        tables = [by_scores @ self.items, by_scores.T @ self.queries, by_scores.sum(0)]
        sizes = [np.abs(by_scores) @ np.abs(self.items), np.abs(by_scores).T @ np.abs(self.queries)]
        sizes.append(np.abs(by_scores).sum(0))
        assert len(gradients) == (2 if bias is None else 3)
        for found, table, size, like in zip(
            gradients, tables, sizes, (self.queries, self.items, self.bias), strict=False
        ):
            assert found.dtype == like.dtype and found.shape == like.shape
            assert (np.abs(found - table) <= rtol * size).all()
        return host(loss), gradients

    def put(self, value):
        """An array on the device; anything else as it is."""
        return put(value, self.device) if isinstance(value, np.ndarray) else value

    def given(self):
        """The arguments that every call has."""
        return self.put(self.queries), self.put(self.items), self.positives


@pytest.fixture(scope="module")
def loss_and_grad(device):
    """The function with arrays of the host's in and out, computed on the device."""

    def called(queries, items, positives, **settings):
        for name in ("bias", "gradient"):
            if isinstance(settings.get(name), np.ndarray):
                settings[name] = put(settings[name], device)
        given = put(queries, device), put(items, device)
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*given, positives, **settings)
        return host(loss), tuple(map(host, gradients))

    return called


@pytest.fixture(scope="module")
def case(device):
    return Case(device=device)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("losers", LOSERS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_against_all_pairs(case, reduction, losers, power):
    loss, _ = case.check(reduction=reduction, losers=losers, power=power)
    assert np.any(loss > 0)
    each = {"bias": case.bias}, {"exclude": case.exclude}, {"weights": case.weights}
    together = {"exclude": case.exclude, "weights": case.weights, "bias": case.bias, "margin": 0.25}
    for options in (together,) if SIMULATOR else (*each, together):
        case.check(reduction=reduction, losers=losers, power=power, **options)


@pytest.mark.parametrize("margin", [-2.0, -0.25, 0.0, 0.5, 30.0])
def test_margins(case, margin):
    for power in (1, 2):
        case.check(margin=margin, power=power, losers=10)
        case.check(margin=margin, power=power)


@pytest.mark.parametrize("losers", MANY_LOSERS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_many_items(losers, dtype, device):
    for queries, positives, spread in ((5, 4, 2), (3, 300, 400)):
        case = Case(queries, 5_003, 3, positives, dtype, 1, spread, device)
        for power in (1, 2):
            case.check(1e-12 if dtype == "f8" else 2e-5, losers=losers, power=power, exclude=case.exclude)
            case.check(1e-12 if dtype == "f8" else 2e-5, losers=losers, power=power, weights=case.weights)


@pytest.mark.parametrize("order", ["up", "down", "equal"])
def test_highest_losers_of_sorted_scores(order, device):
    case = Case(2, 9_000, 1, 6, device=device)
    up = np.arange(float(len(case.items)))[:, None]
    case.items, case.queries = {"up": up, "down": -up, "equal": 0 * up}[order], np.array([[1.0], [0.5]])
    for losers in (1, 7) if SIMULATOR else (1, 7, 700, 5_000):
        case.check(losers=losers, margin=3.0)


def test_ties_at_the_last_place_go_to_the_lower_index(loss_and_grad):
    queries, items = np.array([[1.0]]), np.array([[0.0], [2.0], [1.0], [2.0], [2.0]])
    _, (_, by_items) = loss_and_grad(queries, items, ([0], [0]), losers=2, reduction="sum")
    assert_bits(by_items[:, 0], np.array([-2.0, 1.0, 0.0, 1.0, 0.0]))


def test_a_share_is_rounded_up(loss_and_grad):
    queries, items = np.ones((1, 1)), np.arange(8.0)[:, None]
    for share, kept in ((0.01, 1), (1 / 7, 1), (0.15, 2), (0.5, 4), (1.0, 7)):
        _, (_, by_items) = loss_and_grad(queries, items, ([0], [0]), losers=share, reduction="sum", margin=10.0)
        assert by_items[0, 0] == -kept


@on_cpu
@pytest.mark.parametrize("losers", [None, 3, 0.25])
def test_losers_of_all_queries_are_those_of_stored_scores(case, losers):
    """Equality with the loss on lists."""
    scores, labels = case.scores(), np.zeros((len(case.queries), len(case.items)))
    labels[case.positives] = 1
    for power in (1, 2):
        for reduction in REDUCTIONS:
            settings = {"power": power, "reduction": reduction, "losers": losers}
            loss, by_scores = nr.pairwise_hinge_loss_and_grad(scores, labels, **settings)
            found, (by_queries, by_items) = nr.retrieval_hinge_loss_and_grad(
                case.queries, case.items, case.positives, **settings
            )
            assert_allclose(found, loss, 1e-14)
            assert_allclose(by_queries, by_scores @ case.items, 1e-12, 1e-12)
            assert_allclose(by_items, by_scores.T @ case.queries, 1e-12, 1e-12)


def test_the_same_pairs_are_active_as_written_out(loss_and_grad):
    """Scores around the kink, where margins and differences are rounded."""
    rng = np.random.default_rng(5)
    for dtype, margin in (("f4", 1.0), ("f4", 0.1), ("f8", 1 / 3), ("f4", 1e-30), ("f8", 1e6)):
        winner = dtype_array([0.3, 1.0, 2.7, -1.0], dtype)
        near = (winner - np.dtype(dtype).type(margin)).repeat(40)
        steps = rng.integers(-6, 7, near.size)
        losers = (near.view(f"i{near.itemsize}") + steps).view(dtype)
        losers[np.isnan(losers)] = 0  # steps from 0 down
        items = np.concatenate([winner, losers, -losers])[:, None]
        expected = reference.RetrievalPairs(items.T, ([0] * 4, range(4)), margin=margin)
        _, (_, by_items) = loss_and_grad(
            np.ones((1, 1), dtype), items, ([0] * 4, range(4)), margin=margin, reduction="sum"
        )
        assert_bits(by_items[:, 0] + 0.0, expected.gradient("sum")[0].astype(dtype) + 0)
        assert 0 < np.count_nonzero(expected.slopes) < expected.slopes.size


def dtype_array(values, dtype):
    return np.array(values, dtype)


@pytest.mark.parametrize("margin", [1.0, -1e308, 1e308])
def test_extreme_scores(margin, loss_and_grad):
    largest = np.finfo(np.float64).max
    items = np.array([largest, -largest, 0.0, 5e-324, -5e-324, 1.0])[:, None]
    for winner in range(len(items)):
        expected = reference_active(items[:, 0], winner, margin)
        _, (_, by_items) = loss_and_grad(np.ones((1, 1)), items, ([0], [winner]), margin=margin, reduction="sum")
        assert_bits(by_items[:, 0] + 0.0, expected)


def reference_active(scores, winner, margin):
    with np.errstate(all="ignore"):
        active = (-(scores[winner] - scores) + margin >= 0).astype(float)
    active[winner] = 0
    active[winner] = -active.sum()
    return active + 0.0


@on_cpu
def test_numerical_differences():
    rng = np.random.default_rng(3)
    given = [rng.standard_normal(shape) for shape in ((3, 4), (40, 4), (40,))]
    positives, exclude = ([2, 0, 0], [3, 1, 5]), ([0, 2], [7, 9])
    weights = rng.random(3)
    for power, losers in ((1, None), (2, None), (1, 7), (2, 0.25)):
        options = {"power": power, "losers": losers, "weights": weights, "exclude": exclude}

        def loss(queries, items, bias, options=options):
            return nr.retrieval_hinge_loss(queries, items, positives, bias=bias, **options)

        _, gradients = nr.retrieval_hinge_loss_and_grad(*given[:2], positives, bias=given[2], **options)
        for k, gradient in enumerate(gradients):
            direction = rng.standard_normal(given[k].shape)
            ends = []
            for sign in (1, -1):
                moved = [array + sign * 1e-7 * direction if i == k else array for i, array in enumerate(given)]
                ends.append(loss(*moved))
            assert_allclose((ends[0] - ends[1]) / 2e-7, (gradient * direction).sum(), 1e-5)


# ---------------------------------------------------------------- what may be empty


def test_queries_without_positives_or_negatives(loss_and_grad):
    queries, items = np.ones((3, 1)), np.array([[1.0], [2.0]])
    positives = [0, 0, 2], [0, 1, 0]  # query 0 has no negatives, query 1 no positives
    loss, (by_queries, by_items) = loss_and_grad(queries, items, positives, reduction="none")
    assert_bits(loss, np.array([0.0, 0.0, 2.0]))
    assert_bits(by_queries + 0, np.array([[0.0], [0.0], [1.0]]))
    assert_bits(by_items, np.array([[-1.0], [1.0]]))
    assert loss_and_grad(queries, items, positives)[0] == 2.0


@pytest.mark.parametrize("shapes", [((0, 3), (5, 3)), ((4, 3), (0, 3)), ((4, 0), (5, 0)), ((0, 3), (0, 3))])
def test_nothing(shapes, loss_and_grad):
    queries, items = (np.ones(shape, "f4") for shape in shapes)
    positives = ([0], [1]) if shapes[1] == (5, 0) else ([], [])
    for reduction in REDUCTIONS:
        loss, gradients = loss_and_grad(queries, items, positives, bias=items.sum(1), reduction=reduction, losers=0.5)
        expected = np.zeros(len(queries) if reduction == "none" else (), "f4")
        if len(positives[0]):
            expected[() if expected.ndim == 0 else 0] = {"mean": 1, "sum": 2, "none": 2}[reduction]
        assert_bits(loss, expected)
        assert [gradient.shape for gradient in gradients] == [*shapes, shapes[1][:1]]
        assert not gradients[0].any() and not gradients[1].any()


def test_no_positives_at_all(case, loss_and_grad):
    loss, gradients = loss_and_grad(case.queries, case.items, ([], []))
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


def test_no_pair_is_active(case, loss_and_grad):
    loss, gradients = loss_and_grad(case.queries, case.items, case.positives, margin=-1e9)
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


def test_weights_of_zero(case, loss_and_grad):
    weights = np.zeros(len(case.positives[0]))
    loss, gradients = loss_and_grad(case.queries, case.items, case.positives, weights=weights)
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


# ---------------------------------------------------------------- tiles and threads


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_query_at_a_time(dtype, loss_and_grad):
    case = Case(9, 400, dtype=dtype, spread=1)
    rng = np.random.default_rng(0)
    case.queries, case.items = (rng.standard_normal(a.shape).astype(dtype) for a in (case.queries, case.items))
    for options in ({}, {"power": 2, "losers": 50}, {"reduction": "none", "gradient": rng.random(len(case.queries))}):
        given = case.queries, case.items, case.positives
        options = {"bias": case.bias, "exclude": case.exclude, "weights": case.weights, **options}
        loss, gradients = loss_and_grad(*given, **options)
        for memory in (1, 3 * len(case.items) * case.queries.itemsize + 100_000):
            tiled, others = loss_and_grad(*given, memory=memory, **options)
            rtol = 1e-12 if dtype == "f8" else 1e-5
            assert_allclose(tiled, loss, rtol)
            for a, b in zip(gradients, others, strict=True):
                assert_allclose(a, b, rtol, rtol * np.abs(a).max())


def test_tiles_without_an_active_pair_among_others(loss_and_grad):
    """The first and the last tile have none: their gradients are 0, and the others add up."""
    queries, items = np.array([[0.0], [1.0], [0.0], [1.0], [0.0]]), np.array([[-1.0], [1.0]])
    for bias in (None, np.zeros(2)):
        loss, (by_queries, by_items, *by_bias) = loss_and_grad(
            queries, items, (range(5), [0] * 5), margin=-1.0, memory=1, reduction="sum", bias=bias
        )
        assert loss == 2.0
        assert_bits(by_queries + 0, np.array([[0.0], [2.0], [0.0], [2.0], [0.0]]))
        assert_bits(by_items, np.array([[-2.0], [2.0]]))
        assert all((column == [-2, 2]).all() for column in by_bias)


@on_cpu
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    case = Case(60, 1_501, dtype=dtype)
    case.queries = case.rng.standard_normal(case.queries.shape).astype(dtype)
    given, threads = (case.queries, case.items, case.positives), numba.get_num_threads()
    for options in ({}, {"power": 2}, {"losers": 200, "weights": case.weights, "power": 2}):
        results = []
        try:
            for count in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
                numba.set_num_threads(count)
                loss, gradients = nr.retrieval_hinge_loss_and_grad(*given, **options)
                results.append((loss, *gradients))
        finally:
            numba.set_num_threads(threads)
        for one, other in zip(*results, strict=True):
            assert_bits(one, other)


@on_cpu
def test_a_large_table():
    rng = np.random.default_rng(0)
    queries, items = (rng.standard_normal((count, 8)).astype("f4") for count in (300, 6_000))
    positives = np.arange(900) % 300, rng.permutation(6_000)[:900]
    options = {"reduction": "none", "power": 2, "losers": 100}
    loss, _ = nr.retrieval_hinge_loss_and_grad(queries, items, positives, memory=2**20, **options)
    scores = queries @ items.T
    for query in range(0, 300, 37):
        one = np.flatnonzero(positives[0] == query)
        chosen = ([0] * len(one), positives[1][one])
        expected = reference.RetrievalPairs(scores[query : query + 1], chosen, power=2, losers=100)
        assert_allclose(loss[query], expected.loss("sum"), 1e-5)


# ---------------------------------------------------------------- dtypes and arrays


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(dtype, loss_and_grad):
    case = Case(dtype=dtype)
    wide = Case(dtype="f4" if dtype.itemsize < 8 else "f8")
    given, wider = ((one.queries, one.items, one.positives) for one in (case, wide))
    for options in ({"power": 2}, {"losers": 5, "reduction": "none"}):
        loss, gradients = loss_and_grad(*given, bias=case.bias, **options)
        expected, others = loss_and_grad(*wider, bias=wide.bias, **options)
        assert_bits(loss, np.asarray(expected).astype(dtype))
        for gradient, other in zip(gradients, others, strict=True):
            assert_within(gradient, other.astype(dtype), 0)


@on_cpu
def test_dtypes_promote():
    queries, items, positives = np.ones((2, 1), "f4"), np.array([[1], [2]], "i2"), ([0], [0])
    loss, gradients = nr.retrieval_hinge_loss_and_grad(queries, items, positives)
    assert [one.dtype for one in (loss, *gradients)] == ["f8", "f4", "f8"]
    assert nr.retrieval_hinge_loss(queries, items.astype("f2"), positives).dtype == "f4"
    assert nr.retrieval_hinge_loss(queries, items.astype("f4"), positives, bias=np.ones(2)).dtype == "f8"


@on_cpu
def test_arrays_of_other_layouts(case):
    expected = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives)[1]
    for change in (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 1)[:, ::2],
        lambda a: a.astype(">f8"),
        np.ndarray.tolist,
    ):
        given = change(case.queries), change(case.items)
        before = [np.array(array) for array in given]
        found = nr.retrieval_hinge_loss_and_grad(*given, case.positives)[1]
        for a, b in zip(found, expected, strict=True):
            assert_bits(a, b)
        assert all((np.array(array) == old).all() for array, old in zip(given, before, strict=True))


def test_buffers(case, loss_and_grad):
    expected, gradients = loss_and_grad(case.queries, case.items, case.positives, bias=case.bias)
    bias = case.put(case.bias)
    out = tuple(case.put(np.full_like(one, 7)) for one in (case.queries, case.items, case.bias))
    loss, found = nr.retrieval_hinge_loss_and_grad(*case.given(), bias=bias, out=out, memory=1)
    assert_allclose(host(loss), expected, 1e-14)
    for one, buffer, other in zip(found, out, gradients, strict=True):
        assert one is buffer
        assert_allclose(host(buffer), other, 1e-12, 1e-14)


def test_buffers_of_another_dtype_than_is_computed_with(device):
    case = Case(dtype="f2", device=device)
    out = tuple(case.put(np.empty_like(one)) for one in (case.queries, case.items))
    _, found = nr.retrieval_hinge_loss_and_grad(*case.given(), out=out)
    _, expected = nr.retrieval_hinge_loss_and_grad(*case.given())
    for one, buffer, other in zip(found, out, expected, strict=True):
        assert one is buffer
        assert_bits(buffer, other)


@on_cpu
def test_buffers_that_do_not_fit(case):
    given, good = (case.queries, case.items, case.positives), (np.empty_like(case.queries), np.empty_like(case.items))
    for out, words in (
        (good[:1], "out holds 1 buffers; it must hold 2"),
        ((good[0], case.items), r"out\[1\] shares memory with items"),
        ((good[0], good[0]), r"out\[1\] has shape"),
        ((good[0].astype("f4"), good[1]), r"out\[0\] has dtype float32"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            nr.retrieval_hinge_loss_and_grad(*given, out=out)


def test_upstream_gradients(case):
    each = case.rng.random(len(case.queries))
    case.check(reduction="none", gradient=each)
    case.check(reduction="none", gradient=2.5)
    case.check(reduction="mean", gradient=-3.0)
    with pytest.raises(ValueError, match="gradient has shape"):
        case.check(reduction="mean", gradient=each)


def test_tensors(case, loss_and_grad, device):
    given = case.queries, case.items, case.bias
    queries, items, bias = (nr.tensor(one, requires_grad=True, device=device) for one in given)
    loss = nr.retrieval_hinge_loss(queries, items, case.positives, bias=bias, power=2, losers=0.5)
    (2 * loss).backward()
    expected, gradients = loss_and_grad(*given[:2], case.positives, bias=case.bias, power=2, losers=0.5)
    assert_bits(loss, expected)
    for leaf, gradient in zip((queries, items, bias), gradients, strict=True):
        assert_bits(leaf.grad, 2 * gradient)


def test_some_tensors(case, device):
    queries, items = case.put(case.queries), nr.tensor(case.items, requires_grad=True, device=device)
    loss = nr.retrieval_hinge_loss(queries, items, case.positives, reduction="none")
    loss.backward(case.put(np.ones(len(case.queries))))
    found, gradients = nr.retrieval_hinge_loss_and_grad(queries, items, case.positives, reduction="none")
    assert isinstance(found, nr.Tensor) and all(isinstance(one, nr.Tensor) for one in gradients)
    assert_bits(items.grad, gradients[1])
    with pytest.raises(TypeError, match="weights requires a gradient"):
        weights = nr.tensor(np.ones(len(case.positives[0])), requires_grad=True)
        nr.retrieval_hinge_loss(queries, items, case.positives, weights=weights)


@on_cpu
def test_torch_tensors(case):
    torch = imported("torch")
    given = torch.tensor(case.queries), torch.tensor(case.items)
    positives = tuple(map(torch.tensor, case.positives))
    assert_bits(
        nr.retrieval_hinge_loss(*given, positives),
        nr.retrieval_hinge_loss(case.queries, case.items, case.positives),
    )


# ---------------------------------------------------------------- indices


def csr(entries, shape):
    """What SciPy's CSR matrices offer, without SciPy."""
    order = np.lexsort((entries[1], entries[0]))
    indptr = np.searchsorted(entries[0][order], np.arange(shape[0] + 1))
    return types.SimpleNamespace(indptr=indptr.astype("i4"), indices=entries[1][order].astype("i4"), shape=shape)


@on_cpu
def test_csr(case):
    shape = len(case.queries), len(case.items)
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives, exclude=case.exclude)
    given = csr(case.positives, shape), csr(case.exclude, shape)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, given[0], exclude=given[1]), expected)
    order = np.lexsort((case.positives[1], case.positives[0]))
    assert_bits(
        nr.retrieval_hinge_loss(case.queries, case.items, given[0], weights=case.weights[order]),
        nr.retrieval_hinge_loss(case.queries, case.items, case.positives, weights=case.weights),
    )


@on_cpu
def test_csr_of_scipy(case):
    sparse = imported("scipy.sparse")
    shape = len(case.queries), len(case.items)
    table = sparse.coo_array((np.ones(len(case.positives[0])), case.positives), shape)
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, table.tocsr()), expected)
    for kind in ("bsr", "coo", "csc", "dia", "dok", "lil"):
        for made in (sparse.coo_array, sparse.coo_matrix):
            positives = made(table).asformat(kind)
            message = refused(TypeError, case.queries, case.items, positives)
            assert message.startswith(f"positives is a sparse matrix in the format '{kind}'; it must be 'csr'")
            (way,) = ways_in(message, positives=positives)
            assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, way), expected)


def refused(error, *given, **options):
    """The message of an error."""
    with pytest.raises(error) as caught:
        nr.retrieval_hinge_loss(*given, **options)
    return str(caught.value)


def ways_in(message, **names):
    """What a message says to pass, as it is written there."""
    ways = re.findall(r"pass (.+?)(?=, which drops them|; of |$)", message)
    return [eval(way, {"numpy": np, **names}) for way in ways]


# items 0 and 2 belong to query 0, item 1 to query 2; of the stored entries, those of items 1 and 3 do not count
STORED = {"indptr": [0, 3, 3, 5], "indices": [2, 1, 0, 3, 1], "shape": (3, 4)}
COUNTED = [0, 0, 2], [2, 0, 1]
UNEVEN = np.array([[1.0, 0.5], [-1.0, 2.0], [0.25, -0.5]]), np.array([[0.5, 1.0], [2.0, -1.0], [1.0, 1.0], [0.0, 3.0]])


@on_cpu
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "f2", "f8", ">f4"])
def test_stored_zeros_do_not_count(dtype):
    matrix = types.SimpleNamespace(data=np.array([1, 0, 1, 0, 1, 1], dtype), **STORED)  # more data than entries
    expected = nr.retrieval_hinge_loss_and_grad(*UNEVEN, COUNTED, exclude=COUNTED)
    found = nr.retrieval_hinge_loss_and_grad(*UNEVEN, matrix, exclude=matrix)
    assert_bits(found[0], expected[0])
    for gradient, other in zip(found[1], expected[1], strict=True):
        assert_bits(gradient, other)
    assert found[0] == 5 / 7  # 4 pairs of query 0 and 3 of query 2; with all entries it would be 1.125
    hidden = nr.retrieval_hinge_loss(*UNEVEN, ([0], [2]), exclude=matrix)
    assert_bits(hidden, nr.retrieval_hinge_loss(*UNEVEN, ([0], [2]), exclude=COUNTED))


@on_cpu
def test_stored_numbers_are_no_weights():
    stars = types.SimpleNamespace(data=np.array([5.0, 0.0, 0.5, -0.0, np.inf]), **STORED)
    assert_bits(nr.retrieval_hinge_loss(*UNEVEN, stars), nr.retrieval_hinge_loss(*UNEVEN, COUNTED))


@on_cpu
def test_weights_of_stored_zeros_are_dropped_with_them():
    data = np.array([5.0, 0.0, 0.5, 0.0, 2.0])
    matrix = types.SimpleNamespace(data=data, **STORED)
    expected = nr.retrieval_hinge_loss_and_grad(*UNEVEN, COUNTED, weights=[5.0, 0.5, 2.0])
    for weights in (data, [5.0, 7.0, 0.5, 9.0, 2.0]):
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*UNEVEN, matrix, weights=weights)
        assert_bits(loss, expected[0])
        for gradient, other in zip(gradients, expected[1], strict=True):
            assert_bits(gradient, other)
    message = refused(ValueError, *UNEVEN, matrix, weights=[5.0, 0.5, 2.0])
    assert message.endswith("must have shape (5,), one for each entry of positives, also where it stores 0")


@on_cpu
def test_an_entry_that_comes_again_as_a_zero_comes_once():
    doubled = types.SimpleNamespace(indptr=[0, 4, 4, 4], indices=[2, 2, 1, 2], data=[0, 3, 1, 0], shape=(3, 4))
    expected = nr.retrieval_hinge_loss(*UNEVEN, ([0, 0], [2, 1]), weights=[2, 3])
    assert_bits(nr.retrieval_hinge_loss(*UNEVEN, doubled, weights=[1, 2, 3, 4]), expected)
    doubled.data = [0, 3, 1, 1]
    assert "twice, as entries 1 and 3, and weights" in refused(ValueError, *UNEVEN, doubled, weights=[1, 2, 3, 4])


@on_cpu
@pytest.mark.parametrize("value", [-1.0, -np.inf, np.nan])
def test_stored_numbers_below_zero_are_refused(value):
    matrix = types.SimpleNamespace(data=np.array([1.0, 0.0, 1.0, value, 1.0]), **STORED)
    message = refused(ValueError, *UNEVEN, matrix)
    assert message.startswith(f"positives.data[3] is {value}, at query 2, item 3; entries above 0 count")
    assert message.endswith("none may be below 0 or NaN: store 0 there")
    assert refused(ValueError, *UNEVEN, COUNTED, exclude=matrix).startswith("exclude.data[3] is")
    matrix.data[3] = 0
    assert_bits(nr.retrieval_hinge_loss(*UNEVEN, matrix), nr.retrieval_hinge_loss(*UNEVEN, COUNTED))


@on_cpu
def test_scipys_comparison_drops_what_is_refused():
    sparse = imported("scipy.sparse")
    for kind in (sparse.csr_array, sparse.csr_matrix):
        matrix = kind(([1.0, -1.0, 0.5, np.nan, 2.0], STORED["indices"], STORED["indptr"]), (3, 4))
        (way,) = ways_in(refused(ValueError, *UNEVEN, matrix), positives=matrix)
        assert_bits(nr.retrieval_hinge_loss(*UNEVEN, way), nr.retrieval_hinge_loss(*UNEVEN, COUNTED))
        matrix.data = matrix.data >= 1  # stores False
        expected = nr.retrieval_hinge_loss(*UNEVEN, ([0, 2], [2, 1]))
        assert_bits(nr.retrieval_hinge_loss(*UNEVEN, matrix), expected)


@on_cpu
def test_stored_values_that_are_no_numbers():
    for data, error, words in (
        (np.ones(4), ValueError, "positives.data has shape (4,); it must have a number for each of the 5 entries"),
        (np.ones((5, 1)), ValueError, "positives.data has shape (5, 1)"),
        (np.array(["yes"] * 5), TypeError, "positives.data has dtype <U3; it must hold real numbers"),
        (np.ones(5, "c16"), TypeError, "positives.data has dtype complex128"),
    ):
        assert refused(error, *UNEVEN, types.SimpleNamespace(data=data, **STORED)).startswith(words)


def led_to(positives):
    """The losses of all that messages lead to, step by step."""
    try:
        return [float(nr.retrieval_hinge_loss(*UNEVEN, positives))]
    except (TypeError, ValueError) as error:
        return [loss for way in ways_in(str(error), positives=positives) for loss in led_to(way)]


PAIRS = [(0, 2), (0, 0), (2, 1)]  # for three queries, these could also be two items of each
TWICE = [0, 0, 1, 1, 2, 2], [0, 2, 0, 0, 2, 1]
FOUR = [0, 0, 2, 1], [2, 0, 1, 1]
TABLE = np.array([[1.0, -1.0, 1.0, 0.0], [0.0] * 4, [0.0, 1.0, np.nan, 0.0]])
BROUGHT = {
    "a column each": (lambda: np.array([*PAIRS, (1, 1)]), [FOUR]),
    "a column each or two items of each query": (lambda: np.array(PAIRS), [TWICE, COUNTED]),
    "a row each": (lambda: np.transpose(PAIRS), [COUNTED]),
    "a list of pairs": (lambda: [*PAIRS, (1, 1)], [FOUR]),
    "a list of pairs or of two items of each query": (lambda: PAIRS, [COUNTED, TWICE]),
    "a table": (lambda: TABLE, [COUNTED]),
    "a mask": (lambda: TABLE > 0, [COUNTED]),
    "an item for each query": (lambda: np.array([2, 0, 1]), [([0, 1, 2], [2, 0, 1])]),
    "a list of an item for each query": (lambda: [2, 0, 1], [([0, 1, 2], [2, 0, 1])]),
    "a dict of an item for each query": (lambda: {0: 2, 2: 1}, [([0, 2], [2, 1])]),
    "three items of each query": (lambda: np.array([[2, 0, 1]] * 3), [(np.repeat([0, 1, 2], 3), [2, 0, 1] * 3)]),
    "lists": (lambda: [[2, 0], [], [1]], [COUNTED]),
    "an array of lists": (lambda: np.array([[2, 0], [], [1]], object), [COUNTED]),
    "tuples, sets and arrays": (lambda: [(2, 0), {3}, np.array([1])], [([0, 0, 1, 2], [2, 0, 3, 1])]),
    "a dict of lists": (lambda: {0: [2, 0], 2: [1]}, [COUNTED]),
    "values of a dict": (lambda: {"a": [2, 0], "b": [], "c": [1]}.values(), [COUNTED]),
    "a generator": (lambda: (own for own in COUNTED), [COUNTED]),
    "a generator of pairs": (lambda: zip(*FOUR, strict=True), [FOUR]),
    "a set of pairs": (lambda: {*PAIRS, (1, 1)}, [FOUR]),
}


@on_cpu
@pytest.mark.parametrize("brought", BROUGHT)
def test_what_people_bring_as_positives(brought):
    """The messages lead to what it says, and where it could mean either of two things, to both."""
    make, meant = BROUGHT[brought]
    assert led_to(make()) == [nr.retrieval_hinge_loss(*UNEVEN, entries) for entries in meant]


@on_cpu
def test_lists_for_two_queries():
    """These could be a pair of index arrays, but for their lengths."""
    message = refused(ValueError, UNEVEN[0][:2], UNEVEN[1], [[2, 0], [1]])
    (way,) = ways_in(message, positives=[[2, 0], [1]])
    assert way == ([0, 0, 1], [2, 0, 1])
    nr.retrieval_hinge_loss(UNEVEN[0][:2], UNEVEN[1], way)


@on_cpu
def test_a_data_frame_of_pairs():
    pandas = imported("pandas")
    assert led_to(pandas.DataFrame({"query": FOUR[0], "item": FOUR[1]})) == led_to(FOUR)
    assert led_to(pandas.Series([[2, 0], [], [1]])) == led_to(COUNTED)


@on_cpu
def test_indices_out_of_dicts_and_generators():
    entries = {0: 2, 2: 1}
    for part in (entries.keys(), iter([0, 2])):
        message = refused(TypeError, *UNEVEN, (part, [2, 1]))
        (way,) = ways_in(message, positives=(part, [2, 1]))
        assert way == [0, 2]
    message = refused(TypeError, *UNEVEN, (way, entries.values()))
    assert message == "positives[1] is a dict_values; it must be a list or NumPy array: pass list(positives[1])"


@on_cpu
@pytest.mark.parametrize("kind", ["U", "S", "O"])
def test_ids_that_are_text(kind):
    ids = np.array(["tea", "ale", "mead"]).astype(kind)
    message = refused(TypeError, *UNEVEN, ([0, 0, 2], ids))
    written = "names, index = numpy.unique(ids, return_inverse=True)"
    assert message.startswith("positives[1] has dtype ") and written in message
    scope = {"numpy": np, "ids": ids}
    exec(written, scope)
    assert scope["index"].tolist() == [2, 0, 1] and scope["names"].astype(str).tolist() == ["ale", "mead", "tea"]
    assert_bits(
        nr.retrieval_hinge_loss(*UNEVEN, ([0, 0, 2], scope["index"])), nr.retrieval_hinge_loss(*UNEVEN, COUNTED)
    )


@on_cpu
def test_kinds_of_indices(case):
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    for kind in ("i1", "u1", "i4", "u8", "f4", ">i8"):
        given = tuple(part.astype(kind) for part in case.positives)
        assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, given), expected)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, [part.tolist() for part in case.positives]), expected)


@on_cpu
def test_doubled_positives_count_once(case):
    doubled = tuple(np.concatenate([part, part[:5], part[2:9]]) for part in case.positives)
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, doubled), expected)
    with pytest.raises(ValueError, match="positives holds item 3 of query 1 twice, as entries 0 and 2, and weights"):
        nr.retrieval_hinge_loss(case.queries, case.items, ([1, 0, 1], [3, 3, 3]), weights=[1, 1, 1])


@on_cpu
def test_an_excluded_positive_stays_a_positive(case):
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, case.positives, exclude=case.positives), expected)


GIVEN = np.ones((3, 2)), np.ones((4, 2))
ENTRIES = [
    (([0, -1], [0, 0]), ValueError, r"positives\[0\]\[1\] is -1; queries has 3 rows, so it must be from 0 to 2"),
    (([0, 3], [0, 0]), ValueError, r"positives\[0\]\[1\] is 3; queries has 3 rows"),
    (([0, 1], [0, 4]), ValueError, r"positives\[1\]\[1\] is 4; items has 4 rows, so it must be from 0 to 3"),
    (([0], np.array([2**64 - 1], "u8")), ValueError, r"positives\[1\]\[0\] is 18446744073709551615"),
    (([0, 1], [0]), ValueError, r"positives\[0\] has 2 indices and positives\[1\] has 1"),
    (([0], [0.5]), ValueError, r"positives\[1\]\[0\] is 0.5, which is no whole number"),
    (([0], [np.nan]), ValueError, r"positives\[1\]\[0\] is nan"),
    (([0], [np.inf]), ValueError, r"positives\[1\]\[0\] is inf"),
    (([True], [0]), TypeError, r"positives\[0\] has dtype bool"),
    (([0], ["a"]), TypeError, r"positives\[1\] has dtype <U1"),
    (([[0]], [[0]]), ValueError, r"positives\[0\] has shape \(1, 1\); it must have one axis"),
    ((0, 1), TypeError, r"positives\[0\] is a int; it must be a list or NumPy array"),
    (([0], [1], [2]), ValueError, "positives holds 3 values; it must be a pair of index arrays"),
    (np.zeros((2, 3), int), TypeError, "positives is a numpy.ndarray; it must be a pair of index arrays"),
    (7, TypeError, "positives is a int; it must be a pair of index arrays"),
    (types.SimpleNamespace(indptr=[0, 1], indices=[0]), ValueError, "positives.indptr has 2 numbers; it must have 4"),
    (types.SimpleNamespace(indptr=[0, 1, 0, 1], indices=[0]), ValueError, "positives.indptr must go from 0"),
    (types.SimpleNamespace(indptr=[1, 1, 1, 1], indices=[0]), ValueError, "positives.indptr must go from 0"),
    (types.SimpleNamespace(indptr=[0, 1, 1, 2], indices=[0]), ValueError, "positives.indptr must go from 0"),
    (types.SimpleNamespace(indptr=[0, 1, 1, 1], indices=[9]), ValueError, r"positives.indices\[0\] is 9"),
    (
        types.SimpleNamespace(indptr=[0, 1, 1, 1], indices=[0], shape=(3, 9)),
        ValueError,
        r"positives has shape \(3, 9\); it must be \(3, 4\)",
    ),
]


@on_cpu
@pytest.mark.parametrize("positives, error, words", ENTRIES, ids=[words for _, _, words in ENTRIES])
def test_hostile_indices(positives, error, words):
    with pytest.raises(error, match=words):
        nr.retrieval_hinge_loss(*GIVEN, positives)
    with pytest.raises(error, match=words.replace("positives", "exclude")):
        nr.retrieval_hinge_loss(*GIVEN, ([0], [0]), exclude=positives)


SETTINGS = [
    ({"losers": 0}, ValueError, "losers is 0; it must be None for all"),
    ({"losers": True}, TypeError, "losers is True"),
    ({"losers": 0.0}, ValueError, "losers is 0.0; it must be"),
    ({"losers": 1.5}, ValueError, "losers is 1.5; it must be"),
    ({"losers": np.nan}, ValueError, "losers is nan; it must be"),
    ({"losers": "hard"}, TypeError, "losers is 'hard'"),
    ({"memory": 0}, ValueError, "memory is 0; it must be at least 1"),
    ({"memory": 2.0}, TypeError, "memory is 2.0; it must be an int"),
    ({"memory": True}, TypeError, "memory is True"),
    ({"margin": np.inf}, ValueError, "margin is inf"),
    ({"power": 3}, ValueError, "power is 3"),
    ({"reduction": "max"}, ValueError, "reduction is 'max'"),
    ({"weights": [-1.0]}, ValueError, r"weights\[0\] is -1.0; weights must be 0 or more"),
    ({"weights": [np.nan]}, ValueError, r"weights\[0\] is nan"),
    ({"weights": [1.0, 1.0]}, ValueError, r"weights has shape \(2,\); it must have shape \(1,\)"),
    ({"weights": [True]}, TypeError, "weights has dtype bool"),
    ({"bias": [1.0]}, ValueError, r"bias has shape \(1,\), items \(4, 2\)"),
]


@on_cpu
@pytest.mark.parametrize("settings, error, words", SETTINGS, ids=[words for _, _, words in SETTINGS])
def test_wrong_settings(settings, error, words):
    with pytest.raises(error, match=words):
        nr.retrieval_hinge_loss(*GIVEN, ([0], [0]), **settings)


@on_cpu
def test_numbers_of_numpy_as_settings(case):
    given = case.queries, case.items, case.positives
    assert_bits(nr.retrieval_hinge_loss(*given, losers=np.int8(3)), nr.retrieval_hinge_loss(*given, losers=3))
    assert_bits(nr.retrieval_hinge_loss(*given, losers=np.float32(0.5)), nr.retrieval_hinge_loss(*given, losers=0.5))


@on_cpu
@pytest.mark.parametrize("shapes", [((3,), (4, 2)), ((3, 2), (2,)), ((3, 2), (4, 3))])
def test_wrong_shapes(shapes):
    with pytest.raises(ValueError, match=r"axes|equally long"):
        nr.retrieval_hinge_loss(*map(np.ones, shapes), ([0], [0]))


@on_cpu
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(case, value):
    for change in ("queries", "items", "bias"):
        queries, items, bias = case.queries.copy(), case.items.copy(), case.bias.copy()
        {"queries": queries, "items": items, "bias": bias}[change][4] = value
        for memory in (1, 2**26):
            with pytest.raises(ValueError, match=f"query {4 if change == 'queries' else 0} has scores that are NaN"):
                nr.retrieval_hinge_loss_and_grad(queries, items, case.positives, bias=bias, memory=memory)


@on_cpu
def test_products_that_overflow():
    with pytest.raises(ValueError, match="query 1 has scores that are NaN or infinite"):
        nr.retrieval_hinge_loss(np.array([[1.0], [1e200]]), np.full((3, 1), 1e200), ([0], [0]))


# ---------------------------------------------------------------- on a device


@on_cuda
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("memory", [1, 2**26])
def test_a_query_that_cannot_be_computed_with_is_nan_on_a_device(value, memory):
    """The others are as without it; the gradients by the items have all of its negatives and positives."""
    queries, items = np.array([[1.0], [value], [2.0]]), np.array([[1.0], [0.5], [-1.0]])
    given = put(queries, "cuda"), put(items, "cuda"), ([0, 2, 2], [2, 0, 1])
    options = {"reduction": "none", "memory": memory, "losers": 1}
    loss, (by_queries, by_items) = nr.retrieval_hinge_loss_and_grad(*given, **options)
    assert_bits(loss, np.array([3.0, np.nan, 0.0]))
    assert_bits(host(by_queries) + 0, np.array([[2.0], [np.nan], [0.0]]))
    assert np.isnan(host(by_items)).all()
    assert np.isnan(host(nr.retrieval_hinge_loss(*given)))


@on_cuda
def test_upstream_gradients_on_a_device(case):
    each, one = case.rng.random(len(case.queries)), np.array(2.5)
    expected = nr.retrieval_hinge_loss_and_grad(*case.given(), gradient=2.5)[1]
    for gradient, other in zip(
        nr.retrieval_hinge_loss_and_grad(*case.given(), gradient=case.put(one))[1], expected, strict=True
    ):
        assert_bits(gradient, other)
    assert nr.retrieval_hinge_loss(*case.given(), reduction="none").shape == each.shape


@on_cuda
def test_arguments_in_two_places(case):
    queries, items, positives = case.given()
    with pytest.raises(ValueError, match="queries is on cuda:0, items is on cpu; all must be on one device"):
        nr.retrieval_hinge_loss(queries, case.items, positives)
    with pytest.raises(ValueError, match="items is on cuda:0, bias is on cpu"):
        nr.hard_negatives(queries, items, 1, bias=case.bias)
    with pytest.raises(TypeError, match="weights is on cuda:0; it must be in host memory, as positives is"):
        nr.retrieval_hinge_loss(queries, items, positives, weights=case.put(case.weights))
    with pytest.raises(TypeError, match=r"positives\[0\] is a .*; it must be a list or NumPy array"):
        nr.retrieval_hinge_loss(queries, items, (queries, [0]))


def original_products():
    """The file of products as it is, without what takes its place here."""
    spec = importlib.util.find_spec("numbarank._cuda.products")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@on_cuda
def test_products_need_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"need CuPy .*numbarank\[cuda13,cupy13\].*numbarank.Tensor\(queries\).cpu"):
        original_products().check()


class MadeUpMemory:
    """CuPy's memory of another owner, a pointer into it and an array there: in host memory, which the simulator has."""

    def __init__(self, address, size, owner, device):
        self.address, self.size = address, size

    @staticmethod
    def array(shape, dtype, memory):
        interface = {"data": (memory.address, False), "shape": shape, "typestr": dtype.str, "version": 3}
        return np.asarray(types.SimpleNamespace(__array_interface__=interface))


@on_cuda
@pytest.mark.usefixtures("simulator")
def test_products_of_cupy(monkeypatch):
    cuda = types.SimpleNamespace(
        Device=contextlib.nullcontext,
        Stream=types.SimpleNamespace(null=contextlib.nullcontext()),
        UnownedMemory=MadeUpMemory,
        MemoryPointer=lambda memory, offset: memory,
    )
    cupy = types.SimpleNamespace(cuda=cuda, ndarray=MadeUpMemory.array, matmul=np.matmul)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    products, (a, b) = original_products(), (np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(4, 3))
    left, right, out = (put(one, "cuda") for one in (a, b, np.zeros((2, 4))))
    products.matmul(left, right, out, 0, transpose_b=True)
    assert_bits(out, a @ b.T)
    products.matmul(out, left, right, 0, transpose_a=True)
    assert_bits(right, (a @ b.T).T @ a)


def test_random_tables(cpu):
    """Small whole numbers, of which many products are equal, in all combinations of settings."""
    rng = np.random.default_rng(11)
    for _ in range(300):
        queries, items, width = rng.integers(1, 5), rng.integers(1, 40), rng.integers(1, 4)
        left, right = (rng.integers(-2, 3, (count, width)).astype(float) for count in (queries, items))
        liked, hidden = rng.random((2, queries, items)) < [[[0.2]], [[0.1]]]
        positives, exclude = np.nonzero(liked), np.nonzero(hidden)
        settings = {
            "margin": float(rng.choice([0.0, 1.0, -1.0, 2.5])),
            "power": int(rng.choice([1, 2])),
            "losers": [None, 1, 3, 0.3, 1.0][rng.integers(5)],
            "weights": rng.choice([0.0, 0.5, 2.0], positives[0].size) if rng.random() < 0.5 else None,
        }
        expected = reference.RetrievalPairs(left @ right.T, positives, exclude, **settings)
        memory = int(rng.choice([1, 2**20]))
        for reduction in REDUCTIONS:
            loss, (by_queries, by_items) = nr.retrieval_hinge_loss_and_grad(
                left, right, positives, exclude=exclude, reduction=reduction, memory=memory, **settings
            )
            assert_allclose(loss, expected.loss(reduction), 1e-13)
            by_scores = expected.gradient(reduction)
            assert_allclose(by_queries, by_scores @ right, 1e-12, 1e-12)
            assert_allclose(by_items, by_scores.T @ left, 1e-12, 1e-12)
