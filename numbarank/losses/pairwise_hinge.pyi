from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Unpack

from numbarank._groups import Groups
from numbarank._tensor import Tensor
from numbarank.losses._types import ListSettings, Losses, OnDevice, Operand, Scalar, Total

# fmt: off

@overload
def pairwise_hinge_loss(
    scores: Tensor, labels: Operand, *, reduction: str = "mean", **settings: Unpack[ListSettings]
) -> Tensor: ...
@overload
def pairwise_hinge_loss(
    scores: OnDevice, labels: Operand, *, reduction: str = "mean", **settings: Unpack[ListSettings]
) -> Any: ...
@overload
def pairwise_hinge_loss(
    scores: Operand, labels: Operand, *, reduction: Total = "mean", **settings: Unpack[ListSettings]
) -> Scalar: ...
@overload
def pairwise_hinge_loss(
    scores: Operand, labels: Operand, *, reduction: Losses, **settings: Unpack[ListSettings]
) -> NDArray[Any]: ...
@overload
def pairwise_hinge_loss(
    scores: Operand, labels: Operand, *, reduction: str = "mean", **settings: Unpack[ListSettings]
) -> Any: ...

@overload
def pairwise_hinge_loss_and_grad(
    scores: Tensor, labels: Operand, *, reduction: str = "mean", gradient: Operand | None = None, out: Any = None,
    return_counts: bool = False, **settings: Unpack[ListSettings]
) -> tuple[Tensor, ...]: ...
@overload
def pairwise_hinge_loss_and_grad(
    scores: OnDevice, labels: Operand, *, reduction: str = "mean", gradient: Operand | None = None, out: Any = None,
    return_counts: bool = False, **settings: Unpack[ListSettings]
) -> tuple[Any, ...]: ...
@overload
def pairwise_hinge_loss_and_grad(
    scores: Operand, labels: Operand, *, reduction: Total = "mean", gradient: Operand | None = None, out: Any = None,
    return_counts: Literal[False] = False, **settings: Unpack[ListSettings]
) -> tuple[Scalar, NDArray[Any]]: ...
@overload
def pairwise_hinge_loss_and_grad(
    scores: Operand, labels: Operand, *, reduction: Total = "mean", gradient: Operand | None = None, out: Any = None,
    return_counts: Literal[True], **settings: Unpack[ListSettings]
) -> tuple[Scalar, NDArray[Any], NDArray[np.float64]]: ...
@overload
def pairwise_hinge_loss_and_grad(
    scores: Operand, labels: Operand, *, reduction: Losses, gradient: Operand | None = None, out: Any = None,
    return_counts: bool = False, **settings: Unpack[ListSettings]
) -> tuple[NDArray[Any], ...]: ...
@overload
def pairwise_hinge_loss_and_grad(
    scores: Operand, labels: Operand, *, reduction: str = "mean", gradient: Operand | None = None, out: Any = None,
    return_counts: bool = False, **settings: Unpack[ListSettings]
) -> tuple[Any, ...]: ...

class PairwiseHingeLoss:
    def __init__(
        self, margin: float = 1.0, power: int = 1, reduction: str = "mean", losers: int | float | None = None
    ) -> None: ...
    @property
    def margin(self) -> float: ...
    @property
    def power(self) -> int: ...
    @property
    def reduction(self) -> str: ...
    @property
    def losers(self) -> int | float | None: ...
    @overload
    def forward(
        self, scores: Tensor, labels: Operand, *, qid: ArrayLike | None = None,
        group: ArrayLike | Groups | None = None, where: ArrayLike | None = None, weights: Operand | None = None
    ) -> Tensor: ...
    @overload
    def forward(
        self, scores: Operand, labels: Operand, *, qid: ArrayLike | None = None,
        group: ArrayLike | Groups | None = None, where: ArrayLike | None = None, weights: Operand | None = None
    ) -> Any: ...
    __call__ = forward
