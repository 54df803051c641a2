"""What is said of a release agrees in all places, and sdist and wheel hold what they should."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import numbarank as nr

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
CITATION = dict(re.findall(r"^(\S+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
RECIPE = (ROOT / "packaging/conda/recipe.yaml").read_text()


def lines_of(section, name):
    return SETUP[section][name].strip().splitlines()


# ---------------------------------------------------------------- one release, said in several places


def test_changelog_and_citation_agree_with_the_version():
    newest, date = re.search(r"^## \[(.+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M).groups()
    assert newest == CITATION["version"] == nr.__version__
    assert date == CITATION["date-released"]


def test_the_citation_names_authors_and_licence_of_the_metadata():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["license"] == SETUP["metadata"]["license_expression"]
    assert f"authors:\n  - name: {SETUP['metadata']['author']}\n" in (ROOT / "CITATION.cff").read_text()
    assert SETUP["metadata"]["author"] in (ROOT / "LICENSE").read_text()


def test_the_classifiers_are_the_pythons_that_ci_runs_and_the_readme_calls_tested():
    prefix = "Programming Language :: Python :: 3."
    claimed = {line.removeprefix(prefix) for line in lines_of("metadata", "classifiers") if line.startswith(prefix)}
    tested = re.search(r"^Tested on Linux.*?\n\n", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    lanes = re.findall(r"^lane (\w+) 3\.(\d+) ", (ROOT / ".ci/run").read_text(), re.M)
    assert claimed == set(re.findall(r"Python\s+3\.(\d+)", tested)) == {version for _, version in lanes}
    numbers = sorted(claimed, key=int)
    assert {"oldest": numbers[0], "newest": numbers[-1]}.items() <= dict(lanes).items()
    assert SETUP["options"]["python_requires"] == f">=3.{numbers[0]}"


def test_ci_takes_no_python_for_another(tmp_path):
    here = "{}.{}".format(*sys.version_info)
    for name in (f"python{here}", "python3.9999"):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    found, none = (
        subprocess.run([ROOT / ".ci/python", version], env=path, capture_output=True, text=True, check=False)
        for version in (here, "3.9999")
    )
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("there is no Python 3.9999 here")


def test_the_conda_recipe_has_the_version_and_the_requirements_of_the_metadata():
    oldest = SETUP["options"]["python_requires"].removeprefix(">=")
    assert re.search(r'^  version: "(.+)"$', RECIPE, re.M)[1] == nr.__version__
    assert re.search(r'^  python_min: "(.+)"$', RECIPE, re.M)[1] == oldest
    run = re.search(r"^  run:\n((?:    - .+\n)+)", RECIPE, re.M)[1]
    required = [line.replace(" ", "") for line in re.findall(r"- (.+)", run)]
    assert required == ["python>=${{python_min}}", *lines_of("options", "install_requires")]
    build = re.search(r'^requires = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert f"    - {build.replace('>=', ' >=')}\n" in RECIPE
    assert f"  summary: {SETUP['metadata']['description']}\n" in RECIPE
    assert f"  license: {SETUP['metadata']['license_expression']}\n" in RECIPE


def test_the_form_for_bugs_asks_for_the_report():
    form = (ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text()
    required = re.findall(r"label: (.+)\n(?:(?!  - type).*\n)*?    validations:\n      required: true", form)
    assert "Output of python -m numbarank" in required


# ---------------------------------------------------------------- sdist and wheel


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder of an sdist and its wheel, built in a copy that holds nothing of earlier builds."""
    if find_spec("build") is None:
        pytest.skip("build is not installed")
    folder = tmp_path_factory.mktemp("release")
    left_out = shutil.ignore_patterns(".git", ".*_cache", ".hypothesis", "*venv*", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, folder / "numbarank", ignore=left_out)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "numbarank"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "dist"


def package_files():
    folder = ROOT / "numbarank"
    files = [path for suffix in ("*.py", "*.pyi", "py.typed") for path in folder.rglob(suffix)]
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.environment
def test_the_wheel_holds_the_package_and_nothing_else(dist):
    wheel = dist / f"numbarank-{nr.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith(f"numbarank-{nr.__version__}.dist-info/")}
    assert names - metadata == package_files()
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)


@pytest.mark.environment
def test_the_sdist_holds_what_tests_docs_and_packagers_need(dist):
    with tarfile.open(dist / f"numbarank-{nr.__version__}.tar.gz") as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    expected = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "CONTRIBUTING.md", "Makefile"}
    expected |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*.py")}
    expected |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")}
    expected |= {".ci/run", "docs/hinge.svg", "scripts/recommend_movies.py", "packaging/conda/recipe.yaml"}
    assert names >= expected | package_files()
    assert not [name for name in names if name.endswith(".pyc") or ".git/" in name]
