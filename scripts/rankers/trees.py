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
        """Return a function from features to scores."""
        parameters = {**more, **self._settings, "learning_rate": rate, "objective": objective}
        return self._library.train(parameters, self._data, rounds).predict


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
        """Return a function from features to scores."""
        named, obj = (self.own[0], objective) if callable(objective) else (objective, None)
        parameters = {**more, "nthread": self._threads, "eta": rate, "objective": named}
        return self._library.train(parameters, self._data, rounds, obj=obj).inplace_predict
