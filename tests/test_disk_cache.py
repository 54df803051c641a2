"""Compiled loops on disk: found again, never of another version, never from a folder that others can write."""

import compileall
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import numbarank as nr

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


def test_an_edited_formula_is_compiled_again(tmp_path, folder):
    package = tmp_path / "copy" / "numbarank"
    shutil.copytree(PACKAGE, package)
    assert run(LOSS, folder, package) == "3.0"
    formula = package / "losses" / "margin_ranking.py"
    text = formula.read_text()
    assert text.count("-y * (x1 - x2) + margin\n") == 2
    formula.write_text(text.replace("-y * (x1 - x2) + margin\n", "-y * (x1 - x2) + margin + margin\n"))
    assert run(LOSS, folder, package) == "4.0"


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


@environment
def test_a_user_without_a_home_needs_none():
    assert run(NO_SUCH_USER + COMPILATIONS) == "3.0 True"
    assert not (PACKAGE.parent / "~").exists()


@environment
def test_without_sources_nothing_tells_versions_apart(tmp_path, folder):
    package = tmp_path / "copy" / "numbarank"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert compileall.compile_dir(package, quiet=1, legacy=True)
    for source in package.rglob("*.py"):
        source.unlink()
    assert run(COMPILATIONS, folder, package) == "3.0 True"
    assert run(COMPILATIONS, folder, package) == "3.0 True"


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
