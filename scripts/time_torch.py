"""Time the loss of numbarank.torch, forward and backward, side by side with PyTorch's own on the CPU.

Every ratio is one of times that were taken in turns in one process, on the same float32 tensors.
"""

import argparse
import json
from pathlib import Path

import numba
import torch
from environment import described, environment
from goals import Goal
from races import Races
from tables import counted, put_between_markers, seconds, table

import numbarank.torch

OURS, TORCH = "numbarank.torch", "torch"
SIZES = [1, 1000, 10_000, 100_000, 1_000_000]
MARGIN = 0.2
HEADER = ("pairs", TORCH, OURS, "goal", "measured", "reached")


def training_step(loss, size):
    """Return a call that computes the mean loss of random pairs and the gradients of their scores."""
    generator = torch.Generator().manual_seed(0)
    x1, x2, y = (torch.randn(size, generator=generator) for _ in range(3))
    x1.requires_grad_(), x2.requires_grad_(), y.sign_()

    def step():
        x1.grad = x2.grad = None
        loss(x1, x2, y, margin=MARGIN).backward()

    return step


def measure(races, size):
    """Race both and return a row of the table, and the goal in it."""
    losses = {OURS: numbarank.torch.margin_ranking_loss, TORCH: torch.nn.functional.margin_ranking_loss}
    calls = {name: training_step(loss, size) for name, loss in losses.items()}
    times = races.compare("forward and backward", size, calls)
    ours, torchs = times[OURS].median, times[TORCH].median
    goal = goal_of(size, torchs / ours)
    reached = {True: "yes", False: "no"}[goal.reached]
    return (counted(size), seconds(torchs), seconds(ours), goal.target, goal.shown, reached), goal


def goal_of(size, ratio):
    """Return the goal for a number of pairs: many times as fast for many, a bearable cost of the call for few."""
    if size <= 10_000:
        return Goal(counted(size), "{} of torch's time", 2, 1 / ratio, at_least=False)
    return Goal(counted(size), "{} times as fast as torch", 4 if size >= 1_000_000 else 2.5, ratio, at_least=True)


def main():
    options = parse_arguments()
    torch.set_num_threads(numba.get_num_threads())
    races = Races((), options.seconds) if not options.quick else Races((), 0.05, 0.001, 2)
    where = environment("cpu")
    print(f"{described(where)}\n")
    rows, goals = zip(*(measure(races, size) for size in (SIZES[:3] if options.quick else SIZES)), strict=True)
    print(table(HEADER, rows))
    if options.markdown:
        put_between_markers(options.markdown, f"{described(where)}\n\n{table(HEADER, rows)}", "times")
    if options.json:
        record = {**where, "goals": [goal.as_dict() for goal in goals], "rows": races.rows}
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each comparison takes (default 3)")
    parser.add_argument("--quick", action="store_true", help="few pairs and short: to try the script, no figures")
    parser.add_argument("--json", metavar="FILE", help="write every comparison and goal")
    parser.add_argument("--markdown", metavar="FILE", help="put the table between the markers of this document")
    return parser.parse_args()


if __name__ == "__main__":
    main()
