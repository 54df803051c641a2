"""Time what a newcomer waits for: first calls, each in a fresh process, from its launch to the finished result.

numbarank compiles while it is called for the first time, and keeps what it compiled on disk: it is timed with an
empty disk cache, cold, and with one that the same calls filled before, warm. Each row takes turns with jax's first
gradients of 1,000 pairs, and most goals are multiples of their time; in one row torch's have goals, too.
"""

import functools
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import fresh_processes
from bench.fresh_processes import FINISH, FLOORS, GRADIENTS, PEERS, on_pairs
from bench.goals import VERDICTS, Goal
from bench.harness import Benchmark, Line
from bench.tables import Number

OURS, JAX, TORCH = "numbarank", "jax", "torch"
COLD, WARM = "cold", "warm"
HEADER = ("first call", "peer", "time", "multiple", "of the time of", "goal", "reached")
WIDTHS = (48, 25, 9, 10, 15, 29, 7)

FORWARD = on_pairs("""
import numbarank
loss = numbarank.margin_ranking_loss(x1, x2, y)
""")

NINE_WAYS = on_pairs("""
import numbarank as nr
nr.margin_ranking_loss(x1, x2, y)
nr.margin_ranking_loss(x1, x2, y, reduction="none")
nr.margin_ranking_loss_and_grad(x1, x2, y)
nr.margin_ranking_loss(x1, x2, 1)
nr.margin_ranking_loss(nr.tensor(x1, requires_grad=True), nr.tensor(x2, requires_grad=True), y).backward()
nr.margin_ranking_loss_and_grad(x1, x2, y, reduction="none", gradient=np.ones_like(x1))
nr.margin_ranking_loss_and_grad(x1, x2, y, target_grad=True)
nr.margin_ranking_loss(x1, x2, y.astype(np.int8))
loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y.astype(np.int8))
""")

MANY_PAIRS = on_pairs("""
import numbarank
for size in (200_000, 3_000_000):
    x1, x2, y = pairs(size)
    numbarank.margin_ranking_loss(x1, x2, y)
    loss, gradients = numbarank.margin_ranking_loss_and_grad(x1, x2, y)
""")


def on_lists(size, labels, group=None):
    """Return a program with so many rows; their labels, and the sizes of their lists, are what Python says."""
    return f"""
import numpy as np
import numbarank
rows = np.arange({size})
scores, labels = np.sin(rows.astype(np.float32)), ({labels}).astype(np.float32)
loss, gradient = numbarank.pairwise_hinge_loss_and_grad(scores, labels, group={group})
{FINISH}"""


GRADED_LISTS = on_lists(2000, "rows % 5", group="np.full(20, 100)")


def one_list(size):
    """Return a program with one list whose labels are all distinct."""
    return on_lists(size, f"rows * 7919 % {size}")


@dataclass(frozen=True)
class Row:
    """First calls in one process.

    Parameters
    ----------
    work : str
        The calls in words.
    source : str
        The program that makes them.
    limits : dict of float
        The goals, as multiples of the time of a peer: by cold or warm, and the peer.
    peers : tuple of str
        Who does the same, or only what it cannot do without.
    """

    work: str
    source: str
    limits: dict
    peers: tuple = ()


LIMITS = {(COLD, JAX): 1.7, (COLD, TORCH): 1.1, (WARM, JAX): 0.5, (WARM, TORCH): 0.3}
ROWS = {
    "forward": Row("loss of 1,000 pairs", FORWARD, {(COLD, JAX): 1.7}, tuple(FLOORS)),
    "gradients": Row("gradients of 1,000 pairs", GRADIENTS, LIMITS, tuple(PEERS)),
    "nine-ways": Row("nine ways to call on 1,000 pairs", NINE_WAYS, {(COLD, JAX): 5}),
    "many-pairs": Row("200,000 and 3,000,000 pairs, loss and gradients", MANY_PAIRS, {(COLD, JAX): 6}),
    "graded-lists": Row("20 lists of 100, graded labels", GRADED_LISTS, {(COLD, JAX): 4}),
    "list-20k": Row("one list of 20,000, all labels distinct", one_list(20_000), {(COLD, JAX): 7}),
    "list-200k": Row("one list of 200,000, all labels distinct", one_list(200_000), {(COLD, JAX): 10}),
}
QUICK_ROWS = ["forward"]


@dataclass(frozen=True)
class Result:
    """The times of numbarank or a peer in a row beside another's, and the goal, or None where there is none."""

    work: str
    peer: str
    seconds: list
    multiple: float | None
    other: str
    goal: Goal | None

    def cells(self):
        """Return the cells of the table."""
        seconds = Number(statistics.median(self.seconds), is_seconds=True)
        multiple = "-" if self.multiple is None else Number(self.multiple)
        target = self.goal.target if self.goal else "-"
        reached = VERDICTS[self.goal and self.goal.reached]
        return self.work, self.peer, seconds, multiple, self.other, target, reached

    def as_dict(self):
        """Return everything about the result for a JSON file."""
        goal = self.goal and self.goal.as_dict()
        return {**vars(self), "median_seconds": statistics.median(self.seconds), "goal": goal}


def measure(row, packages, repeats, launch=fresh_processes.launch):
    """Launch numbarank, the peers of a row and jax in turns.

    Parameters
    ----------
    row : Row
    packages : dict of Path
        By its name, each folder whose numbarank takes part.
    repeats : int
    launch : callable
        Returns the seconds of a :class:`fresh_processes.Program`.

    Returns
    -------
    results : list of Result
    left_out : dict of str
        By the name of each that failed, why.
    """
    ours = {}
    with tempfile.TemporaryDirectory() as caches:
        for name, package in packages.items():
            ours |= fresh_processes.cold_and_warm(row.source, str(Path(caches, name)), package, name)
        peers = {name: (PEERS | FLOORS)[name] for name in dict.fromkeys((JAX, *row.peers))}
        taken, left_out = fresh_processes.in_turns(ours | peers, repeats, launch)
    found = []
    for name in taken:
        if name in ours:
            state = COLD if ours[name].is_cold else WARM
            limits = {JAX: None} | {other: limit for (of, other), limit in row.limits.items() if of == state}
            found += [result(row, name, other, taken, limit) for other, limit in limits.items()]
        elif name in row.peers:
            found.append(result(row, name, JAX, taken))
    return found, left_out


def result(row, name, other, taken, limit=None):
    """Return the result of one beside another, from the seconds of all, and the goal if there is a limit."""
    multiple = statistics.median(taken[name]) / statistics.median(taken[other]) if other in taken else None
    goal = limit and Goal(row.work, f"{{}} times {other}'s time", limit, multiple, at_least=False)
    return Result(row.work, name, taken[name], multiple, other, goal)


def lines(name, sweep):
    """Measure a row and yield its lines."""
    results, left_out = measure(ROWS[name], sweep.options.packages, sweep.options.repeats)
    for peer, reason in left_out.items():
        sweep.leave_out(f"{name}, {peer}", reason)
    for one in results:
        sweep.rows.append(one.as_dict())
        yield Line(one.cells(), one.goal)


def add_options(parser):
    parser.add_argument(
        "--package",
        dest="packages",
        metavar="[NAME=]PATH",
        action="append",
        default=[],
        help="a folder whose numbarank to time, this one's if none is given; several take turns",
    )


def prepare(parser, options):
    if options.quick and options.rows == list(ROWS):
        options.rows = QUICK_ROWS
    folders = dict(map(named_folder, options.packages))
    if len(folders) < len(options.packages):
        parser.error("--package: two of one name; NAME=PATH gives another")
    options.packages = folders or {OURS: fresh_processes.ROOT}
    for folder in options.packages.values():
        if not (folder / OURS / "__init__.py").is_file():
            parser.error(f"--package: no {OURS} in {folder}")


def named_folder(text):
    """Return the name and the folder that NAME=PATH or PATH says; a folder's own name is its name."""
    name, _, path = text.rpartition("=")
    folder = Path(path).resolve()
    return name or folder.name, folder


benchmark = Benchmark(
    __doc__,
    "first calls",
    HEADER,
    WIDTHS,
    repeats=3,
    add_options=add_options,
    prepare=prepare,
    conditions=lambda options: "float32" if options.repeats == 1 else f"float32, median of {options.repeats}",
    rows={name: functools.partial(lines, name) for name in ROWS},
)


if __name__ == "__main__":
    benchmark.main()
