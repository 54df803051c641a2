"""Which rows belong to one query: their ids, or how many each query has."""

import numpy as np

from numbarank._arguments.whole_numbers import whole_numbers

_NUMBERED = "number the queries with numpy.unique(qid, return_inverse=True)[1]"


def check_one_is_given(qid, group):
    """Raise TypeError where ids and counts are both given, or neither."""
    if (qid is None) == (group is None):
        given = "both" if qid is not None else "none"
        raise TypeError(f"Groups takes either qid or group; it got {given}")


def read_ids(qid):
    """Return the id of each row's query as an int64 vector."""
    ids = whole_numbers("qid", qid, "an id for each row", f": {_NUMBERED}").astype(np.int64)
    _check_not_negative("qid", ids, f"ids are 0 or more: {_NUMBERED}")
    return ids


def check_adjacent(ids, starts):
    """Raise ValueError where an id stands at two of the places at which rows of another query start."""
    order = np.argsort(ids[starts], kind="stable")
    again = np.flatnonzero(np.diff(ids[starts][order]) == 0)
    if len(again):
        first, second = starts[order[again[0]]], starts[order[again[0] + 1]]
        raise ValueError(
            f"qid has the rows of query {ids[first]} apart: some start at row {first}, more at row {second}; sort the "
            "rows first: order = numpy.argsort(numpy.asarray(qid), kind='stable'), then scores[order], labels[order], "
            "qid[order]"
        )


def read_counts(group):
    """Return how many rows each query has as an int64 vector."""
    counts = whole_numbers("group", group, "a count for each query").astype(np.int64)
    _check_not_negative("group", counts, "it must hold how many rows each query has, 0 or more")
    return counts


def _check_not_negative(name, values, rule):
    is_negative = values < 0
    if is_negative.any():
        i = int(np.argmax(is_negative))
        raise ValueError(f"{name}[{i}] is {values[i]}; {rule}")
