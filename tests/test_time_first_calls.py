"""The script on first calls picks, computes and records what it promises; how fast anything is, no test asks."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("cpu")

ROOT = Path(__file__).parent.parent
WHERE = {"machine": "a machine", "versions": {"numpy": "2"}, "threads": 2, "threading_layer": "omp", "load_before": 0}
PRINT_TIME = "import time; print(time.monotonic())"


@pytest.fixture(autouse=True)
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import time_first_calls

    return time_first_calls


@pytest.fixture
def processes(script):
    return script.fresh_processes


class Launches:
    """Stands in for launches: jax takes 2 seconds, cold numbarank 3, others 1; first ones ten times as long."""

    def __init__(self, processes, failing=()):
        self.seen = []
        self.peers = {program: name for name, program in processes.PEERS.items()}
        self.failing = failing

    def __call__(self, program):
        name = self.peers.get(program, "cold" if program.is_cold else "warm")
        if name in self.failing:
            raise RuntimeError(f"{name} is not installed")
        self.seen.append(name)
        return {"jax": 2, "cold": 3}.get(name, 1) * (10 if self.seen.count(name) == 1 and not program.is_cold else 1)


def test_peers_take_turns_and_the_first_launches_count_if_they_are_cold(script, processes):
    launch = Launches(processes)
    results, left_out = script.measure(script.ROWS["nine-ways"], {"numbarank": ROOT}, 2, launch)
    assert launch.seen == ["cold", "warm", "warm", "jax", "jax", "cold", "warm", "jax"]
    assert left_out == {}
    cold, warm = results
    assert (cold.peer, cold.seconds, cold.multiple) == ("numbarank cold", [3, 3], 1.5)
    assert (cold.goal.target, cold.goal.shown, cold.goal.reached) == ("at most 5 times jax's time", (1.5, False), True)
    assert (warm.peer, warm.multiple, warm.goal) == ("numbarank warm", 0.5, None)
    work = script.ROWS["nine-ways"].work
    assert tuple(map(str, warm.cells())) == (work, "numbarank warm", "1 s", "0.5", "jax", "-", "-")


def test_peers_are_shown_where_they_do_the_same(script, processes):
    results, _ = script.measure(script.ROWS["gradients"], {"numbarank": ROOT}, 1, Launches(processes))
    assert [(one.peer, one.multiple, one.other, one.goal and one.goal.limit) for one in results] == [
        ("numbarank cold", 1.5, "jax", 1.7),
        ("numbarank cold", 3, "torch", 1.1),
        ("numbarank warm", 0.5, "jax", 0.5),
        ("numbarank warm", 1, "torch", 0.3),
        ("jax", 1, "jax", None),
        ("torch", 0.5, "jax", None),
        ("torch.compile", 0.5, "jax", None),
    ]


def test_who_fails_is_left_out(script, processes):
    launch = Launches(processes, failing=["torch.compile"])
    results, left_out = script.measure(script.ROWS["gradients"], {"numbarank": ROOT}, 1, launch)
    assert left_out == {"torch.compile": "torch.compile is not installed"}
    assert list(dict.fromkeys(one.peer for one in results)) == ["numbarank cold", "numbarank warm", "jax", "torch"]


def test_without_jax_nothing_is_reached_or_missed(script, processes):
    launch = Launches(processes, failing=["jax"])
    results, left_out = script.measure(script.ROWS["forward"], {"numbarank": ROOT}, 1, launch)
    assert left_out == {"jax": "jax is not installed"}
    assert tuple(map(str, results[0].cells()))[2:] == ("3 s", "-", "jax", "at most 1.7 times jax's time", "-")


def test_who_fails_later_is_left_out_too(processes):
    def launch(program):
        launched.append(program.source)
        if program.source == "b" and launched.count("b") == 3:
            raise RuntimeError("no more")
        return len(launched)

    launched = []
    programs = {name: processes.Program(name) for name in "ab"}
    assert processes.in_turns(programs, 2, launch) == ({"a": [2, 5]}, {"b": "no more"})


def test_a_launch_has_a_folder_for_compiled_code_and_a_package(processes, tmp_path):
    (tmp_path / "numbarank").mkdir()
    (tmp_path / "numbarank" / "__init__.py").write_text("")
    keeps = (
        "import os, pathlib, numbarank\n"
        f"assert pathlib.Path(numbarank.__file__).is_relative_to({str(tmp_path)!r})\n"
        "cache = pathlib.Path(os.environ['NUMBARANK_CACHE_DIR'])\n"
        "assert not list(cache.iterdir()), 'not empty'\n"
        "(cache / 'code').touch()\n" + PRINT_TIME
    )
    cold, warm = processes.cold_and_warm(keeps, str(tmp_path / "cache"), tmp_path).values()
    alone = processes.Program(keeps, package=tmp_path)
    for program in (warm, cold, cold, alone, alone):
        assert 0 < processes.launch(program) < 60
    with pytest.raises(RuntimeError, match=r"^AssertionError: not empty$"):
        processes.launch(warm)


def test_the_reason_is_the_line_that_names_the_error(processes):
    traceback = "Traceback\n  File\na.b.InductorError: no compiler\n\nSet VERBOSE=1 for more\n"
    assert processes.reason(traceback) == "a.b.InductorError: no compiler"
    assert processes.reason("Killed\n") == "Killed"
    assert processes.reason("") == "it failed without a word"


def test_programs_are_python(script, processes):
    for source in [row.source for row in script.ROWS.values()] + [one.source for one in processes.PEERS.values()]:
        assert compile(source, "program", "exec").co_code


def test_options(script, capsys):
    assert script.benchmark.parse_arguments([]).rows == list(script.ROWS)
    assert script.benchmark.parse_arguments([]).packages == {"numbarank": ROOT}
    quick = script.benchmark.parse_arguments(["--quick"])
    assert (quick.rows, quick.repeats) == (["forward"], 1)
    assert script.benchmark.parse_arguments(["--quick", "--rows", "list-20k,gradients"]).rows == [
        "list-20k",
        "gradients",
    ]
    two = script.benchmark.parse_arguments(["--package", f"before={ROOT}", "--package", str(ROOT)]).packages
    assert two == {"before": ROOT, ROOT.name: ROOT}
    for wrong, message in (
        (["--rows", "forwards"], "unknown: forwards; known: forward,"),
        (["--repeats", "0"], "at least 1"),
        (["--package", str(ROOT / "docs")], "no numbarank in"),
        (["--package", f"a={ROOT}", "--package", f"a={ROOT}"], "two of one name"),
    ):
        with pytest.raises(SystemExit):
            script.benchmark.parse_arguments(wrong)
        assert message in capsys.readouterr().err


def test_table_goes_into_the_document_and_everything_into_the_record(script, processes, monkeypatch, tmp_path, capsys):
    document, record = tmp_path / "performance.md", tmp_path / "record.json"
    document.write_text("above\n<!-- first calls: begin -->\nold\n<!-- first calls: end -->\nbelow\n")
    launch = Launches(processes, failing=["torch", "torch.compile"])
    measure = script.measure
    monkeypatch.setattr(script, "measure", lambda row, packages, repeats: measure(row, packages, repeats, launch))
    monkeypatch.setattr("bench.harness.environment", lambda *arguments: WHERE)
    arguments = ["--rows", "gradients", "--quick", "--markdown", str(document), "--json", str(record)]
    script.benchmark.main(arguments)
    assert "left out: gradients, torch: torch is not installed" in capsys.readouterr().out
    assert document.read_text() == (
        "above\n<!-- first calls: begin -->\n\n"
        "a machine\nnumpy 2\n2 threads (omp); float32\n\n"
        "| first call | peer | time | multiple | of the time of | goal | reached |\n"
        "|---|---|---|---|---|---|---|\n"
        "| gradients of 1,000 pairs | numbarank cold | 3 s | 1.5 | jax | at most 1.7 times jax's time | yes |\n"
        "| gradients of 1,000 pairs | numbarank cold | 3 s | - | torch | at most 1.1 times torch's time | - |\n"
        "| gradients of 1,000 pairs | numbarank warm | 1 s | 0.5 | jax | at most 0.5 times jax's time | yes |\n"
        "| gradients of 1,000 pairs | numbarank warm | 1 s | - | torch | at most 0.3 times torch's time | - |\n"
        "| gradients of 1,000 pairs | jax | 2 s | 1 | jax | - | - |\n\n"
        "<!-- first calls: end -->\nbelow\n"
    )
    written = json.loads(record.read_text())
    assert written["machine"] == "a machine"
    assert written["left_out"] == {
        "gradients, torch": "torch is not installed",
        "gradients, torch.compile": "torch.compile is not installed",
    }
    cold = written["rows"][0]
    assert (cold["seconds"], cold["median_seconds"], cold["multiple"]) == ([3], 3, 1.5)
    assert (cold["goal"]["measured"], cold["goal"]["limit"], cold["goal"]["reached"]) == (1.5, 1.7, True)
