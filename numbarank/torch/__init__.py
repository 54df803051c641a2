"""The losses on PyTorch tensors: functions and modules with gradients, on the CPU and on CUDA.

Each loss of scores is an operator of ``torch.library`` that calls numbarank on the memory of its tensors, and another
one for the gradients. They are what torch.compile puts into its graphs. Outside of graphs, and where nothing but
autograd looks on, ordinary tensors do without them: then loss and gradients come from one pass. The loss of retrieval
has no operators: it always goes that way.
"""

import numbers
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike
from torch import Tensor, nn

import numbarank
from numbarank.torch._inputs import ids_as_tensor
from numbarank.torch._memory import refuse_gradients
from numbarank.torch._operators import margin_ranking, pairwise_hinge
from numbarank.torch._retrieval import retrieval

__all__ = [
    "MarginRankingLoss",
    "PairwiseHingeLoss",
    "margin_ranking_loss",
    "pairwise_hinge_loss",
    "retrieval_hinge_loss",
]

_Lists: TypeAlias = list[Any] | tuple[Any, ...]


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor | float | _Lists,
    margin: float | Tensor | _Lists = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weights: Tensor | float | _Lists | None = None,
) -> Tensor:
    """Return what :func:`torch.nn.functional.margin_ranking_loss` returns, computed by numbarank.

    Parameters
    ----------
    input1, input2 : Tensor of shape (...)
        The two scores of each pair, on the CPU or on one CUDA device.
    target : Tensor, list or number
        1 where ``input1`` should score higher, -1 where ``input2`` should. The three have the same number of dimensions
        and broadcast together; a number, or a target without dimensions, stands for every pair. The dtype of a Tensor
        with dimensions promotes, as in torch; that of numbers and lists does not.
    margin : float, Tensor or list, default 0.0
        As in torch, or a margin for each pair: it broadcasts like the target and requires no gradient.
    size_average, reduce, reduction
        As in torch.
    weights : Tensor, list or number, optional
        What each pair counts, as in :func:`numbarank.margin_ranking_loss`; like the margin. The mean is then divided by
        the sum of the weights.

    Returns
    -------
    Tensor
        Differentiable by the three tensors, also a second time.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.margin_ranking_loss`; TypeError also for arrays, with the call that makes a Tensor of them.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import margin_ranking_loss
    >>> liked, disliked = torch.tensor([2.0, 1.5, 3.0], requires_grad=True), torch.tensor([1.0, 2.0, 1.0])
    >>> loss = margin_ranking_loss(liked, disliked, torch.ones(3), margin=1.0, reduction="sum")
    >>> loss.backward()
    >>> loss.item(), liked.grad
    (1.5, tensor([-1., -1., -0.]))
    >>> margin_ranking_loss(liked, disliked, torch.ones(3), margin=1.0, weights=torch.tensor([1.0, 3.0, 2.0])).item()
    0.75
    >>> margin_ranking_loss(liked, disliked, 1, margin=1.0, weights=[1, 3, 2]).item()
    0.75
    """
    if size_average is not None or reduce is not None:
        reduction = nn.MarginRankingLoss(0.0, size_average, reduce).reduction
    is_number = margin is None or isinstance(margin, (float, int, numbers.Number))  # None is refused later
    if weights is None and is_number:
        return margin_ranking((input1, input2, target), (None, None, margin, reduction))
    refuse_gradients(margin=margin, weights=weights)
    margin, margins = (margin, None) if is_number else (0.0, margin)
    return margin_ranking((input1, input2, target, margins, weights), (margin, reduction))


class MarginRankingLoss(nn.MarginRankingLoss):
    """:class:`torch.nn.MarginRankingLoss`, computed by numbarank.

    Parameters
    ----------
    margin, size_average, reduce, reduction
        As in torch; an unknown reduction raises ValueError here already.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import MarginRankingLoss
    >>> criterion = MarginRankingLoss(margin=1.0)
    >>> criterion
    MarginRankingLoss(margin=1.0, reduction='mean')
    >>> criterion(torch.tensor([2.0, 1.5]), torch.tensor([1.0, 2.0]), 1)
    tensor(0.7500)
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)
        numbarank.MarginRankingLoss(margin, reduction=self.reduction)  # refuses what is not allowed

    def forward(
        self,
        input1: Tensor,
        input2: Tensor,
        target: Tensor | float | _Lists,
        *,
        weights: Tensor | float | _Lists | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`margin_ranking_loss`."""
        return margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction, weights=weights)

    if TYPE_CHECKING:  # calls of a Module give Any
        __call__ = forward

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"margin={self.margin!r}, reduction={self.reduction!r}"


def pairwise_hinge_loss(
    scores: Tensor,
    labels: Tensor | _Lists,
    *,
    qid: Tensor | ArrayLike | None = None,
    group: Tensor | ArrayLike | numbarank.Groups | None = None,
    where: Tensor | _Lists | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: Tensor | _Lists | None = None,
    losers: int | float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the hinge loss of all pairs of every query group: :func:`numbarank.pairwise_hinge_loss` on tensors.

    Parameters
    ----------
    scores : Tensor
        As there. The gradient is that by the scores.
    labels, where, weights : Tensor on the device of the scores, or list
        As there; ``weights`` may not require a gradient.
    qid, group : Tensor in host memory, array_like, or Groups for ``group``
        As there; inside of graphs of torch.compile ids are numbers.
    margin, power, losers, reduction
        As there.

    Returns
    -------
    Tensor
        In the dtype of the scores; of one sum for each group if ``reduction`` is 'none'.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.pairwise_hinge_loss`; TypeError also for arrays, with the call that makes a Tensor of them.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import pairwise_hinge_loss
    >>> scores = torch.tensor([2.0, 1.5, 0.0, 1.0, 3.0], requires_grad=True)
    >>> loss = pairwise_hinge_loss(scores, [1, 2, 0, 0, 1], group=[3, 2], reduction="none")
    >>> loss.sum().backward()
    >>> loss.tolist(), scores.grad.tolist()
    ([1.5, 0.0], [1.0, -1.0, 0.0, 0.0, 0.0])
    """
    if weights is not None:
        refuse_gradients(weights=weights)
    if losers is not None:
        losers = numbarank.PairwiseHingeLoss(losers=losers).losers  # int and float, which the operators tell apart
    qid, group = ids_as_tensor("qid", qid), ids_as_tensor("group", group)
    return pairwise_hinge((scores, labels, qid, group, where, weights), (margin, power, losers, reduction))


class PairwiseHingeLoss(nn.Module):
    """Pairwise hinge loss with its settings, to be called on the tensors of a batch.

    Parameters
    ----------
    margin, power, reduction, losers
        As in :func:`numbarank.pairwise_hinge_loss`; what is not allowed raises ValueError here already.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import PairwiseHingeLoss
    >>> criterion = PairwiseHingeLoss(power=2, reduction="sum")
    >>> criterion
    PairwiseHingeLoss(margin=1.0, power=2, reduction='sum')
    >>> criterion(torch.tensor([2.0, 1.5, 0.0]), torch.tensor([1, 2, 0]))
    tensor(2.2500)
    >>> PairwiseHingeLoss(losers=1)
    PairwiseHingeLoss(margin=1.0, power=1, reduction='mean', losers=1)
    """

    def __init__(
        self, margin: float = 1.0, power: int = 1, reduction: str = "mean", losers: int | float | None = None
    ) -> None:
        super().__init__()
        criterion = numbarank.PairwiseHingeLoss(margin, power, reduction, losers)
        self.margin, self.power, self.reduction = criterion.margin, criterion.power, criterion.reduction
        self.losers = criterion.losers

    def forward(
        self,
        scores: Tensor,
        labels: Tensor | _Lists,
        *,
        qid: Tensor | ArrayLike | None = None,
        group: Tensor | ArrayLike | numbarank.Groups | None = None,
        where: Tensor | _Lists | None = None,
        weights: Tensor | _Lists | None = None,
    ) -> Tensor:
        """Return the loss; see :func:`pairwise_hinge_loss`."""
        return pairwise_hinge_loss(
            scores,
            labels,
            qid=qid,
            group=group,
            where=where,
            margin=self.margin,
            power=self.power,
            weights=weights,
            losers=self.losers,
            reduction=self.reduction,
        )

    if TYPE_CHECKING:  # calls of a Module give Any
        __call__ = forward

    def extra_repr(self) -> str:
        """Return the settings."""
        losers = "" if self.losers is None else f", losers={self.losers!r}"
        return f"margin={self.margin!r}, power={self.power!r}, reduction={self.reduction!r}{losers}"


def retrieval_hinge_loss(
    queries: Tensor,
    items: Tensor,
    positives: Any,
    *,
    bias: Tensor | None = None,
    exclude: Any = None,
    margin: float = 1.0,
    power: int = 1,
    losers: int | float | None = None,
    weights: Tensor | ArrayLike | None = None,
    reduction: str = "mean",
    memory: int = 64 * 2**20,
) -> Tensor:
    """Return the hinge loss of retrieval: :func:`numbarank.retrieval_hinge_loss` on tensors in host memory.

    Parameters
    ----------
    queries, items, bias : Tensor
        As there. The gradients are those by these three.
    positives, exclude : (query_indices, item_indices), or a CSR matrix of shape (n, m)
        As there, in tensors, arrays or lists; a matrix may also be a Tensor with the layout ``torch.sparse_csr``, of
        which the entries above 0 count.
    weights : Tensor, list or array, optional
        As there; it may not require a gradient.
    margin, power, losers, reduction, memory
        As there.

    Returns
    -------
    Tensor
        In the dtype to which queries, items and bias promote; of one sum for each query if ``reduction`` is 'none'.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.retrieval_hinge_loss`; TypeError also for arrays as queries, items and bias, with the call
        that makes a Tensor of them.
    RuntimeError
        If a gradient is to be differentiated itself.

    Notes
    -----
    ``torch.compile`` breaks its graph here and calls the function as it is.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import retrieval_hinge_loss
    >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> items = torch.tensor([[2.0, 0.0], [1.5, 1.0], [0.0, 3.0], [0.5, 1.5]])
    >>> loss = retrieval_hinge_loss(queries, items, ([0, 1, 1], [0, 2, 3]), reduction="sum")
    >>> loss.backward()
    >>> loss.item(), queries.grad.tolist()
    (1.0, [[-0.5, 1.0], [1.0, -0.5]])
    """
    settings = {"exclude": exclude, "margin": margin, "power": power, "losers": losers, "weights": weights}
    settings |= {"positives": positives, "reduction": reduction, "memory": memory}
    return retrieval(queries, items, bias, settings)
