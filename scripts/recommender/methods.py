"""Ways to recommend, how the settings of a method are chosen, and how methods are compared."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import measures
from .model import USERS_PER_STEP, WEIGHT_DECAY, Recommender, train
from .objectives import AllPairs, HardestPairs, SampledPairs
from .ratings import Streams, run_split, validation_split

PAIRS = ("hardest", "sampled", "all")
CANDIDATES = (100, 200, 400, 800, 1600)
CHOSEN_BY = "recall@10"


class Method(NamedTuple):
    """A way to rank: settings to choose from, and ``fit(split, seed, **setting)`` -> (scores, seconds)."""

    name: str
    settings: list[dict]
    fit: Callable


class Task(NamedTuple):
    """What methods are compared on.

    By seed, the splits that settings are chosen with and those that count; ``evaluate(scores, split)`` returns measures
    by name, and ``chosen_by`` is the name of the one that chooses.
    """

    validation: dict
    test: dict
    evaluate: Callable
    chosen_by: str


def recommending(ratings, seeds):
    """Return the task of recommending: settings are chosen on a fifth of the training ratings."""
    validation, test = ({seed: part(ratings, seed) for seed in seeds} for part in (validation_split, run_split))
    return Task(validation, test, measures.evaluate, CHOSEN_BY)


def grid(**choices):
    """Return all combinations of the values of each setting."""
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def described(name, setting):
    """Return a method and its setting in words."""
    words = [f"{key} {word(value)}" for key, value in setting.items()]
    return f"{name}: {', '.join(words)}" if words else name


def word(value):
    """Return the value of a setting, a number or a name, in words."""
    return value if isinstance(value, str) else f"{value:g}"


# ---------------------------------------------------------------- our own


def prepared(pairs, split, seed, settings, losers=None, decay=WEIGHT_DECAY):
    """Return a new recommender, the objective to train it on, and the random numbers of the training."""
    streams = Streams.of(seed)
    recommender = Recommender(split, streams.weights, decay)
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

    def fit(split, seed, **setting):
        recommender, objective, rng = prepared(pairs, split, seed, settings, **setting)
        seconds = sum(seconds for _, seconds in train(recommender, objective, settings.epochs, rng))
        return recommender.scores(), seconds

    return fit


def hardest(settings, losers, **choices):
    """Return the training on the hardest pairs, with these numbers of losers and perhaps more to choose from."""
    return Method("hardest", grid(losers=losers, **choices), fitted("hardest", settings))


def our_methods(settings, losers, **choices):
    """Return popularity and the three ways to train, with these numbers of losers and perhaps more to choose from."""
    return [
        Method("popularity", [{}], lambda split, seed: (measures.popularity(split), 0.0)),
        Method(f"sampled, the best of {settings.negatives}", grid(**choices), fitted("sampled", settings)),
        Method("all pairs, squared", grid(**choices), fitted("all", settings)),
        hardest(settings, losers, **choices),
    ]


# ---------------------------------------------------------------- choosing and comparing


def measured(method, setting, splits, evaluate, progress):
    """Return the measures of a method and its seconds of training, each the mean over splits, and those of each."""
    each = []
    for seed, split in splits.items():
        scores, seconds = method.fit(split, seed, **setting)
        each.append({**evaluate(scores, split), "seconds": seconds})
        progress.update()
    return {name: float(np.mean([entry[name] for entry in each])) for name in each[0]} | {"seeds": each}


def choose(method, task, progress):
    """Return the setting that is best on the validation splits, and the measures of all settings.

    What is held out to measure the methods plays no part in the choice.
    """
    table = [
        {"setting": setting, **measured(method, setting, task.validation, task.evaluate, progress)}
        for setting in method.settings
    ]
    return max(table, key=lambda row: row[task.chosen_by])["setting"], table


def compare(methods, task, progress_bar):
    """Return a row for each method: its setting, chosen where there are several, and its measures."""
    tried, rows = sum(len(method.settings) for method in methods if len(method.settings) > 1), []
    fits = tried * len(task.validation) + len(methods) * len(task.test)
    with progress_bar(fits, "Comparing") as progress:
        for method in methods:
            setting, table = method.settings[0], []
            if len(method.settings) > 1:
                setting, table = choose(method, task, progress)
            row = measured(method, setting, task.test, task.evaluate, progress)
            rows.append({"method": method.name, "setting": setting, **row, "validation": table})
    return rows


def sweep(numbers, task, settings, progress_bar):
    """Return, for each number of losers, the measures on the validation part and on the held-out ratings."""
    method, rows = hardest(settings, numbers), []
    splits = {"validation": task.validation, "held_out": task.test}
    with progress_bar(len(numbers) * len(task.test) * len(splits), "Sweeping") as progress:
        for setting in method.settings:
            parts = {name: measured(method, setting, splits[name], task.evaluate, progress) for name in splits}
            rows.append({**setting, **parts})
    return rows
