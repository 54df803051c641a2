"""Which losers a winner meets."""

import numbers

from numbarank._arguments.words import is_whole, shown


def read_losers(losers):
    """Return how many of its losers a winner meets, the highest ones: None for all, an int, or a share as a float.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is an int below 1, or a share that is not above 0 and at most 1.
    """
    if losers is None:
        return None
    if is_whole(losers):
        if losers < 1:
            raise ValueError(f"losers is {shown(losers)}; a number of losers must be at least 1: pass None for all")
        return int(losers)
    if isinstance(losers, numbers.Real) and hasattr(type(losers), "__float__") and not isinstance(losers, bool):
        share = float(losers)
        if not 0 < share <= 1:
            raise ValueError(
                f"losers is {shown(losers)}; a share of the losers must be above 0 and at most 1: pass an int for a "
                "number of them"
            )
        return share
    raise TypeError(
        f"losers is {shown(losers)}; it must be None for all losers, an int for the highest of them, or a float for a "
        "share of them"
    )
