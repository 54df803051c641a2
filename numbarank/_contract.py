"""The backend contract: what ``_cpu`` and ``_cuda`` both hold, and what goes in and comes out.

Arrays are the backend's own, checked, C-contiguous and on one device; a backend validates nothing.
"""

from typing import Any, NamedTuple, Protocol


class Pairs(NamedTuple):
    """What is read of pairs.

    ``x1`` and ``x2`` are arrays of one shape, in a dtype for which ``storage_dtype`` is the identity; ``y`` is a like
    array, one of a signed integer dtype, or a number for every pair (on a device also an array without axes).
    ``margin`` is a number or an array of the compute dtype, ``weights`` None or such an array, of the pairs' shape.
    ``upstream`` is a number, or an array of the compute dtype, of the pairs' shape (on a device also without axes).
    Total and upstream gradient are divided by ``divisor``, but not an upstream gradient of the pairs' shape; None
    stands for the sum of the weights.
    """

    x1: Any
    x2: Any
    y: Any
    margin: Any
    weights: Any = None
    upstream: Any = 1.0
    divisor: int | None = 1


class PairResults(NamedTuple):
    """What is written of pairs: arrays of the compute dtype or of that of the scores, or None."""

    losses: Any = None
    grad1: Any = None
    grad2: Any = None
    grad_y: Any = None


class Lists(NamedTuple):
    """What is read of query groups.

    ``scores`` is a float32 or float64 array, ``labels`` one of its shape in a dtype for which ``label_dtype`` is the
    identity, ``weights`` a float64 one or None, ``where`` a bool one or None: False for rows that take no part.
    ``losers`` is None for all pairs, or a share and a number, ``_hinge.count_losers`` of which a row meets.
    ``upstream`` is a float, or a float64 array with a number for each group (on a device also without axes). With
    ``is_mean``, loss and upstream gradient are divided by the number of pairs, or by the sum of their weights.
    """

    scores: Any
    labels: Any
    weights: Any
    where: Any
    groups: Any
    margin: float
    power: int
    losers: Any = None
    is_mean: bool = False
    upstream: Any = 1.0


class ListResults(NamedTuple):
    """What is written of query groups: arrays of the scores' shape, or None.

    ``gradient`` has the scores' dtype; ``counts`` is float64, and holds the active pairs of each row.
    """

    gradient: Any = None
    counts: Any = None


class Retrieval(NamedTuple):
    """What is read of queries and items.

    ``queries``, ``items`` and ``bias``, which may be None, are arrays of the compute dtype; all else but ``factors`` is
    in host memory on every device. ``positives`` and ``hidden`` name places in the table of queries and items, each
    once and sorted: ``hidden`` those that are no negatives although they are no positives. ``weights`` beside the
    positives is a float64 array or None. A query's positives meet the ``kept`` highest of its negatives. Gradients are
    multiplied by ``factors``: a float, or a float64 array with a number for each query (on a device also without axes).
    """

    queries: Any
    items: Any
    bias: Any
    positives: "Places"
    hidden: "Places"
    weights: Any
    kept: Any
    factors: Any
    margin: float
    power: int
    memory: int


class Places(NamedTuple):
    """Items of queries: an int32 array, and where those of each query start and the last ones end (int64)."""

    offsets: Any
    items: Any


class RetrievalResults(NamedTuple):
    """What is written: arrays of the compute dtype, or None."""

    grad_queries: Any = None
    grad_items: Any = None
    grad_bias: Any = None


class PairsBackend(Protocol):
    """The module ``pairs`` of a backend."""

    @staticmethod
    def storage_dtype(dtype) -> Any:
        """Return the dtype in which the scores of a loss of a dtype are taken."""

    @staticmethod
    def run(formula, pairs, results, wants_total) -> Any:
        """Pass once over the pairs, fill the results and return the total, or None, and the first invalid pair.

        The total is an array without axes, of the dtype that the loss is computed in. The pair is the first one whose
        weight is negative or not finite; or -1. On a device it is always -1, and total and results are NaN.
        """


class GroupsBackend(Protocol):
    """The module ``groups`` of a backend."""

    LONGEST: int

    @staticmethod
    def label_dtype(dtype) -> Any:
        """Return the dtype in which labels of a dtype are taken."""

    @staticmethod
    def run(lists, dtype, wants_each, results) -> Any:
        """Pass over all pairs of every group, fill the results and return the loss and the first invalid row.

        The loss has a dtype: one number for each group if ``wants_each``, or else an array without axes. The row is
        the first one with a score, label or weight that cannot be computed with, and nothing was written then; or -1.
        On a device it is always -1, and the loss and gradients of such a group are NaN.
        """


class RetrievalBackend(Protocol):
    """The module ``retrieval`` of a backend."""

    LONGEST: int

    @staticmethod
    def run(retrieval, wants_each, results) -> Any:
        """Pass over the scores of all queries, fill the results and return the loss and the first invalid query.

        The loss is float64: one number for each query if ``wants_each``, or else their sum, without axes. The query is
        the first one with a score that is NaN or infinite, and then the results are not complete; or -1. On a device
        it is always -1, and the loss and gradients of such a query are NaN.
        """

    @staticmethod
    def highest_scores(retrieval, wanted, skip, bounds) -> Any:
        """Return items and scores, the highest of each query, and the first invalid query.

        Where there are not so many they are -1 and -inf. Left out are those above what ``highest_allowed`` gives for
        the best positive and the three ``bounds``, and the first ``skip`` of the rest. On a device an invalid query has
        -1 and NaN.
        """


class ArraysBackend(Protocol):
    """The module ``arrays`` of a backend: what the package needs of arrays."""

    @staticmethod
    def is_array(value) -> bool:
        """Tell whether a value is an array of this backend."""

    @staticmethod
    def device_of(array) -> str:
        """Return the device that an array is on."""

    @staticmethod
    def empty_beside(array, shape, dtype) -> Any:
        """Return an uninitialised C-contiguous array on the device, and in the order, of another."""

    @staticmethod
    def empty_like(array) -> Any:
        """Return an uninitialised C-contiguous array of the shape and dtype of another, beside it."""

    @staticmethod
    def one_like(array) -> Any:
        """Return a 1 of the dtype and on the device of an array, without axes."""

    @staticmethod
    def from_host(array, device) -> Any:
        """Return a copy of a NumPy array on a device."""

    @staticmethod
    def to_host(array) -> Any:
        """Return an array as NumPy's."""

    @staticmethod
    def copy(array) -> Any:
        """Return a C-contiguous copy."""

    @staticmethod
    def copy_to(destination, array) -> None:
        """Write an array into another of the same shape and dtype."""

    @staticmethod
    def contiguous(array, shape, dtype) -> Any:
        """Return an array broadcast to a shape in a dtype, C-contiguous; itself where it is that already."""

    @staticmethod
    def cast(array, dtype) -> Any:
        """Return an array in a dtype, rounded once; itself where it has it already."""

    @staticmethod
    def as_scalar(array) -> Any:
        """Return an array without axes as results without axes are returned."""

    @staticmethod
    def item(array) -> Any:
        """Return the only element of an array as a Python number."""

    @staticmethod
    def sum_to(array, shape, dtype) -> Any:
        """Sum an array over the axes along which a shape was broadcast to it: in float64, rounded once."""

    @staticmethod
    def add(a, b) -> Any:
        """Return a + b, broadcast; ``subtract``, ``multiply``, ``divide`` and ``sign`` are alike."""

    @staticmethod
    def subtract(a, b) -> Any: ...

    @staticmethod
    def multiply(a, b) -> Any: ...

    @staticmethod
    def divide(a, number) -> Any: ...

    @staticmethod
    def sign(a) -> Any: ...

    @staticmethod
    def overlap(array, other) -> bool:
        """Tell whether two arrays may share memory."""

    @staticmethod
    def is_writable_and_contiguous(array) -> bool:
        """Tell whether results can be written into an array as it is."""

    @staticmethod
    def to_dlpack(array, **options) -> Any:
        """Return a DLPack capsule of an array."""

    @staticmethod
    def dlpack_device(array) -> Any:
        """Return the device that an array is on as DLPack counts devices."""
