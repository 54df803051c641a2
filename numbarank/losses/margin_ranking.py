"""Margin ranking loss: max(0, -y * (x1 - x2) + margin)."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from numbarank import _arguments, _reduction
from numbarank._tensor import Tensor
from numbarank.losses import _pairs


def value(x1, x2, y, margin):
    """Return the loss of one pair."""
    z = -y * (x1 - x2) + margin
    zero = type(margin)(0)
    return zero if z < zero else z


def slope(x1, x2, y, margin, upstream):
    """Return the gradients of one pair by x1 and by y; the gradient by x2 is the first one's negative."""
    z = -y * (x1 - x2) + margin
    zero = type(margin)(0)
    d = upstream if z >= zero else zero
    return d * -y, -(d * (x1 - x2))


FORMULA = _pairs.PairFormula(value, slope)


def margin_ranking_loss(
    input1: ArrayLike | Tensor,
    input2: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    margin: float | ArrayLike | Tensor = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weights: ArrayLike | Tensor | None = None,
    out: Any = None,
    stream: Any = None,
) -> Any:
    r"""Return the margin ranking loss ``max(0, -target * (input1 - input2) + margin)``.

    It is zero for a pair whose scores stand in the right order and at least ``margin`` apart, and grows linearly
    with the distance missing to that.

    Parameters
    ----------
    input1, input2 : array_like, Tensor or CUDA array of shape (...)
        The two scores of each pair: float64, float32, float16 or bfloat16; integers count as float64.
    target : array_like, Tensor, CUDA array or number
        1 where ``input1`` should score higher, -1 where ``input2`` should. A number or 0-d array stands for every
        pair. Otherwise the three need the same number of dimensions and broadcast together.
    margin : float or array, default 0.0
        The distance, in units of the scores, that a pair in the right order must keep: one for all pairs, or an array
        that broadcasts like the target. It has no gradient.
    size_average, reduce : bool, optional
        Legacy arguments of PyTorch: they override ``reduction`` and warn.
    reduction : {'mean', 'sum', 'none'}, default 'mean'
        What to return: the mean of the losses, their sum, or all of them.
    weights : array_like, Tensor or CUDA array, optional
        What each pair counts, 0 or more, in a shape that broadcasts like the target: its loss is multiplied by it, and
        the mean is the sum of these divided by the sum of the weights. A pair of weight 0 is left out, whatever its
        scores are. They have no gradient.
    out : array, optional
        A buffer for the losses of 'none', of their shape and dtype, C-contiguous, overlapping no input. It is returned.
        For many pairs it saves most of the time, which goes into fresh memory.
    stream : int, or stream of CuPy, PyTorch or numba, optional
        For CUDA arrays: the stream to work on, or its handle; by default the one that the arrays' package works on. It
        waits for the inputs. Not for arrays on the CPU.

    Returns
    -------
    scalar, ndarray, device array or Tensor
        A NumPy scalar, or an array for 'none', for input on the CPU; for CUDA arrays an array of the package of the
        first one, CuPy, PyTorch or numba; a ``Tensor`` as soon as one input is one. The dtype is the promoted dtype of
        the inputs.

    Raises
    ------
    TypeError
        For an argument of the wrong kind or dtype; boolean and unsigned targets are among them.
    ValueError
        For shapes that do not broadcast, arrays on two devices, an unknown reduction, or a weight that is negative or
        not finite; on a device, where nobody looks at the weights first, results are NaN then.
    BufferError
        For a CUDA array of another package that does not give out its memory as DLPack has it.

    Notes
    -----
    The semantics are those of `torch.nn.MarginRankingLoss
    <https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html>`_. 'sum' and 'mean' are at most
    1 ulp away from the correctly rounded exact value and do not depend on the number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import numbarank as nr
    >>> liked, disliked = np.array([2.0, 1.5, 3.0]), np.array([1.0, 2.0, 1.0])
    >>> nr.margin_ranking_loss(liked, disliked, 1, margin=1.0, reduction="none")
    array([0. , 1.5, 0. ])
    >>> nr.margin_ranking_loss(liked, disliked, 1, margin=1.0)
    np.float64(0.5)
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.reduction_from_legacy(size_average, reduce, stacklevel=2)
    return _pairs.loss(FORMULA, input1, input2, target, margin, reduction, weights, out, stream)


def margin_ranking_loss_and_grad(
    input1: ArrayLike | Tensor,
    input2: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    margin: float | ArrayLike | Tensor = 0.0,
    reduction: str = "mean",
    *,
    gradient: ArrayLike | Tensor | None = None,
    weights: ArrayLike | Tensor | None = None,
    out: Sequence[Any] | None = None,
    target_grad: bool = False,
    stream: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """Return the margin ranking loss and its gradients, computed together in one pass over memory.

    Parameters
    ----------
    input1, input2, target, margin, reduction, weights
        As in :func:`margin_ranking_loss`.
    gradient : float or array, optional
        The upstream gradient, 1 by default: a number, or for ``reduction='none'`` an array of the loss's shape.
    out : sequence of arrays, optional
        Buffers for the gradients, of the inputs' shapes and dtypes (float64 for integer inputs), C-contiguous,
        overlapping neither each other nor an input. They are the arrays returned.
    target_grad : bool, default False
        Whether to return the gradient by the target too.
    stream : int, or stream of CuPy, PyTorch or numba, optional
        As in :func:`margin_ranking_loss`.

    Returns
    -------
    loss : scalar, ndarray, device array or Tensor
        As from :func:`margin_ranking_loss`.
    gradients : tuple of arrays
        The gradients by ``input1`` and ``input2``, and by ``target`` if asked for, each in its input's kind, shape and
        dtype (float64 where that is an integer). A broadcast input's gradient is summed over the broadcast axes.

    Raises
    ------
    TypeError, ValueError, BufferError
        As :func:`margin_ranking_loss`; also for buffers that do not fit. Nothing is written then.

    Examples
    --------
    >>> import numpy as np
    >>> import numbarank as nr
    >>> liked, disliked = np.array([2.0, 1.5, 3.0]), np.array([1.0, 2.0, 1.0])
    >>> loss, (by_liked, by_disliked) = nr.margin_ranking_loss_and_grad(liked, disliked, 1, 1.0, "sum")
    >>> float(loss)
    1.5
    >>> by_disliked
    array([1., 1., 0.])
    """
    return _pairs.loss_and_grad(
        FORMULA, input1, input2, target, margin, reduction, gradient, weights, out, target_grad, stream
    )


class MarginRankingLoss:
    """Margin ranking loss with its settings, to be called like a function.

    Parameters
    ----------
    margin, size_average, reduce, reduction
        As in :func:`margin_ranking_loss`; an unknown reduction raises ValueError here already.

    Examples
    --------
    >>> import numbarank as nr
    >>> criterion = nr.MarginRankingLoss(margin=1.0)
    >>> criterion
    MarginRankingLoss(margin=1.0, reduction='mean')
    >>> scores = nr.tensor([2.0, 1.5, 3.0], requires_grad=True)
    >>> loss = criterion(scores, [1.0, 2.0, 1.0], 1)
    >>> loss.backward()
    >>> scores.grad.numpy().round(3)
    array([-0.333, -0.333, -0.   ])
    """

    __slots__ = ("_margin", "_reduction")

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        if size_average is not None or reduce is not None:
            reduction = _reduction.reduction_from_legacy(size_average, reduce, stacklevel=2)
        self._margin = _arguments.read_margin(margin)
        self._reduction = _reduction.check_reduction(reduction)

    @property
    def margin(self) -> float:
        """The distance that a pair in the right order must keep."""
        return self._margin

    @property
    def reduction(self) -> str:
        """'mean', 'sum' or 'none'."""
        return self._reduction

    def forward(
        self,
        input1: ArrayLike | Tensor,
        input2: ArrayLike | Tensor,
        target: ArrayLike | Tensor,
        *,
        weights: ArrayLike | Tensor | None = None,
    ) -> Any:
        """Return the loss; see :func:`margin_ranking_loss`."""
        return _pairs.loss(FORMULA, input1, input2, target, self._margin, self._reduction, weights)

    __call__ = forward

    def __repr__(self) -> str:
        return f"{type(self).__name__}(margin={self._margin!r}, reduction={self._reduction!r})"
