"""Pairwise hinge loss: margin ranking loss of all pairs of every query group, without writing the pairs out."""

from typing import Any

from numpy.typing import ArrayLike

from numbarank import _arguments, _reduction
from numbarank._groups import Groups
from numbarank._tensor import Tensor
from numbarank.losses import _call
from numbarank.losses._lists import ListLoss


def pairwise_hinge_loss(
    scores: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    qid: ArrayLike | None = None,
    group: ArrayLike | Groups | None = None,
    where: ArrayLike | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: ArrayLike | Tensor | None = None,
    losers: int | float | None = None,
    reduction: str = "mean",
    stream: Any = None,
) -> Any:
    r"""Return the hinge loss of all pairs of every query group, in O(n log n) time and O(n) memory.

    A pair is two rows of a group of which the first has the higher label. Its loss is
    ``max(0, margin - (scores[first] - scores[second])) ** power``.

    Parameters
    ----------
    scores : array_like, Tensor or CUDA array of shape (rows,) or (lists, length)
        float64, float32, float16 or bfloat16; integers count as float64. With two axes each row is a group. Several
        rows and one column are refused, unless `where` is given: pass ``scores.reshape(-1)`` of one list.
    labels : array_like, Tensor or CUDA array of the same shape
        What the order should be: any real numbers, of any number of levels. Rows of equal label are no pair.
    qid : array_like of shape (rows,), optional
        The id of each row's query: whole numbers of 0 or more, text, bytes or dates, as in :class:`Groups`; the rows of
        a query stand together.
    group : array_like of int, shape (groups,), or Groups, optional
        How many rows each query has, in their order. Without `qid` and `group` all rows are one group.
    where : array_like of bool, shape (lists, length), optional
        False for places that hold no row; only for scores with two axes.
    margin : float, default 1.0
        The distance, in units of the scores, that a pair in the right order must keep.
    power : {1, 2}, default 1
        1 for the hinge, 2 for the squared hinge.
    weights : array_like, Tensor or CUDA array of the scores' shape, optional
        0 or more; a pair weighs the product of its rows' weights.
    losers : int or float, optional
        Which rows of lower label each row meets, all by default: so many of the highest-scoring ones of its group, or
        that share of them, rounded up, for a float above 0 and up to 1. Of equal scores the row that stands first is
        the higher one. The choice has no gradient of its own.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        What to return: the sum divided by the number of pairs, or by the sum of their weights; the sum; or one sum for
        each group. Without any pair all are 0.
    stream : int, or stream of CuPy, PyTorch or numba, optional
        As in :func:`margin_ranking_loss`.

    Returns
    -------
    scalar, ndarray, device array or Tensor
        As from :func:`margin_ranking_loss`; the dtype is that of the scores.

    Raises
    ------
    TypeError
        For an argument of the wrong kind or dtype.
    ValueError
        For shapes or groups that do not fit, an unknown reduction or power, and on the CPU for scores or labels that
        are NaN or infinite and weights that are negative or not finite. On CUDA the loss and the gradients of such a
        group become NaN instead.

    Notes
    -----
    Equal to :func:`margin_ranking_loss` of all pairs written out, with the same pairs active, ties and kinks included.
    For two levels the method is that of Joachims [1]_, for any number of them that of Airola et al. [2]_ and of Lee and
    Lin [3]_, here by splitting the sorted rows as in a wavelet tree; Rust and Hocking [4]_ have the squared hinge.

    With two levels, ``losers=1`` is the loss of TopPush [5]_, and a share is the hinge of the partial area under the
    ROC curve [6]_. Rows of weight 0 take no part, and so are no losers.

    On CUDA all pairs of a group are compared, with `losers` twice, and a group may have at most 65,536 rows.

    References
    ----------
    .. [1] Joachims, "Training linear SVMs in linear time", KDD 2006.
    .. [2] Airola, Pahikkala, Salakoski, "Training linear ranking SVMs in linearithmic time using red-black trees",
       Pattern Recognition Letters 32, 2011.
    .. [3] Lee, Lin, "Large-scale linear RankSVM", Neural Computation 26, 2014.
    .. [4] Rust, Hocking, "A log-linear gradient descent algorithm for unbalanced binary classification using the all
       pairs squared hinge loss", 2023.
    .. [5] Li, Jin, Zhou, "Top rank optimization in linear time", NeurIPS 2014.
    .. [6] Narasimhan, Agarwal, "A structural SVM based approach for optimizing partial AUC", ICML 2013.

    Examples
    --------
    Two queries. In the first one, one of the three pairs is in the wrong order and lacks 1.5 of its distance:

    >>> import numbarank as nr
    >>> scores, labels = [2.0, 1.5, 0.0, 1.0, 3.0], [1, 2, 0, 0, 1]
    >>> nr.pairwise_hinge_loss(scores, labels, group=[3, 2], reduction="none")
    array([1.5, 0. ])
    >>> nr.pairwise_hinge_loss(scores, labels, qid=[4, 4, 4, 9, 9])
    np.float64(0.375)

    Only the hardest loser counts, the highest-scoring row of lower label:

    >>> nr.pairwise_hinge_loss(scores, labels, group=[3, 2], losers=1, reduction="none")
    array([1.5, 0. ])
    """
    criterion = ListLoss(qid, group, where, margin, power, reduction, losers)
    return _call.forward(criterion, (scores, labels, weights), stream)


def pairwise_hinge_loss_and_grad(
    scores: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    *,
    qid: ArrayLike | None = None,
    group: ArrayLike | Groups | None = None,
    where: ArrayLike | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: ArrayLike | Tensor | None = None,
    losers: int | float | None = None,
    reduction: str = "mean",
    gradient: ArrayLike | Tensor | None = None,
    out: Any = None,
    return_counts: bool = False,
    stream: Any = None,
) -> tuple[Any, ...]:
    """Return the hinge loss of all pairs of every query group and its gradient by the scores, computed together.

    Parameters
    ----------
    scores, labels, qid, group, where, margin, power, weights, losers, reduction
        As in :func:`pairwise_hinge_loss`.
    gradient : float or array, optional
        The upstream gradient, 1 by default: a number, or for ``reduction='none'`` one number for each group.
    out : array, optional
        A buffer for the gradient, of the scores' shape and dtype (float64 for integers), C-contiguous, sharing memory
        with no input. It is the array returned.
    return_counts : bool, default False
        Whether to return how many active pairs each row is in.
    stream : int, or stream of CuPy, PyTorch or numba, optional
        As in :func:`margin_ranking_loss`.

    Returns
    -------
    loss : scalar, ndarray, device array or Tensor
        As from :func:`pairwise_hinge_loss`.
    gradient : array
        In the shape and dtype of the scores, float64 where these are integers; 0 where ``where`` is False.
    counts : float64 array
        If asked for: how many active pairs each row is in, or the sum of their weights. In boosting with power 1,
        this is what stands in for the second derivative.

    Raises
    ------
    TypeError, ValueError
        As :func:`pairwise_hinge_loss`; also for a buffer that does not fit. Nothing is written then.

    Examples
    --------
    >>> import numbarank as nr
    >>> loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(
    ...     [2.0, 1.5, 0.0], [1, 2, 0], reduction="sum", return_counts=True
    ... )
    >>> float(loss)
    1.5
    >>> gradient
    array([ 1., -1.,  0.])
    >>> counts
    array([1., 1., 0.])
    """
    criterion = ListLoss(qid, group, where, margin, power, reduction, losers)
    wanted = (True, _arguments.read_flag("return_counts", return_counts))
    loss, others = _call.forward_and_backward(
        criterion, (scores, labels, weights), gradient, wanted, None if out is None else (out,), stream, names=["out"]
    )
    return loss, *others


class PairwiseHingeLoss:
    """Pairwise hinge loss with its settings, to be called like a function.

    Parameters
    ----------
    margin, power, reduction, losers
        As in :func:`pairwise_hinge_loss`; what is not allowed raises ValueError here already.

    Examples
    --------
    >>> import numbarank as nr
    >>> criterion = nr.PairwiseHingeLoss(power=2, reduction="sum")
    >>> criterion
    PairwiseHingeLoss(margin=1.0, power=2, reduction='sum')
    >>> scores = nr.tensor([2.0, 1.5, 0.0], requires_grad=True)
    >>> criterion(scores, [1, 2, 0]).backward()
    >>> scores.grad.numpy()
    array([ 3., -3.,  0.])
    """

    __slots__ = ("_losers", "_margin", "_power", "_reduction")

    def __init__(
        self, margin: float = 1.0, power: int = 1, reduction: str = "mean", losers: int | float | None = None
    ) -> None:
        self._margin = _arguments.read_finite_margin(margin)
        self._power = _arguments.read_power(power)
        self._reduction = _reduction.check_reduction(reduction)
        self._losers = _arguments.check_losers(losers)

    @property
    def margin(self) -> float:
        """The distance that a pair in the right order must keep."""
        return self._margin

    @property
    def power(self) -> int:
        """1 for the hinge, 2 for the squared hinge."""
        return self._power

    @property
    def reduction(self) -> str:
        """'mean', 'sum' or 'none'."""
        return self._reduction

    @property
    def losers(self) -> int | float | None:
        """How many, or which share, of the highest-scoring rows of lower label each row meets; None for all."""
        return self._losers

    def forward(
        self,
        scores: ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        *,
        qid: ArrayLike | None = None,
        group: ArrayLike | Groups | None = None,
        where: ArrayLike | None = None,
        weights: ArrayLike | Tensor | None = None,
    ) -> Any:
        """Return the loss; see :func:`pairwise_hinge_loss`."""
        criterion = ListLoss(qid, group, where, self._margin, self._power, self._reduction, self._losers)
        return _call.forward(criterion, (scores, labels, weights))

    __call__ = forward

    def __repr__(self) -> str:
        losers = "" if self._losers is None else f", losers={self._losers!r}"
        settings = f"margin={self._margin!r}, power={self._power!r}, reduction={self._reduction!r}{losers}"
        return f"{type(self).__name__}({settings})"
