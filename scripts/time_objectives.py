"""Train LightGBM and XGBoost on the same graded lists, with numbarank's objectives and with their own.

The table tells how well the models order lists that they have not seen, how long the training took, and how much of
that the objective took. Each repeat makes lists of its own. The trainings take turns; NDCG is the median of the
repeats, with the lowest and the highest in brackets, and times are medians, those of the higher learning rate. The
trainings that are not timed share the processors, as many at a time as have room.
"""

import collections
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numba
from bench.harness import Benchmark, Line
from rank_documents import ndcg
from rankers.lists import graded_lists
from rankers.trees import LightGBM, XGBoost

TIMED = (0.3, 60)  # learning rate, rounds
LONG = (0.1, 300)
TRAININGS = ((0.1, 60), LONG, TIMED)  # the first one is the first rounds of the long one
HEADER = (
    "lists",
    "library",
    "objective",
    *(f"NDCG@10, rate {rate}, {rounds} rounds" for rate, rounds in TRAININGS),
    "seconds",
    "in the objective",
)
WIDTHS = (24, 8, 33, 29, 30, 29, 7, 16)
OURS = ({}, {"power": 2}, {"discount": True}, {"discount": True, "power": 2})


@dataclass(frozen=True)
class Result:
    """What a training came to; of one that is not timed, or a library's own objective, it is not known how long."""

    ndcg: float
    seconds: float | None = None
    seconds_in_objective: float | None = None

    @property
    def share(self):
        """How much of the training the objective took."""
        return self.seconds_in_objective / self.seconds


def timed(objective):
    """Return a function that calls an objective, and the list of the seconds that its calls take."""
    seconds = []

    def call(*arguments):
        start = time.perf_counter()
        derivatives = objective(*arguments)
        seconds.append(time.perf_counter() - start)
        return derivatives

    return call, seconds


def measure(library, objective, rate, rounds, test):
    """Train with a name of an objective or a callable; measure the training and its model."""
    calls = None
    if callable(objective):
        objective, calls = timed(objective)
    start = time.perf_counter()
    predict = library.train(objective, rate, rounds)
    seconds = time.perf_counter() - start
    return Result(ndcg(predict(test.features), test, 10), seconds, None if calls is None else sum(calls))


def candidates(train, threads):
    """Return, by their names in the table, the pairs of a library and an objective, each with data of its own."""
    found = {}
    for kind in (LightGBM, XGBoost):
        objectives = {f"its own {own}": own for own in kind.own}
        objectives |= {described(settings): kind.ours(**settings) for settings in OURS}
        for name, objective in objectives.items():
            found[kind.__name__, name] = kind(train, threads), objective
    return found


def described(settings):
    """Return what stands in the table for an objective of ours."""
    return ", ".join(["numbarank", *(f"{name}={value}" for name, value in settings.items())])


def train_in_turns(train, test, threads, results):
    """Train all in turns, each once without measuring; add their results to those of earlier lists."""
    found = candidates(train, threads)
    for names, (library, objective) in found.items():
        library.train(objective, rate=0.1, rounds=1)
        results[names, TIMED].append(measure(library, objective, *TIMED, test))
    workers = max(1, numba.config.NUMBA_NUM_THREADS // threads)
    with ThreadPoolExecutor(workers, initializer=numba.set_num_threads, initargs=(threads,)) as pool:
        gains = pool.map(lambda candidate: long_gains(*candidate, test), found.values())
        for names, of_rounds in zip(found, gains, strict=True):
            for training, gain in of_rounds.items():
                results[names, training].append(Result(gain))


def long_gains(library, objective, test):
    """Train for the most rounds; return the NDCG after each number of rounds at that learning rate."""
    rate, most = LONG
    predict = library.train(objective, rate, most)
    trainings = [training for training in TRAININGS if training[0] == rate]
    return {training: ndcg(predict(test.features, training[1]), test, 10) for training in trainings}


def cells(names, trainings):
    """Return the cells of the table, from the results of a library and objective in each training."""
    gains = (spread([result.ndcg for result in results]) for results in trainings)
    *_, results = trainings  # those that are timed
    seconds = statistics.median(result.seconds for result in results)
    is_own = results[0].seconds_in_objective is None
    share = "-" if is_own else f"{statistics.median(result.share for result in results):.0%}"
    return *names, *gains, f"{seconds:.2f}", share


def spread(values):
    """Return the median, with the lowest and the highest in brackets."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def add_options(parser):
    option = parser.add_argument
    option("--queries", type=int, default=200, help="lists to train on (default 200)")
    option("--longest", type=int, default=120, help="documents of the longest of the long lists (default 120)")
    option("--features", type=int, default=40, help="features of a document (default 40)")
    option("--threads", type=int, default=numba.get_num_threads(), help="of the library and of numba (default all)")


def prepare(parser, options):
    """Set the threads and the sizes."""
    numba.set_num_threads(options.threads)
    if options.quick:
        options.queries, options.longest, options.features = 20, 20, 8


def conditions(options):
    """Return what is trained on, in words."""
    return f"{options.queries:,} lists of documents with {options.features} features"


benchmark = Benchmark(
    __doc__,
    "boosting",
    HEADER,
    WIDTHS,
    packages=("lightgbm", "xgboost"),
    repeats=3,
    add_options=add_options,
    prepare=prepare,
    conditions=conditions,
)


def lines(sweep, longest, noise=1):
    """Yield a line for each library and objective, from as many pairs of lists as there are repeats."""
    options, results = sweep.options, collections.defaultdict(list)
    lists = f"{longest // 2} to {longest}" + (", noisier labels" if noise > 1 else "")
    for repeat in range(options.repeats):
        train, test = (
            graded_lists(options.queries, longest, options.features, seed, noise)
            for seed in (2 * repeat, 2 * repeat + 1)
        )
        train_in_turns(train, test, options.threads, results)
    for (names, (rate, rounds)), of_repeats in results.items():
        work = ", ".join((lists, *names))
        sweep.rows += [{"work": work, "rate": rate, "rounds": rounds, **asdict(result)} for result in of_repeats]
    for names in dict.fromkeys(names for names, _ in results):
        yield Line((lists, *cells(names, [results[names, training] for training in TRAININGS])))


@benchmark.row("long")
def long(sweep):
    yield from lines(sweep, sweep.options.longest)


@benchmark.row("noisy")
def noisy(sweep):
    yield from lines(sweep, min(80, sweep.options.longest), noise=3)


if __name__ == "__main__":
    benchmark.main()
