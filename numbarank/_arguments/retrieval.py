"""Queries and items, and which of these belong together."""

import collections.abc
import math
import numbers
from typing import Any, NamedTuple

import numpy as np

from numbarank._arguments.devices import device_of_all
from numbarank._arguments.dtypes import check_number
from numbarank._arguments.inputs import read, read_in_host_memory
from numbarank._arguments.settings import real_number
from numbarank._arguments.whole_numbers import whole_numbers
from numbarank._arguments.words import blaming, is_whole, shapes_of, shown, type_name
from numbarank._packages import is_a

_PAIR = "a pair of index arrays, (queries, items), or a CSR matrix with indptr and indices"
_WITHOUT_PLACES = (collections.abc.Iterator, collections.abc.Set, collections.abc.ValuesView)


class Entries(NamedTuple):
    """Places in the table of queries and items, in the order in which they came.

    ``kept`` chooses these of the ``stored`` ones that came, as a sparse matrix may store zeros.
    """

    name: str
    queries: np.ndarray
    items: np.ndarray
    stored: int
    kept: Any = slice(None)


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
        If indices do not fit each other or the table, or a matrix stores a number below 0 or NaN.
    """
    if value is None:
        return Entries(name, np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    if isinstance(value, (tuple, list)):
        return _read_pair(name, value, queries, items)
    with blaming(f"{name} is a {type_name(value)} that does not give out its indices"):
        form, *parts = [getattr(value, part, None) for part in ("format", "indptr", "indices", "shape")]
    if isinstance(form, str) and form != "csr":
        raise TypeError(f"{name} is a sparse matrix in the format {form!r}; it must be 'csr': pass {name}.tocsr()")
    if isinstance(value, type) or parts[0] is None or parts[1] is None:
        problem = f"{name} is a {type_name(value)}; it must be {_PAIR}"
        with blaming(problem):
            advice = _advice(name, value, parts[2], queries, items)
        raise TypeError(problem + advice)
    entries = _read_csr(name, *parts, queries, items)
    with blaming(f"{name} is a {type_name(value)} that does not give out what it stores"):
        data, is_scipy = getattr(value, "data", None), hasattr(value, "tocsr")
    return entries if data is None else _without_zeros(entries, data, is_scipy)


def _read_pair(name, value, queries, items):
    if len(value) != 2:
        advice = _advice_for_list(name, value, queries)
        raise ValueError(f"{name} holds {len(value)} values; it must be {_PAIR}{advice}")
    rows, columns = (_read_indices(f"{name}[{k}]", part) for k, part in enumerate(value))
    if len(rows) != len(columns):
        raise ValueError(
            f"{name}[0] has {len(rows)} indices and {name}[1] has {len(columns)}; they must be equal: a query and an "
            f"item for each entry{_advice_for_list(name, value, queries)}"
        )
    rows = _within(f"{name}[0]", rows, queries, "queries")
    return Entries(name, rows, _within(f"{name}[1]", columns, items, "items"), len(rows))


def _read_csr(name, indptr, indices, shape, queries, items):
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
    return Entries(name, np.repeat(np.arange(queries), np.diff(starts)), columns, len(columns))


def _without_zeros(entries, data, is_scipy):
    """Return the entries beside which a number above 0 is stored; raise ValueError where one is below 0 or NaN."""
    name, stored = f"{entries.name}.data", entries.stored
    data = read_in_host_memory(name, data)
    if data.ndim != 1 or len(data) < stored:
        raise ValueError(f"{name} has shape {data.shape}; it must have a number for each of the {stored} entries")
    if data.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {data.dtype}; it must hold real numbers")
    data = data[:stored]
    counts = data > 0
    if counts.all():
        return entries
    bad = ~(data >= 0)
    if bad.any():
        place = int(np.argmax(bad))
        advice = f"pass {entries.name} > 0, which drops them" if is_scipy else "store 0 there"
        raise ValueError(
            f"{name}[{place}] is {data[place]}, at query {entries.queries[place]}, item {entries.items[place]}; "
            f"entries above 0 count, those of 0 do not, and none may be below 0 or NaN: {advice}"
        )
    kept = np.flatnonzero(counts)
    return Entries(entries.name, entries.queries[kept], entries.items[kept], stored, kept)


def _read_indices(name, values):
    """Return the values as a vector of whole numbers."""
    if issubclass(type(values), _WITHOUT_PLACES):
        raise TypeError(f"{name} is a {type_name(values)}; it must be a list or NumPy array: pass list({name})")
    return whole_numbers(
        name,
        values,
        "an index for each entry",
        ": of a mask, pass numpy.nonzero(mask); of ids that are text, pass index where names, index = "
        "numpy.unique(ids, return_inverse=True); row k of the embeddings must then be that of names[k]",
    )


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
    if item.array.shape != (entries.stored,):
        zeros = ", also where it stores 0" if entries.stored > len(entries.items) else ""
        raise ValueError(
            f"{shapes_of(item)}; it must have shape {(entries.stored,)}, one for each entry of {entries.name}{zeros}"
        )
    array = item.array.astype(np.float64)
    bad = ~((array >= 0) & (array < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"weights[{place}] is {array[place]}; weights must be 0 or more and finite")
    return array[entries.kept]


def refuse_doubled_entry(entries, one, other):
    """Raise ValueError about an entry that comes twice."""
    first, second = np.arange(entries.stored)[entries.kept][sorted((one, other))]
    raise ValueError(
        f"{entries.name} holds item {entries.items[one]} of query {entries.queries[one]} twice, as entries {first} "
        f"and {second}, and weights are given: leave one of them out"
    )


# ---------------------------------------------------------------- advice, as the end of a message


def _advice(name, value, shape, queries, items):
    """Return what to write for a value that is no pair of index arrays, if that is known."""
    if issubclass(type(value), dict):
        if all(isinstance(own, numbers.Number) for own in value.values()):
            return f": of one item for each query, pass list({name}), list({name}.values())"
        return _joined([_items_of_each(name, f"{name}.items()", f"{name}.values()")])
    is_array = isinstance(shape, tuple)
    is_of_lists = is_array and len(shape) == 1 and getattr(getattr(value, "dtype", None), "kind", "") == "O"
    if issubclass(type(value), _WITHOUT_PLACES) or is_of_lists:
        return f": pass list({name})"
    return _joined(list(_ways_from_array(name, value, shape, queries, items))) if is_array else ""


def _joined(ways):
    return f": {'; '.join(ways)}" if ways else ""


def _items_of_each(name, numbered, owns):
    return (
        f"of the items of each query, pass [query for query, own in {numbered} for _ in own], "
        f"[item for own in {owns} for item in own]"
    )


def _one_item_each(name):
    return f"of one item for each query, pass numpy.arange(len({name})), {name}"


def _ways_from_array(name, array, shape, queries, items):
    if shape == (queries,):
        yield _one_item_each(name)
    if len(shape) != 2:
        return
    at = f"{name}.iloc" if hasattr(array, "iloc") else name
    if shape == (queries, items):
        is_torch = is_a(array, "torch", "Tensor")
        nonzero = f"({name}.to_dense() > 0).nonzero(as_tuple=True)" if is_torch else f"numpy.nonzero({name} > 0)"
        yield f"of a column for each item, pass {nonzero}"
    elif shape[0] == queries:
        yield f"of {shape[1]} items of each query, pass numpy.arange({queries}).repeat({shape[1]}), numpy.ravel({name})"
    if shape[1] == 2:
        yield f"of an entry a row, pass {at}[:, 0], {at}[:, 1]"
    if shape[0] == 2:
        yield f"of an entry a column, pass {at}[0], {at}[1]"


def _advice_for_list(name, value, queries):
    if len(value) == queries and all(isinstance(part, numbers.Number) for part in value):
        return _joined([_one_item_each(name)])
    if not all(isinstance(part, (list, tuple, set)) or (type(part) is np.ndarray and part.ndim) for part in value):
        return ""
    ways = []
    if len(value) != 2 and all(len(part) == 2 for part in value):
        ways.append(f"of pairs (query, item), pass tuple(zip(*{name}))")
    if len(value) == queries:
        ways.append(_items_of_each(name, f"enumerate({name})", name))
    return _joined(ways)


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


def read_distance(distance, positives):
    """Return the distance as a float, minus infinity for None; it needs positives."""
    if distance is None:
        return -math.inf
    number = real_number("distance", distance)
    if not 0 <= number < math.inf:
        raise ValueError(f"distance is {shown(distance)}; it must be 0 or more and finite, as in 0.1")
    if positives is None:
        raise ValueError("distance is given without positives: it is that from the score of the best of these")
    return number
