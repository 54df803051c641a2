"""The rows of query groups: which take part, and what they weigh."""

import functools
import math

from numbarank._cuda.driver import inline


@functools.cache
def weigher(has_weights, has_mask):
    """Return the device function for the weight of a row.

    It is negative where the row takes no part, and NaN where it cannot be computed with.
    """

    @inline
    def weight_of(scores, labels, weights, where, k):
        if has_mask and not where[k]:
            return -1.0
        weight = weights[k] if has_weights else 1.0
        is_finite = scores[k] - scores[k] == type(scores[k])(0) and labels[k] - labels[k] == type(labels[k])(0)
        return weight if is_finite and 0.0 <= weight < math.inf else math.nan

    return weight_of
