"""``python -m numbarank``: the report for bugs, and the disk cache filled beforehand."""

import errno
import importlib.metadata
import inspect
import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import SIMULATOR
from test_disk_cache import COMPILATIONS, FULL_DISK, run

import numbarank as nr
from numbarank import __main__, _calls
from numbarank._cpu import cache

MEND = "set NUMBARANK_CACHE_DIR to an absolute path that only you can write to"
# the calls that are made by COMPILATIONS, and no others
FEW_CALLS = """
import sys
from numbarank import __main__, _calls
import numbarank as nr
def losses(x1, x2, y):
    if isinstance(y, float):
        nr.margin_ranking_loss(x1, x2, y)
_calls.PAIRS, _calls.PAIR_CALLS = (1,), (losses,)
status = __main__.main(["compile", "--dtypes", "float64"])
print("status", status)
"""


def command(*arguments, folder=None, **environment):
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", ""), **environment}
    if folder is not None:
        variables["NUMBARANK_CACHE_DIR"] = str(folder)
    return subprocess.run(
        [sys.executable, "-m", "numbarank", *arguments],
        cwd=Path(nr.__file__).parent.parent,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def table(printed):
    """Return the two columns of a report."""
    return dict(line.strip().split("  ", 1) for line in printed.splitlines())


def test_the_report_names_versions_threads_cuda_and_the_cache(cpu, tmp_path):
    result = command(folder=tmp_path / "cache", NUMBA_NUM_THREADS="1")
    assert (result.returncode, result.stderr) == (0, "")
    rows = {name: text.strip() for name, text in table(result.stdout).items()}
    assert (rows["numbarank"], rows["numba"], rows["NumPy"]) == (nr.__version__, numba.__version__, np.__version__)
    assert rows["Python"].startswith(platform.python_version())
    assert rows["llvmlite"] == importlib.metadata.version("llvmlite")
    assert rows["threads"].startswith("1 (")
    assert rows["disk cache"] == str(tmp_path / "cache")
    assert (rows["can be written"], rows["holds"]) == ("yes", "0 files, 0.0 MB")
    assert rows["NUMBA_NUM_THREADS"] == "1"
    assert "CUDA" in rows


def test_the_columns_are_aligned(cpu, capsys):
    __main__.print_table([("a", "1"), ("longer", "2")])
    assert capsys.readouterr().out == "a       1\nlonger  2\n"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the cache needs POSIX owners and permissions")
def test_the_report_says_why_there_is_no_cache(cpu, tmp_path, monkeypatch):
    open_to_all, file = tmp_path / "open", tmp_path / "file"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file.write_text("no folder")
    for folder, reason in [
        (open_to_all, f"{open_to_all} is a link, belongs to another user, or others can write to it"),
        (file / "cache", f"{file / 'cache'} cannot be made or reached: Not a directory"),
        ("relative", "relative is not an absolute path"),
    ]:
        monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(folder))
        assert dict(__main__.report())["disk cache"] == f"none: {reason}; every process compiles again: {MEND}"
    monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(tmp_path / "mine alone"))
    assert dict(__main__.report())["  can be written"] == "yes"
    monkeypatch.setenv("NUMBARANK_CACHE", "0")
    reason, advice = "switched off by NUMBARANK_CACHE=0", "unset NUMBARANK_CACHE"
    assert dict(__main__.report())["disk cache"] == f"none: {reason}; every process compiles again: {advice}"
    monkeypatch.delenv("NUMBARANK_CACHE")
    assert dict(__main__.report())["  can be written"] == "yes"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the cache needs POSIX owners and permissions")
def test_the_report_says_how_to_get_a_cache_where_the_home_is_read_only(cpu, tmp_path, monkeypatch):
    home = tmp_path / "home"
    for name in ("NUMBARANK_CACHE_DIR", "NUMBARANK_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    folder = cache.place().folder
    assert folder == home / ".cache/numbarank"
    monkeypatch.setattr(os, "access", lambda path, mode: home not in Path(path).parents)  # root may write everywhere
    expected = f"no: {folder} is read-only; what it does not hold, every process compiles again: {MEND}"
    assert dict(__main__.report())["  can be written"] == expected

    def mkdir(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        expected = (
            f"none: {folder} cannot be made or reached: Read-only file system; every process compiles again: {MEND}"
        )
        assert dict(__main__.report())["disk cache"] == expected
    monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(tmp_path / "mine alone"))
    assert dict(__main__.report())["  can be written"] == "yes"


@pytest.mark.skipif(SIMULATOR, reason="the simulator takes the place of a GPU")
def test_the_report_says_in_a_line_why_there_is_no_cuda(cpu, monkeypatch):
    def backend(device):
        raise RuntimeError("CUDA cannot be used here: two\n  lines")

    monkeypatch.setattr(__main__._dispatch, "backend", backend)
    assert dict(__main__.report())["CUDA"] == "cannot be used here: two lines"


def test_compiling_fills_the_cache(cpu, tmp_path):
    folder = tmp_path / "cache"
    *_, summary, status = run(FEW_CALLS, folder).splitlines()
    assert status == "status 0"
    assert summary.startswith(f"{folder}: 1 files, ")
    assert run(COMPILATIONS, folder) == "3.0 False"


def test_compiling_without_a_cache_fails(cpu, tmp_path):
    result = command("compile", NUMBARANK_CACHE="0")
    assert result.returncode == 1
    reason = "switched off by NUMBARANK_CACHE=0: unset NUMBARANK_CACHE"
    assert result.stderr == f"python -m numbarank: nothing can be kept: {reason}\n"
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    result = command("compile", folder=blocked / "cache")
    assert result.returncode == 1
    assert "cannot be made" in result.stderr


def test_compiling_on_a_full_disk_fails(cpu, tmp_path):
    *_, status = run(FULL_DISK + FEW_CALLS, tmp_path / "cache").splitlines()
    assert status == "status 1"


def test_an_unknown_dtype_is_an_error_that_names_the_allowed(cpu):
    result = command("compile", "--dtypes", "float32,float8")
    assert result.returncode == 2
    assert "'float8' is not among the allowed float32, float64, float16, bfloat16" in result.stderr


def test_progress_is_a_line_a_step(cpu, capsys):
    __main__.show_progress(12, 30, "float32: gradients")
    __main__.show_progress(30, 30, "float64: losses")
    assert capsys.readouterr().err == "[####      ] 12/30 float32: gradients\n[##########] 30/30 float64: losses\n"


def test_progress_rewrites_a_terminal_s_line(cpu, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    __main__.show_progress(1, 2, "float32: gradients")
    assert capsys.readouterr().err == "\r[#####     ] 1/2 fl\x1b[K"


def test_steps_have_names_of_their_own():
    names = [step.name for step in _calls.steps(["float32", "float64"], True)]
    assert len(set(names)) == len(names)
    assert "float32: gradients, 60,000 pairs" in names
    assert "float64: lists, 1 of 40,000 rows, int64 labels" in names


def test_all_calls_run_on_a_device(cuda, monkeypatch):
    monkeypatch.setattr(_calls, "PAIRS", (2,))
    monkeypatch.setattr(_calls, "LISTS", ((3, 2),))
    steps = list(_calls.steps(["float32"], has_lists=True, device=cuda))
    assert steps
    for step in steps:
        step.run()


def test_calls_fit_the_public_functions(cpu, monkeypatch):
    seen = set()

    def check(function):
        def called(*arguments, **options):
            inspect.signature(function).bind(*arguments, **options)
            target = getattr(arguments[-1], "dtype", "number")
            seen.add((function.__name__, str(target), options.get("reduction"), options.get("power", 1)))
            return nr.Tensor(0.0, requires_grad=True)

        return called

    for name in nr.__all__:
        if "_loss" in name:
            monkeypatch.setattr(nr, name, check(getattr(nr, name)))
    for step in _calls.steps(["float32"], has_lists=True):
        step.run()
    for target in ("float32", "int8", "int64", "number"):
        for reduction in ("mean", "none"):
            assert ("margin_ranking_loss", target, reduction, 1) in seen
            assert ("margin_ranking_loss_and_grad", target, reduction, 1) in seen
    for labels in ("float32", "int64"):
        for power in (1, 2):
            assert ("pairwise_hinge_loss_and_grad", labels, None, power) in seen
