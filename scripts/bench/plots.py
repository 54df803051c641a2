"""Curves over sizes, readable in grey."""

import importlib
from dataclasses import dataclass

BLACK = {"color": "black", "marker": "o", "linewidth": 2.2}
DASHED = {"linestyle": "--", "markerfacecolor": "white"}
GREY_SQUARES = {"color": "0.45", "marker": "s"}
GREY_TRIANGLES = {"color": "0.45", "marker": "^"}
LIGHT_CROSSES = {"color": "0.65", "marker": "x", "linestyle": ":"}


@dataclass
class Plot:
    """Curves on logarithmic axes.

    Parameters
    ----------
    panels : dict
        Panels side by side: by the title of each, by the name of each curve, the number over each size.
    styles : dict of dict
        How each curve looks, by its name, in the order of the legend.
    xlabel, ylabel : str
    """

    panels: dict
    styles: dict
    xlabel: str
    ylabel: str

    def draw(self, path, description):
        """Write the picture to a file, with a description of the run above it."""
        figure_class, count = importlib.import_module("matplotlib.figure").Figure, len(self.panels)
        figure = figure_class(figsize=(2 + 5 * count, 4 + count), layout="constrained")
        axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        for panel, (title, curves) in zip(axes, self.panels.items(), strict=True):
            for name in filter(curves.get, self.styles):
                panel.plot(*zip(*curves[name].items(), strict=True), label=name, markersize=5, **self.styles[name])
            panel.set(xscale="log", yscale="log", xlabel=self.xlabel, title=title)
            panel.grid(which="major", color="0.9")
        axes[0].set_ylabel(self.ylabel)
        handles = axes[-1].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=1 + 2 * count, frameon=False)
        figure.suptitle(description, fontsize=6)
        figure.savefig(path, dpi=150)
