"""Each block of rows against the highest-scoring rows of lower labels, block after block.

Before each block stand, in the order of their scores, the rows of lower labels that it or a later one may meet; the
block is merged into them, and the highest ones move to before the next. Of equal scores, the row that stands first in
the group is the higher one.
"""

import numpy as np

from numbarank._cpu.compiler import part
from numbarank._cpu.merging import count_level, find_ends, sum_level
from numbarank._hinge import count_losers

_count_losers = part(count_losers)


@part
def _is_higher(scores, items, rows, i, score, row):
    """Tell whether a row is higher than the one in a place of a run."""
    return score > scores[i] or (score == scores[i] and row < rows[items[i]])


@part
def _keep_highest(runs, spare, start, middle, stop, kept, rows):
    """Merge a block from middle to stop with the run from start to middle; the highest come to stand before stop."""
    scores, items, block_scores, block_items = runs.scores, runs.items, spare.scores, spare.items
    for k in range(middle, stop):
        block_scores[k], block_items[k] = scores[k], items[k]
    i, k, place = middle - 1, stop - 1, stop - 1
    while place >= stop - kept and k >= middle:
        score, item = block_scores[k], block_items[k]
        if i < start or _is_higher(scores, items, rows, i, score, rows[item]):
            scores[place], items[place] = score, item
            k -= 1
        else:
            scores[place], items[place] = scores[i], items[i]
            i -= 1
        place -= 1
    while place >= stop - kept and place != i:  # the rest of the run; where it need not move, it stands there already
        scores[place], items[place] = scores[i], items[i]
        i, place = i - 1, place - 1


@part
def _weight(sums, items, first, last):
    weight = np.float64(last - first)
    if sums.has_weights:
        weight = 0.0
        for i in range(first, last):
            weight += sums.weights[sums.rows[items[i]]]
    return weight


def highest_merger(wants_sums):
    """Return the function with which one thread finds the pairs of each block, and counts or adds them up."""
    add_level = sum_level if wants_sums else count_level

    @part
    def merge_highest(runs, spare, starts, blocks, share, most, margin, is_squared, sums):
        """Return the number of active pairs, or the loss, and what all pairs weigh."""
        total = pairs = 0.0
        kept = 0
        for block in range(blocks):
            middle, stop = np.int64(starts[block]), np.int64(starts[block + 1])
            start = middle - _count_losers(middle, share, most)
            if start < middle:
                pairs += _weight(sums, runs.items, start, middle) * _weight(sums, runs.items, middle, stop)
                find_ends(runs.scores, start, middle, stop, margin, spare.items, 0, 1)
                total += add_level(runs, spare, start, middle, stop, margin, is_squared, sums)
            if block + 1 < blocks:
                first = middle - kept
                kept = stop if stop < most else most
                _keep_highest(runs, spare, first, middle, stop, kept, sums.rows)
        return total, pairs

    return merge_highest
