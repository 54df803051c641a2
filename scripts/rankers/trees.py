"""Gradient boosted trees of LightGBM and XGBoost, with objectives of their own and of ours."""

import importlib

from numbarank import objectives


class LightGBM:
    """LightGBM with graded lists to train on."""

    own = ("lambdarank", "rank_xendcg")
    ours = staticmethod(objectives.lightgbm)

    def __init__(self, lists, threads):
        self._library = importlib.import_module("lightgbm")
        self._settings = {"verbosity": -1, "num_threads": threads}
        self._data = self._library.Dataset(
            lists.features, lists.labels, group=lists.groups.sizes, params=self._settings
        ).construct()

    def train(self, objective, rate, rounds, **more):
        """Return a function from features to scores, of the first rounds alone if it is told how many."""
        parameters = {**more, **self._settings, "learning_rate": rate, "objective": objective}
        booster = self._library.train(parameters, self._data, rounds)
        return lambda features, first=None: booster.predict(features, num_iteration=first)


class XGBoost:
    """XGBoost with graded lists to train on."""

    own = ("rank:pairwise", "rank:ndcg")
    ours = staticmethod(objectives.xgboost)

    def __init__(self, lists, threads):
        self._library = importlib.import_module("xgboost")
        self._threads = threads
        self._data = self._library.QuantileDMatrix(
            lists.features, lists.labels, group=lists.groups.sizes, nthread=threads
        )

    def train(self, objective, rate, rounds, **more):
        """Return a function from features to scores, of the first rounds alone if it is told how many."""
        named, obj = (self.own[0], objective) if callable(objective) else (objective, None)
        parameters = {**more, "nthread": self._threads, "eta": rate, "objective": named}
        booster = self._library.train(parameters, self._data, rounds, obj=obj)
        return lambda features, first=0: booster.inplace_predict(features, iteration_range=(0, first))
