"""The losses on PyTorch tensors: functions and modules with gradients, on the CPU and on CUDA.

Each loss is an operator of ``torch.library`` that calls numbarank on the memory of its tensors, and another one for the
gradients. They are what torch.compile puts into its graphs.
"""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

import numbarank

__all__ = ["MarginRankingLoss", "PairwiseHingeLoss", "margin_ranking_loss", "pairwise_hinge_loss"]

_DEVICES = ("cpu", "cuda")


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return what :func:`torch.nn.functional.margin_ranking_loss` returns, computed by numbarank.

    Parameters
    ----------
    input1, input2 : Tensor of shape (...)
        The two scores of each pair, on the CPU or on one CUDA device.
    target : Tensor
        1 where ``input1`` should score higher, -1 where ``input2`` should. The three have the same number of dimensions
        and broadcast together; a target without dimensions stands for every pair.
    margin, size_average, reduce, reduction
        As in torch.

    Returns
    -------
    Tensor
        Differentiable by the three tensors, also a second time.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.margin_ranking_loss`.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import margin_ranking_loss
    >>> liked, disliked = torch.tensor([2.0, 1.5, 3.0], requires_grad=True), torch.tensor([1.0, 2.0, 1.0])
    >>> loss = margin_ranking_loss(liked, disliked, torch.ones(3), margin=1.0, reduction="sum")
    >>> loss.backward()
    >>> loss.item(), liked.grad
    (1.5, tensor([-1., -1., -0.]))
    """
    if size_average is not None or reduce is not None:
        reduction = nn.MarginRankingLoss(margin, size_average, reduce).reduction
    loss = _margin_ranking if torch.compiler.is_compiling() else _MarginRanking.apply
    return loss(input1, input2, target, margin, reduction)


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
    >>> criterion(torch.tensor([2.0, 1.5]), torch.tensor([1.0, 2.0]), torch.ones(2))
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

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """Return the loss; see :func:`margin_ranking_loss`."""
        return margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"margin={self.margin!r}, reduction={self.reduction!r}"


def pairwise_hinge_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    qid: Tensor | ArrayLike | None = None,
    group: Tensor | ArrayLike | numbarank.Groups | None = None,
    where: Tensor | None = None,
    margin: float = 1.0,
    power: int = 1,
    weights: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the hinge loss of all pairs of every query group: :func:`numbarank.pairwise_hinge_loss` on tensors.

    Parameters
    ----------
    scores, labels, where, weights : Tensor
        As there, on one device. The gradient is that by the scores; ``weights`` may not require one.
    qid, group : Tensor in host memory, array_like, or Groups for ``group``
        As there.
    margin, power, reduction
        As there.

    Returns
    -------
    Tensor
        In the dtype of the scores; of one sum for each group if ``reduction`` is 'none'.

    Raises
    ------
    TypeError, ValueError
        As :func:`numbarank.pairwise_hinge_loss`.

    Examples
    --------
    >>> import torch
    >>> from numbarank.torch import pairwise_hinge_loss
    >>> scores = torch.tensor([2.0, 1.5, 0.0, 1.0, 3.0], requires_grad=True)
    >>> loss = pairwise_hinge_loss(scores, torch.tensor([1, 2, 0, 0, 1]), group=[3, 2], reduction="none")
    >>> loss.sum().backward()
    >>> loss.tolist(), scores.grad.tolist()
    ([1.5, 0.0], [1.0, -1.0, 0.0, 0.0, 0.0])
    """
    if isinstance(weights, Tensor) and weights.requires_grad:
        raise TypeError("weights requires a gradient, and there is none by the weights: pass weights.detach()")
    qid, group = _host_tensor(qid), _host_tensor(group)
    loss = _pairwise_hinge if torch.compiler.is_compiling() else _PairwiseHinge.apply
    return loss(scores, labels, qid, group, where, margin, power, weights, reduction)


class PairwiseHingeLoss(nn.Module):
    """Pairwise hinge loss with its settings, to be called on the tensors of a batch.

    Parameters
    ----------
    margin, power, reduction
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
    """

    def __init__(self, margin: float = 1.0, power: int = 1, reduction: str = "mean") -> None:
        super().__init__()
        criterion = numbarank.PairwiseHingeLoss(margin, power, reduction)
        self.margin, self.power, self.reduction = criterion.margin, criterion.power, criterion.reduction

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        qid: Tensor | ArrayLike | None = None,
        group: Tensor | ArrayLike | numbarank.Groups | None = None,
        where: Tensor | None = None,
        weights: Tensor | None = None,
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
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"margin={self.margin!r}, power={self.power!r}, reduction={self.reduction!r}"


# ---------------------------------------------------------------- margin ranking loss


@torch.library.custom_op("numbarank::margin_ranking_loss", mutates_args=(), device_types=_DEVICES)
def _margin_ranking(input1: Tensor, input2: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    inputs = map(_array, (input1, input2, target))
    return _tensor(numbarank.margin_ranking_loss(*inputs, margin, reduction=reduction))


@_margin_ranking.register_fake
def _(input1, input2, target, margin, reduction):
    _check_fit(input1, input2, target)
    promoting = (input1, input2, target) if target.dim() and target.is_floating_point() else (input1, input2)
    dtype = functools.reduce(torch.promote_types, map(_gradient_dtype, promoting))
    shape = torch.broadcast_shapes(input1.shape, input2.shape, target.shape) if reduction == "none" else ()
    return input1.new_empty(shape, dtype=dtype)


def _check_fit(input1, input2, target):
    """Refuse tensors without data for what numbarank refuses where there is data: other devices, other dimensions."""
    inputs = (input1, input2, target) if target.dim() else (input1, input2)
    if len({tensor.device for tensor in inputs}) > 1:
        places = ", ".join(str(tensor.device) for tensor in inputs)
        raise ValueError(f"the inputs are on {places}; all must be on one device: move them with .to(device)")
    if len({tensor.dim() for tensor in inputs}) > 1:
        numbarank.margin_ranking_loss(*(np.broadcast_to(0.0, tuple(tensor.shape)) for tensor in inputs))  # its error


# no custom_op: each backward pass would pay for an autograd kernel that is never of use here
_BACKWARD = "numbarank::margin_ranking_loss_backward"
torch.library.define(
    _BACKWARD,
    "(Tensor upstream, Tensor input1, Tensor input2, Tensor target, float margin, str reduction, bool target_grad) "
    "-> Tensor[]",
)


@torch.library.impl(_BACKWARD, _DEVICES)
def _margin_ranking_gradients(upstream, input1, input2, target, margin, reduction, target_grad):
    inputs = input1, input2, target
    out = [_empty_gradient(tensor) for tensor in inputs[: 2 + target_grad]] if upstream.is_cuda else None
    _, gradients = numbarank.margin_ranking_loss_and_grad(
        *map(_array, inputs),
        margin,
        reduction,
        gradient=_upstream(upstream),
        out=out and [_array(tensor) for tensor in out],
        target_grad=target_grad,
    )
    return out or [_tensor(gradient) for gradient in gradients]


@torch.library.register_fake(_BACKWARD)
def _(upstream, input1, input2, target, margin, reduction, target_grad):
    return [_empty_gradient(tensor) for tensor in (input1, input2, target)[: 2 + target_grad]]


def _keep_pairs(ctx, inputs, output):
    *tensors, ctx.margin, ctx.reduction = inputs
    ctx.save_for_backward(*tensors)


def _margin_ranking_backward(ctx, upstream):
    settings = ctx.margin, ctx.reduction
    if torch.is_grad_enabled():
        gradients = _differentiable_gradients(upstream, *ctx.saved_tensors, *settings)
    else:
        operator = torch.ops.numbarank.margin_ranking_loss_backward.default
        gradients = operator(upstream, *ctx.saved_tensors, *settings, ctx.needs_input_grad[2])
    return (*gradients, *[None] * (5 - len(gradients)))


def _differentiable_gradients(upstream, input1, input2, target, margin, reduction):
    """Return the gradients as torch computes them, so that they have gradients themselves."""
    x1, x2, y = (tensor.to(upstream.dtype) for tensor in (input1, input2, target))
    difference = x1 - x2
    z = -y * difference + margin
    if reduction == "mean":
        upstream = upstream / z.numel()
    d = torch.where(z >= 0, upstream, 0)
    return d * -y, d * y, -(d * difference)  # autograd sums over what was broadcast


class _MarginRanking(torch.autograd.Function):
    """For calls outside of graphs: quicker than what register_autograd makes of the same functions.

    It refuses forward-mode derivatives, which that would drop.
    """

    @staticmethod
    def forward(ctx, *inputs):
        _keep_pairs(ctx, inputs, None)
        return _margin_ranking(*inputs)

    backward = staticmethod(_margin_ranking_backward)


_margin_ranking.register_autograd(_margin_ranking_backward, setup_context=_keep_pairs)


# ---------------------------------------------------------------- pairwise hinge loss


@torch.library.custom_op("numbarank::pairwise_hinge_loss", mutates_args=(), device_types=_DEVICES)
def _pairwise_hinge(
    scores: Tensor,
    labels: Tensor,
    qid: Tensor | None,
    group: Tensor | None,
    where: Tensor | None,
    margin: float,
    power: int,
    weights: Tensor | None,
    reduction: str,
) -> Tensor:
    arguments = _list_arguments(qid, group, where, margin, power, weights, reduction)
    return _tensor(numbarank.pairwise_hinge_loss(_array(scores), _array(labels), **arguments))


@_pairwise_hinge.register_fake
def _(scores, labels, qid, group, where, margin, power, weights, reduction):
    shape = (_count_groups(scores, qid, group),) if reduction == "none" else ()
    return scores.new_empty(shape, dtype=_gradient_dtype(scores))


def _count_groups(scores, qid, group):
    if scores.dim() == 2:
        return scores.shape[0]
    if group is not None:
        return group.shape[0]
    return 1 if qid is None else torch.library.get_ctx().new_dynamic_size()


@torch.library.custom_op("numbarank::pairwise_hinge_loss_backward", mutates_args=(), device_types=_DEVICES)
def _pairwise_hinge_gradient(
    upstream: Tensor,
    scores: Tensor,
    labels: Tensor,
    qid: Tensor | None,
    group: Tensor | None,
    where: Tensor | None,
    margin: float,
    power: int,
    weights: Tensor | None,
    reduction: str,
) -> Tensor:
    out = _empty_gradient(scores) if upstream.is_cuda else None
    _, gradient = numbarank.pairwise_hinge_loss_and_grad(
        _array(scores),
        _array(labels),
        **_list_arguments(qid, group, where, margin, power, weights, reduction),
        gradient=_upstream(upstream),
        out=_array(out),
    )
    return _tensor(gradient) if out is None else out


@_pairwise_hinge_gradient.register_fake
def _(upstream, scores, *_):
    return _empty_gradient(scores)


def _list_arguments(qid, group, where, margin, power, weights, reduction):
    arrays = {"qid": qid, "group": group, "where": where, "weights": weights}
    return {name: _array(tensor) for name, tensor in arrays.items()} | {
        "margin": margin,
        "power": power,
        "reduction": reduction,
    }


def _keep_lists(ctx, inputs, output):
    scores, labels, qid, group, where, ctx.margin, ctx.power, weights, ctx.reduction = inputs
    ctx.save_for_backward(scores, labels, qid, group, where, weights)


def _pairwise_hinge_backward(ctx, upstream):
    *lists, weights = ctx.saved_tensors
    gradient = _pairwise_hinge_gradient(upstream, *lists, ctx.margin, ctx.power, weights, ctx.reduction)
    return gradient, *[None] * 8


def _refuse_second_derivative(ctx, upstream):
    raise RuntimeError(
        "the gradient of pairwise_hinge_loss cannot be differentiated; that of margin_ranking_loss can: leave "
        "pairwise_hinge_loss out of what goes backward twice"
    )


class _PairwiseHinge(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        _keep_lists(ctx, inputs, None)
        return _pairwise_hinge(*inputs)

    backward = staticmethod(_pairwise_hinge_backward)


_pairwise_hinge.register_autograd(_pairwise_hinge_backward, setup_context=_keep_lists)
_pairwise_hinge_gradient.register_autograd(_refuse_second_derivative)

for _device in _DEVICES:  # torch.amp has such losses computed in float32
    _margin_ranking.register_autocast(_device, torch.float32)
    _pairwise_hinge.register_autocast(_device, torch.float32)


# ---------------------------------------------------------------- tensors and arrays


class _CudaArray:
    """The memory of a CUDA tensor, for use on torch's current stream: the tensor's own interface names no stream."""

    def __init__(self, tensor):
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        named = {"version": 3, "stream": stream or 1}  # 1 is the default stream, which 0 may not stand for
        self.__cuda_array_interface__ = tensor.detach().__cuda_array_interface__ | named
        self.__dlpack_device__ = tensor.__dlpack_device__
        self._tensor = tensor  # keeps its memory


def _array(tensor):
    """Return the memory of a tensor as an array that numbarank takes; None stays None."""
    if tensor is None:
        return None
    bfloat16 = _bfloat16() if tensor.dtype is torch.bfloat16 else None
    if tensor.is_cuda:
        return _CudaArray(tensor)
    return tensor.numpy() if bfloat16 is None else tensor.view(torch.int16).numpy().view(bfloat16)


def _bfloat16():
    try:
        from ml_dtypes import bfloat16
    except ModuleNotFoundError:
        raise TypeError("a bfloat16 tensor needs the package ml_dtypes: pip install 'numbarank[torch]'") from None
    return bfloat16


def _tensor(result):
    """Return what numbarank returned as a tensor of the same memory."""
    if not isinstance(result, (np.ndarray, np.generic)):
        return torch.from_dlpack(numbarank.Tensor(result))
    array = np.asarray(result)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _upstream(tensor):
    """Return the upstream gradient; a single number in host memory as a float, which is the quickest to pass on."""
    return _array(tensor) if tensor.dim() or tensor.is_cuda else tensor.item()


def _empty_gradient(tensor):
    """Return memory for the gradient by a tensor, from torch's allocator, which keeps CUDA memory for the next step."""
    return tensor.new_empty(tensor.shape, dtype=_gradient_dtype(tensor))


def _gradient_dtype(tensor):
    return tensor.dtype if tensor.is_floating_point() else torch.float64


def _host_tensor(values: Any) -> Tensor | None:
    """Return ids or counts as a tensor; lists and arrays are not put on torch's default device."""
    if values is None or isinstance(values, Tensor):
        return values
    return torch.as_tensor(values.sizes if isinstance(values, numbarank.Groups) else values, device="cpu")
