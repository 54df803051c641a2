"""Arguments of the pairwise hinge loss that do not fit: refused before any pair is looked at."""

import importlib

import numpy as np
import pytest
from helpers import put

import numbarank as nr

PLAIN = {"scores": np.zeros(3), "labels": np.arange(3)}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": np.zeros(2)}, ValueError, r"scores has shape \(3,\), labels \(2,\); they must be equal, one value"),
        (
            {"weights": np.zeros(4)},
            ValueError,
            r"scores has shape \(3,\), weights \(4,\); they must be equal, one value",
        ),
        ({"scores": np.zeros((1, 1, 3))}, ValueError, "it must have one axis, or two with a list a row"),
        ({"scores": 1.0}, ValueError, r"scores has shape \(\); it must have one axis"),
        ({"scores": np.zeros(3, bool)}, TypeError, "scores has dtype bool; it must be a number"),
        ({"scores": np.zeros(3, complex)}, TypeError, "scores has dtype complex128"),
        ({"labels": "abc"}, TypeError, "labels is a str"),
        ({"group": [1, 1]}, ValueError, "the counts in group add up to 2 and scores has 3 rows"),
        ({"qid": [1, 1]}, ValueError, "qid has 2 ids and scores has 3 rows"),
        ({"qid": [1, 2, 1]}, ValueError, "rows of query 1 apart"),
        ({"qid": [1, 1, 1], "group": [3]}, ValueError, "qid and group are both given"),
        ({"where": [True] * 3}, ValueError, r"a mask needs scores with two axes, a list a row: .* scores\[where\]"),
        ({"margin": np.inf}, ValueError, "margin is inf; it must be finite"),
        ({"margin": "1"}, TypeError, "margin is '1'; it must be a real number"),
        (
            {"scores": np.zeros(3, "f4"), "margin": 1e300},
            ValueError,
            r"margin is 1e\+300; it must be finite in float32",
        ),
        ({"power": 3}, ValueError, "power is 3; it must be 1 for the hinge or 2 for the squared hinge"),
        ({"power": True}, ValueError, "power is True"),
        ({"reduction": "max"}, ValueError, "reduction is 'max'; it must be 'none', 'mean' or 'sum'"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(cpu, arguments, error, message):
    with pytest.raises(error, match=message):
        nr.pairwise_hinge_loss(**{**PLAIN, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"group": [2]},
            ValueError,
            r"scores has shape \(1, 2\), a list a row, and group is given too: leave group out",
        ),
        ({"where": [[1, 0]]}, TypeError, "where has dtype int64; it must be bool: pass where != 0"),
        ({"where": [[True]]}, ValueError, r"scores has shape \(1, 2\), where \(1, 1\)"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_lists_in_rows(cpu, arguments, error, message):
    with pytest.raises(error, match=message):
        nr.pairwise_hinge_loss(np.zeros((1, 2)), np.zeros((1, 2)), **arguments)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([0.0] * 3, TypeError, "out is a list; it must be a numpy.ndarray, and no subclass of it"),
        (np.zeros(3, np.float32), TypeError, "out has dtype float32; the gradient of scores has float64"),
        (np.zeros(2), ValueError, r"out has shape \(2,\); the gradient of scores has \(3,\)"),
        (np.zeros(6)[::2], ValueError, "out must be writable and C-contiguous"),
        (PLAIN["scores"], ValueError, "out shares memory with scores"),
    ],
    ids=str,
)
def test_buffers_that_do_not_fit(cpu, out, error, message):
    with pytest.raises(error, match=message):
        nr.pairwise_hinge_loss_and_grad(**PLAIN, out=out)


def test_an_upstream_gradient_that_does_not_fit(cpu):
    with pytest.raises(ValueError, match=r"gradient has shape \(2,\); it must have the loss's shape \(1,\)"):
        nr.pairwise_hinge_loss_and_grad(**PLAIN, reduction="none", gradient=np.ones(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"power": 0}, "power is 0"), ({"margin": np.nan}, "margin is nan"), ({"reduction": "max"}, "reduction is 'max'")],
    ids=str,
)
def test_settings_are_checked_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        nr.PairwiseHingeLoss(**arguments)


def test_a_group_that_is_too_long(device, monkeypatch):
    name = device.partition(":")[0]
    monkeypatch.setattr(importlib.import_module(f"numbarank._{name}.groups"), "LONGEST", 2)
    with pytest.raises(
        ValueError, match=rf"scores has a group of 3 rows; on {name}\S* a group may have 2: .*leave rows out"
    ):
        nr.pairwise_hinge_loss(put(np.zeros(3), device), put(np.zeros(3), device))
