"""What only a process of its own can tell: how fast it starts, and how much memory a call takes at its peak."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

PAIRS = """
import time
import numpy as np
x1 = np.linspace(0, 1, 1000, dtype=np.float32)
x2 = x1[::-1].copy()
y = np.where(x1 > 0.3, 1, -1).astype(np.float32)
"""
FINISH = """
assert 0 < float(loss) < 2
print(time.monotonic())
"""
NUMBARANK = """
import numbarank
loss, gradients = numbarank.margin_ranking_loss_and_grad(x1, x2, y)
"""
TORCH = """
import torch
x1, x2, y = map(torch.from_numpy, (x1, x2, y))
loss = torch.nn.functional.margin_ranking_loss(x1.requires_grad_(), x2.requires_grad_(), y)
loss.backward()
"""
JAX = """
import jax
def mean_loss(x1, x2, y):
    z = -y * (x1 - x2)
    return jax.numpy.where(z < 0, 0, z).mean()
loss, gradients = jax.jit(jax.value_and_grad(mean_loss, argnums=(0, 1)))(x1, x2, y)
jax.block_until_ready(gradients)
"""
PROGRAMS = {"numbarank warm": NUMBARANK, "numbarank cold": NUMBARANK, "torch": TORCH, "jax": JAX}


def start_seconds(names, repeats):
    """Return, for each program, the seconds from a launch to its finished loss with gradients on 1,000 pairs.

    Launches alternate, after one of each that does not count and fills the files' and numbarank's caches. 'numbarank
    cold' starts with an empty disk cache each time. A program that fails is left out.
    """
    with tempfile.TemporaryDirectory() as warm_cache:
        seconds = {name: [] for name in names if _launch(name, warm_cache) is not None}
        for _ in range(repeats):
            for name, taken in seconds.items():
                taken.append(_launch(name, warm_cache))
    return seconds


def _launch(name, warm_cache):
    with tempfile.TemporaryDirectory() as empty_cache:
        cache = empty_cache if name == "numbarank cold" else warm_cache
        start = time.monotonic()
        finished = _python(["-c", PAIRS + PROGRAMS[name] + FINISH], NUMBARANK_CACHE_DIR=cache)
    return float(finished.stdout.split()[-1]) - start if finished.returncode == 0 else None


def extra_memory(dtype, sizes):
    """Return the cases of ``memory_probe.py`` for one dtype, or None where it fails."""
    trimmed_at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    finished = _python([str(HERE / "memory_probe.py"), dtype, *map(str, sizes)], **trimmed_at_once)
    return json.loads(finished.stdout) if finished.returncode == 0 else None


def _python(arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE.parent,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
