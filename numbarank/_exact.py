"""Sums and products whose special cases matter, as plain scalars that both compilers take."""

import math


def two_sum(a, b):
    """Return a + b and its rounding error (Knuth, The Art of Computer Programming, vol. 2, section 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a, b):
    """Return a * b and its rounding error, in float64 (Dekker, A floating-point technique, 1971)."""
    product = a * b
    big_a, big_b = 134217729.0 * a, 134217729.0 * b  # 2^27 + 1 splits 53 bits into halves
    a_high, b_high = big_a - (big_a - a), big_b - (big_b - b)
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def scaled(slope, factor):
    """Return a slope times a factor; a slope of 0 stays 0 beside factors that are not finite, too."""
    return slope * factor if slope != 0 else slope


def unless_zero(weight, value):
    """Return a value, or 0 where its weight is 0, whatever the value is."""
    return value if weight != 0 else weight


def corrected_quotient(guess, product, error, high, low, divisor_high, divisor_low):
    """Return (high + low) / (divisor_high + divisor_low) in float64.

    The guess is high / divisor_high; the product of these two comes with its rounding error.
    """
    correction = (((high - product) - error) + low - guess * divisor_low) / divisor_high
    return guess + correction if correction - correction == 0 else guess


class Weights:
    """A formula of pairs of equal weights, whose total is the sum of the weights; NaN where one is negative."""

    @staticmethod
    def value(weight, same, y, margin):
        return weight if weight >= type(weight)(0) else type(weight)(math.nan)

    @staticmethod
    def slope(weight, same, y, margin, upstream):
        return upstream, upstream
