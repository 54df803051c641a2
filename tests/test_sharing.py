"""Pieces of work that threads of Python's share, where nobody waits for a thread that gets no core."""

import threading
from concurrent.futures import Future

import numba
import numpy as np
import pytest
from helpers import assert_bits

import numbarank as nr
from numbarank._cpu import retrieval, threads


class Pool:
    """A pool whose threads never get a core, or that cannot start any."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, count):
        self.futures = []
        return self

    def submit(self, function, worker):
        if self.error is not None:
            raise self.error
        self.futures.append(Future())
        return self.futures[-1]

    def shutdown(self, wait, cancel_futures):
        assert not wait
        assert all(future.cancel() for future in self.futures)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_piece_is_taken_once(cpu, count):
    taken = []
    threads.share(range(100), lambda piece, worker: taken.append((piece, worker)), count)
    assert sorted(piece for piece, _ in taken) == list(range(100))
    assert {worker for _, worker in taken} <= set(range(count))


def test_another_thread_takes_part(cpu):
    both = threading.Barrier(2, timeout=30)  # neither piece ends before the other one has begun
    workers = []
    threads.share(range(2), lambda piece, worker: (both.wait(), workers.append(worker)), 2)
    assert sorted(workers) == [0, 1]


@pytest.mark.parametrize("error", [None, RuntimeError("can't start new thread")])
def test_nobody_waits_for_a_thread_that_does_not_begin(cpu, monkeypatch, error):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool(error))
    taken = []
    threads.share(range(9), lambda piece, worker: taken.append((piece, worker)), 2)
    assert taken == [(piece, 0) for piece in range(9)]


def test_errors_of_other_threads_are_raised(cpu):
    both = threading.Barrier(2, timeout=30)

    def fail(piece, worker):
        both.wait()
        if worker:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.share(range(2), fail, 2)


def test_nothing_is_begun_after_an_error(cpu):
    taken = []

    def interrupted(piece, worker):
        taken.append(piece)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.share(range(100), interrupted, 1)
    assert taken == [0]


def test_shared_tiles_give_the_same_bits(cpu, monkeypatch):
    monkeypatch.setattr(retrieval, "PARALLEL_FROM", 1)
    rng = np.random.default_rng(0)
    queries, items = rng.standard_normal((37, 8)), rng.standard_normal((500, 8))
    positives, count = (np.arange(37), np.arange(37) * 3), numba.get_num_threads()
    results = []
    try:
        for number in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(number)
            loss, gradients = nr.retrieval_hinge_loss_and_grad(queries, items, positives, power=2)
            results.append([loss, *gradients, *nr.hard_negatives(queries, items, 20, positives=positives)])
    finally:
        numba.set_num_threads(count)
    for one, other in zip(*results, strict=True):
        assert_bits(one, other)
