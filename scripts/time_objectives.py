"""Train LightGBM and XGBoost on the same graded lists, with numbarank's objectives and with their own.

The table tells how well the models order lists that they have not seen, how long the training took, and how much of
that the objective took. The trainings take turns, and times are medians, those of the higher learning rate.
"""

import importlib
import statistics
import time
from dataclasses import asdict, dataclass

import numba
import numpy as np
from bench.harness import Benchmark, Line
from rank_documents import Lists, ndcg

from numbarank import Groups, objectives

ROUNDS = 60
RATES = (0.1, 0.3)
HEADER = ("library", "objective", *(f"NDCG@10, rate {rate}" for rate in RATES), f"{ROUNDS} rounds", "in the objective")
WIDTHS = (27, 23, 17, 17, 9, 16)


@dataclass(frozen=True)
class Result:
    """What a training came to; of a library's own objective it is not known how long it takes."""

    ndcg: float
    seconds: float
    seconds_in_objective: float | None

    @property
    def share(self):
        """How much of the training the objective took."""
        return self.seconds_in_objective / self.seconds


def graded_lists(queries, longest, features, seed, causes=8):
    """Return lists with labels from 0 to 4.

    Every feature is a noisy view of one of a few hidden causes, and the labels follow some of these, with noise.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(longest // 2, longest + 1, queries)
    hidden = rng.standard_normal((lengths.sum(), causes))
    relevance = hidden[:, 0] + np.sin(2 * hidden[:, 1]) + hidden[:, 2] * hidden[:, 3] + np.abs(hidden[:, 4])
    relevance += rng.standard_normal(len(hidden))
    labels = np.digitize(relevance, np.quantile(relevance, [0.5, 0.75, 0.9, 0.97]))
    seen = hidden[:, np.arange(features) % causes] + 0.7 * rng.standard_normal((len(hidden), features))
    return Lists(seen.astype(np.float32), labels.astype(np.float32), Groups(group=lengths))


class LightGBM:
    """LightGBM with graded lists to train on, and perhaps a weight for each document."""

    own = "lambdarank"
    ours = staticmethod(objectives.lightgbm)

    def __init__(self, lists, threads, weights=None):
        self._library = importlib.import_module("lightgbm")
        self._settings = {"verbosity": -1, "num_threads": threads}
        self._data = self._library.Dataset(
            lists.features, lists.labels, weight=weights, group=lists.groups.sizes, params=self._settings
        ).construct()

    def train(self, objective, rate, rounds=ROUNDS):
        """Return a function from features to scores."""
        parameters = {**self._settings, "learning_rate": rate, "objective": objective}
        return self._library.train(parameters, self._data, rounds).predict


class XGBoost:
    """XGBoost with graded lists to train on."""

    own = "rank:pairwise"
    ours = staticmethod(objectives.xgboost)

    def __init__(self, lists, threads):
        self._library = importlib.import_module("xgboost")
        self._threads = threads
        self._data = self._library.QuantileDMatrix(
            lists.features, lists.labels, group=lists.groups.sizes, nthread=threads
        )

    def train(self, objective, rate, rounds=ROUNDS):
        """Return a function from features to scores."""
        named, obj = (self.own, objective) if callable(objective) else (objective, None)
        parameters = {"nthread": self._threads, "eta": rate, "objective": named}
        return self._library.train(parameters, self._data, rounds, obj=obj).inplace_predict


def timed(objective):
    """Return a function that calls an objective, and the list of the seconds that its calls take."""
    seconds = []

    def call(*arguments):
        start = time.perf_counter()
        derivatives = objective(*arguments)
        seconds.append(time.perf_counter() - start)
        return derivatives

    return call, seconds


def measure(library, objective, rate, test):
    """Train with a name of an objective or a callable; measure the training and its model."""
    calls = None
    if callable(objective):
        objective, calls = timed(objective)
    start = time.perf_counter()
    predict = library.train(objective, rate)
    seconds = time.perf_counter() - start
    return Result(ndcg(predict(test.features), test, 10), seconds, None if calls is None else sum(calls))


def candidates(train, threads):
    """Return, by their names in the table, the pairs of a library and an objective."""
    libraries = {
        "LightGBM": LightGBM(train, threads),
        "LightGBM, weights 1 + label": LightGBM(train, threads, 1 + train.labels),
        "XGBoost": XGBoost(train, threads),
    }
    return {
        (name, described): (library, objective)
        for name, library in libraries.items()
        for described, objective in (
            (f"its own {library.own}", library.own),
            ("numbarank", library.ours()),
            ("numbarank, power=2", library.ours(power=2)),
        )
    }


def train_in_turns(candidates, test, repeats):
    """Train all in turns, a first time without measuring; return the results of each at each rate."""
    for library, objective in candidates.values():
        library.train(objective, RATES[0], rounds=1)
    results = {names: {rate: [] for rate in RATES} for names in candidates}
    for _ in range(repeats):
        for names, candidate in candidates.items():
            for rate in RATES:
                results[names][rate].append(measure(*candidate, rate, test))
    return results


def cells(names, at_rates):
    """Return the cells of the table, from the results of a library and objective at each rate."""
    gains = (f"{results[0].ndcg:.3f}" for results in at_rates.values())
    results = at_rates[RATES[-1]]
    seconds = statistics.median(result.seconds for result in results)
    is_own = results[0].seconds_in_objective is None
    share = "-" if is_own else f"{statistics.median(result.share for result in results):.0%}"
    return *names, *gains, f"{seconds:.2f} s", share


def add_options(parser):
    option = parser.add_argument
    option("--queries", type=int, default=500, help="lists to train on (default 500)")
    option("--longest", type=int, default=120, help="documents of the longest list (default 120)")
    option("--features", type=int, default=136, help="features of a document (default 136)")
    option("--threads", type=int, default=numba.get_num_threads(), help="of the library and of numba (default all)")


def prepare(parser, options):
    """Set the threads and make the lists, to train on and to test with."""
    numba.set_num_threads(options.threads)
    if options.quick:
        options.queries, options.longest, options.features = 20, 20, 8
    options.train, options.test = (
        graded_lists(options.queries, options.longest, options.features, seed) for seed in (0, 1)
    )


def conditions(options):
    """Return what is trained on, in words."""
    return f"{options.queries:,} lists, {len(options.train.labels):,} documents, {options.features} features"


benchmark = Benchmark(
    __doc__,
    "boosting",
    HEADER,
    WIDTHS,
    packages=("lightgbm", "xgboost"),
    repeats=3,
    add_options=add_options,
    prepare=prepare,
    conditions=conditions,
)


@benchmark.row("trainings")
def trainings(sweep):
    options = sweep.options
    results = train_in_turns(candidates(options.train, options.threads), options.test, options.repeats)
    for names, at_rates in results.items():
        for rate, trained in at_rates.items():
            sweep.rows += [{"work": ", ".join(names), "rate": rate, **asdict(result)} for result in trained]
        yield Line(cells(names, at_rates))


if __name__ == "__main__":
    benchmark.main()
