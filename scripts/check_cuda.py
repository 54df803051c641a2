"""Prove the CUDA kernels on this machine's GPU, in one command, and measure them.

Parity with the CPU on pairs and lists, arrays of CuPy and PyTorch where these are installed, the whole test suite on
the device, compute-sanitizer where it is found, bandwidth against a device-to-device copy, PyTorch's speed where it is
installed, the cost of a launch, and the constants of the kernels that are fastest here. Prints a table, writes JSON and
exits with status 0 if every check passed and every goal was reached, 1 if not, 2 without a GPU. --quick tries all of it
on few pairs, where no goal of speed counts. numba's CUDA simulator (NUMBA_ENABLE_CUDASIM=1) has the parity alone.
"""

import argparse
import functools
import importlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

if not hasattr(np, "row_stack"):
    np.row_stack = np.vstack  # numba-cuda 0.30 reads a name that NumPy 2.5 dropped

from bench.environment import environment
from bench.harness import names
from bench.pairs import Setting
from bench.peers import OURS, OUT, PEERS
from bench.roofline import ROOFLINE
from bench.sweep import Sweep
from bench.tables import counted, seconds, size_table
from tune_cuda import described, tune

import numbarank as nr

ROOT = Path(__file__).resolve().parent.parent
SIMULATING = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
DTYPES = ("float32", "float64", "float16", "bfloat16")
SETTINGS = [("float32", "same"), ("float32", "int8"), ("float32", "scalar"), ("float64", "same"), ("float16", "same")]
SLEEP_CYCLES = 10**8
SLOW_STEPS = 100
GOALS = {
    "share of the copy": (0.9, "at least 0.9 of a device-to-device copy"),
    "forward / torch": (4.0, "at least 4 times as fast as torch"),
    "gradients / torch": (6.0, "at least 6 times as fast as torch"),
    "forward / torch.compile": (1.0, "no slower than torch.compile"),
    "gradients / torch.compile": (1.0, "no slower than torch.compile"),
    "launch": (25e-6, "under 25 µs"),
}


class Effort(NamedTuple):
    """How much is tried.

    Parameters
    ----------
    sizes, lengths : tuple of int
        The numbers of pairs and the lengths of lists whose results are compared with the CPU's.
    tests : tuple of str
        What pytest is to run.
    slow_bytes : int
        What the slow work before a call multiplies: about 0.1 s for a GPU, 1 ms for its host.
    launches : int
        How many calls are timed without waiting, and how often.
    swept : tuple of int
        The numbers of pairs to time.
    goal_from : int or None
        From how many pairs on goals of speed count.
    tuned : str
        The number of pairs to find constants with.
    """

    sizes: tuple
    lengths: tuple
    tests: tuple = ("tests",)
    slow_bytes: int = 2**30
    launches: int = 100
    swept: tuple = (2**16, 2**20, 2**24, 2**26, 2**27)
    goal_from: int | None = 2**26
    tuned: str = "16M"


FULL = Effort(sizes=(1, 3, 4, 255, 256, 257, 100_003, 2**22 + 5), lengths=(0, 1, 2, 255, 256, 257, 2048, 5000))
QUICK = Effort(
    sizes=(1, 3, 257),
    lengths=(0, 1, 2, 257),
    tests=("tests/test_cuda_kernels.py", "-k", "computed_once"),
    slow_bytes=2**10,
    launches=2,
    swept=(2**10,),
    goal_from=None,
    tuned="1k",
)
SIMULATED = Effort(sizes=(1, 3, 129), lengths=(0, 1, 2, 9))


VERDICTS = {True: "ok", False: "FAILED", None: "-"}


class Check(NamedTuple):
    """One line of the report; ``passed`` is None where it could not run."""

    name: str
    shown: str
    passed: bool | None
    goal: str = ""


def main():
    options = parse_arguments()
    problem = no_gpu()
    if problem:
        print(f"no check was made: {problem}")
        sys.exit(2)
    where = environment("cuda")
    print(f"{where['machine']}\n{', '.join(f'{name} {version}' for name, version in where['versions'].items())}\n")
    effort = SIMULATED if SIMULATING else QUICK if options.quick else FULL
    sweep = Sweep(options)
    checks = []
    for name in options.parts:
        for check in PARTS[name](effort, sweep):
            print(f"{check.name:<58} {check.shown:<26} {VERDICTS[check.passed]}", flush=True)
            checks.append(check)
    path = options.json or (None if options.quick or options.parts != list(PARTS) else default_path(where))
    if path:
        write(path, where, checks, sweep.rows)
        print(f"\nwritten: {path}")
    done = [check.passed for check in checks]
    print(f"\n{done.count(True)} passed, {done.count(False)} failed, {done.count(None)} without a verdict")
    sys.exit(False in done)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write (default docs/measurements/<name of the GPU>.json)")
    parser.add_argument(
        "--parts",
        type=names(PARTS),
        default=["parity", "lists"] if SIMULATING else list(PARTS),
        help=f"of {','.join(PARTS)} (default all; with less, JSON is written with --json alone)",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long a comparison may take (default 2)")
    parser.add_argument("--quick", action="store_true", help="try every part on few pairs: no figures, no goals")
    parser.set_defaults(peers=PEERS, rounds=5)
    return parser.parse_args()


def no_gpu():
    """Return why there is nothing to check, or None."""
    try:
        nr.zeros(1, device="cuda")
    except RuntimeError as error:
        return str(error)


# ---------------------------------------------------------------- parity with the CPU


def parity(effort, sweep):
    """Compare losses, totals and gradients of both devices on the same pairs, a check per dtype."""
    for dtype in DTYPES:
        try:
            scores = Setting(dtype).numpy_dtype()
        except ModuleNotFoundError as error:
            yield Check(f"parity with the CPU, {dtype}", f"{error.name} is not installed", None)
            continue
        wrong = [case for case in itertools.product(effort.sizes, ("none", "sum", "mean")) if not agrees(scores, *case)]
        shown = f"differs for {wrong[0]}" if wrong else f"{len(effort.sizes)} sizes, 3 reductions"
        yield Check(f"parity with the CPU, {dtype}", shown, not wrong, "equal bits; totals within 1 ulp")


def agrees(dtype, size, reduction):
    """Tell whether both devices give the same for targets of every dtype."""
    rng = np.random.default_rng(size)
    x1, x2 = (special(rng.standard_normal(size)).astype(dtype) for _ in range(2))
    y = rng.choice([-1, 1], size)
    targets = y.astype(dtype), y.astype(np.int8), y.astype(np.int64), 1, np.array(-1, dtype)
    return all(same(run("cpu", x1, x2, t, reduction), run("cuda", x1, x2, t, reduction), reduction) for t in targets)


def special(scores):
    """Put an infinity, a NaN and zeros among many scores: totals of few stay finite."""
    if scores.size > 10**6:
        scores[:4] = np.inf, np.nan, 0.0, -0.0
    return scores


def run(device, x1, x2, y, reduction):
    """Return the loss and the three gradients of one device in host memory."""
    inputs = [nr.tensor(a, device=device).data if isinstance(a, np.ndarray) else a for a in (x1, x2, y)]
    loss, gradients = nr.margin_ranking_loss_and_grad(*inputs, 0.5, reduction, target_grad=True)
    return [nr.Tensor(a).cpu().numpy().astype(np.float64) for a in (loss, *gradients)], nr.Tensor(loss).dtype


def same(expected, actual, reduction):
    """Tell whether results are equal up to the sign of zero, and a total within 1 ulp of its dtype."""
    (loss, by_x1, by_x2, by_y), dtype = expected
    (other, *others), _ = actual
    if reduction == "none":
        same_loss = np.array_equal(loss, other, equal_nan=True)
    else:
        ulp = float(np.spacing(np.abs(loss).astype(dtype if dtype.kind == "f" else np.float32)))
        ulp *= 2**16 if dtype.name == "bfloat16" else 1
        same_loss = bool(np.array_equal(loss, other, equal_nan=True) or np.abs(loss - other) <= ulp)
    pairs = zip((by_x1, by_x2), others[:2], strict=True)
    same_y = np.ndim(by_y) == 0 or by_y.size == 1 or np.array_equal(by_y, others[2], equal_nan=True)
    return same_loss and same_y and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def list_parity(effort, sweep):
    """Compare losses, gradients and active pairs of query groups of both devices, a check per dtype and setting."""
    rng, lengths = np.random.default_rng(0), effort.lengths
    rows = sum(lengths)
    labels, weights = rng.integers(4, size=rows), rng.integers(1, 4, size=rows).astype(np.float64)
    for dtype, power, losers in itertools.product(("float32", "float64"), (1, 2), (None, 0.1)):
        scores = rng.standard_normal(rows).astype(dtype)
        settings = {"group": list(lengths), "power": power, "losers": losers, "reduction": "none"}
        results = []
        for device in ("cpu", "cuda"):
            given = [nr.tensor(a, device=device) for a in (scores, labels, weights)]
            results.append(
                nr.pairwise_hinge_loss_and_grad(*given[:2], weights=given[2], return_counts=True, **settings)
            )
        cpu, cuda = ([result.cpu().numpy() for result in of_device] for of_device in results)
        tolerance, largest = 1e-12 if dtype == "float64" else 1e-6, 2.0 * np.abs(scores).max() + 1
        sizes = np.abs(cpu[0]), power * largest ** (power - 1) * cpu[2], 0.0 * cpu[2]  # of terms without their signs
        same = all((np.abs(a - b) <= tolerance * size).all() for a, b, size in zip(cpu, cuda, sizes, strict=True))
        met = "" if losers is None else f", losers {losers}"
        yield Check(f"lists as on the CPU, {dtype}, power {power}{met}", f"{len(lengths)} lists", same)


def retrieval_parity(effort, sweep):
    """Compare losses, gradients and hard negatives of queries and items, of which the scores are exact."""
    if importlib.util.find_spec("cupy") is None:
        yield Check("queries and items as on the CPU", "CuPy is not installed", None)
        return
    rng = np.random.default_rng(0)
    tables = [rng.integers(-8, 9, shape) / 8 for shape in ((50, 8), (2_000, 8))]
    positives = np.arange(150) % 50, rng.permutation(2_000)[:150]
    for dtype, power, losers in itertools.product(("float32", "float64"), (1, 2), (None, 0.1)):
        settings = {"power": power, "losers": losers, "reduction": "none", "memory": 2**17}
        results = []
        for device in ("cpu", "cuda"):
            given = [nr.tensor(table.astype(dtype), device=device) for table in tables]
            loss, gradients = nr.retrieval_hinge_loss_and_grad(*given, positives, **settings)
            best = nr.hard_negatives(*given, 10, positives=positives)
            results.append([nr.Tensor(result).cpu().numpy() for result in (loss, *gradients, *best)])
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        same = all((np.abs(a - b) <= tolerance * np.abs(a).max()).all() for a, b in zip(*results, strict=True))
        met = "" if losers is None else f", losers {losers}"
        yield Check(f"queries and items as on the CPU, {dtype}, power {power}{met}", "50 queries, 2,000 items", same)


# ---------------------------------------------------------------- arrays of other packages


class Package(NamedTuple):
    """What is needed of a package with arrays on a GPU: making and reading them, and its streams."""

    array_type: type
    array: Callable
    host: Callable
    stream: Callable
    using: Callable
    is_done: Callable


def cupy_package():
    cupy = importlib.import_module("cupy")
    stream = functools.partial(cupy.cuda.Stream, non_blocking=True)
    return Package(cupy.ndarray, cupy.asarray, cupy.asnumpy, stream, lambda stream: stream, lambda stream: stream.done)


def torch_package():
    torch = importlib.import_module("torch")
    array, host = functools.partial(torch.as_tensor, device="cuda"), lambda tensor: tensor.cpu().numpy()
    return Package(torch.Tensor, array, host, torch.cuda.Stream, torch.cuda.stream, torch.cuda.Stream.query)


PACKAGES = {"CuPy": cupy_package, "PyTorch": torch_package}


def packages(effort, sweep):
    """Pass arrays of CuPy and PyTorch: results are theirs and the CPU's, in the order of the stream."""
    for name, load in PACKAGES.items():
        try:
            package = load()
            package.array(np.zeros(1))
        except Exception as error:
            yield Check(f"arrays of {name}", f"{type(error).__name__}: cannot be used", None)
            continue
        for dtype in ("float32", "float64", "float16"):
            passed = all(comes_back(package, call, dtype) for call in (pairs, pairs_into, lists))
            yield Check(f"arrays of {name}, {dtype}", "come back as such", passed, "same type; as on the CPU")
        for call in (pairs, lists):
            for title, follows in (("its current stream", follows_current), ("another stream", follows_another)):
                found = follows(package, call, effort.slow_bytes)
                yield Check(f"{call.__name__} of {name} on {title}", found or "in order", not found, "no waiting")


def pairs(x1, x2, **options):
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, 1, 0.5, "none", **options)
    return loss, *gradients


def pairs_into(x1, x2):
    """Write the gradients into arrays of the caller's."""
    out = x1 * 0, x2 * 0
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, 1, 0.5, "none", out=out)
    return loss, *gradients


def lists(scores, labels, **options):
    return nr.pairwise_hinge_loss_and_grad(scores, labels, reduction="sum", return_counts=True, **options)


def small_numbers(dtype, size=1000):
    """Return two arrays of numbers of which sums are exact."""
    rng = np.random.default_rng(0)
    return [rng.integers(-8, 9, size).astype(dtype) for _ in range(2)]


def comes_back(package, call, dtype):
    """Tell whether all results are of the package's type, and have the bits of the CPU's."""
    given = small_numbers(dtype)
    results = call(*map(package.array, given))
    return all(type(result) is package.array_type for result in results) and as_on_cpu(package, results, call(*given))


def as_on_cpu(package, results, expected):
    return all(np.array_equal(package.host(a), b) for a, b in zip(results, expected, strict=True))


def follows_current(package, call, slow_bytes):
    """Return what goes wrong, if anything, where inputs are still being written on the package's current stream."""
    given, stream = small_numbers("float32"), package.stream()
    call(*map(package.array, given))  # it compiles
    with package.using(stream):
        return trouble(package, call, given, call(*given), stream, slow_bytes)


def follows_another(package, call, slow_bytes):
    """Return what goes wrong, if anything, where a call is given another stream than the one that writes its inputs."""
    given, stream, other = small_numbers("float32"), package.stream(), package.stream()
    call(*map(package.array, given))
    with package.using(stream):
        call_there = functools.partial(call, stream=other)
        return trouble(package, call_there, given, call(*given), stream, slow_bytes)


def trouble(package, call, given, expected, stream, slow_bytes):
    """Queue slow work, then the inputs of a call, and the call; its results must be right, and the host not wait."""
    sources, inputs = [package.array(a) for a in given], [package.array(np.zeros_like(a)) for a in given]
    slow = package.array(np.ones(slow_bytes // 4, np.float32))
    for _ in range(SLOW_STEPS):
        slow *= 1
    for array, source in zip(inputs, sources, strict=True):
        array[...] = source
    results = call(*inputs)
    if package.is_done(stream):
        return "the host waited"
    return None if as_on_cpu(package, results, expected) else "a result is wrong"


# ---------------------------------------------------------------- the tests, and the sanitizer


def tests(effort, sweep):
    """Run the test suite on the device."""
    command = [sys.executable, "-m", "pytest", "--device=cuda", *effort.tests]
    yield outcome("the tests on the device", command, r"\d+ passed.*")


def sanitizers(effort, sweep):
    """Run the parity check under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer")
    for name in ("memcheck", "racecheck"):
        if tool is None:
            yield Check(f"compute-sanitizer {name}", "compute-sanitizer is not installed", None)
            continue
        command = [tool, "--tool", name, "--error-exitcode", "1", sys.executable, __file__, "--parts", "parity,lists"]
        yield outcome(f"compute-sanitizer {name}", command, r"(?:ERROR|RACECHECK) SUMMARY.*")


def outcome(name, command, summary):
    """Run a command and return the check that it passes, with its last line that matches the summary."""
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = re.findall(rf"^.*?({summary})$", process.stdout + process.stderr, re.MULTILINE)
    if process.returncode:
        print(process.stdout[-4000:], process.stderr[-4000:], sep="\n")
    shown = found[-1] if found else f"status {process.returncode}"
    return Check(name, shown, process.returncode == 0)


# ---------------------------------------------------------------- PyTorch's tensors


def torch_tensors(effort, sweep, size=100_003):
    """Compare the losses on PyTorch's CUDA tensors, on a stream of their own, with those on its CPU tensors."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        yield Check("PyTorch's tensors", "PyTorch is not installed", None)
        return
    if not torch.cuda.is_available():
        yield Check("PyTorch's tensors", "this PyTorch has no CUDA", None)
        return
    loss = importlib.import_module("numbarank.torch").margin_ranking_loss
    for name, dtype in ((name, getattr(torch, name)) for name in DTYPES):
        inputs = [torch.randn(size).to(dtype), torch.randn(size).to(dtype), torch.randn(size).sign().to(dtype)]
        expected = loss_and_gradients(torch, loss, inputs)
        actual = loss_and_gradients(torch, loss, inputs, stream=torch.cuda.Stream())
        same = all(map(torch.equal, actual, expected))
        yield Check(f"PyTorch's tensors on a stream, {name}", counted(size), same, "equal bits")
    inputs = [tensor.cuda() for tensor in inputs]
    compiled = loss_and_gradients(torch, torch.compile(loss, fullgraph=True), inputs)
    same = all(map(torch.equal, compiled, expected))
    yield Check("PyTorch's tensors, torch.compile", counted(size), same, "equal bits")


def loss_and_gradients(torch, loss, inputs, stream=None):
    """Return the losses and the gradients by all inputs in host memory; on a stream, of a copy that comes late."""
    inputs = [tensor.cuda() for tensor in inputs] if stream else inputs
    late = [torch.zeros_like(tensor) for tensor in inputs] if stream else inputs
    with torch.cuda.stream(stream):
        if stream:
            stream.wait_stream(torch.cuda.default_stream())
            torch.cuda._sleep(SLEEP_CYCLES)  # who computes on another stream finds the zeros
            torch._foreach_copy_(late, inputs)
        leaves = [tensor.detach().requires_grad_() for tensor in late]
        losses = loss(*leaves, 0.5, reduction="none")
        results = losses, *torch.autograd.grad(losses, leaves, torch.ones_like(losses))
        return [result.detach().cpu() for result in results]


# ---------------------------------------------------------------- speed


def launches(effort, sweep):
    """Measure what a call costs on the host, at one pair, when nothing waits for the device."""
    from numba import cuda

    limit, goal = GOALS["launch"]
    x1, x2, y = (nr.ones(1, dtype="float32", device="cuda").data for _ in range(3))
    out = [nr.zeros(1, dtype="float32", device="cuda").data for _ in range(2)]
    calls = {
        "forward": lambda: nr.margin_ranking_loss(x1, x2, y),
        "gradients, out=": lambda: nr.margin_ranking_loss_and_grad(x1, x2, y, out=out),
        "losses alone, one kernel": lambda: nr.margin_ranking_loss(x1, x2, y, reduction="none"),
    }
    for name, call in calls.items():
        taken = host_seconds(call, cuda, effort.launches)
        passed = taken < limit if effort.goal_from else None
        yield Check(f"a call at 1 pair: {name}", seconds(taken), passed, goal)
        with mock.patch("numbarank._cuda.driver.launch", lambda *arguments: None):
            yield Check("  of which without its launches", seconds(host_seconds(call, cuda, effort.launches)), None)


def host_seconds(call, cuda, count):
    """Return how long the host is busy with a call, the median; the device finishes outside of the time."""
    call()
    taken = []
    for _ in range(count):
        cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        taken.append((time.perf_counter() - start) / count)
    cuda.synchronize()
    return float(np.median(taken))


def bandwidths(effort, sweep):
    """Time against a copy on the device that moves as many bytes."""
    least, goal = GOALS["share of the copy"]
    for (dtype, target), size in itertools.product(SETTINGS, effort.swept):
        setting = Setting(dtype, target, device="cuda")
        for work, name in (("forward", OURS), ("gradients", OUT)):
            times = sweep.measure(work, size, [name], setting, with_roofline=True, rotate=True)
            share = times[ROOFLINE].median / times[name].median
            rate = size * setting.bytes_per_pair(work) / times[name].median / 1e9
            title = f"{work}, {dtype}, target {target}, {counted(size)}"
            passed = share >= least if counts(effort, size) else None
            yield Check(title, f"{rate:.0f} GB/s, {share:.2f} of a copy", passed, goal)


def counts(effort, size):
    """Tell whether a goal of speed counts at a size."""
    return effort.goal_from is not None and size >= effort.goal_from


def peers(effort, sweep):
    """Time against PyTorch on large inputs."""
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        yield Check("PyTorch", "is not installed", None)
        return
    size = effort.goal_from or effort.swept[-1]
    for work, name in (("forward", OURS), ("gradients", OUT)):
        times = sweep.measure(work, size, [name, "torch", "torch.compile"], Setting(device="cuda"), rotate=True)
        for peer in [peer for peer in ("torch", "torch.compile") if peer in times]:
            least, goal = GOALS[f"{work} / {peer}"]
            ratio = times[peer].median / times[name].median
            passed = ratio >= least if counts(effort, size) else None
            yield Check(f"{work} against {peer}, {counted(size)}", f"{ratio:.2f} times", passed, goal)
        print("\n".join(size_table(sweep.rows[-len(times) :])))


def tunables(effort, sweep):
    """Try other values of the kernels' constants."""
    for name, tried in tune(effort.tuned, quick=effort.goal_from is None):
        yield Check(name, described(tried), None)


# ---------------------------------------------------------------- the record


def default_path(where):
    """Return the file that is named by the GPU."""
    gpu = where["machine"].split(", ")[-1]
    return ROOT / "docs" / "measurements" / f"{re.sub(r'[^a-z0-9]+', '-', gpu.lower()).strip('-')}.json"


def write(path, where, checks, rows):
    """Write all checks and all that was timed, with the machine and the versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**where, "checks": [check._asdict() for check in checks], "timed": rows}
    path.write_text(json.dumps(record, indent=1) + "\n")


PARTS = {
    "parity": parity,
    "lists": list_parity,
    "retrieval": retrieval_parity,
    "packages": packages,
    "tests": tests,
    "sanitizers": sanitizers,
    "torch": torch_tensors,
    "launches": launches,
    "bandwidths": bandwidths,
    "peers": peers,
    "tunables": tunables,
}


if __name__ == "__main__":
    main()
