"""Compiled loops on disk, so that the next process starts fast.

Each file holds one loop for one combination of types. Its name is a hash of everything that the machine code depends
on: the functions and constants of the loop, the types, the processor, the versions and numba's settings. Code of
another version is therefore never found. The files are pickles: a folder that somebody else could write to is not used
at all. One of root's, out of everybody else's reach, may be read by every user, as installed packages are. Whatever
goes wrong here means compiling, never an error.
"""

import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core import caching, compiler, serialize
from numba.core.runtime import rtsys

from numbarank._cpu.fingerprint import fingerprint

SWITCH = "NUMBARANK_CACHE"
FOLDER = "NUMBARANK_CACHE_DIR"
NUMBAS_FOLDER = "NUMBA_CACHE_DIR"
_NO_INFLUENCE = {
    "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", NUMBAS_FOLDER, "NUMBA_DISABLE_JIT",
    "NUMBA_DISABLE_PERFORMANCE_WARNINGS",
}  # fmt: skip


class DiskCache(caching.NullCache):
    """What numba asks for compiled code: finds it on disk, or keeps there what was compiled.

    Parameters
    ----------
    name : str
        Tells loops with the same types apart.
    roots : sequence of functions and classes
        What the machine code is made of, with all that they reach.

    Attributes
    ----------
    problem : Exception or None
        Why a loop of this process could not be kept: the last reason.
    """

    problem = None

    def __init__(self, name, roots):
        self._name = name
        self._roots = roots

    def load_overload(self, sig, target_context):
        try:
            where = place()
            data = where.folder and _read(self._path(where.folder, sig, target_context), where.owners)
            if data is None:
                return None
            rtsys.initialize(target_context)
            return compiler.CompileResult._rebuild(target_context, *pickle.loads(data))
        except Exception:
            return None

    def save_overload(self, sig, data):
        try:
            where = place()
            if where.is_ours:
                _write(self._path(where.folder, sig, data.target_context), serialize.dumps(data._reduce()))
        except Exception as error:
            DiskCache.problem = error

    def _path(self, folder, sig, target_context):
        processor = repr(target_context.codegen().magic_tuple())
        parts = self._name, fingerprint(*self._roots), str(sig), processor, _environment()
        return folder / hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Place(NamedTuple):
    """Where the cache is, or why there is none. Only this user writes to it if it is ours, else only root.

    Files of these owners are read. The advice says how to get a cache that can be written; "" where none can be had.
    """

    folder: Path | None
    problem: str | None = None
    advice: str = f"set {FOLDER} to an absolute path that only you can write to"
    is_ours: bool = False
    owners: tuple = ()


def place():
    """Return the place of the cache, its folder made if need be."""
    if os.environ.get(SWITCH, "1") == "0":
        return Place(None, problem=f"switched off by {SWITCH}=0", advice=f"unset {SWITCH}")
    if not hasattr(os, "geteuid"):
        return Place(None, problem="files have no owners on this system", advice="")
    folder = _chosen_folder() or Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "numbarank")
    if not folder.is_absolute():
        return Place(None, problem=f"{folder} is not an absolute path")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        us = os.geteuid()
        if _is_safe(os.lstat(folder), (us,)):
            return Place(folder, is_ours=True, owners=(us,))
        return _place_of_root(folder, (0, us))
    except OSError as error:
        return Place(None, problem=f"{folder} cannot be made or reached: {error.strerror}")


def _chosen_folder():
    """Return the folder that our setting names, or one of our own in numba's folder if that is set, or None."""
    if folder := os.environ.get(FOLDER):
        return Path(folder)
    return Path(folder, "numbarank") if (folder := os.environ.get(NUMBAS_FOLDER)) else None


def _place_of_root(folder, owners):
    """Return the place of a folder of root's, to be read, if everything above it keeps it where it is.

    Who can write to a folder above could put there, at any time, another one that root filled for something else. The
    path is used without its links, since these could change too.
    """
    real = Path(os.path.realpath(folder.parent), folder.name)
    if not _is_safe(os.lstat(real), (0,)):
        return Place(None, problem=f"{folder} is a link, belongs to another user, or others can write to it")
    if not all(_keeps_names(os.lstat(parent), owners) for parent in real.parents):
        return Place(None, problem=f"others can change a folder above {real}")
    return Place(real, owners=owners)


def _is_safe(status, owners):
    """Tell whether a file or folder is no link, and nobody but these owners can write to it."""
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in owners and not others_write and not stat.S_ISLNK(status.st_mode)


def _keeps_names(status, owners):
    """Tell whether nobody but these owners can rename what is theirs in a folder, as in a sticky one like /tmp."""
    return status.st_uid in owners and (bool(status.st_mode & stat.S_ISVTX) or _is_safe(status, owners))


@functools.cache
def _environment():
    """Return the versions and numba's settings."""
    settings = sorted(
        item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _NO_INFLUENCE
    )
    return repr((sys.version, numba.__version__, llvmlite.__version__, np.__version__, settings))


def _read(path, owners):
    """Return what a file of the cache holds, or None where it is damaged or others than its owners could write it."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        if not _is_safe(os.fstat(file.fileno()), owners):
            return None
        digest, data = file.read(32), file.read()
    return data if hashlib.sha256(data).digest() == digest else None


def _write(path, data):
    """Write a file of the cache at once or not at all, whoever else writes it.

    Only its owner may read it, but for a folder of root's that was chosen, and that others may read.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            if _chosen_folder() and _is_open_to_all(os.lstat(path.parent)):
                os.fchmod(handle, 0o644)
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _is_open_to_all(status):
    """Tell whether a folder is root's and others may list and enter it."""
    to_read = stat.S_IROTH | stat.S_IXOTH
    return status.st_uid == 0 and status.st_mode & to_read == to_read
