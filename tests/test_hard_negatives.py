"""The highest-scoring negatives of queries, against a sort of the stored scores."""

import types

import numba
import numpy as np
import pytest
import reference
from helpers import FLOATS, SIMULATOR, assert_bits, host, put

import numbarank as nr

pytestmark = pytest.mark.usefixtures("products")
on_cpu = pytest.mark.usefixtures("cpu")
on_cuda = pytest.mark.usefixtures("cuda")


def embeddings(queries, items, dtype="f8", seed=0, spread=2):
    """Embeddings whose products are exact, and often equal."""
    rng = np.random.default_rng(seed)
    return tuple((rng.integers(-spread, spread + 1, (count, 3)) / 4).astype(dtype) for count in (queries, items))


def entries(queries, items, count, seed=0):
    return tuple(np.divmod(np.random.default_rng(seed).permutation(queries * items)[:count], items))


@pytest.fixture(scope="module")
def best(device):
    """The function with arrays of the host's in and out, computed on the device."""

    def called(queries, items, k, bias=None, **settings):
        given = put(np.asarray(queries), device), put(np.asarray(items), device)
        found = nr.hard_negatives(*given, k, bias=None if bias is None else put(bias, device), **settings)
        return tuple(map(host, found))

    return called


def check(best, queries, items, k, bias=None, memory=2**26, **settings):
    scores = queries @ items.T + (0 if bias is None else bias)
    expected = reference.best_negatives(scores, k, **settings)
    found = best(queries, items, k, bias=bias, memory=memory, **settings)
    assert_bits(found[0], expected[0])
    assert_bits(found[1] + 0, expected[1] + 0)
    return found


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k", [2, 33] if SIMULATOR else [1, 2, 60, 130])
@pytest.mark.parametrize("skip", [0, 5] if SIMULATOR else [0, 1, 50, 200])
def test_against_a_sort(k, skip, dtype, best):
    count = 29 if SIMULATOR else 97
    queries, items = embeddings(6, count, dtype)
    positives, exclude = entries(5, count, 20), entries(6, count, 50, 1)
    bias = (np.arange(count) % 5 / 8).astype(dtype)
    check(best, queries, items, k, skip=skip)
    check(best, queries, items, k, skip=skip, positives=positives)
    check(best, queries, items, k, skip=skip, positives=positives, exclude=exclude, bias=bias)
    check(best, queries, items, k, skip=skip, positives=positives, ceiling=0.75, memory=1)
    check(best, queries, items, k, skip=skip, positives=positives, distance=0.25)
    check(best, -np.abs(queries), np.abs(items), k, positives=positives, ceiling=0.875, distance=0.125)


@pytest.mark.parametrize("k", [1, 50] if SIMULATOR else [1, 50, 3_000])
def test_many_items(k, best):
    count = 101 if SIMULATOR else 7_001
    for dtype, spread in (("f4", 2), ("f8", 500)):
        queries, items = embeddings(4, count, dtype, 2, spread)
        check(best, queries, items, k, positives=entries(4, count, 99), skip=10)


@pytest.mark.parametrize("step", [1.0, -1.0, 0.0])
def test_sorted_scores(step, best):
    count = 90 if SIMULATOR else 9_000
    for k in (1, 7, 89) if SIMULATOR else (1, 700, 8_999):
        check(best, np.ones((1, 1)), step * np.arange(count)[:, None], k)


def test_ties_go_to_the_lower_index(best):
    indices, scores = best([[1.0]], [[0.0], [1.0], [-0.0], [1.0], [0.0]], 4)
    assert_bits(indices, np.array([[1, 3, 0, 2]]))
    assert_bits(scores + 0, np.array([[1.0, 1.0, 0.0, 0.0]]))


def test_fewer_than_k(best):
    indices, scores = best(np.ones((2, 1), "f4"), [[3], [4]], 3, positives=([0, 1, 1], [1, 0, 1]))
    assert_bits(indices, np.array([[0, -1, -1], [-1, -1, -1]]))
    assert_bits(scores, np.array([[3, -np.inf, -np.inf], [-np.inf] * 3]))


@pytest.mark.parametrize("shapes", [((0, 3), (5, 3)), ((4, 3), (0, 3))])
def test_nothing(shapes, best):
    indices, scores = best(*map(np.ones, shapes), 2)
    assert indices.shape == scores.shape == (shapes[0][0], 2)
    assert (indices == -1).all() and (scores == -np.inf).all()


def test_a_ceiling_is_a_share_of_the_best_positive(best):
    items = np.array([[10.0], [9.6], [9.5], [9.4], [20.0], [2.0]])
    positives = [0, 0], [0, 5]  # the best of them has 10
    indices, _ = best([[1.0]], items, 3, positives=positives, ceiling=0.95)
    assert_bits(indices, np.array([[2, 3, -1]]))  # equal to the ceiling stays
    indices, _ = best([[1.0]], items, 2, positives=positives, ceiling=0.95, skip=1)
    assert_bits(indices, np.array([[3, -1]]))  # skip counts what the ceiling leaves
    indices, _ = best([[1.0]], items, 1, positives=positives, ceiling=2.0)
    assert_bits(indices, np.array([[4]]))


def test_a_ceiling_beside_a_positive_below_zero(best):
    items = np.array([[-0.5, 0.866], [-0.49, 0.872], [-0.8, 0.6]])
    indices, _ = best([[1.0, 0.0]], items, 2, positives=([0], [0]), ceiling=0.95)
    assert_bits(indices, np.array([[2, -1]]))
    items = np.array([[-4.0], [-1.0], [-5.0], [-6.0], [-7.0]])
    for ceiling, expected in ((1.0, [2, 3, 4]), (0.75, [2, 3, 4]), (0.5, [3, 4, -1]), (0.25, [4, -1, -1])):
        indices, _ = best([[1.0]], items, 3, positives=([0], [0]), ceiling=ceiling)
        assert_bits(indices, np.array([expected]))  # -4 less 4 times (1 - ceiling)
    indices, _ = best([[1.0]], items, 3, positives=([0], [0]), ceiling=2.0)
    assert_bits(indices, np.array([[1, 2, 3]]))  # up to 0


def test_a_ceiling_beside_a_positive_at_zero(best):
    for zero in (0.0, -0.0):
        indices, _ = best([[1.0]], [[zero], [0.0], [5e-324], [-5e-324]], 3, positives=([0], [0]), ceiling=0.5)
        assert_bits(indices, np.array([[1, 3, -1]]))


def test_a_distance_from_the_best_positive(best):
    items = np.array([[10.0], [9.75], [9.5], [9.25], [20.0], [2.0]])
    positives = [0, 0], [0, 5]  # the best of them has 10
    indices, _ = best([[1.0]], items, 3, positives=positives, distance=0.5)
    assert_bits(indices, np.array([[2, 3, -1]]))  # at just the distance stays
    indices, _ = best([[1.0]], items, 2, positives=positives, distance=0.5, skip=1)
    assert_bits(indices, np.array([[3, -1]]))  # skip counts what the distance leaves
    indices, _ = best([[-1.0]], items, 3, positives=positives, distance=7.5)
    assert_bits(indices, np.array([[2, 1, 4]]))  # the best of them has -2


def test_a_ceiling_and_a_distance_both_hold(best):
    for queries, ceiling, distance, expected in (
        ([[1.0]], 0.75, 1.0, [3, 4]),  # at most 6, and at most 7
        ([[1.0]], 0.75, 4.0, [4, -1]),  # at most 6, and at most 4
        ([[1.0]], 1.5, 1.0, [2, 3]),  # at most 12, and at most 7
    ):
        items = np.array([[8.0], [9.0], [7.0], [5.0], [4.0]])
        indices, _ = best(queries, items, 2, positives=([0], [0]), ceiling=ceiling, distance=distance)
        assert_bits(indices, np.array([expected]))


def test_exact_copies_of_the_best_positive_are_left_out_by_a_distance(best):
    items = np.array([[1.0, 0.5], [1.0, 0.5], [0.5, 0.5], [1.0, 0.5]], "f4")
    for settings, expected in (
        ({}, [1, 3]),
        ({"distance": 0}, [1, 3]),
        ({"ceiling": 1.0}, [1, 3]),
        ({"distance": 1e-5}, [2, -1]),
    ):
        indices, _ = best(np.array([[1.0, 1.0]], "f4"), items, 2, positives=([0], [0]), **settings)
        assert_bits(indices, np.array([expected]))


def test_a_query_without_positives_has_no_bound(best):
    queries, items = np.ones((2, 1)), np.array([[1.0], [5.0]])
    for settings in ({"ceiling": 1.0}, {"distance": 0.0}, {"ceiling": 0.5, "distance": 3.0}):
        indices, _ = best(queries, items, 2, positives=([0], [0]), **settings)
        assert_bits(indices, np.array([[-1, -1], [1, 0]]))


def test_bounds_beyond_the_numbers(best):
    """Beside a positive near the largest number, and at 0 with the largest ceiling."""
    largest = np.finfo(np.float64).max
    items = np.array([[-largest], [-largest], [0.0], [1.0]])
    for settings in ({"ceiling": 1e-3}, {"distance": largest}):
        assert_bits(best([[1.0]], items, 1, positives=([0], [0]), **settings)[0], np.array([[-1]]))
    assert_bits(best([[1.0]], items, 1, positives=([0], [2]), ceiling=largest)[0], np.array([[0]]))
    assert_bits(best([[1.0]], items, 1, positives=([0], [0]), ceiling=largest)[0], np.array([[3]]))


@on_cpu
def test_zeros_of_a_csr_matrix_are_no_positives():
    """Of the two that are stored, item 0 is none: it is a negative, and no best positive."""
    rated = types.SimpleNamespace(indptr=[0, 2], indices=[0, 1], data=np.array([False, True]), shape=(1, 3))
    items = np.array([[5.0], [2.0], [1.0]])
    for settings, expected in (({}, [0, 2]), ({"ceiling": 1.0}, [2, -1]), ({"exclude": rated}, [0, 2])):
        indices, _ = nr.hard_negatives([[1.0]], items, 2, positives=rated, **settings)
        assert_bits(indices, np.array([expected]))
    rated.data = np.array([-1, 4])
    for name in ("positives", "exclude"):
        with pytest.raises(ValueError, match=rf"{name}.data\[0\] is -1, at query 0, item 0; entries above 0 count"):
            nr.hard_negatives([[1.0]], items, 2, **{name: rated})


@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes(dtype, best):
    queries, items = embeddings(3, 50, dtype)
    indices, scores = best(queries, items, 9)
    wide = queries.astype("f4") @ items.astype("f4").T if dtype.itemsize < 8 else queries @ items.T
    expected = reference.best_negatives(wide, 9)
    assert_bits(indices, expected[0])
    assert_bits(scores + 0, expected[1].astype(dtype) + 0)


@on_cpu
def test_tensors_and_lists():
    queries, items = embeddings(3, 20)
    expected = nr.hard_negatives(queries, items, 4)
    for found in (
        nr.hard_negatives(nr.tensor(queries, requires_grad=True), nr.tensor(items), 4),
        nr.hard_negatives(queries.tolist(), items.tolist(), 4),
    ):
        assert_bits(found[0], expected[0])
        assert_bits(found[1], expected[1])


@on_cpu
def test_the_same_on_any_number_of_threads():
    queries, items = embeddings(40, 2_000, "f4", spread=50)
    threads, results = numba.get_num_threads(), []
    try:
        for count in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(count)
            results.append(nr.hard_negatives(queries, items, 100))
    finally:
        numba.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert_bits(one, other)


WRONG = [
    ({"k": 0}, ValueError, "k is 0; it must be at least 1"),
    ({"k": 1.0}, TypeError, "k is 1.0; it must be an int of at least 1"),
    ({"k": True}, TypeError, "k is True"),
    ({"skip": -1}, ValueError, "skip is -1; it must be at least 0"),
    ({"skip": None}, TypeError, "skip is None"),
    ({"memory": -5}, ValueError, "memory is -5"),
    ({"ceiling": 0.9, "positives": None}, ValueError, "ceiling is given without positives"),
    ({"ceiling": 0}, ValueError, "ceiling is 0; it must be above 0 and finite"),
    ({"ceiling": np.nan}, ValueError, "ceiling is nan"),
    ({"ceiling": np.inf}, ValueError, "ceiling is inf"),
    ({"ceiling": True}, TypeError, "ceiling is True"),
    ({"distance": 0.1, "positives": None}, ValueError, "distance is given without positives"),
    ({"distance": -0.1}, ValueError, "distance is -0.1; it must be 0 or more and finite"),
    ({"distance": np.nan}, ValueError, "distance is nan"),
    ({"distance": np.inf}, ValueError, "distance is inf"),
    ({"distance": "near"}, TypeError, "distance is 'near'"),
    ({"positives": ([0], [9])}, ValueError, r"positives\[1\]\[0\] is 9; items has 4 rows"),
    ({"exclude": ([9], [0])}, ValueError, r"exclude\[0\]\[0\] is 9; queries has 3 rows"),
    ({"bias": [1.0]}, ValueError, "bias must have one number for each of the items"),
]


@on_cpu
@pytest.mark.parametrize("settings, error, words", WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_arguments(settings, error, words):
    with pytest.raises(error, match=words):
        nr.hard_negatives(np.ones((3, 2)), np.ones((4, 2)), **{"k": 2, "positives": ([0], [0]), **settings})


@on_cpu
def test_scores_that_are_not_finite():
    queries = np.array([[1.0], [np.nan]])
    for memory in (1, 2**20):
        with pytest.raises(ValueError, match="query 1 has scores that are NaN or infinite"):
            nr.hard_negatives(queries, np.ones((3, 1)), 1, memory=memory)


@on_cuda
def test_a_query_that_cannot_be_computed_with_has_nan_on_a_device(best):
    indices, scores = best(np.array([[1.0], [np.nan]]), np.arange(3.0)[:, None], 2, skip=1, memory=1)
    assert_bits(indices, np.array([[1, 0], [-1, -1]]))
    assert_bits(scores, np.array([[1.0, 0.0], [np.nan, np.nan]]))


@on_cuda
def test_tensors_on_a_device():
    queries, items = (nr.tensor(one, device="cuda") for one in embeddings(3, 20))
    indices, scores = nr.hard_negatives(queries, items, 4)
    assert nr.Tensor(indices).device == nr.Tensor(scores).device == "cuda:0"
    expected = nr.hard_negatives(queries.cpu(), items.cpu(), 4)
    assert_bits(indices, expected[0])
    assert_bits(scores, expected[1])
