"""Small calls of the public functions that between them need the compiled loops that most programs use."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import numbarank as nr

PAIRS = (1_000, 60_000, 2_100_000)  # for serial loops, parallel ones and those for large inputs
LISTS = ((100, 10), (100, 400), (3_000, 1), (3_000, 14), (40_000, 1))  # rows a list, and lists: few and many rows


class Step(NamedTuple):
    """Some calls with a name."""

    name: str
    run: Callable


def steps(dtypes, has_lists=False, device="cpu"):
    """Return the steps for scores of some dtypes, named as in 'float32'; bfloat16 needs ml_dtypes to be imported."""
    where = "" if device == "cpu" else f" on {device}"
    return [
        Step(f"{dtype}: {name}{where}", functools.partial(call, np.dtype(dtype), device))
        for dtype in dtypes
        for name, call in [*_pair_steps(), *(_list_steps(device) if has_lists else ())]
    ]


def _pair_steps():
    for pairs in PAIRS:
        for call in PAIR_CALLS:
            name = call.__name__.replace("_", " ")
            yield f"{name}, {pairs:,} pairs", functools.partial(_call_on_pairs, call, pairs)


def _list_steps(device):
    for rows, lists in LISTS:
        for label_dtype in ("int64", None):
            name = f"lists, {lists} of {rows:,} rows, {label_dtype or 'floating'} labels"
            yield name, functools.partial(_call_on_lists, rows, lists, label_dtype)
    if device == "cpu":
        yield "queries and items", _call_on_queries


def losses(x1, x2, y):
    for reduction in ("mean", "none"):
        nr.margin_ranking_loss(x1, x2, y, reduction=reduction)


def gradients(x1, x2, y):
    for reduction in ("mean", "none"):
        nr.margin_ranking_loss_and_grad(x1, x2, y, reduction=reduction)


def upstream_gradients(x1, x2, y):
    nr.margin_ranking_loss_and_grad(x1, x2, y, reduction="none", gradient=x1)


def target_gradients(x1, x2, y):
    if not isinstance(y, float) and y.dtype == x1.dtype:
        for reduction in ("mean", "none"):
            nr.margin_ranking_loss_and_grad(x1, x2, y, reduction=reduction, target_grad=True)


def backward(x1, x2, y):
    x1, x2 = nr.Tensor(x1, requires_grad=True), nr.Tensor(x2, requires_grad=True)
    nr.margin_ranking_loss(x1, x2, y).backward()


PAIR_CALLS = (losses, gradients, upstream_gradients, target_gradients, backward)


def _call_on_pairs(call, pairs, dtype, device):
    x1, x2 = _put(np.zeros(pairs, dtype), device), _put(np.ones(pairs, dtype), device)
    for target_dtype in (dtype, "int8", "int64"):
        call(x1, x2, _put(np.ones(pairs, target_dtype), device))
    call(x1, x2, 1.0)


def _call_on_lists(rows, lists, label_dtype, dtype, device):
    size = rows * lists
    scores, weights = _put(np.linspace(0, 1, size).astype(dtype), device), _put(np.ones(size, dtype), device)
    groups = nr.Groups(group=[rows] * lists)
    for values in (np.arange(size), np.arange(size) % 5, np.arange(size) % 50 == 0):  # distinct, graded, few winners
        labels = _put(values.astype(label_dtype or dtype), device)
        for options in ({}, {"power": 2}, {"weights": weights}, {"losers": 5}, {"losers": 5, "power": 2}):
            nr.pairwise_hinge_loss(scores, labels, group=groups, **options)
            nr.pairwise_hinge_loss_and_grad(scores, labels, group=groups, **options)
            nr.pairwise_hinge_loss_and_grad(scores, labels, group=groups, return_counts=True, **options)


def _call_on_queries(dtype, device):
    queries, items, positives = np.zeros((2, 4), dtype), np.ones((300, 4), dtype), ([0, 1], [0, 1])
    nr.retrieval_hinge_loss_and_grad(queries, items, positives)
    nr.hard_negatives(queries, items, 1, positives=positives)


def _put(array, device):
    return array if device == "cpu" else nr.tensor(array, device=device).data
