"""Query groups from ids and counts: what they become, and what is refused with which words."""

import pickle

import numpy as np
import pytest

import numbarank as nr


@pytest.mark.parametrize(
    ("qid", "sizes"),
    [
        ([7, 7, 7, 2, 2], [3, 2]),
        ([0], [1]),
        ([], []),
        (np.array([5, 4, 4], np.uint8), [1, 2]),
        (np.array([1.0, 1.0, 3.0]), [2, 1]),
        ([3, 2, 1, 0], [1, 1, 1, 1]),
    ],
    ids=str,
)
def test_ids(qid, sizes):
    groups = nr.Groups(qid=qid)
    assert groups.sizes.tolist() == sizes
    assert groups.rows == sum(sizes)
    assert len(groups) == len(sizes)


@pytest.mark.parametrize("group", [[3, 0, 2], [], [0, 0], np.array([1, 4], np.uint32), [2.0, 1.0]], ids=str)
def test_counts(group):
    groups = nr.Groups(group=group)
    assert groups.sizes.tolist() == list(map(int, group))
    assert groups.offsets.tolist() == np.r_[0, np.cumsum(group)].tolist()
    assert groups.offsets.dtype == np.int64


def test_offsets_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        nr.Groups(group=[2, 3]).offsets[0] = 1


def test_counts_that_change_later_change_nothing():
    counts = np.array([2, 3])
    groups = nr.Groups(group=counts)
    counts[0] = 9
    assert groups.sizes.tolist() == [2, 3]


def test_groups_can_be_pickled():
    groups = pickle.loads(pickle.dumps(nr.Groups(qid=[1, 1, 5])))
    assert groups.sizes.tolist() == [2, 1]
    assert repr(groups) == "Groups(group=[2, 1])"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "either qid or group; it got none"),
        ({"qid": [1], "group": [1]}, TypeError, "either qid or group; it got both"),
        (
            {"qid": [1, 2, 1]},
            ValueError,
            "rows of query 1 apart: some start at row 0, more at row 2; sort the rows first",
        ),
        ({"qid": [4, 4, 9, 3, 3, 9]}, ValueError, "query 9 apart: some start at row 2, more at row 5"),
        ({"qid": [0, -1]}, ValueError, r"qid\[1\] is -1; ids are 0 or more"),
        ({"qid": [0.0, np.nan]}, ValueError, r"qid\[1\] is nan, which is missing"),
        ({"qid": [0.5]}, ValueError, r"qid\[0\] is 0.5, which is no whole number"),
        ({"qid": [[1, 1]]}, ValueError, r"qid has shape \(1, 2\); it must have one axis"),
        ({"qid": ["a", "b"]}, TypeError, r"qid has dtype <U1; .*numpy.unique\(qid, return_inverse=True\)\[1\]"),
        ({"qid": 3}, TypeError, "qid is a int; it must be a list or NumPy array"),
        ({"group": [2, -1]}, ValueError, r"group\[1\] is -1; it must hold how many rows"),
        ({"group": [1.5, 2]}, ValueError, r"group\[0\] is 1.5, which is no whole number"),
        ({"group": [np.inf]}, ValueError, r"group\[0\] is inf, which is no whole number"),
        ({"group": [True]}, TypeError, "group has dtype bool; it must hold whole numbers"),
        ({"group": 5}, TypeError, "group is a int; it must be a list or NumPy array"),
        ({"group": None, "qid": None}, TypeError, "it got none"),
    ],
    ids=str,
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        nr.Groups(**arguments)


def test_the_advice_for_scattered_rows_works():
    qid, scores, labels = np.array([1, 2, 1]), np.array([0.0, 5.0, 2.0]), np.array([1, 0, 0])
    order = np.argsort(qid, kind="stable")
    loss = nr.pairwise_hinge_loss(scores[order], labels[order], qid=qid[order], reduction="none")
    assert loss.tolist() == [3.0, 0.0]


def test_the_advice_for_named_queries_works():
    qid = np.unique(["b", "b", "a"], return_inverse=True)[1]
    assert nr.Groups(qid=qid).sizes.tolist() == [2, 1]
