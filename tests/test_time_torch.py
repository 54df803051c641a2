"""The timing script beside PyTorch runs and records what it promises; how fast anything is, no test asks."""

import importlib
import json
from pathlib import Path

import pytest
from helpers import imported

pytestmark = [pytest.mark.usefixtures("cpu"), pytest.mark.environment]

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    imported("torch")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("time_torch")


def lines_of(script, tmp_path, rows):
    script.benchmark.main(["--quick", "--rows", rows, "--json", str(tmp_path / "record.json")])
    return json.loads((tmp_path / "record.json").read_text())["lines"]


def test_every_row_is_compared_with_torch(script, tmp_path, capsys):
    lines = lines_of(script, tmp_path, "sizes,forward")
    assert [line["cells"][:2] for line in lines] == [
        [size, passes]
        for passes in ("forward and backward", "forward, no gradient")
        for size in ("1 pair", "1,000 pairs", "10,000 pairs")
    ]
    for line in lines:
        *_, (torchs, _), (ours, _), _, _, reached = line["cells"]
        assert (line["goal"] is None) == (reached == "-")
        if line["goal"]:
            assert line["goal"]["measured"] == pytest.approx(ours / torchs)
    assert "10,000 pairs" in capsys.readouterr().out


def test_the_floor_has_both_parts_at_each_size(script, tmp_path, capsys):
    lines = lines_of(script, tmp_path, "floor")
    parts = ["a function that computes nothing", "numbarank on the arrays"]
    assert [line["cells"][1] for line in lines] == parts * 3
    assert all(line["cells"][3][0] > 0 for line in lines)
    assert "not measured" not in capsys.readouterr().out
