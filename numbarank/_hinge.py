"""The maths of one pair of the pairwise hinge loss and of the choice of pairs, as scalars that both compilers take."""

import math


def violation(winner, loser, margin):
    """Return what a pair lacks to its distance: margin ranking loss before the clamp, for a target of 1."""
    return -(winner - loser) + margin


def highest_allowed(best, share, share_below_zero, distance):
    """Return the highest score of a hard negative: so much of its query's best positive, and so far below it.

    The two shares are for a positive above and below 0. Infinity, minus infinity and minus infinity allow all.
    """
    by_share = (share if best >= 0 else share_below_zero) * best
    by_distance = best - distance
    return by_share if by_share < by_distance else by_distance  # infinity times 0 is NaN, which is not below


def count_losers(rows, share, most):
    """Return how many of so many rows of lower labels a winner meets: a share of them, rounded up, or the most.

    That is the smallest count of which ``count / rows`` is the share or more, as the product may round to above it.
    """
    count = math.ceil(share * rows)
    if count > 0 and (count - 1) / rows >= share:
        count -= 1
    return count if count < most else most
