"""Train a linear ranker of documents on lists with graded labels, and measure it beside the best single feature.

The files are in the SVMlight format of LETOR, one document a line, the documents of a query together:

    2 qid:10 1:0.3 2:12 ...

They may be compressed with gzip (.gz) or bzip2 (.bz2). A score is the dot product of a document's features and the
weights. In each query, a document should score above every document with a lower label, by a margin of 1: what is
missing, or its square, is summed over all such pairs with numbarank.pairwise_hinge_loss_and_grad, and L-BFGS lowers
the mean.
"""

import argparse
import functools
import importlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import numbarank as nr

CUTS = (5, 10)
NDCG = "NDCG@{}"
PAIRS_IN_ORDER = "pairs in order"


@dataclass(frozen=True)
class Lists:
    """Documents with a sparse row of features and a label each, in groups, one for each query."""

    features: object
    labels: np.ndarray
    groups: nr.Groups

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


def read_lists(path, n_features=None):
    """Read a file; leave with its name and what is wrong with it if it cannot be used."""
    load = example_package("sklearn.datasets").load_svmlight_file
    try:
        features, labels, qid = load(str(path), n_features=n_features, query_id=True)
        if qid.size != labels.size or labels.size == 0:
            raise ValueError("every line needs a label and a query: 2 qid:10 1:0.3 2:12")
        lists = Lists(features.tocsc(), labels, nr.Groups(qid=qid))
        if not has_pairs(lists):
            raise ValueError("there are no pairs: in every query all documents have the same label")
        return lists
    except (OSError, EOFError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from None


def has_pairs(lists):
    """Return whether any query has two documents with different labels."""
    highest, lowest = (extreme.reduceat(lists.labels, lists.starts) for extreme in (np.maximum, np.minimum))
    return bool((highest > lowest).any())


def feature_scales(features):
    """Return the largest size of each feature, 1 where it is always 0; shifts would cancel within a query."""
    largest = abs(features).max(axis=0).toarray().ravel()
    return np.where(largest > 0, largest, 1.0)


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

    The gain of a document is 2 ** label - 1. Ties stay in the order of the file.

    References
    ----------
    Burges et al. (2005), Learning to rank using gradient descent, ICML.
    """
    reached, possible = (_discounted_gain(by, lists, cut) for by in (scores, lists.labels))
    return float(np.mean(reached[possible > 0] / possible[possible > 0])) if possible.any() else np.nan


def _discounted_gain(scores, lists, cut):
    """Return the discounted gain of each query's first documents when they stand in the order of the scores."""
    lengths = np.diff(lists.groups.offsets)
    queries = np.repeat(np.arange(lengths.size), lengths)
    best_first = np.lexsort((-scores, queries))
    places = np.arange(queries.size) - np.repeat(lists.starts, lengths)
    gains = np.where(places < cut, (2.0 ** lists.labels[best_first] - 1) / np.log2(places + 2), 0.0)
    return np.bincount(queries, gains, lengths.size)


def measures(scores, lists):
    """Return how well the scores order the lists, by name."""
    gains = {NDCG.format(cut): ndcg(scores, lists, cut) for cut in CUTS}
    return {PAIRS_IN_ORDER: share_in_order(scores, lists), **gains}


def best_feature(lists, progress):
    """Return the number of the feature, counted from 0, and its sign, that give the highest NDCG by themselves."""
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
    """Return the table: the best single feature beside the ranker, for each file."""
    number, sign = feature
    lines = [f"{'':<24}{'feature ' + '-+'[sign > 0] + str(number + 1):>16}{'linear ranker':>16}"]
    for name, before, after in zip(names, feature_measures, ranker, strict=True):
        lines.append(name)
        lines += [f"  {measure:<22}{before[measure]:>16.4f}{after[measure]:>16.4f}" for measure in before]
    return "\n".join(lines)


def described(name, lists):
    """Return what a file holds."""
    documents, features = lists.features.shape
    levels = np.unique(lists.labels).size
    queries = lists.groups.offsets.size - 1
    return f"{name}: {documents:,} documents, {queries:,} queries, {features:,} features, {levels} labels"


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
    option("--decay", type=float, default=1e-4, help="price of the squared weights (default 0.0001)")
    option("--passes", type=int, default=100, metavar="N", help="iterations at most (default 100)")
    option("--out", type=Path, metavar="FILE", help="write a score per line, for the test file if there is one")
    option("--plot", type=png_path, metavar="FILE.png", help="draw the measures over the passes")
    return parser.parse_args(arguments)


def existing_file(text):
    """Read the path of a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is no file")
    return path


def png_path(text):
    """Read the path of a PNG file in a directory that exists."""
    path = Path(text)
    if path.suffix != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must name a .png file in a directory that exists")
    return path


def main():
    settings = parse_arguments()
    progress = functools.partial(example_package("tqdm").tqdm, ncols=79)
    files = {str(settings.train): read_lists(settings.train)}
    trained_on = files[str(settings.train)]
    if settings.test:
        files[str(settings.test)] = read_lists(settings.test, trained_on.features.shape[1])
    print("\n".join(described(name, lists) for name, lists in files.items()))

    feature = best_feature(trained_on, progress)
    weights, history = train_with_progress(trained_on, settings, progress)
    scores = [lists.features @ weights for lists in files.values()]
    baseline = [measures(feature_scores(lists, *feature), lists) for lists in files.values()]
    ranker = [measures(of_file, lists) for of_file, lists in zip(scores, files.values(), strict=True)]
    print("\n" + report(files, ranker, feature, baseline))
    if settings.out:
        np.savetxt(settings.out, scores[-1], fmt="%.9g")
    if settings.plot:
        picture(history, baseline[0]).savefig(settings.plot, dpi=150)


if __name__ == "__main__":
    main()
