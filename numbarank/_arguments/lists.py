"""What must hold of query groups and their rows, and what is said about rows and weights that are invalid."""

import numpy as np

from numbarank._arguments.words import shapes_of


def check_list_shapes(scores, *others):
    """Raise ValueError where scores are neither a list nor a list a row, or another input has another shape."""
    if scores.array.ndim not in (1, 2):
        raise ValueError(
            f"{shapes_of(scores)}; it must have one axis, or two with a list a row: reshape it with scores.reshape(-1)"
        )
    for item in others:
        if tuple(item.array.shape) != tuple(scores.array.shape):
            raise ValueError(f"{shapes_of(scores, item)}; they must be equal, a {item.name[:-1]} for each score")


def check_longest(rows, allowed, device):
    """Raise ValueError where the longest group has more rows than a device takes."""
    if rows > allowed:
        elsewhere = "" if device == "cpu" else "compute it on the CPU, with numbarank.Tensor(scores).cpu(), or "
        raise ValueError(
            f"scores has a group of {rows} rows; on {device} a group may have {allowed}: {elsewhere}leave rows out"
        )


def describe_invalid_row(row, scores, labels, weights):
    """Return the message about the first row that a loss on lists cannot be computed with."""
    place = np.unravel_index(row, scores.array.shape)
    for item in (scores, labels, weights):
        if item is not None and not np.isfinite(item.array[place]):
            name, allowed, advice = item.name, "finite", "mend it or leave the row out"
            break
    else:
        name, allowed, advice, item = "weights", "0 or more", "a pair weighs the product of its two weights", weights
    index = ", ".join(map(str, place))
    return f"{name}[{index}] is {item.array[place]}; {name} must be {allowed}: {advice}"


def describe_invalid_weight(pair, weights, shape):
    """Return the message about the first weight of a pair that is negative or not finite."""
    place = np.unravel_index(pair, shape)
    value, index = np.broadcast_to(weights, shape)[place], ", ".join(map(str, place))
    return f"weights[{index}] is {value}; weights must be 0 or more and finite: give a pair that does not count 0"
