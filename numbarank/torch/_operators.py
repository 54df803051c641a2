"""Losses of scores as operators of torch.library, and around them for eager calls."""

import functools

import numpy as np
import torch

import numbarank
from numbarank.torch._eager import MARGINS, are_plain, require_gradient, scaled
from numbarank.torch._memory import array_of, empty_gradient, gradient_dtype, tensor_of, upstream_of

_DEVICES = ("cpu", "cuda")


class _NotPlainError(Exception):
    """Tensors that looked plain are not."""


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
                *tensors, ctx.settings, ctx.is_plain = inputs
                ctx.save_for_backward(*tensors)
                inputs = (*tensors, *ctx.settings)
                if not ctx.is_plain:
                    return self.operator(*inputs)
                arguments = self._plain_arguments(inputs)
                if inputs[-1] == "none":  # the gradients are those of each loss, which come later
                    return self._loss(arguments)
                loss, gradients = self.loss_and_gradients(arguments, self.count(ctx.needs_input_grad))
                ctx.gradients = [*map(tensor_of, gradients)]
                return tensor_of(loss)

            backward = staticmethod(self._go_backward)

        self.apply = Function.apply
        # what Function.apply calls after a look at functorch, which plain tensors have nothing to do with
        self.apply_to_plain = super(torch.autograd.Function, Function).apply

    def __call__(self, *inputs):
        if torch.compiler.is_compiling():
            return self.operator(*inputs)
        count = self.tensors
        while inputs[count - 1] is None:  # autograd takes time for each
            count -= 1
        tensors = inputs[:count]
        if are_plain(tensors) and type(inputs[self.tensors]) in MARGINS:
            try:
                if torch.is_grad_enabled() and require_gradient(tensors):
                    return self.apply_to_plain(*tensors, inputs[count:], True)
                return self._loss(self._plain_arguments(inputs))
            except _NotPlainError:
                pass
        return self.apply(*tensors, inputs[count:], False)

    @staticmethod
    def _define(name, schema, kernel, fake):
        # no custom_op: that would put more of Python into each call
        torch.library.define(f"numbarank::{name}", schema, tags=torch.Tag.pt2_compliant_tag)
        torch.library.impl(f"numbarank::{name}", _DEVICES, kernel)
        torch.library.register_fake(f"numbarank::{name}", fake)
        return getattr(torch.ops.numbarank, name).default

    def _plain_arguments(self, inputs):
        """Return the arguments of numbarank; raise _NotPlainError where memory does not hold the values as they are."""
        try:
            return self.arguments(*inputs)
        except (RuntimeError, TypeError) as error:
            raise _NotPlainError from error

    def _loss(self, arguments):
        return tensor_of(self.function(**arguments))

    def _values(self, *inputs):
        return self._loss(self.arguments(*inputs))

    def _gradients(self, upstream, *inputs):
        """Return the gradients by the first ``count`` inputs; count is the last of the inputs."""
        out = self._empty_gradients(upstream, *inputs) if upstream.is_cuda else None
        arguments, count = self.arguments(*inputs[:-1]), inputs[-1]
        _, gradients = self.loss_and_gradients(arguments, count, upstream_of(upstream), out and [*map(array_of, out)])
        return out or [*map(tensor_of, gradients)]

    def _empty_gradients(self, upstream, *inputs):
        return [empty_gradient(tensor) for tensor in inputs[: inputs[-1]]]

    def _keep(self, ctx, inputs, output):
        ctx.save_for_backward(*inputs[: self.tensors])
        ctx.settings = inputs[self.tensors :]

    def _go_backward(self, ctx, upstream):
        tensors, gradients, needed = ctx.saved_tensors, None, ctx.needs_input_grad  # refuses what changed since
        compute = self.gradient_operator
        if torch.is_grad_enabled():
            gradients = self.differentiable_gradients(upstream, *tensors, *ctx.settings)
        elif getattr(ctx, "is_plain", False) and are_plain((upstream,)) and not torch.compiler.is_compiling():
            gradients, compute = scaled(vars(ctx).pop("gradients", None), upstream), self._gradients
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
            margin = array_of(margins) if margins.dim() else margins.item()
        return {
            "input1": array_of(input1),
            "input2": array_of(input2),
            "target": array_of(target),
            "margin": margin,
            "weights": None if weights is None else array_of(weights),
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
        dtype = functools.reduce(torch.promote_types, map(gradient_dtype, promoting))
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
        arguments = {name: array_of(tensor) for name, tensor in tensors.items()} | settings
        if hasattr(group, "groups"):
            arguments["group"] = group.groups
        return arguments

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

    def loss_and_gradients(self, arguments, count, gradient=1.0, out=None):
        call = numbarank.pairwise_hinge_loss_and_grad
        loss, *gradients = call(**arguments, gradient=gradient, out=out and out[0])
        return loss, gradients

    def _refuse_second_derivative(self, ctx, upstream):
        raise RuntimeError(
            "the gradient of pairwise_hinge_loss cannot be differentiated; that of margin_ranking_loss can: leave "
            "pairwise_hinge_loss out of what goes backward twice"
        )


margin_ranking, pairwise_hinge = _MarginRanking(), _PairwiseHinge()
