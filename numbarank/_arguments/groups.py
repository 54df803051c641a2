"""Which rows belong to one query: their ids, or how many each query has."""

import numpy as np

from numbarank._arguments.whole_numbers import check_whole, read_vector, whole_numbers
from numbarank._arguments.words import blaming, is_whole, name_of, shown

_NUMBERED = "number the queries with numpy.unique(qid, return_inverse=True)[1]"
_AN_ID = "an id for each row"
_IF_IDS = "if it holds the id of each row's query, pass it as qid"


def check_one_is_given(qid, group):
    """Raise TypeError where ids and counts are both given, or neither."""
    if (qid is None) == (group is None):
        given = "both" if qid is not None else "none"
        raise TypeError(f"Groups takes either qid or group; it got {given}")


def read_ids(qid, rows=None):
    """Return the id of each row's query twice: as a vector that NumPy compares and sorts, and as it came.

    Raises
    ------
    TypeError
        If they are neither whole numbers, text, bytes, dates nor other objects that are equal by their values.
    ValueError
        If an id is missing, negative or not exact, or there are not as many as rows where these are known.
    """
    ids = read_vector("qid", qid, _AN_ID)
    if isinstance(qid, (list, tuple)) and _is_changed(ids, qid):
        ids = np.array(qid, object)
    if rows is not None and len(ids) != rows:
        is_counts = ids.dtype.kind in "iuf" and ids.sum(dtype=np.float64) == rows
        advice = ": if it holds how many rows each query has, pass it as group" if is_counts else ""
        raise ValueError(f"qid has {len(ids)} ids and scores has {rows} rows; they must be equal{advice}")
    if ids.dtype.kind in "OT":
        return _numbered(ids.astype(object)), ids
    if ids.dtype.kind in "mM":
        _refuse_missing(ids, np.isnat(ids))
    elif ids.dtype.kind in "iuf":
        _check_numbers(ids)
    elif ids.dtype.kind not in "US":
        raise TypeError(f"qid has dtype {ids.dtype}; it must hold whole numbers, text, bytes or dates, {_AN_ID}")
    return ids, ids


def _is_changed(array, elements):
    """Tell whether NumPy may have changed elements: beside text all becomes text, and large integers become floats."""
    return array.dtype.kind in "US" or (array.dtype.kind == "f" and all(map(is_whole, elements)))


def _check_numbers(ids):
    """Raise ValueError where ids are no whole numbers of 0 or more, or may have been rounded to others."""
    if ids.dtype.kind == "f":
        check_whole("qid", ids)
        limit = 2.0 ** (np.finfo(ids.dtype).nmant + 1)
        is_rounded = ids >= limit
        if is_rounded.any():
            i = int(np.argmax(is_rounded))
            raise ValueError(
                f"qid[{i}] is {ids[i]:.0f} in {ids.dtype}, which cannot tell whole numbers from {limit:.0f} on apart: "
                "read the ids as integers, with dtype=numpy.int64 or numpy.uint64, or as text; it is too late to "
                "convert them here"
            )
    _check_not_negative("qid", ids, f"ids are 0 or more: {_NUMBERED}")


def _numbered(ids):
    """Return a number for each of some objects, the same for equal ones."""
    numbers = {}
    with blaming("qid holds an object that cannot be compared with others"):
        numbered = np.array([numbers.setdefault(key, len(numbers)) for key in ids.tolist()], np.int64)
    keys = list(numbers)
    _refuse_missing(ids, np.array([not _equals_itself(key) for key in keys], bool)[numbered])
    for number, key in enumerate(keys):
        if type(key).__eq__ is object.__eq__:
            i = int(np.argmax(numbered == number))
            raise TypeError(
                f"qid[{i}] is a {name_of(type(key))}, which equals nothing but itself; ids are whole numbers, text, "
                "bytes or dates"
            )
    return numbered


def _equals_itself(key):
    try:
        return key is not None and bool(key == key)
    except Exception:  # pandas.NA
        return False


def _refuse_missing(ids, is_missing):
    if is_missing.any():
        i = int(np.argmax(is_missing))
        raise ValueError(f"qid[{i}] is {shown(ids[i], str)}, which is missing; leave the row out, or give it an id")


def check_adjacent(keys, starts, ids):
    """Raise ValueError where an id stands at two of the places at which rows of another query start."""
    order = np.argsort(keys[starts], kind="stable")
    ordered = keys[starts[order]]
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(again):
        first, second = starts[order[again[0]]], starts[order[again[0] + 1]]
        raise ValueError(
            f"qid has the rows of query {shown(ids[first], str)} apart: some start at row {first}, more at row "
            f"{second}; sort the rows first: order = numpy.argsort(numpy.asarray(qid), kind='stable'), then "
            "scores[order], labels[order], qid[order]"
        )


def read_counts(group):
    """Return how many rows each query has as an int64 vector."""
    counts = whole_numbers("group", group, "a count for each query", f": {_IF_IDS}")
    _check_not_negative("group", counts, "it must hold how many rows each query has, 0 or more")
    most = int(counts.max(initial=0))
    if most * len(counts) >= 2**62:  # their sum may be beyond int64
        raise ValueError(f"group holds a count of {most}, more rows than there can be: {_IF_IDS}")
    return counts.astype(np.int64)


def check_counts_of_rows(counted, queries, rows):
    """Raise ValueError where the counts of some queries do not add up to the rows that there are."""
    if counted != rows:
        advice = f": {_IF_IDS}" if queries == rows else ""
        raise ValueError(
            f"the counts in group add up to {counted} and scores has {rows} rows; they must be equal{advice}"
        )


def _check_not_negative(name, values, rule):
    is_negative = values < 0
    if is_negative.any():
        i = int(np.argmax(is_negative))
        raise ValueError(f"{name}[{i}] is {values[i]}; {rule}")
