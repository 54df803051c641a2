"""What the stubs of the losses share; they say what is returned for which arguments. No such module exists at run time.

The first overload that fits is taken: Tensors give Tensors, arrays of CuPy or PyTorch are left open, and all else gives
NumPy's scalars and arrays. In the last overloads the operands have the same types, so that only the settings tell them
apart: otherwise an array whose dtype is not known would fit several, and the result would be Any.
"""

from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from numbarank._groups import Groups
from numbarank._tensor import Tensor

Operand: TypeAlias = ArrayLike | Tensor
Scalar: TypeAlias = np.floating[Any]
Total: TypeAlias = Literal["mean", "sum"]
Losses: TypeAlias = Literal["none"]

class OnDevice(Protocol):
    @property
    def __cuda_array_interface__(self) -> Any: ...

class PairSettings(TypedDict, total=False):
    weights: Operand | None
    stream: Any

class ListSettings(TypedDict, total=False):
    qid: ArrayLike | None
    group: ArrayLike | Groups | None
    where: ArrayLike | None
    margin: float
    power: int
    weights: Operand | None
    losers: int | float | None
    stream: Any

class RetrievalSettings(TypedDict, total=False):
    bias: Operand | None
    exclude: Any
    margin: float
    power: int
    losers: int | float | None
    weights: Operand | None
    memory: int
