"""What only a process of its own can tell: how fast it starts, and how much memory a call takes at its peak."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
COMPILED_CODE = ("NUMBARANK_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")

PAIRS = """
import numpy as np
def pairs(size):
    x1 = np.linspace(0, 1, size, dtype=np.float32)
    return x1, x1[::-1].copy(), np.where(x1 > 0.3, 1, -1).astype(np.float32)
x1, x2, y = pairs(1000)
"""
FINISH = """
import time
assert 0 < float(loss) < 2
print(time.monotonic())
"""
IMPORT_TORCH = """
import torch
margin_ranking_loss = torch.nn.functional.margin_ranking_loss
"""
COMPILE = """
margin_ranking_loss = torch.compile(margin_ranking_loss)
"""
BACKWARD = """
x1, x2, y = map(torch.from_numpy, (x1, x2, y))
loss = margin_ranking_loss(x1.requires_grad_(), x2.requires_grad_(), y)
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


def on_pairs(calls):
    """Return the source of a program that makes calls on 1,000 pairs, the last of which gives ``loss``."""
    return f"{PAIRS}{calls}{FINISH}"


GRADIENTS = on_pairs("""
import numbarank
loss, gradients = numbarank.margin_ranking_loss_and_grad(x1, x2, y)
""")


@dataclass(frozen=True)
class Program:
    """A program that prints, at its end, what ``time.monotonic()`` says.

    Parameters
    ----------
    source : str
    cache : str or None
        The folder for compiled code; None stands for one of the launch alone.
    package : Path
        The folder whose numbarank is imported.
    is_cold : bool
        Whether the folder is emptied before each launch, so that everything is compiled anew.
    """

    source: str
    cache: str | None = None
    package: Path = ROOT
    is_cold: bool = False


PEERS = {
    "jax": Program(on_pairs(JAX)),
    "torch": Program(on_pairs(IMPORT_TORCH + BACKWARD)),
    "torch.compile": Program(on_pairs(IMPORT_TORCH + COMPILE + BACKWARD), is_cold=True),
}
EMPTY_FUNCTION = """
import numba
numba.njit("float64(float64)")(lambda number: number)
"""
LOSS = "\nloss = 1\n"
FLOORS = {  # what our own first call cannot do without
    "NumPy alone": Program(on_pairs(LOSS)),
    "import numba": Program(on_pairs("import numba" + LOSS)),
    "numba, an empty function": Program(on_pairs(EMPTY_FUNCTION + LOSS)),
}


def cold_and_warm(source, cache, package=ROOT, name="numbarank"):
    """Return, by name, a program that starts with an empty disk cache, and one with what the first left there."""
    return {
        f"{name} cold": Program(source, cache, package, is_cold=True),
        f"{name} warm": Program(source, cache, package),
    }


def launch(program):
    """Return the seconds from the launch of a program to its end; RuntimeError names why it failed."""
    with tempfile.TemporaryDirectory() as empty:
        cache = program.cache or empty
        if program.is_cold:
            shutil.rmtree(cache, ignore_errors=True)
        os.makedirs(cache, exist_ok=True)
        caches = dict.fromkeys(COMPILED_CODE, cache)
        start = time.monotonic()
        finished = _python(["-c", program.source], program.package, **caches)
    if finished.returncode:
        raise RuntimeError(reason(finished.stderr))
    return float(finished.stdout.split()[-1]) - start


def reason(stderr):
    """Return the line of a traceback that names the error, or the last one."""
    lines = stderr.strip().splitlines() or ["it failed without a word"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[-1])


def in_turns(programs, repeats, launch=launch):
    """Launch programs in turns; first launches do not count, but those of cold programs, which are all alike.

    Returns
    -------
    seconds : dict of list
        By the name of each program, one number for each repeat.
    left_out : dict of str
        By the name of each program that failed, why.
    """
    seconds, left_out = {name: [] for name in programs}, {}
    for turn in range(repeats):
        for name in list(seconds):
            try:
                if turn == 0 and not programs[name].is_cold:
                    launch(programs[name])
                seconds[name].append(launch(programs[name]))
            except RuntimeError as error:
                left_out[name] = str(error)
                del seconds[name]
    return seconds, left_out


def extra_memory(dtype, sizes):
    """Return the cases of :mod:`memory_probe` for one dtype, or None where it fails."""
    trimmed_at_once = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    finished = _python(["-m", "bench.memory_probe", dtype, *map(str, sizes)], folder=SCRIPTS, **trimmed_at_once)
    return json.loads(finished.stdout) if finished.returncode == 0 else None


def _python(arguments, package=ROOT, folder=None, **variables):
    """Run Python in a folder, where the numbarank of a package's folder comes before all others."""
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder or package,
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
    )
