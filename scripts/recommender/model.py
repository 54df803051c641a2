"""Matrix factorisation in NumPy, and its descent."""

import math
import time

import numpy as np

from .objectives import PairTotals

DIMENSIONS = 64

INITIAL_SPREAD = 0.03

LEARNING_RATE = 0.03

WEIGHT_DECAY = 2.0

USERS_PER_STEP = 128


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
    """Matrix factorisation: a score is user embedding · film embedding + film bias."""

    def __init__(self, n_users, n_films, rng, decay=WEIGHT_DECAY):
        self.users = rng.normal(0, INITIAL_SPREAD, (n_users, DIMENSIONS)).astype(np.float32)
        self.films = rng.normal(0, INITIAL_SPREAD, (n_films, DIMENSIONS)).astype(np.float32)
        self.bias = np.zeros(n_films, dtype=np.float32)
        self.decay = decay
        self.optimizers = Adagrad(self.users), Adagrad(self.films), Adagrad(self.bias)

    def scores(self, users=slice(None)):
        """Return the scores of all films for the given users, of shape (users, films)."""
        return self.users[users] @ self.films.T + self.bias

    def gradients(self, users, score_gradient):
        """Return the gradients by the users' embeddings, the films' and the bias for that by ``scores(users)``."""
        return score_gradient @ self.films, score_gradient.T @ self.users[users], score_gradient.sum(axis=0)

    def descend(self, users, gradients):
        """Take one step against the gradients, which it overwrites; the embeddings decay, the bias does not."""
        by_users, by_films, by_bias = gradients
        by_users += self.decay * self.users[users]
        by_films += self.decay * self.films
        users_step, films_step, bias_step = self.optimizers
        users_step.step(by_users, rows=users)
        films_step.step(by_films)
        bias_step.step(by_bias)


def train(recommender, objective, epochs, rng):
    """Yield after each epoch its `PairTotals` and its seconds."""
    n_users = len(recommender.users)
    for _ in range(epochs):
        start = time.perf_counter()
        batches = np.array_split(rng.permutation(n_users), math.ceil(n_users / USERS_PER_STEP))
        steps = [train_step(recommender, objective, users) for users in batches]
        yield PairTotals.of(steps), time.perf_counter() - start


def train_step(recommender, objective, users):
    """Improve the scores of some users' films by one step; return the `PairTotals` before it."""
    gradients, totals = objective(recommender, users)
    recommender.descend(users, gradients)
    return totals
