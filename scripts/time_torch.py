"""Time the loss of numbarank.torch, forward and backward, side by side with PyTorch's own on the CPU.

Every ratio is one of times that were taken in turns in one process, on the same float32 tensors.
"""

import numba
import torch
from bench.goals import VERDICTS, Goal
from bench.harness import Benchmark, Line
from bench.tables import counted, seconds

import numbarank.torch

OURS, TORCH = "numbarank.torch", "torch"
LOSSES = {OURS: numbarank.torch.margin_ranking_loss, TORCH: torch.nn.functional.margin_ranking_loss}
SIZES = [1, 1000, 10_000, 100_000, 1_000_000]
MARGIN = 0.2
HEADER, WIDTHS = ("pairs", TORCH, OURS, "goal", "measured", "reached"), (16, 9, 15, 36, 8, 7)

benchmark = Benchmark(__doc__, "times", HEADER, WIDTHS)


@benchmark.row("sizes")
def sizes(sweep):
    torch.set_num_threads(numba.get_num_threads())
    for size in SIZES[:3] if sweep.options.quick else SIZES:
        calls = {name: training_step(loss, size) for name, loss in LOSSES.items()}
        times = sweep.compare("forward and backward", size, calls)
        ours, torchs = times[OURS].median, times[TORCH].median
        goal = goal_of(size, torchs / ours)
        cells = counted(size), seconds(torchs), seconds(ours), goal.target, goal.shown, VERDICTS[goal.reached]
        yield Line(cells, goal)


def training_step(loss, size):
    """Return a call that computes the mean loss of random pairs and the gradients of their scores."""
    generator = torch.Generator().manual_seed(0)
    x1, x2, y = (torch.randn(size, generator=generator) for _ in range(3))
    x1.requires_grad_(), x2.requires_grad_(), y.sign_()

    def step():
        x1.grad = x2.grad = None
        loss(x1, x2, y, margin=MARGIN).backward()

    return step


def goal_of(size, ratio):
    """Return the goal for a number of pairs: many times as fast for many, a bearable cost of the call for few."""
    if size <= 10_000:
        return Goal(counted(size), "{} of torch's time", 2, 1 / ratio, at_least=False)
    return Goal(counted(size), "{} times as fast as torch", 4 if size >= 1_000_000 else 2.5, ratio, at_least=True)


if __name__ == "__main__":
    benchmark.main()
