"""Train LightGBM and XGBoost on the same graded lists, with numbarank's objectives and with their own.

The table tells how well the models order lists that they have not seen, how long the training took, and how much of
that the objective took. The trainings take turns; times are medians.
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
HEADER = ("library", "objective", "learning rate", "NDCG@10", f"{ROUNDS} rounds", "of that in the objective")


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
    """LightGBM with graded lists to train on."""

    own = "lambdarank"
    ours = staticmethod(objectives.lightgbm)

    def __init__(self, lists, threads):
        self._library = importlib.import_module("lightgbm")
        self._settings = {"verbosity": -1, "num_threads": threads}
        self._data = self._library.Dataset(
            lists.features, lists.labels, group=lists.groups.sizes, params=self._settings
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
    """Return the medians as a table for a document."""
    lines = [HEADER, ("---",) * len(HEADER)]
    for (library, objective, rate), runs in results.items():
        seconds = statistics.median(run.seconds for run in runs)
        share = "-" if runs[0].seconds_in_objective is None else f"{statistics.median(run.share for run in runs):.0%}"
        lines.append((library, objective, f"{rate}", f"{runs[0].ndcg:.3f}", f"{seconds:.2f} s", share))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--queries", type=int, default=1000, help="lists to train on (default 1000)")
    option("--longest", type=int, default=120, help="documents of the longest list (default 120)")
    option("--features", type=int, default=136, help="features of a document (default 136)")
    option("--threads", type=int, default=numba.get_num_threads(), help="of the library and of numba (default all)")
    option("--repeats", type=int, default=5, help="how often to train each (default 5)")
    settings = parser.parse_args()
    numba.set_num_threads(settings.threads)

    train, test = (graded_lists(settings.queries, settings.longest, settings.features, seed) for seed in (0, 1))
    libraries = [library(train, settings.threads) for library in (LightGBM, XGBoost)]
    contenders = {
        (type(library).__name__, name, rate): (library, objective, rate)
        for library in libraries
        for name, objective in (
            (f"its own {library.own}", library.own),
            ("numbarank", library.ours()),
            ("numbarank, power=2", library.ours(power=2)),
        )
        for rate in RATES
    }
    for library in libraries:
        library.train(library.ours(), RATES[0], rounds=1)  # compiles
    results = {name: [] for name in contenders}
    for _ in range(settings.repeats):
        for name, contender in contenders.items():
            results[name].append(measure(*contender, test))

    versions = (f"{name} {importlib.import_module(name).__version__}" for name in ("lightgbm", "xgboost", "numba"))
    print(f"{machine('cpu')}, {settings.threads} threads ({numba.threading_layer()})\n{', '.join(versions)}")
    print(f"{settings.queries:,} lists, {len(train.labels):,} documents, {settings.features} features\n")
    print(table(results))


if __name__ == "__main__":
    main()
