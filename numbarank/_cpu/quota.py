"""How much of the processors' time Linux's control groups leave this process, as containers set it."""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MOUNT = re.compile(r"\S+ \S+ \S+ (?P<top>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)")
_USUAL_MOUNTS = {"cgroup2": ["/sys/fs/cgroup"], "cgroup": ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]}


class Mount(NamedTuple):
    """Where a hierarchy of control groups is to be seen, and which group of it is seen there."""

    point: str
    top: str


def cpu_quota(root="/"):
    """Return how many processors' worth of time this process may use, or None where nothing limits it.

    The smallest quota counts of its own control group and of those above. What cannot be read limits nothing.

    Parameters
    ----------
    root : path-like
        The folder that ``/proc`` and all mounts are in.
    """
    quotas = [_quota_of(folder) for folder in _folders(Path(root))]
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(root):
    """Yield the folders of this process's control groups, and those above them, as far as they are to be seen."""
    groups = _groups(root)
    for kind, mounts in _mounts(root).items():
        group = PurePosixPath(groups.get(kind, "/"))
        for mount in mounts:
            folder = root / mount.point.lstrip("/")
            yield folder
            # a container may see its own group as the top, and yet be told its name outside
            is_below = group.is_relative_to(mount.top) and ".." not in group.parts
            for part in group.relative_to(mount.top).parts if is_below else ():
                folder /= part
                yield folder


def _groups(root):
    """Return the group of this process in the hierarchy of version 2, and in the one of version 1 for processors."""
    groups = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            groups["cgroup2"] = group
        elif "cpu" in controllers.split(","):
            groups["cgroup"] = group
    return groups


def _mounts(root):
    """Return the mounts of both hierarchies."""
    mounts = {kind: [Mount(point, "/") for point in points] for kind, points in _USUAL_MOUNTS.items()}
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount = _MOUNT.match(line)
        if mount and (mount["kind"] == "cgroup2" or "cpu" in mount["options"].split(",")):
            mounts[mount["kind"]].append(Mount(mount["point"], mount["top"]))
    return mounts


def _quota_of(folder):
    """Return the quota of a control group: version 2 has it in one file, version 1 in two."""
    words = _text(folder / "cpu.max") or f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"
    try:
        quota, period = map(int, words.split())
        return quota / period if quota > 0 and period > 0 else None
    except (ValueError, OverflowError):  # such as "max 100000", or no file
        return None


def _text(path):
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):
        return ""
