"""Where a timing run took place: machine, versions, threads."""

import importlib.metadata
import os
import platform
from pathlib import Path

import ceilings
import numba
import numpy as np
from contestants import PACKAGES, PEERS

import numbarank as nr


def environment(device):
    """Return what a row must name: machine, versions, threads and threading layer, and how busy others keep it."""
    names = ["numpy", "numba", "llvmlite", *dict.fromkeys(PACKAGES.get(peer, peer) for peer in PEERS)]
    versions = {"python": platform.python_version(), "numbarank": nr.__version__}
    return {
        "machine": machine(device),
        "versions": versions | {name: version for name in names if (version := _version(name))},
        "threads": numba.get_num_threads(),
        "threading_layer": _threading_layer(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def described(where):
    """Return an environment in three lines: the machine, the versions, the threads."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"{where['machine']}\n{versions}\n{where['threads']} threads ({where['threading_layer']})"


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threading_layer():
    ceilings.start_threads(np.empty(1000))
    return numba.threading_layer()


def machine(device):
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
