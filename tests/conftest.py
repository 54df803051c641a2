"""Which device the tests run on: the CPU, the CUDA simulator or a GPU."""

import importlib
import importlib.metadata
import sys

import hypothesis
import numpy as np
import pytest
from helpers import SIMULATOR
from numba import types
from numba.np.numpy_support import as_dtype

# the same examples in every run; a first call compiles, so that no deadline makes sense
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=8 if SIMULATOR else 100
)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if SIMULATOR else "cpu",
        help="where the device tests run; cuda is the simulator under NUMBA_ENABLE_CUDASIM=1",
    )


def pytest_configure(config):
    if SIMULATOR:  # its threads wait for each other at barriers: switch between them often
        sys.setswitchinterval(1e-4)
        importlib.import_module("numba.cuda.simulator.kernelapi").FakeCUDAShared.array = shared_array
    # numba-cuda 0.30 reads a name that NumPy 2.5 dropped; the library itself never patches NumPy
    if config.getoption("--device") == "cuda" and not SIMULATOR and not hasattr(np, "row_stack"):
        np.row_stack = np.vstack


def shared_array(shared, shape, dtype):
    """Return a block's shared array; the simulator's own makes two of them where two threads ask at the same time."""
    caller = sys._getframe(1)
    memory = np.empty(shape, as_dtype(dtype) if isinstance(dtype, types.Type) else dtype)
    return shared._allocations.setdefault((caller.f_code, caller.f_lineno), memory)


def pytest_report_header(config):
    device = config.getoption("--device")
    where = "the CUDA simulator" if SIMULATOR else "the GPU" if device == "cuda" else "the CPU"
    return [
        f"device tests run on {where}"
        + ("" if device == "cuda" else "; `make sim` runs the CUDA kernels under the simulator"),
        "torch parity tests: " + _version_of("torch", "skipped, torch is not installed"),
    ]


def _version_of(package, otherwise):
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return otherwise


@pytest.fixture(scope="session")
def device(request):
    """The device under test, "cpu" or "cuda"."""
    return request.config.getoption("--device")


@pytest.fixture(scope="session")
def cpu(device):
    """For tests about NumPy's own kinds of array and about CPU threads."""
    if device != "cpu":
        pytest.skip("about NumPy arrays on the CPU")
    return device


@pytest.fixture(scope="session")
def cuda(device):
    """For tests about device arrays."""
    if device != "cuda":
        pytest.skip("needs CUDA: run `make sim` for the simulator, or pytest --device=cuda on a machine with a GPU")
    return device
