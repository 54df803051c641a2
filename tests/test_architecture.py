"""The layers: which imports which, and what a formula may not contain."""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "numbarank"
FILES = sorted(PACKAGE.rglob("*.py"))

# layer -> the layers of ours it may import (its own files always), and the packages that it may
LAYERS = {
    "__init__": ({"losses", "_groups", "_tensor"}, set()),
    "__main__": ({"public", "_calls", "_cpu", "_dispatch"}, {"numpy", "numba", "llvmlite"}),
    "_calls": ({"public"}, {"numpy"}),
    "losses": ({"_arguments", "_contract", "_dispatch", "_groups", "_hinge", "_reduction", "_tensor"}, {"numpy"}),
    "_contract": (set(), set()),
    "_groups": ({"_arguments"}, {"numpy"}),
    "_tensor": ({"_dispatch", "_arguments"}, {"numpy"}),
    "_arguments": ({"_dispatch", "_packages", "_precision", "_reduction"}, {"numpy"}),
    "_packages": (set(), set()),
    "_precision": (set(), {"numpy"}),
    "_reduction": (set(), {"numpy"}),
    "_exact": (set(), set()),
    "_hinge": (set(), set()),
    "_dispatch": ({"_cpu", "_cuda"}, set()),
    "_cpu": ({"_contract", "_exact", "_hinge", "_precision"}, {"numpy", "numba", "llvmlite"}),
    "_cuda": ({"_contract", "_exact", "_hinge", "_packages", "_precision"}, {"numpy", "numba", "llvmlite", "cupy"}),
    "torch": (None, {"numpy", "torch", "ml_dtypes"}),
    "dask": (None, {"numpy", "dask", "numba"}),
    "objectives": (None, {"numpy"}),
}
INTEGRATIONS = {"torch", "dask", "objectives"}
FRAMEWORKS = {"torch", "cupy", "jax", "dask", "lightgbm", "xgboost", "ml_dtypes", "numba_cuda", "numba_cuda_mlir"}


def layer_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path):
    """Full names of everything a file imports, relative imports resolved."""
    package = ("numbarank", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def our_layer(name):
    """The layer of ours that an imported name is of, "public" for the package itself, None for other packages."""
    first, *rest = name.split(".")
    if first != "numbarank":
        return None
    return rest[0] if rest and (rest[0] in LAYERS or (PACKAGE / rest[0]).exists()) else "public"


def wrong_imports(is_wrong):
    """Which files import what they must not: pairs of a file and a name."""
    return [
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in FILES
        for name in imports_of(path)
        if is_wrong(path, name)
    ]


def test_there_is_something_to_read():
    assert {"__init__", "losses", "_tensor", "_arguments", "_groups", "_reduction", "_dispatch", "_cpu", "_cuda"} <= {
        layer_of(path) for path in FILES
    }


def test_every_file_has_a_layer():
    assert {layer_of(path) for path in FILES} <= set(LAYERS), "a layer is new: give it a line in the table"


def test_layers_import_what_they_may():
    def is_wrong(path, name):
        allowed, layer = LAYERS[layer_of(path)][0], our_layer(name)
        return layer not in (None, layer_of(path)) and layer not in ({"public"} if allowed is None else allowed)

    assert not wrong_imports(is_wrong)


def test_packages_are_imported_by_their_layers_alone():
    def is_wrong(path, name):
        first = name.split(".")[0]
        return first not in {"numbarank", *sys.stdlib_module_names, *LAYERS[layer_of(path)][1]}

    assert not wrong_imports(is_wrong)


def test_only_the_cuda_backend_imports_numba_cuda():
    def is_numba_cuda(path, name):
        return name.split(".")[:2] == ["numba", "cuda"] or "numba_cuda" in name

    assert {path.split("/")[0] for path, _ in wrong_imports(is_numba_cuda)} == {"_cuda"}


def test_nothing_inside_imports_an_integration():
    assert not wrong_imports(lambda path, name: our_layer(name) in INTEGRATIONS and our_layer(name) != layer_of(path))


def test_dispatch_imports_its_backends_inside_functions():
    tree = ast.parse((PACKAGE / "_dispatch.py").read_text())
    at_the_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    text = " ".join(ast.unparse(node) for node in at_the_top)
    assert "_cpu" not in text and "_cuda" not in text
    # not by a name in a text, which neither this file nor a tool that packs programs would see
    assert {"numbarank._cpu", "numbarank._cuda"} <= set(imports_of(PACKAGE / "_dispatch.py"))


def parameters(function):
    return [
        name for name, one in inspect.signature(function).parameters.items() if one.kind <= one.POSITIONAL_OR_KEYWORD
    ]


@pytest.mark.parametrize("name", ["ArraysBackend", "PairsBackend", "GroupsBackend", "RetrievalBackend"])
def test_the_backends_keep_the_contract(device, name):
    contract = getattr(importlib.import_module("numbarank._contract"), name)
    module = importlib.import_module(f"numbarank._{device}.{name.removesuffix('Backend').lower()}")
    promised = {name: one for name, one in vars(contract).items() if isinstance(one, staticmethod)}
    assert promised
    for method, one in promised.items():
        assert parameters(getattr(module, method)) == parameters(one), method
    assert all(hasattr(module, constant) for constant in contract.__annotations__)


def test_the_oracle_knows_nothing_of_the_library():
    reference = pathlib.Path(__file__).with_name("reference.py")
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(ast.parse(reference.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names - set(sys.stdlib_module_names) == {"numpy", "ml_dtypes"}


# ---------------------------------------------------------------- formulas


def formulas():
    for path in [*sorted((PACKAGE / "losses").glob("*.py")), PACKAGE / "_hinge.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name in ("value", "slope", "violation"):
                yield pytest.param(node, id=f"{path.stem}.{node.name}")


def test_losses_have_their_formulas():
    found = {parameter.id for parameter in formulas()}
    assert {"margin_ranking.value", "margin_ranking.slope", "_hinge.violation"} <= found


@pytest.mark.parametrize("formula", list(formulas()))
def test_formulas_are_plain_scalar_arithmetic(formula):
    body = [node for statement in formula.body for node in ast.walk(statement)]
    literals = [node.value for node in body if isinstance(node, ast.Constant) and isinstance(node.value, float)]
    names = {node.id for node in body if isinstance(node, ast.Name)}
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.Attribute)
    assert not literals, "a float literal widens float32 arithmetic"
    assert not names & {"max", "min", "abs", "np", "numpy", "numba", "cuda", "math"}
    assert not [node for node in body if isinstance(node, loops)]
    assert not formula.decorator_list, "the backends compile a formula, it does not compile itself"


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path) == "losses"], ids=lambda path: path.name)
def test_losses_name_no_compiler(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not names & {"numba", "njit", "prange", "cuda"}


# ---------------------------------------------------------------- what an import brings along


IMPORTED = """
import sys
import numbarank as nr
nr.margin_ranking_loss([1.0], [3.0], [1.0])
nr.MarginRankingLoss()(nr.tensor([1.0], requires_grad=True), nr.tensor([3.0]), 1).backward()
print(*sorted(sys.modules))
"""


def test_numpy_arrays_load_neither_cuda_nor_a_framework():
    output = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True).stdout
    modules = set(output.split())
    assert "numbarank.losses.margin_ranking" in modules
    assert not {name.split(".")[0] for name in modules} & FRAMEWORKS
    assert not [name for name in modules if name == "numba.cuda" or name.startswith("numba.cuda.")]


def test_public_names():
    import numbarank as nr

    names = ["margin_ranking_loss", "margin_ranking_loss_and_grad", "MarginRankingLoss"]
    names += ["pairwise_hinge_loss", "pairwise_hinge_loss_and_grad", "PairwiseHingeLoss", "Groups"]
    names += ["retrieval_hinge_loss", "retrieval_hinge_loss_and_grad", "hard_negatives"]
    names += ["Tensor", "tensor", "zeros", "ones", "randn"]
    assert set(names) <= set(nr.__all__)
    for name in nr.__all__:
        assert hasattr(nr, name)
    assert nr.__version__


def test_the_reliability_page_names_tests_that_exist():
    tests = pathlib.Path(__file__).parent
    page = (tests.parent / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(?:(tests/test_\w+\.py)::)?(test_\w+)`", page)
    assert named
    defined = {path: set(re.findall(r"def (test_\w+)", path.read_text())) for path in tests.glob("test_*.py")}
    for file, name in named:
        assert any(name in names for path, names in defined.items() if not file or path.name == file[6:]), name


def test_the_emulated_driver_runs_tests_that_exist():
    root = PACKAGE.parent
    script = (root / ".ci" / "emulate").read_text()
    names = ",".join(re.findall(r"=\(tests/test_\{(.*)\}\.py\)", script)).split(",")
    tests = "\n".join((root / f"tests/test_{name}.py").read_text() for name in names)
    chosen = re.findall(r'^(?:pairs|lists|highest|others|memory|each|tables)="(.*)"$', script, re.MULTILINE)
    words = set(re.findall(r"\w+_\w+", " ".join(chosen)))
    assert len(words) > 15
    assert not [word for word in words if not re.search(rf"def test\w*{word}|def {word}", tests)]
