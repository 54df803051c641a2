"""Numbarank and its peers, each in its own best way of computing a margin ranking loss and its gradients.

An implementation is made for one :class:`Setting`. Its ``forward`` and ``gradients`` take :class:`Pairs` and return a
call without arguments: to time it is to time the loss alone, on arrays that are where the implementation wants them.
"""

import functools
import importlib

import numba
import numpy as np

import numbarank as nr

from .pairs import MARGIN
from .timing import event_clock

OURS = "numbarank"
OUT = "numbarank out="
TENSOR = "numbarank Tensor"


class Implementation:
    """What numbarank and the peers share; ``clock`` times their calls, None being the host's."""

    devices = ("cpu",)
    clock = None

    def __init__(self, setting):
        self.setting = setting
        if setting.device not in self.devices:
            raise RuntimeError(f"runs on {' and '.join(self.devices)} only")

    def mean_loss(self, result):
        """Return the mean of the losses that a call returned, to tell whether all implementations compute the same."""
        while isinstance(result, tuple):
            result = result[0]
        return float(np.mean(self.to_host(result), dtype=np.float64))

    def to_host(self, loss):
        """Return a loss as an array of float64."""
        return np.asarray(loss).astype(np.float64)


class Numbarank(Implementation):
    """The public functions."""

    devices = ("cpu", "cuda")

    def __init__(self, setting):
        super().__init__(setting)
        self.clock = event_clock if setting.device == "cuda" else None
        self._options = {"margin": MARGIN, "reduction": setting.reduction}

    def forward(self, pairs):
        """Return a call of ``margin_ranking_loss``."""
        return functools.partial(nr.margin_ranking_loss, *self._inputs(pairs), **self._options)

    def gradients(self, pairs):
        """Return a call of ``margin_ranking_loss_and_grad`` that allocates what it returns."""
        return functools.partial(nr.margin_ranking_loss_and_grad, *self._inputs(pairs), **self._options)

    def to_host(self, loss):
        return super().to_host(nr.Tensor(loss).detach().cpu())

    def _inputs(self, pairs):
        return [self._on_device(x) for x in (pairs.x1, pairs.x2, pairs.y)]

    def _on_device(self, x):
        if self.setting.device == "cpu" or not isinstance(x, np.ndarray):
            return x
        return nr.tensor(x, device=self.setting.device).data


class NumbarankOut(Numbarank):
    """The public functions with buffers at hand, for 'none' losses or for gradients."""

    def forward(self, pairs):
        x1, x2, y = self._inputs(pairs)
        out = nr.tensor(x1).data if self.setting.reduction == "none" else None
        return functools.partial(nr.margin_ranking_loss, x1, x2, y, **self._options, out=out)

    def gradients(self, pairs):
        x1, x2, y = self._inputs(pairs)
        out = [nr.tensor(x).data for x in (x1, x2)]
        return functools.partial(nr.margin_ranking_loss_and_grad, x1, x2, y, **self._options, out=out)


class NumbarankTensor(Numbarank):
    """Forward with Tensors, then ``backward()``."""

    def gradients(self, pairs):
        x1, x2, y = self._inputs(pairs)
        x1, x2 = nr.Tensor(x1, requires_grad=True), nr.Tensor(x2, requires_grad=True)
        upstream = np.ones(x1.shape, x1.dtype) if self.setting.reduction == "none" else None

        def forward_and_backward():
            x1.grad = x2.grad = None
            loss = nr.margin_ranking_loss(x1, x2, y, **self._options)
            loss.backward(upstream)
            return loss

        return forward_and_backward


class NumPy(Implementation):
    """The formula written out in NumPy."""

    def forward(self, pairs):
        """Return a call of the loss."""
        x1, x2, y = pairs.x1, pairs.x2, pairs.y
        return lambda: self._reduced(np.maximum(-y * (x1 - x2) + MARGIN, 0))

    def gradients(self, pairs):
        """Return a call of the loss and its gradients."""
        x1, x2, y = pairs.x1, pairs.x2, pairs.y
        scale = x1.dtype.type(self._scale(x1.size))

        def loss_and_gradients():
            z = -y * (x1 - x2) + MARGIN
            by_x1 = np.where(z >= 0, -y * scale, x1.dtype.type(0))
            return self._reduced(np.maximum(z, 0)), by_x1, -by_x1

        return loss_and_gradients

    def _reduced(self, losses):
        return losses if self.setting.reduction == "none" else getattr(losses, self.setting.reduction)()

    def _scale(self, size):
        return 1 / size if self.setting.reduction == "mean" else 1


class NumExpr(NumPy):
    """The formula as numexpr's compiled expressions; summing their result is faster than its own ``sum()``."""

    def __init__(self, setting):
        super().__init__(setting)
        if setting.dtype not in ("float32", "float64"):
            raise RuntimeError(f"has no {setting.dtype}")
        self._module = importlib.import_module("numexpr")
        self._module.set_num_threads(numba.get_num_threads())

    def forward(self, pairs):
        names = self._names(pairs)
        return lambda: self._reduced(self._losses(names))

    def gradients(self, pairs):
        names = self._names(pairs)

        def loss_and_gradients():
            losses = self._losses(names)
            by_x1 = self._module.evaluate("where(m - y * (a - b) >= zero, -y * scale, zero)", names)
            return self._reduced(losses), by_x1, -by_x1

        return loss_and_gradients

    def _losses(self, names):
        return self._module.evaluate("where(m - y * (a - b) < zero, zero, m - y * (a - b))", names)

    def _names(self, pairs):
        number = pairs.x1.dtype.type
        y = pairs.y if isinstance(pairs.y, np.ndarray) else number(pairs.y)
        constants = {"m": number(MARGIN), "zero": number(0), "scale": number(self._scale(pairs.x1.size))}
        return {"a": pairs.x1, "b": pairs.x2, "y": y, **constants}


class Torch(Implementation):
    """``torch.nn.functional.margin_ranking_loss``, eager; gradients into the ``.grad`` of two leaves."""

    devices = ("cpu", "cuda")

    def __init__(self, setting):
        super().__init__(setting)
        self._torch = importlib.import_module("torch")
        self._torch.set_num_threads(numba.get_num_threads())
        self.clock = event_clock if setting.device == "cuda" else None
        self._loss = self._torch.nn.functional.margin_ranking_loss

    def forward(self, pairs):
        """Return a call of the loss."""
        return functools.partial(
            self._loss, *self._tensors(pairs, requires_grad=False), margin=MARGIN, reduction=self.setting.reduction
        )

    def gradients(self, pairs):
        """Return a call of the loss and of ``backward()``."""
        x1, x2, y = self._tensors(pairs, requires_grad=True)
        reduction, loss_function = self.setting.reduction, self._loss
        upstream = self._torch.ones_like(x1).detach() if reduction == "none" else None

        def forward_and_backward():
            x1.grad = x2.grad = None
            loss = loss_function(x1, x2, y, margin=MARGIN, reduction=reduction)
            loss.backward(upstream)
            return loss

        return forward_and_backward

    def with_and_without_weights(self, pairs, weights):
        """Return calls of the mean loss and of ``backward()``: torch's own, and one that is weighted by hand."""
        x1, x2, y = self._tensors(pairs, requires_grad=True)
        weights, plain = self._tensor(weights), self.gradients(pairs)

        def weighted():
            x1.grad = x2.grad = None
            losses = self._loss(x1, x2, y, margin=MARGIN, reduction="none")
            ((weights * losses).sum() / weights.sum()).backward()

        return {"torch": plain, "torch weighted": weighted}

    def to_host(self, loss):
        return loss.detach().double().cpu().numpy()

    def _tensors(self, pairs, requires_grad):
        """Return the inputs as tensors; a scalar target as one element, since torch wants one of each rank."""
        y = pairs.y if isinstance(pairs.y, np.ndarray) else np.full(1, pairs.y, pairs.x1.dtype)
        x1, x2, y = (self._tensor(x) for x in (pairs.x1, pairs.x2, y))
        return x1.requires_grad_(requires_grad), x2.requires_grad_(requires_grad), y

    def _tensor(self, array):
        if array.dtype.name == "bfloat16":
            tensor = self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        else:
            tensor = self._torch.from_numpy(array)
        return tensor.to(self.setting.device)


class TorchCompile(Torch):
    """The same, through ``torch.compile`` for exactly these shapes."""

    def __init__(self, setting):
        super().__init__(setting)
        self._torch.compiler.reset()
        self._loss = self._torch.compile(self._loss, dynamic=False)


class Jax(Implementation):
    """``jax.jit`` of the formula and of its ``value_and_grad``, waiting for each result; arrays on the device."""

    devices = ("cpu", "cuda")

    def __init__(self, setting):
        super().__init__(setting)
        self._jax = importlib.import_module("jax")
        self._device = self._jax.devices(setting.device)[0]
        if setting.dtype == "float64":
            self._jax.config.update("jax_enable_x64", True)
        self._loss = self._jax.jit(self._formula)
        self._loss_and_gradients = self._jax.jit(self._pulled_back)

    def forward(self, pairs):
        """Return a call of the loss."""
        x1, x2, y = self._arrays(pairs)
        return lambda: self._loss(x1, x2, y).block_until_ready()

    def gradients(self, pairs):
        """Return a call of the loss and its gradients."""
        x1, x2, y = self._arrays(pairs)

        def loss_and_gradients():
            loss, (by_x1, by_x2) = self._loss_and_gradients(x1, x2, y)
            by_x1.block_until_ready()
            by_x2.block_until_ready()
            return loss.block_until_ready(), by_x1, by_x2

        return loss_and_gradients

    def _formula(self, x1, x2, y):
        z = -y * (x1 - x2) + MARGIN
        losses = self._jax.numpy.where(z < 0, 0, z)
        return losses if self.setting.reduction == "none" else getattr(losses, self.setting.reduction)()

    def _pulled_back(self, x1, x2, y):
        """Return loss and gradients; this is ``value_and_grad``, for a loss of any shape."""
        loss, pull_back = self._jax.vjp(lambda x1, x2: self._formula(x1, x2, y), x1, x2)
        return loss, pull_back(self._jax.numpy.ones_like(loss))

    def _arrays(self, pairs):
        return [self._jax.device_put(x, self._device) for x in (pairs.x1, pairs.x2, pairs.y)]


IMPLEMENTATIONS = {
    OURS: Numbarank,
    OUT: NumbarankOut,
    TENSOR: NumbarankTensor,
    "numpy": NumPy,
    "torch": Torch,
    "torch.compile": TorchCompile,
    "jax": Jax,
    "numexpr": NumExpr,
}
PEERS = tuple(IMPLEMENTATIONS)[3:]
