"""What a compiled loop is told by in the disk cache: everything of ours that it is made of, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numbarank as nr
from numbarank._cpu.fingerprint import fingerprint

pytestmark = pytest.mark.usefixtures("cpu")

PACKAGE = Path(nr.__file__).parent
FINGERPRINTS = """
import json
from numbarank._cpu import every_pair, groups, long_lists, pairs, retrieval, sorting, tasks, two_levels
from numbarank._cpu.compiler import CompiledLoop
from numbarank._cpu.fingerprint import fingerprint
from numbarank.losses.margin_ranking import FORMULA
loops = {
    "forward": pairs.kernel(FORMULA, False),
    "gradients": pairs.kernel(FORMULA, True),
    "careful": pairs.careful_kernel(FORMULA),
    "count pairs": every_pair.count_pairs,
    "sum pairs": every_pair.sum_pairs,
    "count lists": long_lists.loop(False, False),
    "sum lists": long_lists.loop(True, False),
    "highest": long_lists.loop(False, True),
    "sort": CompiledLoop("sort keys", sorting._sort),
    "write": groups._write_loop,
    "launch": CompiledLoop("launch", tasks._launch),
    "retrieval": retrieval._pass_loop,
    "best": retrieval._best_loop,
    "two levels": two_levels.sum_groups,
}
print(json.dumps({name: fingerprint(*loop._dispatcher._cache._roots) for name, loop in loops.items()}))
"""
PAIRS = {"forward", "gradients", "careful"}
LISTS = {"count pairs", "sum pairs", "count lists", "sum lists", "highest"}
FEW_WINNERS = {"two levels", "retrieval"}
EVERY = PAIRS | LISTS | FEW_WINNERS | {"best", "sort", "write", "launch"}
SORTED = {"count lists", "sum lists", "highest"}
SHORT = SORTED | {"count pairs", "sum pairs"}
RUNNING_SUMS = {"count pairs", "sum pairs"} | SORTED


IMPORT_EACH = """
import sys
for folder in sys.stdin:
    for name in [name for name in sys.modules if name.partition(".")[0] == "numbarank"]:
        del sys.modules[name]
    sys.path[0] = folder.strip()
    exec(sys.argv[1], {})
"""


@pytest.fixture(scope="module")
def fingerprints():
    """Tell the fingerprints of a package; one process imports one after the other, as numba takes longer than they."""
    command = [sys.executable, "-u", "-c", IMPORT_EACH, FINGERPRINTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def of(package):
            print(package.parent, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield of


@pytest.fixture(scope="module")
def as_it_is(fingerprints):
    return fingerprints(PACKAGE)


def test_every_loop_has_its_own(as_it_is):
    assert set(as_it_is) == EVERY
    assert len(set(as_it_is.values())) == len(EVERY)


@pytest.mark.parametrize(
    "file, old, new, changed",
    [
        ("_exact.py", "total = a + b", "total = b + a", PAIRS | RUNNING_SUMS | {"two levels"}),
        ("_exact.py", "slope * factor if", "factor * slope if", {"count pairs", "sum pairs", "write"} | FEW_WINNERS),
        ("_hinge.py", "+ margin", "- margin", LISTS | FEW_WINNERS),
        ("_hinge.py", "count -= 1", "count -= 2", SORTED | {"two levels"}),
        ("_cpu/long_lists.py", "met < wanted", "met <= wanted", SORTED),
        ("losses/margin_ranking.py", "z < zero", "z <= zero", PAIRS),
        ("losses/margin_ranking.py", "d * -y", "-d * y", {"gradients"}),
        ("_cpu/pairs.py", "BLOCK = 8192", "BLOCK = 4096", PAIRS),
        ("_cpu/pairs.py", "DOWN = 2.0**-64", "DOWN = 2.0**-32", {"careful"}),
        ("_cpu/memory.py", "LANES = 64", "LANES = 128", PAIRS | RUNNING_SUMS | FEW_WINNERS | {"best"}),
        ("_cpu/memory.py", "AHEAD, CACHE_LINE = 1536", "AHEAD, CACHE_LINE = 2048", {"forward", "gradients"}),
        ("_cpu/memory.py", "_BITS(0x7FFF)", "_BITS(0x8000)", PAIRS | RUNNING_SUMS | FEW_WINNERS),
        ("_cpu/exact.py", "RUNNING = 16", "RUNNING = 32", RUNNING_SUMS),
        ("_cpu/every_pair.py", "GRADES = -32, 64", "GRADES = -32, 32", {"count pairs", "sum pairs"}),
        ("_cpu/long_lists.py", "FEW = LANES", "FEW = LANES // 2", SORTED),
        ("_cpu/sorting.py", "WIDE_FROM = 8", "WIDE_FROM = 9", {"sort"}),
        ("_cpu/few_winners.py", "z if z > 0", "z if z >= 0", FEW_WINNERS),
        ("_cpu/few_winners.py", "key > last", "key >= last", FEW_WINNERS | {"best"}),
        ("_cpu/rows.py", "rounded(below, below_low) * weight", "weight * rounded(below, below_low)", SHORT),
        ("_cpu/groups.py", "/ work.divisor", "* work.divisor", {"write"}),
        ("_cpu/tasks.py", "_WORD(0))", "_WORD(1))", EVERY - {"launch", "sort", "retrieval", "best"}),
        ("_cpu/tasks.py", "np.int64(index_)", "index_", {"launch"}),
        ("_cpu/compiler.py", '"error_model": "numpy"', '"error_model": "python"', EVERY),
    ],
)
def test_an_edit_changes_the_loops_that_it_is_part_of(tmp_path, fingerprints, as_it_is, file, old, new, changed):
    package = tmp_path / "numbarank"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    edited = fingerprints(package)
    assert {name for name in EVERY if edited[name] != as_it_is[name]} == changed


def test_words_change_nothing(tmp_path, fingerprints, as_it_is):
    package = tmp_path / "numbarank"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.rglob("*.py"):
        path.write_text("# one more line\n" + path.read_text().replace('"""Return ', '"""Give back '))
    assert fingerprints(package) == as_it_is


def test_sets_have_one_order():
    def function(number):
        return number in {"one", "two", "three", "four"}

    assert fingerprint(function) == fingerprint(function)
