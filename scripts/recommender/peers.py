"""Recommenders of other packages, each with a few settings to choose from.

They are fitted on the liked films; alternating least squares may count the others that were rated, too.
"""

import itertools
import time

import numba

from .methods import Method, grid
from .ratings import package


def named(names):
    """Return the methods of the packages of these names; leave with the command that installs one that is missing."""
    return list(itertools.chain.from_iterable(PEERS[name]() for name in names))


def liked_films(split, disliked=0.0):
    """Return who liked what as a sparse matrix of ones, and perhaps who rated without liking with a smaller number."""
    return package("scipy.sparse", "peers").csr_matrix(split.weighted(disliked))


def implicit_methods():
    """Return the alternating least squares and the Bayesian personalised ranking of the package implicit."""
    package("implicit", "peers")
    least_squares = package("implicit.als", "peers").AlternatingLeastSquares
    personalised = package("implicit.bpr", "peers").BayesianPersonalizedRanking

    def fit_als(split, seed, decay, alpha, disliked):
        settings = {"factors": 128, "regularization": decay, "alpha": float(alpha)}
        return fit_implicit(least_squares, liked_films(split, disliked), seed, **settings)

    def fit_bpr(split, seed, factors, rate, passes):
        settings = {"factors": factors, "learning_rate": rate, "iterations": passes}
        return fit_implicit(personalised, liked_films(split), seed, **settings)

    return [
        Method("implicit BPR", grid(factors=(64,), rate=(0.003, 0.01), passes=(100, 300)), fit_bpr),
        Method(
            "implicit ALS", grid(decay=(10, 30, 50, 80, 120), alpha=(1, 10, 20, 40), disliked=(0, 0.25, 0.5)), fit_als
        ),
    ]


def fit_implicit(model, liked, seed, **settings):
    """Return the scores of a model of implicit, and the seconds that its training took."""
    with package("threadpoolctl", "peers").threadpool_limits(1, "blas"):  # as implicit asks: its own threads suffice
        fitted = model(use_gpu=False, num_threads=numba.get_num_threads(), random_state=seed, **settings)
        start = time.perf_counter()
        fitted.fit(liked, show_progress=False)
        seconds = time.perf_counter() - start
    return fitted.user_factors @ fitted.item_factors.T, seconds


def lightfm_methods():
    """Return the weighted approximate-rank pairwise loss of the package lightfm-next."""
    lightfm = package("lightfm", "peers")

    def fit_warp(split, seed, factors, decay, tries):
        model = lightfm.LightFM(
            factors, loss="warp", item_alpha=decay, user_alpha=decay, max_sampled=tries, random_state=seed
        )
        liked = liked_films(split).tocoo()
        start = time.perf_counter()
        model.fit(liked, epochs=20, num_threads=numba.get_num_threads())
        seconds = time.perf_counter() - start
        bias, films = model.get_item_representations()
        return model.get_user_representations()[1] @ films.T + bias, seconds

    return [Method("lightfm WARP", grid(factors=(32, 64), decay=(0.0001, 0.0003), tries=(10, 100)), fit_warp)]


PEERS = {"implicit": implicit_methods, "lightfm": lightfm_methods}
