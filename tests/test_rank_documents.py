"""The ranker of documents: its measures against values worked out by hand, and whole runs on made-up lists."""

import bz2
import gzip
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import imported, is_cut

import numbarank as nr

imported("sklearn")
imported("tqdm")
pytestmark = pytest.mark.usefixtures("cpu")

SCRIPT = Path(__file__).parents[1] / "scripts" / "rank_documents.py"
OPENERS = {".svm": open, ".svm.gz": gzip.open, ".svm.bz2": bz2.open}
TWO_QUERIES = "2 qid:1 1:3 3:1\n0 qid:1 1:1\n1 qid:1 2:5\n1 qid:7 1:2\n0 qid:7 1:4 2:1\n"

spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
rank_documents = importlib.util.module_from_spec(spec)
sys.modules[SCRIPT.stem] = rank_documents  # dataclasses look their module up
spec.loader.exec_module(rank_documents)


def written(path, text=TWO_QUERIES):
    with OPENERS["".join(path.suffixes)](path, "wt") as file:
        file.write(text)
    return path


def made_up(queries=60, documents=20, noise=0.3, seed=0):
    """Lines of lists whose labels follow two of five features."""
    rng = np.random.default_rng(seed)
    lines = []
    for query in range(queries):
        features = rng.random((documents, 5))
        relevance = 2 * features[:, 1] - features[:, 3] + noise * rng.standard_normal(documents)
        labels = np.digitize(relevance, [0.2, 0.8, 1.4])
        lines += [
            f"{label} qid:{query} " + " ".join(f"{k + 1}:{value:.6f}" for k, value in enumerate(row))
            for label, row in zip(labels, features, strict=True)
        ]
    return "\n".join(lines) + "\n"


def lists_of(labels, lengths, features=((0.0,),)):
    sparse = imported("scipy.sparse")
    matrix = sparse.csc_matrix(np.broadcast_to(np.asarray(features, float), (len(labels), len(features[0]))))
    return rank_documents.Lists(matrix, np.asarray(labels, float), nr.Groups(group=lengths))


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(nr.__file__).parents[1])}
    command = [sys.executable, "-W", "error", SCRIPT, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("suffix", OPENERS)
def test_files_are_read_compressed_or_not(tmp_path, suffix):
    lists = rank_documents.read_lists(written(tmp_path / f"train{suffix}"))
    assert lists.labels.tolist() == [2, 0, 1, 1, 0]
    assert lists.groups.offsets.tolist() == [0, 3, 5]
    assert lists.features.toarray().tolist() == [[3, 0, 1], [1, 0, 0], [0, 5, 0], [2, 0, 0], [4, 1, 0]]


@pytest.mark.parametrize(
    "text",
    ["2 1:0.3\n", "", "one qid:1 1:2\n", "1 qid:1 1:2\n0 qid:2 1:1\n1 qid:1 1:3\n"],
    ids=["no query", "empty", "no number", "a query in two places"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text):
    path = written(tmp_path / "broken.svm", text)
    with pytest.raises(SystemExit, match=r"broken\.svm: "):
        rank_documents.read_lists(path)


def test_a_broken_archive_is_named(tmp_path):
    path = tmp_path / "broken.svm.gz"
    path.write_bytes(gzip.compress(TWO_QUERIES.encode())[:-12])
    with pytest.raises(SystemExit, match=r"broken\.svm\.gz: "):
        rank_documents.read_lists(path)


@pytest.mark.parametrize("labels", [[2, 2, 2, 2], [2, 2, 1, 1]], ids=["one label", "one label a query"])
def test_a_file_without_pairs_is_refused(tmp_path, labels):
    lines = [f"{label} qid:{place // 2} 1:{place}\n" for place, label in enumerate(labels)]
    with pytest.raises(SystemExit, match=r"flat\.svm: there are no pairs: in every query all documents have the same"):
        rank_documents.read_lists(written(tmp_path / "flat.svm", "".join(lines)))


def test_more_features_than_were_trained_on_are_refused_by_name(tmp_path):
    with pytest.raises(SystemExit, match=r"test\.svm: "):
        rank_documents.read_lists(written(tmp_path / "test.svm"), n_features=2)


def test_pairs_in_order_by_hand():
    lists = lists_of([2, 0, 1, 1, 0], [3, 2])
    # 2 > 0 right, 2 > 1 tied, 1 > 0 right; 1 > 0 wrong
    assert rank_documents.share_in_order(np.array([5.0, 1, 5, 0, 3]), lists) == pytest.approx(2.5 / 4)
    assert np.isnan(rank_documents.share_in_order(np.zeros(2), lists_of([1, 1], [2])))


def test_ndcg_by_hand():
    lists = lists_of([2, 0, 1, 0, 0], [3, 2])
    second = 1 / np.log2(3)
    # the first query puts label 1 on top of label 2; the second has no relevant document
    expected = (1 + 3 * second) / (3 + second)
    assert rank_documents.ndcg(np.array([2.0, 1, 3, 0, 0]), lists, cut=5) == pytest.approx(expected)
    assert rank_documents.ndcg(np.array([2.0, 1, 3, 0, 0]), lists, cut=1) == pytest.approx(1 / 3)


@pytest.mark.parametrize("power", [1, 2])
def test_the_weights_of_the_labels_are_found(tmp_path, power):
    lists = rank_documents.read_lists(written(tmp_path / "train.svm", made_up(noise=0.0)))
    passes = []
    weights = rank_documents.train(lists, power, 1e-4, 100, passes.append)
    assert rank_documents.share_in_order(lists.features @ weights, lists) > 0.98
    assert weights[1] > 0 > weights[3]
    assert abs(weights[[0, 2, 4]]).max() < 0.1 * weights[1]
    assert 1 <= len(passes) <= 100


def test_the_best_feature_is_the_one_that_the_labels_follow(tmp_path):
    lists = rank_documents.read_lists(written(tmp_path / "train.svm", made_up()))
    assert rank_documents.best_feature(lists, lambda candidates, **words: candidates) == (1, 1)


def test_a_whole_run(tmp_path):
    imported("matplotlib")
    train, test = written(tmp_path / "train.svm.gz", made_up()), written(tmp_path / "test.svm", made_up(seed=1))
    scores, plot = tmp_path / "scores.txt", tmp_path / "passes.png"
    finished = run(train, "--test", test, "--passes=30", "--out", scores, "--plot", plot)
    assert finished.returncode == 0, finished.stderr
    assert f"{test}: 1,200 documents, 60 queries, 5 features, 4 labels" in finished.stdout
    header, *rows = finished.stdout.split("\n\n")[1].splitlines()
    assert header.split() == ["feature", "+2", "linear", "ranker"]
    by_feature, by_ranker = zip(*(map(float, row.split()[-2:]) for row in rows if row.startswith("  ")), strict=True)
    assert len(by_ranker) == 6
    assert all(after > before for before, after in zip(by_feature, by_ranker, strict=True))
    assert np.loadtxt(scores).shape == (1200,)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_no_label_of_the_picture_is_cut():
    imported("matplotlib")
    of_feature = dict.fromkeys([rank_documents.PAIRS_IN_ORDER, "NDCG@5", "NDCG@10"], 0.5)
    figure = rank_documents.picture([dict.fromkeys(of_feature, 0.9)] * 3, of_feature)
    assert not is_cut(figure)
    assert "grey: the best single feature" in figure.axes[0].get_legend().get_title().get_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["absent.svm"], "'absent.svm' is no file"),
        ([str(SCRIPT), "--plot=x.pdf"], "must name a .png file"),
        ([str(SCRIPT), "--power=3"], "argument --power: invalid choice"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        rank_documents.parse_arguments(arguments)
    assert message in capsys.readouterr().err
