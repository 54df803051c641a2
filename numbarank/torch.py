"""The losses on PyTorch tensors: functions and modules with gradients, on the CPU and on CUDA.

Each loss of scores is an operator of ``torch.library`` that calls numbarank on the memory of its tensors, and another
one for the gradients. They are what torch.compile puts into its graphs. Outside of graphs, and where nothing but
autograd looks on, ordinary tensors do without them: then loss and gradients come from one pass. The loss of retrieval
has no operators: it always goes that way.
"""

import functools
import math
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, is_autocast_enabled, nn
from torch._C import _are_functorch_transforms_active, _is_tracing, _len_torch_dispatch_stack
from torch.autograd import forward_ad
from torch.overrides import has_torch_function

import numbarank

__all__ = [
    "MarginRankingLoss",
    "PairwiseHingeLoss",
    "margin_ranking_loss",
    "pairwise_hinge_loss",
    "retrieval_hinge_loss",
]

_DEVICES = ("cpu", "cuda")
_BFLOAT16 = torch.bfloat16


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float | Tensor = 0.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """Return what :func:`torch.nn.functional.margin_ranking_loss` returns, computed by numbarank.

    Parameters
    ----------
    input1, input2 : Tensor of shape (...)
        The two scores of each pair, on the CPU or on one CUDA device.
    target : Tensor
        1 where ``input1`` should score higher, -1 where ``input2`` should. The three have the same number of dimensions
        and broadcast together; a target without dimensions stands for every pair.
    margin : float or Tensor, default 0.0
        As in torch, or a margin for each pair: a Tensor that broadcasts like the target and requires no gradient.
    size_average, reduce, reduction
        As in torch.
    weights : Tensor, optional
        What each pair counts, as in :func:`numbarank.margin_ranking_loss`: a Tensor like the margin's. The mean is then
        divided by the sum of the weights.

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
    >>> margin_ranking_loss(liked, disliked, torch.ones(3), margin=1.0, weights=torch.tensor([1.0, 3.0, 2.0])).item()
    0.75
    """
    if size_average is not None or reduce is not None:
        reduction = nn.MarginRankingLoss(0.0, size_average, reduce).reduction
    margins = None
    if weights is not None or isinstance(margin, Tensor):
        _refuse_gradients(margin=margin, weights=weights)
        if isinstance(margin, Tensor):
            margin, margins = 0.0, margin
    return _margin_ranking(input1, input2, target, margins, weights, margin, reduction)


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

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor, *, weights: Tensor | None = None) -> Tensor:
        """Return the loss; see :func:`margin_ranking_loss`."""
        return margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction, weights=weights)

    if TYPE_CHECKING:  # calls of a Module give Any
        __call__ = forward

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
    losers: int | float | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the hinge loss of all pairs of every query group: :func:`numbarank.pairwise_hinge_loss` on tensors.

    Parameters
    ----------
    scores, labels, where, weights : Tensor
        As there, on one device. The gradient is that by the scores; ``weights`` may not require one.
    qid, group : Tensor in host memory, array_like, or Groups for ``group``
        As there.
    margin, power, losers, reduction
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
    if weights is not None:
        _refuse_gradients(weights=weights)
    if losers is not None:
        losers = numbarank.PairwiseHingeLoss(losers=losers).losers  # int and float, which the operators tell apart
    qid, group = _host_tensor(qid), _host_tensor(group)
    return _pairwise_hinge(scores, labels, qid, group, where, weights, margin, power, losers, reduction)


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
        As there, in tensors, arrays or lists; a matrix may also be a Tensor with the layout ``torch.sparse_csr``.
    weights : Tensor or array_like, optional
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
        As :func:`numbarank.retrieval_hinge_loss`.
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
    compute = _retrieval_outside_of_graphs if torch.compiler.is_compiling() else _retrieval
    return compute(queries, items, bias, settings)


def _refuse_gradients(**constants):
    for name, value in constants.items():
        if isinstance(value, Tensor) and value.requires_grad:
            raise TypeError(f"{name} requires a gradient, and there is none by the {name}: pass {name}.detach()")


# ---------------------------------------------------------------- operators


class _Operator:
    """A loss as an operator of torch.library, a second one for its gradients, and what autograd makes of the two.

    A subclass names the loss and its inputs, in torch's words and tensors first, and says how numbarank is called.
    """

    name: str
    inputs: str

    def __init__(self):
        self.tensors, self.function = self.inputs.count("Tensor"), getattr(numbarank, self.name)
        self.operator = self._define(self.name, f"({self.inputs}) -> Tensor", self._values, self.empty)
        schema = f"(Tensor upstream, {self.inputs}, int count) -> Tensor[]"
        self.gradient_operator = self._define(f"{self.name}_backward", schema, self._gradients, self._empty_gradients)
        torch.library.register_autograd(self.operator, self._go_backward, setup_context=self._keep)
        for device in _DEVICES:  # torch.amp has such losses computed in float32
            torch.library.register_autocast(self.operator, device, torch.float32)

        class Function(torch.autograd.Function):
            """Quicker than what register_autograd makes; and forward-mode derivatives are refused, not dropped."""

            @staticmethod
            def forward(ctx, *inputs):
                tensors, ctx.settings = inputs[:-1], inputs[-1]
                ctx.save_for_backward(*tensors)
                inputs = (*tensors, *ctx.settings)
                arguments = self._plain_arguments(tensors, inputs)
                if arguments is None:
                    return self.operator(*inputs)
                ctx.is_plain = True
                if inputs[-1] == "none":  # the gradients are those of each loss, which come later
                    return self._loss(arguments)
                loss, gradients = self.loss_and_gradients(arguments, self.count(ctx.needs_input_grad))
                ctx.gradients = [*map(_tensor, gradients)]
                return _tensor(loss)

            backward = staticmethod(self._go_backward)

        self.apply = Function.apply

    def __call__(self, *inputs):
        if torch.compiler.is_compiling():
            return self.operator(*inputs)
        count = self.tensors
        while inputs[count - 1] is None:  # autograd takes time for each
            count -= 1
        tensors = inputs[:count]
        if not (torch.is_grad_enabled() and _require_gradient(tensors)):
            arguments = self._plain_arguments(tensors, inputs)
            if arguments is not None:
                return self._loss(arguments)
        return self.apply(*tensors, inputs[count:])

    @staticmethod
    def _define(name, schema, kernel, fake):
        # no custom_op: that would put more of Python into each call
        torch.library.define(f"numbarank::{name}", schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(f"numbarank::{name}", _DEVICES, kernel)
        torch.library.register_fake(f"numbarank::{name}", fake)
        return getattr(torch.ops.numbarank, name).default

    def _plain_arguments(self, tensors, inputs):
        """Return the arguments of numbarank where nothing but autograd has to see the call, or None."""
        if not _are_plain(tensors) or type(inputs[self.tensors]) not in _MARGINS:
            return None
        try:
            return self.arguments(*inputs)
        except (RuntimeError, TypeError):  # the memory does not hold the values as they are
            return None

    def _loss(self, arguments):
        return _tensor(self.function(**arguments))

    def _values(self, *inputs):
        return self._loss(self.arguments(*inputs))

    def _gradients(self, upstream, *inputs):
        """Return the gradients by the first ``count`` inputs; count is the last of the inputs."""
        out = self._empty_gradients(upstream, *inputs) if upstream.is_cuda else None
        arguments, count = self.arguments(*inputs[:-1]), inputs[-1]
        _, gradients = self.loss_and_gradients(arguments, count, _upstream(upstream), out and [*map(_array, out)])
        return out or [*map(_tensor, gradients)]

    def _empty_gradients(self, upstream, *inputs):
        return [_empty_gradient(tensor) for tensor in inputs[: inputs[-1]]]

    def _keep(self, ctx, inputs, output):
        ctx.save_for_backward(*inputs[: self.tensors])
        ctx.settings = inputs[self.tensors :]

    def _go_backward(self, ctx, upstream):
        tensors, gradients, needed = ctx.saved_tensors, None, ctx.needs_input_grad  # refuses what changed since
        compute = self.gradient_operator
        if torch.is_grad_enabled():
            gradients = self.differentiable_gradients(upstream, *tensors, *ctx.settings)
        elif hasattr(ctx, "is_plain") and _are_plain((upstream,)) and not torch.compiler.is_compiling():
            gradients, compute = _times(vars(ctx).pop("gradients", None), upstream), self._gradients
        if gradients is None:
            gradients = compute(upstream, *tensors, *ctx.settings, self.count(needed))
        return (*gradients, *[None] * (len(needed) - len(gradients)))

    def differentiable_gradients(self, upstream, *inputs):
        """Return gradients that have gradients themselves, or None where there are none."""
        return None


class _MarginRanking(_Operator):
    name = "margin_ranking_loss"
    inputs = (
        "Tensor input1, Tensor input2, Tensor target, Tensor? margins, Tensor? weights, float margin, str reduction"
    )

    def arguments(self, input1, input2, target, margins, weights, margin, reduction):
        if margins is not None:
            margin = _array(margins) if margins.dim() else margins.item()
        return {
            "input1": _array(input1),
            "input2": _array(input2),
            "target": _array(target),
            "margin": margin,
            "weights": None if weights is None else _array(weights),
            "reduction": reduction,
        }

    def empty(self, input1, input2, target, margins, weights, margin, reduction):
        """Return a tensor like the loss; refuse what numbarank refuses where there is data."""
        others = {"target": target, "margin": margins, "weights": weights}
        others = {name: tensor for name, tensor in others.items() if tensor is not None}
        fitting = [input1, input2, *(tensor for tensor in others.values() if tensor.dim())]
        if len({tensor.device for tensor in fitting}) > 1:
            places = ", ".join(str(tensor.device) for tensor in fitting)
            raise ValueError(f"the inputs are on {places}; all must be on one device: move them with .to(device)")
        if len({tensor.dim() for tensor in fitting}) > 1:
            tensors = {"input1": input1, "input2": input2} | others
            zeros = {name: np.broadcast_to(0.0, tuple(tensor.shape)) for name, tensor in tensors.items()}
            numbarank.margin_ranking_loss(**zeros)  # its error
        promoting = (input1, input2, target) if target.dim() and target.is_floating_point() else (input1, input2)
        dtype = functools.reduce(torch.promote_types, map(_gradient_dtype, promoting))
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in fitting)) if reduction == "none" else ()
        return input1.new_empty(shape, dtype=dtype)

    def count(self, needed):
        return 2 + needed[2]

    def loss_and_gradients(self, arguments, count, gradient=1.0, out=None):
        call = numbarank.margin_ranking_loss_and_grad
        return call(**arguments, gradient=gradient, out=out, target_grad=count == 3)

    def differentiable_gradients(self, upstream, input1, input2, target, margins, weights, margin, reduction):
        """Return the gradients as torch computes them, so that they have gradients themselves."""
        x1, x2, y = (tensor.to(upstream) for tensor in (input1, input2, target))
        difference = x1 - x2
        active = -y * difference + (margin if margins is None else margins.to(upstream)) >= 0
        if weights is not None:
            active, weights = torch.broadcast_tensors(active, weights.to(upstream.device, torch.float64))
            counts = weights != 0
            share = torch.where(counts, weights / weights.sum(), 0) if reduction == "mean" else weights
            upstream, active = (upstream * share).to(y.dtype), active & counts
            y, difference = torch.where(counts, y, 0), torch.where(counts, difference, 0)  # NaN and infinity go
        elif reduction == "mean":
            upstream = upstream / active.numel()
        d = torch.where(active, upstream, 0)
        return d * -y, d * y, -(d * difference)  # autograd sums over what was broadcast


class _PairwiseHinge(_Operator):
    name = "pairwise_hinge_loss"
    inputs = (
        "Tensor scores, Tensor labels, Tensor? qid, Tensor? group, Tensor? where, Tensor? weights, "
        "float margin, int power, Scalar? losers, str reduction"
    )

    def __init__(self):
        super().__init__()
        torch.library.register_autograd(self.gradient_operator, self._refuse_second_derivative)

    def arguments(self, scores, labels, qid, group, where, weights, margin, power, losers, reduction):
        tensors = {"scores": scores, "labels": labels, "qid": qid, "group": group, "where": where, "weights": weights}
        settings = {"margin": margin, "power": power, "losers": losers, "reduction": reduction}
        arguments = {name: _array(tensor) for name, tensor in tensors.items()} | settings
        if hasattr(group, "groups"):
            arguments["group"] = group.groups
        return arguments

    def empty(self, scores, labels, qid, group, where, weights, margin, power, losers, reduction):
        shape = (self._count_groups(scores, qid, group),) if reduction == "none" else ()
        return scores.new_empty(shape, dtype=_gradient_dtype(scores))

    def _count_groups(self, scores, qid, group):
        if scores.dim() == 2:
            return scores.shape[0]
        if group is not None:
            return group.shape[0]
        return 1 if qid is None else torch.library.get_ctx().new_dynamic_size()

    def count(self, needed):
        return 1

    def loss_and_gradients(self, arguments, count, gradient=1.0, out=None):
        call = numbarank.pairwise_hinge_loss_and_grad
        loss, *gradients = call(**arguments, gradient=gradient, out=out and out[0])
        return loss, gradients

    def _refuse_second_derivative(self, ctx, upstream):
        raise RuntimeError(
            "the gradient of pairwise_hinge_loss cannot be differentiated; that of margin_ranking_loss can: leave "
            "pairwise_hinge_loss out of what goes backward twice"
        )


_margin_ranking, _pairwise_hinge = _MarginRanking(), _PairwiseHinge()


# ---------------------------------------------------------------- retrieval


class _Retrieval(torch.autograd.Function):
    """The loss of retrieval, from the memory of tensors; ``constants`` are those without gradients."""

    @staticmethod
    def forward(ctx, queries, items, bias, constants, settings, is_differentiated):
        ctx.save_for_backward(queries, items, bias, *constants)
        ctx.settings = settings
        arguments = _retrieval_arguments(queries, items, bias, settings)
        if not is_differentiated or settings["reduction"] == "none":
            return _tensor(numbarank.retrieval_hinge_loss(**arguments))
        loss, gradients = numbarank.retrieval_hinge_loss_and_grad(**arguments)
        ctx.gradients = _needed(ctx, gradients)
        return _tensor(loss)

    @staticmethod
    def backward(ctx, upstream):
        inputs, upstream = ctx.saved_tensors[:3], upstream.detach()
        gradients = _times(vars(ctx).pop("gradients", None), upstream)
        if gradients is None:
            call, arguments = numbarank.retrieval_hinge_loss_and_grad, _retrieval_arguments(*inputs, ctx.settings)
            gradients = _needed(ctx, call(**arguments, gradient=_upstream(upstream))[1])
        if torch.is_grad_enabled():
            gradients = _NotTwice.apply(len(gradients), *gradients, *inputs)
        gradients = iter(gradients)
        return (*(next(gradients) if needed else None for needed in ctx.needs_input_grad[:3]), None, None, None)


class _NotTwice(torch.autograd.Function):
    """Gradients that depend on what comes behind them, but cannot be differentiated."""

    @staticmethod
    def forward(ctx, count, *tensors):
        return tensors[:count]

    @staticmethod
    def backward(ctx, *upstream):
        raise RuntimeError(
            "the gradient of retrieval_hinge_loss cannot be differentiated: leave retrieval_hinge_loss out of what "
            "goes backward twice"
        )


def _retrieval(queries, items, bias, settings):
    tensors, weights = {"queries": queries, "items": items, "bias": bias}, settings["weights"]
    if isinstance(weights, Tensor):
        tensors["weights"] = weights
        _refuse_gradients(weights=weights)
    for name, tensor in tensors.items():
        if tensor is not None or name in ("queries", "items"):
            tensors[name] = _in_host_memory(name, tensor)
    queries, items, bias, *constants = tensors.values()
    settings = settings | {"weights": _array(constants[0]) if constants else weights}
    for name in ("positives", "exclude"):
        settings[name], parts = _index_parts(name, settings[name])
        constants += parts
    is_differentiated = torch.is_grad_enabled() and _require_gradient((queries, items, bias))
    return _Retrieval.apply(queries, items, bias, constants, settings, is_differentiated)


_retrieval_outside_of_graphs = torch._disable_dynamo(_retrieval)


def _retrieval_arguments(queries, items, bias, settings):
    tensors = {"queries": queries, "items": items, "bias": bias}
    return {name: tensor if tensor is None else _array(tensor.detach()) for name, tensor in tensors.items()} | settings


def _needed(ctx, gradients):
    """Return the gradients that are needed as tensors; the others are not kept."""
    return [_tensor(gradient) for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=False) if needed]


def _in_host_memory(name, tensor):
    """Return a tensor as the loss of retrieval takes it, or raise TypeError."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; it must be a torch.Tensor")
    _refuse_device(name, tensor)
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {tensor.layout}; it must be dense: pass {name}.to_dense()")
    is_half = tensor.is_floating_point() and tensor.dtype.itemsize == 2
    return tensor.float() if is_half and is_autocast_enabled("cpu") else tensor.resolve_neg()


def _refuse_device(name, tensor):
    if not tensor.is_cpu:
        raise TypeError(f"{name} is on {tensor.device}; retrieval is computed in host memory: pass {name}.cpu()")


def _index_parts(name, value):
    """Return positives or what is excluded as numbarank takes them, and the tensors among their parts."""
    if isinstance(value, Tensor) and value.layout is torch.sparse_csr:
        _refuse_device(name, value)
        parts = value.crow_indices(), value.col_indices()
        return types.SimpleNamespace(indptr=parts[0], indices=parts[1], shape=tuple(value.shape)), parts
    parts = enumerate(value) if isinstance(value, (tuple, list)) else ()
    tensors = {f"{name}[{k}]": part for k, part in parts if isinstance(part, Tensor)}
    for part, tensor in tensors.items():
        _refuse_device(part, tensor)
    return value, tensors.values()


# ---------------------------------------------------------------- outside of graphs

_TYPES, _MARGINS = frozenset((Tensor, nn.Parameter)), frozenset((float, int))


def _require_gradient(tensors):
    for tensor in tensors:  # noqa: SIM110 (any() of a generator takes three times as long)
        if getattr(tensor, "requires_grad", False):
            return True
    return False


def _are_plain(tensors):
    """Tell whether tensors are ordinary ones in host memory, and nothing but autograd has to see what is called."""
    for tensor in tensors:
        if tensor is not None and not (type(tensor) in _TYPES and tensor.is_cpu):
            return False
    return not (
        has_torch_function(tensors)  # true of a mode, too
        or _len_torch_dispatch_stack()
        or _are_functorch_transforms_active()
        or _is_tracing()
        or is_autocast_enabled("cpu")
        or forward_ad._current_level >= 0
    )


def _times(gradients, upstream):
    """Return gradients times the upstream gradient, in their own memory; None where they have to be computed again.

    Those are the cases in which a product is not what comes of an upstream gradient from the start: NaN and infinity do
    not reach pairs that are not active, and half types have lost too much.
    """
    if gradients is None or (factor := upstream.item()) == 1:
        return gradients
    if not math.isfinite(factor) or any(gradient.dtype.itemsize == 2 for gradient in gradients):
        return None
    return [gradient.mul_(upstream) for gradient in gradients]


# ---------------------------------------------------------------- tensors and arrays


class _CudaArray:
    """The memory of a CUDA tensor, for use on torch's current stream: the tensor's own interface names no stream."""

    def __init__(self, tensor):
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        named = {"version": 3, "stream": stream or 1}  # 1 is the default stream, which 0 may not stand for
        self.__cuda_array_interface__ = tensor.detach().__cuda_array_interface__ | named
        self.__dlpack_device__ = tensor.__dlpack_device__
        self.shape = tuple(tensor.shape)
        self._tensor = tensor  # keeps its memory


def _array(tensor):
    """Return the memory of a tensor as an array that numbarank takes; None stays None."""
    if tensor is None:
        return None
    bfloat16 = _bfloat16() if tensor.dtype is _BFLOAT16 else None
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
    if type(result) is np.ndarray and result.dtype.kind == "f":
        return torch.from_numpy(result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return torch.from_dlpack(numbarank.Tensor(result))
    array = np.asarray(result)
    if array.dtype.kind == "V":  # bfloat16, whose name takes NumPy long to make
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _upstream(tensor):
    """Return the upstream gradient; one number for all, in host memory, as a float, which is quickest."""
    if tensor.is_cuda or any(tensor.stride()) or not tensor.numel():
        return _array(tensor.resolve_neg())
    return tensor[(0,) * tensor.dim()].item()


def _empty_gradient(tensor):
    """Return memory for the gradient by a tensor, from torch's allocator, which keeps CUDA memory for the next step."""
    return tensor.new_empty(tensor.shape, dtype=_gradient_dtype(tensor))


def _gradient_dtype(tensor):
    return tensor.dtype if tensor.is_floating_point() else torch.float64


def _host_tensor(values: Any) -> Tensor | None:
    """Return ids or counts as a tensor; lists and arrays are not put on torch's default device."""
    if values is None or isinstance(values, Tensor):
        return values
    if not isinstance(values, numbarank.Groups):
        return torch.as_tensor(values, device="cpu")
    tensor = torch.as_tensor(values.sizes, device="cpu")
    if not torch.compiler.is_compiling():
        tensor.groups = values  # they are checked already
    return tensor
