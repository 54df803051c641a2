"""Train a linear ranker of documents on lists with graded labels, and measure it beside the best single feature.

The files are in the SVMlight format of LETOR, one document a line: its label, its query and its features.

    2 qid:10 1:0.3 2:12 ...

A query is a number or a text. Features keep their numbers, from 0 or from 1, in both files. A test file without labels,
whose lines begin with qid:, is scored with --out. Files may be compressed with gzip, bzip2, xz or zip.

A score is the dot product of a document's features and the weights. In each query, a document should score above every
document with a lower label, by a margin of 1: what is missing, or its square, is summed over all such pairs with
numbarank.pairwise_hinge_loss_and_grad, and L-BFGS lowers the mean.
"""

import argparse
import functools
import importlib
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import letor
import numpy as np

import numbarank as nr

CUTS = (5, 10)
NDCG = "NDCG@{}"
PAIRS_IN_ORDER = "pairs in order"
EXPONENTIAL_UP_TO = 30  # labels, as LightGBM has it: beyond, a single document's gain hides all others


@dataclass(frozen=True)
class Lists:
    """Documents with a sparse row of features and a label each, in groups, one for each query."""

    features: object
    labels: np.ndarray
    groups: nr.Groups
    linear_gain: bool = False

    @property
    def starts(self):
        """The first row of each query."""
        return self.groups.offsets[:-1]


def example_package(name):
    """Import a package of the examples extra, or leave with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed: run  pip install '.[examples]'") from None


@dataclass(frozen=True)
class File:
    """The lists of a file, the line of the output that each of their rows gets, and what to say about them."""

    name: str
    lists: Lists
    order: np.ndarray
    notes: list[str]

    def in_file_order(self, scores):
        """Return the scores of the lists' rows in the order in which the file has the documents."""
        ordered = np.empty_like(scores)
        ordered[self.order] = scores
        return ordered


def read_files(*paths):
    """Return the files, and the numbers of the features that the first one has: the columns of both.

    Leaves with a line that names the file, what is wrong and how to mend it if they cannot be used.
    """
    documents = [letor.read(path) for path in paths]
    numbers = np.unique(documents[0].numbers)
    linear_gain = max(part.labels.max() for part in documents) > EXPONENTIAL_UP_TO
    check_training(documents[0])
    for test in documents[1:]:
        check_numbering(documents[0], test)
    return [file_of(part, numbers, linear_gain) for part in documents], numbers


def check_training(documents):
    """Leave with what is missing to learn from the documents."""
    if not documents.graded:
        raise SystemExit(f"{documents.path} has no labels to learn from: begin each line with one, {letor.EXAMPLE}")
    if not len(documents.numbers):
        raise SystemExit(f"{documents.path} has no features to learn from: add them to the lines, {letor.EXAMPLE}")


def check_numbering(train, test):
    """Leave if the test file alone has a feature 0: it counts from 0, and the training file probably from 1."""
    line = test.first_line_with(0)
    if line is not None and train.first_line_with(0) is None:
        raise SystemExit(
            f"{test.path}, line {line}: has a feature 0, and {train.path} has none: add 1 to the numbers of this file's"
            f" features, or, if both count from 0, write 0:0 into a line of {train.path}"
        )


def file_of(documents, numbers, linear_gain):
    """Return the lists of documents, the rows of each query together, with a column for each of the numbers."""
    order = np.argsort(documents.queries, kind="stable")
    rows, columns, values = documents.columns(numbers)
    row_of = np.empty_like(order)
    row_of[order] = np.arange(len(order))
    features = example_package("scipy.sparse").csc_matrix(
        (values, (row_of[rows], columns)), (len(order), len(numbers)), dtype=np.float64
    )
    groups = nr.Groups(group=np.bincount(documents.queries))
    lists = Lists(features, documents.labels[order], groups, linear_gain)
    return File(str(documents.path), lists, order, notes(documents, numbers, lists))


def notes(documents, numbers, lists):
    """Return what the file holds, and a line for all else that its reader should know."""
    own_numbers, levels = np.unique(documents.numbers), np.unique(documents.labels).size
    without_pairs = len(lists.groups) - np.count_nonzero(queries_with_pairs(lists))
    found = [
        f"{len(documents.labels):,} documents, {len(lists.groups):,} queries, {len(own_numbers):,} features,"
        f" {levels if documents.graded else 'no'} labels"
    ]
    apart = documents.queries_apart()
    if apart:
        found.append(f"sorted by query, as the rows of {len(apart):,} stand apart, such as {apart[0]!a}")
    unknown = np.setdiff1d(own_numbers, numbers)
    if len(unknown):
        found.append(
            f"features that the training file does not have weigh nothing: {len(unknown):,}, such as {unknown[-1]};"
            " if one file counts from 0 and the other from 1, renumber it"
        )
    if without_pairs == len(lists.groups):
        found.append("no query has documents with different labels, so nothing is measured; --out writes the scores")
    elif without_pairs:
        found.append(f"queries without pairs, as all their documents have the same label: {without_pairs:,}")
    return [f"{documents.path}: {note}" for note in found]


def queries_with_pairs(lists):
    """Return which queries have two documents with different labels."""
    highest, lowest = (extreme.reduceat(lists.labels, lists.starts) for extreme in (np.maximum, np.minimum))
    return highest > lowest


def has_pairs(lists):
    """Return whether any query has two documents with different labels."""
    return bool(queries_with_pairs(lists).any())


def feature_scales(features):
    """Return the largest size of each feature, 1 where it is 0 or tiny; shifts would cancel within a query."""
    largest = abs(features).max(axis=0).toarray().ravel()
    return np.where(largest > 1 / letor.LARGEST_FEATURE, largest, 1.0)


def train(lists, power, decay, passes, on_pass):
    """Return the weights that minimise the mean loss over all pairs plus ``decay`` times their squared length.

    ``on_pass`` is called with the weights after each iteration.
    """
    scales = feature_scales(lists.features)

    def objective(weights):
        loss, by_scores = nr.pairwise_hinge_loss_and_grad(
            lists.features @ (weights / scales), lists.labels, group=lists.groups, power=power
        )
        by_weights = (by_scores @ lists.features) / scales
        return loss + decay * weights @ weights, by_weights + 2 * decay * weights

    minimize = example_package("scipy.optimize").minimize
    found = minimize(
        objective,
        np.zeros(scales.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": passes},
        callback=lambda weights: on_pass(weights / scales),
    )
    return found.x / scales


def active_pairs(scores, lists, margin):
    """Return how many pairs with different labels are not in order by more than a margin."""
    counts = nr.pairwise_hinge_loss_and_grad(
        scores, lists.labels, group=lists.groups, margin=margin, reduction="sum", return_counts=True
    )[2]
    return counts.sum() / 2


def share_in_order(scores, lists):
    """Return the share of the pairs with different labels that the scores put in order; a tie counts half."""
    smallest = np.finfo(np.float64).tiny
    wrong, wrong_or_tied, all_pairs = (active_pairs(scores, lists, m) for m in (-smallest, 0.0, np.ptp(scores) + 1))
    return 1 - (wrong + wrong_or_tied) / 2 / all_pairs if all_pairs else np.nan


def ndcg(scores, lists, cut):
    """Return the normalised discounted cumulative gain, averaged over the queries that have a relevant document.

    The gain of a document is 2 ** label - 1, or its label with ``lists.linear_gain``. Ties stay in the order of
    the file.

    References
    ----------
    Burges et al. (2005), Learning to rank using gradient descent, ICML.
    """
    reached, possible = (_discounted_gain(by, lists, cut) for by in (scores, lists.labels))
    return float(np.mean(reached[possible > 0] / possible[possible > 0])) if possible.any() else np.nan


def _discounted_gain(scores, lists, cut):
    """Return the discounted gain of each query's first documents when they stand in the order of the scores."""
    lengths = lists.groups.sizes
    queries = np.repeat(np.arange(lengths.size), lengths)
    best_first = np.lexsort((-scores, queries))
    places = np.arange(queries.size) - np.repeat(lists.starts, lengths)
    discounted = gains(lists)[best_first] / np.log2(places + 2)
    return np.bincount(queries, np.where(places < cut, discounted, 0.0), lengths.size)


def gains(lists):
    """Return what each document adds to the gain of its query, but for a factor of all documents."""
    if lists.linear_gain:
        return lists.labels / max(lists.labels.max(), 1)  # sums of large labels stay finite
    return np.expm1(np.log(2) * lists.labels.astype(np.float64))  # above 0 for any label above 0


def measures(scores, lists):
    """Return how well the scores order the lists, by name."""
    name = NDCG + ", linear gain" if lists.linear_gain else NDCG
    of_places = {name.format(cut): ndcg(scores, lists, cut) for cut in CUTS}
    return {PAIRS_IN_ORDER: share_in_order(scores, lists), **of_places}


def best_feature(lists, progress):
    """Return the column of the feature, and its sign, that give the highest NDCG by themselves."""
    candidates = list(itertools.product(range(lists.features.shape[1]), (1, -1)))
    bar = progress(candidates, desc="Single features", leave=False)
    return max(bar, key=lambda candidate: ndcg(feature_scores(lists, *candidate), lists, max(CUTS)))


def feature_scores(lists, feature, sign):
    """Return a feature of all documents, or its negative."""
    return sign * lists.features[:, [feature]].toarray().ravel()


def train_with_progress(lists, settings, progress):
    """Train behind a progress bar; return the weights, and the measures after each pass if they are to be drawn."""
    history = []
    with progress(total=settings.passes, desc="Training", unit="pass") as bar:

        def on_pass(weights):
            bar.update()
            if settings.plot:
                history.append(measures(lists.features @ weights, lists))

        weights = train(lists, settings.power, settings.decay, settings.passes, on_pass)
    return weights, history


def report(names, ranker, feature, feature_measures):
    """Return the table: the best single feature, whose name is given, beside the ranker, for each file."""
    lines = [f"{'':<24}{'feature ' + feature:>16}{'linear ranker':>16}"]
    for name, before, after in zip(names, feature_measures, ranker, strict=True):
        lines.append(name)
        lines += [f"  {measure:<22}{before[measure]:>16.4f}{after[measure]:>16.4f}" for measure in before]
    return "\n".join(lines)


def picture(history, baseline):
    """Return a figure of the measures on the training file over the passes, above the best single feature's."""
    figure = example_package("matplotlib.figure").Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    passes = np.arange(1, len(history) + 1)
    for measure, style in zip(baseline, ("solid", "dashed", "dotted"), strict=True):
        axes.plot(passes, [entry[measure] for entry in history], color="black", linestyle=style, label=measure)
        axes.axhline(baseline[measure], color="0.6", linestyle=style)
    axes.set(xlabel="pass", ylabel="on the training file")
    axes.legend(frameon=False, title="grey: the best single feature", alignment="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    return figure


def parse_arguments(arguments=None):
    """Return the settings, checked as far as that needs no data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("train", type=existing_file, metavar="FILE", help="what to learn from")
    option("--test", type=existing_file, metavar="FILE", help="what to measure on, too")
    option("--power", type=int, choices=(1, 2), default=2, help="1: hinge, 2: squared hinge (default)")
    option("--decay", type=at_least(0, float), default=1e-4, help="price of the squared weights (default 0.0001)")
    option("--passes", type=at_least(1, int), default=100, metavar="N", help="iterations at most (default 100)")
    option("--out", type=out_path, metavar="FILE", help="write a score per document, of the test file if there is one")
    option("--plot", type=png_path, metavar="FILE.png", help="draw the measures over the passes")
    return parser.parse_args(arguments)


def existing_file(text):
    """Read the path of a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return path


def out_path(text):
    """Read the path of a file in a directory that exists."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must name a file in a directory that exists")
    return path


def png_path(text):
    """Read the path of a PNG file in a directory that exists."""
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must name a .png file in a directory that exists")
    return path


def at_least(minimum, kind):
    """Return a reader of numbers that refuses those below the minimum, and those that are not finite."""

    def number(text):
        value = kind(text)
        if not minimum <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} must be a number from {minimum} on")
        return value

    return number


def main():
    settings = parse_arguments()
    progress = functools.partial(example_package("tqdm").tqdm, ncols=79)
    files, numbers = read_files(settings.train, *filter(None, [settings.test]))
    trained_on = files[0].lists
    if not has_pairs(trained_on):
        raise SystemExit(
            f"{settings.train}: there are no pairs: in every query all documents have the same label; give documents of"
            " one query different labels, and all documents of a query the same qid"
        )
    print("\n".join(note for file in files for note in file.notes))

    column, sign = best_feature(trained_on, progress)
    weights, history = train_with_progress(trained_on, settings, progress)
    measured = {file.name: file.lists for file in files if has_pairs(file.lists)}
    baseline = [measures(feature_scores(lists, column, sign), lists) for lists in measured.values()]
    ranker = [measures(lists.features @ weights, lists) for lists in measured.values()]
    print("\n" + report(measured, ranker, f"{'-+'[sign > 0]}{numbers[column]}", baseline))
    if settings.out:
        np.savetxt(settings.out, files[-1].in_file_order(files[-1].lists.features @ weights), fmt="%.9g")
    if settings.plot:
        picture(history, baseline[0]).savefig(settings.plot, dpi=150)


if __name__ == "__main__":
    main()
