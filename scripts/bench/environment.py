"""Where a timing run took place: machine, versions, threads."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path

import numba
import numpy as np

import numbarank as nr

PACKAGES = ("torch", "jax", "numexpr")


def environment(device="cpu", packages=PACKAGES):
    """Return what a row must name: machine, versions, threads and threading layer, and how busy others keep it."""
    versions = {"python": platform.python_version(), "numbarank": nr.__version__}
    for name in ("numpy", "numba", "llvmlite", *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    _start_threads(np.empty(1000))
    return {
        "machine": machine(device),
        "versions": versions,
        "threads": numba.get_num_threads(),
        "threading_layer": numba.threading_layer(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


@numba.njit(parallel=True)
def _start_threads(numbers):
    """Start numba's threads, so that it can tell its threading layer."""
    for k in numba.prange(numbers.size):
        numbers[k] = k


def described(where):
    """Return an environment in three lines: the machine, the versions, the threads."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"{where['machine']}\n{versions}\n{where['threads']} threads ({where['threading_layer']})"


def machine(device="cpu"):
    """Return the machine in words: processor, cores, memory and operating system, and the GPU where it is used."""
    words = [f"{_processor()}, {os.cpu_count()} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        words.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB")
    words.append(f"{platform.system()} {platform.machine()}")
    if device == "cuda":
        from numba import cuda

        name = getattr(cuda.current_context().device, "name", "the CUDA simulator")
        words.append(name.decode() if isinstance(name, bytes) else str(name))
    return ", ".join(words)


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
