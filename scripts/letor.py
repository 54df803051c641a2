"""Read documents in the SVMlight format of LETOR, compressed or not, and say what is wrong with a file."""

import bz2
import codecs
import functools
import gzip
import io
import lzma
import math
import zipfile
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EXAMPLE = "2 qid:10 1:0.3 2:12"
LARGEST_FEATURE = 1e100  # scores and their differences stay finite
LARGEST_NUMBER = 2**63 - 1
BROKEN = (OSError, EOFError, UnicodeError, RuntimeError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Documents:
    """The documents of a file in its order: a sparse row of features, a label and the number of a query each."""

    path: Path
    labels: np.ndarray  # zeros where the file has none
    graded: bool
    queries: np.ndarray  # in the order in which they come first
    query_ids: list[str]
    lines: np.ndarray
    numbers: np.ndarray  # of the features, as the file has them, row after row
    values: np.ndarray
    lengths: np.ndarray  # how many features each row has

    def columns(self, numbers):
        """Return rows, columns and values of the features with these ascending numbers, which get a column each."""
        places = np.minimum(np.searchsorted(numbers, self.numbers), len(numbers) - 1)
        known = numbers[places] == self.numbers
        return np.repeat(np.arange(len(self.lengths)), self.lengths)[known], places[known], self.values[known]

    def queries_apart(self):
        """Return the ids of the queries whose rows do not stand together."""
        starts = np.flatnonzero(np.diff(self.queries, prepend=-1))
        return [self.query_ids[query] for query in np.flatnonzero(np.bincount(self.queries[starts]) > 1)]

    def first_line_with(self, number):
        """Return the first line that has the feature with this number, None if there is none."""
        entries = np.flatnonzero(self.numbers == number)
        return self.lines[np.searchsorted(np.cumsum(self.lengths), entries[0], side="right")] if len(entries) else None


def read(path):
    """Return the documents of a file; leave with its name, the line, what is wrong there and how to mend it."""
    try:
        with _opener(path)(path) as stream:
            utf16 = stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            encoding = "utf-16" if utf16 else "utf-8-sig"  # both skip the byte order mark
            with io.TextIOWrapper(stream, encoding, errors="surrogateescape") as file:
                return _documents(path, file)
    except BROKEN as error:
        raise SystemExit(f"{path} cannot be read ({error}): get it once more, or unpack it first") from None


def _opener(path):
    """Return what opens the file, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, command in {b"\x28\xb5\x2f\xfd": "zstd -d", b"Rar!": "unrar x", b"7z\xbc\xaf": "7z x"}.items():
        if start.startswith(magic):
            raise SystemExit(f"{path} is an archive that is not read here: unpack it with  {command}")
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"PK": _open_zip}
    plain = functools.partial(open, mode="rb")
    return next((opener for magic, opener in openers.items() if start.startswith(magic)), plain)


def _open_zip(path):
    """Open the only file of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if len(names) != 1:
            held = f"{len(names)} files ({', '.join(names[:5])})"
            raise SystemExit(f"{path} holds {held}: unpack it, and name one of them")
        return archive.open(names[0])


def _documents(path, file):
    rows = _Rows()
    for at, line in enumerate(file, 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        graded = not line.startswith("qid:")
        line = line if graded else f"0 {line}"
        try:
            rows.add(at, *line.split(None, 2))
        except (ValueError, OverflowError):
            raise SystemExit(f"{path}, line {at}: {_fault(line)}") from None
        if at == rows.lines[0]:
            all_graded = graded
        elif graded != all_graded:
            has, first_has = ("a", "none") if graded else ("no", "one")
            advice = "begin every line with a label, or every line with qid: to have them scored"
            raise SystemExit(f"{path}, line {at}: has {has} label, but line {rows.lines[0]} has {first_has}: {advice}")
    if not rows.lines:
        raise SystemExit(f"{path} has no documents: write a line for each, such as  {EXAMPLE}")
    return rows.documents(path, all_graded)


class _Rows:
    """What the lines of a file say, line after line."""

    def __init__(self):
        self.lines, self.queries, self.lengths, self.numbers = (array("q") for _ in range(4))
        self.labels, self.values = array("d"), array("d")
        self.query_ids = {}
        self._names, self._numbers_of_names = [], []

    def add(self, at, label, query="", features=""):
        """Take the parts of a line; raise ValueError or OverflowError for a fault, which _fault() explains."""
        words = features.replace(":", " : ").split()
        names, colons, texts = words[::3], words[1::3], words[2::3]
        if names != self._names:  # most files repeat them line after line
            self._names, self._numbers_of_names = names, _feature_numbers(names)
        grade, values = float(label), list(map(float, texts))
        well_formed = len(values) == len(names) and colons == [":"] * len(names) and "_" not in label + features
        in_range = 0 <= grade < math.inf and sum(map(abs, values)) <= LARGEST_FEATURE * len(values)
        if not (well_formed and in_range and query.startswith("qid:") and query != "qid:"):
            raise ValueError
        self.lines.append(at)
        self.labels.append(grade)
        self.queries.append(self.query_ids.setdefault(query[4:], len(self.query_ids)))
        self.lengths.append(len(values))
        self.numbers.extend(self._numbers_of_names)
        self.values.extend(values)

    def documents(self, path, graded):
        """Return the documents of all lines."""
        labels, queries, lines, numbers, values, lengths = map(
            np.array, (self.labels, self.queries, self.lines, self.numbers, self.values, self.lengths)
        )
        return Documents(path, labels, graded, queries, list(self.query_ids), lines, numbers, values, lengths)


def _feature_numbers(names):
    numbers = array("q", map(int, names))
    if len(set(numbers)) < len(numbers) or min(numbers, default=0) < 0:
        raise ValueError
    return numbers


def _fault(line):
    """Return what is wrong with a line, and how to mend it."""
    label, *rest = line.split()
    grade = _number(float, label)
    if grade is None:
        return f"{_short(label)} is no label: a line reads  {EXAMPLE}  or, in a file without labels,  {EXAMPLE[2:]}"
    if not 0 <= grade < math.inf:
        lowest, unjudged = f"sed 's/^{label} /0 /'", f"grep -v '^{label} '"
        return f"label {label}: the lowest grade is 0 ({lowest}); leave documents that nobody judged out ({unjudged})"
    if not rest or not rest[0].startswith("qid:"):
        return f"no query after the label: a line reads  {EXAMPLE}  (for a single query: sed 's/^[^ ]*/& qid:1/')"
    if rest[0] == "qid:":
        return "the query has no id: write one right after the colon, without a space, as in  qid:10"
    seen = set()
    for feature in rest[1:]:
        name, _, text = feature.partition(":")
        number, value = _number(int, name), _number(float, text)
        if number is None or (value is None and not text.isalpha()):
            return f"{_short(feature)} is no feature: write a whole number, a colon and a number, as in  1:0.3"
        if not 0 <= number <= LARGEST_NUMBER:
            return f"feature {_short(name)}: count features from 0 or 1 on; the largest number is 2**63 - 1"
        if number in seen:
            return f"feature {number} comes twice: keep one of the two"
        if value is None or not abs(value) <= LARGEST_FEATURE:
            return (
                f"feature {name} is {text}: put a number in its place (LETOR's Min files have the feature's lowest of"
                f" the query), or leave such features out, which makes them 0: sed 's/ [0-9]*:{text}//g'"
            )
        seen.add(number)
    raise AssertionError(f"no fault in {line!r}")


def _number(kind, text):
    """Return a text as a number, None if it is none; Python alone takes digits with underscores between them."""
    try:
        return None if "_" in text else kind(text)
    except ValueError:
        return None


def _short(text):
    return repr(text if len(text) <= 30 else text[:27] + "...")
