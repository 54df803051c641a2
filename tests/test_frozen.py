"""A program that PyInstaller made, without options or hooks of ours."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import numbarank as nr

pytestmark = [
    pytest.mark.environment,
    pytest.mark.usefixtures("cpu"),
    pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the cache needs POSIX owners and permissions"),
    pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="PyInstaller is not installed"),
]

PROGRAM = """
import sys
import numpy as np
from numba.core import event
import numbarank as nr
from numbarank._cpu import threads

assert sys.frozen
with event.install_recorder("numba:compile") as recorder:
    print(*nr.margin_ranking_loss_and_grad([1.0], [3.0], 1, margin=1.0)[1])
    print(*nr.pairwise_hinge_loss_and_grad(np.arange(3.0), np.array([2, 1, 0]), reduction="sum"))
    print(nr.margin_ranking_loss(np.zeros(60_000), np.ones(60_000), 1, margin=1.0), threads.count() > 1)
    print(nr.retrieval_hinge_loss(np.ones((2, 2)), np.eye(2), ([0, 1], [0, 1])))
    _, gradients = nr.retrieval_hinge_loss_and_grad(np.ones((2, 2)), np.eye(2), ([0, 1], [0, 1]), reduction="sum")
    print(*gradients[0].ravel())
    try:
        nr.tensor([1.0], device="cuda:999")
    except (RuntimeError, ValueError) as error:
        print(type(error).__name__)
print("compiled", len(recorder.buffer) > 0)
"""
RESULTS = ["[-1.] [1.]", "7.0 [-2.  0.  2.]", "2.0 True", "1.0", "-1.0 1.0 1.0 -1.0", "RuntimeError"]


def run(command, folder, **variables):
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "NUMBA_NUM_THREADS": "2", **variables}
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_frozen_program_computes_and_its_second_start_compiles_nothing(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    build = [sys.executable, "-m", "PyInstaller", "--onedir", "--log-level=ERROR", "program.py"]
    run(build, tmp_path, PYTHONPATH=os.pathsep.join([str(Path(nr.__file__).parents[1]), *sys.path[1:]]))
    program = [tmp_path / "dist" / "program" / "program"]
    assert run(program, tmp_path) == [*RESULTS, "compiled True"]
    assert any((tmp_path / ".cache" / "numbarank").iterdir())
    assert run(program, tmp_path) == [*RESULTS, "compiled False"]
