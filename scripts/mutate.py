"""Breaks the package in one place at a time, in a copy, and tells which breaks the tests let pass.

    python scripts/mutate.py                             # every part below
    python scripts/mutate.py numbarank/_reduction.py     # one of them
    python scripts/mutate.py --sample 40 --seed 1        # forty breaks at random
    NUMBARANK_CACHE_DIR=/some/folder python scripts/mutate.py    # keeps the compiled loops for the next time

A break is a comparison that includes or excludes its edge, a condition turned round, a raise left out, a constant one
higher, a sign or an operation swapped, an `and` for an `or`. Tools that do this rewrite functions so that numba cannot
compile them, or have no way to give each file its own tests and time, hence a script.
"""

import argparse
import ast
import copy
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1"}
ARGUMENTS = [
    *["tests/test_hostile_objects.py", "tests/test_inputs.py", "tests/test_fuzz.py", "tests/test_tensor.py"],
    *["tests/test_margin_ranking.py", "tests/test_semantics.py", "tests/test_groups.py"],
]
NOT_SLOW = ["-k", "not sizes and not hard and not many and not threads and not special_loss and not subprocess"]
KERNELS = ["tests/test_margin_ranking.py", "-k", "(sizes or one_special or threads) and float64 or formula"]
LISTS = ["tests/test_pairwise_hinge.py", "-k", "one_list or every_kind or threads or few_and_of_many"]
HARDEST = [f"tests/test_{name}.py" for name in ("losers", "two_levels", "retrieval", "hard_negatives", "sharing")]
# file -> functions (None is all), seconds a break may take, and the runs of pytest that should notice it
PARTS = {
    "numbarank/losses/margin_ranking.py": (
        {"value", "slope"},
        120,
        [({}, ["tests/test_margin_ranking.py", "tests/test_semantics.py", "-k", "formula or of_a_pair and float64"])],
    ),
    "numbarank/_reduction.py": (
        None,
        120,
        [({}, ["tests/test_inputs.py", "tests/test_hostile_objects.py", "tests/test_semantics.py", *NOT_SLOW])],
    ),
    **{
        f"numbarank/_arguments/{path.name}": (
            None,
            180,
            [({}, [*ARGUMENTS, *NOT_SLOW]), (SIMULATOR, ["tests/test_hostile_objects.py", "tests/test_inputs.py"])],
        )
        for path in sorted((ROOT / "numbarank" / "_arguments").glob("[!_]*.py"))
    },
    "numbarank/_arguments/retrieval.py": (None, 300, [({}, HARDEST), (SIMULATOR, HARDEST)]),
    "numbarank/_cuda/foreign.py": (
        None,
        300,
        [(SIMULATOR, ["tests/test_hostile_objects.py", "tests/test_cuda_kernels.py", "-k", "hostile or foreign"])],
    ),
    "numbarank/_cpu/threads.py": (None, 300, [({}, ["tests/test_host_process.py", "-m", "not slow"])]),
    "numbarank/_cpu/cache.py": (None, 300, [({}, ["tests/test_disk_cache.py", "-m", "not slow"])]),
    "numbarank/_cpu/fingerprint.py": (None, 300, [({}, ["tests/test_fingerprint.py"])]),
    "numbarank/_cpu/pairs.py": (None, 300, [({}, KERNELS)]),
    **{
        f"numbarank/_cpu/{name}.py": (None, 300, [({}, LISTS)])
        for name in ("every_pair", "groups", "long_lists", "rows", "sorting")
    },
    **{
        f"numbarank/_cpu/{name}.py": (None, 300, [({}, HARDEST)]) for name in ("two_levels", "few_winners", "retrieval")
    },
}

COMPARISONS = [
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
]
OPERATIONS = [
    (ast.Add, ast.Sub),
    (ast.Mult, ast.Div),
    (ast.FloorDiv, ast.Mod),
    (ast.And, ast.Or),
    (ast.BitOr, ast.BitAnd),
]
SWAPPED = {a: b for pair in COMPARISONS + OPERATIONS for a, b in (pair, pair[::-1])}


def breaks_of(node):
    """Return what can be broken in a node: pairs of a name and a function that changes the node."""
    if isinstance(node, ast.Raise):
        yield "raise left out", lambda node: ast.Pass()
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition turned round", lambda node: _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Compare):
        for i, operation in enumerate(node.ops):
            if type(operation) in SWAPPED:
                swapped = [*node.ops[:i], SWAPPED[type(operation)](), *node.ops[i + 1 :]]
                yield "comparison swapped", lambda node, swapped=swapped: _with(node, ops=swapped)
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
        yield "operation swapped", lambda node: _with(node, op=SWAPPED[type(node.op)]())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "sign or not left out", lambda node: node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "truth turned round", lambda node: ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "constant one higher", lambda node: ast.Constant(node.value + 1)


def _with(node, **changes):
    for name, value in changes.items():
        setattr(node, name, value)
    return node


def places(tree, functions):
    """Return the path to every node that runs, as fields and positions; messages and annotations are left alone."""
    found = []

    def walk(node, path):
        found.append((node, path))
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
                continue
            if isinstance(node, ast.Raise):
                continue
            children = enumerate(value) if isinstance(value, list) else [(None, value)]
            for i, child in children:
                if isinstance(child, ast.AST):
                    walk(child, [*path, (field, i)])

    for i, node in enumerate(tree.body):
        if functions is None or getattr(node, "name", None) in functions:
            walk(node, [("body", i)])
    return found


def broken(tree, path, change):
    """Return the source with one node changed."""
    tree = copy.deepcopy(tree)
    parent = tree
    for field, i in path[:-1]:
        parent = getattr(parent, field) if i is None else getattr(parent, field)[i]
    field, i = path[-1]
    if i is None:
        setattr(parent, field, change(getattr(parent, field)))
    else:
        getattr(parent, field)[i] = change(getattr(parent, field)[i])
    return ast.unparse(ast.fix_missing_locations(tree))


def all_breaks(files):
    """Return file, line, what is changed, and the changed source, of every break in the files."""
    for file in files:
        functions = PARTS[file][0]
        tree = ast.parse((ROOT / file).read_text())
        for node, path in places(tree, functions):
            for name, change in breaks_of(node):
                text = ast.unparse(node).splitlines()[0]
                yield file, node.lineno, f"{name}: {text[:90]}", broken(tree, path, change)


def outcome(copy_of, file, limit=None):
    """Run the tests of a file in the copy; return killed, survived or out of time."""
    for environment, arguments in PARTS[file][2]:
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *arguments]
        kept = {"NUMBARANK_CACHE_DIR": str(copy_of / ".cache")} | os.environ
        try:
            run = subprocess.run(command, cwd=copy_of, env=kept | environment, capture_output=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return "out of time"
        if run.returncode:
            return "killed"
    return "survived"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--sample", type=int, help="how many breaks to try, at random; all by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    files = arguments.files or list(PARTS)
    breaks = list(all_breaks(files))
    chosen = range(len(breaks))
    if arguments.sample is not None and arguments.sample < len(breaks):
        chosen = sorted(random.Random(arguments.seed).sample(chosen, arguments.sample))

    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        copy_of = pathlib.Path(folder, "copy")
        shutil.copytree(ROOT, copy_of, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info"))
        for file in files:
            if outcome(copy_of, file) != "survived":
                sys.exit(f"the tests of {file} fail as it is")
        for k in chosen:
            file, line, what, source = breaks[k]
            start, original = time.monotonic(), (copy_of / file).read_text()
            (copy_of / file).write_text(source)
            result = outcome(copy_of, file, PARTS[file][1])
            (copy_of / file).write_text(original)
            counts[file, result] = counts.get((file, result), 0) + 1
            print(f"{result:11} {time.monotonic() - start:5.1f}s {file}:{line} {what}", flush=True)
    for (file, result), count in sorted(counts.items()):
        print(f"{file}: {count} {result}")


if __name__ == "__main__":
    main()
