"""Ways to recommend films, how their settings are chosen, and how they are compared."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import measures
from .model import USERS_PER_STEP, Recommender, train
from .objectives import AllPairs, HardestPairs, SampledPairs
from .ratings import Streams, run_split, validation_split

PAIRS = ("hardest", "sampled", "all")
CANDIDATES = (100, 200, 400, 800, 1600)
CHOSEN_BY = "recall@10"


class Method(NamedTuple):
    """A way to recommend: settings to choose from, and ``fit(split, seed, **setting)`` -> (scores, seconds)."""

    name: str
    settings: list[dict]
    fit: Callable


def described(name, setting):
    """Return a method and its setting in words."""
    words = [f"{key} {value:g}" for key, value in setting.items()]
    return f"{name}: {', '.join(words)}" if words else name


# ---------------------------------------------------------------- our own


def prepared(pairs, split, seed, settings, losers=None):
    """Return a new recommender, the objective to train it on, and the random numbers of the training."""
    streams = Streams.of(seed)
    recommender = Recommender(*split.rated.shape, streams.weights)
    if pairs == "hardest":
        objective = HardestPairs(split, settings.margin, losers or settings.losers)
    elif pairs == "all":
        objective = AllPairs(split, settings.margin)
    else:
        objective = SampledPairs(split, settings.margin, settings.negatives, settings.device, streams.training)
    objective(recommender, np.arange(min(USERS_PER_STEP, len(recommender.users))))  # compiles: timed calls do not
    return recommender, objective, streams.training


def fitted(pairs, settings):
    """Return how to train a recommender of ours: the ``fit`` of its `Method`."""

    def fit(split, seed, losers=None):
        recommender, objective, rng = prepared(pairs, split, seed, settings, losers)
        seconds = sum(seconds for _, seconds in train(recommender, objective, settings.epochs, rng))
        return recommender.scores(), seconds

    return fit


def hardest(settings, candidates):
    """Return the training on the hardest pairs, with so many losers to choose from."""
    return Method("hardest", [{"losers": losers} for losers in candidates], fitted("hardest", settings))


def our_methods(settings):
    """Return popularity and the three ways to train."""
    return [
        Method("popularity", [{}], lambda split, seed: (measures.popularity(split), 0.0)),
        Method(f"sampled, the best of {settings.negatives}", [{}], fitted("sampled", settings)),
        Method("all pairs, squared", [{}], fitted("all", settings)),
        hardest(settings, CANDIDATES if settings.validate else [settings.losers]),
    ]


# ---------------------------------------------------------------- choosing and comparing


def measured(method, setting, splits, progress):
    """Return the measures of a method and its seconds of training, each the mean over splits, and those of each."""
    each = []
    for seed, split in splits.items():
        scores, seconds = method.fit(split, seed, **setting)
        each.append({**measures.evaluate(scores, split), "seconds": seconds})
        progress.update()
    return {name: float(np.mean([entry[name] for entry in each])) for name in each[0]} | {"seeds": each}


def choose(method, ratings, seeds, progress):
    """Return the setting with the best recall on a part of the training ratings, and the measures of all settings.

    The ratings that are held out to measure the recommender play no part in the choice.
    """
    splits = {seed: validation_split(ratings, seed) for seed in seeds}
    table = [{"setting": setting, **measured(method, setting, splits, progress)} for setting in method.settings]
    return max(table, key=lambda row: row[CHOSEN_BY])["setting"], table


def compare(methods, ratings, seeds, progress_bar):
    """Return a row for each method: its setting, chosen where there are several, and its measures."""
    splits, rows = {seed: run_split(ratings, seed) for seed in seeds}, []
    fits = sum(1 + len(method.settings) * (len(method.settings) > 1) for method in methods) * len(seeds)
    with progress_bar(fits, "Comparing") as progress:
        for method in methods:
            setting, table = method.settings[0], []
            if len(method.settings) > 1:
                setting, table = choose(method, ratings, seeds, progress)
            row = measured(method, setting, splits, progress)
            rows.append({"method": method.name, "setting": setting, **row, "validation": table})
    return rows


def sweep(numbers, ratings, seeds, settings, progress_bar):
    """Return, for each number of losers, the measures on the validation part and on the held-out ratings."""
    method, rows = hardest(settings, numbers), []
    splits = {"validation": validation_split, "held_out": run_split}
    splits = {name: {seed: split(ratings, seed) for seed in seeds} for name, split in splits.items()}
    with progress_bar(len(numbers) * len(seeds) * len(splits), "Sweeping") as progress:
        for setting in method.settings:
            rows.append({**setting, **{name: measured(method, setting, splits[name], progress) for name in splits}})
    return rows
