"""The guards that keep a loss from ending the process it is called in: forks, and threads under every layer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import numbarank as nr

pytestmark = pytest.mark.usefixtures("cpu")

PACKAGE = Path(nr.__file__).parent
PAIRS = """
import numpy as np
import numbarank as nr

x1, x2 = np.random.default_rng(0).standard_normal((2, 200_000))

def loss(_=None):
    return float(nr.margin_ranking_loss(x1, x2, 1.0, 0.5))
"""
FORKS = """
import multiprocessing
expected = loss()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert set(pool.map(loss, range(8))) == {expected}
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
expected = loss()
with ThreadPoolExecutor(8) as pool:
    assert set(pool.map(loss, range(200))) == {expected}
"""


def run(code, layer):
    """Run code in a fresh process that uses a threading layer of numba's."""
    variables = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PAIRS + code]
    return subprocess.run(command, cwd=PACKAGE.parent, env=variables, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
@pytest.mark.parametrize("code", [FORKS, THREADS], ids=["forks", "threads"])
def test_parallel_loops_do_not_end_the_process(code, layer):
    if "fork" in code and not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    result = run(code, layer)
    assert result.returncode == 0, result.stderr
