"""Keys of compiled loops: arguments of one key have the same types, as compiled code checks nothing."""

import itertools

import numpy as np
import pytest
import reference
from helpers import in_ci

import numbarank as nr
from numbarank._contract import PairResults, Pairs
from numbarank._cpu import compiler, pairs
from numbarank.losses.margin_ranking import FORMULA

DTYPES = [dtype for dtype in reference.FLOATS if pairs.storage_dtype(dtype) == dtype]
TYPES_OF_LISTS = [("f8", "i8"), ("f8", "f8"), ("f4", "i1"), ("f4", "f8"), ("f8", "u8"), ("f4", "i8"), ("f8", "f4")]
NUMBERS = range(3, 6)  # the target, the margin and the divisor: integers are taken as float64


def types_of(arguments):
    types = [compiler._type_of(argument, False) for argument in arguments]
    return ["number" if k in NUMBERS else str(one) for k, one in enumerate(types)]


class Recorded:
    """A loop that takes arguments of the types of its first call alone."""

    def __init__(self, formula, arguments):
        self.types = types_of(arguments)

    def __call__(self, *arguments):
        assert types_of(arguments) == self.types
        return False


@pytest.fixture
def recorded(cpu, monkeypatch):
    for name in ("_loops", "_plain_loops"):
        monkeypatch.setattr(pairs, name, {})
    monkeypatch.setattr(pairs, "_compiled", Recorded)


def test_keys_of_pairs_separate_all_types(recorded):
    for dtype, size in itertools.product(DTYPES, (4, pairs.CONVERTED_BELOW)):
        like = np.ones(size, dtype)
        computed = like.astype(np.float32) if dtype.itemsize == 2 else like
        targets = [like, 1, 1.0, np.ones(size, "i1"), np.ones(size, "i8")]
        each = [(0.5, None), (1, None), (computed, None), (0.5, computed), (computed, computed)]
        written = [None, like, computed]
        for y, (margin, weights), upstream in itertools.product(targets, each, (1.0, computed)):
            for results in itertools.product([None, like], written, written, [None, computed]):
                given = Pairs(like, like, y, margin, weights, upstream)
                pairs.run(FORMULA, given, PairResults(*results), results[0] is None)
    assert len(pairs._loops) > 100


def test_keys_of_plain_pairs_separate_all_types(recorded):
    for dtype, size in itertools.product([np.dtype("f4"), np.dtype("f8")] * 2, (4, pairs.CONVERTED_BELOW)):
        like = np.ones(size, dtype)
        targets = [like, 1, 1.0, *(np.ones(size, name) for name in ("i1", "i2", "i4", "i8"))]
        for y, margin, losses, grad, wants_total in itertools.product(
            targets, (0, 0.5), (None, like), (None, like), (True, False)
        ):
            pairs.run_plain(FORMULA, like, like, y, margin, 1, 1.0, losses, grad, grad, wants_total)
    assert len(pairs._plain_loops) == 2 * 2 * (1 + 1 + 4)


@pytest.fixture
def seen(cpu, monkeypatch):
    """The types of the arguments of every loop that runs, by its key: a key has the same ones each time."""
    seen = {}

    def checked(loop, key, *arguments, call=compiler.CompiledLoop.__call__):
        types = [str(compiler._type_of(argument, False)) for argument in arguments]
        assert seen.setdefault((id(loop), key), types) == types
        return call(loop, key, *arguments)

    monkeypatch.setattr(compiler.CompiledLoop, "__call__", checked)
    return seen


@pytest.mark.parametrize("dtypes", [TYPES_OF_LISTS[:2], *in_ci([(TYPES_OF_LISTS,)])], ids=["few", "all"])
def test_keys_of_lists_separate_all_types(seen, dtypes):
    rng = np.random.default_rng(0)
    for (scores, labels), rows in itertools.product(dtypes, (5, 400)):
        given = rng.standard_normal(2 * rows).astype(scores), rng.integers(0, rows, 2 * rows).astype(labels)
        settings = {"group": [rows, rows], "weights": rng.random(2 * rows) if rows % 2 else None}
        for reduction, power in (("mean", 1), ("none", 2)):
            nr.pairwise_hinge_loss(*given, reduction=reduction, power=power, **settings)
            nr.pairwise_hinge_loss(*given, reduction=reduction, losers=2 if power == 1 else 0.5, **settings)
            nr.pairwise_hinge_loss_and_grad(
                *given, reduction=reduction, power=power, return_counts=power == 2, **settings
            )
    assert len(seen) > 10


def test_keys_of_retrieval_separate_all_types(seen):
    rng = np.random.default_rng(0)
    for dtype, memory in itertools.product(("f4", "f8", "f2", "i8"), (1, 2**20)):
        queries, items, bias = (rng.integers(0, 3, shape).astype(dtype) for shape in ((3, 2), (70, 2), (70,)))
        given = queries, items, ([0, 2], [1, 0])
        for options in (
            {},
            {"bias": bias, "power": 2, "losers": 2, "reduction": "none"},
            {"weights": np.ones(2, "f4"), "losers": 0.5, "margin": 2, "exclude": ([1], [1]), "reduction": "sum"},
        ):
            nr.retrieval_hinge_loss(*given, memory=memory, **options)
            nr.retrieval_hinge_loss_and_grad(*given, memory=memory, **options)
        nr.retrieval_hinge_loss_and_grad(*given, reduction="none", gradient=np.ones(3, "f4"))
        nr.hard_negatives(queries, items, 2, memory=memory)
        limits = {"ceiling": 1, "distance": 1, "skip": 1}
        nr.hard_negatives(*given[:2], 2, positives=given[2], bias=bias, exclude=([1], [1]), **limits)
    assert len(seen) == 2 * 2
