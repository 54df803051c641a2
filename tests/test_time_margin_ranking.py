"""The timing script runs and records what it promises; how fast anything is, no test asks."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from helpers import imported

pytestmark = pytest.mark.usefixtures("cpu")

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
MEGABYTE = 1_000_000

ABSENT = """raise ModuleNotFoundError("No module named 'torch'", name="torch")\n"""


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def run(tmp_path):
    """Run the script where torch is not installed and return what it printed and its JSON."""
    (tmp_path / "torch.py").write_text(ABSENT)

    def run_script(*arguments, returncode=0):
        record = tmp_path / "record.json"
        finished = subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                SCRIPTS / "time_margin_ranking.py",
                "--json",
                record,
                "--quick",
                *arguments,
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            capture_output=True,
            text=True,
        )
        assert finished.returncode == returncode, finished.stderr
        return finished.stdout + finished.stderr, json.loads(record.read_text()) if record.exists() else None

    return run_script


@pytest.mark.environment
def test_sweep_over_sizes(run):
    printed, record = run("--sizes", "1,1k", "--peers", "numpy,torch")
    assert "left out: torch: torch is not installed" in printed
    assert record["left_out"] == {"torch": "torch is not installed"}
    rows = record["rows"]
    assert {(row["work"], row["pairs"]) for row in rows} == {
        (work, pairs) for work in ("forward", "gradients") for pairs in (1, 1000)
    }
    for row in rows:
        check_figures(row)
        assert row["times_numbarank"] == pytest.approx(row["median_seconds"] / median_of(rows, row, "numbarank"))
        fastest = row["median_seconds"] * row["share_of_roofline"]
        assert fastest == pytest.approx(min(kernel_medians(rows, row)))


def check_figures(row):
    assert 0 < row["p20_seconds"] <= row["median_seconds"] <= row["p80_seconds"]
    assert row["first_call_seconds"] > 0
    assert row["bytes"] == row["pairs"] * (12 if row["work"] == "forward" else 20)
    assert row["gb_per_s"] == pytest.approx(row["bytes"] / row["median_seconds"] / 1e9)
    assert row["clock"] == "host"
    assert row["dtype"] == "float32"
    assert row["threads"] >= 1
    assert row["machine"]
    assert row["threading_layer"]
    assert row["versions"]["numpy"] == np.__version__


def of_the_same_comparison(rows, row):
    return [other for other in rows if (other["work"], other["pairs"]) == (row["work"], row["pairs"])]


def median_of(rows, row, name):
    (found,) = [other for other in of_the_same_comparison(rows, row) if other["peer"] == name]
    return found["median_seconds"]


def kernel_medians(rows, row):
    return [r["median_seconds"] for r in of_the_same_comparison(rows, row) if r["peer"].startswith("roofline")]


@pytest.mark.environment
def test_report_states_what_it_could_not_measure_and_fills_the_document(run, tmp_path):
    document = tmp_path / "performance.md"
    document.write_text("above\n<!-- report: begin -->\nold\n<!-- report: end -->\nbelow\n")
    printed, record = run("--report", "--rows", "forward-large", "--peers", "torch", "--markdown", str(document))
    goals = [line["goal"] for line in record["lines"]]
    unmeasured = [goal for goal in goals if goal["measured"] is None]
    measured = [goal for goal in goals if goal["measured"] is not None]
    assert [goal["reached"] for goal in unmeasured] == [None, None]
    (of_the_roofline,) = measured
    assert of_the_roofline["measured"] > 0
    assert of_the_roofline["at_least"]
    assert of_the_roofline["reached"] == (float(f"{of_the_roofline['measured']:.3g}") >= of_the_roofline["limit"])
    assert of_the_roofline["work"] in printed
    text = document.read_text()
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text
    assert text.count("| not measured | - |") == 2


def test_wrong_names_are_refused(run):
    printed, _ = run("--peers", "tensorflow", returncode=2)
    assert "unknown: tensorflow" in printed


def test_plot_is_drawn(tmp_path):
    imported("matplotlib")
    from time_margin_ranking import speed_plot

    rows = [
        {"work": work, "pairs": pairs, "peer": name, "gb_per_s": speed * pairs}
        for work in ("forward", "gradients")
        for pairs in (1, 1000)
        for name, speed in (("roofline, serial", 2.0), ("numbarank", 1.0), ("numpy", 0.1))
    ]
    plot = speed_plot(rows)
    assert plot.panels["loss"] == {
        "roofline: a bare kernel that only moves them": {1: 2.0, 1000: 2000.0},
        "numbarank": {1: 1.0, 1000: 1000.0},
        "numpy": {1: 0.1, 1000: 100.0},
    }
    plot.draw(tmp_path / "plot.png", "a machine")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize(("reduction", "target_dtype"), [("mean", "same"), ("sum", "int8"), ("none", "scalar")])
@pytest.mark.parametrize("peer", ["numpy", "numexpr", "jax"])
def test_peers_compute_the_same(peer, reduction, target_dtype):
    imported(peer)
    from bench.pairs import MARGIN, Pairs, Setting
    from bench.peers import IMPLEMENTATIONS

    setting = Setting(reduction=reduction, target_dtype=target_dtype)
    pairs = Pairs.random(1000, setting)
    inputs = (pairs.x1, pairs.x2, pairs.y, MARGIN, reduction)
    loss, (by_x1, by_x2, _) = reference.loss(*inputs), reference.slopes(*inputs)
    implementation = IMPLEMENTATIONS[peer](setting)
    np.testing.assert_allclose(implementation.forward(pairs)(), loss, rtol=1e-5, atol=1e-6)
    for theirs, expected in zip(implementation.gradients(pairs)(), (loss, by_x1, by_x2), strict=True):
        np.testing.assert_allclose(theirs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.environment
def test_bare_kernels_copy_what_they_read():
    from bench.roofline import kernels

    reads = [np.arange(n, dtype=dtype) for n, dtype in ((10_240, np.float32), (10_240, np.float32), (10_240, np.int8))]
    writes = [np.zeros(10_240, np.float32) for _ in range(2)]
    calls = kernels(reads, writes, parallel=False)
    for name in ("roofline, serial", "roofline, serial, prefetch, past caches"):
        for buffer in writes:
            buffer[:] = -1
        calls[name]()
        np.testing.assert_array_equal(writes, reads[:2])


@pytest.mark.environment
def test_memory_probe_sees_temporaries_and_not_results():
    from bench.memory_probe import extra_bytes

    ones = np.ones(MEGABYTE)
    assert extra_bytes(lambda: ones + ones) < MEGABYTE
    assert extra_bytes(lambda: (ones + ones).sum()) >= 8 * MEGABYTE


def test_many_pairs_repeat_themselves():
    from bench.pairs import FLOAT32, MOST_RANDOM, Pairs

    few, many = (Pairs.random(size, FLOAT32).arrays() for size in (MOST_RANDOM, MOST_RANDOM + 5))
    for some, more in zip(few, many, strict=True):
        assert more.dtype == np.float32
        np.testing.assert_array_equal(more, [*some, *some[:5]])


def test_large_calls_are_timed_from_memory():
    from bench.sweep import last_level_cache_bytes, sets_of_buffers

    cache = last_level_cache_bytes()
    assert sets_of_buffers(12_000, "cpu") == 1
    assert sets_of_buffers(cache, "cpu") == 4
    assert sets_of_buffers(100 * cache, "cpu") == 1


def test_one_take_that_waits_for_a_processor_does_not_make_the_batches_short():
    from bench.timing import Candidate, interleave

    batches = []

    def clock(calls):
        batches.append([call() for call in calls])
        return 0.0001 * len(calls) + (0.02 if len(batches) == 2 else 0)

    times = interleave([Candidate("quick", [lambda: None], clock)], seconds=0, min_rounds=3)
    assert len(batches[-1]) == 64
    assert times["quick"].per_call == pytest.approx([0.0001] * 3)


@pytest.mark.parametrize(("seconds", "calls"), [(0.1, 1 + 3 + 2 * 3), (0.3, 1 + 3)])
def test_long_calls_are_made_once_a_round(seconds, calls):
    from bench.timing import Candidate, interleave

    made = []

    def clock(calls):
        made.extend(call() for call in calls)
        return seconds * len(calls)

    times = interleave([Candidate("long", [lambda: None], clock)], seconds=0, min_rounds=3)
    assert times["long"].per_call == [seconds] * 3
    assert len(made) == calls


def test_the_first_call_is_timed_alone_and_its_result_looked_at():
    from bench.timing import Candidate

    made, timed = [], []

    def clock(calls):
        timed.append(len(calls))
        for call in calls:
            call()
        return len(timed)

    def calls_of(name):
        return lambda: made.append(name) or name

    candidate = Candidate("one", [calls_of("a"), calls_of("b"), calls_of("c")], clock, str.upper)
    assert (candidate.first_call, candidate.first_result) == (1, "A")
    assert (made, timed) == (["a", "b", "c"], [1, 2])


def test_rounds_are_how_often_each_is_timed_at_least():
    from bench.sweep import Sweep

    options = argparse.Namespace(seconds=0, rounds=4, quick=False, peers=())
    times = Sweep(options).compare("nothing", 1, {"one": lambda: None, "other": lambda: None})
    assert [len(taken.per_call) for taken in times.values()] == [4, 4]
