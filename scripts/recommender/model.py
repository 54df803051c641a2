"""Matrix factorisation with neighbours, and its descent."""

import math
import time

import numpy as np

from .objectives import PairTotals
from .ratings import package

DIMENSIONS = 64

INITIAL_SPREAD = 0.03

LEARNING_RATE = 0.03

WEIGHT_DECAY = 2.0

USERS_PER_STEP = 128

DISLIKED = 0.5  # what a film that was rated and not liked counts as a neighbour, beside 1 for one that was liked


class Adagrad:
    """Gradient descent that divides the step of each row by the root of its mean squared gradients so far.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods, JMLR 12.
    """

    def __init__(self, parameters, learning_rate=LEARNING_RATE):
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.squares = np.full(len(parameters), 1e-8, parameters.dtype)

    def step(self, gradient, rows=slice(None)):
        """Update the given rows of the parameters in place, and overwrite the gradient."""
        by_row = gradient.reshape(len(gradient), -1)
        self.squares[rows] += np.einsum("ij,ij->i", by_row, by_row) / by_row.shape[1]
        by_row *= (self.learning_rate / np.sqrt(self.squares[rows]))[:, None]
        self.parameters[rows] -= by_row.reshape(gradient.shape)


class Recommender:
    """A score is user embedding · film embedding + film bias.

    A user's embedding is one of its own plus the weighted sum of those that the rated films give to whoever rated them;
    a film's is one of its own plus what its raters give.

    References
    ----------
    Koren (2008), Factorization meets the neighborhood, KDD: SVD++, where the users have such neighbours.
    """

    def __init__(self, split, rng, decay=WEIGHT_DECAY):
        def random_rows(count):
            return rng.normal(0, INITIAL_SPREAD, (count, DIMENSIONS)).astype(np.float32)

        n_users, n_films = split.rated.shape
        self.rated, self.raters = neighbours(split)
        self.users, self.from_films = random_rows(n_users), random_rows(n_films)
        self.films, self.from_users = random_rows(n_films), random_rows(n_users)
        self.bias = np.zeros(n_films, dtype=np.float32)
        self.decay = decay
        self.optimizers = [*map(Adagrad, (self.users, self.from_films, self.films, self.from_users, self.bias))]

    def embeddings(self, users=slice(None)):
        """Return the embeddings of the given users, and those of all films."""
        return self.users[users] + self.rated[users] @ self.from_films, self.films + self.raters @ self.from_users

    def scores(self, users=slice(None)):
        """Return the scores of all films for the given users, of shape (users, films)."""
        of_users, of_films = self.embeddings(users)
        return of_users @ of_films.T + self.bias

    def set_rate(self, rate):
        """Set the learning rate of all parameters."""
        for optimizer in self.optimizers:
            optimizer.learning_rate = rate

    def descend(self, users, gradients):
        """Take one step against the gradients by `embeddings(users)` and by the bias, which alone does not decay."""
        by_users, by_films, by_bias = gradients
        everywhere = slice(None)
        steps = [
            (by_users, users),
            (self.rated[users].T @ by_users, everywhere),
            (by_films, everywhere),
            (self.raters.T @ by_films, everywhere),
        ]
        *decaying, bias = self.optimizers
        for optimizer, (gradient, rows) in zip(decaying, steps, strict=True):
            optimizer.step(gradient + np.float32(self.decay) * optimizer.parameters[rows], rows)
        bias.step(by_bias.copy())


def neighbours(split):
    """Return, as sparse matrices, what the films that a user rated count for the user, and these users for a film.

    Each row is divided by the root of its sum, if that is above 1: many neighbours count more than few, but not as much
    more.
    """
    counts = split.weighted(DISLIKED)
    return by_root_of_sum(counts), by_root_of_sum(counts.T)


def by_root_of_sum(counts):
    sums = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return package("scipy.sparse").csr_array(counts / np.sqrt(sums))


def train(recommender, objective, epochs, rng):
    """Yield after each epoch its `PairTotals` and its seconds; the learning rate falls from epoch to epoch."""
    n_users = len(recommender.users)
    for epoch in range(epochs):
        start = time.perf_counter()
        recommender.set_rate(LEARNING_RATE * (1 - epoch / epochs))
        batches = np.array_split(rng.permutation(n_users), math.ceil(n_users / USERS_PER_STEP))
        steps = [train_step(recommender, objective, users) for users in batches]
        yield PairTotals.of(steps), time.perf_counter() - start


def train_step(recommender, objective, users):
    """Improve the scores of some users' films by one step; return the `PairTotals` before it."""
    gradients, totals = objective(recommender, users)
    recommender.descend(users, gradients)
    return totals
