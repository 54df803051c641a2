"""Which pairs are chosen."""

import numpy as np

from numbarank._arguments.words import is_whole, shown

ALL = 2**31 - 1  # more than the rows of a group


def check_losers(losers):
    """Return a choice of losers as None, an int or a float, or raise."""
    if losers is None:
        return None
    if is_whole(losers) and losers >= 1:
        return int(losers)
    if isinstance(losers, (float, np.floating)) and 0 < losers <= 1:
        return float(losers)
    error = ValueError if is_whole(losers) or isinstance(losers, (float, np.floating)) else TypeError
    raise error(
        f"losers is {shown(losers)}; it must be None for all rows of lower label, a whole number from 1 on for the "
        "highest-scoring of them, or a share of them as a float above 0 and up to 1"
    )


def read_losers(losers):
    """Return None for all pairs, or the share and the largest number of the losers that a row meets."""
    losers = check_losers(losers)
    if losers is None:
        return None
    return (losers, ALL) if isinstance(losers, float) else (1.0, min(losers, ALL))
