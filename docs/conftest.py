"""The examples of a page about another package are skipped where that package is missing."""

from importlib.util import find_spec

import pytest

collect_ignore = ["conf.py"]  # it is Sphinx's
collect_ignore_glob = ["examples/*.py"]  # scripts: tests/test_examples.py runs them

NEEDED = {
    "arrays.md": ("torch",),
    "boosting.md": ("lightgbm", "sklearn", "xgboost"),
    "distributed.md": ("dask", "distributed"),
    "first-questions.md": ("ml_dtypes",),
    "torch.md": ("torch",),
}


def pytest_itemcollected(item):
    missing = [package for package in NEEDED.get(item.path.name, ()) if find_spec(package) is None]
    if missing:
        item.add_marker(pytest.mark.skip(reason=f"{missing[0]} is not installed"))
