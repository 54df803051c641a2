"""Tensor: an array that remembers how to send a gradient back to the Tensors that it was made from."""

import heapq
import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbarank import _arguments, _dispatch

_numbers = itertools.count()
_SPENT = ()


class Tensor:
    """An array on a device, with its gradient.

    It is the small part of PyTorch's Tensor that a loss needs, and no autograd engine: sums and products of losses go
    backward, layers belong to the frameworks that have them.

    Parameters
    ----------
    data : array, list, number or Tensor
        Wrapped, not copied, where it is an array: see :func:`tensor` for a copy.
    requires_grad : bool, default False
        Whether ``backward`` should put a gradient into ``grad``; only floating data can have one.

    Raises
    ------
    TypeError
        If the data is no array of numbers, or an integer array should have a gradient.

    Notes
    -----
    Only the inputs of a loss are kept for its gradient. Inputs that are changed in place between the forward and the
    backward pass give the gradient at the changed values.

    Examples
    --------
    >>> import numbarank as nr
    >>> scores = nr.tensor([0.2, 0.7], requires_grad=True)
    >>> loss = nr.margin_ranking_loss(scores, [0.5, 0.1], 1, margin=0.1, reduction="sum")
    >>> (2 * loss).backward()
    >>> scores.grad.numpy()
    array([-2., -0.])
    """

    __slots__ = ("__weakref__", "_data", "_device", "_grad", "_operation", "_requires_grad")
    __array_ufunc__ = None

    def __init__(self, data: "ArrayLike | Tensor", requires_grad: bool = False) -> None:
        self._operation = None
        self._grad = None
        self._requires_grad = False
        self.data = data
        self.requires_grad = requires_grad

    @classmethod
    def from_operation(cls, array, device, operands, gradients):
        """Return the Tensor that an operation on operands gives, of an array of ours.

        ``gradients(upstream, parents)`` returns a sequence: the gradient for each parent that is not None. The parents
        are the operands; None stands for one that requires no gradient.
        """
        parents = [operand if isinstance(operand, cls) and operand._requires_grad else None for operand in operands]
        if parents.count(None) == len(parents):
            return cls._wrap(array, device)
        return cls._wrap(array, device, True, (next(_numbers), parents, gradients))

    @classmethod
    def _wrap(cls, array, device, requires_grad=False, operation=None):
        """Return a Tensor of an array of ours, without the checks that a caller's array needs."""
        result = cls.__new__(cls)
        result._data = array
        result._device = device
        result._grad = None
        result._requires_grad = requires_grad
        result._operation = operation
        return result

    @property
    def data(self) -> Any:
        """The array itself: NumPy's, or a numba device array."""
        return self._data

    @data.setter
    def data(self, value: "ArrayLike | Tensor") -> None:
        item = _arguments.read("data", value._data if isinstance(value, Tensor) else value)
        if self._requires_grad:
            _arguments.check_differentiable(item.array.dtype)
        self._data, self._device = item.array, item.device

    @property
    def grad(self) -> "Tensor | None":
        """None, or a Tensor: the sum of the gradients of all backward passes so far."""
        return self._grad

    @grad.setter
    def grad(self, value: "ArrayLike | Tensor | None") -> None:
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            _arguments.check_gradient("grad", value.shape, value.device, self)
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether backward passes reach this Tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = _arguments.read_flag("requires_grad", value)
        if value:
            _arguments.check_differentiable(self.dtype)
        if not value and self._operation is not None:
            raise RuntimeError("requires_grad can only be changed on a Tensor that is no result: call detach() on it")
        self._requires_grad = value

    @property
    def device(self) -> str:
        """'cpu' or 'cuda:N'."""
        return self._device

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return self._data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The length along each axis."""
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    def backward(self, gradient: "ArrayLike | Tensor | None" = None) -> None:
        """Add the gradients of this Tensor to the ``grad`` of the Tensors that it was made from.

        Parameters
        ----------
        gradient : array or number, optional
            The gradient that arrives from above, of this Tensor's shape; a single element needs none.

        Raises
        ------
        RuntimeError
            If no gradient is required here, one is missing, this Tensor has already gone backward, or the data of one
            that it was made from has been given another shape.
        TypeError, ValueError
            If the gradient is no array of numbers, of another shape or on another device.
        """
        if not self._requires_grad:
            raise RuntimeError("this Tensor does not require a gradient: create its inputs with requires_grad=True")
        received, done = {self: self._first_gradient(gradient)}, []
        newest_first = [] if self._operation is None else [(-self._number(), self)]
        while newest_first:
            result = heapq.heappop(newest_first)[1]
            _, parents, gradients = result._operation
            for parent, gradient in zip(parents, gradients(received.pop(result), parents), strict=True):
                if parent is None:
                    continue
                if parent in received:
                    gradient = parent._arrays().add(received[parent], gradient)
                elif parent._operation is not None:
                    heapq.heappush(newest_first, (-parent._number(), parent))
                received[parent] = gradient
            done.append(result)
        for leaf, gradient in received.items():
            leaf._accumulate(gradient)
        for result in done:
            result._operation = _SPENT

    def _number(self):
        """Return the number of the operation that this Tensor is the result of; later ones have higher numbers."""
        if self._operation is _SPENT:
            raise RuntimeError("this Tensor has already gone backward: compute the loss again before another pass")
        return self._operation[0]

    def _first_gradient(self, gradient):
        arrays = self._arrays()
        if gradient is None:
            _arguments.check_no_gradient_needed(self)
            return arrays.one_like(self._data)
        array = _arguments.read_first_gradient(gradient._data if isinstance(gradient, Tensor) else gradient, self)
        return arrays.multiply(arrays.cast(array, self.dtype), 1)

    def _accumulate(self, gradient):
        shape = self._data.shape
        if gradient.shape != shape or (self._grad is not None and self._grad._data.shape != shape):
            raise RuntimeError(
                f"data has been given the shape {shape}, and the gradient is that of other data: assign None to "
                "grad, and compute the loss again"
            )
        if self._grad is not None:
            arrays = self._arrays()
            gradient = arrays.add(arrays.cast(self._grad._data, gradient.dtype), gradient)
        if gradient.dtype != self._data.dtype:
            gradient = self._arrays().cast(gradient, _arguments.gradient_dtype(self._data.dtype))
        self._grad = Tensor._wrap(gradient, self._device)

    def _arrays(self):
        return _dispatch.backend(self._device).arrays

    def item(self) -> int | float:
        """Return the only element as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item() needs a Tensor of one element; this one has shape {self.shape}")
        return self._arrays().item(self._data)

    def numpy(self) -> np.ndarray:
        """Return the data as a NumPy array that shares its memory."""
        if self._requires_grad:
            raise RuntimeError("this Tensor requires a gradient: call detach().numpy()")
        if self._device != "cpu":
            raise TypeError(f"this Tensor is on {self._device}: call cpu().numpy()")
        return self._data

    def detach(self) -> "Tensor":
        """Return a Tensor of the same memory that no backward pass reaches."""
        return Tensor(self._data)

    def to(self, device: str) -> "Tensor":
        """Return this Tensor on a device; itself if it is there already."""
        _dispatch.check_device(device)
        if device == self._device or (device == "cuda" and self._device != "cpu"):
            return self
        home, target = self._arrays(), _dispatch.backend(device).arrays
        origin = self._device
        moved = target.from_host(home.to_host(self._data), device)

        def gradients(upstream, parents):
            return [home.from_host(target.to_host(upstream), origin)]

        return Tensor.from_operation(moved, target.device_of(moved), [self], gradients)

    def cpu(self) -> "Tensor":
        """Return this Tensor in host memory."""
        return self.to("cpu")

    def cuda(self) -> "Tensor":
        """Return this Tensor on the current CUDA device."""
        return self.to("cuda")

    def sign(self) -> "Tensor":
        """Return -1, 0 or 1 for each element; its gradient is 0."""
        arrays = self._arrays()

        def gradients(upstream, parents):
            return [arrays.multiply(upstream, 0)]

        return Tensor.from_operation(arrays.sign(self._data), self._device, [self], gradients)

    def __add__(self, other: "Tensor | float") -> "Tensor":
        return self._combine("add", other, lambda arrays, g, a, b: (g, arrays.multiply(g, 1)))

    def __sub__(self, other: "Tensor | float") -> "Tensor":
        return self._combine("subtract", other, lambda arrays, g, a, b: (g, arrays.multiply(g, -1)))

    def __mul__(self, other: "Tensor | float") -> "Tensor":
        return self._combine("multiply", other, lambda arrays, g, a, b: (arrays.multiply(g, b), arrays.multiply(g, a)))

    def __truediv__(self, number: float) -> "Tensor":
        return self._combine("divide", number, lambda arrays, g, a, b: (arrays.divide(g, b), None))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: "Tensor | float") -> "Tensor":
        return self * -1 + other

    def __neg__(self) -> "Tensor":
        return self * -1

    def _combine(self, operation, other, slopes):
        """Return ``self <operation> other``; ``slopes`` gives the gradients by both in the result's shape."""
        arrays, operand = self._arrays(), self._operand(operation, other)
        if operand is NotImplemented:
            return NotImplemented
        operands = (self, other)
        layouts = [(item.shape, item.dtype) if isinstance(item, Tensor) else None for item in operands]
        data, operand = _operands(operation, self._data, operand, arrays)

        def gradients(upstream, parents):
            both = slopes(arrays, upstream, data, operand)
            return [
                None if parent is None else arrays.sum_to(gradient, *layout)
                for gradient, parent, layout in zip(both, parents, layouts, strict=True)
            ]

        try:
            result = getattr(arrays, operation)(data, operand)
        except OverflowError as error:
            raise ValueError(_arguments.describe_overflow(self.dtype, error)) from error
        return Tensor.from_operation(result, self._device, operands, gradients)

    def _operand(self, operation, other):
        """Return the second operand of an operation as an array or a Python number, or NotImplemented."""
        if not isinstance(other, Tensor):
            return _arguments.read_number(other)
        _arguments.check_operand(operation, other._device, self._device)
        return other._data

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return np.array(array, dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self._arrays().to_dlpack(self._exchangeable("__dlpack__"), **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._arrays().dlpack_device(self._data)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self._device == "cpu":
            raise AttributeError("a Tensor in host memory has no CUDA array interface")
        return self._exchangeable("__cuda_array_interface__").__cuda_array_interface__

    def _exchangeable(self, protocol):
        if self._requires_grad:
            raise BufferError(f"this Tensor requires a gradient, which {protocol} would lose: call detach() first")
        return self._data

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a Tensor without axes has no len()")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        values = np.array2string(self._arrays().to_host(self._data), separator=", ", prefix="tensor(")
        details = [f"dtype={self.dtype}"]
        if self._device != "cpu":
            details.append(f"device='{self._device}'")
        if self._requires_grad:
            details.append("requires_grad=True")
        return f"tensor({values}, {', '.join(details)})"

    def __reduce__(self):
        if self._operation is not None:
            raise TypeError("only a Tensor that is no result of an operation can be pickled: call detach() first")
        return _rebuild, (self._arrays().to_host(self._data), self._device, self._requires_grad, self._grad)


def _operands(operation, a, b, arrays):
    """Return two operands, the second of which may be a number, in dtypes in which they can be combined."""
    if hasattr(b, "dtype"):
        dtype = _arguments.arithmetic_dtype(a.dtype, b.dtype)
        return arrays.cast(a, dtype), arrays.cast(b, dtype)
    dtype = _arguments.arithmetic_dtype(a.dtype)
    return arrays.cast(a, _arguments.gradient_dtype(dtype) if operation == "divide" else dtype), b


def _rebuild(array, device, requires_grad, grad):
    result = tensor(array, device=device, requires_grad=requires_grad)
    result.grad = grad
    return result


def tensor(
    data: ArrayLike | Tensor,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor with a copy of the data.

    Parameters
    ----------
    data : array, list, number or Tensor
    dtype : dtype, optional
        By default what ``numpy.asarray`` makes of the data.
    device : {'cpu', 'cuda', 'cuda:N'}, optional
        By default where the data is.
    requires_grad : bool, default False

    Raises
    ------
    TypeError
        For data that is no array of numbers, or a gradient required of integers.
    ValueError
        For an unknown device.
    RuntimeError
        If CUDA is asked for and cannot be used here.

    Examples
    --------
    >>> import numbarank as nr
    >>> nr.tensor([1, 2, 3], dtype="float32")
    tensor([1., 2., 3.], dtype=float32)
    """
    device = None if device is None else _dispatch.check_device(device)
    item = _arguments.read("data", data._data if isinstance(data, Tensor) else data)
    home = _dispatch.backend(item.device).arrays
    array = item.array if dtype is None else home.cast(item.array, _arguments.read_dtype(dtype))
    if device is None or device == item.device:
        return Tensor(home.copy(array), requires_grad)
    return Tensor(_dispatch.backend(device).arrays.from_host(home.to_host(array), device), requires_grad)


def zeros(
    *shape: int, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Return a Tensor of zeros.

    Parameters
    ----------
    *shape, dtype, device, requires_grad
        As in :func:`ones`.

    Examples
    --------
    >>> import numbarank as nr
    >>> nr.zeros(2, dtype="float32")
    tensor([0., 0.], dtype=float32)
    """
    values = np.zeros(_arguments.read_shape(shape), _arguments.read_dtype(dtype))
    return tensor(values, None, device, requires_grad)


def ones(*shape: int, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor of ones.

    Parameters
    ----------
    *shape : int, or one tuple of int
    dtype : dtype, default float64
    device : {'cpu', 'cuda', 'cuda:N'}, default 'cpu'
    requires_grad : bool, default False

    Examples
    --------
    >>> import numbarank as nr
    >>> nr.ones(2, 3).shape
    (2, 3)
    """
    values = np.ones(_arguments.read_shape(shape), _arguments.read_dtype(dtype))
    return tensor(values, None, device, requires_grad)


def randn(
    *shape: int,
    seed: int | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a Tensor of independent standard normal numbers.

    Parameters
    ----------
    *shape : int, or one tuple of int
    seed : int, optional
        The same seed gives the same numbers, on every device.
    dtype, device, requires_grad
        As in :func:`ones`.

    Examples
    --------
    >>> import numbarank as nr
    >>> float(nr.randn(seed=0)) == float(nr.randn(seed=0))
    True
    """
    values = np.random.default_rng(_arguments.read_seed(seed)).standard_normal(_arguments.read_shape(shape))
    return tensor(values, dtype, device, requires_grad)
