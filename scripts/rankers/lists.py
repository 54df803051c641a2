"""Lists of documents with grades, made up by a fixed generator."""

import numpy as np
from rank_documents import Lists

from numbarank import Groups


def graded_lists(queries, longest, features, seed, noise=1, causes=8):
    """Return lists with labels from 0 to 4, the shortest half as long as the longest.

    Every feature is a noisy view of one of a few hidden causes, and the labels follow some of these, with noise.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(longest // 2, longest + 1, queries)
    hidden = rng.standard_normal((lengths.sum(), causes))
    relevance = hidden[:, 0] + np.sin(2 * hidden[:, 1]) + hidden[:, 2] * hidden[:, 3] + np.abs(hidden[:, 4])
    relevance += noise * rng.standard_normal(len(hidden))
    labels = np.digitize(relevance, np.quantile(relevance, [0.5, 0.75, 0.9, 0.97]))
    seen = hidden[:, np.arange(features) % causes] + 0.7 * rng.standard_normal((len(hidden), features))
    return Lists(seen.astype(np.float32), labels.astype(np.float32), Groups(group=lengths))
