"""Compare numbarank with other packages: recommenders on real ratings, and rankers on made-up graded lists.

movielens, insteval: a fifth of each user's ratings is held out; popularity, three ways to train with numbarank,
implicit and LightFM recommend ten of those that the user has not rated. recall@10 and NDCG@10 judge them by what was
held out and liked: 4 or more. graded: LightGBM, XGBoost and linear models, with objectives of numbarank and with
others, learn the order of lists with grades 0 to 4; NDCG@10 judges lists that they have not seen.

What a method is set to is chosen with the first seed, on a fifth of the training ratings or on other lists. A cell is
the mean over the seeds, with the lowest and the highest in brackets. Seconds are those of a training without
compilation. A package that is missing is left out.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import rankers.methods as rankers
from bench.environment import described, environment
from bench.harness import names
from bench.tables import put_between_markers, table
from recommend_movies import at_least, progress_bar
from recommend_movies import parse_arguments as training_settings
from recommender import methods, peers
from recommender.ratings import DATA_TERMS, load_insteval, load_movielens
from recommender.tables import aligned

RECOMMENDERS = ("implicit", "lightfm-next")
RANKERS = ("lightgbm", "xgboost", "scipy", "jax", "rax", "optax")
RECOMMENDING = ("recall@10", "NDCG@10")
OURS = {"losers": (100, 400, 800), "decay": (0.2, 0.7, 2.0)}
LISTS = {"queries": 1000, "longest": 50, "features": 25}
ROUNDS = 100


def recommenders(load, epochs):
    """Return a function of the options that returns what is compared on, the methods' rows, and their measures."""

    def compare(options):
        ratings = load()
        settings = training_settings([f"--epochs={1 if options.quick else epochs}"])
        present = [peer for peer in peers.PEERS if is_there(peer)]
        baseline, *ours = methods.our_methods(settings, **OURS)
        ours = [method._replace(name=f"numbarank, {method.name}") for method in ours]
        rows = compared(
            [baseline, *ours, *peers.named(present)], methods.recommending(ratings, seeds_of(options)), options
        )
        users, items = len(ratings.user_ids), len(ratings.titles)
        words = (
            f"{ratings.users.size:,} ratings of {items:,} items by {users:,} users; numbarank: epochs {settings.epochs}"
        )
        return words, rows, RECOMMENDING

    return compare


def graded(options):
    """Return what is compared on, the methods' rows, and their measure."""
    sizes = {"queries": 40, "longest": 20, "features": 8} if options.quick else LISTS
    task = rankers.ranking(**sizes, seeds=seeds_of(options))
    rounds, chosen = 5 if options.quick else ROUNDS, []
    missing = {package for package in RANKERS if not is_there(package)}
    for packages, methods_of in rankers.METHODS.items():
        if missing.isdisjoint(packages):
            chosen += methods_of(rounds)
    words = "{queries:,} lists to train on, of up to {longest} documents with {features} features".format(**sizes)
    return f"{words}; {rounds} rounds or steps", compared(chosen, task, options), (rankers.MEASURE,)


TABLES = {
    "movielens": recommenders(load_movielens, epochs=30),
    "insteval": recommenders(load_insteval, epochs=20),
    "graded": graded,
}


def is_there(package):
    """Return whether a package is installed; say so if it is not."""
    if find_spec(package) is None:
        print(f"left out: {package} is not installed")
        return False
    return True


def compared(chosen, task, options):
    """Return the rows of the methods, set with the first seed; to try the script, with two settings of each."""
    if options.quick:
        chosen = [method._replace(settings=method.settings[:2]) for method in chosen]
    first = seeds_of(options)[0]
    return methods.compare(chosen, task._replace(validation={first: task.validation[first]}), progress_bar)


def seeds_of(options):
    """Return the seeds whose mean a table shows."""
    return range(1 if options.quick else options.seeds)


def cells(row, measures):
    """Return the cells of a method: its name, its measures, its seconds, its setting and what it was chosen from."""
    spreads = [spread([seed[measure] for seed in row["seeds"]], ".3f") for measure in measures]
    seconds = spread([seed["seconds"] for seed in row["seeds"]], ".2f") if row["seconds"] else ""
    setting = methods.described("", row["setting"]).removeprefix(": ")
    return row["method"], *spreads, seconds, setting, choices([entry["setting"] for entry in row["validation"]])


def spread(values, form):
    """Return the mean of values, with the lowest and the highest where there are several."""
    mean = format(sum(values) / len(values), form)
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def choices(settings):
    """Return in words which values each setting was chosen from."""
    values = {key: dict.fromkeys(methods.word(setting[key]) for setting in settings) for key in (settings or [{}])[0]}
    return "; ".join(f"{key} {', '.join(known)}" for key, known in values.items())


def show(name, found, options):
    """Print a table, and put it into a document if one is named."""
    conditions, rows, measures = found
    seeds = seeds_of(options)
    where = described(environment("cpu", RANKERS if name == "graded" else RECOMMENDERS))
    words = f"{where}; {conditions}; {len(seeds)} seeds, from 0" if len(seeds) > 1 else f"{where}; {conditions}; seed 0"
    header, lines = ("method", *measures, "seconds", "setting", "chosen from"), [cells(row, measures) for row in rows]
    print(f"{name}: {words}\n\n{aligned(header, lines)}\n", flush=True)
    if options.markdown:
        put_between_markers(options.markdown, f"{words}\n\n{table(header, lines)}", name)


def parse_arguments(arguments=None):
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=DATA_TERMS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--tables", type=names(TABLES), default=[*TABLES], help=f"of {','.join(TABLES)} (default all)")
    option("--seeds", type=at_least(1), default=3, metavar="N", help="of splits, lists and training (default 3)")
    option("--quick", action="store_true", help="small and short: to try the script, no figures")
    option("--markdown", metavar="FILE", help="put the tables between their markers in a document")
    option("--json", type=Path, metavar="FILE", help="write all that was measured, that of every setting tried, too")
    return parser.parse_args(arguments)


def main():
    options = parse_arguments()
    found = {}
    for name in options.tables:
        found[name] = TABLES[name](options)
        show(name, found[name], options)
    if options.json:
        results = {name: {"conditions": words, "rows": rows} for name, (words, rows, _) in found.items()}
        options.json.write_text(json.dumps({**environment("cpu", RECOMMENDERS + RANKERS), **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
