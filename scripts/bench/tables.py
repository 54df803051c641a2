"""Tables of timings, for a terminal and for a document."""

from pathlib import Path
from typing import NamedTuple

from .roofline import ROOFLINE

UNITS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Number(NamedTuple):
    """A number in a table: seconds, or a ratio."""

    value: float
    is_seconds: bool = False

    def __str__(self):
        return seconds(self.value) if self.is_seconds else f"{self.value:.3g}"


def aligned(cells, widths):
    """Return cells as a line for a terminal."""
    return "  ".join(str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def table(header, rows):
    """Return rows of cells as a table for a document."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def put_between_markers(path, text, name):
    """Replace what stands between the two markers of a name in a document."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = Path(path).read_text().partition(first)
    _, end, after = rest.partition(last)
    if not end:
        raise SystemExit(f"{path} lacks the markers {first} and {last}")
    Path(path).write_text(f"{before}{first}\n\n{text}\n\n{last}{after}")


def size_table(rows):
    """Return the rows of one size as lines for a terminal; of the bare kernels, only the fastest."""
    first = rows[0]
    sets = first["sets_of_buffers"]
    memory = f"from memory: {sets} sets of buffers in turn" if sets > 1 else "the same buffers each time"
    lines = [
        f"{first['work']}, {counted(first['pairs'])} ({memory})",
        f"{'':<40}{'median':>10}{'20%':>10}{'80%':>10}{'GB/s':>10}{'of roofline':>12}{'times ours':>12}",
    ]
    ranked = sorted(rows, key=lambda row: row["median_seconds"])
    kernels = [row for row in ranked if row["peer"].startswith(ROOFLINE)]
    return lines + [_size_line(row) for row in ranked if row not in kernels[1:]]


def _size_line(row):
    times = "".join(f"{seconds(row[name]):>10}" for name in ("median_seconds", "p20_seconds", "p80_seconds"))
    share = "" if row["share_of_roofline"] is None else f"{row['share_of_roofline']:.2f}"
    ours = "" if row["times_numbarank"] is None else f"{row['times_numbarank']:.2f}"
    return f"{row['peer']:<40}{times}{row['gb_per_s']:>10.3g}{share:>12}{ours:>12}"


def first_calls(rows):
    """Return, as lines, the longest first call of each implementation: most of it is compilation."""
    longest = {}
    for row in rows:
        if not row["peer"].startswith(ROOFLINE):
            key = (row["work"], row["peer"])
            longest[key] = max(longest.get(key, 0), row["first_call_seconds"])
    lines = [f"  {work:<12}{name:<26}{seconds(taken):>10}" for (work, name), taken in longest.items()]
    return ["first call, compilation included, never part of the above (the longest over all sizes)", *lines]


def counted(size):
    """Return a number of pairs in words."""
    return f"{size:,} pair{'' if size == 1 else 's'}"


def seconds(value):
    """Return a time in a readable unit."""
    scale, unit = next(((s, u) for s, u in UNITS if value >= s), (1e-9, "ns"))
    return f"{value / scale:.3g} {unit}"
