"""The ranker of documents: its measures against values worked out by hand, faults of files, and whole runs."""

import bz2
import codecs
import gzip
import importlib
import io
import lzma
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import imported, is_cut

import numbarank as nr

imported("scipy")
imported("tqdm")
pytestmark = pytest.mark.usefixtures("cpu")

SCRIPT = Path(__file__).parents[1] / "scripts" / "rank_documents.py"
LINEAR = ["NDCG@5, linear gain", "NDCG@10, linear gain"]
TWO_QUERIES = "2 qid:1 1:3 3:1\n0 qid:1 1:1\n1 qid:1 2:5\n1 qid:7 1:2\n0 qid:7 1:4 2:1\n"

sys.path.insert(0, str(SCRIPT.parent))
rank_documents, letor = map(importlib.import_module, (SCRIPT.stem, "letor"))


def zipped(data, *names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names or ["folder/train.txt", "__MACOSX/folder/._train.txt"]:
            archive.writestr(name, data)
    return buffer.getvalue()


PACKERS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zip": zipped}


def written(path, text=TWO_QUERIES):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read_lists(*paths):
    """The lists of the last of some files, the first of which is the training file."""
    return rank_documents.read_files(*paths)[0][-1].lists


def refused(path, test=None):
    """The one line with which a file is refused."""
    with pytest.raises(SystemExit) as leaving:
        rank_documents.read_files(*filter(None, [path, test]))
    message = str(leaving.value)
    assert "\n" not in message
    return message


def made_up(queries=60, documents=20, noise=0.3, seed=0, first=1):
    """Lines of lists whose labels follow two of five features, which count from 0 or 1."""
    rng = np.random.default_rng(seed)
    lines = []
    for query in range(queries):
        features = rng.random((documents, 5))
        relevance = 2 * features[:, 1] - features[:, 3] + noise * rng.standard_normal(documents)
        labels = np.digitize(relevance, [0.2, 0.8, 1.4])
        lines += [
            f"{label} qid:{query} " + " ".join(f"{k + first}:{value:.6f}" for k, value in enumerate(row))
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


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
@pytest.mark.parametrize("name", ["train.svm", "train.gz"])
def test_files_are_read_by_what_is_inside(tmp_path, pack, name):
    lists = read_lists(written(tmp_path / name, pack(TWO_QUERIES.encode())))
    assert lists.labels.tolist() == [2, 0, 1, 1, 0]
    assert lists.groups.offsets.tolist() == [0, 3, 5]
    assert lists.features.toarray().tolist() == [[3, 0, 1], [1, 0, 0], [0, 5, 0], [2, 0, 0], [4, 1, 0]]


@pytest.mark.parametrize(
    "text",
    [
        codecs.BOM_UTF8 + TWO_QUERIES.encode(),
        TWO_QUERIES.encode("utf-16"),
        TWO_QUERIES.replace("\n", "\r\n"),
        TWO_QUERIES.replace("\n", " # docid = 7 inc:1\n").encode(),
        TWO_QUERIES.encode().replace(b"\n", b"\n# caf\xe9\n\n  \n"),
        TWO_QUERIES.replace("1:3 3:1", "3:1e0 1:+3.0"),
        TWO_QUERIES.replace(" ", "\t").removesuffix("\n"),
        TWO_QUERIES.replace("qid:1 ", "qid:18446744073709551617 ").replace("qid:7", "qid:18446744073709551616"),
        TWO_QUERIES.replace("qid:1 ", "qid:a:b_c ").replace("qid:7", "qid:9.5"),
        TWO_QUERIES.encode().replace(b"qid:1 ", b"qid:caf\xe9 "),
    ],
    ids=["BOM", "UTF-16", "CRLF", "comments", "other lines", "any order", "tabs", "large ids", "text ids", "Latin-1"],
)
def test_files_that_differ_in_form_alone_are_the_same(tmp_path, text):
    lists = read_lists(written(tmp_path / "train.svm", text))
    assert lists.labels.tolist() == [2, 0, 1, 1, 0]
    assert lists.groups.offsets.tolist() == [0, 3, 5]
    assert lists.features.toarray().tolist() == [[3, 0, 1], [1, 0, 0], [0, 5, 0], [2, 0, 0], [4, 1, 0]]


FAULTS = {  # the third line, the message, and the line that its advice makes of it: None where it names a command
    "no number as label": ("one qid:1 2:5", "'one' is no label: a line reads  2 qid:10", "1 qid:1 2:5"),
    "header": ("label,query,f1,f2,f3,f4,f5,f6,f7", "'label,query,f1,f2,f3,f4,f5,...' is no label", "# label"),
    "digits apart": ("1_0 qid:1 2:5", "'1_0' is no label", "10 qid:1 2:5"),
    "label below 0": ("-1 qid:1 2:5", "label -1: the lowest grade is 0", None),
    "label nan": ("nan qid:1 2:5", "label nan: the lowest grade is 0", None),
    "label inf": ("inf qid:1 2:5", "label inf: the lowest grade is 0", None),
    "no query": ("1 2:5", "no query after the label: a line reads  2 qid:10 1:0.3 2:12", "1 qid:1 2:5"),
    "label alone": ("1", "no query after the label", "1 qid:1"),
    "query last": ("1 2:5 qid:1", "no query after the label", "1 qid:1 2:5"),
    "query apart": ("1 qid: 1 2:5", "the query has no id: write one right after the colon", "1 qid:1 2:5"),
    "no colon": ("1 qid:1 0.3", "'0.3' is no feature: write a whole number, a colon and a number", "1 qid:1 2:0.3"),
    "colons": ("1 qid:1 1:2:3", "'1:2:3' is no feature", "1 qid:1 1:2 2:3"),
    "colons that even out": ("1 qid:1 1 2:3:4", "'1' is no feature", "1 qid:1 1:2 3:4"),
    "no value": ("1 qid:1 2:", "'2:' is no feature", "1 qid:1 2:0"),
    "comma": ("1 qid:1 2:0,3", "'2:0,3' is no feature", "1 qid:1 2:0.3"),
    "digits of a value apart": ("1 qid:1 2:1_0", "'2:1_0' is no feature", "1 qid:1 2:10"),
    "feature named": ("1 qid:1 bm25:5", "'bm25:5' is no feature: write a whole number", "1 qid:1 2:5"),
    "feature with a fraction": ("1 qid:1 1.5:5", "'1.5:5' is no feature", "1 qid:1 2:5"),
    "second query": ("1 qid:1 qid:2 2:5", "'qid:2' is no feature", "1 qid:1 2:5"),
    "feature below 0": ("1 qid:1 -1:5", "feature '-1': count features from 0 or 1 on", "1 qid:1 1:5"),
    "feature of 2**63": (f"1 qid:1 {2**63}:5", "the largest number is 2**63 - 1", f"1 qid:1 {2**63 - 1}:5"),
    "feature twice": ("1 qid:1 2:5 1:1 02:5", "feature 2 comes twice: keep one of the two", "1 qid:1 2:5 1:1"),
    "NULL": ("1 qid:1 1:2 2:NULL 3:1", "feature 2 is NULL: put a number in its place", None),
    "NaN": ("1 qid:1 2:NaN", "feature 2 is NaN: put a number in its place", None),
    "inf": ("1 qid:1 1:inf 2:-inf", "feature 1 is inf: put a number in its place", None),
    "the largest number": ("1 qid:1 2:1.7976931348623157e308", "feature 2 is 1.7976931348623157e308: put", None),
    "no label": ("qid:1 2:5", "has no label, but line 1 has one: begin every line with a label", "1 qid:1 2:5"),
    "binary": ("\x7fELF\x00\x01", r"'\x7fELF\x00\x01' is no label", ""),
}


@pytest.mark.parametrize("line, words, mended", FAULTS.values(), ids=FAULTS)
def test_faults_are_named_with_their_line_and_the_advice_mends_them(tmp_path, line, words, mended):
    lines = TWO_QUERIES.splitlines()
    lines[2] = line
    path = written(tmp_path / "broken.svm", "\n".join(lines))
    message = refused(path)
    assert message.startswith(f"{path}, line 3: ")
    assert words in message
    if mended is None:
        mends = [output_of(command, path) for command in re.findall(r"(?:sed|grep -v) '.*?'", message)]
        assert mends
    else:
        mends = ["\n".join([*lines[:2], mended, *lines[3:]])]
    for text in mends:
        while "inf" in text:  # the other of two such features
            command = re.search("sed '.*'", refused(written(path, text))).group()
            text = output_of(command, path)
        assert rank_documents.has_pairs(read_lists(written(tmp_path / "mended.svm", text)))


def output_of(command, path):
    return subprocess.run(f"{command} < {path}", shell=True, capture_output=True, text=True, check=True).stdout


def test_a_single_query_gets_its_id_by_the_command_of_the_message(tmp_path):
    path = written(tmp_path / "single.svm", TWO_QUERIES.replace(" qid:1", "").replace(" qid:7", ""))
    command = re.search("sed '.*'", refused(path)).group()
    assert read_lists(written(path, output_of(command, path))).groups.sizes.tolist() == [5]


@pytest.mark.parametrize("text", ["", "\n# nothing\n", codecs.BOM_UTF8], ids=["empty", "comments", "BOM"])
def test_a_file_without_documents_is_refused_with_an_example_that_is_read(tmp_path, text):
    path = written(tmp_path / "empty.svm", text)
    message = refused(path)
    assert message.startswith(f"{path} has no documents: write a line for each, such as  ")
    lists = read_lists(written(path, message.split("  ")[-1]))
    assert (lists.labels.tolist(), lists.features.toarray().tolist()) == ([2], [[0.3, 12]])


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_a_broken_archive_is_named(tmp_path, pack):
    whole = pack(TWO_QUERIES.encode())
    for place in (len(whole) // 2, len(whole) - 2):
        message = refused(written(tmp_path / "broken.svm", whole[:place]))
        assert message.startswith(f"{tmp_path / 'broken.svm'} cannot be read (")
        assert message.endswith("): get it once more, or unpack it first")


def test_a_zip_of_several_files_is_refused_and_read_when_unpacked(tmp_path):
    path = written(tmp_path / "fold.zip", zipped(TWO_QUERIES, "train.txt", "vali.txt"))
    assert refused(path) == f"{path} holds 2 files (train.txt, vali.txt): unpack it, and name one of them"
    zipfile.ZipFile(path).extractall(tmp_path)
    assert read_lists(tmp_path / "vali.txt").labels.tolist() == [2, 0, 1, 1, 0]


@pytest.mark.parametrize("start, tool", [(b"(\xb5/\xfd", "zstd"), (b"Rar!", "unrar"), (b"7z\xbc\xaf", "7z")])
def test_other_archives_are_named_with_what_unpacks_them(tmp_path, start, tool):
    assert f"unpack it with  {tool} " in refused(written(tmp_path / "train.svm", start + b"\n1 qid:1 1:1\n"))


@pytest.mark.parametrize(
    "text, words, mended",
    [
        (
            "qid:1 1:3\nqid:1 1:2\n",
            "has no labels to learn from: begin each line with one",
            "1 qid:1 1:3\n0 qid:1 1:2\n",
        ),
        ("1 qid:1\n0 qid:1\n", "has no features to learn from: add them to the lines", "1 qid:1 1:3\n0 qid:1 1:2\n"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(tmp_path, text, words, mended):
    path = written(tmp_path / "train.svm", text)
    assert refused(path).startswith(f"{path} {words}")
    assert read_lists(written(path, mended)).labels.tolist() == [1, 0]


@pytest.mark.parametrize("text", ["qid:1 1:3\n1 qid:1 1:2\n", "1 qid:1 1:3\nqid:1 1:2\n"])
def test_labels_in_some_lines_only_are_refused(tmp_path, text):
    test = written(tmp_path / "test.svm", text)
    message = refused(written(tmp_path / "train.svm"), test)
    has = "a label, but line 1 has none" if text.startswith("qid") else "no label, but line 1 has one"
    assert message.startswith(f"{test}, line 2: has {has}: ")
    for label in ("1 ", ""):
        mended = re.sub("^(1 )?qid", f"{label}qid", text, flags=re.MULTILINE)
        assert len(read_lists(tmp_path / "train.svm", written(test, mended)).labels) == 2


def test_queries_whose_rows_are_apart_are_sorted_and_scores_keep_the_order_of_the_file(tmp_path):
    lines = "1 qid:b 1:3\n0 qid:a 1:1\n0 qid:b 1:4\n2 qid:a 1:5\n2 qid:b 1:2\n"
    (file,), _ = rank_documents.read_files(written(tmp_path / "apart.svm", lines))
    assert file.lists.labels.tolist() == [1, 0, 2, 0, 2]
    assert file.lists.features.toarray().ravel().tolist() == [3, 4, 2, 1, 5]
    assert file.lists.groups.sizes.tolist() == [3, 2]
    assert file.in_file_order(np.array([3.0, 4, 2, 1, 5])).tolist() == [3, 1, 4, 5, 2]
    assert file.notes[1:] == [f"{file.name}: sorted by query, as the rows of 2 stand apart, such as 'b'"]


@pytest.mark.parametrize("first", [0, 1, 10**12])
def test_features_keep_their_numbers_in_a_test_file_that_leaves_some_out(tmp_path, first):
    """The labels follow the last two of three features, and the test file has these two alone."""
    rng = np.random.default_rng(0)
    texts = {"train": "", "test": ""}
    for name in texts:
        for query in range(20):
            features = rng.random((10, 3))
            labels = np.argsort(np.argsort(features[:, 1] - features[:, 2]))
            for label, row in zip(labels, features, strict=True):
                kept = range(3) if name == "train" else (1, 2)
                texts[name] += f"{label} qid:{query} " + " ".join(f"{first + k}:{row[k]}" for k in kept) + "\n"
    paths = [written(tmp_path / f"{name}.svm", text) for name, text in texts.items()]
    files, numbers = rank_documents.read_files(*paths)
    assert numbers.tolist() == [first, first + 1, first + 2]
    weights = rank_documents.train(files[0].lists, 2, 1e-4, 30, lambda weights: None)
    assert rank_documents.share_in_order(files[1].lists.features @ weights, files[1].lists) > 0.995


def test_a_test_file_that_counts_from_another_number_is_refused_and_the_advice_mends_it(tmp_path):
    train, test = written(tmp_path / "train.svm"), written(tmp_path / "test.svm", "1 qid:1 1:1\n0 qid:1 0:1 1:2\n")
    message = refused(train, test)
    assert message.startswith(f"{test}, line 2: has a feature 0, and {train} has none: add 1 to the numbers of this")
    assert f"write 0:0 into a line of {train}" in message
    renumbered = written(tmp_path / "renumbered.svm", "1 qid:1 2:1\n0 qid:1 1:1 2:2\n")
    assert read_lists(train, renumbered).features.toarray().tolist() == [[0, 1, 0], [1, 2, 0]]
    with_zero = written(tmp_path / "with_zero.svm", TWO_QUERIES.replace("qid:1 1:3", "qid:1 0:0 1:3"))
    assert read_lists(with_zero, test).features.toarray().tolist() == [[0, 1, 0, 0], [1, 2, 0, 0]]


def test_features_that_were_not_trained_on_weigh_nothing_and_a_line_says_so(tmp_path):
    train, test = written(tmp_path / "train.svm"), written(tmp_path / "test.svm", "1 qid:1 1:1 4:7\n0 qid:1 2:1 9:5\n")
    files, _ = rank_documents.read_files(train, test)
    assert files[1].lists.features.toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert files[1].notes[1].startswith(f"{test}: features that the training file does not have weigh nothing: 2, such")


def test_queries_without_pairs_are_counted_once(tmp_path):
    text = TWO_QUERIES + "1 qid:8 1:1\n1 qid:8 1:2\n0 qid:9 1:1\n"
    (file,), _ = rank_documents.read_files(written(tmp_path / "train.svm", text))
    assert file.notes == [
        f"{file.name}: 8 documents, 4 queries, 3 features, 3 labels",
        f"{file.name}: queries without pairs, as all their documents have the same label: 2",
    ]


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


@pytest.mark.parametrize("highest", [31, 100, 1023, 1e300, 1.7e308])
def test_labels_above_30_are_the_gains_themselves(tmp_path, highest):
    text = f"{highest} qid:1 1:1\n{highest / 2} qid:1 1:2\n"
    test = "1 qid:1 1:1\n2 qid:1 1:2\n"
    files, _ = rank_documents.read_files(written(tmp_path / "train.svm", text), written(tmp_path / "test.svm", test))
    assert all(file.lists.linear_gain for file in files)
    found = rank_documents.measures(np.array([0.0, 1.0]), files[0].lists)
    second = 1 / np.log2(3)
    expected = (0.5 + second) / (1 + 0.5 * second)
    assert found == pytest.approx({"pairs in order": 0, **dict.fromkeys(LINEAR, expected)})
    found = rank_documents.measures(np.array([1.0, 0.0]), files[1].lists)
    assert found == pytest.approx({"pairs in order": 0, **dict.fromkeys(LINEAR, (1 + 2 * second) / (2 + second))})


@pytest.mark.parametrize("label", [30, 1, 1e-17, 5e-324])
def test_labels_up_to_30_gain_exponentially_however_small(label):
    lists = lists_of([label, 0], [2])
    assert rank_documents.measures(np.array([1.0, 0.0]), lists) == {"pairs in order": 1, "NDCG@5": 1, "NDCG@10": 1}


@pytest.mark.parametrize("size", [1e-320, 1e-99, 1e99])
def test_features_of_any_size_give_finite_scores(tmp_path, size):
    lists = read_lists(written(tmp_path / "train.svm", f"1 qid:1 1:{size} 2:1\n0 qid:1 1:-{size} 2:2\n"))
    scores = lists.features @ rank_documents.train(lists, 2, 1e-4, 20, lambda weights: None)
    assert np.isfinite(scores).all()
    assert rank_documents.share_in_order(scores, lists) == 1


@pytest.mark.parametrize("power", [1, 2])
def test_the_weights_of_the_labels_are_found(tmp_path, power):
    lists = read_lists(written(tmp_path / "train.svm", made_up(noise=0.0)))
    passes = []
    weights = rank_documents.train(lists, power, 1e-4, 100, passes.append)
    assert rank_documents.share_in_order(lists.features @ weights, lists) > 0.98
    assert weights[1] > 0 > weights[3]
    assert abs(weights[[0, 2, 4]]).max() < 0.1 * weights[1]
    assert 1 <= len(passes) <= 100


def test_the_best_feature_is_the_one_that_the_labels_follow(tmp_path):
    lists = read_lists(written(tmp_path / "train.svm", made_up()))
    assert rank_documents.best_feature(lists, lambda candidates, **words: candidates) == (1, 1)


def test_a_whole_run(tmp_path):
    imported("matplotlib")
    train = written(tmp_path / "train.svm.gz", gzip.compress(made_up(first=0).encode()))
    test = written(tmp_path / "test.svm", made_up(seed=1, first=0))
    scores, plot = tmp_path / "scores.txt", tmp_path / "passes.png"
    finished = run(train, "--test", test, "--passes=30", "--out", scores, "--plot", plot)
    assert finished.returncode == 0, finished.stderr
    assert f"{test}: 1,200 documents, 60 queries, 5 features, 4 labels\n" in finished.stdout
    header, *rows = finished.stdout.split("\n\n")[1].splitlines()
    assert header.split() == ["feature", "+1", "linear", "ranker"]
    by_feature, by_ranker = zip(*(map(float, row.split()[-2:]) for row in rows if row.startswith("  ")), strict=True)
    assert len(by_ranker) == 6
    assert all(after > before for before, after in zip(by_feature, by_ranker, strict=True))
    assert np.loadtxt(scores).shape == (1200,)
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("label", ["", "0 "], ids=["none", "all 0"])
def test_a_file_without_labels_is_scored_in_its_order(tmp_path, monkeypatch, capsys, label):
    train, out = written(tmp_path / "train.svm", made_up()), tmp_path / "scores.txt"
    graded = made_up(queries=2, seed=1).splitlines()
    apart = [line for pair in zip(graded[:20], graded[20:], strict=True) for line in pair]
    ungraded = written(tmp_path / "test.svm", "\n".join(re.sub("^[0-9]+ ", label, line) for line in apart))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(train), f"--test={ungraded}", f"--out={out}", "--passes=20"])
    rank_documents.main()
    printed, table = capsys.readouterr().out.split("\n\n")
    assert f"{ungraded}: no query has documents with different labels, so nothing is measured; --out writes" in printed
    assert f"{ungraded}: sorted by query, as the rows of 2 stand apart, such as '0'" in printed
    assert f"2 queries, 5 features, {'1' if label else 'no'} labels" in printed
    assert table.split()[:2] == ["feature", "+2"]
    assert str(train) in table and str(ungraded) not in table and "nan" not in table
    scores = np.loadtxt(out)
    features = np.array([[float(word.split(":")[1]) for word in line.split()[2:]] for line in apart])
    weights = np.linalg.lstsq(features, scores)[0]
    assert abs(features @ weights - scores).max() < 1e-6
    assert weights[1] > 0 > weights[3]


def test_a_run_ends_with_one_line_for_a_fault(tmp_path):
    broken = written(tmp_path / "test.svm", TWO_QUERIES.replace("2:5", "2:NULL"))
    finished = run(written(tmp_path / "train.svm"), "--test", broken)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert re.fullmatch(rf"{broken}, line 3: feature 2 is NULL: .*\n", finished.stderr)


@pytest.mark.parametrize("labels", [[2, 2, 2, 2], [2, 2, 1, 1]], ids=["one label", "one label a query"])
def test_a_training_file_without_pairs_is_refused(tmp_path, monkeypatch, labels):
    lines = [f"{label} qid:{place // 2} 1:{place}\n" for place, label in enumerate(labels)]
    path = written(tmp_path / "flat.svm", "".join(lines))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(path)])
    with pytest.raises(
        SystemExit, match=r"flat\.svm: there are no pairs: in every query all .*; give documents of one"
    ):
        rank_documents.main()
    written(path, "3" + "".join(lines)[1:])
    rank_documents.main()


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
        ([str(SCRIPT), "--decay=nan"], "argument --decay: nan must be a number from 0 on"),
        ([str(SCRIPT), "--passes=0"], "argument --passes: 0 must be a number from 1 on"),
        ([str(SCRIPT), "--out=absent/scores.txt"], "must name a file in a directory that exists"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        rank_documents.parse_arguments(arguments)
    assert message in capsys.readouterr().err
