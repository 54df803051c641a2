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


@pytest.mark.slow
def test_a_quick_report_rewrites_the_page_and_keeps_what_was_recorded(report, tmp_path):
    imported("torch")
    page = tmp_path / "torch.md"
    page.write_text("above\n<!-- times: begin -->\nold\n<!-- times: end -->\nbelow\n")
    report.main(
        ["--quick", "--runs", "2", "--scripts", "torch", "--docs", str(tmp_path), "--keep", str(tmp_path / "kept")]
    )
    text = page.read_text()
    assert text.startswith("above\n<!-- times: begin -->\n\n")
    assert text.endswith("<!-- times: end -->\nbelow\n")
    assert "median of 2 runs" in text
    assert "old" not in text
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["torch-1.json", "torch-2.json"]


def test_unknown_scripts_and_no_runs_are_refused(report, capsys):
    for arguments, message in ((["--scripts", "nothing"], "unknown: nothing"), (["--runs", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            report.main(arguments)
        assert message in capsys.readouterr().err
