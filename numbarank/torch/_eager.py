"""Eager calls: which tensors need nothing but autograd, and gradients that are at hand already."""

import math

from torch import Tensor, is_autocast_enabled, nn
from torch._C import _are_functorch_transforms_active, _is_tracing, _len_torch_dispatch_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.overrides import has_torch_function

_TYPES, MARGINS = frozenset((Tensor, nn.Parameter)), frozenset((float, int))


def require_gradient(tensors):
    for tensor in tensors:  # noqa: SIM110 (any() of a generator takes three times as long)
        if getattr(tensor, "requires_grad", False):
            return True
    return False


def are_plain(tensors):
    """Tell whether tensors are ordinary ones in host memory, and nothing but autograd has to see what is called."""
    for tensor in tensors:
        if tensor is not None and not (type(tensor) in _TYPES and tensor.is_cpu):
            return False
    return not (is_autocast_enabled("cpu") or _are_calls_seen(tensors))


def is_plain_gradient(upstream):
    """Tell the same of the upstream gradient of a loss in host memory, where autograd has it; no graph is compiled."""
    return type(upstream) is Tensor and not (is_compiling() or _are_calls_seen((upstream,)))


def _are_calls_seen(tensors):
    """Tell whether torch shows what is called on tensors to modes, transforms, forward mode or a trace."""
    return (
        has_torch_function(tensors)  # true of a mode, too
        or _len_torch_dispatch_stack()
        or _are_functorch_transforms_active()
        or _is_tracing()
        or forward_ad._current_level >= 0
    )


def scaled(gradients, upstream):
    """Return gradients times the upstream gradient, in their own memory; None where they have to be computed again.

    Those are the cases in which a product is not what comes of an upstream gradient from the start: NaN and infinity do
    not reach pairs that are not active, and half types have lost too much.
    """
    if gradients is None or (factor := upstream.item()) == 1:
        return gradients
    if not math.isfinite(factor) or any(gradient.dtype.itemsize == 2 for gradient in gradients):
        return None
    return [gradient.mul_(upstream) for gradient in gradients]
