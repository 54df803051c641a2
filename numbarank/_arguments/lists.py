"""What must hold of query groups and their rows, and what is said about rows and weights that are invalid."""

import math

import numpy as np

from numbarank._arguments.words import shapes_of


def check_list_shapes(scores, labels, where):
    """Raise ValueError where scores are neither a list nor a list a row, or labels or mask have another shape.

    A mask says that rows are lists; without one, a column of scores is one list in the wrong shape.
    """
    shape = tuple(scores.array.shape)
    if len(shape) not in (1, 2):
        raise ValueError(
            f"{shapes_of(scores)}; it must have one axis, or two with a list a row: reshape it with scores.reshape(-1)"
        )
    for item in (labels, where):
        if item is not None and tuple(item.array.shape) != shape:
            advice = _reshape_advice(scores, item)
            raise ValueError(f"{shapes_of(scores, item)}; they must be equal, one value for each score{advice}")
    if shape[0] > 1 and shape[1:] == (1,) and where is None:
        raise ValueError(
            f"{shapes_of(scores)}, {shape[0]} lists of one row each, and a pair takes two rows of a list: pass "
            "scores.reshape(-1) and labels.reshape(-1) if it is one list, as from a layer with one output; if each row "
            "is a list, pass where as well, True everywhere"
        )


def check_weights_of_rows(weights, scores, queries, sizes):
    """Raise ValueError where there is not a weight for each score; ``sizes`` is the source of the queries' sizes."""
    shape = tuple(scores.array.shape)
    if weights is None or tuple(weights.array.shape) == shape:
        return
    advice = _reshape_advice(scores, weights)
    if tuple(weights.array.shape) == (queries,):
        spread = f"numpy.repeat(numpy.sqrt(weights), {sizes})" + (f".reshape({shape})" if len(shape) == 2 else "")
        advice = f": of a weight for each query, pass {spread}, as a pair weighs the product of its rows' weights"
    raise ValueError(f"{shapes_of(scores, weights)}; they must be equal, one value for each score{advice}")


def _reshape_advice(*items):
    """Return the advice to make a vector of a column or row of numbers that stands beside a vector."""
    sizes = {math.prod(item.array.shape) for item in items}
    flat = [item for item in items if item.array.ndim == 2 and 1 in item.array.shape]
    is_beside_vector = len(flat) == 1 and len(sizes) == 1 and any(item.array.ndim == 1 for item in items)
    return f": pass {flat[0].name}.reshape(-1)" if is_beside_vector else ""


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
