"""The loss of retrieval as a function that autograd knows."""

import types

import torch
from torch import Tensor, is_autocast_enabled

import numbarank
from numbarank.torch._eager import require_gradient, scaled
from numbarank.torch._memory import array_of, refuse_gradients, tensor_of, upstream_of


class _Retrieval(torch.autograd.Function):
    """The loss of retrieval, from the memory of tensors; ``constants`` are those without gradients."""

    @staticmethod
    def forward(ctx, queries, items, bias, constants, settings, is_differentiated):
        ctx.save_for_backward(queries, items, bias, *constants)
        ctx.settings = settings
        arguments = _retrieval_arguments(queries, items, bias, settings)
        if not is_differentiated or settings["reduction"] == "none":
            return tensor_of(numbarank.retrieval_hinge_loss(**arguments))
        loss, gradients = numbarank.retrieval_hinge_loss_and_grad(**arguments)
        ctx.gradients = _needed(ctx, gradients)
        return tensor_of(loss)

    @staticmethod
    def backward(ctx, upstream):
        inputs, upstream = ctx.saved_tensors[:3], upstream.detach()
        gradients = scaled(vars(ctx).pop("gradients", None), upstream)
        if gradients is None:
            call, arguments = numbarank.retrieval_hinge_loss_and_grad, _retrieval_arguments(*inputs, ctx.settings)
            gradients = _needed(ctx, call(**arguments, gradient=upstream_of(upstream))[1])
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


def retrieval(queries, items, bias, settings):
    """Return the loss of retrieval; ``torch.compile`` breaks its graph here."""
    return (_outside_of_graphs if torch.compiler.is_compiling() else _checked)(queries, items, bias, settings)


def _checked(queries, items, bias, settings):
    tensors, weights = {"queries": queries, "items": items, "bias": bias}, settings["weights"]
    if isinstance(weights, Tensor):
        tensors["weights"] = weights
        refuse_gradients(weights=weights)
    for name, tensor in tensors.items():
        if tensor is not None or name in ("queries", "items"):
            tensors[name] = _in_host_memory(name, tensor)
    queries, items, bias, *constants = tensors.values()
    settings = settings | {"weights": array_of(constants[0]) if constants else weights}
    for name in ("positives", "exclude"):
        settings[name], parts = _index_parts(name, settings[name])
        constants += parts
    is_differentiated = torch.is_grad_enabled() and require_gradient((queries, items, bias))
    return _Retrieval.apply(queries, items, bias, constants, settings, is_differentiated)


_outside_of_graphs = torch._disable_dynamo(_checked)


def _retrieval_arguments(queries, items, bias, settings):
    tensors = {"queries": queries, "items": items, "bias": bias}
    return {name: None if x is None else array_of(x.detach()) for name, x in tensors.items()} | settings


def _needed(ctx, gradients):
    """Return the gradients that are needed as tensors; the others are not kept."""
    return [tensor_of(gradient) for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=False) if needed]


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
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        _refuse_device(name, value)
        if value.layout is not torch.sparse_csr:
            raise TypeError(
                f"{name} has the layout {value.layout}; it must be torch.sparse_csr: pass {name}.to_sparse_csr()"
            )
        parts, counts = (value.crow_indices(), value.col_indices()), _counts(name, value.detach().values()).numpy()
        return types.SimpleNamespace(indptr=parts[0], indices=parts[1], data=counts, shape=tuple(value.shape)), parts
    parts = enumerate(value) if isinstance(value, (tuple, list)) else ()
    tensors = {f"{name}[{k}]": part for k, part in parts if isinstance(part, Tensor)}
    for part, tensor in tensors.items():
        _refuse_device(part, tensor)
    return value, tensors.values()


def _counts(name, stored):
    """Return which stored numbers are above 0; raise ValueError where one is below 0 or NaN."""
    bad = ~(stored >= 0)
    if bad.any():
        place = int(bad.int().argmax())
        raise ValueError(
            f"{name}.values()[{place}] is {stored[place].item()}; entries above 0 count, those of 0 do not, and none "
            f"may be below 0 or NaN: set these to 0 with {name}.values().nan_to_num_().clamp_(min=0)"
        )
    return stored > 0
