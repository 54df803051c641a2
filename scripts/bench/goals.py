"""Goals: numbers to reach, most of them ratios of times that were taken side by side in one run."""

import statistics
from dataclasses import asdict, dataclass, fields, replace

from .tables import Number

HEADER = ("work", "goal", "measured", "reached")
WIDTHS = (62, 50, 12, 7)
VERDICTS = {True: "yes", False: "no", None: "-"}


@dataclass(frozen=True)
class Goal:
    """One number to reach.

    Parameters
    ----------
    work : str
        What is measured.
    words : str
        What the number means, with ``{}`` where it stands.
    limit : float
    measured : float or None
        None where it could not be measured.
    at_least : bool
        Whether the limit is the lowest number that will do, or the highest.
    """

    work: str
    words: str
    limit: float
    measured: float | None
    at_least: bool

    @property
    def target(self):
        """The goal in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.words.format(f'{self.limit:g}')}"

    @property
    def shown(self):
        """The measured number as the table shows it."""
        return "not measured" if self.measured is None else Number(self.measured)

    @property
    def reached(self):
        """Whether the number, as it is shown, is as good as the limit; None where it was not measured."""
        if self.measured is None:
            return None
        shown = float(str(self.shown))
        return shown >= self.limit if self.at_least else shown <= self.limit

    def cells(self):
        """Return the goal's cells in a table: what is measured, the goal, the number, and whether it is reached."""
        return self.work, self.target, self.shown, VERDICTS[self.reached]

    @classmethod
    def from_dict(cls, record):
        """Return a goal from what ``as_dict`` wrote to a JSON file."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def as_dict(self):
        """Return everything about the goal for a JSON file."""
        return {**asdict(self), "target": self.target, "reached": self.reached}


def verdict(goals):
    """Return the word for a goal that was measured in several runs: reached in all of them, or in their median."""
    measured = [goal.measured for goal in goals]
    if None in measured:
        return VERDICTS[None]
    if all(goal.reached for goal in goals):
        return VERDICTS[True]
    return "mostly" if replace(goals[0], measured=statistics.median(measured)).reached else VERDICTS[False]


def ratio(times, numerator, denominator):
    """Return the ratio of two medians, or None where one is missing."""
    if numerator not in times or denominator not in times:
        return None
    return times[numerator].median / times[denominator].median
