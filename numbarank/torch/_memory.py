"""Tensors as the arrays that numbarank takes, and its results as tensors of the same memory."""

import functools

import numpy as np
import torch
from torch import Tensor

import numbarank

_BFLOAT16 = torch.bfloat16


class _CudaArray:
    """The memory of a CUDA tensor, for use on torch's current stream: the tensor's own interface names no stream."""

    def __init__(self, tensor):
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        named = {"version": 3, "stream": stream or 1}  # 1 is the default stream, which 0 may not stand for
        self.__cuda_array_interface__ = tensor.detach().__cuda_array_interface__ | named
        self.__dlpack_device__ = tensor.__dlpack_device__
        self.shape = tuple(tensor.shape)
        self._tensor = tensor  # keeps its memory


def array_of(tensor):
    """Return the memory of a tensor as an array that numbarank takes; None stays None."""
    if tensor is None:
        return None
    if tensor.dtype is not _BFLOAT16:
        return _CudaArray(tensor) if tensor.is_cuda else tensor.numpy()
    bfloat16 = _bfloat16()
    return _CudaArray(tensor) if tensor.is_cuda else tensor.view(torch.int16).numpy().view(bfloat16)


def _bfloat16():
    try:
        from ml_dtypes import bfloat16
    except ModuleNotFoundError:
        raise TypeError("a bfloat16 tensor needs the package ml_dtypes: pip install 'numbarank[torch]'") from None
    return bfloat16


def tensor_of(result):
    """Return what numbarank returned as a tensor of the same memory."""
    if isinstance(result, np.generic):
        result = np.asarray(result)
    if type(result) is not np.ndarray:
        return torch.from_dlpack(numbarank.Tensor(result))
    if result.dtype.kind == "V":  # bfloat16, whose name takes NumPy long to make
        return torch.from_numpy(result.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(result)


def upstream_of(tensor):
    """Return the upstream gradient; one number for all, in host memory, as a float, which is quickest."""
    if tensor.is_cuda or any(tensor.stride()) or not tensor.numel():
        return array_of(tensor.resolve_neg())
    return tensor[(0,) * tensor.dim()].item()


def empty_gradient(tensor):
    """Return memory for the gradient by a tensor, from torch's allocator, which keeps CUDA memory for the next step."""
    return tensor.new_empty(tensor.shape, dtype=gradient_dtype(tensor))


def gradient_dtype(tensor):
    return tensor.dtype if tensor.is_floating_point() else torch.float64


def promoted_dtype(tensors):
    """Return the dtype that those of gradients promote to."""
    return functools.reduce(torch.promote_types, map(gradient_dtype, tensors))


def refuse_gradients(**constants):
    for name, value in constants.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise TypeError(f"{name} requires a gradient, and there is none by the {name}: pass {name}.detach()")
