"""``python -m numbarank``: what a bug report needs; ``python -m numbarank compile``: a full disk cache."""

import argparse
import importlib
import importlib.metadata
import math
import os
import platform
import shutil
import sys
import time

import llvmlite
import numba
import numpy as np

import numbarank as nr
from numbarank import _calls, _dispatch
from numbarank._cpu import cache, threads
from numbarank._cpu import quota as quotas

DTYPES = ("float32", "float64", "float16", "bfloat16")
OPTIONAL = ("torch", "dask", "lightgbm", "xgboost", "cupy-cuda12x", "cupy-cuda13x", "cupy", "ml_dtypes", "numba-cuda")
ABOUT_COMPILE = """\
Compile the loops that most programs use, and keep them in the folder of the disk cache, so that later processes start
fast: in a container image, or before a job. What is there already is not compiled again, and what is not covered is
compiled when it is first needed.

The files hold for this processor, these versions and settings. With more than one thread here, the loops for large
inputs are the parallel ones."""
ABOUT_CUDA = """\
make the same calls on the GPU, too. This shows that the kernels compile here. The disk cache does not hold them: numba
compiles them again in each process; what NVIDIA's driver keeps of them is in a cache of its own (~/.nv/ComputeCache)"""


def main(arguments=None):
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m numbarank",
        usage="%(prog)s [-h] [compile ...]",
        description="Print versions, threads, CUDA and the disk cache, for a bug report.",
    )
    commands = parser.add_subparsers(dest="command", prog="python -m numbarank")
    command = commands.add_parser(
        "compile",
        help="fill the disk cache, so that later processes start fast",
        description=ABOUT_COMPILE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--dtypes",
        type=read_dtypes,
        default=DTYPES[:2],
        metavar="A,B",
        help=f"dtypes of the scores, out of {', '.join(DTYPES)} (default: {','.join(DTYPES[:2])})",
    )
    command.add_argument("--lists", action="store_true", help="the losses of lists, and of queries and items, too")
    command.add_argument("--cuda", action="store_true", help=ABOUT_CUDA)
    options = parser.parse_args(arguments)
    if options.command == "compile":
        return fill_cache(options.dtypes, options.lists, options.cuda)
    print_table(report())
    return 0


def read_dtypes(text):
    """Return the names of dtypes in a text, with commas between."""
    names = text.split(",")
    for name in names:
        if name not in DTYPES:
            raise argparse.ArgumentTypeError(f"{name!r} is not among the allowed {', '.join(DTYPES)}")
    if "bfloat16" in names:
        try:
            importlib.import_module("ml_dtypes")
        except ImportError:
            raise argparse.ArgumentTypeError("bfloat16 needs the package ml_dtypes") from None
    return names


# ---------------------------------------------------------------- the report


def report():
    """Yield the lines of the report: names and texts."""
    yield "numbarank", nr.__version__
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "numba", numba.__version__
    yield "llvmlite", llvmlite.__version__
    yield "NumPy", np.__version__
    for package in OPTIONAL:
        if version := _version_of(package):
            yield package, version
    yield "platform", platform.platform()
    yield "processor", numba.core.registry.cpu_target.target_context.codegen().magic_tuple()[1]
    yield "threads", _threads()
    yield "CPU quota", _quota()
    yield "CUDA", _no_cuda() or _driver().device_name()
    yield from _report_of_cache()
    for name, value in sorted(os.environ.items()):
        if name.startswith(("NUMBA_", "NUMBARANK_")):
            yield name, value


def print_table(rows):
    """Print names and texts in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")


def _version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threads():
    layer = threads.layer()
    return f"{threads.most()} ({layer})" if layer else "1 (no threading layer can be loaded)"


def _quota():
    """Return in words how much of the processors' time is left to this process."""
    quota = quotas.cpu_quota()
    if quota is None:
        return "none"
    is_heeded = threads.layer() is None or threads.most() <= math.ceil(quota)
    return f"{quota:g} processors" + ("" if is_heeded else ", but a user chose the number of threads")


def _no_cuda():
    """Return in one line that CUDA cannot be used and why, or None."""
    try:
        _dispatch.backend("cuda")
    except RuntimeError as error:
        return " ".join(str(error).removeprefix("CUDA ").split())
    return None


def _driver():
    return importlib.import_module("numbarank._cuda.driver")


def _report_of_cache():
    place = cache.place()
    problem = _not_written(place)
    if not place.folder:
        yield "disk cache", f"none: {problem}; every process compiles again{_advice(place)}"
        return
    yield "disk cache", str(place.folder)
    lacking = f"no: {problem}; what it does not hold, every process compiles again{_advice(place)}"
    yield "  can be written", lacking if problem else "yes"
    yield "  holds", _content(place.folder)


def _advice(place):
    return f": {place.advice}" if place.advice else ""


def _not_written(place):
    """Return why the cache cannot be written here, or None."""
    if place.folder is None:
        return place.problem
    if not place.is_ours:
        return f"{place.folder} belongs to root; only root writes to it"
    return None if os.access(place.folder, os.W_OK | os.X_OK) else f"{place.folder} is read-only"


def _content(folder):
    """Return in words how many files a folder holds, and how large they are."""
    try:
        sizes = [entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()]
    except OSError as error:
        return f"it cannot be listed: {error.strerror}"
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


# ---------------------------------------------------------------- filling the cache


def fill_cache(dtypes, has_lists, has_cuda):
    """Make all calls, tell how far they are, and return the exit status."""
    start, place = time.perf_counter(), cache.place()
    problem = _not_written(place)
    if problem:
        return _fail(f"nothing can be kept: {problem}{_advice(place)}")
    if has_cuda and (problem := _no_cuda()):
        return _fail(f"CUDA {problem}")
    if has_cuda and _driver().SIMULATING:
        return _fail("numba's CUDA simulator compiles nothing: leave --cuda out")
    steps = _calls.steps(dtypes, has_lists)
    if has_cuda:
        steps += _calls.steps(dtypes, has_lists, "cuda")
    for number, step in enumerate(steps, 1):
        show_progress(number, len(steps), step.name)
        step.run()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"{place.folder}: {_content(place.folder)}, {time.perf_counter() - start:.0f} s")
    if threads.count() == 1:
        print("Loops run on one thread here: those for several are not among these.")
    if cache.DiskCache.problem:
        return _fail(f"not all could be kept: {cache.DiskCache.problem}")
    return 0


def show_progress(number, count, name):
    """Print how far the calls are to stderr: over the last line on a terminal, as a line of its own elsewhere."""
    done = 10 * number // count
    line = f"[{'#' * done:<10}] {number:>{len(str(count))}}/{count} {name}"
    if sys.stderr.isatty():
        line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K"
    print(line, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def _fail(message):
    print(f"python -m numbarank: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
