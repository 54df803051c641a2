"""What all tests share: the device that they run on, one cache of compiled loops, and a report of what was left out."""

import collections
import functools
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from helpers import SIMULATOR
from numba import types
from numba.np.numpy_support import as_dtype

# the same examples in every run; a first call compiles, so that no deadline makes sense
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=8 if SIMULATOR else 40
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("repeatable"), max_examples=200)
hypothesis.settings.load_profile("repeatable")


collect_ignore = ["conftest.py", "typed_use.py"]  # they hold no examples
deselected = collections.Counter()  # why -> how many tests


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if SIMULATOR else "cpu",
        help="where the device tests run; cuda is the simulator under NUMBA_ENABLE_CUDASIM=1",
    )
    parser.addoption(
        "--require",
        default="",
        metavar="NAMES",
        help="packages and threading layers, with commas between them: a test that is skipped for lack of one fails",
    )


def pytest_configure(config):
    use_one_cache(config)
    if SIMULATOR:  # its threads wait for each other at barriers: switch between them often
        sys.setswitchinterval(1e-4)
        importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared.array = shared_array
        simulated = importlib.import_module("numba.cuda")
        simulated.device_array = functools.partial(filled_array, simulated.device_array)
    # numba-cuda 0.30 reads a name that NumPy 2.5 dropped; the library itself never patches NumPy
    if config.getoption("--device") == "cuda" and not SIMULATOR and not hasattr(np, "row_stack"):
        np.row_stack = np.vstack


def use_one_cache(config):
    """Keep compiled loops in one folder for the run: its processes share them, the next run compiles again."""
    if not os.environ.get("NUMBARANK_CACHE_DIR"):
        folder = os.environ["NUMBARANK_CACHE_DIR"] = tempfile.mkdtemp(prefix="numbarank-tests-")
        config.add_cleanup(lambda: os.environ.pop("NUMBARANK_CACHE_DIR"))
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def shared_array(shared, shape, dtype):
    """Return a block's shared array; the simulator's own makes two of them where two threads ask at the same time."""
    caller = sys._getframe(1)
    memory = np.empty(shape, as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
    return shared._allocations.setdefault((caller.f_code, caller.f_lineno), memory)


def filled_array(device_array, *arguments, **settings):
    """Return an array of large numbers: memory that was free may hold what is expected."""
    array = device_array(*arguments, **settings)
    array._ary.reshape(-1).view(np.uint8).fill(0x7F)
    return array


# ---------------------------------------------------------------- the device


def pytest_report_header(config):
    if SIMULATOR:
        return "device tests run on the CUDA simulator"
    if config.getoption("--device") == "cuda":
        return "device tests run on the GPU"
    return "device tests run on the CPU; `make sim` runs them, and those of CUDA alone, on the CUDA simulator"


@pytest.fixture(scope="session")
def device(request):
    """The device under test, "cpu" or "cuda"."""
    return request.config.getoption("--device")


@pytest.fixture(scope="session")
def cpu(device):
    """For tests about NumPy's own arrays and about CPU threads."""
    return device


@pytest.fixture(scope="session")
def cuda(device):
    """For tests about device arrays."""
    return device


@pytest.fixture(scope="module")
def products(device):
    """For tests with matrix products: without CuPy, NumPy computes those of device arrays."""
    with pytest.MonkeyPatch.context() as patch:
        if device == "cuda" and importlib.util.find_spec("cupy") is None:
            module = importlib.import_module("numbarank._cuda.products")
            patch.setattr(module, "check", lambda: None)
            patch.setattr(module, "matmul", product_on_host)
        yield


def product_on_host(a, b, out, stream, transpose_a=False, transpose_b=False):
    to_host = importlib.import_module("numbarank._cuda.arrays").to_host
    a, b = to_host(a), to_host(b)
    with np.errstate(all="ignore"):
        out.copy_to_device(np.matmul(a.T if transpose_a else a, b.T if transpose_b else b), stream=stream)


@pytest.fixture(scope="session")
def simulator():
    """For tests that make up device memory."""


def why_not(item, device):
    """Say why a test is not for the device under test, or return None."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if device == "cpu" and fixtures & {"cuda", "simulator"}:
        return "CUDA alone: `make sim` runs them on the simulator, pytest --device=cuda on a GPU"
    if device == "cuda" and ("cpu" in fixtures or not fixtures & {"device", "cuda", "simulator"}):
        return "the CPU alone: pytest runs them"
    if "simulator" in fixtures and not SIMULATOR:
        return "device memory that is made up: `make sim` runs them"
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    device = config.getoption("--device")
    others = [item for item in items if why_not(item, device)]
    items[:] = [item for item in items if not why_not(item, device)]
    if others:
        config.hook.pytest_deselected(items=others)


# ---------------------------------------------------------------- what was left out


def pytest_deselected(items):
    for item in items:
        why = why_not(item, item.config.getoption("--device"))
        if not why and item.get_closest_marker("slow"):
            why = "much time or memory: pytest -m slow runs them"
        elif not why and item.get_closest_marker("environment"):
            why = """processes, scripts, compilers and more types: pytest -m "not slow" runs them, too"""
        deselected.update([why] if why else [])


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # of one of several processes: the first one writes the report
        session.config.workeroutput["deselected"] = dict(deselected)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    deselected.update(collections.Counter(getattr(node, "workeroutput", {}).get("deselected", {})) - deselected)


def reason_of(report):
    """Say why a test or a file was skipped."""
    reason = report.longrepr[2].removeprefix("Skipped: ")
    integration = re.match(r"unable to import module .*numbarank/(\w+)(?:\.py|/)", reason)
    return f"{integration[1]} is not installed" if integration else reason


def fail_if_required(report, config):
    """A test that is skipped for lack of what must be there has failed."""
    required = [name for name in config.getoption("--require").split(",") if name]
    if report.skipped and any(re.search(rf"\b{re.escape(name)}\b", reason_of(report)) for name in required):
        report.outcome, report.longrepr = "failed", f"skipped although it must run: {reason_of(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return fail_if_required((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return fail_if_required((yield), collector.config)


def pytest_terminal_summary(terminalreporter):
    """A line a reason, however many tests were left out for it."""
    skipped = collections.defaultdict(set)
    for report in terminalreporter.stats.get("skipped", []):
        skipped[reason_of(report)].add(report.nodeid)
    for reason, ids in sorted(skipped.items()):
        files = sorted(Path(id).name for id in ids if "::" not in id)
        tests = [f"tests ({len(ids) - len(files)})"] * (len(ids) > len(files))
        terminalreporter.write_line(f"left out, {reason}: {', '.join(files + tests)}")
    for why, count in sorted(deselected.items()):
        terminalreporter.write_line(f"left out, tests ({count}) of {why}")
