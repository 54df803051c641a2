"""Train a film recommender on MovieLens ratings, with NumPy, SciPy and a margin ranking loss.

For each user, a film rated 4 or more should score above a film the user has not rated, by the margin. A score
is the dot product of a user's and a film's embedding plus the film's bias; the films that a user rated are part of the
user's embedding, and the users who rated a film part of the film's. Each liked film is paired with the highest-scoring
of the films that the user has not rated, found exactly: numbarank gives the loss of these pairs and its gradients, and
Adagrad takes the step. --pairs chooses other pairs: of a few random unrated films the highest-scoring one, or all of
them. A fifth of each user's ratings is held out, to measure the recommendations beside those of plain popularity, and
with --peers beside those of other packages.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from bench.environment import described, environment
from bench.tables import put_between_markers, table
from recommender import methods, peers, plots, tables
from recommender.measures import LIST_LENGTH, evaluate, popularity, recall, top_films
from recommender.model import train
from recommender.objectives import PairTotals
from recommender.ratings import DATA_TERMS, LIKED_FROM, held_out_of, load_movielens, package, split_ratings

import numbarank as nr

LOSERS = 400
SWEPT = (25, 50, 100, 200, 400, 800, 1600, 3200)


def run(ratings, settings):
    """Split, train and evaluate; return all that the report, the plot and the JSON show."""
    validation = choose_losers(ratings, settings) if settings.validate else []
    held_out = held_out_of(ratings, settings.seed)
    split = split_ratings(ratings, held_out)
    recommender, history, speed = train_with_progress(split, settings)
    scores = recommender.scores()
    user = int(np.flatnonzero(ratings.user_ids == settings.user)[0])
    return {
        "data": {"ratings": ratings.users.size, "users": len(ratings.user_ids), "films": len(ratings.titles)},
        "liked": {"training": int(split.liked.sum()), "held_out": int(split.held_out_liked.sum())},
        "pairs": settings.pairs,
        "losers": settings.losers if settings.pairs == "hardest" else None,
        "validation": validation,
        "epochs": history,
        "popularity": evaluate(popularity(split), split),
        "recommender": evaluate(scores, split),
        "speed": speed,
        "user": films_for_user(ratings, held_out, split, scores, user),
    }


def choose_losers(ratings, settings):
    """Set the number of losers to the one with the best recall on the validation part; return what each reaches."""
    method = methods.hardest(settings, methods.CANDIDATES)
    with progress_bar(len(method.settings), "Choosing") as progress:
        best, rows = methods.choose(method, methods.recommending(ratings, [settings.seed]), progress)
    settings.losers = best["losers"]
    return rows


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


def train_with_progress(split, settings):
    """Train behind a progress bar; return the recommender, an entry per epoch, and the speed of the loss."""
    recommender, objective, rng = methods.prepared(settings.pairs, split, settings.seed, settings)
    history = {"loss": [], "active_pairs": [], "recall@10": []}
    epoch_totals, training_seconds = [], 0.0
    with progress_bar(settings.epochs, "Training", " epochs") as progress:
        for totals, seconds in train(recommender, objective, settings.epochs, rng):
            recommended = top_films(recommender.scores(), split.rated)
            history["loss"].append(totals.loss / totals.pairs)
            history["active_pairs"] += [] if totals.active is None else [totals.active / totals.pairs]
            history["recall@10"].append(recall(recommended, split.held_out_liked))
            reached = f"loss {history['loss'][-1]:.3f}, recall@10 {history['recall@10'][-1]:.3f}"
            progress.set_postfix_str(reached, refresh=False)
            progress.update()
            epoch_totals.append(totals)
            training_seconds += seconds
    return recommender, history, speed_of_loss(PairTotals.of(epoch_totals), settings.epochs, training_seconds)


def progress_bar(total, words, unit=""):
    """Return a progress bar as wide as a terminal."""
    bar_format = words + " {bar} {n_fmt}/{total_fmt}" + unit + " in {elapsed}{postfix}"
    return package("tqdm").tqdm(total=total, ncols=79, bar_format=bar_format)


def speed_of_loss(totals, epochs, training_seconds):
    """Return how fast the loss and its gradient were, transfers included, beside the whole of the training."""
    return {
        "pairs_per_pass": int(totals.pairs) // epochs,
        "seconds_per_pass": training_seconds / epochs,
        "pairs_per_second": totals.pairs / totals.loss_seconds,
        "share_of_training": totals.loss_seconds / training_seconds,
        "training_seconds": training_seconds,
    }


# ---------------------------------------------------------------- several trainings


def compare(ratings, settings):
    """Train and fit all methods; print a row for each, and return the rows."""
    losers = methods.CANDIDATES if settings.validate else [settings.losers]
    chosen = [*methods.our_methods(settings, losers), *peers.named(settings.peers)]
    rows = methods.compare(chosen, methods.recommending(ratings, seeds_of(settings)), progress_bar)
    show(*tables.comparison(rows), settings, "recommenders", list(settings.peers))
    return {"comparison": rows}


def sweep(ratings, settings):
    """Train with more and more losers, at last with all; print a row for each, and return the rows."""
    numbers = [*(number for number in SWEPT if number < len(ratings.titles)), len(ratings.titles)]
    rows = methods.sweep(numbers, methods.recommending(ratings, seeds_of(settings)), settings, progress_bar)
    show(*tables.sweep(rows), settings, "losers", [])
    return {"sweep": rows}


def seeds_of(settings):
    """Return the seeds whose mean a table shows."""
    return range(settings.seed, settings.seed + settings.seeds)


def show(header, rows, settings, marker, packages):
    """Print a table, and put it into a document if one is named."""
    seeds = seeds_of(settings)
    where = described(environment("cpu", [{"lightfm": "lightfm-next"}.get(name, name) for name in packages]))
    mean = f"mean of the seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    print(f"{where}; {mean}\n\n{tables.aligned(header, rows)}")
    if settings.markdown:
        put_between_markers(settings.markdown, f"{where}; {mean}\n\n{table(header, rows)}", marker)


# ---------------------------------------------------------------- the command line


def parse_arguments(arguments=None):
    """Return the settings, checked as far as that needs no data."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=DATA_TERMS)
    training_options(parser.add_argument)
    output_options(parser.add_argument)
    settings = parser.parse_args(arguments)
    if settings.device != "cpu" and (settings.pairs != "sampled" or settings.peers is not None or settings.sweep):
        parser.error("--device cuda needs --pairs sampled: other pairs are found on the CPU")
    if settings.validate and (settings.pairs != "hardest" or settings.losers or settings.sweep):
        parser.error("--validate chooses --losers, of --pairs hardest: leave these two and --sweep out")
    if settings.plot and (settings.peers is not None or settings.sweep):
        parser.error("--plot draws a single training: leave --peers and --sweep out")
    settings.losers = settings.losers or LOSERS
    return settings


def training_options(option):
    """Add what says how to train."""
    option("--epochs", type=at_least(1), default=30, metavar="N", help="passes over the liked films (default 30)")
    option(
        "--pairs",
        choices=methods.PAIRS,
        default="hardest",
        help="hardest: a liked film against the highest-scoring unrated ones (default); sampled: against the best of a"
        " few random ones; all: against all, squared",
    )
    option(
        "--losers",
        type=at_least(1),
        metavar="N",
        help=f"how many unrated films a liked one meets with --pairs hardest (default {LOSERS}: of 25 to all it has the"
        " best recall on a fifth of the training ratings, mean of the seeds 0 to 2; held-out ratings had no say)",
    )
    option(
        "--validate",
        action="store_true",
        help=f"try {', '.join(map(str, methods.CANDIDATES))} losers on a fifth of the training ratings, take the best",
    )
    option(
        "--negatives",
        type=at_least(1),
        default=10,
        metavar="K",
        help="with --pairs sampled: the best of K random unrated films (default 10; 1 is plain sampling)",
    )
    option("--margin", type=float, default=1.0, help="distance to keep between the two scores (default 1)")
    option("--seed", type=at_least(0), default=0, metavar="N", help="of the split and the training (default 0)")
    option(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where the loss of sampled pairs is computed (default cpu)",
    )


def output_options(option):
    """Add what says what to show."""
    option("--user", type=int, default=96, metavar="ID", help="whom to recommend films to (default 96)")
    option("--plot", type=png_path, metavar="FILE.png", help="draw loss and recall over the epochs")
    option(
        "--peers",
        type=peer_names,
        metavar="NAMES",
        help=f"instead, a table of our three kinds of pairs beside other packages: {','.join(peers.PEERS)}, or none;"
        " what these are set to is chosen on a fifth of the training ratings",
    )
    option("--sweep", type=png_path, metavar="FILE.png", help="instead, draw the measures over the number of losers")
    option(
        "--seeds",
        type=at_least(1),
        default=1,
        metavar="N",
        help="the tables of --peers and --sweep are the mean of N seeds, from --seed on (default 1)",
    )
    option("--markdown", metavar="FILE", help="put the table of --peers or --sweep between its markers in a document")
    option("--json", type=Path, metavar="FILE", help="write the results as JSON, too")


def peer_names(text):
    """Read names of packages with commas between them."""
    names = [] if text == "none" else text.split(",")
    unknown = set(names) - set(peers.PEERS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {','.join(peers.PEERS)}, none")
    return names


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
    if settings.sweep:
        results = sweep(ratings, settings)
        plots.sweep_picture(results["sweep"]).savefig(settings.sweep, dpi=150)
    elif settings.peers is not None:
        results = compare(ratings, settings)
    else:
        results = run(ratings, settings)
        print(tables.report(results, settings.device))
    if settings.plot:
        plots.training_picture(results["epochs"], results["popularity"]).savefig(settings.plot, dpi=150)
    if settings.json:
        settings.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
