"""Queries and items, and which of these belong together."""

import math
from typing import NamedTuple

import numpy as np

from numbarank._arguments.devices import device_of_all
from numbarank._arguments.dtypes import check_number
from numbarank._arguments.inputs import read
from numbarank._arguments.settings import real_number
from numbarank._arguments.whole_numbers import whole_numbers
from numbarank._arguments.words import blaming, is_whole, shapes_of, shown, type_name

_PAIR = "a pair of index arrays, (queries, items), or a CSR matrix with indptr and indices"


class Entries(NamedTuple):
    """Places in the table of queries and items, in the order in which they came."""

    name: str
    queries: np.ndarray
    items: np.ndarray


def read_embeddings(queries, items, bias):
    """Return queries, items and bias as ``Input`` and their device: the bias may be None.

    Raises
    ------
    TypeError
        If one is no array of numbers.
    ValueError
        If the shapes do not fit, or not all are on one device.
    """
    inputs = queries, items = _read_numbers("queries", queries), _read_numbers("items", items)
    if bias is not None:
        bias = _read_numbers("bias", bias)
        inputs += (bias,)
    device = device_of_all(inputs)
    for item in (queries, items):
        if item.array.ndim != 2:
            raise ValueError(f"{shapes_of(item)}; it must have two axes, a row for each of the {item.name}")
    if queries.array.shape[1] != items.array.shape[1]:
        raise ValueError(f"{shapes_of(queries, items)}; their rows must be equally long")
    if bias is not None and bias.array.shape != items.array.shape[:1]:
        raise ValueError(f"{shapes_of(bias, items)}; bias must have one number for each of the items")
    return (queries, items, bias), device


def _read_numbers(name, value):
    item = read(name, value)
    check_number(item)
    return item


def check_rows(inputs, longest):
    """Raise ValueError where queries or items have more rows than a backend takes."""
    for item in inputs[:2]:
        if item.array.shape[0] > longest:
            raise ValueError(f"{shapes_of(item)}; it may have {longest} rows: pass some of them at a time")


def read_entries(name, value, queries, items):
    """Return the places that an argument names in a table of so many queries and items; none for None.

    Raises
    ------
    TypeError
        If it is neither a pair of index arrays nor a CSR matrix, or its indices are no whole numbers.
    ValueError
        If indices do not fit each other or the table.
    """
    if value is None:
        return Entries(name, np.zeros(0, np.int64), np.zeros(0, np.int64))
    if isinstance(value, (tuple, list)):
        return _read_pair(name, value, queries, items)
    with blaming(f"{name} is a {type_name(value)} that does not give out its indices"):
        parts = [getattr(value, part, None) for part in ("indptr", "indices", "format", "shape")]
    if isinstance(value, type) or parts[0] is None or parts[1] is None:
        raise TypeError(f"{name} is a {type_name(value)}; it must be {_PAIR}")
    return _read_csr(name, *parts, queries, items)


def _read_pair(name, value, queries, items):
    if len(value) != 2:
        raise ValueError(f"{name} holds {len(value)} values; it must be {_PAIR}")
    rows, columns = (_read_indices(f"{name}[{k}]", part) for k, part in enumerate(value))
    if len(rows) != len(columns):
        raise ValueError(
            f"{name}[0] has {len(rows)} indices and {name}[1] has {len(columns)}; they must be equal: a query and an "
            "item for each entry"
        )
    rows = _within(f"{name}[0]", rows, queries, "queries")
    return Entries(name, rows, _within(f"{name}[1]", columns, items, "items"))


def _read_csr(name, indptr, indices, form, shape, queries, items):
    if isinstance(form, str) and form != "csr":
        raise TypeError(f"{name} is a sparse matrix in the format {form!r}; it must be 'csr': pass {name}.tocsr()")
    if isinstance(shape, tuple) and shape != (queries, items):
        raise ValueError(f"{name} has shape {shape}; it must be {(queries, items)}, a row for each query")
    starts, columns = _read_indices(f"{name}.indptr", indptr), _read_indices(f"{name}.indices", indices)
    if len(starts) != queries + 1:
        raise ValueError(f"{name}.indptr has {len(starts)} numbers; it must have {queries + 1}, one more than queries")
    if starts[0] != 0 or starts[-1] > len(columns) or (starts[1:] < starts[:-1]).any():
        raise ValueError(
            f"{name}.indptr must go from 0 to at most {len(columns)}, the length of {name}.indices, and never go down"
        )
    starts = starts.astype(np.int64)
    columns = _within(f"{name}.indices", columns[: starts[-1]], items, "items")
    return Entries(name, np.repeat(np.arange(queries), np.diff(starts)), columns)


def _read_indices(name, values):
    """Return the values as a vector of whole numbers."""
    return whole_numbers(name, values, "an index for each entry", ": of a mask, pass numpy.nonzero(mask)")


def _within(name, indices, count, of):
    bad = (indices < 0) | (indices >= count)
    if bad.any():
        place = int(np.argmax(bad))
        allowed = f"it must be from 0 to {count - 1}" if count else "it must be empty"
        raise ValueError(f"{name}[{place}] is {indices[place]}; {of} has {count} rows, so {allowed}")
    return indices.astype(np.int64)


def read_weights_of_entries(weights, entries):
    """Return the weights of entries as a float64 array, or raise; None for None."""
    if weights is None:
        return None
    item = read("weights", weights)
    check_number(item)
    if item.device != "cpu":
        raise TypeError(f"weights is on {item.device}; it must be in host memory, as {entries.name} is")
    if item.array.shape != entries.items.shape:
        raise ValueError(
            f"{shapes_of(item)}; it must have shape {entries.items.shape}, one for each entry of {entries.name}"
        )
    array = item.array.astype(np.float64)
    bad = ~((array >= 0) & (array < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"weights[{place}] is {array[place]}; weights must be 0 or more and finite")
    return array


def refuse_doubled_entry(entries, order, again):
    """Raise ValueError about the first entry that comes again, at a place in the order of entries."""
    first, second = sorted((int(order[again - 1]), int(order[again])))
    raise ValueError(
        f"{entries.name} holds item {entries.items[first]} of query {entries.queries[first]} twice, as entries {first} "
        f"and {second}, and weights are given: leave one of them out"
    )


def describe_invalid_query(query):
    """Return the message about the first query with a score that cannot be computed with."""
    return (
        f"query {query} has scores that are NaN or infinite: queries[{query}], items and bias must be finite, and so "
        "must their products"
    )


def read_whole(name, value, least):
    """Return a whole number of at least some value as an int, or raise."""
    if not is_whole(value):
        raise TypeError(f"{name} is {shown(value)}; it must be an int of at least {least}")
    if value < least:
        raise ValueError(f"{name} is {shown(value)}; it must be at least {least}")
    return int(value)


def read_ceiling(ceiling, positives):
    """Return the ceiling as a float, infinity for None; it needs positives."""
    if ceiling is None:
        return math.inf
    number = real_number("ceiling", ceiling)
    if not 0 < number < math.inf:
        raise ValueError(f"ceiling is {shown(ceiling)}; it must be above 0 and finite, as in 0.95")
    if positives is None:
        raise ValueError("ceiling is given without positives: it is so many times the score of the best of these")
    return number
