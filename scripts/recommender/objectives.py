"""Which pairs of a liked and an unrated film the training looks at, and the loss of these."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import numbarank as nr

PAIRS_OF_A_LIKED_FILM = 5.0


class PairTotals(NamedTuple):
    """What a step, an epoch or the whole training saw of its pairs; ``active`` is None where nobody counts them."""

    loss: float
    pairs: int
    active: int | None
    loss_seconds: float

    @classmethod
    def of(cls, parts):
        """Add up the totals of the parts."""
        loss, pairs, active, seconds = zip(*parts, strict=True)
        return cls(sum(loss), sum(pairs), None if None in active else sum(active), sum(seconds))


@dataclass(frozen=True)
class Rows:
    """A boolean (users, films) matrix as the films of each user, one user after the other: a CSR matrix."""

    indptr: np.ndarray
    indices: np.ndarray

    @classmethod
    def of(cls, matrix):
        """Return the films of each row where it is true."""
        return cls(np.append(0, np.count_nonzero(matrix, axis=1).cumsum()), np.nonzero(matrix)[1].astype(np.int32))

    def of_users(self, users):
        """Return the rows of some users."""
        firsts, counts = self.indptr[users], self.indptr[users + 1] - self.indptr[users]
        indptr = np.append(0, counts.cumsum())
        return Rows(indptr, self.indices[np.arange(indptr[-1]) + np.repeat(firsts - indptr[:-1], counts)])


def user_weights(split):
    """Return what a pair of each user counts: less for those who liked much, whom nobody wants to rule the films."""
    counts = np.maximum(np.count_nonzero(split.liked, axis=1), 1)
    return np.sqrt(counts.mean() / counts).astype(np.float32)


class HardestPairs:
    """Each liked film against the highest-scoring films, so many, that the user has not rated.

    Calling it with a recommender and some users returns the gradients by the users' embeddings, the films' and the
    bias, as `Recommender.descend` takes them, and the `PairTotals`. The pairs of a liked film share the weight of one,
    whatever their number, and the users' weights are in the gradients.
    """

    def __init__(self, split, margin, losers):
        self.liked, self.disliked = Rows.of(split.liked), Rows.of(split.rated & ~split.liked)
        self.losers = losers
        self.weights = user_weights(split)
        self.unrated_counts = np.minimum(losers, np.count_nonzero(~split.rated, axis=1))
        self.margin = margin

    def __call__(self, recommender, users):
        liked, counts = self.liked.of_users(users), self.unrated_counts[users]
        of_users, of_films = recommender.embeddings(users)

        start = time.perf_counter()
        losses, gradients = nr.retrieval_hinge_loss_and_grad(
            of_users,
            of_films,
            liked,
            bias=recommender.bias,
            exclude=self.disliked.of_users(users),
            margin=self.margin,
            losers=self.losers,
            reduction="none",
            gradient=self.weights[users] / np.maximum(counts, 1),
        )
        seconds = time.perf_counter() - start
        return gradients, PairTotals(float(losses.sum()), int(np.diff(liked.indptr) @ counts), None, seconds)


class ScoredPairs:
    """Pairs whose loss is taken from stored scores; to be called as `HardestPairs` is.

    ``by_scores`` takes some users and their scores, of shape (users, films), and returns the gradient of the summed
    loss by these scores, without the users' weights, and the `PairTotals`.
    """

    def __init__(self, split):
        self.liked = split.liked
        self.weights = user_weights(split)

    def __call__(self, recommender, users):
        of_users, of_films = recommender.embeddings(users)
        gradient, totals = self.by_scores(users, of_users @ of_films.T + recommender.bias)
        gradient *= self.weights[users, None]
        return (gradient @ of_films, gradient.T @ of_users, gradient.sum(axis=0)), totals


class SampledPairs(ScoredPairs):
    """Each liked film against the highest-scoring of a few random films that the user has not rated."""

    def __init__(self, split, margin, negatives, device, rng):
        super().__init__(split)
        self.unrated_films = np.nonzero(~split.rated)[1].astype(np.int32)
        self.unrated_counts = np.count_nonzero(~split.rated, axis=1)
        self.unrated_starts = np.cumsum(self.unrated_counts) - self.unrated_counts
        self.margin = margin
        self.negatives = negatives
        self.device = device
        self.rng = rng

    def by_scores(self, users, scores):
        rows, liked_films = np.nonzero(self.liked[users])
        unrated_films = self.hardest_unrated(users, rows, scores)
        liked_scores, unrated_scores = scores[rows, liked_films], scores[rows, unrated_films]

        start = time.perf_counter()
        loss, (by_liked, by_unrated) = pair_loss(liked_scores, unrated_scores, self.margin, self.device)
        seconds = time.perf_counter() - start

        gradient = np.zeros_like(scores)
        gradient[rows, liked_films] = by_liked
        np.add.at(gradient, (rows, unrated_films), by_unrated)  # adds: a film can be drawn more than once
        return gradient, PairTotals(loss, rows.size, np.count_nonzero(by_liked), seconds)

    def hardest_unrated(self, users, rows, scores):
        """Return, for each of these rows of ``scores``, the best of some films that its user has not rated."""
        user_of_pair = users[rows]
        drawn = self.rng.integers(self.unrated_counts[user_of_pair, None], size=(rows.size, self.negatives))
        candidates = self.unrated_films[self.unrated_starts[user_of_pair, None] + drawn]
        hardest = scores[rows[:, None], candidates].argmax(axis=1)
        return candidates[np.arange(rows.size), hardest]


class AllPairs(ScoredPairs):
    """Each liked film against every film that the user has not rated.

    The loss of a pair is squared, since most pairs are easy. The pairs of a liked film share the weight of a few, which
    makes the steps about as long as with sampled pairs.
    """

    def __init__(self, split, margin):
        super().__init__(split)
        self.takes_part = split.liked | ~split.rated
        self.margin = margin

    def by_scores(self, users, scores):
        liked, takes_part = self.liked[users], self.takes_part[users]
        liked_counts = np.count_nonzero(liked, axis=1)
        unrated_counts = np.count_nonzero(takes_part, axis=1) - liked_counts

        start = time.perf_counter()
        losses, gradient, active = nr.pairwise_hinge_loss_and_grad(
            scores,
            liked,
            where=takes_part,
            margin=self.margin,
            power=2,
            reduction="none",
            gradient=PAIRS_OF_A_LIKED_FILM / unrated_counts,
            return_counts=True,
        )
        seconds = time.perf_counter() - start
        return gradient, PairTotals(losses.sum(), liked_counts @ unrated_counts, active.sum() / 2, seconds)


def pair_loss(liked_scores, unrated_scores, margin, device):
    """Return the summed loss of the pairs and its gradients by both scores, computed on the device."""
    scores = liked_scores, unrated_scores
    if device != "cpu":
        scores = [nr.tensor(score, device=device) for score in scores]
    loss, gradients = nr.margin_ranking_loss_and_grad(*scores, 1, margin=margin, reduction="sum")
    if device != "cpu":
        gradients = [gradient.cpu().numpy() for gradient in gradients]
    return float(loss), gradients
