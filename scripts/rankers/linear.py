"""Linear rankers: of ours, and of rax with optax."""

import functools
import importlib
import time

import numpy as np
from rank_documents import Lists, train


def fit_ours(lists, decay, power, passes):
    """Return a function from features to scores, and the seconds that L-BFGS took to find its weights."""
    sparse = importlib.import_module("scipy.sparse")
    lists = Lists(sparse.csc_matrix(lists.features, dtype=np.float64), lists.labels, lists.groups)
    start = time.perf_counter()
    weights = train(lists, power, decay, passes, lambda weights: None)
    return scorer(weights), time.perf_counter() - start


def fit_rax(lists, loss, rate, steps):
    """Return a function from features to scores, and the seconds that Adam took to find its weights."""
    padded = pad(lists)
    start = time.perf_counter()
    weights = np.asarray(descent(loss, steps)(*padded, rate))
    return scorer(weights), time.perf_counter() - start


def scorer(weights):
    """Return a function from features to scores."""
    return lambda features: features @ weights


def pad(lists):
    """Return features, labels and a mask, each with one row for each query, as long as the longest."""
    sizes = lists.groups.sizes
    where = np.arange(sizes.max()) < sizes[:, None]
    features = np.zeros((*where.shape, lists.features.shape[1]), np.float32)
    labels = np.zeros(where.shape, np.float32)
    features[where], labels[where] = lists.features, lists.labels
    return features, labels, where


@functools.cache
def descent(loss, steps):
    """Return the compiled training on all lists at once with a loss of rax and Adam of optax."""
    jax, rax, optax = map(importlib.import_module, ("jax", "rax", "optax"))
    loss = getattr(rax, f"{loss}_loss")

    @jax.jit
    def run(features, labels, where, rate):
        optimizer = optax.adam(rate)
        gradient = jax.grad(lambda weights: loss(features @ weights, labels, where=where))

        def step(state, _):
            weights, moments = state
            updates, moments = optimizer.update(gradient(weights), moments)
            return (optax.apply_updates(weights, updates), moments), None

        weights = jax.numpy.zeros(features.shape[-1])
        return jax.lax.scan(step, (weights, optimizer.init(weights)), length=steps)[0][0]

    return run
