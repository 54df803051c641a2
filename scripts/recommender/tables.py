"""The results as text."""

import shutil
from itertools import zip_longest

from .measures import MEASURES
from .methods import CHOSEN_BY, described
from .ratings import LIKED_FROM


def report(results, device):
    """Return the results as text."""
    parts = [
        data_lines(results),
        *([validation_table(results["validation"])] if results["validation"] else []),
        training_table(results["epochs"]),
        held_out_table(results["popularity"], results["recommender"]),
        speed_table(results["speed"], device),
        user_table(results["user"]),
    ]
    return "\n\n".join(parts)


def data_lines(results):
    """Return what was read, and how much of it is held out."""
    data, liked = results["data"], results["liked"]
    return (
        f"MovieLens: {data['ratings']:,} ratings of {data['films']:,} films by {data['users']:,} users"
        " (terms of use: --help)\n"
        f"Liked, rated {LIKED_FROM:g} or more: {liked['training']:,} to learn from, {liked['held_out']:,} held out"
    )


def training_table(history):
    """Return the loss of the first and the last epoch, and the active pairs where they were counted."""
    rows = [("loss per pair", history["loss"], ".3f"), ("active pairs", history["active_pairs"], ".1%")]
    lines = [f"{'Training':<37}{'first epoch':>14}{'last epoch':>14}"]
    for label, values, form in rows:
        if values:
            lines.append(f"  {label:<35}{values[0]:>14{form}}{values[-1]:>14{form}}")
    return "\n".join(lines)


def held_out_table(baseline, recommender):
    """Return the measures on held-out ratings, the recommender's beside the baseline's."""
    lines = [f"{'Held-out ratings':<37}{'popularity':>14}{'recommender':>14}{'ratio':>14}"]
    for measure, label in MEASURES.items():
        before, after = baseline[measure], recommender[measure]
        lines.append(f"  {label:<35}{before:>14.3f}{after:>14.3f}{after / before:>14.2f}")
    return "\n".join(lines)


def speed_table(speed, device):
    """Return the speed of the loss as text."""
    millions, share = speed["pairs_per_second"] / 1e6, speed["share_of_training"]
    return (
        f"Loss and gradient on {device}\n"
        f"{'  pairs per pass':<37}{speed['pairs_per_pass']:>14,}\n"
        f"{'  speed':<37}{millions:>14.1f} million pairs per second\n"
        f"{'  share of the training time':<37}{share:>14.1%} of {speed['training_seconds']:.1f} s"
    )


def user_table(user):
    """Return two columns, as wide as the terminal: what the user liked, and what the recommender adds."""
    width = (min(shutil.get_terminal_size((100, 24)).columns, 120) - 24) // 2
    lines = [f"{'Liked by user ' + str(user['id']):<{width + 9}}{'Recommended':<{width + 4}}  held out"]
    for place, (liked, film) in enumerate(zip_longest(user["liked"], user["recommended"]), start=1):
        left = f"{liked['stars']:>5}  {shorten(liked['title'], width)}" if liked else ""
        right = f"{shorten(film['title'], width):<{width}}{film['held_out_stars'] or '':>10}"
        lines.append(f"{left:<{width + 7}}  {place:>2}  {right}".rstrip())
    lines.append("held out: what the user gave the film, unknown to the training")
    return "\n".join(lines)


def shorten(title, width):
    """Return the title cut to the width; its year stays."""
    if len(title) <= width:
        return title
    name, _, year = title.rpartition(" (")
    return f"{name[: width - len(year) - 3].rstrip()}… ({year}"


def validation_table(rows):
    """Return what each number of losers reaches on the validation part, and which one is taken."""
    best = max(rows, key=lambda row: row[CHOSEN_BY])
    header = [f"{'Validation: a fifth of the training part':<42}", "recall@10", "NDCG@10", "order", ""]
    return aligned(
        header,
        [["  " + described("hardest", row["setting"]), *numbers(row), "taken" if row is best else ""] for row in rows],
    )


def numbers(measures):
    """Return the measures as text."""
    return [f"{measures[name]:.3f}" for name in MEASURES]


def comparison(rows):
    """Return the header and a row for each method."""
    header = ["Held-out ratings, ten films recommended", "recall", "NDCG", "order", "s"]
    return header, [
        [described(row["method"], row["setting"]), *numbers(row), f"{row['seconds']:.1f}" if row["seconds"] else ""]
        for row in rows
    ]


def sweep(rows):
    """Return the header and a row for each number of losers."""
    header = ["losers", "validation: recall", "NDCG", "held out: recall", "NDCG", "order"]
    return header, [[f"{row['losers']:,}", *numbers(row["validation"])[:2], *numbers(row["held_out"])] for row in rows]


def aligned(header, rows):
    """Return a table for the terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip()
        for cells in (header, *rows)
    )
