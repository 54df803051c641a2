from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from numbarank._tensor import Tensor
from numbarank.losses._types import Losses, OnDevice, Operand, RetrievalSettings, Scalar, Total

# fmt: off

@overload
def retrieval_hinge_loss(
    queries: Tensor, items: Operand, positives: Any, *, reduction: str = "mean", **settings: Unpack[RetrievalSettings]
) -> Tensor: ...
@overload
def retrieval_hinge_loss(
    queries: Operand, items: Tensor, positives: Any, *, reduction: str = "mean", **settings: Unpack[RetrievalSettings]
) -> Tensor: ...
@overload
def retrieval_hinge_loss(
    queries: OnDevice, items: Operand, positives: Any, *, reduction: str = "mean",
    **settings: Unpack[RetrievalSettings]
) -> Any: ...
@overload
def retrieval_hinge_loss(
    queries: Operand, items: Operand, positives: Any, *, reduction: Total = "mean",
    **settings: Unpack[RetrievalSettings]
) -> Scalar: ...
@overload
def retrieval_hinge_loss(
    queries: Operand, items: Operand, positives: Any, *, reduction: Losses, **settings: Unpack[RetrievalSettings]
) -> NDArray[Any]: ...
@overload
def retrieval_hinge_loss(
    queries: Operand, items: Operand, positives: Any, *, reduction: str = "mean",
    **settings: Unpack[RetrievalSettings]
) -> Any: ...

@overload
def retrieval_hinge_loss_and_grad(
    queries: Tensor, items: Operand, positives: Any, *, reduction: str = "mean", gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[Tensor, tuple[Tensor, ...]]: ...
@overload
def retrieval_hinge_loss_and_grad(
    queries: Operand, items: Tensor, positives: Any, *, reduction: str = "mean", gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[Tensor, tuple[Tensor, ...]]: ...
@overload
def retrieval_hinge_loss_and_grad(
    queries: OnDevice, items: Operand, positives: Any, *, reduction: str = "mean", gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[Any, tuple[Any, ...]]: ...
@overload
def retrieval_hinge_loss_and_grad(
    queries: Operand, items: Operand, positives: Any, *, reduction: Total = "mean", gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[Scalar, tuple[NDArray[Any], ...]]: ...
@overload
def retrieval_hinge_loss_and_grad(
    queries: Operand, items: Operand, positives: Any, *, reduction: Losses, gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]: ...
@overload
def retrieval_hinge_loss_and_grad(
    queries: Operand, items: Operand, positives: Any, *, reduction: str = "mean", gradient: Operand | None = None,
    out: Any = None, **settings: Unpack[RetrievalSettings]
) -> tuple[Any, tuple[Any, ...]]: ...

@overload
def hard_negatives(
    queries: OnDevice, items: Operand, k: int, *, positives: Any = None, exclude: Any = None,
    bias: Operand | None = None, skip: int = 0, ceiling: float | None = None, distance: float | None = None,
    memory: int = ...
) -> tuple[Any, Any]: ...
@overload
def hard_negatives(
    queries: Operand, items: Operand, k: int, *, positives: Any = None, exclude: Any = None,
    bias: Operand | None = None, skip: int = 0, ceiling: float | None = None, distance: float | None = None,
    memory: int = ...
) -> tuple[NDArray[np.int64], NDArray[Any]]: ...
