"""Which rows belong to one query: ids or counts, checked once and kept as offsets."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numbarank import _arguments

_NUMBERED = "number the queries with numpy.unique(qid, return_inverse=True)[1]"


class Groups:
    """The query groups of a list of rows: checked once, to be used many times.

    Exactly one of the two arguments says which rows belong together.

    Parameters
    ----------
    qid : array_like of int, shape (rows,)
        The id of each row's query, 0 or more; the rows of a query stand together.
    group : array_like of int, shape (groups,)
        How many rows each query has, in their order; 0 is allowed.

    Raises
    ------
    TypeError
        For ids or counts that are no whole numbers, or not exactly one of the two arguments.
    ValueError
        For negative numbers, or ids whose rows do not stand together.

    Examples
    --------
    >>> import numbarank as nr
    >>> queries = nr.Groups(qid=[7, 7, 7, 2, 2])
    >>> queries
    Groups(group=[3, 2])
    >>> loss, gradient = nr.pairwise_hinge_loss_and_grad(
    ...     [0.5, 2.0, 0.0, 1.0, 3.0], [2, 1, 0, 1, 0], group=queries, reduction="none"
    ... )
    >>> loss
    array([3., 3.])
    """

    __slots__ = ("_longest", "_offsets", "on_devices")

    def __init__(self, *, qid: ArrayLike | None = None, group: ArrayLike | None = None) -> None:
        if (qid is None) == (group is None):
            given = "both" if qid is not None else "none"
            raise TypeError(f"Groups takes either qid or group; it got {given}")
        self._offsets = _offsets_of_ids(qid) if group is None else _offsets_of_counts(group)
        self._offsets.flags.writeable = False
        self._longest, self.on_devices = None, {}

    @classmethod
    def of_offsets(cls, offsets, longest=None):
        """Return the groups that start, and the last one ends, at these offsets; the longest one's rows if known."""
        groups = cls.__new__(cls)
        groups._offsets, groups._longest, groups.on_devices = offsets, longest, {}
        return groups

    @property
    def offsets(self) -> np.ndarray:
        """Where each group starts and the last one ends: int64, one more than there are groups, read-only."""
        return self._offsets

    @property
    def sizes(self) -> np.ndarray:
        """How many rows each group has."""
        return self._offsets[1:] - self._offsets[:-1]

    @property
    def longest(self) -> int:
        """How many rows the longest group has."""
        if self._longest is None:
            self._longest = int(self.sizes.max(initial=0))
        return self._longest

    @property
    def rows(self) -> int:
        """How many rows all groups have together."""
        return int(self._offsets[-1])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __repr__(self) -> str:
        return f"Groups(group={np.array2string(self.sizes, separator=', ', threshold=6)})"

    def __reduce__(self) -> Any:
        return Groups.of_offsets, (self._offsets,)


def _offsets_of_ids(qid):
    ids = _whole_numbers("qid", qid, "an id for each row")
    if (ids < 0).any():
        row = int(np.argmax(ids < 0))
        raise ValueError(f"qid[{row}] is {ids[row]}; ids are 0 or more: {_NUMBERED}")
    starts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
    offsets = np.concatenate([[0], starts, [len(ids)]]) if len(ids) else np.zeros(1)
    offsets = offsets.astype(np.int64)
    _check_together(ids, offsets[:-1])
    return offsets


def _check_together(ids, starts):
    order = np.argsort(ids[starts], kind="stable")
    again = np.flatnonzero(np.diff(ids[starts][order]) == 0)
    if len(again):
        first, second = starts[order[again[0]]], starts[order[again[0] + 1]]
        raise ValueError(
            f"qid has the rows of query {ids[first]} apart: some start at row {first}, more at row {second}; sort the "
            "rows first: order = numpy.argsort(qid, kind='stable'), then scores[order], labels[order], qid[order]"
        )


def _offsets_of_counts(group):
    counts = _whole_numbers("group", group, "a count for each query")
    if (counts < 0).any():
        place = int(np.argmax(counts < 0))
        raise ValueError(f"group[{place}] is {counts[place]}; it must hold how many rows each query has, 0 or more")
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _whole_numbers(name, values, meaning):
    """Return the values as an int64 vector."""
    if isinstance(values, (str, bytes, numbers.Number)) or _arguments.is_on_cuda(name, values):
        raise TypeError(
            f"{name} is a {type(values).__name__}; it must be a list or NumPy array in host memory, {meaning}"
        )
    array = _arguments.read_in_host_memory(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must have one axis, {meaning}")
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind == "f":
        _check_whole(name, array)
    elif array.dtype.kind not in "iu":
        advice = f": {_NUMBERED}" if name == "qid" else ""
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold whole numbers, {meaning}{advice}")
    return array.astype(np.int64)


def _check_whole(name, array):
    bad = ~(array == np.floor(array)) | np.isinf(array)
    if bad.any():
        place = int(np.argmax(bad))
        what = "missing" if np.isnan(array[place]) else "no whole number"
        raise ValueError(f"{name}[{place}] is {array[place]}, which is {what}; {name} must hold whole numbers")
