"""Programs that call losses where that is delicate: test_host_process.py runs each in a process of its own.

``python host_processes.py NAME`` runs the program of that name, and says when it came to its end. They import numbarank
inside, since some fork before.
"""

import asyncio
import atexit
import contextlib
import ctypes
import gc
import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numba.core import event
from numba.np.ufunc import parallel

SIZE = 60_000
MEGABYTE = 2**20
ONES = np.ones(SIZE)


def pairs(size=SIZE, dtype=float):
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((2, size)).astype(dtype)
    return x1, x2, rng.choice([-1.0, 1.0], size).astype(dtype)


def everything(_=None):
    """Call every public function with enough pairs for parallel loops; return a digest of all results."""
    import numbarank as nr

    x1, x2, y = pairs()
    losses = nr.margin_ranking_loss(x1, x2, y, 0.5, reduction="none")
    loss, gradients = nr.margin_ranking_loss_and_grad(x1, x2, y, 0.5, target_grad=True)
    a, b = nr.tensor(x1, requires_grad=True), nr.Tensor(x2, requires_grad=True)
    total = nr.MarginRankingLoss(0.5)(a, b, y) * nr.ones() + nr.zeros() + nr.randn(seed=0)
    total.backward()
    results = [nr.margin_ranking_loss(x1, x2, y, 0.5), losses, loss, *gradients, total.item(), a.grad, b.grad]
    return hashlib.sha256(b"".join(np.asarray(result).tobytes() for result in results)).hexdigest()


def shared_tiles(_=None):
    """Call what threads of Python share, on whole numbers whose products are exact; return a digest of the results."""
    import numbarank as nr

    rng = np.random.default_rng(0)
    queries, items = rng.integers(-2, 3, (2, 1_500, 4)).astype(np.float32)
    positives = np.arange(1_500), np.arange(1_500)
    loss, gradients = nr.retrieval_hinge_loss_and_grad(queries, items, positives, reduction="sum")
    results = [loss, *gradients, *nr.hard_negatives(queries, items, 5, positives=positives)]
    return hashlib.sha256(b"".join(np.asarray(result).tobytes() for result in results)).hexdigest()


def one_loss(_=None):
    import numbarank as nr

    return float(nr.margin_ranking_loss(*pairs(), 0.5))


def single_threaded(function=everything):
    """Return what a function returns on a single thread, having seen that several threads say the same."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    expected = function()
    numba.set_num_threads(threads)
    assert runs_parallel()
    assert function() == expected
    return expected


def runs_parallel():
    from numbarank._cpu import threads

    return threads.may_run_parallel()


@numba.njit(parallel=True)
def users_sum(x):
    total = 0.0
    for i in numba.prange(x.size):
        total += x[i]
    return total


@numba.njit(parallel=True)
def users_losses(losses):
    for i in numba.prange(losses.size):
        with numba.objmode(loss="float64"):
            loss = one_loss()
        losses[i] = loss


def in_fork(fork, function=everything):
    """Return what a function returns in a forked child; nothing where the child dies or hangs."""
    reader, writer = os.pipe()
    if fork() == 0:
        signal.alarm(100)
        try:
            os.write(writer, function().encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        result = pipe.read()
    os.wait()
    return result


def fork_in_c():
    """Fork as C code does that leaves out Python's hooks."""
    return ctypes.PyDLL(None).fork()


def no_loss():
    numba.get_num_threads()


def print_everything():
    print(everything())


def retrieval():
    """Share tiles in threads, in forks of either kind, and where Python shuts down."""
    expected = single_threaded(shared_tiles)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(shared_tiles, range(8))) == {expected}
    assert [in_fork(fork, shared_tiles) for fork in (os.fork, fork_in_c)] == [expected] * 2
    atexit.register(print_at_exit, expected)


def print_at_exit(expected):
    assert shared_tiles() == expected
    print("shared at exit")


def threads():
    expected, stop = single_threaded(), threading.Event()

    def users_own_work():
        while not stop.is_set():
            assert users_sum(ONES) == SIZE

    with ThreadPoolExecutor(17) as pool:
        beside = pool.submit(users_own_work)
        try:
            for count in (2, 16):
                assert set(pool.map(everything, range(count))) == {expected}
        finally:
            stop.set()
        beside.result()


def forks():
    expected = single_threaded()
    for fork in (os.fork, fork_in_c):
        assert in_fork(fork) == expected
        assert in_fork(fork, lambda: str(runs_parallel())) == "False"
        assert in_fork(fork, lambda fork=fork: in_fork(fork)) == expected
    for method, workers in [("fork", 4), ("forkserver", 2), ("spawn", 2)]:
        with multiprocessing.get_context(method).Pool(workers) as pool:
            assert set(pool.map(everything, range(8))) == {expected}
            pool.close()
            pool.join()
    assert runs_parallel()


def forks_before_the_import():
    assert users_sum(ONES) == SIZE
    assert "numbarank" not in sys.modules
    with multiprocessing.get_context("fork").Pool(4) as pool:
        results = [in_fork(os.fork), in_fork(fork_in_c), *pool.map(everything, range(8))]
    assert set(results) == {single_threaded()}


def forks_before_the_pool():
    import numbarank as nr

    nr.margin_ranking_loss([1.0], [3.0], 1)
    assert not parallel._is_initialized
    child = in_fork(os.fork, lambda: f"{users_sum(ONES) == SIZE} {everything()} {runs_parallel()}")
    assert child == f"True {single_threaded()} True"


class Compilations(event.Listener):
    """Counts compilations of our loops, and calls a function when the first one starts."""

    def __init__(self, when_one_starts):
        self.count, self.when_one_starts = 0, when_one_starts
        event.register("numba:compile", self)

    def on_start(self, started):
        if started.data["dispatcher"].py_func.__name__ not in ("forward", "gradients"):
            return
        self.count += 1
        if self.count == 1:
            self.when_one_starts()

    def on_end(self, _):
        pass


def fork_during_a_compilation():
    import numbarank as nr

    def loss():
        return float(nr.margin_ranking_loss([1.0], [3.0], 1, margin=1.0))

    def loss_without_a_compilation():
        before = compilations.count
        return f"{loss()} {compilations.count - before}"

    has_started = threading.Event()
    compilations = Compilations(has_started.set)
    thread = threading.Thread(target=loss)
    thread.start()
    has_started.wait()
    assert in_fork(os.fork, loss_without_a_compilation) == "3.0 0"
    thread.join()


def workers():
    expected = single_threaded(one_loss)

    async def at_once():
        return await asyncio.gather(*(asyncio.to_thread(one_loss) for _ in range(8)))

    assert set(asyncio.run(at_once())) == {expected}
    losses = np.zeros(20)
    users_losses(losses)
    assert set(losses) == {expected}


def loky_workers():
    import joblib

    expected = single_threaded(one_loss)
    assert set(joblib.Parallel(4, backend="loky")(joblib.delayed(one_loss)() for _ in range(8))) == {expected}


def settings():
    before = settings_of_the_process()
    import numbarank as nr

    nr.margin_ranking_loss([1.0], [3.0], 1)
    assert not parallel._is_initialized
    digests = {everything()}
    assert settings_of_the_process() == before
    numba.set_parallel_chunksize(3)
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        digests.add(everything())
        assert (numba.get_num_threads(), numba.get_parallel_chunksize()) == (threads, 3)
    (digest,) = digests
    print(digest)


def quota():
    """Run tasks on two of four threads, as in a container that may use two processors."""
    from numbarank._cpu import tasks, threads

    threads.cpu_quota = lambda: 1.5
    numba.config.NUMBA_DEFAULT_NUM_THREADS = 4
    chosen = os.environ.pop("NUMBA_NUM_THREADS")
    assert (numba.get_num_threads(), threads.count()) == (4, 2)
    os.environ["NUMBA_NUM_THREADS"] = chosen  # numba wants it back when it compiles
    for choice, expected in ((3, 3), (4, 2), (2, 2)):
        numba.set_num_threads(choice)
        found = len(threads_of_tasks(tasks.launch_on(threads.count())))
        assert found == expected or (found < expected and threads.layer() == "tbb")  # it may leave threads out
        assert numba.get_num_threads() == choice
    numba.set_num_threads(4)
    single_threaded()
    assert numba.get_num_threads() == 4
    threads.cpu_quota = lambda: 8.0
    assert in_fork(os.fork, lambda: str(threads.most())) == "2"


def threads_of_tasks(launch):
    """Return the threads that twelve tasks of some milliseconds run on."""
    task_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    launcher = ctypes.CFUNCTYPE(None, task_type, *[ctypes.c_int64] * 3)
    address, count = np.ctypeslib.as_array((ctypes.c_int64 * 2).from_address(launch)).tolist()
    found = set()

    @task_type
    def task(_, index):
        found.add(threading.get_native_id())
        time.sleep(0.01)

    launcher(address)(task, 0, 12, count)
    return found


def settings_of_the_process():
    return {
        "numba.config": {name: value for name, value in vars(numba.config).items() if name.isupper()},
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "NumPy's errors": np.geterr(),
        "random numbers": (random.getstate(), repr(np.random.get_state())),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "Python threads": threading.active_count(),
        "folder": os.getcwd(),
    }


def interrupts():
    import numbarank as nr

    expected = single_threaded(one_loss)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -INT {os.getpid()}"]):
        while True:
            everything()
    assert one_loss() == expected
    os.environ["NUMBARANK_CACHE"] = "0"
    compilations = Compilations(lambda: signal.raise_signal(signal.SIGINT))
    ones, target = np.ones(SIZE), np.ones(SIZE, np.int16)
    with contextlib.suppress(KeyboardInterrupt):
        nr.margin_ranking_loss(ones, 3 * ones, target)
        raise AssertionError("the interrupt did not reach the caller")
    assert nr.margin_ranking_loss(ones, 3 * ones, target, margin=1.0) == 3.0
    assert compilations.count == 1, "the interrupt stopped a compilation halfway"


def other_compilations():
    """Loops of a user, with what numba declares beside numbers, compiled between two of ours."""
    import numba
    from numba.typed import Dict

    @numba.njit
    def loop(numbers):
        found = Dict.empty(numba.types.unicode_type, numba.types.float64)
        found["mean"], found["norm"] = numbers.mean(), np.sqrt((numbers * numbers).sum())
        return found["mean"] + found["norm"] + numbers.T.sum() + np.median(numbers) + len("abc" + str(numbers.size))

    def of_the_user():
        assert loop(np.array([3.0, 4.0, 0.0])) == 7 / 3 + 5 + 7 + 3 + 4
        assert users_sum(ONES) == SIZE

    if os.environ["FIRST"] == "theirs":
        of_the_user()
    expected = everything()
    of_the_user()
    assert everything() == expected


def loops_without_numbas_jit():
    """Compile loops of every kind where numba leaves a user's functions as they are."""
    import numbarank as nr

    assert numba.njit(one_loss) is one_loss
    assert nr.margin_ranking_loss([0.0], [1.0], 1, margin=0.5) == 1.5
    assert nr.margin_ranking_loss(ONES, 2 * ONES, 1, margin=3.0) == 4.0
    assert nr.pairwise_hinge_loss([0.0, 1.0, 2.0], [2, 1, 0], reduction="sum") == 2 + 2 + 3
    scores = np.arange(float(SIZE))
    loss, gradient = nr.pairwise_hinge_loss_and_grad(scores, -scores, reduction="sum")
    assert loss == sum((SIZE - apart) * (1 + apart) for apart in range(1, SIZE))
    assert gradient[[0, -1]].tolist() == [1 - SIZE, SIZE - 1]
    assert nr.pairwise_hinge_loss(scores, -scores, losers=1) == 1 + SIZE / 2
    queries, items = np.array([[1.0, 0.0]]), np.array([[3.0, 0.0], [1.0, 0.0], [2.5, 0.0]])
    assert nr.retrieval_hinge_loss(queries, items, ([0], [0]), reduction="sum") == 0.5
    assert nr.hard_negatives(queries, items, 1, positives=([0], [0]))[0].tolist() == [[2]]


def no_memory():
    import resource

    import numbarank as nr

    expected = single_threaded()
    huge = np.broadcast_to(1.0, 2**45)
    large = np.ones(8 * MEGABYTE)
    scores = nr.Tensor(large, requires_grad=True)
    nr.margin_ranking_loss_and_grad(large[:SIZE], large[:SIZE], 1.0)
    loss = nr.margin_ranking_loss(scores, large, 1.0, 0.5)
    calls = [
        lambda: nr.margin_ranking_loss(large, large, 1, reduction="none"),
        lambda: nr.margin_ranking_loss_and_grad(large, large, 1.0),
        loss.backward,
    ]
    assert runs_out_of_memory(lambda: nr.margin_ranking_loss(huge, huge, 1))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 32 * MEGABYTE, hard))
    assert all(map(runs_out_of_memory, calls))
    assert everything() == expected
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    loss.backward()
    assert scores.grad.numpy()[0] == -1 / large.size
    assert everything() == expected


def runs_out_of_memory(function):
    try:
        function()
    except MemoryError:
        return True


def a_thousand_times():
    import numbarank as nr

    inputs, stop, rng = pairs(SIZE, np.float32), threading.Event(), random.Random(0)

    def bits():
        loss, gradients = nr.margin_ranking_loss_and_grad(*inputs, 0.5)
        return loss.tobytes(), *(gradient.tobytes() for gradient in gradients)

    def burn():
        while not stop.wait(rng.random() / 1000):
            np.sort(inputs[0][: rng.randrange(SIZE)])

    expected, threads = single_threaded(bits), numba.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(burn) for _ in range(3)]
        try:
            for _ in range(1000):
                numba.set_num_threads(rng.randint(1, threads))
                assert bits() == expected
        finally:
            stop.set()
    assert all(other.result() is None for other in others)


def leaks():
    import resource

    import numbarank as nr

    x1, x2, y = pairs(10)
    criterion = nr.MarginRankingLoss(0.5)
    scores = nr.Tensor(x1, requires_grad=True)

    def calls(count):
        for _ in range(count):
            nr.margin_ranking_loss(x1, x2, y)
            nr.margin_ranking_loss_and_grad(x1, x2, 1)
            criterion(scores, x2, 1.0).backward()
            scores.grad = None
        return sys.getallocatedblocks(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    gc.disable()  # what only a collection would free counts as leaked
    blocks, kilobytes = calls(3_000)
    more_blocks, more_kilobytes = calls(100_000)
    assert more_blocks - blocks < 100, f"{more_blocks - blocks} more objects"
    assert more_kilobytes - kilobytes < 1024, f"{more_kilobytes - kilobytes} kB more memory"


def more_pairs_than_int32_counts():
    import numbarank as nr

    size = 2**31 + 3
    marked = [0, 1, 2**31 - 1, 2**31, size - 1]
    x1, x2, y = np.ones(size, np.float16), np.zeros(size, np.float16), np.ones(size, np.int8)
    x2[marked] = [2, 3, 5, 9, 17]
    assert nr.margin_ranking_loss(x1, x2, y, reduction="sum") == 1 + 2 + 4 + 8 + 16
    assert nr.margin_ranking_loss(x1, x2, y, margin=3.0) == 2
    del x1
    y[marked] = -1
    loss, gradients = nr.margin_ranking_loss_and_grad(x2, x2, y, 0.5, gradient=size)
    assert loss == 0.5
    for gradient, sign in zip(gradients, (-1, 1), strict=True):
        is_other = gradient.view(np.int16) != np.float16(sign).view(np.int16)
        assert np.flatnonzero(is_other).tolist() == marked
        assert (gradient[marked] == -sign).all()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("finished")
