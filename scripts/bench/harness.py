"""How every timing script runs: options, a table that grows line by line, curves over sizes, a document and JSON.

A script sets a :class:`Benchmark` up, registers what is measured, and calls :meth:`Benchmark.main`.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from . import goals
from .environment import PACKAGES, described, environment
from .sweep import Sweep
from .tables import aligned, put_between_markers, table

BUSY = 0.5


class Line(NamedTuple):
    """A line of the table, and the goal in it if there is one, of which the last cell then is the verdict."""

    cells: tuple
    goal: goals.Goal | None = None


@dataclass
class Benchmark:
    """A timing script.

    Parameters
    ----------
    about : str
        The script's docstring, which --help shows.
    marker : str
        The name of the markers in a document between which the table goes.
    header, widths : tuple
        The heads of the table's columns, and their widths in a terminal.
    packages : tuple of str
        The packages whose versions are named, beside NumPy's and numba's.
    repeats : int, optional
        How often something is timed, where this is not up to a number of seconds.
    shrink : int
        What --quick divides sizes by.
    add_options : callable
        Gets the parser, to add the script's own options.
    prepare : callable
        Gets the parser and the options before anything is measured, to refuse what does not go together.
    conditions : callable
        Gets the options and says in words what all lines have in common.
    rows : dict of callables
        By name, functions of a :class:`Sweep` that measure and yield goals or lines; :meth:`row` registers them.
    curves : callable, optional
        A function of a Sweep that measures over sizes and returns a Plot.
    """

    about: str
    marker: str
    header: tuple = goals.HEADER
    widths: tuple = goals.WIDTHS
    packages: tuple = PACKAGES
    repeats: int | None = None
    shrink: int = 1
    add_options: Callable = lambda parser: None
    prepare: Callable = lambda parser, options: None
    conditions: Callable = lambda options: "float32"
    rows: dict = field(default_factory=dict)
    curves: Callable | None = None

    def row(self, name):
        """Register a function that measures a row."""

        def register(measure):
            self.rows[name] = measure
            return measure

        return register

    def main(self, arguments=None):
        """Measure what the command line asks for, and print, draw and write it."""
        options = self.parse_arguments(arguments)
        sweep, where = Sweep(options, self.shrink), environment(options.device, self.packages)
        description = f"{described(where)}; {self.conditions(options)}"
        print(description)
        if (where["load_before"] or 0) > BUSY:
            print(f"others keep this machine busy (load {where['load_before']}): parallel calls may look far too slow")
        lines = self._measure(sweep) if options.rows else []
        plot = self.curves(sweep) if self.curves and (options.plot or not options.rows) else None
        if options.plot:
            plot.draw(options.plot, description)
        if options.markdown:
            text = f"{description}\n\n{table(self.header, [line.cells for line in lines])}"
            put_between_markers(options.markdown, text, self.marker)
        if options.json:
            page = {"marker": self.marker, "header": self.header, "description": description}
            self._write_json(options.json, sweep, lines, where | page)

    def parse_arguments(self, arguments=None):
        """Return the command line's options."""
        parser = argparse.ArgumentParser(description=self.about, formatter_class=argparse.RawDescriptionHelpFormatter)
        option = parser.add_argument
        parser.set_defaults(rows=list(self.rows), device="cpu", peers=(), plot=None, seconds=None, rounds=None)
        self.add_options(parser)
        if len(self.rows) > 1:
            option("--rows", type=names(self.rows), help=f"of {','.join(self.rows)} (default all)")
        if self.repeats:
            option(
                "--repeats", type=int, default=self.repeats, help=f"how often each is timed (default {self.repeats})"
            )
        else:
            option("--seconds", type=float, default=3.0, help="about how long each comparison takes (default 3)")
            option("--rounds", type=int, default=5, help="how often each is timed at least, however long (default 5)")
        option("--quick", action="store_true", help="small and short: to try the script, no figures")
        option("--json", metavar="FILE", help="write everything that was timed, and the goals")
        option("--markdown", metavar="FILE", help="put the table between the markers of this document")
        if self.curves:
            option("--plot", metavar="FILE", help="time over sizes, too, and draw the curves")
        options = parser.parse_args(arguments)
        if self.repeats and options.repeats < 1:
            parser.error("--repeats: at least 1")
        if self.repeats and options.quick:
            options.repeats = 1
        self.prepare(parser, options)
        return options

    def _measure(self, sweep):
        print("\n" + aligned(self.header, self.widths))
        lines = []
        for name in sweep.options.rows:
            for result in self.rows[name](sweep):
                lines.append(Line(result.cells(), result) if isinstance(result, goals.Goal) else result)
                print(aligned(lines[-1].cells, self.widths), flush=True)
        done = [line.goal.reached for line in lines if line.goal]
        if done:
            print(f"\n{done.count(True)} of {len(done)} reached, {done.count(None)} not measured")
        return lines

    def _write_json(self, path, sweep, lines, where):
        record = {
            **where,
            "left_out": sweep.left_out,
            "lines": [{"cells": line.cells, "goal": line.goal and line.goal.as_dict()} for line in lines],
            "rows": [row | where for row in sweep.rows],
        }
        Path(path).write_text(json.dumps(record, indent=1) + "\n")


def names(known):
    """Return a reader of names with commas between them that refuses those it does not know."""

    def parse(text):
        found = text.split(",") if text else []
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return found

    return parse
