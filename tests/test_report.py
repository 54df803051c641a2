"""The report of several runs: medians, spread and verdicts, and the pages that it writes."""

import importlib
from pathlib import Path

import pytest
from helpers import imported

pytestmark = pytest.mark.usefixtures("cpu")

SCRIPTS = Path(__file__).parent.parent / "scripts"
WORK = "forward, 1 pair"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("report")


def record(measured, limit=2, seconds=0.5):
    """What a run of one line records."""
    goal = {"work": WORK, "words": "{} times as fast as torch", "limit": limit, "measured": measured, "at_least": True}
    cells = [WORK, [seconds, True], "goal", "not measured" if measured is None else [measured, False], "?"]
    header = ["work", "time", "goal", "measured", "reached"]
    return {"marker": "pairs", "description": "a machine", "header": header, "lines": [{"cells": cells, "goal": goal}]}


@pytest.mark.parametrize(
    ("measured", "shown", "reached"),
    [
        ((2.5, 3, 2.25), "2.5 (2.25 to 3)", "yes"),
        ((1.5, 3, 2.25), "2.25 (1.5 to 3)", "mostly"),
        ((1.5, 3, 1.75), "1.75 (1.5 to 3)", "no"),
        ((2, 2, 2), "2", "yes"),
        ((None, 3, 3), "not measured", "-"),
    ],
)
def test_a_goal_is_reached_in_all_runs_or_mostly(report, measured, shown, reached):
    text = report.page_text([record(one, seconds=one or 1) for one in measured])
    assert text.startswith(
        "a machine; median of 3 runs (lowest to highest)\n\n| work | time | goal | measured | reached |"
    )
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells[0] == WORK
    assert cells[3:] == [shown, reached]


def test_times_are_shown_without_their_spread(report):
    text = report.page_text([record(3, seconds=seconds) for seconds in (1e-3, 3e-3, 2e-3)])
    assert "| 2 ms | goal | 3 | yes |" in text


@pytest.mark.environment
def test_a_quick_report_rewrites_the_pages_and_keeps_what_was_recorded(report, tmp_path):
    for package in ("torch", "dask"):
        imported(package)
    pages = {"torch.md": "times", "distributed.md": "dask"}
    for page, marker in pages.items():
        (tmp_path / page).write_text(f"above\n<!-- {marker}: begin -->\nold\n<!-- {marker}: end -->\nbelow\n")
    kept = tmp_path / "kept"
    report.main(["--quick", "--runs", "2", "--scripts", "torch,dask", "--docs", str(tmp_path), "--keep", str(kept)])
    for page, marker in pages.items():
        text = (tmp_path / page).read_text()
        assert text.startswith(f"above\n<!-- {marker}: begin -->\n\n")
        assert text.endswith(f"<!-- {marker}: end -->\nbelow\n")
        assert "old" not in text
    assert "median of 2 runs" in (tmp_path / "torch.md").read_text()
    assert sorted(path.name for path in kept.iterdir()) == ["torch-1.json", "torch-2.json"]


def test_unknown_scripts_and_no_runs_are_refused(report, capsys):
    for arguments, message in ((["--scripts", "nothing"], "unknown: nothing"), (["--runs", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            report.main(arguments)
        assert message in capsys.readouterr().err
