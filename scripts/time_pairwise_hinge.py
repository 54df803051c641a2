"""Time the loss of all pairs of query groups, with its gradient, side by side with what array libraries do.

They write all pairs of a list out: PyTorch here as a matrix of the score differences, and rax under jax.jit likewise.
numbarank sorts, or walks over the pairs where they are few. Every number is a ratio of times that were taken in turns
in one process.
"""

import argparse
import functools
import importlib
import json
import sys
from pathlib import Path

import numba
import numpy as np
from environment import described, environment
from goals import Goal, ratio
from memory_probe import extra_bytes
from pictures import draw_over_length
from races import Races
from tables import GOAL_HEADER, LISTS, aligned, goal_cells, markdown, put_between_markers

import numbarank as nr

OURS, TORCH, RAX, SORT = "numbarank", "torch, n x n", "rax, jit", "np.argsort"
LEVELS = 5
MANY_LEVELS = "numbarank, all labels distinct"
LONGEST = {TORCH: 10_000, RAX: 10_000}
ROWS = {}


class Lists:
    """Random float32 scores of groups of given lengths, with graded labels, or distinct ones where levels is None."""

    def __init__(self, lengths, levels=LEVELS, seed=0):
        rng = np.random.default_rng(seed)
        self.lengths = np.asarray(lengths)
        self.scores = rng.standard_normal(self.lengths.sum(), np.float32)
        size = self.scores.size
        labels = rng.permutation(size) if levels is None else rng.integers(levels, size=size)
        self.labels = labels.astype(np.float32)
        self.groups = nr.Groups(group=self.lengths)

    def padded(self):
        """Return scores, labels and a mask of shape (groups, longest)."""
        where = np.arange(self.lengths.max()) < self.lengths[:, None]
        scores, labels = np.zeros(where.shape, np.float32), np.zeros(where.shape, np.float32)
        scores[where], labels[where] = self.scores, self.labels
        return scores, labels, where


def ours(lists):
    """Return a call of the public function."""
    return functools.partial(
        nr.pairwise_hinge_loss_and_grad, lists.scores, lists.labels, group=lists.groups, reduction="sum"
    )


def with_threads(count, call):
    """Return a call that takes a number of threads."""

    def on_threads():
        before = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            return call()
        finally:
            numba.set_num_threads(before)

    return on_threads


def torch_matrix(lists):
    """Return a call that sums over the matrices of all score differences, and goes backward."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(numba.get_num_threads())
    scores, labels, where = map(torch.from_numpy, lists.padded())
    scores.requires_grad_()
    above = (labels[:, :, None] > labels[:, None, :]) & where[:, :, None] & where[:, None, :]

    def forward_and_backward():
        scores.grad = None
        losses = torch.relu(1 - (scores[:, :, None] - scores[:, None, :]))
        loss = torch.where(above, losses, 0).sum()
        loss.backward()
        return loss

    return forward_and_backward


def rax_jit(lists):
    """Return a call of rax's loss and its gradient on padded lists."""
    jax, rax = importlib.import_module("jax"), importlib.import_module("rax")
    scores, labels, where = map(jax.numpy.asarray, lists.padded())
    compiled = jax.jit(
        jax.value_and_grad(lambda s: rax.pairwise_hinge_loss(s, labels, where=where, reduce_fn=jax.numpy.sum))
    )
    return lambda: jax.block_until_ready(compiled(scores))


PEERS = {TORCH: torch_matrix, RAX: rax_jit}


def row(measure):
    """Register a function that measures goals."""
    ROWS[measure.__name__.replace("_", "-")] = measure
    return measure


class Measurements:
    """Runs the comparisons; ``shrink`` divides the sizes for a quick look."""

    def __init__(self, races, shrink):
        self.races = races
        self.shrink = shrink

    def size(self, items):
        """Return a row's number of items."""
        return max(20, items // self.shrink)

    def against_peers(self, lists, limits, label):
        """Yield how many times as fast as each peer numbarank is."""
        calls = {OURS: ours(lists)}
        for name in limits:
            if contestant := self.peer(name, lists):
                calls[name] = contestant
        times = self.races.compare(label, lists.scores.size, calls)
        for name, limit in limits.items():
            yield Goal(label, f"{{}} times as fast as {name}", limit, ratio(times, name, OURS), at_least=True)

    def peer(self, name, lists):
        """Return a peer's call, or None where it is not installed."""
        try:
            return PEERS[name](lists)
        except ModuleNotFoundError as error:
            self.races.left_out[name] = f"{error.name} is not installed"

    def threads(self, lists, label, limit):
        """Yield how many times as fast two threads are as one."""
        if numba.config.NUMBA_NUM_THREADS < 2:
            return
        calls = {f"{count} threads": with_threads(count, ours(lists)) for count in (1, 2)}
        times = self.races.compare(label, lists.scores.size, calls)
        yield Goal(label, "{} times as fast on 2 threads as on 1", limit, ratio(times, "1 threads", "2 threads"), True)


@row
def thousand(measure):
    size = measure.size(1000)
    yield from measure.against_peers(Lists([size] * 8), {TORCH: 100, RAX: 20}, f"8 lists of {size:,}")


@row
def ten_thousand(measure):
    size = measure.size(10_000)
    yield from measure.against_peers(Lists([size]), {TORCH: 1000}, f"1 list of {size:,}")


@row
def million(measure):
    """Compare one long list with the sort of its scores alone."""
    size = measure.size(1_000_000)
    for levels, limit, words in ((LEVELS, 6, f"{LEVELS} levels"), (None, 20, "all labels distinct")):
        lists = Lists([size], levels)
        label = f"1 list of {size:,}, {words}"
        times = measure.races.compare(
            label, size, {OURS: ours(lists), SORT: functools.partial(np.argsort, lists.scores)}
        )
        yield Goal(label, "{} of np.argsort's time", limit, ratio(times, OURS, SORT), at_least=False)


@row
def web_search(measure):
    """Compare lists as long as those of the MSLR-WEB data with padded ones."""
    lengths = np.random.default_rng(1).multinomial(measure.size(5000), np.full(43, 1 / 43))
    yield from measure.against_peers(Lists(lengths), {RAX: 10}, f"{lengths.size} lists, {lengths.sum():,} documents")


@row
def threads(measure):
    queries = measure.size(10_000)
    lists = Lists([100] * queries)
    yield from measure.threads(lists, f"{queries:,} lists of 100", 1.7)
    long = measure.size(500_000)
    lists = Lists([long] + [100] * (long // 200))
    yield from measure.threads(lists, f"1 list of {long:,} and {long // 200:,} of 100", 1.4)


@row
def memory(measure):
    size = measure.size(1_000_000)
    for levels, words in ((LEVELS, f"{LEVELS} levels"), (None, "all labels distinct")):
        octets = extra_bytes(ours(Lists([size], levels))) / size
        yield Goal(f"extra memory, 1 list of {size:,}, {words}", "{} bytes an item", 40, octets, at_least=False)


def sweep(measure, lengths):
    """Time everybody over the length of one list; return seconds by name and length."""
    seconds = {}
    for length in lengths:
        lists, distinct = Lists([length]), Lists([length], levels=None)
        calls = {OURS: ours(lists), MANY_LEVELS: ours(distinct), SORT: functools.partial(np.argsort, lists.scores)}
        for name, longest in LONGEST.items():
            if length <= longest and (contestant := measure.peer(name, lists)):
                calls[name] = contestant
        for name, times in measure.races.compare("one list", length, calls).items():
            seconds.setdefault(name, {})[length] = times.median
            print(f"{length:>10,}  {name:<34}{times.median * 1e6:>14,.1f} µs", flush=True)
    return seconds


def main():
    options = parse_arguments()
    races = Races((), options.seconds) if not options.quick else Races((), 0.05, 0.001, 2)
    measure = Measurements(races, 1000 if options.quick else 1)
    where = environment("cpu")
    description = f"{described(where)}; float32"
    print(f"{description}\n\n{aligned(GOAL_HEADER)}")
    reached = []
    for name in options.rows:
        for goal in ROWS[name](measure):
            print(aligned(goal_cells(goal)), flush=True)
            reached.append(goal)
    for name, reason in races.left_out.items():
        print(f"left out: {name}: {reason}")
    if options.plot:
        draw_over_length(
            sweep(measure, [10**k for k in range(1, 4 if options.quick else 7)]), options.plot, description
        )
    if options.markdown:
        put_between_markers(options.markdown, markdown(reached, description), LISTS)
    if options.json:
        record = {**where, "goals": [goal.as_dict() for goal in reached], "rows": races.rows}
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS), help=f"of {','.join(ROWS)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each comparison takes (default 3)")
    parser.add_argument("--quick", action="store_true", help="small and short: to try the script, no figures")
    parser.add_argument("--json", metavar="FILE", help="write every comparison and goal")
    parser.add_argument("--plot", metavar="FILE", help="draw the time over the length of a list")
    parser.add_argument("--markdown", metavar="FILE", help="put the goals' table between the markers of this document")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"--rows: unknown: {', '.join(unknown)}; known: {', '.join(ROWS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
