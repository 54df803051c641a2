"""Keys of compiled loops: arguments of one key have the same types, as compiled code checks nothing."""

import itertools

import numpy as np
import pytest
import reference

import numbarank as nr
from numbarank._contract import PairResults, Pairs
from numbarank._cpu import compiler, pairs
from numbarank.losses.margin_ranking import FORMULA

DTYPES = [dtype for dtype in reference.FLOATS if pairs.storage_dtype(dtype) == dtype]
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


def test_keys_of_lists_separate_all_types(cpu, monkeypatch):
    seen = {}

    def checked(loop, key, *arguments, call=compiler.CompiledLoop.__call__):
        types = [str(compiler._type_of(argument, False)) for argument in arguments]
        assert seen.setdefault((id(loop), key), types) == types
        return call(loop, key, *arguments)

    monkeypatch.setattr(compiler.CompiledLoop, "__call__", checked)
    rng = np.random.default_rng(0)
    dtypes = ("f4", "i1"), ("f4", "f8"), ("f8", "u8"), ("f4", "i8"), ("f8", "f4")
    for (scores, labels), rows in itertools.product(dtypes, (5, 400)):
        given = rng.standard_normal(2 * rows).astype(scores), rng.integers(0, rows, 2 * rows).astype(labels)
        settings = {"group": [rows, rows], "weights": rng.random(2 * rows) if rows % 2 else None}
        for reduction, power in (("mean", 1), ("none", 2)):
            nr.pairwise_hinge_loss(*given, reduction=reduction, power=power, **settings)
            nr.pairwise_hinge_loss_and_grad(
                *given, reduction=reduction, power=power, return_counts=power == 2, **settings
            )
    assert len(seen) > 10
