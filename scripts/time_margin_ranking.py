"""Time the margin ranking loss side by side with its peers and with the memory's own speed.

Without --report: forward, Tensor forward + backward(), and loss and gradients together, over sizes. With --report:
the goals of docs/performance.md, each as a ratio measured in this run. To use fewer threads, start this under
`taskset`: all contestants take the cores that they are given.
"""

import argparse
import json
import sys
from pathlib import Path

import goals
from contestants import OURS, OUT, PEERS, TENSOR, Setting
from environment import described, environment
from pictures import draw
from races import QUICKLY, Races
from tables import GOAL_HEADER, aligned, first_calls, goal_cells, markdown, put_between_markers, race_table

CONTENDERS = {"forward": [OURS, *PEERS], "gradients": [OURS, OUT, TENSOR, *PEERS]}
SIZES = "1,1k,10k,100k,1M,10M"
SUFFIXES = {"k": 1000, "M": 1_000_000}
BUSY = 0.5
QUICK_SHRINK = 10_000


def main():
    options = parse_arguments()
    setting = Setting(options.dtype, options.target_dtype, options.reduction, options.device)
    races = Races(options.peers, **QUICKLY) if options.quick else Races(options.peers, options.seconds)
    where = environment(options.device)
    description = f"{described(where)}; {kind(setting)}"
    print(description)
    if (where["load_before"] or 0) > BUSY:
        print(f"others keep this machine busy (load {where['load_before']}): parallel calls may look far too slow")
    reached = report(races, options) if options.report else []
    swept = sweep(races, options.sizes, setting) if options.plot or not options.report else []
    if options.plot:
        draw(swept, options.plot, description)
    if options.markdown:
        put_between_markers(options.markdown, markdown(reached, description))
    if options.json:
        write_json(options.json, races, reached, where)


def sweep(races, sizes, setting):
    """Race over sizes, print a table for each and the first calls at the end, and return the rows."""
    before = len(races.rows)
    for work, names in CONTENDERS.items():
        for size in sizes:
            since = len(races.rows)
            races.race(work, size, names, setting, ceiling=True, rotate=True)
            print("\n" + "\n".join(race_table(races.rows[since:])), flush=True)
    print("\n" + "\n".join(first_calls(races.rows[before:])))
    return races.rows[before:]


def report(races, options):
    """Measure the rows asked for, print each as it comes, and return the goals."""
    measurements = goals.Measurements(races, QUICK_SHRINK if options.quick else 1)
    found = []
    print("\n" + aligned(GOAL_HEADER))
    for name in options.rows:
        for goal in goals.ROWS[name](measurements):
            print(aligned(goal_cells(goal)), flush=True)
            found.append(goal)
    done = [goal.reached for goal in found]
    print(f"\n{done.count(True)} of {len(done)} reached, {done.count(None)} not measured")
    return found


def kind(setting):
    """Return a setting in words."""
    return f"{setting.dtype}, target {setting.target_dtype}, reduction '{setting.reduction}', {setting.device}"


def write_json(path, races, reached, where):
    """Write every row with the machine, versions and threads that it was measured with."""
    record = {
        **where,
        "left_out": races.left_out,
        "goals": [goal.as_dict() for goal in reached],
        "rows": [row | where for row in races.rows],
    }
    Path(path).write_text(json.dumps(record, indent=1) + "\n")


def parse_arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=_sizes, default=_sizes(SIZES), help=f"numbers of pairs (default {SIZES})")
    parser.add_argument("--dtype", choices=("float32", "float64", "float16", "bfloat16"), default="float32")
    parser.add_argument("--reduction", choices=("mean", "sum", "none"), default="mean")
    parser.add_argument("--target-dtype", choices=("same", "int8", "scalar"), default="same")
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=f"of {','.join(PEERS)} (default all)")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long each race takes (default 3)")
    parser.add_argument("--report", action="store_true", help="measure the goals; on the CPU, mostly in float32")
    parser.add_argument(
        "--rows", type=_names(goals.ROWS), default=list(goals.ROWS), help=f"of {','.join(goals.ROWS)} (default all)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="goals at a ten-thousandth of the size, races short: to try the script, no figures",
    )
    parser.add_argument("--json", metavar="FILE", help="write every row and goal")
    parser.add_argument("--plot", metavar="FILE", help="draw GB/s over size; with --report, races over sizes too")
    parser.add_argument("--markdown", metavar="FILE", help="put the goals' table between the markers of this document")
    options = parser.parse_args()
    if options.markdown and not options.report:
        parser.error("--markdown needs --report: the table shows the goals")
    if options.report and options.device != "cpu":
        parser.error("the goals are the CPU's; without --report, --device cuda races over sizes")
    return options


def _sizes(text):
    return [int(word.rstrip("kM")) * SUFFIXES.get(word[-1], 1) for word in text.split(",")]


def _names(known):
    def parse(text):
        names = text.split(",") if text else []
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
