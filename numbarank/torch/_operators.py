"""Losses of scores as operators of torch.library, and around them for eager calls."""

from typing import ClassVar

import numpy as np
import torch

import numbarank
from numbarank.torch._eager import MARGINS, are_plain, is_plain_gradient, require_gradient, scaled
from numbarank.torch._inputs import IDS, LABELS, MASK, NUMBERS, SIGNED, as_tensors, check_one_device
from numbarank.torch._memory import (
    array_of,
    empty_gradient,
    gradient_dtype,
    promoted_dtype,
    tensor_of,
    upstream_of,
)

_DEVICES = ("cpu", "cuda")


class _Operator:
    """A loss as an operator of torch.library, a second one for its gradients, and what autograd makes of the two.

    A subclass names the loss and its inputs, in torch's words and tensors first, and calls numbarank with arrays
    in place of tensors. ``kinds`` has the dtypes that each tensor may have, by the name of its argument; the first
    ``scores`` are no numbers and lists, the first ``required`` are not left out.
    """

    name: str
    inputs: str
    kinds: ClassVar[dict]
    scores: int
    required: int

    def __init__(self):
        self.tensors = self.inputs.count("Tensor")
        self.names = [declared.split()[-1] for declared in self.inputs.split(", ")]
        self.place_of_margin = self.names.index("margin") - len(self.names)  # in settings, which hold the last inputs
        self.operator = self._define(self.name, f"({self.inputs}) -> Tensor", self._values, self._fake)
        schema = f"(Tensor upstream, {self.inputs}, int count) -> Tensor[]"
        self.gradient_operator = self._define(f"{self.name}_backward", schema, self._gradients, self._empty_gradients)
        torch.library.register_autograd(self.operator, self._go_backward, setup_context=self._keep)
        for device in _DEVICES:  # torch.amp has such losses computed in float32
            torch.library.register_autocast(self.operator, device, torch.float32)

        self.apply = self._function(self._go_forward, self._go_backward).apply
        of_plain = self._function(self._go_forward_from_plain, self._go_backward_to_plain)
        # what Function.apply calls after a look at functorch, which plain tensors have nothing to do with
        self.apply_to_plain = super(torch.autograd.Function, of_plain).apply

    def __call__(self, tensors, settings):
        """Return the loss; ``tensors`` are the first inputs, ``settings`` the rest: no tensor, but None for one."""
        if torch.compiler.is_compiling():
            tensors, settings = self.read(tensors, settings)
            return self.operator(*tensors, *settings)
        if not (are_plain(tensors) and type(settings[self.place_of_margin]) in MARGINS):
            return self._call_with_any(tensors, settings)
        try:
            return self._call_with_plain(tensors, settings)
        except (TypeError, ValueError, NotImplementedError, AttributeError):  # None lacks a tensor's attributes
            as_tensors(tensors, self.kinds, self.scores, self.required)  # its error, if any, is in torch's words
            raise

    def _call_with_plain(self, tensors, settings):
        if torch.is_grad_enabled() and require_gradient(tensors):
            return self.apply_to_plain(*tensors, settings)
        arrays = self._arrays_or_none(*tensors, *settings)
        return self.apply(*tensors, settings) if arrays is None else tensor_of(self.loss(*arrays))

    def _call_with_any(self, given, settings):
        tensors, settings = self.read(given, settings)
        self.check_devices(tensors)
        try:
            if are_plain(tensors) and type(settings[self.place_of_margin]) in MARGINS:
                return self._call_with_plain(tensors, settings)
            return self.apply(*tensors, settings)
        except ValueError as error:
            for name, value in zip(self.kinds, given, strict=False):
                if isinstance(value, (list, tuple)) and f"{name}.reshape" in str(error):
                    raise ValueError(f"{error}, after {name} = torch.as_tensor({name})") from None
            raise

    def read(self, tensors, settings):
        """Return the inputs as the operator takes them; raise an error in torch's words for those that it does not."""
        return as_tensors(tensors, self.kinds, self.scores, self.required), self.read_settings(*settings)

    def _fake(self, *inputs):
        self.check_devices(inputs[: self.tensors])
        return self.empty(*inputs)

    def _function(self, forward, backward):
        """Return what autograd makes of the two: quicker than register_autograd's, and it refuses forward mode."""
        passes = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        return type(self.name.title().replace("_", ""), (torch.autograd.Function,), passes)

    @staticmethod
    def _define(name, schema, kernel, fake):
        # no custom_op: that would put more of Python into each call
        torch.library.define(f"numbarank::{name}", schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(f"numbarank::{name}", _DEVICES, kernel)
        torch.library.register_fake(f"numbarank::{name}", fake)
        return getattr(torch.ops.numbarank, name).default

    def arrays(self, *inputs):
        """Return what ``loss`` takes: arrays in place of tensors."""
        return *map(array_of, inputs[: self.tensors]), *inputs[self.tensors :]

    def _arrays_or_none(self, *inputs):
        """Return what ``arrays`` does, or None where memory does not hold the values as they are."""
        try:
            return self.arrays(*inputs)
        except (RuntimeError, TypeError):
            return None

    def _values(self, *inputs):
        return tensor_of(self.loss(*self.arrays(*inputs)))

    def _gradients(self, upstream, *inputs):
        """Return the gradients by the first ``count`` inputs; count is the last of the inputs."""
        out = self._empty_gradients(upstream, *inputs) if upstream.is_cuda else None
        *inputs, count = inputs
        given = {"count": count, "gradient": upstream_of(upstream), "out": out and [*map(array_of, out)]}
        _, gradients = self.loss_and_gradients(*self.arrays(*inputs), **given)
        return out or [*map(tensor_of, gradients)]

    def _empty_gradients(self, upstream, *inputs):
        return [empty_gradient(tensor) for tensor in inputs[: inputs[-1]]]

    def _keep(self, ctx, inputs, output):
        ctx.save_for_backward(*inputs[: self.tensors])
        ctx.settings = inputs[self.tensors :]

    def _go_forward(self, ctx, *inputs):
        *tensors, ctx.settings = inputs
        ctx.save_for_backward(*tensors)
        return self.operator(*tensors, *ctx.settings)

    def _go_forward_from_plain(self, ctx, *inputs):
        *tensors, ctx.settings = inputs
        ctx.save_for_backward(*tensors)
        arrays = self._arrays_or_none(*tensors, *ctx.settings)
        ctx.has_arrays = arrays is not None
        if not ctx.has_arrays:
            return self.operator(*tensors, *ctx.settings)
        if ctx.settings[-1] == "none":  # the gradients are those of each loss, which come later
            return tensor_of(self.loss(*arrays))
        loss, gradients = self.loss_and_gradients(*arrays, count=self.count(ctx.needs_input_grad))
        ctx.gradients = [*map(tensor_of, gradients)]
        return tensor_of(loss)

    def _go_backward(self, ctx, upstream):
        inputs = *ctx.saved_tensors, *ctx.settings  # refuses what changed since
        gradients = self.differentiable_gradients(upstream, *inputs) if torch.is_grad_enabled() else None
        if gradients is None:
            gradients = self.gradient_operator(upstream, *inputs, self.count(ctx.needs_input_grad))
        return _with_none_for_others(ctx, gradients)

    def _go_backward_to_plain(self, ctx, upstream):
        if torch.is_grad_enabled() or not ctx.has_arrays or not is_plain_gradient(upstream):
            return self._go_backward(ctx, upstream)
        tensors = ctx.saved_tensors  # refuses what changed since
        kept = vars(ctx).pop("gradients", None)  # at once: of threads that go backward here, one may have them
        gradients = scaled(kept, upstream)
        if gradients is None:
            gradients = self._gradients(upstream, *tensors, *ctx.settings, self.count(ctx.needs_input_grad))
        return _with_none_for_others(ctx, gradients)

    def differentiable_gradients(self, upstream, *inputs):
        """Return gradients that have gradients themselves, or None where there are none."""
        return None


class _MarginRanking(_Operator):
    name = "margin_ranking_loss"
    inputs = (
        "Tensor input1, Tensor input2, Tensor target, Tensor? margins, Tensor? weights, float margin, str reduction"
    )
    kinds: ClassVar = {"input1": NUMBERS, "input2": NUMBERS, "target": SIGNED, "margin": NUMBERS, "weights": NUMBERS}
    scores, required = 2, 3

    def check_devices(self, tensors):
        """Raise ValueError for tensors on several devices; numbers in host memory fit every one."""
        named = enumerate(zip(self.kinds, tensors, strict=False))
        check_one_device({name: x for k, (name, x) in named if x is not None and (k < self.scores or x.dim())})

    def read_settings(self, *settings):
        """Return the settings as the operator takes them, or raise numbarank's error."""
        *tensors, margin, reduction = settings
        if not (isinstance(margin, (int, float)) and isinstance(reduction, str)):
            criterion = numbarank.MarginRankingLoss(margin, reduction=reduction)
            margin, reduction = criterion.margin, criterion.reduction
        return *tensors, margin, reduction

    def arrays(self, input1, input2, target, margins, weights, margin, reduction):
        if margins is not None:
            margin = array_of(margins) if margins.dim() else margins.item()
        weights = None if weights is None else array_of(weights)
        return array_of(input1), array_of(input2), array_of(target), margin, weights, reduction

    def loss(self, input1, input2, target, margin, weights, reduction):
        target = target if target.shape else _number_of(target)
        return numbarank.margin_ranking_loss(input1, input2, target, margin, reduction=reduction, weights=weights)

    def loss_and_gradients(self, input1, input2, target, margin, weights, reduction, count, gradient=1.0, out=None):
        target = target if target.shape or count == 3 else _number_of(target)
        return numbarank.margin_ranking_loss_and_grad(
            input1,
            input2,
            target,
            margin,
            reduction,
            gradient=gradient,
            weights=weights,
            out=out,
            target_grad=count == 3,
        )

    def empty(self, input1, input2, target, margins, weights, margin, reduction):
        """Return a tensor like the loss; refuse what numbarank refuses where there is data."""
        others = {"target": target, "margin": margins, "weights": weights}
        others = {name: tensor for name, tensor in others.items() if tensor is not None}
        fitting = [input1, input2, *(tensor for tensor in others.values() if tensor.dim())]
        if len({tensor.dim() for tensor in fitting}) > 1:
            tensors = {"input1": input1, "input2": input2} | others
            zeros = {name: np.broadcast_to(0.0, tuple(tensor.shape)) for name, tensor in tensors.items()}
            numbarank.margin_ranking_loss(**zeros)  # its error
        promoting = (input1, input2, target) if target.dim() and target.is_floating_point() else (input1, input2)
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in fitting)) if reduction == "none" else ()
        return input1.new_empty(shape, dtype=promoted_dtype(promoting))

    def count(self, needed):
        return 2 + needed[2]

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
    kinds: ClassVar = {"scores": NUMBERS, "labels": LABELS, "qid": IDS, "group": IDS, "where": MASK, "weights": LABELS}
    scores, required = 1, 2

    def check_devices(self, tensors):
        """Raise ValueError for tensors on several devices, and TypeError for ids and counts that are on one."""
        named = {name: x for name, x in zip(self.kinds, tensors, strict=True) if x is not None}
        for name in ("qid", "group"):
            ids = named.pop(name, None)
            if ids is not None and (ids.is_cuda or (ids.is_meta and not named["scores"].is_meta)):
                raise TypeError(f"{name} is on {ids.device}; it must be in host memory: pass {name}.cpu()") from None
        check_one_device(named)

    def read_settings(self, margin, power, losers, reduction):
        """Return the settings as the operator takes them, or raise numbarank's error."""
        if not (isinstance(margin, (int, float)) and isinstance(power, int) and isinstance(reduction, str)):
            criterion = numbarank.PairwiseHingeLoss(margin, power, reduction, losers)
            margin, power, reduction = criterion.margin, criterion.power, criterion.reduction
        return margin, power, losers, reduction

    def __init__(self):
        super().__init__()
        torch.library.register_autograd(self.gradient_operator, self._refuse_second_derivative)

    def arrays(self, scores, labels, qid, group, *others):
        scores, labels, qid, counts, *others = super().arrays(scores, labels, qid, group, *others)
        return scores, labels, qid, getattr(group, "groups", counts), *others

    def loss(self, *arrays):
        return numbarank.pairwise_hinge_loss(**dict(zip(self.names, arrays, strict=True)))

    def loss_and_gradients(self, *arrays, count, gradient=1.0, out=None):
        settings = dict(zip(self.names, arrays, strict=True), gradient=gradient, out=out and out[0])
        loss, *gradients = numbarank.pairwise_hinge_loss_and_grad(**settings)
        return loss, gradients

    def empty(self, scores, labels, qid, group, where, weights, margin, power, losers, reduction):
        shape = (self._count_groups(scores, qid, group),) if reduction == "none" else ()
        return scores.new_empty(shape, dtype=gradient_dtype(scores))

    def _count_groups(self, scores, qid, group):
        if scores.dim() == 2:
            return scores.shape[0]
        if group is not None:
            return group.shape[0]
        return 1 if qid is None else torch.library.get_ctx().new_dynamic_size()

    def count(self, needed):
        return 1

    def _refuse_second_derivative(self, ctx, upstream):
        raise RuntimeError(
            "the gradient of pairwise_hinge_loss cannot be differentiated; that of margin_ranking_loss can: leave "
            "pairwise_hinge_loss out of what goes backward twice"
        )


def _number_of(target):
    """Return a target without axes as a number, which needs no preparation; itself where that is not the same."""
    return target.item() if type(target) is np.ndarray and target.dtype.kind in "if" else target


def _with_none_for_others(ctx, gradients):
    """Return the gradients by the first inputs, and None for each other one."""
    return *gradients, *[None] * (len(ctx.needs_input_grad) - len(gradients))


margin_ranking, pairwise_hinge = _MarginRanking(), _PairwiseHinge()
