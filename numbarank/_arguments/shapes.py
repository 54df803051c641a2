"""The shapes of arguments, and what they broadcast to."""

import math
import operator

import numpy as np

from numbarank._arguments.words import blaming, shapes_of


def output_shape(input1, input2, *others):
    """Return the shape that the inputs broadcast to; others than scores stand for every pair if they have no axes."""
    items = (input1, input2, *(item for item in others if item.array.ndim))
    if len({item.array.ndim for item in items}) > 1:
        raise ValueError(
            f"{shapes_of(input1, input2, *others)}; all need the same number of dimensions: {_reshape_advice(items)}"
        )
    shapes = {item.array.shape for item in items}
    try:
        return shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    except (ValueError, RuntimeError):
        raise ValueError(
            f"{shapes_of(input1, input2, *others)}; they do not broadcast: along each of at most 32 axes the lengths "
            "must be equal or 1"
        ) from None


def _reshape_advice(items):
    most = max(item.array.ndim for item in items)
    short = min(items, key=lambda item: item.array.ndim)
    full = next(item for item in items if item.array.ndim == most)
    shape = tuple(short.array.shape)
    rows = full.array.shape[: len(shape)] == shape
    padded = shape + (1,) * (most - len(shape)) if rows else (1,) * (most - len(shape)) + shape
    if math.prod(shape) == math.prod(full.array.shape):
        padded = tuple(full.array.shape)
    return f"reshape {short.name} with {short.name}.reshape({padded})"


def read_shape(shape):
    """Return the shape that ``zeros(*shape)`` and the like mean: some lengths, or one tuple of them."""
    with blaming("shape must be lengths of at least 0"):
        lengths = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        shape = tuple(map(operator.index, lengths))
    if min(shape, default=0) < 0:
        raise ValueError(f"shape is {shape}; each length must be at least 0")
    return shape
