"""Which rows belong to one query: ids or counts, checked once and kept as offsets."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numbarank import _arguments


class Groups:
    """The query groups of a list of rows: checked once, to be used many times.

    Exactly one of the two arguments says which rows belong together.

    Parameters
    ----------
    qid : array_like of shape (rows,)
        The id of each row's query: whole numbers of 0 or more, text, bytes, dates, or other objects that are equal by
        their values, in host memory; the rows of a query stand together.
    group : array_like of int, shape (groups,)
        How many rows each query has, in their order; 0 is allowed.

    Raises
    ------
    TypeError
        For ids of another kind, counts that are no whole numbers, or not exactly one of the two arguments.
    ValueError
        For negative numbers, ids that are missing or floats too large to be exact, or ids whose rows do not stand
        together.

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
    >>> nr.Groups(qid=["red shoes", "red shoes", "tea"])
    Groups(group=[2, 1])
    """

    __slots__ = ("_longest", "_offsets", "on_devices")

    def __init__(self, *, qid: ArrayLike | None = None, group: ArrayLike | None = None) -> None:
        _arguments.check_one_is_given(qid, group)
        self._offsets = _offsets_of_ids(qid) if group is None else _offsets_of_counts(group)
        self._offsets.flags.writeable = False
        self._longest, self.on_devices = None, {}

    @classmethod
    def of_offsets(cls, offsets: NDArray[np.int64], longest: int | None = None) -> "Groups":
        """Return the groups that start, and the last one ends, at these offsets; the longest one's rows if known."""
        groups = cls.__new__(cls)
        groups._offsets, groups._longest, groups.on_devices = offsets, longest, {}
        return groups

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each group starts and the last one ends: int64, one more than there are groups, read-only."""
        return self._offsets

    @property
    def sizes(self) -> NDArray[np.int64]:
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


def groups_of_rows(rows, qid, group):
    """Return the groups of so many rows by their ids or their counts, of which one is None."""
    if group is None:
        return Groups.of_offsets(_offsets_of_ids(qid, rows))
    groups = group if isinstance(group, Groups) else Groups(group=group)
    _arguments.check_counts_of_rows(groups.rows, len(groups), rows)
    return groups


def _offsets_of_ids(qid, rows=None):
    keys, ids = _arguments.read_ids(qid, rows)
    starts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    offsets = np.concatenate([[0], starts, [len(keys)]]) if len(keys) else np.zeros(1)
    offsets = offsets.astype(np.int64)
    _arguments.check_adjacent(keys, offsets[:-1], ids)
    return offsets


def _offsets_of_counts(group):
    counts = _arguments.read_counts(group)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
