"""Time the loss of all pairs of query groups, with its gradient, side by side with what array libraries do.

They write all pairs of a list out: PyTorch here as a matrix of the score differences, and rax under jax.jit likewise.
numbarank sorts, or looks at every pair where there are few. Every number is a ratio of times that were taken in turns
in one process.
"""

import functools
import importlib

import numba
import numpy as np
from bench import plots
from bench.environment import PACKAGES
from bench.goals import Goal, ratio
from bench.harness import Benchmark
from bench.memory_probe import extra_bytes

import numbarank as nr

OURS, TORCH, RAX, SORT = "numbarank", "torch, n x n", "rax, jit", "np.argsort"
DISTINCT = "numbarank, all labels distinct"
LEVELS = 5
LONGEST = {TORCH: 10_000, RAX: 10_000}
LEVEL_COUNTS = {f"{LEVELS} levels": LEVELS, "all labels distinct": None}
STYLES = {
    OURS: plots.BLACK,
    DISTINCT: plots.BLACK | plots.DASHED,
    SORT: plots.LIGHT_CROSSES,
    TORCH: plots.GREY_SQUARES,
    RAX: plots.GREY_TRIANGLES | {"linestyle": "--"},
}


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


def installed(sweep, names, lists):
    """Return the calls of the peers that are installed, by name."""
    calls = {}
    for name in names:
        try:
            calls[name] = PEERS[name](lists)
        except ModuleNotFoundError as error:
            sweep.leave_out(name, error)
    return calls


def size(sweep, items):
    """Return a number of items, fewer if this is only to try the script."""
    return max(20, sweep.size(items))


def beside_peers(sweep, lists, limits, label):
    """Yield how many times as fast as each peer numbarank is."""
    times = sweep.compare(label, lists.scores.size, {OURS: ours(lists), **installed(sweep, limits, lists)})
    for name, limit in limits.items():
        yield Goal(label, f"{{}} times as fast as {name}", limit, ratio(times, name, OURS), at_least=True)


def on_two_threads(sweep, lists, label, limit):
    """Yield how many times as fast two threads are as one."""
    if numba.config.NUMBA_NUM_THREADS >= 2:
        calls = {f"{count} threads": with_threads(count, ours(lists)) for count in (1, 2)}
        times = sweep.compare(label, lists.scores.size, calls)
        measured = ratio(times, "1 threads", "2 threads")
        yield Goal(label, "{} times as fast on 2 threads as on 1", limit, measured, at_least=True)


def curves(sweep):
    """Time everybody over the length of one list, and print each time."""
    seconds = {}
    for length in [10**k for k in range(1, 4 if sweep.options.quick else 7)]:
        lists, distinct = Lists([length]), Lists([length], levels=None)
        peers = [name for name, longest in LONGEST.items() if length <= longest]
        calls = {OURS: ours(lists), DISTINCT: ours(distinct), SORT: functools.partial(np.argsort, lists.scores)}
        for name, times in sweep.compare("one list", length, calls | installed(sweep, peers, lists)).items():
            seconds.setdefault(name, {})[length] = times.median
            print(f"{length:>10,}  {name:<34}{times.median * 1e6:>14,.1f} µs", flush=True)
    return plots.Plot({"": seconds}, STYLES, "items in the list", "loss and gradient (s)")


benchmark = Benchmark(__doc__, "lists", packages=(*PACKAGES, "rax"), shrink=1000, curves=curves)


@benchmark.row("thousand")
def thousand(sweep):
    length = size(sweep, 1000)
    yield from beside_peers(sweep, Lists([length] * 8), {TORCH: 100, RAX: 70}, f"8 lists of {length:,}")


@benchmark.row("ten-thousand")
def ten_thousand(sweep):
    length = size(sweep, 10_000)
    yield from beside_peers(sweep, Lists([length]), {TORCH: 2000}, f"1 list of {length:,}")


@benchmark.row("million")
def million(sweep):
    """Compare one long list with the sort of its scores alone."""
    length = size(sweep, 1_000_000)
    for (words, levels), limit in zip(LEVEL_COUNTS.items(), (0.6, 2), strict=True):
        lists, label = Lists([length], levels), f"1 list of {length:,}, {words}"
        times = sweep.compare(label, length, {OURS: ours(lists), SORT: functools.partial(np.argsort, lists.scores)})
        yield Goal(label, "{} of np.argsort's time", limit, ratio(times, OURS, SORT), at_least=False)


@benchmark.row("web-search")
def web_search(sweep):
    """Compare lists as long as those of the MSLR-WEB data with padded ones."""
    lengths = np.random.default_rng(1).multinomial(size(sweep, 5000), np.full(43, 1 / 43))
    yield from beside_peers(sweep, Lists(lengths), {RAX: 10}, f"{lengths.size} lists, {lengths.sum():,} documents")


@benchmark.row("threads")
def threads(sweep):
    queries = size(sweep, 10_000)
    yield from on_two_threads(sweep, Lists([100] * queries), f"{queries:,} lists of 100", 1.7)
    long = size(sweep, 500_000)
    lists = Lists([long] + [100] * (long // 200))
    yield from on_two_threads(sweep, lists, f"1 list of {long:,} and {long // 200:,} of 100", 1.4)


@benchmark.row("memory")
def memory(sweep):
    length = size(sweep, 1_000_000)
    for words, levels in LEVEL_COUNTS.items():
        per_item = extra_bytes(ours(Lists([length], levels))) / length
        yield Goal(f"extra memory, 1 list of {length:,}, {words}", "{} bytes an item", 40, per_item, at_least=False)


if __name__ == "__main__":
    benchmark.main()
