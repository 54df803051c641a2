"""Sums and products whose special cases matter, as plain scalars that both compilers take."""


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
