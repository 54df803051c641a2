"""The NumPy oracle: margin ranking loss written for the eye, not for speed.

It knows nothing of the library. Elementwise values follow the formula with one rounding an operation in the
compute dtype (float32 for the two half types, which are rounded once, at the store); sums are exact rational
numbers, rounded once.
"""

import functools
import itertools
import math
from fractions import Fraction

import numpy as np

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

FLOAT16, FLOAT32, FLOAT64 = (np.dtype(name) for name in ("float16", "float32", "float64"))
BFLOAT16 = np.dtype(ml_dtypes.bfloat16) if ml_dtypes else None
FLOATS = tuple(dtype for dtype in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16) if dtype is not None)

# (size_average, reduce) -> the reduction they stand for; None where neither was given
LEGACY = {
    (None, None): None,
    (None, True): "mean",
    (None, False): "none",
    (True, None): "mean",
    (True, True): "mean",
    (True, False): "none",
    (False, None): "sum",
    (False, True): "sum",
    (False, False): "none",
}


# ---------------------------------------------------------------- dtypes


def native(dtype):
    """The dtype in this machine's byte order."""
    dtype = np.dtype(dtype)
    return dtype if dtype == BFLOAT16 else dtype.newbyteorder("=")


def is_python_number(x):
    return isinstance(x, int | float) and not isinstance(x, np.generic)


def promote(a, b):
    """The common dtype of two of the four: the wider one; float32 for the two half types."""
    if a == b:
        return a
    if a.itemsize == b.itemsize:
        return FLOAT32
    return max(a, b, key=lambda dtype: dtype.itemsize)


def gradient_dtype(x):
    """A gradient has its input's dtype, and float64 where that is an integer."""
    dtype = native(np.asarray(x).dtype)
    return dtype if dtype in FLOATS else FLOAT64


def loss_dtype(x1, x2, y):
    """Scores promote, integers as float64, Python numbers not at all; so do targets that are floating arrays."""
    dtypes = [gradient_dtype(x) for x in (x1, x2) if not is_python_number(x)]
    if np.ndim(y) > 0 and native(np.asarray(y).dtype) in FLOATS:
        dtypes.append(gradient_dtype(y))
    return functools.reduce(promote, dtypes) if dtypes else FLOAT64


def compute_dtype(dtype):
    return FLOAT64 if dtype == FLOAT64 else FLOAT32


def target_is_refused(dtype):
    """bool cannot be negated, unsigned integers wrap, the rest are no numbers that a loss can use."""
    dtype = native(dtype)
    return dtype.kind != "i" and dtype not in FLOATS


def target_is_ones(y):
    return bool((np.abs(np.asarray(y).astype(np.float64)) == 1).all())


# ---------------------------------------------------------------- exact sums


def exact_sum(values):
    """The sum of floating values: a Fraction, or the float inf, -inf or nan that IEEE gives."""
    values = np.asarray(values).astype(np.float64).ravel()
    special = values[~np.isfinite(values)]
    if special.size:
        with np.errstate(all="ignore"):
            return float(special.sum())
    # value = integer * 2**(exponent - 53), the exponent never below -1073; integers are added up an exponent
    # at a time, in two halves whose float64 sums are exact below 2**26 values
    mantissa, exponent = np.frexp(values)
    integer = (mantissa * 2.0**53).astype(np.int64)
    high = np.bincount(exponent + 1073, weights=integer >> 27)
    low = np.bincount(exponent + 1073, weights=integer & (2**27 - 1))
    total = sum(((int(high[e]) << 27) + int(low[e])) << e for e in range(high.size))
    return Fraction(total, 1 << (1073 + 53))


def rounded(exact, dtype):
    """An exact result as the nearest scalar of the dtype, ties to even, infinite where it is too large."""
    if isinstance(exact, Fraction):
        exact = _round_to_odd(exact) if dtype != FLOAT64 else _nearest_float64(exact)
    with np.errstate(all="ignore"):
        return np.asarray(exact, np.float64).astype(dtype)[()]


def _nearest_float64(exact):
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _round_to_odd(exact):
    """A float64 from which rounding to fewer bits gives what rounding the exact number would give."""
    near = _nearest_float64(exact)
    if math.isinf(near) or Fraction(near) == exact:
        return near
    if int(np.float64(near).view(np.int64)) % 2 == 0:
        near = math.nextafter(near, math.inf if exact > near else -math.inf)
    return near


# ---------------------------------------------------------------- the loss


def _converted(x1, x2, y, margin, weights):
    """All in the compute dtype, broadcast against each other; without weights each pair weighs 1."""
    compute = compute_dtype(loss_dtype(x1, x2, y))
    arrays = [np.asarray(x).astype(compute) for x in (x1, x2, y, margin, 1 if weights is None else weights)]
    return np.broadcast_arrays(*arrays)


def losses(x1, x2, y, margin=0.0, weights=None):
    """Elementwise losses in the compute dtype; a pair of weight 0 is left out, whatever its scores are."""
    with np.errstate(all="ignore"):
        x1, x2, y, margin, weights = _converted(x1, x2, y, margin, weights)
        z = np.asarray(-y * (x1 - x2) + margin)
        zero = z.dtype.type(0)
        return np.where(weights == 0, zero, weights * np.where(z < 0, zero, z))


def loss(x1, x2, y, margin=0.0, reduction="mean", weights=None):
    """What margin_ranking_loss should return: an array for 'none', a scalar of the loss dtype otherwise."""
    pairs, dtype = losses(x1, x2, y, margin, weights), loss_dtype(x1, x2, y)
    if reduction == "none":
        with np.errstate(all="ignore"):
            return pairs.astype(dtype)
    total = exact_sum(pairs)
    if reduction == "mean":
        divisor = exact_sum(_converted(x1, x2, y, margin, weights)[-1])
        total = total / divisor if divisor else math.nan
    return rounded(total, dtype)


def slopes(x1, x2, y, margin=0.0, reduction="mean", gradient=1.0, weights=None):
    """Gradients of every pair by x1, x2 and y, in the compute dtype and the shape of the output."""
    with np.errstate(all="ignore"):
        x1, x2, y, margin, weights = _converted(x1, x2, y, margin, weights)
        upstream = np.asarray(gradient).astype(margin.dtype)
        if reduction == "mean" and x1.size:
            upstream = upstream / rounded(exact_sum(weights), upstream.dtype)
        z, zero = -y * (x1 - x2) + margin, margin.dtype.type(0)
        d = np.where(z >= 0, weights * upstream, zero)
        by_x1, by_y = (np.where(weights == 0, zero, by) for by in (d * -y, -(d * (x1 - x2))))
        return np.asarray(by_x1), np.asarray(-by_x1), np.asarray(by_y)


def _rows(full, shape):
    """The elements of `full` that one element of a broadcast input stands for, a row an element."""
    owner = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), full.shape).ravel()
    return full.ravel()[np.argsort(owner, kind="stable")].reshape(math.prod(shape), -1)


def summed_to(full, shape, dtype):
    """A gradient in its input's own shape: exact sums over the broadcast axes, rounded once."""
    if full.shape == shape or not full.size:
        with np.errstate(all="ignore"):
            return full.astype(dtype) if full.shape == shape else np.zeros(shape, dtype)
    sums = [rounded(exact_sum(row), dtype) for row in _rows(full, shape)]
    return np.array(sums, dtype).reshape(shape)


def float64_sum_error(full, shape):
    """How far float64 sums over the broadcast axes may lie from the exact ones, in any order of adding."""
    if full.shape == shape or not full.size:
        return np.zeros(shape)
    with np.errstate(all="ignore"):
        rows = np.abs(_rows(full, shape).astype(np.float64))
        return (rows.sum(axis=1) * (rows.shape[1] * 2.0**-53)).reshape(shape)


def gradients(x1, x2, y, margin=0.0, reduction="mean", gradient=1.0):
    """The gradients of x1, x2 and y, each in its input's own shape and dtype."""
    full = slopes(x1, x2, y, margin, reduction, gradient)
    return tuple(summed_to(g, np.shape(x), gradient_dtype(x)) for g, x in zip(full, (x1, x2, y), strict=True))


# ---------------------------------------------------------------- all pairs of query groups


def count_losers(rows, losers):
    """How many of so many rows of lower label a row meets: so many, or the smallest count that is such a share."""
    if losers is None or isinstance(losers, int):
        return rows if losers is None else min(rows, losers)
    return int(np.argmax(np.arange(rows + 1) / max(rows, 1) >= losers))


def highest(scores, lower, losers):
    """Those of the rows of lower label that a row meets: the highest-scoring, of equal scores the first."""
    order = sorted(np.flatnonzero(lower), key=lambda row: (-float(scores[row]), row))
    chosen = np.zeros(len(scores), bool)
    chosen[order[: count_losers(len(order), losers)]] = True
    return chosen


def pairs_of(labels, offsets, where=None, scores=None, chosen=None):
    """The rows of every pair, the one of the higher label first, and the group of each pair."""
    winners, losers, groups = [], [], []
    for group, (start, stop) in enumerate(itertools.pairwise(offsets)):
        rows = np.arange(start, stop) if where is None else start + np.flatnonzero(where[start:stop])
        is_pair = labels[rows][:, None] > labels[rows][None, :]
        if chosen is not None:
            is_pair = np.array([highest(scores[rows], lower, chosen) for lower in is_pair]).reshape(is_pair.shape)
        winner, loser = np.nonzero(is_pair)
        winners.append(rows[winner])
        losers.append(rows[loser])
        groups.append(np.full(len(winner), group))
    return tuple(np.concatenate([[], *parts]).astype(int) for parts in (winners, losers, groups))


class AllPairs:
    """Pairwise hinge loss with its pairs written out: losses, gradient and counts of the active pairs."""

    def __init__(self, scores, labels, offsets=None, margin=1.0, power=1, weights=None, where=None, losers=None):
        scores, labels = np.asarray(scores), np.asarray(labels)
        offsets = [0, len(scores)] if offsets is None else offsets
        self.rows = len(scores)
        if losers is not None and weights is not None:  # rows of weight 0 take no part
            where = (np.asarray(weights) > 0) & (True if where is None else where)
        self.winners, self.losers, groups = pairs_of(labels, offsets, where, scores, losers)
        margin = scores.dtype.type(margin)
        self.active = -(scores[self.winners] - scores[self.losers]) + margin >= 0
        wide = scores.astype(np.float64)
        z = np.maximum(-(wide[self.winners] - wide[self.losers]) + np.float64(margin), 0)
        weights = np.ones(self.rows) if weights is None else np.asarray(weights, np.float64)
        self.weights = weights[self.winners] * weights[self.losers]
        self.losses = self.weights * np.where(self.active, z**power, 0)
        self.slopes = self.weights * np.where(self.active, z if power == 2 else 1, 0) * power
        self.each = np.bincount(groups, self.losses, len(offsets) - 1)
        self.groups = groups

    def divisor(self, reduction):
        return self.weights.sum() or 1.0 if reduction == "mean" else 1.0

    def loss(self, reduction):
        return self.each if reduction == "none" else self.each.sum() / self.divisor(reduction)

    def gradient(self, reduction, upstream=1.0):
        upstream = np.broadcast_to(upstream, len(self.each))[self.groups] / self.divisor(reduction)
        return self._of_rows(self.losers, upstream * self.slopes) - self._of_rows(self.winners, upstream * self.slopes)

    def gradient_size(self, reduction):
        """What the slopes of each row add up to without their signs: rounding errors are small beside that."""
        return (self._of_rows(self.winners, self.slopes) + self._of_rows(self.losers, self.slopes)) / self.divisor(
            reduction
        )

    def counts(self):
        return self._of_rows(self.winners, self.weights * self.active) + self._of_rows(
            self.losers, self.weights * self.active
        )

    def _of_rows(self, rows, values):
        return np.bincount(rows, values, self.rows) if len(rows) else np.zeros(self.rows)


# ---------------------------------------------------------------- queries and items


def negatives_of(scores, positives, excluded, losers=None):
    """The negatives of a query that its positives meet: by score, of equal scores the first item."""
    allowed = np.setdiff1d(np.arange(len(scores)), [*positives, *excluded])
    if losers is None:
        return allowed
    order = allowed[np.lexsort((allowed, -scores[allowed].astype(np.float64)))]
    return order[: count_losers(len(allowed), losers)]


class RetrievalPairs:
    """The hinge of each query's positives against its negatives, from stored scores and pairs written out.

    ``positives`` and ``exclude`` are pairs of index arrays; ``weights`` stand beside the positives.
    """

    def __init__(self, scores, positives, exclude=((), ()), margin=1.0, power=1, losers=None, weights=None):
        queries, winners, others, own = [], [], [], []
        given = np.asarray(positives[0], int), np.asarray(positives[1], int)
        for query in range(len(scores)):
            entries = np.flatnonzero(given[0] == query)
            found, first = np.unique(given[1][entries], return_index=True)
            excluded = [item for q, item in zip(*exclude, strict=True) if q == query]
            negatives = negatives_of(scores[query], found, excluded, losers)
            for item, entry in zip(found, entries[first], strict=True):
                queries += [query] * len(negatives)
                winners += [item] * len(negatives)
                others += list(negatives)
                own += [1.0 if weights is None else float(weights[entry])] * len(negatives)
        self.queries, self.winners, self.losers = (np.array(part, int) for part in (queries, winners, others))
        self.shape, self.weights = scores.shape, np.array(own)
        winner, loser = (scores[self.queries, part] for part in (self.winners, self.losers))
        active = -(winner - loser) + scores.dtype.type(margin) >= 0
        z = np.maximum(-(winner.astype(np.float64) - loser.astype(np.float64)) + float(scores.dtype.type(margin)), 0)
        self.losses = self.weights * np.where(active, z**power, 0)
        self.slopes = self.weights * np.where(active, z if power == 2 else 1, 0) * power

    def divisor(self, reduction):
        return self.weights.sum() or 1.0 if reduction == "mean" else 1.0

    def loss(self, reduction):
        each = np.array([math.fsum(self.losses[self.queries == query]) for query in range(self.shape[0])])
        return each if reduction == "none" else math.fsum(each) / self.divisor(reduction)

    def gradient(self, reduction, upstream=1.0):
        """The gradient by the scores."""
        factor = np.broadcast_to(upstream, self.shape[0])[self.queries] * self.slopes / self.divisor(reduction)
        result = np.zeros(self.shape)
        np.add.at(result, (self.queries, self.losers), factor)
        np.subtract.at(result, (self.queries, self.winners), factor)
        return result


def best_negatives(scores, k, positives=((), ()), exclude=((), ()), skip=0, ceiling=None, distance=None):
    """The k highest-scoring negatives of each query and their scores, -1 and -inf where there are none."""
    indices, found = np.full((len(scores), k), -1), np.full((len(scores), k), -np.inf, scores.dtype)
    for query, row in enumerate(scores):
        own, others = ([i for q, i in zip(*part, strict=True) if q == query] for part in (positives, exclude))
        order = negatives_of(row, own, others, len(row))
        best = float(row[own].max()) if own else math.inf
        if ceiling is not None:
            order = order[row[order].astype(np.float64) <= best * (ceiling if best >= 0 else 2 - ceiling)]
        if distance is not None:
            order = order[row[order].astype(np.float64) <= best - distance]
        order = order[skip : skip + k]
        indices[query, : len(order)], found[query, : len(order)] = order, row[order]
    return indices, found
