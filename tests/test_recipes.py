"""The first recipe of CONTRIBUTING.md, followed in a copy: a loss on pairs is one file, a line, and its oracle here."""

import os
import shutil
import subprocess
import sys

import pytest
from test_architecture import PACKAGE

pytestmark = pytest.mark.environment

SQUARED_HINGE = '''"""Squared hinge on pairs: max(0, -y * (x1 - x2) + margin) ** 2."""

from numbarank.losses import _pairs


def value(x1, x2, y, margin):
    z = -y * (x1 - x2) + margin
    zero = type(margin)(0)
    return zero if z < zero else z * z


def slope(x1, x2, y, margin, upstream):
    z = -y * (x1 - x2) + margin
    zero = type(margin)(0)
    d = upstream * (z + z) if z >= zero else zero
    return d * -y, -(d * (x1 - x2))


FORMULA = _pairs.PairFormula(value, slope)


def squared_hinge(input1, input2, target, margin=1.0, reduction="mean"):
    return _pairs.loss(FORMULA, input1, input2, target, margin, reduction)


def squared_hinge_and_grad(input1, input2, target, margin=1.0, reduction="mean", gradient=None):
    return _pairs.loss_and_grad(
        FORMULA, input1, input2, target, margin, reduction, gradient, target_grad=True
    )
'''

LINE = "from numbarank.losses.squared_hinge import squared_hinge, squared_hinge_and_grad\n"

CHECK = """
import numpy as np
import numbarank as nr

device = {device!r}
assert nr.__file__.startswith({folder!r})
reduce = dict(none=lambda losses: losses, sum=np.sum, mean=np.mean)


def on_device(array):
    return nr.tensor(array, device=device).data if device != "cpu" else array


def on_host(result):
    return nr.Tensor(result).cpu().numpy()


for dtype in (np.float32, np.float64):
    for size in {sizes}:
        x1, x2 = np.random.default_rng(0).standard_normal((2, size)).astype(dtype)
        y = np.where(np.arange(size) % 3, 1, -1).astype(dtype)
        z = np.maximum(0, -y * (x1 - x2) + dtype(1))
        share = -2 * z * y
        for reduction in reduce:
            there = map(on_device, (x1, x2, y))
            loss, gradients = nr.squared_hinge_and_grad(*there, reduction=reduction)
            divisor = size if reduction == "mean" else 1
            np.testing.assert_allclose(on_host(loss), reduce[reduction](z * z), rtol=1e-5)
            np.testing.assert_allclose(on_host(gradients[0]), share / divisor, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(on_host(gradients[1]), -share / divisor, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(on_host(gradients[2]), -2 * z * (x1 - x2) / divisor, rtol=1e-4, atol=1e-6)
    leaf = nr.tensor(x1, device=device, requires_grad=True)
    nr.squared_hinge(leaf, on_device(x2), on_device(y)).backward()
    np.testing.assert_allclose(on_host(leaf.grad), share / size, rtol=1e-4, atol=1e-6)
print("done")
"""


@pytest.mark.parametrize("where, sizes, simulates", [("cpu", (7, 1000, 60_000), "0"), ("cuda", (7, 40), "1")])
def test_a_loss_on_pairs_is_one_file_and_a_line(tmp_path, where, sizes, simulates):
    shutil.copytree(PACKAGE, tmp_path / "numbarank", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "numbarank/losses/squared_hinge.py").write_text(SQUARED_HINGE)
    with open(tmp_path / "numbarank/__init__.py", "a") as names:
        names.write(LINE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_ENABLE_CUDASIM": simulates, "NUMBARANK_CACHE": "0"}
    program = CHECK.format(device=where, sizes=sizes, folder=str(tmp_path))
    command = [sys.executable, "-W", "error", "-c", program]
    finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (finished.returncode, finished.stdout) == (0, "done\n"), finished.stderr
