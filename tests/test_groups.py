"""Query groups from ids and counts: what they become, and what is refused with which words."""

import datetime
import pickle
import uuid

import numpy as np
import pytest
from helpers import host, imported, put, shown

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


DATE = datetime.date(2020, 1, 1)
TEXT = ["red shoes", "red shoes", "tea"]
NAMED = {
    "text in a list": TEXT,
    "text in a tuple": tuple(TEXT),
    "text": np.array(TEXT),
    "text of any length": np.array(TEXT, np.dtypes.StringDType()),
    "objects": np.array(TEXT, object),
    "bytes": np.array([b"a", b"a", b"b"]),
    "bytes that end in 0": [b"a", b"a", b"a\0"],
    "numbers beside text": ["1", "1", 1],
    "dates": np.array(["2020-01-01", "2020-01-01", "2020-01-02"], "datetime64[D]"),
    "Python's dates": [DATE, DATE, datetime.date(2020, 1, 2)],
    "UUIDs": [uuid.UUID(int=1), uuid.UUID(int=1), uuid.UUID(int=2)],
    "unsigned": np.array([2**63 + 1, 2**63 + 1, 2**63], np.uint64),
    "unsigned in a list": [2**64 - 1, 2**64 - 1, 2**64 - 2],
    "small and large": [2**64 - 1, 2**64 - 1, 1],
    "more than 64 bits": [2**70, 2**70, 2**70 + 1],
    "exact in float32": np.array([2**24 - 1, 2**24 - 1, 2**24 - 2], np.float32),
    "exact in float64": np.array([2**53 - 1, 2**53 - 1, 2**53 - 2], np.float64),
}


@pytest.mark.parametrize("qid", NAMED.values(), ids=NAMED.keys())
def test_ids_that_are_no_small_integers(device, qid):
    assert nr.Groups(qid=qid).sizes.tolist() == [2, 1]
    scores, labels = (put(np.array(values), device) for values in ([0.5, 2.0, 9.0], [1, 0, 0]))
    assert host(nr.pairwise_hinge_loss(scores, labels, qid=qid, reduction="none")).tolist() == [2.5, 0.0]


@pytest.mark.parametrize(
    "convert",
    [
        lambda pandas: pandas.Series(TEXT, index=[9, 3, 5]),
        lambda pandas: pandas.Series(TEXT, dtype="category", index=[9, 3, 5]),
        lambda pandas: pandas.Series(TEXT, dtype="string"),
        lambda pandas: pandas.Series([2**60, 2**60, 2**60 + 1], dtype="Int64"),
        lambda pandas: pandas.Categorical(TEXT),
        lambda pandas: pandas.Index(TEXT),
        lambda pandas: pandas.to_datetime(["2020-01-01", "2020-01-01", "2020-01-02"]),
        lambda pandas: pandas.Series(pandas.to_datetime(["2020-01-01"] * 2 + ["2020-01-02"], utc=True)),
    ],
)
def test_ids_of_pandas(convert):
    assert nr.Groups(qid=convert(imported("pandas"))).sizes.tolist() == [2, 1]


@pytest.mark.parametrize("dtype", ["category", "string", "object"])
def test_missing_ids_of_pandas(dtype):
    qid = imported("pandas").Series(["a", None, "b"], dtype=dtype)
    with pytest.raises(ValueError, match=r"qid\[1\] is (nan|None|<NA>), which is missing"):
        nr.Groups(qid=qid)


@pytest.mark.parametrize(
    ("dtype", "limit"),
    [(np.float16, 2**11), (np.float32, 2**24), (np.float64, 2**53)],
    ids=["half", "single", "double"],
)
def test_floats_that_cannot_tell_ids_apart(dtype, limit):
    ids = [limit, limit + 1, 3]
    assert dtype(ids[0]) == dtype(ids[1])
    with pytest.raises(
        ValueError, match=rf"qid\[0\] is {limit} in float\d\d, which .* from {limit} on apart: read the"
    ):
        nr.Groups(qid=np.array(ids, dtype))
    for exact in (np.int64, np.uint64, str):  # the message's advice
        assert nr.Groups(qid=np.array(ids, exact)).sizes.tolist() == [1, 1, 1]


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
        ({"qid": ["b", "b", "a", "b"]}, ValueError, "rows of query b apart: some start at row 0, more at row 3"),
        ({"qid": np.array(["b", "a", "b"])}, ValueError, "rows of query b apart: some start at row 0, more at row 2"),
        ({"qid": ["a", float("nan")]}, ValueError, r"qid\[1\] is nan, which is missing; leave the row out"),
        ({"qid": [7, 7, None]}, ValueError, r"qid\[2\] is None, which is missing; leave the row out"),
        ({"qid": np.array(["2020", "NaT"], "M8[D]")}, ValueError, r"qid\[1\] is NaT, which is missing"),
        ({"qid": [True, False]}, TypeError, "qid has dtype bool; it must hold whole numbers, text, bytes or dates"),
        ({"qid": [1j]}, TypeError, "qid has dtype complex128; it must hold whole numbers, text"),
        ({"qid": [[1], [1]]}, ValueError, r"qid has shape \(2, 1\); it must have one axis"),
        ({"qid": ["a", object()]}, TypeError, r"qid\[1\] is a object, which equals nothing but itself"),
        ({"qid": np.array([{}, {}])}, TypeError, "qid holds an object that cannot be compared with others: unhashable"),
        ({"qid": nr.Groups(group=[1])}, TypeError, "qid is a numbarank._groups.Groups; it must be a list or NumPy"),
        ({"qid": 3}, TypeError, "qid is a int; it must be a list or NumPy array"),
        ({"qid": "abc"}, TypeError, "qid is a str; it must be a list or NumPy array"),
        (
            {"group": ["a"]},
            TypeError,
            "group has dtype <U1; .*: if it holds the id of each row's query, pass it as qid",
        ),
        ({"group": [2**63, 2**63 + 1]}, ValueError, r"group holds a count of 9223372036854775809, .*, pass it as qid"),
        ({"group": [2, -1]}, ValueError, r"group\[1\] is -1; it must hold how many rows"),
        ({"group": [1.5, 2]}, ValueError, r"group\[0\] is 1.5, which is no whole number"),
        ({"group": [np.inf]}, ValueError, r"group\[0\] is inf, which is no whole number"),
        ({"group": [True]}, TypeError, "group has dtype bool; it must hold whole numbers"),
        ({"group": 5}, TypeError, "group is a int; it must be a list or NumPy array"),
        ({"group": None, "qid": None}, TypeError, "it got none"),
    ],
    ids=shown,
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        nr.Groups(**arguments)


def test_the_advice_for_scattered_rows_works():
    qid, scores, labels = np.array([1, 2, 1]), np.array([0.0, 5.0, 2.0]), np.array([1, 0, 0])
    order = np.argsort(qid, kind="stable")
    loss = nr.pairwise_hinge_loss(scores[order], labels[order], qid=qid[order], reduction="none")
    assert loss.tolist() == [3.0, 0.0]


def test_the_advice_for_scattered_text_works():
    qid, scores, labels = np.array(["tea", "shoes", "tea"]), np.array([0.0, 5.0, 2.0]), np.array([1, 0, 0])
    order = np.argsort(qid, kind="stable")
    loss = nr.pairwise_hinge_loss(scores[order], labels[order], qid=qid[order], reduction="none")
    assert loss.tolist() == [0.0, 3.0]


def test_the_advice_for_negative_ids_works():
    with pytest.raises(ValueError, match=r"qid\[0\] is -5; .* numpy.unique\(qid, return_inverse=True\)\[1\]"):
        nr.Groups(qid=[-5, -5, -7])
    assert nr.Groups(qid=np.unique([-5, -5, -7], return_inverse=True)[1]).sizes.tolist() == [2, 1]


# ---------------------------------------------------------------- one for another

SCORES, LABELS = np.array([0.5, 2.0, 9.0, 1.0, 3.0]), np.array([1, 0, 2, 1, 0])


def refused(error=ValueError, scores=SCORES, labels=LABELS, **settings):
    with pytest.raises(error) as caught:
        nr.pairwise_hinge_loss(scores, labels, **settings)
    return str(caught.value)


@pytest.mark.parametrize("ids", [[7, 7, 7, 9, 9], ["a", "a", "a", "b", "b"], [2**63] * 3 + [2**63 + 1] * 2], ids=str)
def test_ids_given_as_counts(ids):
    error = TypeError if isinstance(ids[0], str) else ValueError
    assert refused(error, group=ids).endswith("if it holds the id of each row's query, pass it as qid")
    assert nr.pairwise_hinge_loss(SCORES, LABELS, qid=ids, reduction="none").tolist() == [2.5, 3.0]


@pytest.mark.parametrize("counts", [[3, 2], [2, 1, 2], np.array([2.0, 2, 1])], ids=str)
def test_counts_given_as_ids(counts):
    message = f"qid has {len(counts)} ids and scores has 5 rows; they must be equal: "
    assert refused(qid=counts) == message + "if it holds how many rows each query has, pass it as group"
    losses = nr.pairwise_hinge_loss(SCORES, LABELS, group=counts, reduction="none")
    assert losses[0] == 2.5


def test_ids_and_counts_of_other_rows_get_no_such_advice():
    assert refused(qid=[1, 1]).endswith("qid has 2 ids and scores has 5 rows; they must be equal")
    assert refused(group=[3, 3]).endswith("group add up to 6 and scores has 5 rows; they must be equal")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("group", "numpy.repeat(numpy.sqrt(weights), group)"),
        ("Groups", "numpy.repeat(numpy.sqrt(weights), group.sizes)"),
        ("qid", "numpy.repeat(numpy.sqrt(weights), numbarank.Groups(qid=qid).sizes)"),
    ],
)
def test_a_weight_for_each_query(name, advice):
    group = [3, 2] if name == "group" else nr.Groups(group=[3, 2])
    qid, weights = np.array(["a", "a", "a", "b", "b"]), np.array([4.0, 0.5])
    groups = {"qid": qid} if name == "qid" else {"group": group}
    message = refused(weights=weights, **groups)
    assert message == (
        "scores has shape (5,), weights (2,); they must be equal, one value for each score: of a weight for each "
        f"query, pass {advice}, as a pair weighs the product of its rows' weights"
    )
    of_rows = eval(advice, {"numpy": np, "numbarank": nr, "qid": qid, "group": group, "weights": weights})
    losses = nr.pairwise_hinge_loss(SCORES, LABELS, weights=of_rows, reduction="none", **groups)
    assert losses.round(12).tolist() == [4.0 * 2.5, 0.5 * 3.0]


def test_a_weight_for_each_list():
    scores, labels, weights = np.array([[0.5, 2.0], [1.0, 3.0]]), np.array([[1, 0], [1, 0]]), np.array([4.0, 0.25])
    advice = "numpy.repeat(numpy.sqrt(weights), 2).reshape((2, 2))"
    assert f"pass {advice}, as" in refused(scores=scores, labels=labels, weights=weights)
    of_rows = eval(advice, {"numpy": np, "weights": weights})
    losses = nr.pairwise_hinge_loss(scores, labels, weights=of_rows, reduction="none")
    assert losses.tolist() == [4.0 * 2.5, 0.25 * 3.0]


def test_weights_of_another_number():
    assert refused(weights=np.ones(3), group=[3, 2]).endswith("must be equal, one value for each score")
