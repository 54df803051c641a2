from collections.abc import Sequence
from typing import Any, overload

from numpy.typing import NDArray
from typing_extensions import Unpack

from numbarank._tensor import Tensor
from numbarank.losses._types import Losses, OnDevice, Operand, PairSettings, Scalar, Total

# fmt: off

FORMULA: Any

def value(x1: Any, x2: Any, y: Any, margin: Any) -> Any: ...
def slope(x1: Any, x2: Any, y: Any, margin: Any, upstream: Any) -> tuple[Any, Any]: ...

@overload
def margin_ranking_loss(
    input1: Tensor, input2: Operand, target: Operand, margin: Operand = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", *, out: Any = None, **settings: Unpack[PairSettings]
) -> Tensor: ...
@overload
def margin_ranking_loss(
    input1: Operand, input2: Tensor, target: Operand, margin: Operand = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", *, out: Any = None, **settings: Unpack[PairSettings]
) -> Tensor: ...
@overload
def margin_ranking_loss(
    input1: OnDevice, input2: Operand, target: Operand, margin: Operand = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", *, out: Any = None, **settings: Unpack[PairSettings]
) -> Any: ...
@overload
def margin_ranking_loss(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, *, reduction: Total = "mean",
    **settings: Unpack[PairSettings]
) -> Scalar: ...
@overload
def margin_ranking_loss(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, *, reduction: Losses,
    out: NDArray[Any] | None = None, **settings: Unpack[PairSettings]
) -> NDArray[Any]: ...
@overload
def margin_ranking_loss(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", *, out: Any = None, **settings: Unpack[PairSettings]
) -> Any: ...

@overload
def margin_ranking_loss_and_grad(
    input1: Tensor, input2: Operand, target: Operand, margin: Operand = 0.0, reduction: str = "mean", *,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[Tensor, tuple[Tensor, ...]]: ...
@overload
def margin_ranking_loss_and_grad(
    input1: Operand, input2: Tensor, target: Operand, margin: Operand = 0.0, reduction: str = "mean", *,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[Tensor, tuple[Tensor, ...]]: ...
@overload
def margin_ranking_loss_and_grad(
    input1: OnDevice, input2: Operand, target: Operand, margin: Operand = 0.0, reduction: str = "mean", *,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[Any, tuple[Any, ...]]: ...
@overload
def margin_ranking_loss_and_grad(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, reduction: Total = "mean", *,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[Scalar, tuple[NDArray[Any], ...]]: ...
@overload
def margin_ranking_loss_and_grad(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, *, reduction: Losses,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]: ...
@overload
def margin_ranking_loss_and_grad(
    input1: Operand, input2: Operand, target: Operand, margin: Operand = 0.0, reduction: str = "mean", *,
    gradient: Operand | None = None, out: Sequence[Any] | None = None, target_grad: bool = False,
    **settings: Unpack[PairSettings]
) -> tuple[Any, tuple[Any, ...]]: ...

class MarginRankingLoss:
    def __init__(
        self, margin: float = 0.0, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ) -> None: ...
    @property
    def margin(self) -> float: ...
    @property
    def reduction(self) -> str: ...
    @overload
    def forward(
        self, input1: Tensor, input2: Operand, target: Operand, *, weights: Operand | None = None
    ) -> Tensor: ...
    @overload
    def forward(
        self, input1: Operand, input2: Tensor, target: Operand, *, weights: Operand | None = None
    ) -> Tensor: ...
    @overload
    def forward(
        self, input1: Operand, input2: Operand, target: Operand, *, weights: Operand | None = None
    ) -> Any: ...
    __call__ = forward
