"""Ways to rank graded lists: trees and linear models, of ours and of other packages, each with six settings."""

import time
from typing import NamedTuple

import numba
from rank_documents import Lists, ndcg
from recommender.methods import Method, Task, grid

from . import linear
from .lists import graded_lists
from .trees import LightGBM, XGBoost

RATES = (0.1, 0.2, 0.3)
MEASURE = "NDCG@10"


class Parts(NamedTuple):
    """Lists to train on, and lists that measure the result."""

    train: Lists
    test: Lists


def ranking(queries, longest, features, seeds):
    """Return the task of ranking made-up lists: half as many others choose the settings, as many again measure."""
    validation, test = {}, {}
    for seed in seeds:
        sizes = (queries, queries // 2, queries // 2)
        train, choosing, measuring = (
            graded_lists(size, longest, features, (seed, part)) for part, size in enumerate(sizes)
        )
        validation[seed], test[seed] = Parts(train, choosing), Parts(train, measuring)
    return Task(validation, test, evaluate, MEASURE)


def evaluate(predict, parts):
    """Return the measure of a function from features to scores on the lists that it was not trained on."""
    return {MEASURE: ndcg(predict(parts.test.features), parts.test, 10)}


def lightgbm_methods(rounds):
    """Return LightGBM with its own objective and with ours."""

    def own(parts, seed, rate, leaves):
        library = LightGBM(parts.train, numba.get_num_threads())
        return boosted(library, LightGBM.own[0], rate, rounds, num_leaves=leaves)

    def ours(parts, seed, rate, power):
        library = LightGBM(parts.train, numba.get_num_threads())
        return boosted(library, LightGBM.ours(power=power, discount=True), rate, rounds)

    return [
        Method("LightGBM lambdarank", grid(rate=RATES, leaves=(15, 31)), own),
        Method("LightGBM, numbarank, discount", grid(rate=RATES, power=(1, 2)), ours),
    ]


def xgboost_methods(rounds):
    """Return XGBoost with two of its own objectives and with ours."""

    def own(objective):
        def fit(parts, seed, rate, pairs):
            library = XGBoost(parts.train, numba.get_num_threads())
            return boosted(library, objective, rate, rounds, lambdarank_pair_method=pairs, seed=seed)

        return fit

    def ours(parts, seed, rate, power):
        library = XGBoost(parts.train, numba.get_num_threads())
        return boosted(library, XGBoost.ours(power=power, discount=True), rate, rounds)

    return [
        *(Method(f"XGBoost {name}", grid(rate=RATES, pairs=("topk", "mean")), own(name)) for name in XGBoost.own),
        Method("XGBoost, numbarank, discount", grid(rate=RATES, power=(1, 2)), ours),
    ]


def boosted(library, objective, rate, rounds, **parameters):
    """Return a function from features to scores, and the seconds that the training of its trees took."""
    start = time.perf_counter()
    predict = library.train(objective, rate, rounds, **parameters)
    return predict, time.perf_counter() - start


def linear_methods(rounds):
    """Return our linear ranker."""

    def ours(parts, seed, decay, power):
        return linear.fit_ours(parts.train, decay, power, rounds)

    return [Method("linear, numbarank", grid(decay=(1e-4, 1e-3, 1e-2), power=(1, 2)), ours)]


def rax_methods(rounds):
    """Return linear rankers with two losses of rax."""

    def fitted(loss):
        return lambda parts, seed, rate: linear.fit_rax(parts.train, loss, rate, rounds)

    rates = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    return [
        Method(f"linear, rax {loss} + optax", grid(rate=rates), fitted(loss)) for loss in ("softmax", "pairwise_hinge")
    ]


METHODS = {
    ("lightgbm",): lightgbm_methods,
    ("xgboost",): xgboost_methods,
    ("scipy",): linear_methods,
    ("jax", "rax", "optax"): rax_methods,
}
