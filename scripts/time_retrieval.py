"""Time the hinge loss of retrieval, with its gradients, side by side with its matrix products alone.

The three products are those of the scores and of the two gradients, for as many queries at a time as numbarank takes.
What the pass between them takes is the difference. Every number comes from times that were taken in turns in one
process.
"""

import functools

import numpy as np
from bench.goals import Goal, ratio
from bench.harness import Benchmark
from bench.memory_probe import extra_bytes

import numbarank as nr

OURS, PRODUCTS, SORT = "numbarank", "products", "products and np.argpartition"
MEMORY = 64 * 2**20
NAMES = {1: "hinge", 2: "squared hinge"}


class Table:
    """Random float32 embeddings whose scores have a deviation of about 1, and positives of each query.

    Where these are trained, they are among the items with the highest scores.
    """

    def __init__(self, queries, items, width, positives, trained=False, seed=0):
        rng = np.random.default_rng(seed)
        self.queries = rng.standard_normal((queries, width), np.float32)
        self.items = rng.standard_normal((items, width), np.float32) / np.float32(np.sqrt(width))
        chosen = rng.integers(items, size=(queries, positives))
        if trained:
            best = nr.hard_negatives(self.queries, self.items, min(3 * positives, items))[0]
            chosen = rng.permuted(best, axis=1)[:, :positives]
        cells = np.unique(np.arange(queries)[:, None] * items + chosen)
        self.positives = np.divmod(cells, items)
        self.gradients = np.empty_like(self.queries), np.empty_like(self.items)
        rows = max(1, MEMORY // (4 * items))
        self._scores = np.empty((min(rows, queries), items), np.float32)
        self.cells = queries * items
        self.words = f"{queries:,} x {items:,} x {width}, {positives} positives each"

    def ours(self, **settings):
        """Return a call of the public function."""
        return functools.partial(
            nr.retrieval_hinge_loss_and_grad,
            self.queries,
            self.items,
            self.positives,
            out=self.gradients,
            memory=MEMORY,
            **settings,
        )

    def products(self):
        """Compute the scores of some queries at a time, and two products with these."""
        for scores, some in self.tiles():
            np.matmul(scores, self.items, out=self.gradients[0][some])
            np.matmul(scores.T, self.queries[some], out=self.gradients[1])

    def tiles(self):
        """Yield the scores of some queries at a time."""
        rows = len(self._scores)
        for first in range(0, len(self.queries), rows):
            some = slice(first, first + rows)
            queries = self.queries[some]
            yield np.matmul(queries, self.items.T, out=self._scores[: len(queries)]), some

    def partitioned(self, k):
        """Return the k highest scores of each query as NumPy finds them, in no order."""
        return [np.argpartition(scores, -k, axis=1)[:, -k:] for scores, _ in self.tiles()]


def size(sweep, count):
    """Return a number of queries or items, fewer if this is only to try the script."""
    return max(8, sweep.size(count))


def large(sweep):
    """Return the table whose size the options give."""
    options = sweep.options
    return Table(size(sweep, options.queries), size(sweep, options.items), options.width, 20)


def add_options(parser):
    parser.add_argument("--queries", type=int, default=2_000, help="of the large table (default 2000)")
    parser.add_argument("--items", type=int, default=50_000, help="of the large table (default 50000)")
    parser.add_argument("--width", type=int, default=64, help="of its rows (default 64)")


benchmark = Benchmark(__doc__, "retrieval", shrink=50, add_options=add_options)


@benchmark.row("cells")
def cells(sweep):
    """Time the pass over the scores of a table as long as MovieLens' small one, by what it adds to the products."""
    for words, trained in (("random scores", False), ("positives on top", True)):
        table = Table(size(sweep, 671), size(sweep, 9_066), 32, min(60, size(sweep, 9_066)), trained)
        weights = np.random.default_rng(1).random(len(table.positives[0]))
        for power, limit in ((1, 5), (2, 8)):
            for losers, given in ((None, None), (400, None), (None, weights)):
                label = f"{table.words}, {words}, {NAMES[power]}"
                label += f", losers={losers}" if losers else ""
                label += ", weights" if given is not None else ""
                calls = {OURS: table.ours(power=power, losers=losers, weights=given), PRODUCTS: table.products}
                times = sweep.compare(label, table.cells, calls)
                beyond = (times[OURS].median - times[PRODUCTS].median) / table.cells * 1e9
                allowed = limit if given is None else 2 * limit
                yield Goal(label, "{} ns a score beyond the products", allowed, max(beyond, 0.0), at_least=False)


@benchmark.row("lists")
def lists(sweep):
    """Time lists of two levels as long as MovieLens' small ones, with about 60 winners each."""
    rng = np.random.default_rng(2)
    shape = size(sweep, 671), size(sweep, 9_066)
    liked, weights = rng.random(shape) < 60 / shape[1], rng.random(shape)
    scores = rng.standard_normal(shape, np.float32) + liked
    out = np.empty_like(scores)
    for power, limit in ((1, 5), (2, 8)):
        for losers, given in ((None, None), (400, None), (None, weights)):
            settings = {"power": power, "losers": losers, "weights": given, "reduction": "none", "out": out}
            label = f"{shape[0]:,} lists of {shape[1]:,}, {NAMES[power]}" + (f", losers={losers}" if losers else "")
            label += ", weights" if given is not None else ""
            call = functools.partial(nr.pairwise_hinge_loss_and_grad, scores, liked, **settings)
            nanoseconds = sweep.compare(label, scores.size, {OURS: call})[OURS].median / scores.size * 1e9
            yield Goal(label, "{} ns a score", limit if given is None else 2 * limit, nanoseconds, at_least=False)


@benchmark.row("large")
def beside_products(sweep):
    table = large(sweep)
    for power, limit in ((1, 2.5), (2, 3.5)):
        for losers in (None, 1_000):
            label = f"{table.words}, {NAMES[power]}" + (f", losers={losers:,}" if losers else "")
            calls = {OURS: table.ours(power=power, losers=losers), PRODUCTS: table.products}
            times = sweep.compare(label, table.cells, calls)
            yield Goal(label, "{} times the three products", limit, ratio(times, OURS, PRODUCTS), at_least=False)


@benchmark.row("hard-negatives")
def beside_argpartition(sweep):
    table = large(sweep)
    k = min(100, len(table.items))
    mine = functools.partial(nr.hard_negatives, table.queries, table.items, k, memory=MEMORY)
    label = f"{table.words}, the {k} hardest negatives"
    times = sweep.compare(label, table.cells, {OURS: mine, SORT: functools.partial(table.partitioned, k)})
    measured = ratio(times, SORT, OURS)
    yield Goal(label, "{} times as fast as the products and np.argpartition", 5, measured, at_least=True)


@benchmark.row("memory")
def memory(sweep):
    table = large(sweep)
    for power in (1, 2):
        megabytes = extra_bytes(table.ours(power=power)) / 2**20
        label = f"extra memory, {table.words}, {NAMES[power]}"
        yield Goal(label, "{} MiB", 256, megabytes, at_least=False)


if __name__ == "__main__":
    benchmark.main()
