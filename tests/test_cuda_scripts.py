"""The scripts that prove and tune the kernels on a GPU say what they would do without one."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("cpu")

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def tune_cuda(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("tune_cuda")


def fastest_with(tune_cuda, **wanted):
    """Return a clock by which the constants wanted are the fastest."""

    def seconds_of(folder, size, quick):
        values = {name: tune_cuda.value_of(folder, tunable) for name, tunable in tune_cuda.TUNABLES.items()}
        return 1.0 + sum(values[name.replace("_", " ")] != value for name, value in wanted.items())

    return seconds_of


def test_constants_that_are_faster_are_printed_as_a_patch(tune_cuda, monkeypatch, capsys):
    monkeypatch.setattr(
        tune_cuda, "seconds_of", fastest_with(tune_cuda, threads_per_block=512, bytes_read_at_a_time=16)
    )
    tried = dict(tune_cuda.tune())
    assert {name: min(seconds, key=seconds.get) for name, seconds in tried.items()} == {
        "threads per block": 512,
        "blocks per processor": 8,
        "bytes read at a time": 16,
    }
    changed = [line for line in capsys.readouterr().out.splitlines() if line[0] in "+-"]
    assert changed[0] == "--- a/numbarank/_cuda/driver.py"
    before, after = changed[2:]
    assert before.startswith("-THREADS = ") and before.endswith(" else 256")
    assert after == "+" + before[1:].replace("256", "512")


def test_constants_that_are_as_fast_stay(tune_cuda, monkeypatch, capsys):
    monkeypatch.setattr(tune_cuda, "seconds_of", lambda *arguments: 1.0)
    tried = dict(tune_cuda.tune())
    assert all(len(seconds) > 1 for seconds in tried.values())
    assert capsys.readouterr().out == "no constant is worth a change\n"


@pytest.mark.environment
def test_a_part_that_is_unknown_is_refused():
    command = [sys.executable, SCRIPTS / "check_cuda.py", "--parts", "parity,speed"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "unknown: speed; known: parity, lists, retrieval, packages" in finished.stderr
