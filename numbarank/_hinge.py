"""The maths of one pair of the pairwise hinge loss, as a plain scalar that both compilers take."""


def violation(winner, loser, margin):
    """Return what a pair lacks to its distance: margin ranking loss before the clamp, for a target of 1."""
    return -(winner - loser) + margin
