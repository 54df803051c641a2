"""Run the timing scripts several times, and rewrite the tables and the pictures of the docs together.

    make report                              # everything, three times: keep the machine quiet for 30 minutes
    python scripts/report.py --scripts torch,lists --runs 5

Each script runs in a process of its own, one after the other and then all of them again, so that the runs of one lie
minutes apart. A ratio stands in the tables as its median, with the lowest and the highest of all runs; "yes" says that
all of them reached the goal, "mostly" that the median did. What each run recorded is kept in a folder, as JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.goals import Goal, verdict
from bench.harness import names
from bench.tables import Number, put_between_markers, table

SCRIPTS = Path(__file__).parent
DOCS = SCRIPTS.parent / "docs"
SIZES = "1,10,100,1k,10k,100k,1M,10M,64M"


@dataclass(frozen=True)
class Timing:
    """A timing script with its options, the page that shows its table, and the picture that it draws, if any.

    One that repeats itself shows medians and a spread of its own, and runs once.
    """

    script: str
    page: str
    options: tuple = ()
    picture: str | None = None
    picture_options: tuple = ()
    repeats_itself: bool = False


TIMINGS = {
    "first-calls": Timing("time_first_calls.py", "performance.md", ("--repeats", "1")),
    "pairs": Timing(
        "time_margin_ranking.py",
        "performance.md",
        ("--report", "--seconds", "1.5", "--rounds", "3"),
        "performance.png",
        ("--sizes", SIZES),
    ),
    "lists": Timing("time_pairwise_hinge.py", "performance.md", ("--seconds", "2", "--rounds", "3"), "lists.png"),
    "retrieval": Timing("time_retrieval.py", "performance.md", ("--seconds", "2", "--rounds", "3")),
    "torch": Timing("time_torch.py", "torch.md", ("--seconds", "2")),
    "dask": Timing("time_dask.py", "distributed.md", repeats_itself=True),
    "boosting": Timing("time_objectives.py", "boosting.md", ("--threads", "1"), repeats_itself=True),
}


def main(arguments=None):
    options = parse_arguments(arguments)
    options.keep.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    repeated = [name for name in options.scripts if not TIMINGS[name].repeats_itself]
    todo = [(name, run) for run in range(1, options.runs + 1) for name in repeated]
    todo += [(name, 1) for name in options.scripts if name not in repeated]
    for name, run in todo:
        print(f"\n{name}, run {run}, after {(time.perf_counter() - start) / 60:.0f} min\n", flush=True)
        measure(name, run, options)
    for name in repeated:
        records = [json.loads(record_of(name, run, options).read_text()) for run in range(1, options.runs + 1)]
        put_between_markers(options.docs / TIMINGS[name].page, page_text(records), records[0]["marker"])


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--scripts", type=names(TIMINGS), default=list(TIMINGS), help=f"of {','.join(TIMINGS)} (default all)")
    option("--runs", type=int, default=3, help="how often each script runs (default 3)")
    option("--quick", action="store_true", help="small and short: to try the script, no figures and no pictures")
    option("--docs", type=Path, default=DOCS, help="the folder of the pages")
    option("--keep", type=Path, default=SCRIPTS.parent / "build" / "report", help="the folder of what was recorded")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs: at least 1")
    return options


def measure(name, run, options):
    """Run a script, which records what it times, or writes its page itself; it draws its picture in the last run."""
    timing = TIMINGS[name]
    command = [sys.executable, SCRIPTS / timing.script, *timing.options]
    if timing.repeats_itself:
        command += ["--markdown", options.docs / timing.page]
    else:
        command += ["--json", record_of(name, run, options)]
    if options.quick:
        command.append("--quick")
    elif timing.picture and run == options.runs:
        command += ["--plot", options.docs / timing.picture, *timing.picture_options]
    subprocess.run(command, check=True)


def record_of(name, run, options):
    return options.keep / f"{name}-{run}.json"


def page_text(records):
    """Return what a page shows of several runs: where they took place, and the table of all."""
    lines = zip(*(record["lines"] for record in records), strict=True)
    description = f"{records[0]['description']}; median of {len(records)} runs (lowest to highest)"
    return f"{description}\n\n{table(records[0]['header'], map(merged, lines))}"


def merged(runs):
    """Return the cells of a line that was measured in several runs."""
    cells = [merged_cell(column) for column in zip(*(run["cells"] for run in runs), strict=True)]
    goals = [run["goal"] and Goal.from_dict(run["goal"]) for run in runs]
    return [*cells[:-1], verdict(goals)] if goals[0] else cells


def merged_cell(column):
    """Return the words of a cell, or its median; the spread of ratios stands beside it."""
    if any(isinstance(cell, str) for cell in column):
        return column[0]
    values, is_seconds = [value for value, _ in column], column[0][1]
    median, low, high = (Number(of(values), is_seconds) for of in (statistics.median, min, max))
    return median if is_seconds or str(low) == str(high) else f"{median} ({low} to {high})"


if __name__ == "__main__":
    main()
