"""Train LightGBM and XGBoost on the same graded lists, with numbarank's objectives and with their own.

The table tells how well the models order lists that they have not seen, how long the training took, and how much of
that the objective took. The trainings take turns, and times are medians, those of the higher learning rate.
"""

import argparse
import importlib
import statistics
import time
from dataclasses import dataclass

import numba
import numpy as np
from environment import machine
from rank_documents import Lists, ndcg

from numbarank import Groups, objectives

ROUNDS = 60
RATES = (0.1, 0.3)
HEADER = ("library", "objective", *(f"NDCG@10, rate {rate}" for rate in RATES), f"{ROUNDS} rounds", "in the objective")


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


def table(results):
    """Return what came of the runs as a table for a document."""
    lines = [HEADER, ("---",) * len(HEADER)]
    for names, at_rates in results.items():
        gains = (f"{runs[0].ndcg:.3f}" for runs in at_rates.values())
        runs = at_rates[RATES[-1]]
        seconds = statistics.median(run.seconds for run in runs)
        is_own = runs[0].seconds_in_objective is None
        share = "-" if is_own else f"{statistics.median(run.share for run in runs):.0%}"
        lines.append((*names, *gains, f"{seconds:.2f} s", share))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def contenders(train, threads):
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


def race(contenders, test, repeats):
    """Train all contenders in turns, a first time without measuring; return the runs of each at each rate."""
    for library, objective in contenders.values():
        library.train(objective, RATES[0], rounds=1)
    results = {names: {rate: [] for rate in RATES} for names in contenders}
    for _ in range(repeats):
        for names, contender in contenders.items():
            for rate in RATES:
                results[names][rate].append(measure(*contender, rate, test))
    return results


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--queries", type=int, default=500, help="lists to train on (default 500)")
    option("--longest", type=int, default=120, help="documents of the longest list (default 120)")
    option("--features", type=int, default=136, help="features of a document (default 136)")
    option("--threads", type=int, default=numba.get_num_threads(), help="of the library and of numba (default all)")
    option("--repeats", type=int, default=3, help="how often to train each (default 3)")
    return parser.parse_args()


def main():
    settings = parse_arguments()
    numba.set_num_threads(settings.threads)
    train, test = (graded_lists(settings.queries, settings.longest, settings.features, seed) for seed in (0, 1))
    results = race(contenders(train, settings.threads), test, settings.repeats)
    versions = (f"{name} {importlib.import_module(name).__version__}" for name in ("lightgbm", "xgboost", "numba"))
    print(f"{machine('cpu')}, {settings.threads} threads ({numba.threading_layer()})\n{', '.join(versions)}")
    print(f"{settings.queries:,} lists, {len(train.labels):,} documents, {settings.features} features\n")
    print(table(results))


if __name__ == "__main__":
    main()
