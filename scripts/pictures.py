"""The picture of a timing run: speed over size, readable in grey."""

import importlib

from ceilings import NAME as CEILING
from contestants import OURS, OUT, TENSOR

TITLES = {"forward": "loss", "gradients": "loss and gradients"}
STYLES = {
    OURS: {"color": "black", "marker": "o", "linewidth": 2.2},
    OUT: {"color": "black", "marker": "o", "linewidth": 2.2, "linestyle": "--", "markerfacecolor": "white"},
    TENSOR: {"color": "black", "marker": "D", "linewidth": 1.2, "linestyle": ":"},
    "torch": {"color": "0.45", "marker": "s"},
    "torch.compile": {"color": "0.45", "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
    "jax": {"color": "0.45", "marker": "^"},
    "numexpr": {"color": "0.65", "marker": "v", "linestyle": "-."},
    "numpy": {"color": "0.65", "marker": "x", "linestyle": ":"},
}
CEILING_STYLE = {"color": "black", "linewidth": 6, "alpha": 0.15, "solid_capstyle": "round"}


LIST_STYLES = (
    {"color": "black", "marker": "o", "linewidth": 2.2},
    {"color": "black", "marker": "o", "linewidth": 2.2, "linestyle": "--", "markerfacecolor": "white"},
    {"color": "0.65", "marker": "x", "linestyle": ":"},
    {"color": "0.45", "marker": "s"},
    {"color": "0.45", "marker": "^", "linestyle": "--"},
)


def draw(rows, path, description):
    """Draw GB/s over the number of pairs, forward and with gradients, with the ceiling as a broad line."""
    figure = _figure(figsize=(12, 6))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (work, title) in zip(panels, TITLES.items(), strict=True):
        _draw_panel(panel, [row for row in rows if row["work"] == work], title)
    panels[0].set_ylabel("bytes that must move, per second (GB/s)")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(description, fontsize=8)
    figure.savefig(path, dpi=150)


def draw_over_length(seconds, path, description):
    """Draw the seconds of a call over the length of a list, by name, on log axes."""
    figure = _figure(figsize=(7, 5))
    panel = figure.subplots()
    for (name, by_length), style in zip(seconds.items(), LIST_STYLES, strict=False):
        panel.plot(list(by_length), list(by_length.values()), label=name, markersize=5, **style)
    panel.set(xscale="log", yscale="log", xlabel="items in the list", ylabel="loss and gradient (s)")
    panel.grid(which="major", color="0.9")
    panel.legend(frameon=False)
    figure.suptitle(description, fontsize=7)
    figure.savefig(path, dpi=150)


def _figure(figsize):
    return importlib.import_module("matplotlib.figure").Figure(figsize=figsize, layout="constrained")


def _draw_panel(panel, rows, title):
    ceiling = {}
    for row in rows:
        if row["contestant"].startswith(CEILING):
            ceiling[row["pairs"]] = max(row["gb_per_s"], ceiling.get(row["pairs"], 0))
    panel.plot(
        list(ceiling), list(ceiling.values()), label="ceiling: a bare kernel that only moves them", **CEILING_STYLE
    )
    for name, style in STYLES.items():
        speeds = {row["pairs"]: row["gb_per_s"] for row in rows if row["contestant"] == name}
        if speeds:
            panel.plot(list(speeds), list(speeds.values()), label=name, markersize=5, **style)
    panel.set(xscale="log", yscale="log", xlabel="pairs", title=title)
    panel.grid(which="major", color="0.9")
