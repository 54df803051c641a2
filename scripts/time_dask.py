"""Time losses of dask arrays: how they scale with workers and chunks, and what memory they take.

Prints tables for a document. Everything runs on this machine: two clusters of processes with one thread each.
"""

import argparse
import contextlib
import platform
import re
import time
from pathlib import Path

import dask
import dask.array as da
import distributed
import numpy as np
from bench.environment import machine
from bench.tables import put_between_markers, table

import numbarank as nr
import numbarank.dask as nrd

CHUNK = 12_500_000
SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
}
margins = iter(np.linspace(0.5, 0.6, 100_000))  # a new one each time, so that no result is found at a worker


@contextlib.contextmanager
def cluster(workers, memory_limit=0):
    """Start processes of one thread each and return a client of theirs."""
    settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": memory_limit}
    with (
        distributed.LocalCluster(**settings) as processes,
        distributed.Client(processes, set_as_default=False) as client,
    ):
        yield client


def random_pairs(size, chunk):
    """Return float32 scores and targets that are made chunk by chunk."""
    return [da.random.default_rng(i).standard_normal(size, chunks=chunk, dtype=np.float32) for i in range(3)]


def hold(client, size, chunk):
    """Return random pairs that the workers hold: the three chunks of a pair at the same one."""
    workers = list(client.scheduler_info()["workers"])
    with dask.annotate(workers=lambda key: [workers[key[1] % len(workers)]]):
        arrays = client.persist(random_pairs(size, chunk), optimize_graph=False)
    wait(client, arrays)
    return arrays


def wait(client, arrays):
    """Wait until the workers have all chunks."""
    with client.as_current():
        distributed.wait(arrays)


def loss(client, arrays):
    """Compute the loss."""
    return client.compute(nrd.margin_ranking_loss(*arrays, next(margins)), sync=True)


def loss_and_gradients(client, arrays):
    """Compute the loss and leave the gradients at the workers until both are there."""
    value, gradients = nrd.margin_ranking_loss_and_grad(*arrays, next(margins))
    wait(client, client.persist([value, *gradients]))


WORKS = {"loss": loss, "loss and gradients": loss_and_gradients}


def seconds(call, *arguments):
    """Return how long a call takes, its graph included."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def time_workers(pairs, rounds):
    """Return for each work the seconds on one and on two workers, taken in turns, on pairs that they hold already."""
    with cluster(1) as one, cluster(2) as two:
        held = {client: hold(client, pairs, CHUNK) for client in (one, two)}
        times = {work: {one: [], two: []} for work in WORKS}
        for _ in range(rounds + 1):
            for work, call in WORKS.items():
                for client, arrays in held.items():
                    times[work][client].append(seconds(call, client, arrays))
        return {work: (np.array(taken[one][1:]), np.array(taken[two][1:])) for work, taken in times.items()}


def time_chunks(pairs, counts, rounds):
    """Return for each number of chunks the seconds of the loss and its gradients on threads, and on two workers."""
    rows = []
    with cluster(2) as client:
        for count in counts:
            chunk = -(-pairs // count)
            held, arrays = hold(client, pairs, chunk), dask.persist(*random_pairs(pairs, chunk))
            taken = [
                (
                    seconds(persist_on_threads, *nrd.margin_ranking_loss_and_grad(*arrays, next(margins))),
                    seconds(loss_and_gradients, client, held),
                )
                for _ in range(rounds + 1)
            ]
            rows.append((count, *np.median(taken[1:], axis=0)))
    return rows


def persist_on_threads(*arrays):
    """Compute arrays on two threads of this process and keep them."""
    dask.persist(*arrays, scheduler="threads", num_workers=2)


def peak_bytes():
    """Return the most memory that this process has had since it was started."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


def measure_memory(limit, times_larger):
    """Return the bytes of arrays that are so much larger than two workers' limits together, and the workers' peak."""
    with cluster(2, limit) as client:
        idle = max(client.run(peak_bytes).values())
        arrays = random_pairs(int(times_larger * 2 * limit / 12), 1_000_000)
        value, (by_x1, _) = nrd.margin_ranking_loss_and_grad(*arrays, 0.5)
        client.compute([value, abs(by_x1).sum()], sync=True)
        return sum(x.nbytes for x in arrays), idle, max(client.run(peak_bytes).values())


def worker_rows(times):
    for work, (one, two) in times.items():
        ratio = np.median(one / two)
        yield work, f"{np.median(one):.3f} s", f"{np.median(two):.3f} s", f"{ratio:.2f}"


def chunk_rows(times):
    """Return the cells, with the slope over the smallest number of chunks: what one more chunk costs."""
    first = times[0]
    for count, threads, processes in times:
        more = count - first[0]
        costs = [
            f"{(now - then) / more * 1e3:.2f} ms" if more else ""
            for now, then in zip((threads, processes), first[1:], strict=True)
        ]
        yield f"{count:,}", f"{threads:.3f} s", costs[0], f"{processes:.3f} s", costs[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000_000, help="held by the workers; 12 bytes each, twice")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument(
        "--limit", type=int, default=2**29, help="bytes that a worker may take where memory is measured"
    )
    parser.add_argument("--larger", type=float, default=4, help="how many times as large as both limits the arrays are")
    parser.add_argument("--quick", action="store_true", help="small and short: to try the script, no figures")
    parser.add_argument("--markdown", metavar="FILE", help="put the tables between the markers of this document")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.rounds, arguments.chunks, arguments.larger = 100_000, 1, [1, 2], 0.05
    with dask.config.set(SETTINGS):
        text = "\n\n".join(measurements(arguments))
    print(text)
    if arguments.markdown:
        put_between_markers(arguments.markdown, text, "dask")


def measurements(arguments):
    """Return the tables, and what they are about."""
    pairs, rounds = arguments.pairs, arguments.rounds
    versions = f"Python {platform.python_version()}, Dask {dask.__version__}, numbarank {nr.__version__}"
    yield f"{machine()}; {versions}; workers are processes with one thread."

    yield f"{pairs:,} float32 pairs in chunks of {CHUNK:,}, held by the workers; medians of {rounds} rounds:"
    yield table(("work", "1 worker", "2 workers", "times as fast"), worker_rows(time_workers(pairs, rounds)))

    times = time_chunks(pairs // 10, arguments.chunks, max(1, rounds // 3))
    yield f"Loss and gradients of {pairs // 10:,} pairs, and what each chunk more costs:"
    yield table(("chunks", "two threads", "a chunk", "2 workers", "a chunk"), chunk_rows(times))

    yield "Loss and gradients of arrays that are larger than the workers may be, made chunk by chunk:"
    sizes = measure_memory(arguments.limit, arguments.larger)
    cells = [f"{size / 2**20:,.0f} MiB" for size in (sizes[0], arguments.limit, *sizes[1:])]
    yield table(("three arrays", "limit of a worker", "a worker before", "its peak"), [cells])


if __name__ == "__main__":
    main()
