"""Compiled loops on disk, so that the next process starts fast.

Each file holds one loop for one combination of types. Its name is a hash of everything that the machine code depends
on: the sources of the loops and formulas, the types, the processor, the versions and numba's settings. Code of another
version is therefore never found. The files are pickles: a folder that somebody else could write to is not used at
all. Whatever goes wrong here means compiling, never an error.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core import caching, compiler, serialize
from numba.core.runtime import rtsys

SWITCH = "NUMBARANK_CACHE"
FOLDER = "NUMBARANK_CACHE_DIR"
_PACKAGE = Path(__file__).parent.parent
_NO_INFLUENCE = {"NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_PERFORMANCE_WARNINGS"}


class DiskCache(caching.NullCache):
    """What numba asks for compiled code: finds it on disk, or keeps there what was compiled.

    Parameters
    ----------
    name : str
        Tells loops with the same types apart.
    """

    def __init__(self, name):
        self._name = name

    def load_overload(self, sig, target_context):
        try:
            data = _read(self._path(sig, target_context))
            if data is None:
                return None
            rtsys.initialize(target_context)
            return compiler.CompileResult._rebuild(target_context, *pickle.loads(data))
        except Exception:
            return None

    def save_overload(self, sig, data):
        with contextlib.suppress(Exception):
            _write(self._path(sig, data.target_context), serialize.dumps(data._reduce()))

    def _path(self, sig, target_context):
        folder = private_folder()
        if folder is None:
            return None
        parts = (self._name, str(sig), repr(target_context.codegen().magic_tuple()), _environment())
        return folder / hashlib.sha256("\0".join(parts).encode()).hexdigest()


def private_folder():
    """Return the folder of the cache, made if need be, or None where it is switched off or not ours alone."""
    if os.environ.get(SWITCH, "1") == "0" or not hasattr(os, "geteuid"):
        return None
    chosen = os.environ.get(FOLDER)
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(chosen) if chosen else Path(root, "numbarank")
    if not folder.is_absolute():
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_private(os.lstat(folder)) else None
    except OSError:
        return None


def _is_private(status):
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not others_write and not stat.S_ISLNK(status.st_mode)


@functools.cache
def _environment():
    """Return a hash of the sources, the versions and numba's settings."""
    digest = hashlib.sha256()
    sources = sorted([*_PACKAGE.glob("_cpu/*.py"), *_PACKAGE.glob("losses/*.py")])
    if not sources:
        raise FileNotFoundError("the sources are not there to tell versions of the loops apart")
    for path in sources:
        digest.update(path.read_bytes())
    settings = sorted(
        item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _NO_INFLUENCE
    )
    digest.update(repr((sys.version, numba.__version__, llvmlite.__version__, np.__version__, settings)).encode())
    return digest.hexdigest()


def _read(path):
    """Return what a file of the cache holds, or None where it is missing, damaged or not ours."""
    if path is None:
        return None
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        if not _is_private(os.fstat(file.fileno())):
            return None
        digest, data = file.read(32), file.read()
    return data if hashlib.sha256(data).digest() == digest else None


def _write(path, data):
    """Write a file of the cache at once or not at all, whoever else writes it."""
    if path is None:
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
