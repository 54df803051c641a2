"""Margin ranking losses and their gradients for NumPy and CUDA arrays."""

from numbarank._groups import Groups
from numbarank._tensor import Tensor, ones, randn, tensor, zeros
from numbarank.losses.margin_ranking import (
    MarginRankingLoss,
    margin_ranking_loss,
    margin_ranking_loss_and_grad,
)
from numbarank.losses.pairwise_hinge import (
    PairwiseHingeLoss,
    pairwise_hinge_loss,
    pairwise_hinge_loss_and_grad,
)
from numbarank.losses.retrieval import hard_negatives, retrieval_hinge_loss, retrieval_hinge_loss_and_grad

__version__ = "0.1.0"

__all__ = [
    "Groups",
    "MarginRankingLoss",
    "PairwiseHingeLoss",
    "Tensor",
    "hard_negatives",
    "margin_ranking_loss",
    "margin_ranking_loss_and_grad",
    "ones",
    "pairwise_hinge_loss",
    "pairwise_hinge_loss_and_grad",
    "randn",
    "retrieval_hinge_loss",
    "retrieval_hinge_loss_and_grad",
    "tensor",
    "zeros",
]
