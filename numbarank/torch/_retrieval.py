"""The loss of retrieval as a function that autograd knows."""

import types

import torch
from torch import Tensor, is_autocast_enabled

import numbarank
from numbarank.torch._eager import require_gradient, scaled
from numbarank.torch._inputs import IDS, NUMBERS, as_tensors
from numbarank.torch._memory import array_of, refuse_gradients, tensor_of, upstream_of

_KINDS = dict.fromkeys(("queries", "items", "bias", "weights"), NUMBERS)
_ENTRIES = "a pair of index tensors, (queries, items), or a CSR matrix"


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
    weights, given = settings["weights"], (queries, items, bias)
    if isinstance(weights, (Tensor, int, float, list, tuple)):
        refuse_gradients(weights=weights)
        given += (weights,)
    queries, items, bias, *constants = map(_in_host_memory, _KINDS, as_tensors(given, _KINDS, scores=3, required=2))
    settings = settings | {"weights": array_of(constants[0]) if constants else weights}
    for name in ("positives", "exclude"):
        settings[name], parts = _index_parts(name, settings[name], tuple(queries.shape[:1] + items.shape[:1]))
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
    """Return a tensor as the loss of retrieval takes it, or raise TypeError; None stays None."""
    if tensor is None:
        return None
    _refuse_device(name, tensor)
    is_half = tensor.is_floating_point() and tensor.dtype.itemsize == 2
    return tensor.float() if is_half and is_autocast_enabled("cpu") else tensor.resolve_neg()


def _refuse_device(name, tensor):
    if not tensor.is_cpu:
        raise TypeError(f"{name} is on {tensor.device}; retrieval is computed in host memory: pass {name}.cpu()")


def _index_parts(name, value, table):
    """Return positives or what is excluded as numbarank takes them, and the tensors among their parts."""
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        _refuse_device(name, value)
        if value.layout is not torch.sparse_csr:
            raise TypeError(
                f"{name} has the layout {value.layout}; it must be torch.sparse_csr: pass {name}.to_sparse_csr()"
            )
        parts, counts = (value.crow_indices(), value.col_indices()), _counts(name, value.detach().values()).numpy()
        return types.SimpleNamespace(indptr=parts[0], indices=parts[1], data=counts, shape=tuple(value.shape)), parts
    if isinstance(value, Tensor):
        raise TypeError(
            f"{name} is a torch.Tensor; it must be {_ENTRIES}: pass {_entries_of_tensor(name, value, table)}"
        )
    parts = enumerate(value) if isinstance(value, (tuple, list)) else ()
    tensors = {f"{name}[{k}]": part for k, part in parts if isinstance(part, Tensor)}
    for part, tensor in tensors.items():
        _refuse_device(part, tensor)
        if tensor.dtype is torch.bool:
            raise TypeError(f"{part} has dtype bool; {name} must be {_ENTRIES}: pass mask.nonzero(as_tuple=True)")
        as_tensors((tensor,), {part: IDS}, scores=1, required=1)
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


def _entries_of_tensor(name, tensor, table):
    """Return the code that makes places in a table of a tensor that is a mask of it, or holds them."""
    holds_indices = tensor.dim() == 2 and 2 in tensor.shape and tensor.dtype in (torch.int32, torch.int64)
    if not holds_indices or tuple(tensor.shape) == table:
        mask = name if tensor.dtype is torch.bool else f"({name} > 0)"
        return f"{mask}.nonzero(as_tuple=True)"
    return f"{name}.unbind({1 if tensor.shape[1] == 2 else 0})"
