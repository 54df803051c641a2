"""A loss never ends, hangs or changes the process that it is called in, and gives the same bits in each."""

import copy
import importlib.util
import io
import itertools
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import numbarank as nr

pytestmark = [
    pytest.mark.usefixtures("cpu"),
    pytest.mark.skipif(sys.platform == "win32", reason="the programs use signals, limits and forks"),
]

PROGRAMS = Path(__file__).with_name("host_processes.py")
FINISHED = "finished\n"  # what a program prints last, all its own assertions behind it


def start(program, layer, threads, **variables):
    """Run one of the programs in a process of its own, on a threading layer of numba's."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(Path(nr.__file__).parent.parent),
        "NUMBA_THREADING_LAYER": layer,
        "NUMBA_NUM_THREADS": str(threads),
        **variables,
    }
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(PROGRAMS), program]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)


def run(program, layer="default", threads=2, **variables):
    """Run a program that must end well, and return what it printed."""
    process = start(program, layer, threads, **variables)
    assert process.returncode == 0, process.stderr
    return process.stdout


OTHERS = [pytest.param(name, marks=pytest.mark.environment) for name in ("workqueue", "tbb")]


@pytest.fixture(scope="module", params=["omp", *OTHERS])
def layer(request):
    """A threading layer of numba's that works here."""
    if "No threading layer could be loaded" in start("no_loss", request.param, 2).stderr:
        pytest.skip(f"numba cannot load its {request.param} layer here")
    return request.param


@pytest.mark.environment
def test_many_threads_beside_the_users_own_parallel_functions(layer):
    assert run("threads", layer).endswith(FINISHED)


def test_tiles_that_threads_share(layer):
    assert run("retrieval", layer).endswith(f"{FINISHED}shared at exit\n")


def test_forks_after_use(layer):
    assert run("forks", layer).endswith(FINISHED)


def test_forks_before_the_import(layer):
    assert run("forks_before_the_import", layer).endswith(FINISHED)


@pytest.mark.environment
def test_forks_before_the_pool_keep_their_own(layer):
    assert run("forks_before_the_pool", layer).endswith(FINISHED)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
@pytest.mark.parametrize(
    "stat, expected",
    [
        (b"7 (python) S 1 7 7 0 -1 4194304 1 1", False),
        (b"7 (python) S 1 7 7 0 -1 4194368 1 1", True),
        (b"7 (a) 1 2) S 1 7 7 0 -1 4194304 1 1", False),
        (b"7 (python) S 1 7 7 0 -1 0 1 1", True),
        (b"", True),
    ],
)
def test_a_process_that_linux_says_nothing_about_may_be_a_fork(monkeypatch, stat, expected):
    from numbarank._cpu import threads

    monkeypatch.setattr(threads, "open", lambda *_: io.BytesIO(stat), raising=False)
    assert threads._may_be_a_fork() is expected


def test_a_fork_during_a_compilation():
    assert run("fork_during_a_compilation", NUMBARANK_CACHE="0").endswith(FINISHED)


@pytest.mark.environment
def test_asyncio_and_the_users_own_parallel_functions_call_losses(layer):
    assert run("workers", layer).endswith(FINISHED)


@pytest.mark.environment
@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
def test_joblib_workers_call_losses():
    assert run("loky_workers").endswith(FINISHED)


@pytest.mark.environment
def test_settings_stay_and_change_no_bit(layer):
    threads = (1, 2, 3 * os.cpu_count())
    assert len({run("settings", layer, count) for count in threads}) == 1


def test_tasks_run_on_no_more_threads_than_a_quota_keeps_busy(layer):
    assert run("quota", layer, threads=4).endswith(FINISHED)


def test_a_layer_that_cannot_be_loaded_leaves_serial_loops():
    assert run("print_everything", "no such layer") == run("print_everything")


@pytest.mark.environment
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_numba_compiles_for_others_beside_ours(first):
    assert run("other_compilations", NUMBARANK_CACHE="0", FIRST=first).endswith(FINISHED)


@pytest.mark.environment
def test_loops_are_compiled_where_numba_compiles_nothing_else():
    assert run("loops_without_numbas_jit", NUMBARANK_CACHE="0", NUMBA_DISABLE_JIT="1").endswith(FINISHED)


def test_an_interrupt_reaches_the_caller():
    assert run("interrupts").endswith(FINISHED)


def test_out_of_memory_reaches_the_caller():
    assert run("no_memory").endswith(FINISHED)


@pytest.mark.environment
def test_a_thousand_times_the_same_bits(layer):
    assert run("a_thousand_times", layer, threads=4).endswith(FINISHED)


@pytest.mark.environment
def test_memory_stays_flat():
    assert run("leaks").endswith(FINISHED)


@pytest.mark.slow
def test_more_pairs_than_int32_counts():
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 18 * 2**30:
        pytest.skip("needs 18 GiB of memory")
    assert run("more_pairs_than_int32_counts").endswith(FINISHED)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_tensor_is_on_its_own(copied):
    scores = nr.tensor([1.0, 2.0], requires_grad=True)
    nr.margin_ranking_loss(scores, [2.0, 1.0], 1, margin=0.5, reduction="sum").backward()
    again = copied(scores)
    nr.margin_ranking_loss(again, [2.0, 1.0], 1, margin=0.5, reduction="sum").backward()
    assert again.grad.numpy().tolist() == [-2.0, 0.0]
    assert scores.grad.numpy().tolist() == [-1.0, 0.0]
    again.data[0] = 7.0
    assert scores.detach().numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("order", list(itertools.permutations(["scores", "loss", "total"])))
def test_tensors_go_in_any_order(order):
    """Without a garbage collection: nothing refers to itself."""
    held = {"scores": nr.tensor([1.0, 2.0], requires_grad=True)}
    held["loss"] = nr.margin_ranking_loss(held["scores"], [2.0, 1.0], 1, margin=0.5)
    held["total"] = held["loss"] + held["loss"]
    references = [weakref.ref(value) for value in held.values()]
    for name in order:
        del held[name]
        if held.get("total") is not None and "scores" in held:
            held["total"].backward(np.array(1.0))
            assert held["scores"].grad.numpy().tolist() == [-1.0, 0.0]
    assert [reference() for reference in references] == [None, None, None]
