"""Find the fastest constants of the CUDA kernels on this machine's GPU, and print them as a patch.

Each value is written into a copy of the package, whose loss and gradients `time_margin_ranking.py` then times; one
constant after the other, with those before at their fastest.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.peers import OURS, OUT
from bench.tables import seconds

ROOT = Path(__file__).resolve().parent.parent
SIZE = "16M"
GAIN = 0.02  # what is faster by less is no reason to change anything
TIMED = (("forward", OURS), ("gradients", OUT))


class Tunable(NamedTuple):
    """A constant of a source file, and the values to try; the line that sets it ends with its value."""

    file: str
    line: str
    values: tuple


TUNABLES = {
    "threads per block": Tunable("numbarank/_cuda/driver.py", r"THREADS = .*else ", (128, 256, 512)),
    "blocks per processor": Tunable("numbarank/_cuda/driver.py", r"_BLOCKS_A_PROCESSOR = ", (8, 16, 32)),
    "bytes read at a time": Tunable("numbarank/_cuda/vectors.py", r"BYTES = ", (8, 16)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default=SIZE, help=f"how many pairs (default {SIZE})")
    parser.add_argument("--quick", action="store_true", help="short times: to try the script, no figures")
    options = parser.parse_args()
    for name, tried in tune(options.size, options.quick):
        print(f"{name:<24} {described(tried)}", flush=True)


def tune(size=SIZE, quick=False):
    """Yield each tunable's name and the seconds that each of its values took; print the patch at the end."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "numbarank", Path(folder, "numbarank"), ignore=shutil.ignore_patterns("__pycache__"))
        for name, tunable in TUNABLES.items():
            before = value_of(folder, tunable)
            tried = {}
            for value in tunable.values:
                set_value(folder, tunable, value)
                tried[value] = seconds_of(folder, size, quick)
            fastest = min(tried, key=tried.get)
            set_value(folder, tunable, fastest if tried[fastest] < (1 - GAIN) * tried[before] else before)
            yield name, tried
        print("\n".join(patch(folder)) or "no constant is worth a change")


def described(tried):
    """Return values and their seconds in words, the fastest first."""
    return ", ".join(f"{value}: {seconds(tried[value])}" for value in sorted(tried, key=tried.get))


def value_of(folder, tunable):
    """Return the value that a constant has in a copy of the package."""
    return int(re.search(rf"^{tunable.line}(\d+)$", Path(folder, tunable.file).read_text(), re.MULTILINE)[1])


def set_value(folder, tunable, value):
    """Give a constant another value in a copy of the package."""
    file = Path(folder, tunable.file)
    text, found = re.subn(rf"^({tunable.line})\d+$", rf"\g<1>{value}", file.read_text(), flags=re.MULTILINE)
    if found != 1:
        raise ValueError(f"{tunable.file} has {found} lines like {tunable.line}")
    file.write_text(text)


def seconds_of(folder, size, quick):
    """Return the seconds that a loss and its gradients take with a copy of the package."""
    record = Path(folder, "record.json")
    options = ["--device=cuda", f"--sizes={size}", "--peers=", "--seconds=1", f"--json={record}", *["--quick"] * quick]
    command = [sys.executable, ROOT / "scripts/time_margin_ranking.py", *options]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    rows = json.loads(record.read_text())["rows"]
    return sum(row["median_seconds"] for row in rows if (row["work"], row["peer"]) in TIMED)


def patch(folder):
    """Return the lines of a patch from the package to its copy."""
    for file in sorted({tunable.file for tunable in TUNABLES.values()}):
        before, after = ((Path(where, file).read_text().splitlines()) for where in (ROOT, folder))
        yield from difflib.unified_diff(before, after, f"a/{file}", f"b/{file}", lineterm="")


if __name__ == "__main__":
    main()
