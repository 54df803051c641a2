"""The goals of the library, row by row, each measured as a ratio of times taken side by side in one run."""

import itertools
import math
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace

import fresh_processes
import numpy as np
from ceilings import NAME as CEILING
from contestants import FLOAT32, MARGIN, OURS, OUT, TENSOR, Pairs
from tables import counted

import numbarank as nr

ROWS = {}
WORKS = {"forward": nr.margin_ranking_loss, "gradients": nr.margin_ranking_loss_and_grad}
MEGABYTE = 1e6


@dataclass(frozen=True)
class Goal:
    """One number to reach.

    Parameters
    ----------
    work : str
        What is measured.
    words : str
        What the number means, with ``{}`` where it stands.
    limit : float
    measured : float or None
        None where it could not be measured.
    at_least : bool
        Whether the limit is the lowest number that will do, or the highest.
    """

    work: str
    words: str
    limit: float
    measured: float | None
    at_least: bool

    @property
    def target(self):
        """The goal in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.words.format(f'{self.limit:g}')}"

    @property
    def shown(self):
        """The measured number as the table shows it, to three digits."""
        return "not measured" if self.measured is None else f"{self.measured:.3g}"

    @property
    def reached(self):
        """Whether the number, as it is shown, is as good as the limit; None where it was not measured."""
        if self.measured is None:
            return None
        return float(self.shown) >= self.limit if self.at_least else float(self.shown) <= self.limit

    def as_dict(self):
        """Return everything about the goal for a JSON file."""
        return {**asdict(self), "words": self.target, "reached": self.reached}


def row(name):
    """Register a function that measures a row of the report and yields its goals."""

    def register(measure):
        ROWS[name] = measure
        return measure

    return register


class Measurements:
    """What the rows need: the races, and the sizes, which ``shrink`` divides for a quick look."""

    def __init__(self, races, shrink=1):
        self.races = races
        self.shrink = shrink

    def size(self, pairs):
        """Return a row's number of pairs."""
        return max(1, pairs // self.shrink)

    def faster(self, work, pairs, ours, limits, reduction="mean", label=""):
        """Yield how many times as fast as each peer, or as the ceiling, numbarank is."""
        size, setting = self.size(pairs), replace(FLOAT32, reduction=reduction)
        times = self.races.race(work, size, [OURS, ours, *limits], setting, ceiling=CEILING in limits)
        for name, limit in limits.items():
            words = "{} of the ceiling" if name == CEILING else f"{{}} times as fast as {name}"
            yield Goal(f"{label}, {counted(size)}", words, limit, ratio(times, name, ours), at_least=True)

    def slower(self, work, pairs, ours, limits, label):
        """Yield what part of each peer's time numbarank takes."""
        size = self.size(pairs)
        times = self.races.race(work, size, [OURS, ours, *limits])
        for name, limit in limits.items():
            yield Goal(
                f"{label}, {counted(size)}", f"{{}} of {name}'s time", limit, ratio(times, ours, name), at_least=False
            )


def ratio(times, numerator, denominator):
    """Return the ratio of two medians, or None where one is missing."""
    if numerator not in times or denominator not in times:
        return None
    return times[numerator].median / times[denominator].median


@row("forward-large")
def forward_large(measure):
    limits = {CEILING: 0.95, "torch.compile": 1, "jax": 1.3}
    yield from measure.faster("forward", 64_000_000, OURS, limits, label="forward")


@row("gradients-large")
def gradients_large(measure):
    limits = {CEILING: 0.95, "torch": 15, "torch.compile": 11, "jax": 3.5}
    yield from measure.faster("gradients", 64_000_000, OUT, limits, label="with gradients, out=")


@row("gradients-fresh")
def gradients_fresh(measure):
    fresh = "with gradients, fresh outputs"
    yield from measure.faster("gradients", 1_000_000, OURS, {"torch": 7, "jax": 2.5}, label=fresh)
    yield from measure.faster("gradients", 10_000_000, OURS, {"torch": 7}, label=fresh)
    yield from measure.faster("gradients", 10_000_000, OUT, {"jax": 3}, label="with gradients, out=")


@row("none-large")
def none_large(measure):
    yield from measure.faster("forward", 64_000_000, OUT, {CEILING: 0.95}, "none", label="forward, 'none', out=")


@row("10k")
def ten_thousand(measure):
    yield from measure.faster("forward", 10_000, OURS, {"torch": 3, "jax": 4}, label="forward")
    yield from measure.faster("gradients", 10_000, OURS, {"torch": 12, "jax": 5}, label="with gradients")


@row("100k")
def hundred_thousand(measure):
    yield from measure.faster("forward", 100_000, OURS, {"torch": 4, "jax": 5}, label="forward")
    yield from measure.faster("gradients", 100_000, OURS, {"torch": 15, "jax": 6}, label="with gradients")


@row("small")
def small(measure):
    for pairs in (1, 1000):
        yield from measure.slower("forward", pairs, OURS, {"torch": 0.3, "jax": 0.4}, "forward, NumPy in")
        yield from measure.slower("gradients", pairs, OURS, {"torch": 0.08}, "with gradients, NumPy in")


@row("tensor")
def tensor(measure):
    for pairs in (1, 1000):
        yield from measure.slower("gradients", pairs, TENSOR, {"torch": 0.15}, "Tensor, forward + backward()")


@row("targets")
def targets(measure):
    """Compare the cheaper targets with float32's, on the same scores."""
    size = measure.size(64_000_000)
    pairs = Pairs.random(size, FLOAT32)
    kinds = {"float32": pairs.y, "int8": pairs.y.astype(np.int8), "scalar": 1.0}
    times = measure.races.compare(
        "forward, target dtypes", size, {name: _call("forward", (pairs.x1, pairs.x2, y)) for name, y in kinds.items()}
    )
    for name, limit in (("int8", 0.82), ("scalar", 0.72)):
        words = "{} of the float32 target's time"
        yield Goal(f"forward, {name} target, {counted(size)}", words, limit, ratio(times, name, "float32"), False)


@row("half")
def half(measure):
    """Compare the 16-bit types with float32, and see that they are not converted in memory."""
    size = measure.size(64_000_000)
    calls = {"float32": _random_call(size, FLOAT32)}
    for dtype in ("float16", "bfloat16"):
        if is_known(dtype):
            calls[dtype] = _random_call(size, replace(FLOAT32, dtype=dtype))
    times = measure.races.compare("forward, 16-bit dtypes", size, calls)
    for dtype, limit in (("float16", 1.8), ("bfloat16", 1.7)):
        work = f"forward, {dtype}, {counted(size)}"
        yield Goal(work, "{} times as fast as float32", limit, ratio(times, "float32", dtype), at_least=True)
        yield _extra_memory(measure, dtype)


@row("layouts")
def layouts(measure):
    """Compare inputs that are not contiguous with NumPy's own copy of them and the contiguous run."""
    rows, columns = (math.isqrt(measure.size(10_000_000)),) * 2
    pairs = Pairs.random(rows * columns * 2, FLOAT32)
    wide = [x.reshape(rows, 2 * columns) for x in pairs.arrays()]
    x1, x2, y = (x[:, :columns] for x in wide)
    cases = {
        "strided": [x[:, ::2] for x in wide],
        "Fortran-ordered": [np.asfortranarray(x) for x in (x1, x2, y)],
        "input2 Fortran-ordered": [np.ascontiguousarray(x1), np.asfortranarray(x2), np.ascontiguousarray(y)],
        "broadcast": [x1[:, :1].copy(), x2[:1].copy(), np.ascontiguousarray(y)],
    }
    for (name, inputs), work in itertools.product(cases.items(), WORKS):
        label = f"{work.replace('gradients', 'with gradients')}, {name}"
        calls = {OURS: _call(work, inputs), "copy": _copying_call(work, inputs)}
        times = measure.races.compare(label, rows * columns, calls)
        label += f", {counted(rows * columns)}"
        yield Goal(label, "{} of NumPy's copy + contiguous run", 1, ratio(times, OURS, "copy"), at_least=False)


@row("memory")
def memory(measure):
    for dtype in ("float64", "float32"):
        yield _extra_memory(measure, dtype)


@row("start")
def start(measure):
    """Time fresh processes, from their launch to the first loss with gradients."""
    peers = {name: fresh_processes.PEERS[name] for name in ("torch", "jax") if name in measure.races.peers}
    with tempfile.TemporaryDirectory() as cache:
        ours = fresh_processes.cold_and_warm(fresh_processes.GRADIENTS, cache)
        seconds, _ = fresh_processes.in_turns(ours | peers, repeats=1 if measure.shrink > 1 else 7)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    measure.races.rows += [
        {"work": "fresh process", "pairs": 1000, "contestant": name, "median_seconds": median}
        for name, median in medians.items()
    ]
    for cache, limits in {"warm": {"jax": 0.5, "torch": 0.3}, "cold": {"torch": 2}}.items():
        for peer, limit in limits.items():
            ours, theirs = medians.get(f"{OURS} {cache}"), medians.get(peer)
            measured = ours / theirs if ours and theirs else None
            yield Goal(f"fresh process, {cache} disk cache", f"{{}} of {peer}'s time", limit, measured, at_least=False)


@row("upstream")
def upstream(measure):
    """Compare runs with a gradient from above with runs without: one pass costs the added bytes and no more."""
    size = measure.size(64_000_000)
    pairs = Pairs.random(size, FLOAT32)
    inputs, out = (pairs.x1, pairs.x2, pairs.y), [np.ones_like(pairs.x1) for _ in range(2)]
    above = Pairs.random(size, FLOAT32, seed=1).x1
    added_bytes = {"mean": 1, "none": (4 + 3) / (3 + 3)}
    for reduction, gradient in (("mean", 0.5), ("none", above)):
        label = f"with gradients, out=, '{reduction}', gradient= {'an array' if gradient is above else 'a number'}"
        plain = _call("gradients", inputs, reduction=reduction, out=out)
        weighted = _call("gradients", inputs, reduction=reduction, out=out, gradient=gradient)
        times = measure.races.compare(label, size, {"without": plain, "with": weighted})
        limit = round(1.05 * added_bytes[reduction], 2)
        words = "{} of the time without gradient="
        yield Goal(f"{label}, {counted(size)}", words, limit, ratio(times, "with", "without"), at_least=False)


def _call(work, inputs, **options):
    return lambda: WORKS[work](*inputs, MARGIN, **options)


def _random_call(size, setting):
    return _call("forward", Pairs.random(size, setting).arrays())


def _copying_call(work, inputs):
    """Return a call that copies what is not contiguous, runs on the copies, and sums broadcast gradients."""
    shape = np.broadcast_shapes(*(x.shape for x in inputs))

    def copy_and_run():
        result = WORKS[work](*(np.ascontiguousarray(np.broadcast_to(x, shape)) for x in inputs), MARGIN)
        if work == "forward":
            return result
        return result[0], [_summed(gradient, x.shape) for gradient, x in zip(result[1], inputs[:2], strict=True)]

    return copy_and_run


def _summed(gradient, shape):
    axes = tuple(axis for axis, length in enumerate(shape) if length != gradient.shape[axis])
    return gradient.sum(axes, dtype=np.float64, keepdims=True).astype(gradient.dtype) if axes else gradient


def _extra_memory(measure, dtype):
    sizes = sorted({measure.size(pairs) for pairs in (1000, 100_000, 1_000_000, 64_000_000)})
    cases = fresh_processes.extra_memory(dtype, sizes)
    worst = max(case["extra_bytes"] for case in cases) / MEGABYTE if cases else None
    label = f"extra memory at the peak, {dtype}, up to {counted(sizes[-1])}"
    return Goal(label, "{} MB", 1, worst, at_least=False)


def is_known(dtype):
    """Tell whether arrays of a dtype can be made here: bfloat16 needs ml_dtypes."""
    try:
        replace(FLOAT32, dtype=dtype).numpy_dtype()
    except ModuleNotFoundError:
        return False
    return True
