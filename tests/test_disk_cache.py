"""Compiled loops on disk: found again, never of another version, never from a folder that others can write."""

import compileall
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import numbarank as nr
from numbarank._cpu import cache

pytestmark = [
    pytest.mark.usefixtures("cpu"),
    pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the cache needs POSIX owners and permissions"),
]

environment = pytest.mark.environment
PACKAGE = Path(nr.__file__).parent
LOSS = "import numbarank as nr; print(nr.margin_ranking_loss([1.0], [3.0], 1, margin=1.0))"
COMPILATIONS = """
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import numbarank as nr
    loss = nr.margin_ranking_loss([1.0], [3.0], 1, margin=1.0)
print(loss, len(recorder.buffer) > 0)
"""


READ_ONLY = """
import errno, os, sys
def refuse(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink"):
        raise OSError(errno.EROFS, "Read-only file system")
sys.addaudithook(refuse)
"""
FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
"""
NO_SUCH_USER = """
import os, pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


def run(code, folder=None, package=PACKAGE, **environment):
    """Run code in a fresh process whose cache is in ``folder`` and return what it printed."""
    variables = {"PATH": os.environ["PATH"], **environment}
    if folder is not None:
        variables["NUMBARANK_CACHE_DIR"] = str(folder)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=package.parent,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory):
    """A folder that a first process has filled."""
    folder = tmp_path_factory.mktemp("first") / "cache"
    assert run(COMPILATIONS, folder) == "3.0 True"
    return folder


@pytest.fixture
def filled(first_folder, folder):
    """A copy of it, with the same permissions."""
    return shutil.copytree(first_folder, folder)


def test_a_second_process_compiles_nothing(filled):
    assert run(COMPILATIONS, filled) == "3.0 False"


def test_the_files_are_the_owners_alone(first_folder):
    assert {path.stat().st_mode & 0o777 for path in first_folder.iterdir()} == {0o600}
    assert first_folder.stat().st_mode & 0o777 == 0o700


@environment
def test_the_cache_can_be_switched_off(filled):
    assert run(COMPILATIONS, filled, NUMBARANK_CACHE="0") == "3.0 True"


SUM = """
import numpy as np
import numbarank as nr
losses = np.zeros(129, np.float32)
losses[::64] = 2**24, 1, 1  # one running sum adds them up
print(int(nr.margin_ranking_loss(np.zeros_like(losses), losses, 1, reduction="sum")))
"""


def edited(tmp_path, file, old, new):
    """Return a copy of the package in which every occurrence of a text is another one."""
    package = tmp_path / "copy" / "numbarank"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (PACKAGE / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    return package


@environment
def test_an_edited_formula_and_an_edited_sum_are_compiled_again(tmp_path, folder):
    formula = "losses/margin_ranking.py", "-y * (x1 - x2) + margin\n", "-y * (x1 - x2) + margin + type(margin)(2)\n"
    error = "_exact.py", "(a - (total - part)) + (b - part)", "part - part"
    assert run(SUM, folder) == str(2**24 + 2)
    assert run(SUM, folder, edited(tmp_path / "formula", *formula)) == str(2**24 + 2 + 2 * 129)
    assert run(SUM, folder, edited(tmp_path / "sum", *error)) == str(2**24)


@environment
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"\0" * 4096, lambda data: data[: len(data) // 2]])
def test_a_damaged_file_is_compiled_again(filled, damage):
    for path in filled.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert run(COMPILATIONS, filled) == "3.0 True"
    assert run(COMPILATIONS, filled) == "3.0 False"


def test_a_changed_byte_is_noticed(filled):
    for path in filled.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    assert run(COMPILATIONS, filled) == "3.0 True"


@environment
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_can_write_is_not_used(filled, mode):
    filled.chmod(mode)
    before = sorted(path.name for path in filled.iterdir())
    assert run(COMPILATIONS, filled) == "3.0 True"
    assert sorted(path.name for path in filled.iterdir()) == before


@environment
def test_a_file_that_others_can_write_is_not_used(filled):
    for path in filled.iterdir():
        path.chmod(0o666)
    assert run(COMPILATIONS, filled) == "3.0 True"


class Trespass:
    """Unpickling it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize(
    "mode, is_loaded",
    [(0o700, True), pytest.param(0o720, False, marks=environment), (0o702, False)],
)
def test_what_others_could_have_written_is_not_unpickled(tmp_path, filled, mode, is_loaded):
    trace = tmp_path / "trace"
    data = pickle.dumps(Trespass(trace))
    for path in filled.iterdir():
        path.write_bytes(hashlib.sha256(data).digest() + data)
    filled.chmod(mode)
    assert run(COMPILATIONS, filled) == "3.0 True"
    assert trace.exists() is is_loaded


@environment
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_used(filled):
    for path in filled.iterdir():
        os.chown(path, 12345, -1)
    assert run(COMPILATIONS, filled) == "3.0 True"
    shutil.rmtree(filled)
    filled.mkdir(mode=0o700)
    os.chown(filled, 12345, -1)
    assert run(COMPILATIONS, filled) == "3.0 True"
    assert list(filled.iterdir()) == []


@environment
def test_a_link_to_a_folder_is_not_used(tmp_path, filled):
    link = tmp_path / "link"
    link.symlink_to(filled)
    assert run(COMPILATIONS, link) == "3.0 True"


# ---------------------------------------------------------------- a folder of root's


USER, OTHER = 12345, 54321
AS_USER = """
import os
os.environ["NUMBARANK_CACHE"] = "0"
import numpy as np
import numbarank as nr
nr.margin_ranking_loss(np.ones(1, np.float32), np.ones(1, np.float32), 1)  # numba's modules: the user may not read them
os.setgroups([])
os.setgid(12345)
os.setuid(12345)
del os.environ["NUMBARANK_CACHE"]
if not os.access(nr.__file__, os.R_OK):
    raise SystemExit(print("cannot be read"))
"""
only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make folders of root's and become others"
)


def run_as_user(code, folder):
    """Run code in a fresh process that gave up being root."""
    printed = run(AS_USER + code, folder)
    if printed == "cannot be read":
        pytest.skip(f"user {USER} cannot read {PACKAGE}")
    return printed


def place_for(user):
    """Return the place of the cache as another user finds it."""
    os.seteuid(user)
    try:
        return cache.place()
    finally:
        os.seteuid(0)


@pytest.fixture
def of_root(monkeypatch):
    """An empty folder of root's for all users, where these can reach it."""
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        folder = Path(parent, "cache")
        folder.mkdir()
        folder.chmod(0o755)
        monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(folder))
        monkeypatch.delenv("NUMBARANK_CACHE", raising=False)
        yield folder


@environment
@only_root
def test_a_folder_of_roots_is_read_by_every_user_and_written_by_root(of_root):
    assert run(COMPILATIONS, of_root) == "3.0 True"
    before = {path.name: path.stat().st_mode & 0o777 for path in of_root.iterdir()}
    assert before and set(before.values()) == {0o644}
    more = "print(nr.margin_ranking_loss([1.0], [3.0], 1, reduction='none'))"
    assert run_as_user(COMPILATIONS + more, of_root).splitlines() == ["3.0 False", "[2.]"]
    assert {path.name: path.stat().st_mode & 0o777 for path in of_root.iterdir()} == before


@environment
@only_root
def test_a_folder_of_roots_that_others_can_write_is_not_unpickled(of_root):
    assert run(COMPILATIONS, of_root) == "3.0 True"
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o777)
        trace = Path(parent, "trace")
        data = pickle.dumps(Trespass(trace))
        for path in of_root.iterdir():
            path.write_bytes(hashlib.sha256(data).digest() + data)
        of_root.chmod(0o775)
        assert run_as_user(COMPILATIONS, of_root) == "3.0 True"
        assert not trace.exists()


@only_root
@pytest.mark.parametrize(
    "mode, owner, is_read",
    [(0o644, 0, True), (0o644, USER, True), (0o644, OTHER, False), (0o664, 0, False), (0o646, 0, False)],
)
def test_of_roots_folder_only_files_that_others_cannot_write_are_read(of_root, mode, owner, is_read):
    path = of_root / "file"
    cache._write(path, b"data")
    path.chmod(mode)
    os.chown(path, owner, -1)
    assert cache._read(path, place_for(USER).owners) == (b"data" if is_read else None)


@only_root
@pytest.mark.parametrize(
    "mode, owner, above, owner_above, is_read",
    [
        (0o755, 0, 0o755, 0, True),
        (0o755, 0, 0o1777, 0, True),
        (0o755, 0, 0o755, USER, True),
        (0o755, 0, 0o777, 0, False),
        (0o755, 0, 0o775, 0, False),
        (0o755, 0, 0o755, OTHER, False),
        (0o755, 0, 0o1777, OTHER, False),
        (0o775, 0, 0o755, 0, False),
        (0o757, 0, 0o755, 0, False),
        (0o1777, 0, 0o755, 0, False),
        (0o755, OTHER, 0o755, 0, False),
    ],
)
def test_a_folder_of_roots_is_read_where_only_root_can_change_it(of_root, mode, owner, above, owner_above, is_read):
    of_root.chmod(mode)
    os.chown(of_root, owner, -1)
    of_root.parent.chmod(above)
    os.chown(of_root.parent, owner_above, -1)
    place = place_for(USER)
    assert (place.folder == of_root.resolve()) is is_read
    assert not place.is_ours and (place.problem is None) is is_read


@only_root
def test_a_folder_of_roots_is_used_by_its_path_without_links(monkeypatch, of_root):
    link = of_root.parent / "link"
    link.symlink_to(of_root)
    monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(link))
    assert place_for(USER).folder is None
    link.unlink()
    link.symlink_to(of_root.parent)
    monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(link / "cache"))
    assert place_for(USER).folder == of_root.resolve()


@only_root
def test_a_file_of_roots_in_a_folder_of_ones_own_is_not_read(of_root):
    cache._write(of_root / "file", b"data")
    os.chown(of_root, USER, -1)
    place = place_for(USER)
    assert place.is_ours
    assert cache._read(of_root / "file", place.owners) is None


@only_root
@pytest.mark.parametrize(
    "mode, owner, is_chosen, expected",
    [(0o755, 0, True, 0o644), (0o711, 0, True, 0o600), (0o755, 0, False, 0o600), (0o755, USER, True, 0o600)],
)
def test_others_may_read_files_where_root_chose_a_folder_that_they_may_read(
    monkeypatch, of_root, mode, owner, is_chosen, expected
):
    of_root.chmod(mode)
    os.chown(of_root, owner, -1)
    if not is_chosen:
        monkeypatch.delenv("NUMBARANK_CACHE_DIR")
    cache._write(of_root / "file", b"data")
    assert (of_root / "file").stat().st_mode & 0o777 == expected


@environment
def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert run(LOSS, blocked / "cache") == "3.0"
    assert run(LOSS, HOME=str(blocked)) == "3.0"


@environment
def test_a_read_only_disk_is_done_without(folder):
    assert run(READ_ONLY + COMPILATIONS, folder) == "3.0 True"
    assert not folder.exists()


def test_a_read_only_disk_is_read(filled):
    assert run(READ_ONLY + COMPILATIONS, filled) == "3.0 False"


@environment
def test_a_full_disk_leaves_no_pieces(folder):
    assert run(FULL_DISK + COMPILATIONS, folder) == "3.0 True"
    assert list(folder.iterdir()) == []
    assert run(COMPILATIONS, folder) == "3.0 True"
    assert run(COMPILATIONS, folder) == "3.0 False"


# ---------------------------------------------------------------- in numba's folder


def test_where_numba_keeps_its_code_ours_has_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBARANK_CACHE", raising=False)
    monkeypatch.setenv("NUMBARANK_CACHE_DIR", str(tmp_path / "ours"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numbas"))
    assert cache.place().folder == tmp_path / "ours"
    monkeypatch.delenv("NUMBARANK_CACHE_DIR")
    assert cache.place() == cache.Place(tmp_path / "numbas/numbarank", is_ours=True, owners=(os.geteuid(),))
    assert (tmp_path / "numbas/numbarank").stat().st_mode & 0o777 == 0o700
    (tmp_path / "numbas/numbarank").chmod(0o770)
    assert cache.place().folder is None
    monkeypatch.setenv("NUMBA_CACHE_DIR", "relative")
    assert cache.place().problem == "relative/numbarank is not an absolute path"


@only_root
def test_a_folder_of_roots_inside_numbas_is_read_by_every_user(monkeypatch, of_root):
    (of_root / "numbarank").mkdir(mode=0o755)
    monkeypatch.delenv("NUMBARANK_CACHE_DIR")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(of_root))
    place = place_for(USER)
    assert (place.folder, place.is_ours) == (of_root.resolve() / "numbarank", False)
    cache._write(place.folder / "file", b"data")
    assert cache._read(place.folder / "file", place.owners) == b"data"
    assert (place.folder / "file").stat().st_mode & 0o777 == 0o644


@environment
def test_a_second_process_finds_the_loops_in_numbas_folder(tmp_path):
    home = tmp_path / "home"
    assert run(COMPILATIONS, HOME=str(home), NUMBA_CACHE_DIR=str(tmp_path)) == "3.0 True"
    assert run(COMPILATIONS, HOME=str(home), NUMBA_CACHE_DIR=str(tmp_path)) == "3.0 False"
    assert not home.exists()


@environment
def test_a_user_without_a_home_needs_none():
    assert run(NO_SUCH_USER + COMPILATIONS) == "3.0 True"
    assert not (PACKAGE.parent / "~").exists()


@environment
def test_without_sources_versions_are_told_apart_too(tmp_path, folder):
    package = tmp_path / "copy" / "numbarank"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    exact = package / "_exact.py"
    text = exact.read_text()
    for source, is_compiled in ((text, "True"), (text, "False"), (text.replace("a + b", "b + a"), "True")):
        exact.write_text(source)
        assert compileall.compile_dir(package, quiet=1, legacy=True, force=True)
        for path in package.rglob("*.py"):
            path.unlink()
        assert run(COMPILATIONS, folder, package) == f"3.0 {is_compiled}"


@environment
def test_a_relative_folder_is_not_used():
    assert run(COMPILATIONS, "relative") == "3.0 True"
    assert not (PACKAGE.parent / "relative").exists()


@environment
def test_several_processes_may_start_at_once(folder):
    command = [sys.executable, "-c", LOSS]
    options = {"env": {**os.environ, "NUMBARANK_CACHE_DIR": str(folder)}, "cwd": PACKAGE.parent, "text": True}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, **options) for _ in range(3)]
    assert [process.communicate(timeout=300)[0].strip() for process in processes] == ["3.0"] * 3
    assert run(COMPILATIONS, folder) == "3.0 False"
