"""The results as pictures."""

import numpy as np

from .ratings import package

STYLES = {"recall@10": {"color": "black", "marker": "o"}, "NDCG@10": {"color": "0.45", "marker": "s"}}


def training_picture(history, baseline):
    """Return a figure of the loss and the recall over the epochs, the recall above the baseline's."""
    figure, (loss_axes, recall_axes) = two_panels()
    epochs = np.arange(1, len(history["loss"]) + 1)
    loss_axes.plot(epochs, history["loss"], color="black", marker="." if epochs.size == 1 else "")
    loss_axes.set(xlabel="epoch", ylabel="loss per pair (score units)", ylim=(0, None))
    recall_axes.plot(epochs, history["recall@10"], color="black", label="recommender")
    recall_axes.axhline(baseline["recall@10"], color="black", linestyle="dashed", label="popularity")
    recall_axes.set(xlabel="epoch", ylabel="recall@10 on held-out ratings", ylim=(0, None))
    recall_axes.legend(loc="lower right", frameon=False)
    for axes in figure.axes:
        axes.locator_params(axis="x", integer=True)
    return figure


def sweep_picture(rows):
    """Return a figure of the measures over the number of losers, the last of which is all of them."""
    figure, (top_axes, order_axes) = two_panels()
    losers = [row["losers"] for row in rows]
    for measure, style in STYLES.items():
        for part, line in {"held_out": "solid", "validation": "dotted"}.items():
            values = [row[part][measure] for row in rows]
            top_axes.plot(losers, values, label=f"{measure}, {part.replace('_', ' ')}", linestyle=line, **style)
    order_axes.plot(losers, [row["held_out"]["pair_order"] for row in rows], color="black", marker="o")
    top_axes.set(ylabel="among the ten recommended", ylim=(0, None))
    top_axes.legend(frameon=False, loc="lower right", fontsize="small")
    order_axes.set(ylabel="held-out pairs in order", ylim=(None, 1))
    for axes in figure.axes:
        axes.set(xscale="log", xlabel="losers that a liked film meets")
        axes.set_xticks(losers[::2], [f"{number:,}" for number in losers[::2]])
        axes.minorticks_off()
    return figure


def two_panels():
    """Return a figure and its two axes, each with two spines."""
    figure = package("matplotlib.figure").Figure(figsize=(8, 3.4), layout="constrained")
    for axes in figure.subplots(1, 2):
        axes.spines[["top", "right"]].set_visible(False)
    return figure, figure.axes
