"""Time the margin ranking loss side by side with its peers and with the memory's own speed.

Without --report: forward, Tensor forward + backward(), and loss and gradients together, over sizes. With --report:
the goals of docs/performance.md, each as a ratio measured in this run. To use fewer threads, start this under
`taskset`: all peers take the cores that they are given.
"""

import contextlib
import functools
import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from bench import fresh_processes, plots, roofline
from bench.goals import Goal, ratio
from bench.harness import Benchmark, names
from bench.pairs import FLOAT32, MARGIN, Pairs, Setting
from bench.peers import OURS, OUT, PEERS, TENSOR, Torch
from bench.roofline import ROOFLINE
from bench.tables import counted, first_calls, size_table

import numbarank as nr

WORKS = {"forward": nr.margin_ranking_loss, "gradients": nr.margin_ranking_loss_and_grad}
SWEPT = {"forward": [OURS, *PEERS], "gradients": [OURS, OUT, TENSOR, *PEERS]}
TITLES = {"forward": "loss", "gradients": "loss and gradients"}
ROOFLINE_LABEL = "roofline: a bare kernel that only moves them"
STYLES = {
    ROOFLINE_LABEL: {"color": "black", "linewidth": 6, "alpha": 0.15, "solid_capstyle": "round"},
    OURS: plots.BLACK,
    OUT: plots.BLACK | plots.DASHED,
    TENSOR: {"color": "black", "marker": "D", "linewidth": 1.2, "linestyle": ":"},
    "torch": plots.GREY_SQUARES,
    "torch.compile": plots.GREY_SQUARES | plots.DASHED,
    "jax": plots.GREY_TRIANGLES,
    "numexpr": {"color": "0.65", "marker": "v", "linestyle": "-."},
    "numpy": plots.LIGHT_CROSSES,
}
SIZES = "1,1k,10k,100k,1M,10M"
SUFFIXES = {"k": 1000, "M": 1_000_000}
MEGABYTE = 1e6


def add_options(parser):
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=sizes, default=sizes(SIZES), help=f"numbers of pairs (default {SIZES})")
    parser.add_argument("--dtype", choices=("float32", "float64", "float16", "bfloat16"), default="float32")
    parser.add_argument("--reduction", choices=("mean", "sum", "none"), default="mean")
    parser.add_argument("--target-dtype", choices=("same", "int8", "scalar"), default="same")
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS), help=f"of {','.join(PEERS)} (default all)")
    parser.add_argument("--report", action="store_true", help="measure the goals; on the CPU, mostly in float32")


def prepare(parser, options):
    if options.markdown and not options.report:
        parser.error("--markdown needs --report: the table shows the goals")
    if options.report and options.device != "cpu":
        parser.error("the goals are the CPU's; without --report, --device cuda sweeps over sizes")
    if not options.report:
        options.rows = []


def sizes(text):
    """Read numbers with commas between them, and k or M behind them."""
    return [int(word.rstrip("kM")) * SUFFIXES.get(word[-1], 1) for word in text.split(",")]


def setting_of(options):
    """Return what all implementations in a sweep have in common."""
    return Setting(options.dtype, options.target_dtype, options.reduction, options.device)


def curves(sweep):
    """Time everybody over sizes; print a table for each, and the first calls at the end."""
    before = len(sweep.rows)
    for (work, swept), size in itertools.product(SWEPT.items(), sweep.options.sizes):
        since = len(sweep.rows)
        sweep.measure(work, size, swept, setting_of(sweep.options), with_roofline=True, rotate=True)
        print("\n" + "\n".join(size_table(sweep.rows[since:])), flush=True)
    print("\n" + "\n".join(first_calls(sweep.rows[before:])))
    return speed_plot(sweep.rows[before:])


def speed_plot(rows):
    """Return curves of GB/s over the number of pairs, forward and with gradients."""
    panels = {title: {} for title in TITLES.values()}
    for row in rows:
        name = ROOFLINE_LABEL if row["peer"].startswith(ROOFLINE) else row["peer"]
        speeds = panels[TITLES[row["work"]]].setdefault(name, {})
        speeds[row["pairs"]] = max(row["gb_per_s"], speeds.get(row["pairs"], 0))
    return plots.Plot(panels, STYLES, "pairs", "bytes that must move, per second (GB/s)")


benchmark = Benchmark(
    __doc__,
    "report",
    shrink=10_000,
    add_options=add_options,
    prepare=prepare,
    conditions=lambda options: str(setting_of(options)),
    curves=curves,
)


# ---------------------------------------------------------------- goals beside peers


class Comparison(NamedTuple):
    """Numbarank beside peers on random pairs: how many times as fast it is, or what part of their time it takes."""

    label: str
    work: str
    pairs: int
    ours: str
    limits: dict
    faster: bool = True
    reduction: str = "mean"


FRESH, GIVEN = "with gradients, fresh outputs", "with gradients, out="
GRADIENTS_LARGE = {ROOFLINE: 0.95, "torch": 25, "torch.compile": 19, "jax": 5}
COMPARISONS = {
    "forward-large": [
        Comparison("forward", "forward", 64_000_000, OURS, {ROOFLINE: 0.95, "torch.compile": 1, "jax": 3.5}),
    ],
    "gradients-large": [Comparison(GIVEN, "gradients", 64_000_000, OUT, GRADIENTS_LARGE)],
    "gradients-fresh": [
        Comparison(FRESH, "gradients", 1_000_000, OURS, {"torch": 16, "jax": 3}),
        Comparison(FRESH, "gradients", 10_000_000, OURS, {"torch": 7}),
        Comparison(GIVEN, "gradients", 10_000_000, OUT, {"jax": 6.5}),
    ],
    "none-large": [Comparison("forward, 'none', out=", "forward", 64_000_000, OUT, {ROOFLINE: 0.95}, reduction="none")],
    "10k": [
        Comparison("forward", "forward", 10_000, OURS, {"torch": 3, "jax": 5}),
        Comparison("with gradients", "gradients", 10_000, OURS, {"torch": 16, "jax": 5}),
    ],
    "100k": [
        Comparison("forward", "forward", 100_000, OURS, {"torch": 4, "jax": 6}),
        Comparison("with gradients", "gradients", 100_000, OURS, {"torch": 15, "jax": 6}),
    ],
    "small": [
        Comparison(f"{label}, NumPy in", work, pairs, OURS, limits, faster=False)
        for pairs in (1, 1000)
        for label, work, limits in (
            ("forward", "forward", {"torch": 0.3, "jax": 0.4}),
            ("with gradients", "gradients", {"torch": 0.06}),
        )
    ],
    "tensor": [
        Comparison("Tensor, forward + backward()", "gradients", pairs, TENSOR, {"torch": 0.15}, faster=False)
        for pairs in (1, 1000)
    ],
}


def beside_peers(comparisons, sweep):
    """Yield the goals of comparisons."""
    for label, work, pairs, ours, limits, faster, reduction in comparisons:
        size, setting = sweep.size(pairs), replace(FLOAT32, reduction=reduction)
        times = sweep.measure(work, size, [OURS, ours, *limits], setting, with_roofline=ROOFLINE in limits)
        for name, limit in limits.items():
            if faster:
                words = "{} of the roofline" if name == ROOFLINE else f"{{}} times as fast as {name}"
                measured = ratio(times, name, ours)
            else:
                words, measured = f"{{}} of {name}'s time", ratio(times, ours, name)
            yield Goal(f"{label}, {counted(size)}", words, limit, measured, at_least=faster)


benchmark.rows.update({name: functools.partial(beside_peers, each) for name, each in COMPARISONS.items()})


# ---------------------------------------------------------------- goals beside numbarank itself


@benchmark.row("targets")
def targets(sweep):
    """Compare the cheaper targets with float32's, on the same scores."""
    size = sweep.size(64_000_000)
    pairs = Pairs.random(size, FLOAT32)
    targets = {"float32": pairs.y, "int8": pairs.y.astype(np.int8), "scalar": 1.0}
    times = sweep.compare(
        "forward, target dtypes", size, {name: _call("forward", (pairs.x1, pairs.x2, y)) for name, y in targets.items()}
    )
    for name, limit in (("int8", 0.82), ("scalar", 0.72)):
        words = "{} of the float32 target's time"
        yield Goal(f"forward, {name} target, {counted(size)}", words, limit, ratio(times, name, "float32"), False)


@benchmark.row("half")
def half(sweep):
    """Compare the 16-bit types with float32, and see that they are not converted in memory."""
    size = sweep.size(64_000_000)
    calls = {"float32": _random_call(size, FLOAT32)}
    for dtype in ("float16", "bfloat16"):
        with contextlib.suppress(ModuleNotFoundError):  # bfloat16 needs ml_dtypes
            calls[dtype] = _random_call(size, replace(FLOAT32, dtype=dtype))
    times = sweep.compare("forward, 16-bit dtypes", size, calls)
    for dtype, limit in (("float16", 1.8), ("bfloat16", 1.7)):
        work = f"forward, {dtype}, {counted(size)}"
        yield Goal(work, "{} times as fast as float32", limit, ratio(times, "float32", dtype), at_least=True)
        yield _extra_memory(sweep, dtype)


@benchmark.row("layouts")
def layouts(sweep):
    """Compare inputs that are not contiguous with NumPy's own copy of them and the contiguous run."""
    rows, columns = (math.isqrt(sweep.size(10_000_000)),) * 2
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
        times = sweep.compare(label, rows * columns, calls)
        label += f", {counted(rows * columns)}"
        yield Goal(label, "{} of NumPy's copy + contiguous run", 1, ratio(times, OURS, "copy"), at_least=False)


@benchmark.row("memory")
def memory(sweep):
    for dtype in ("float64", "float32"):
        yield _extra_memory(sweep, dtype)


@benchmark.row("upstream")
def upstream(sweep):
    """Compare runs with a gradient from above with runs without: one pass costs the added bytes and no more."""
    size = sweep.size(64_000_000)
    pairs = Pairs.random(size, FLOAT32)
    inputs, out = (pairs.x1, pairs.x2, pairs.y), [np.ones_like(pairs.x1) for _ in range(2)]
    above = Pairs.random(size, FLOAT32, seed=1).x1
    added_bytes = {"mean": 1, "none": (4 + 3) / (3 + 3)}
    for reduction, gradient in (("mean", 0.5), ("none", above)):
        label = f"with gradients, out=, '{reduction}', gradient= {'an array' if gradient is above else 'a number'}"
        plain = _call("gradients", inputs, reduction=reduction, out=out)
        weighted = _call("gradients", inputs, reduction=reduction, out=out, gradient=gradient)
        times = sweep.compare(label, size, {"without": plain, "with": weighted})
        limit = round(1.05 * added_bytes[reduction], 2)
        words = "{} of the time without gradient="
        yield Goal(f"{label}, {counted(size)}", words, limit, ratio(times, "with", "without"), at_least=False)


@benchmark.row("weights")
def weights(sweep):
    """Compare weighted pairs with the roofline of one array more, which the gradients of a mean read twice."""
    inputs, weights, out = _weighted(sweep.size(64_000_000))
    size = weights.size
    for work, reduction in (("forward", "mean"), ("gradients", "sum"), ("gradients", "mean")):
        label = f"{'forward' if work == 'forward' else GIVEN}, '{reduction}', weights="
        written = {"out": out} if work == "gradients" else {}
        calls = {OURS: _call(work, inputs, reduction=reduction, weights=weights, **written)}
        calls |= roofline.kernels([*inputs, weights], written.get("out", ()), not sweep.options.quick)
        reads_twice = written and reduction == "mean"
        if reads_twice:
            calls |= roofline.kernels(np.split(weights, 2), (), not sweep.options.quick, "second read")
        times = sweep.compare(label, size, calls)
        floor = _fastest(times, ROOFLINE) + (_fastest(times, "second read") if reads_twice else 0)
        words = f"{{}} of the roofline{', weights read twice' if reads_twice else ''}"
        yield Goal(f"{label}, {counted(size)}", words, 0.9, floor / times[OURS].median, at_least=True)


@benchmark.row("weights-torch")
def weights_beside_torch(sweep):
    """Compare how many times as fast as torch weighted pairs are with how many times plain ones are."""
    size, measured = sweep.size(64_000_000), None
    if "torch" in sweep.options.peers:
        inputs, weights, out = _weighted(size)
        plain, weighted = _call("gradients", inputs, out=out), _call("gradients", inputs, out=out, weights=weights)
        calls = Torch(FLOAT32).with_and_without_weights(Pairs(*inputs), weights)
        times = sweep.compare("weights beside torch", size, {OURS: plain, "weighted": weighted, **calls})
        measured = ratio(times, "torch weighted", "weighted") / ratio(times, "torch", OURS)
    label = f"{GIVEN}, 'mean', weights=, {counted(size)}"
    yield Goal(label, "{} of the lead over torch without weights", 1, measured, at_least=True)


def _weighted(size):
    """Return random pairs, weights for them, and buffers for their gradients."""
    pairs, weights = Pairs.random(size, FLOAT32), np.abs(Pairs.random(size, FLOAT32, seed=1).x1)
    return pairs.arrays(), weights, [np.ones_like(weights) for _ in range(2)]


def _fastest(times, prefix):
    return min(taken.median for name, taken in times.items() if name.startswith(prefix))


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


def _extra_memory(sweep, dtype):
    sizes = sorted({sweep.size(pairs) for pairs in (1000, 100_000, 1_000_000, 64_000_000)})
    cases = fresh_processes.extra_memory(dtype, sizes)
    worst = max(case["extra_bytes"] for case in cases) / MEGABYTE if cases else None
    label = f"extra memory at the peak, {dtype}, up to {counted(sizes[-1])}"
    return Goal(label, "{} MB", 1, worst, at_least=False)


if __name__ == "__main__":
    benchmark.main()
