"""The hinge loss of retrieval: each query's positives against its negatives, without the table of scores."""

from typing import Any

from numpy.typing import ArrayLike

from numbarank import _arguments
from numbarank._contract import Retrieval
from numbarank._tensor import Tensor
from numbarank.losses import _call
from numbarank.losses._retrieval import RetrievalLoss, read_places, read_table

_MEMORY = 64 * 2**20


def retrieval_hinge_loss(
    queries: ArrayLike | Tensor,
    items: ArrayLike | Tensor,
    positives: Any,
    *,
    bias: ArrayLike | Tensor | None = None,
    exclude: Any = None,
    margin: float = 1.0,
    power: int = 1,
    losers: float | None = None,
    weights: ArrayLike | Tensor | None = None,
    reduction: str = "mean",
    memory: int = _MEMORY,
) -> Any:
    r"""Return the hinge loss of each query's positives against its negatives; the scores are never stored.

    The score of a query and an item is ``queries[q] @ items[i] + bias[i]``. A pair is a positive of a query and one of
    its negatives, which are all items that are neither its positives nor excluded. The loss of the pair is
    ``max(0, margin - (score of the positive - score of the negative)) ** power``.

    Parameters
    ----------
    queries : array_like or Tensor of shape (n, d)
        float64, float32, float16 or bfloat16; integers count as float64.
    items : array_like or Tensor of shape (m, d)
        Likewise, and on the same device: in host memory or on a GPU.
    positives : (query_indices, item_indices), or a CSR matrix of shape (n, m)
        What belongs on top: two integer arrays of equal length, in any order, in host memory, or an object with the
        attributes ``indptr`` and ``indices``, such as SciPy's ``csr_array``. Where it also has ``data``, only entries
        above 0 count, all of them alike: for stars or clicks as weights pass ``weights=matrix.data``. An entry that
        comes twice counts once.
    bias : array_like or Tensor of shape (m,), optional
        Added to the scores of each item.
    exclude : as `positives`, optional
        Items that are no negatives of a query. One that is also a positive stays a positive.
    margin : float, default 1.0
        The distance, in units of the scores, that a positive must keep from a negative.
    power : {1, 2}, default 1
        1 for the hinge, 2 for the squared hinge.
    losers : int or float, optional
        Which negatives of a query its positives meet: by default all. An int k of at least 1: the k with the highest
        scores. A float in (0, 1]: that share of them, rounded up. Of equal scores at the last place, the item of the
        lower index stays. The choice has no gradient of its own.
    weights : array_like or Tensor of shape (entries,), optional
        One for each entry of `positives`, in their order, 0 or more: a pair weighs as much as its positive. Of a CSR
        matrix, one for each entry that it stores, zeros included. No entry that counts may come twice then.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        What to return: the sum divided by the number of pairs, after the choice by `losers`, or by the sum of their
        weights; the sum; or one sum for each query. Without any pair all are 0.
    memory : int, default 64 MiB
        About how many bytes the scores of some queries and the workspaces may take. At least the scores of one query
        are computed at a time.

    Returns
    -------
    scalar, ndarray or Tensor
        In the dtype to which queries, items and bias promote. A Tensor where queries, items, bias or weights are one;
        on a GPU otherwise an array of the queries' package.

    Raises
    ------
    TypeError
        For an argument of the wrong kind or dtype.
    ValueError
        For shapes that do not fit, arrays on several devices, indices beyond the table, a CSR matrix that stores a
        number below 0 or NaN, unknown settings, and in host memory for scores that are NaN or infinite: the message
        names the query.
    RuntimeError
        On a GPU without CuPy, which the extra ``cupy12`` or ``cupy13`` installs.

    Notes
    -----
    Equal to :func:`pairwise_hinge_loss` of the stored scores, a list for each query, with 1 as the label of positives
    and 0 for negatives. The scores come from NumPy's matrix product, for as many queries at a time as `memory` allows;
    the results do not depend on how many that are beyond the rounding of these products. On a GPU they are CuPy's, and
    a query with a score that is NaN or infinite has a loss and gradients of NaN.

    With ``losers=1`` and power 2 this is TopPush [1]_, where only the highest negative counts; a share of the losers is
    the hinge of the partial area under the ROC curve [2]_.

    References
    ----------
    .. [1] Li, Jin, Zhou, "Top rank optimization in linear time", NeurIPS 2014.
    .. [2] Narasimhan, Agarwal, "SVM pAUC tight: a new support vector method for optimizing partial AUC based on a
       tight convex upper bound", KDD 2013.

    Examples
    --------
    Two queries and four items. Item 0 is the positive of query 0, items 2 and 3 are those of query 1:

    >>> import numbarank as nr
    >>> queries = [[1.0, 0.0], [0.0, 1.0]]
    >>> items = [[2.0, 0.0], [1.5, 1.0], [0.0, 3.0], [0.5, 1.5]]
    >>> positives = [0, 1, 1], [0, 2, 3]
    >>> nr.retrieval_hinge_loss(queries, items, positives, reduction="none")
    array([0.5, 0.5])
    >>> nr.retrieval_hinge_loss(queries, items, positives, losers=1)  # three pairs
    np.float64(0.3333333333333333)
    """
    criterion = RetrievalLoss(positives, exclude, margin, power, losers, reduction, memory)
    return _call.forward(criterion, (queries, items, bias, weights))


def retrieval_hinge_loss_and_grad(
    queries: ArrayLike | Tensor,
    items: ArrayLike | Tensor,
    positives: Any,
    *,
    bias: ArrayLike | Tensor | None = None,
    exclude: Any = None,
    margin: float = 1.0,
    power: int = 1,
    losers: float | None = None,
    weights: ArrayLike | Tensor | None = None,
    reduction: str = "mean",
    gradient: ArrayLike | Tensor | None = None,
    out: Any = None,
    memory: int = _MEMORY,
) -> tuple[Any, tuple[Any, ...]]:
    """Return the hinge loss of retrieval and its gradients by queries, items and bias, computed together.

    Parameters
    ----------
    queries, items, positives, bias, exclude, margin, power, losers, weights, reduction, memory
        As in :func:`retrieval_hinge_loss`. The gradient by the items takes another buffer of its size if `memory` does
        not hold all scores.
    gradient : float or array, optional
        The upstream gradient, 1 by default: a number, or for ``reduction='none'`` one number for each query.
    out : tuple of arrays, optional
        A buffer for each gradient, of the shape and dtype of its input (float64 for integers), C-contiguous, sharing
        memory with no input. They are the arrays returned. Where scores turn out to be NaN or infinite, they hold
        anything afterwards.

    Returns
    -------
    loss : scalar, ndarray or Tensor
        As from :func:`retrieval_hinge_loss`.
    gradients : tuple of arrays
        By queries and items, and by the bias where there is one; each in the shape and dtype of its input, float64
        where that is an integer.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`retrieval_hinge_loss`; also for buffers that do not fit. Nothing is written then.

    Notes
    -----
    The gradients are two matrix products with the gradient by the scores. Where no pair of the queries at hand is
    active, both are left out; not so on a GPU, where the host does not know.

    Examples
    --------
    >>> import numbarank as nr
    >>> queries, items = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.5, 1.0], [0.0, 3.0], [0.5, 1.5]]
    >>> loss, (by_queries, by_items) = nr.retrieval_hinge_loss_and_grad(
    ...     queries, items, ([0, 1, 1], [0, 2, 3]), reduction="sum"
    ... )
    >>> float(loss)
    1.0
    >>> by_queries  # item 1 less item 0, and item 1 less item 3
    array([[-0.5,  1. ],
           [ 1. , -0.5]])
    """
    criterion = RetrievalLoss(positives, exclude, margin, power, losers, reduction, memory)
    given = None if out is None else _arguments.read_sequence("out", out)
    wanted = True, True, bias is not None
    return _call.forward_and_backward(criterion, (queries, items, bias, weights), gradient, wanted, given, None)


def hard_negatives(
    queries: ArrayLike | Tensor,
    items: ArrayLike | Tensor,
    k: int,
    *,
    positives: Any = None,
    exclude: Any = None,
    bias: ArrayLike | Tensor | None = None,
    skip: int = 0,
    ceiling: float | None = None,
    distance: float | None = None,
    memory: int = _MEMORY,
) -> tuple[Any, Any]:
    """Return the k highest-scoring negatives of each query and their scores, the best first.

    Parameters
    ----------
    queries, items, bias, memory
        As in :func:`retrieval_hinge_loss`.
    k : int
        How many negatives to return for each query, at least 1.
    positives, exclude : as in :func:`retrieval_hinge_loss`, optional
        Items that are no negatives of a query.
    skip : int, default 0
        How many of the highest-scoring negatives of each query to leave out: some of them may be positives that nobody
        has marked. They are counted after `ceiling` and `distance`. This is ``range_min`` of sentence-transformers'
        ``mine_hard_negatives``.
    ceiling : float, optional
        Leave out the negatives that score above ``best - abs(best) * (1 - ceiling)``, where ``best`` is the score of
        the query's highest-scoring positive: above 0.95 of 1, or above -1.05 beside -1. Computed in float64, as
        ``ceiling * best``, and below 0 as ``(2 - ceiling) * best``; an equal score stays. It must be above 0 and needs
        `positives`; a query without any has no ceiling. ``ceiling=0.95`` is ``relative_margin=0.05`` of
        ``mine_hard_negatives`` for queries with one positive, of a score above 0.
    distance : float, optional
        Leave out the negatives that score above ``best - distance``, in float64; an equal score stays, so 0 keeps
        exact copies of the positive, and a distance a little above the rounding of the scores, such as 1e-5 for
        cosines in float32, leaves them out. It must be 0 or more and needs `positives`. Together with `ceiling`, both
        hold. This is ``absolute_margin`` of ``mine_hard_negatives``.

    Returns
    -------
    indices : int64 array of shape (n, k)
        Of items; -1 where a query has fewer than k negatives left. Of equal scores the lower index comes first. On the
        device of the queries and in an array of their package, as the scores are.
    scores : array of shape (n, k)
        In the dtype to which queries, items and bias promote; -inf where the index is -1. On a GPU, NaN beside -1 for a
        query with a score that is NaN or infinite.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`retrieval_hinge_loss`; also for a `k`, `skip`, `ceiling` or `distance` that is not allowed.

    Examples
    --------
    >>> import numbarank as nr
    >>> queries, items = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.9, 1.0], [0.5, 3.0], [0.0, 1.5]]
    >>> indices, scores = nr.hard_negatives(queries, items, 2, positives=([0, 1], [0, 2]))
    >>> indices
    array([[1, 2],
           [3, 1]])
    >>> scores
    array([[1.9, 0.5],
           [1.5, 1. ]])

    Item 1 is nearly as good for query 0 as its positive, and may be one:

    >>> nr.hard_negatives(queries, items, 2, positives=([0, 1], [0, 2]), ceiling=0.9)[0]
    array([[2, 3],
           [3, 1]])
    >>> nr.hard_negatives(queries, items, 2, positives=([0, 1], [0, 2]), distance=1.6)[0]
    array([[ 3, -1],
           [ 1,  0]])
    """
    wanted = _arguments.read_whole("k", k, 1)
    skip = _arguments.read_whole("skip", skip, 0)
    ceiling = _arguments.read_ceiling(ceiling, positives)
    bounds = ceiling, 2.0 - ceiling, _arguments.read_distance(distance, positives)
    memory = _arguments.read_whole("memory", memory, 1)
    inputs, device, backend, dtype, given = read_table(*map(_call.array_of, (queries, items, bias)))
    places, hidden, _ = read_places(positives, exclude, given)
    retrieval = Retrieval(*given, places, hidden, None, None, None, 0.0, 1, memory)
    indices, scores, invalid = backend.retrieval.highest_scores(retrieval, wanted, skip, bounds)
    if invalid >= 0:
        raise ValueError(_arguments.describe_invalid_query(invalid))
    scores = backend.arrays.cast(scores, dtype)
    if device == "cpu":
        return indices, scores
    return tuple(_call.to_caller(array, inputs[0].from_dlpack, device) for array in (indices, scores))
