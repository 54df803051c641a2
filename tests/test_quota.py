"""A container's quota of processor time: read from its control groups, and no more threads than it keeps busy."""

import numba
import pytest

from numbarank import __main__
from numbarank._cpu import quota, threads

pytestmark = pytest.mark.usefixtures("cpu")

V2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 31 0:30 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "35 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def tree(root, group, mounts, **files):
    """Write what Linux shows of control groups: names of files have ``__`` for slashes, below ``/sys/fs/cgroup``."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    for name, text in (("cgroup", group), ("mountinfo", mounts)):
        if text is not None:
            (proc / name).write_text(text)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version1(folder, limit, period="100000\n"):
    """Return the two files of a group of version 1."""
    return {f"{folder}__cpu_cfs_quota_us": limit, f"{folder}__cpu_cfs_period_us": period}


CASES = {
    "version 2, a container's own top": (("0::/\n", V2, {"cpu_max": "150000 100000\n"}), 1.5),
    "version 2, a group below": (("0::/a/b\n", V2, {"a__b__cpu_max": "50000 100000\n"}), 0.5),
    "version 2, the one above is smaller": (
        ("0::/a/b\n", V2, {"cpu_max": "max 100000\n", "a__cpu_max": "200000 100000\n", "a__b__cpu_max": "3 1\n"}),
        2.0,
    ),
    "version 2, the one above is larger": (
        ("0::/a/b\n", V2, {"a__cpu_max": "400000 100000\n", "a__b__cpu_max": "300000 100000\n"}),
        3.0,
    ),
    "version 2, a sibling": (("0::/a\n", V2, {"b__cpu_max": "100000 100000\n"}), None),
    "version 2, no quota": (("0::/a\n", V2, {"a__cpu_max": "max 100000\n"}), None),
    "version 2, the name is the one outside": (("0::/../a\n", V2, {"cpu_max": "100000 100000\n"}), 1.0),
    "version 1": (("4:cpu,cpuacct:/a\n", V1.format(top="/"), version1("cpu,cpuacct__a", "250000\n")), 2.5),
    "version 1, nested": (
        (
            "4:cpu,cpuacct:/a/b\n",
            V1.format(top="/"),
            version1("cpu,cpuacct__a", "100000\n") | version1("cpu,cpuacct__a__b", "-1\n"),
        ),
        1.0,
    ),
    "version 1, no quota": (("4:cpu,cpuacct:/\n", V1.format(top="/"), version1("cpu,cpuacct", "-1\n")), None),
    "version 1, the container's group is the mount": (
        ("4:cpu,cpuacct:/docker/7\n", V1.format(top="/docker/7"), version1("cpu,cpuacct", "600000\n")),
        6.0,
    ),
    "version 1 beside version 2 without processors": (
        (
            "0::/\n4:cpu,cpuacct:/\n9:memory:/m\n",
            V2 + V1.format(top="/") + V1_MEMORY,
            version1("cpu,cpuacct", "1\n", "4"),
        ),
        0.25,
    ),
    "usual places without mountinfo": (("0::/a\n", None, {"a__cpu_max": "200000 100000\n"}), 2.0),
    "nothing but version 1's files": ((None, None, version1("cpu", "200000\n")), 2.0),
    "no files": ((None, None, {}), None),
    "only one of version 1's files": (("4:cpu:/\n", None, {"cpu__cpu_cfs_quota_us": "100000\n"}), None),
    "garbage": (("::\n\n0\n0::\n4:cpu\n\x00", "x - cgroup2\n- -\n" + V2[:20], {"cpu_max": "a b c\n"}), None),
    "a name with a null byte": (("0::/a\x00b\n", V2, {"cpu_max": "100000 100000\n"}), 1.0),
    "no period": (("0::/\n", V2, {"cpu_max": "100000 0\n"}), None),
    "negative": (("0::/\n", V2, {"cpu_max": "-5 100000\n"}), None),
    "too large for a float": (("0::/\n", V2, {"cpu_max": "1" + 400 * "0" + " 1\n"}), None),
    "one word": (("0::/\n", V2, {"cpu_max": "100000\n"}), None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, name):
    (group, mounts, files), expected = CASES[name]
    assert quota.cpu_quota(tree(tmp_path, group, mounts, **files)) == expected


def test_what_cannot_be_read_limits_nothing(tmp_path):
    (tmp_path / "sys/fs/cgroup/cpu.max").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/\xff\n")
    assert quota.cpu_quota(tmp_path) is None


# ---------------------------------------------------------------- threads


@pytest.fixture
def host(monkeypatch):
    """A function that pretends a host: its processors, the threads that numba uses, a quota, and NUMBA_NUM_THREADS."""

    threads.layer()  # starts numba's pool

    def pretend(processors, numbas, limit, variable=None):
        monkeypatch.setattr(numba.config, "NUMBA_DEFAULT_NUM_THREADS", processors)
        monkeypatch.setattr(numba, "get_num_threads", lambda: numbas)
        for module in (threads, quota):
            monkeypatch.setattr(module, "cpu_quota", lambda: limit)
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        if variable:
            monkeypatch.setenv("NUMBA_NUM_THREADS", variable)
        threads._unchosen.cache_clear()

    yield pretend
    threads._unchosen.cache_clear()


@pytest.mark.parametrize(
    "processors, numbas, limit, variable, expected",
    [
        (64, 64, None, None, 64),
        (64, 64, 1.5, None, 2),
        (64, 64, 2.0, None, 2),
        (64, 64, 0.1, None, 1),
        (4, 4, 6.0, None, 4),
        (64, 64, 2.0, "64", 64),  # NUMBA_NUM_THREADS, even where it is the number that numba takes by itself
        (64, 8, 2.0, "8", 8),
        (64, 8, 2.0, None, 8),  # numba.set_num_threads
        (64, 1, 2.0, None, 1),
    ],
)
def test_who_chooses_a_number_gets_it_and_others_stay_within_the_quota(
    host, processors, numbas, limit, variable, expected
):
    host(processors, numbas, limit, variable)
    assert threads.most() == threads.count() == expected


def test_the_quota_is_read_once_for_all_calls(host, monkeypatch):
    host(64, 64, 2.0)
    assert threads.most() == 2
    monkeypatch.setattr(threads, "cpu_quota", lambda: 7.0)
    assert threads.most() == 2


@pytest.mark.parametrize(
    "numbas, limit, rows",
    [
        (64, None, ("64 (", "none")),
        (64, 1.5, ("2 (", "1.5 processors")),
        (8, 1.5, ("8 (", "1.5 processors, but a user chose the number of threads")),
    ],
)
def test_the_report_names_quota_and_threads(host, numbas, limit, rows):
    host(64, numbas, limit)
    report = dict(__main__.report())
    assert report["threads"].startswith(rows[0])
    assert report["CPU quota"] == rows[1]
