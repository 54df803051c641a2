"""All pairs of short groups, each looked at: many at a time in vector registers, and so quicker than by sorting."""

import functools
from typing import NamedTuple

import numpy as np

from numbarank._cpu.exact import loss_of_counts, scaled, slopes_times_scores
from numbarank._cpu.kernels import inline
from numbarank._cpu.sorting import loop, number_rows

LONGEST = 512
LONGEST_OF_SUMS = 128  # where more than counts is added up, which fills more registers
PADDING = 32


class Bench(NamedTuple):
    """Room for one group, a place for each row that takes part.

    ``labels`` are in the scores' dtype and stand in the same order as those given.
    """

    rows: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    given_labels: np.ndarray
    weights: np.ndarray
    won: np.ndarray
    lost: np.ndarray
    slopes: np.ndarray
    active: np.ndarray
    losses: np.ndarray
    pairs: np.ndarray


@inline
def _whole_registers(size):
    return (size + PADDING - 1) // PADDING * PADDING


@loop
def bench(scores, labels, longest):
    """Return a bench for groups of these arrays' dtypes."""
    places = _whole_registers(longest)
    return Bench(
        np.empty(places, np.int32),
        np.empty(places, scores.dtype),
        np.empty(places, scores.dtype),
        np.empty(places, labels.dtype),
        np.empty(places),
        np.empty(places, np.int32),
        np.empty(places, np.int32),
        np.empty(places),
        np.empty(places),
        np.empty(places),
        np.empty(places),
    )


@loop
def _lay_out(bench, scores, labels, where):
    """Put the rows that take part on the bench; return how many they are.

    Behind them, up to whole registers, stand labels that are in no pair.
    """
    size = number_rows(where, bench.rows[: len(scores)])
    inexact = 0
    for i in range(size):
        bench.scores[i] = scores[bench.rows[i]]
    for i in range(size):
        label = labels[bench.rows[i]]
        bench.given_labels[i] = bench.labels[i] = label
        is_exact = (np.float64(bench.labels[i]) == np.float64(label)) & (abs(np.float64(label)) < 2.0**53)
        inexact += not is_exact
    if inexact > 0:
        _rank(bench, size)
    bench.labels[size : _whole_registers(size)] = np.nan
    return size


@loop
def _rank(bench, size):
    """Set labels that the scores' dtype does not hold to how many of the group's are lower."""
    lower, labels = bench.lost, bench.given_labels
    lower[:size] = 0
    for other in range(size):
        for row in range(size):
            lower[row] += np.int32(labels[other] < labels[row])
    for row in range(size):
        bench.labels[row] = lower[row]


@functools.cache
def walker(formula):
    """Return the loop that walks over the pairs of a group.

    It leaves the slopes and the active pairs of the rows on the bench, and returns the loss, the sum of the weights of
    all pairs and how many rows take part.
    """
    violation = inline(formula.violation)

    @loop
    def count(bench, scores_of_group, margin, size):
        scores, labels, won, lost = bench.scores, bench.labels, bench.won, bench.lost
        zero = type(margin)(0)
        pairs = active = 0
        width = _whole_registers(size)
        lost[:width] = 0
        for winner in range(size):
            score, label = scores[winner], labels[winner]
            losers = lower = np.int32(0)
            for loser in range(width):
                is_pair = label > labels[loser]
                is_active = np.int32(is_pair & (violation(score, scores[loser], margin) >= zero))
                lost[loser] += is_active
                losers = np.int32(losers + is_active)  # 32 bits, as numba's own sum is not: twice as many a register
                lower = np.int32(lower + is_pair)
            won[winner] = losers
            pairs += lower
            active += losers
        for row in range(size):
            bench.slopes[row] = lost[row] - won[row]
            bench.active[row] = lost[row] + won[row]
        high, low = slopes_times_scores(bench.slopes, scores_of_group, bench.rows, 0, size)
        return loss_of_counts(margin, active, high, low), np.float64(pairs)

    @inline
    def lacking(scores, labels, winner, loser, margin):
        """Return whether a pair is active, and its violation or else 0."""
        is_active = (labels[winner] > labels[loser]) & (
            violation(scores[winner], scores[loser], margin) >= type(margin)(0)
        )
        z = violation(np.float64(scores[winner]), np.float64(scores[loser]), np.float64(margin))
        return is_active, max(z, 0.0) if is_active else 0.0

    @loop
    def add_losers(bench, margin, is_squared, size):
        slopes, active, losses, pairs = bench.slopes, bench.active, bench.losses, bench.pairs
        for winner in range(size):
            weight = bench.weights[winner]
            for loser in range(size):
                is_active, z = lacking(bench.scores, bench.labels, winner, loser, margin)
                once = weight if is_active else 0.0
                slopes[loser] += 2 * weight * z if is_squared else once
                active[loser] += once
                losses[loser] += weight * (z * z if is_squared else z)
                pairs[loser] += weight if bench.labels[winner] > bench.labels[loser] else 0.0

    @loop
    def add_winners(bench, margin, is_squared, size):
        slopes, active = bench.slopes, bench.active
        for loser in range(size):
            weight = bench.weights[loser]
            for winner in range(size):
                is_active, z = lacking(bench.scores, bench.labels, winner, loser, margin)
                once = weight if is_active else 0.0
                slopes[winner] -= 2 * weight * z if is_squared else once
                active[winner] += once

    @loop
    def add(bench, weights, margin, is_squared, size):
        for i in range(size):
            bench.weights[i] = weights[bench.rows[i]] if weights.size > 0 else 1.0
        for sums in (bench.slopes, bench.active, bench.losses, bench.pairs):
            sums[:size] = 0
        add_losers(bench, margin, is_squared, size)
        loss = pairs = 0.0
        for row in range(size):
            loss += bench.weights[row] * bench.losses[row]
            pairs += bench.weights[row] * bench.pairs[row]
        add_winners(bench, margin, is_squared, size)
        for row in range(size):
            bench.slopes[row] *= bench.weights[row]
            bench.active[row] *= bench.weights[row]
        return loss, pairs

    @loop
    def walk(bench, scores, labels, weights, where, margin, is_squared):
        size = _lay_out(bench, scores, labels, where)
        if is_squared or weights.size > 0:
            loss, pairs = add(bench, weights, margin, is_squared, size)
        else:
            loss, pairs = count(bench, scores, margin, size)
        return loss, pairs, size

    return walk


@loop
def write(bench, size, factor, gradient, counts):
    """Write the slopes times a factor and the active pairs where the rows stand, and 0 for those that take no part."""
    if size < len(gradient):
        gradient[:] = 0
    if size < len(counts):
        counts[:] = 0
    for i in range(size):
        if len(gradient) > 0:
            gradient[bench.rows[i]] = scaled(bench.slopes[i], factor)
        if len(counts) > 0:
            counts[bench.rows[i]] = bench.active[i]
