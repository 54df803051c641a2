"""The worked examples of the site: each runs as a script, and comes to what its story says."""

import runpy
from pathlib import Path

import pytest
from helpers import imported, is_cut

pytestmark = pytest.mark.usefixtures("cpu")

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script in an empty folder; return its variables."""
    imported("matplotlib")
    monkeypatch.chdir(tmp_path)

    def run_example(name):
        variables = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        assert Path(f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert not is_cut(variables["figure"])
        return variables

    return run_example


def test_embeddings_of_people_and_films_find_more_than_popularity(run, capsys):
    variables = run("recommender")
    assert variables["best"] > variables["recalls"][-1] > 3 * variables["baseline"]
    assert "3.9 times as much" in capsys.readouterr().out


def test_weights_order_the_search_results_better_than_one_feature(run, capsys):
    variables = run("search_results")
    assert variables["after"] > variables["before"] + 0.1
    found = variables["weights"] / variables["weights"][0]
    assert found == pytest.approx(variables["truth"], abs=0.05)
    assert "mean grade of the first three" in capsys.readouterr().out


def test_a_margin_for_each_pair_makes_the_better_map(run, capsys):
    agreement = run("embeddings")["agreement"]
    assert agreement["a margin for each pair"] > agreement["one margin, 1,000 answers"] > agreement["one margin"]
    assert capsys.readouterr().out.count("of new pairs in order") == 3


def test_an_example_tells_a_story_of_readable_length():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) >= 3
    for script in scripts:
        lines = script.read_text().splitlines()
        assert 40 <= len(lines) <= 105, script.name
        assert lines[0] == "# %% [markdown]"
