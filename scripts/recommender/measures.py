"""How good recommendations are, by what users rated and the training did not see."""

import numpy as np

LIST_LENGTH = 10

MEASURES = {
    "recall@10": "recall@10",
    "NDCG@10": "NDCG@10",
    "pair_order": "(liked, unrated) pairs in order",
}


def evaluate(scores, split):
    """Return the measures of the scores on the held-out ratings, by name."""
    recommended = top_films(scores, split.rated)
    return {
        "recall@10": recall(recommended, split.held_out_liked),
        "NDCG@10": ndcg(recommended, split.held_out_liked),
        "pair_order": pair_order(scores, split.held_out_liked, split.never_rated),
    }


def popularity(split):
    """Return the baseline's scores: for every user, the number of users who liked the film."""
    return np.broadcast_to(split.liked.sum(axis=0), split.liked.shape)


def top_films(scores, rated, length=LIST_LENGTH):
    """Return each user's best-scoring films among those not yet rated, best first, of shape (users, length)."""
    unrated_scores = np.where(rated, -np.inf, scores)
    best = np.argpartition(unrated_scores, -length, axis=1)[:, -length:]
    best_first = np.argsort(-np.take_along_axis(unrated_scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, best_first, axis=1)


def recall(recommended, relevant):
    """Return the share of a user's relevant films that are recommended, averaged over users who have any.

    Where more films are relevant than the list is long, the share is of the list's length, so that 1 can be
    reached (Liang et al. 2018, Variational autoencoders for collaborative filtering).
    """
    possible = np.minimum(relevant.sum(axis=1), recommended.shape[1])
    hits = np.take_along_axis(relevant, recommended, axis=1).sum(axis=1)
    return float(np.mean(hits[possible > 0] / possible[possible > 0]))


def ndcg(recommended, relevant):
    """Return the normalised discounted cumulative gain, averaged over users who have relevant films.

    References
    ----------
    Järvelin, Kekäläinen (2002), Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4).
    """
    discounts = 1 / np.log2(np.arange(recommended.shape[1]) + 2)
    possible = np.minimum(relevant.sum(axis=1), recommended.shape[1])
    gains = np.take_along_axis(relevant, recommended, axis=1) @ discounts
    best_gains = np.cumsum(discounts)[possible[possible > 0] - 1]
    return float(np.mean(gains[possible > 0] / best_gains))


def pair_order(scores, relevant, irrelevant):
    """Return the share of all users' (relevant, irrelevant) pairs in the right order; a tie counts half."""
    in_order = pairs = 0
    for user_scores, is_relevant, is_irrelevant in zip(scores, relevant, irrelevant, strict=True):
        ascending = np.sort(user_scores[is_irrelevant])
        below = np.searchsorted(ascending, user_scores[is_relevant], side="left")
        below_or_tied = np.searchsorted(ascending, user_scores[is_relevant], side="right")
        in_order += (below.sum() + below_or_tied.sum()) / 2
        pairs += below.size * ascending.size
    return float(in_order / pairs)
