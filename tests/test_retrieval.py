"""The hinge loss of retrieval against its pairs written out."""

import types

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, assert_bits, assert_within, host, imported
from numpy.testing import assert_allclose

import numbarank as nr

pytestmark = pytest.mark.usefixtures("cpu")
REDUCTIONS = ("none", "sum", "mean")
LOSERS = (None, 1, 3, 1000, 0.001, 0.3, 1.0)
MANY_LOSERS = (None, 1, 100, 3000, 0.2)


class Case:
    """Embeddings whose products are exact and often equal, positives, and items that are excluded."""

    def __init__(self, queries=7, items=90, width=4, positives=5, dtype="f8", seed=0, spread=3):
        rng = np.random.default_rng(seed)
        self.rng = rng
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
        arguments = (self.queries, self.items, self.positives)
        options = {"bias": bias, "reduction": reduction, **settings}
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*arguments, gradient=gradient, **options)
        assert_allclose(loss, expected.loss(reduction), rtol, atol=1e-300)
        assert_bits(nr.retrieval_hinge_loss(*arguments, **options), loss)
        tables = [by_scores @ self.items, by_scores.T @ self.queries, by_scores.sum(0)]
        sizes = [np.abs(by_scores) @ np.abs(self.items), np.abs(by_scores).T @ np.abs(self.queries)]
        sizes.append(np.abs(by_scores).sum(0))
        assert len(gradients) == (2 if bias is None else 3)
        for found, table, size, like in zip(
            gradients, tables, sizes, (self.queries, self.items, self.bias), strict=False
        ):
            assert found.dtype == like.dtype and found.shape == like.shape
            assert (np.abs(found - table) <= rtol * size).all()
        return loss, gradients


@pytest.fixture(scope="module")
def case():
    return Case()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("losers", LOSERS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_against_all_pairs(case, reduction, losers, power):
    loss, _ = case.check(reduction=reduction, losers=losers, power=power)
    assert np.any(loss > 0)
    for options in (
        {"bias": case.bias},
        {"exclude": case.exclude},
        {"weights": case.weights},
        {"exclude": case.exclude, "weights": case.weights, "bias": case.bias, "margin": 0.25},
    ):
        case.check(reduction=reduction, losers=losers, power=power, **options)


@pytest.mark.parametrize("margin", [-2.0, -0.25, 0.0, 0.5, 30.0])
def test_margins(case, margin):
    for power in (1, 2):
        case.check(margin=margin, power=power, losers=10)
        case.check(margin=margin, power=power)


@pytest.mark.parametrize("losers", MANY_LOSERS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_many_items(losers, dtype):
    for positives, spread in ((4, 2), (300, 400)):
        case = Case(5, 5_003, 3, positives, dtype, 1, spread)
        for power in (1, 2):
            case.check(1e-12 if dtype == "f8" else 2e-5, losers=losers, power=power, exclude=case.exclude)
            case.check(1e-12 if dtype == "f8" else 2e-5, losers=losers, power=power, weights=case.weights)


@pytest.mark.parametrize("order", ["up", "down", "equal"])
def test_highest_losers_of_sorted_scores(order):
    items = {"up": np.arange(9_000.0), "down": -np.arange(9_000.0), "equal": np.zeros(9_000)}[order][:, None]
    case = Case(2, 9_000, 1, 6)
    case.items, case.queries = items, np.array([[1.0], [0.5]])
    for losers in (1, 7, 700, 5_000):
        case.check(losers=losers, margin=3.0)


def test_ties_at_the_last_place_go_to_the_lower_index():
    queries, items = np.array([[1.0]]), np.array([[0.0], [2.0], [1.0], [2.0], [2.0]])
    _, (_, by_items) = nr.retrieval_hinge_loss_and_grad(queries, items, ([0], [0]), losers=2, reduction="sum")
    assert_bits(by_items[:, 0], np.array([-2.0, 1.0, 0.0, 1.0, 0.0]))


def test_a_share_is_rounded_up():
    queries, items = np.ones((1, 1)), np.arange(8.0)[:, None]
    for share, kept in ((0.01, 1), (1 / 7, 1), (0.15, 2), (0.5, 4), (1.0, 7)):
        _, (_, by_items) = nr.retrieval_hinge_loss_and_grad(
            queries, items, ([0], [0]), losers=share, reduction="sum", margin=10.0
        )
        assert by_items[0, 0] == -kept


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


def test_the_same_pairs_are_active_as_written_out():
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
        _, (_, by_items) = nr.retrieval_hinge_loss_and_grad(
            np.ones((1, 1), dtype), items, ([0] * 4, range(4)), margin=margin, reduction="sum"
        )
        assert_bits(by_items[:, 0] + 0.0, expected.gradient("sum")[0].astype(dtype) + 0)
        assert 0 < np.count_nonzero(expected.slopes) < expected.slopes.size


def dtype_array(values, dtype):
    return np.array(values, dtype)


@pytest.mark.parametrize("margin", [1.0, -1e308, 1e308])
def test_extreme_scores(margin):
    largest = np.finfo(np.float64).max
    items = np.array([largest, -largest, 0.0, 5e-324, -5e-324, 1.0])[:, None]
    for winner in range(len(items)):
        expected = reference_active(items[:, 0], winner, margin)
        _, (_, by_items) = nr.retrieval_hinge_loss_and_grad(
            np.ones((1, 1)), items, ([0], [winner]), margin=margin, reduction="sum"
        )
        assert_bits(by_items[:, 0] + 0.0, expected)


def reference_active(scores, winner, margin):
    with np.errstate(all="ignore"):
        active = (-(scores[winner] - scores) + margin >= 0).astype(float)
    active[winner] = 0
    active[winner] = -active.sum()
    return active + 0.0


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


def test_queries_without_positives_or_negatives():
    queries, items = np.ones((3, 1)), np.array([[1.0], [2.0]])
    positives = [0, 0, 2], [0, 1, 0]  # query 0 has no negatives, query 1 no positives
    loss, (by_queries, by_items) = nr.retrieval_hinge_loss_and_grad(queries, items, positives, reduction="none")
    assert_bits(loss, np.array([0.0, 0.0, 2.0]))
    assert_bits(by_queries + 0, np.array([[0.0], [0.0], [1.0]]))
    assert_bits(by_items, np.array([[-1.0], [1.0]]))
    assert nr.retrieval_hinge_loss(queries, items, positives) == 2.0


@pytest.mark.parametrize("shapes", [((0, 3), (5, 3)), ((4, 3), (0, 3)), ((4, 0), (5, 0)), ((0, 3), (0, 3))])
def test_nothing(shapes):
    queries, items = (np.ones(shape, "f4") for shape in shapes)
    positives = ([0], [1]) if shapes[1] == (5, 0) else ([], [])
    for reduction in REDUCTIONS:
        loss, gradients = nr.retrieval_hinge_loss_and_grad(
            queries, items, positives, bias=items.sum(1), reduction=reduction, losers=0.5
        )
        expected = np.zeros(len(queries) if reduction == "none" else (), "f4")
        if len(positives[0]):
            expected[() if expected.ndim == 0 else 0] = {"mean": 1, "sum": 2, "none": 2}[reduction]
        assert_bits(loss, expected)
        assert [gradient.shape for gradient in gradients] == [*shapes, shapes[1][:1]]
        assert not gradients[0].any() and not gradients[1].any()


def test_no_positives_at_all(case):
    loss, gradients = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, ([], []))
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


def test_no_pair_is_active(case):
    loss, gradients = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives, margin=-1e9)
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


def test_weights_of_zero(case):
    weights = np.zeros(len(case.positives[0]))
    loss, gradients = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives, weights=weights)
    assert loss == 0 and not any(gradient.any() for gradient in gradients)


# ---------------------------------------------------------------- tiles and threads


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_query_at_a_time(dtype):
    case = Case(9, 400, dtype=dtype, spread=1)
    rng = np.random.default_rng(0)
    case.queries, case.items = (rng.standard_normal(a.shape).astype(dtype) for a in (case.queries, case.items))
    for options in ({}, {"power": 2, "losers": 50}, {"reduction": "none", "gradient": rng.random(9)}):
        given = case.queries, case.items, case.positives
        options = {"bias": case.bias, "exclude": case.exclude, "weights": case.weights, **options}
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*given, **options)
        for memory in (1, 3 * 400 * case.queries.itemsize + 100_000):
            tiled, others = nr.retrieval_hinge_loss_and_grad(*given, memory=memory, **options)
            rtol = 1e-12 if dtype == "f8" else 1e-5
            assert_allclose(tiled, loss, rtol)
            for a, b in zip(gradients, others, strict=True):
                assert_allclose(a, b, rtol, rtol * np.abs(a).max())


def test_tiles_without_an_active_pair_among_others():
    """The first and the last tile have none: their gradients are 0, and the others add up."""
    queries, items = np.array([[0.0], [1.0], [0.0], [1.0], [0.0]]), np.array([[-1.0], [1.0]])
    loss, (by_queries, by_items) = (
        nr.retrieval_hinge_loss_and_grad(
            queries, items, (range(5), [0] * 5), margin=-1.0, memory=1, reduction="sum", bias=[0.0, 0.0]
        )[:2][0],
        nr.retrieval_hinge_loss_and_grad(queries, items, (range(5), [0] * 5), margin=-1.0, memory=1, reduction="sum")[
            1
        ],
    )
    assert loss == 2.0
    assert_bits(by_queries + 0, np.array([[0.0], [2.0], [0.0], [2.0], [0.0]]))
    assert_bits(by_items, np.array([[-2.0], [2.0]]))


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
def test_dtypes(dtype):
    case = Case(dtype=dtype)
    wide = Case(dtype="f4" if dtype.itemsize < 8 else "f8")
    given, wider = ((one.queries, one.items, one.positives) for one in (case, wide))
    for options in ({"power": 2}, {"losers": 5, "reduction": "none"}):
        loss, gradients = nr.retrieval_hinge_loss_and_grad(*given, bias=case.bias, **options)
        expected, others = nr.retrieval_hinge_loss_and_grad(*wider, bias=wide.bias, **options)
        assert_bits(loss, np.asarray(expected).astype(dtype))
        for gradient, other in zip(gradients, others, strict=True):
            assert_within(gradient, other.astype(dtype), 0)


def test_dtypes_promote():
    queries, items, positives = np.ones((2, 1), "f4"), np.array([[1], [2]], "i2"), ([0], [0])
    loss, gradients = nr.retrieval_hinge_loss_and_grad(queries, items, positives)
    assert [one.dtype for one in (loss, *gradients)] == ["f8", "f4", "f8"]
    assert nr.retrieval_hinge_loss(queries, items.astype("f2"), positives).dtype == "f4"
    assert nr.retrieval_hinge_loss(queries, items.astype("f4"), positives, bias=np.ones(2)).dtype == "f8"


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


def test_buffers(case):
    expected, gradients = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives, bias=case.bias)
    out = tuple(np.full_like(one, 7) for one in (case.queries, case.items, case.bias))
    loss, found = nr.retrieval_hinge_loss_and_grad(
        case.queries, case.items, case.positives, bias=case.bias, out=out, memory=1
    )
    assert_allclose(loss, expected, 1e-14)
    for one, buffer, other in zip(found, out, gradients, strict=True):
        assert one is buffer
        assert_allclose(buffer, other, 1e-12, 1e-14)


def test_buffers_of_another_dtype_than_is_computed_with():
    case = Case(dtype="f2")
    out = np.empty_like(case.queries), np.empty_like(case.items)
    _, found = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives, out=out)
    _, expected = nr.retrieval_hinge_loss_and_grad(case.queries, case.items, case.positives)
    for one, buffer, other in zip(found, out, expected, strict=True):
        assert one is buffer
        assert_bits(buffer, other)


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


def test_tensors(case):
    queries, items, bias = (nr.tensor(one, requires_grad=True) for one in (case.queries, case.items, case.bias))
    loss = nr.retrieval_hinge_loss(queries, items, case.positives, bias=bias, power=2, losers=0.5)
    (2 * loss).backward()
    expected, gradients = nr.retrieval_hinge_loss_and_grad(
        case.queries, case.items, case.positives, bias=case.bias, power=2, losers=0.5, gradient=2.0
    )
    assert_bits(host(loss), expected)
    for leaf, gradient in zip((queries, items, bias), gradients, strict=True):
        assert_bits(leaf.grad, gradient)


def test_some_tensors(case):
    items = nr.tensor(case.items, requires_grad=True)
    loss = nr.retrieval_hinge_loss(case.queries, items, case.positives, reduction="none")
    loss.backward(np.ones(len(case.queries)))
    found, gradients = nr.retrieval_hinge_loss_and_grad(case.queries, items, case.positives, reduction="none")
    assert isinstance(found, nr.Tensor) and all(isinstance(one, nr.Tensor) for one in gradients)
    assert_bits(items.grad, gradients[1])
    with pytest.raises(TypeError, match="weights requires a gradient"):
        weights = nr.tensor(np.ones(len(case.positives[0])), requires_grad=True)
        nr.retrieval_hinge_loss(case.queries, items, case.positives, weights=weights)


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


def test_csr_of_scipy(case):
    sparse = imported("scipy.sparse")
    shape = len(case.queries), len(case.items)
    table = sparse.coo_array((np.ones(len(case.positives[0])), case.positives), shape)
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, table.tocsr()), expected)
    with pytest.raises(TypeError, match=r"in the format 'csc'; it must be 'csr': pass positives.tocsr\(\)"):
        nr.retrieval_hinge_loss(case.queries, case.items, table.tocsc())


def test_kinds_of_indices(case):
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    for kind in ("i1", "u1", "i4", "u8", "f4", ">i8"):
        given = tuple(part.astype(kind) for part in case.positives)
        assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, given), expected)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, [part.tolist() for part in case.positives]), expected)


def test_doubled_positives_count_once(case):
    doubled = tuple(np.concatenate([part, part[:5], part[2:9]]) for part in case.positives)
    expected = nr.retrieval_hinge_loss(case.queries, case.items, case.positives)
    assert_bits(nr.retrieval_hinge_loss(case.queries, case.items, doubled), expected)
    with pytest.raises(ValueError, match="positives holds item 3 of query 1 twice, as entries 0 and 2, and weights"):
        nr.retrieval_hinge_loss(case.queries, case.items, ([1, 0, 1], [3, 3, 3]), weights=[1, 1, 1])


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


@pytest.mark.parametrize("settings, error, words", SETTINGS, ids=[words for _, _, words in SETTINGS])
def test_wrong_settings(settings, error, words):
    with pytest.raises(error, match=words):
        nr.retrieval_hinge_loss(*GIVEN, ([0], [0]), **settings)


def test_numbers_of_numpy_as_settings(case):
    given = case.queries, case.items, case.positives
    assert_bits(nr.retrieval_hinge_loss(*given, losers=np.int8(3)), nr.retrieval_hinge_loss(*given, losers=3))
    assert_bits(nr.retrieval_hinge_loss(*given, losers=np.float32(0.5)), nr.retrieval_hinge_loss(*given, losers=0.5))


@pytest.mark.parametrize("shapes", [((3,), (4, 2)), ((3, 2), (2,)), ((3, 2), (4, 3))])
def test_wrong_shapes(shapes):
    with pytest.raises(ValueError, match=r"axes|equally long"):
        nr.retrieval_hinge_loss(*map(np.ones, shapes), ([0], [0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(case, value):
    for change in ("queries", "items", "bias"):
        queries, items, bias = case.queries.copy(), case.items.copy(), case.bias.copy()
        {"queries": queries, "items": items, "bias": bias}[change][4] = value
        for memory in (1, 2**26):
            with pytest.raises(ValueError, match=f"query {4 if change == 'queries' else 0} has scores that are NaN"):
                nr.retrieval_hinge_loss_and_grad(queries, items, case.positives, bias=bias, memory=memory)


def test_products_that_overflow():
    with pytest.raises(ValueError, match="query 1 has scores that are NaN or infinite"):
        nr.retrieval_hinge_loss(np.array([[1.0], [1e200]]), np.full((3, 1), 1e200), ([0], [0]))


class OnCuda:
    __cuda_array_interface__ = ()


def test_arrays_on_a_device_are_refused(monkeypatch):
    from numbarank._arguments import retrieval

    item = nr._arguments.read("queries", GIVEN[0])._replace(device="cuda:0")
    monkeypatch.setattr(retrieval, "read", lambda name, value: item)
    with pytest.raises(TypeError, match=r"queries is on cuda:0; .* numbarank.Tensor\(queries\).cpu\(\)"):
        nr.retrieval_hinge_loss(*GIVEN, ([0], [0]))
    with pytest.raises(TypeError, match=r"positives\[0\] is a .*OnCuda; it must be a list or NumPy array"):
        retrieval.read_entries("positives", (OnCuda(), [0]), 3, 4)
