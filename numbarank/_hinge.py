"""The maths of one pair of the pairwise hinge loss and of the choice of pairs, as scalars that both compilers take."""

import math


def violation(winner, loser, margin):
    """Return what a pair lacks to its distance: margin ranking loss before the clamp, for a target of 1."""
    return -(winner - loser) + margin


def count_losers(rows, share, most):
    """Return how many of so many rows of lower labels a winner meets: a share of them, rounded up, or the most.

    That is the smallest count of which ``count / rows`` is the share or more, as the product may round to above it.
    """
    count = math.ceil(share * rows)
    if count > 0 and (count - 1) / rows >= share:
        count -= 1
    return count if count < most else most
