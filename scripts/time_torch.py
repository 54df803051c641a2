"""Time the loss of numbarank.torch, forward and with backward, side by side with PyTorch's own on the CPU.

Every ratio is one of times that were taken in turns in one process, on the same float32 tensors.
"""

import functools

import numba
import torch
from bench.goals import VERDICTS, Goal
from bench.harness import Benchmark, Line
from bench.tables import Number, counted

import numbarank.torch

OURS, TORCH = "numbarank.torch", "torch"
LOSSES = {OURS: numbarank.torch.margin_ranking_loss, TORCH: torch.nn.functional.margin_ranking_loss}
SIZES = [1, 1000, 10_000, 100_000, 1_000_000, 4_000_000]
FORWARD_SIZES = [1, 1000, 10_000, 100_000]
FLOOR_SIZES = SIZES[:3]
MARGIN = 0.2
HEADER = ("pairs", "passes", TORCH, OURS, "goal", "measured", "reached")
WIDTHS = (16, 33, 9, 15, 36, 8, 7)
AT_MOST, AS_FAST = "{} of torch's time", "{} times as fast as torch"
GOALS = {1: (AT_MOST, 0.8), 1000: (AT_MOST, 0.8), 10_000: (AT_MOST, 0.5)}
GOALS |= {100_000: (AS_FAST, 4), 1_000_000: (AS_FAST, 8), 4_000_000: (AS_FAST, 12)}
FORWARD_GOALS = {1: (AT_MOST, 1), 100_000: (AS_FAST, 2)}

benchmark = Benchmark(__doc__, "times", HEADER, WIDTHS)


@benchmark.row("sizes")
def sizes(sweep):
    torch.set_num_threads(numba.get_num_threads())
    for size in SIZES[:3] if sweep.options.quick else SIZES:
        calls = {name: training_step(loss, size) for name, loss in LOSSES.items()}
        yield line(sweep, "forward and backward", size, calls, GOALS[size])


@benchmark.row("forward")
def forward(sweep):
    torch.set_num_threads(numba.get_num_threads())
    for size in FORWARD_SIZES[:3] if sweep.options.quick else FORWARD_SIZES:
        calls = {name: functools.partial(loss, *pairs(size), margin=MARGIN) for name, loss in LOSSES.items()}
        yield line(sweep, "forward, no gradient", size, calls, FORWARD_GOALS.get(size))


@benchmark.row("floor")
def floor(sweep):
    """Compare torch with a function of autograd's that computes nothing, and with numbarank on the arrays."""
    torch.set_num_threads(numba.get_num_threads())
    for size in FLOOR_SIZES:
        step = training_step(LOSSES[TORCH], size)
        parts = {
            "a function that computes nothing": training_step(nothing, size),
            "numbarank on the arrays": on_arrays(size),
        }
        for words, part in parts.items():
            yield line(sweep, words, size, {OURS: part, TORCH: step}, None)


class Nothing(torch.autograd.Function):
    """A loss and gradients that are not computed."""

    @staticmethod
    def forward(ctx, input1, input2, target):
        ctx.save_for_backward(input1, input2, target)
        ctx.gradients = torch.empty_like(input1), torch.empty_like(input2), None
        return torch.empty(())

    @staticmethod
    def backward(ctx, upstream):
        return ctx.gradients if ctx.saved_tensors else None


def nothing(input1, input2, target, margin):
    return Nothing.apply(input1, input2, target)


def on_arrays(size):
    """Return a call that computes the loss and the gradients of random pairs in NumPy's arrays."""
    arrays = [tensor.numpy() for tensor in pairs(size)]
    return functools.partial(numbarank.margin_ranking_loss_and_grad, *arrays, margin=MARGIN)


def line(sweep, passes, size, calls, target):
    """Return the line of a size: the medians, and how they compare with the goal."""
    times = sweep.compare(passes, size, calls)
    ours, torchs = times[OURS].median, times[TORCH].median
    cells = counted(size), passes, Number(torchs, is_seconds=True), Number(ours, is_seconds=True)
    if target is None:
        return Line((*cells, "-", Number(ours / torchs), "-"))
    words, limit = target
    at_least = words is AS_FAST
    goal = Goal(f"{counted(size)}, {passes}", words, limit, torchs / ours if at_least else ours / torchs, at_least)
    return Line((*cells, goal.target, goal.shown, VERDICTS[goal.reached]), goal)


def pairs(size):
    """Return random float32 scores, and targets of 1 and -1."""
    generator = torch.Generator().manual_seed(0)
    x1, x2, y = (torch.randn(size, generator=generator) for _ in range(3))
    return x1, x2, y.sign_()


def training_step(loss, size):
    """Return a call that computes the mean loss of random pairs and the gradients of their scores."""
    x1, x2, y = pairs(size)
    x1.requires_grad_(), x2.requires_grad_()

    def step():
        x1.grad = x2.grad = None
        loss(x1, x2, y, margin=MARGIN).backward()

    return step


if __name__ == "__main__":
    benchmark.main()
