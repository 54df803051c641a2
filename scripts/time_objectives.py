"""Train LightGBM and XGBoost on the same graded lists, with numbarank's objectives and with their own.

The table tells how well the models order lists that they have not seen, how long the training took, and how much of
that the objective took. The trainings take turns, and times are medians, those of the higher learning rate.
"""

import statistics
import time
from dataclasses import asdict, dataclass

import numba
from bench.harness import Benchmark, Line
from rank_documents import ndcg
from rankers.lists import graded_lists
from rankers.trees import ROUNDS, LightGBM, XGBoost

RATES = (0.1, 0.3)
HEADER = ("library", "objective", *(f"NDCG@10, rate {rate}" for rate in RATES), f"{ROUNDS} rounds", "in the objective")
WIDTHS = (27, 23, 17, 17, 9, 16)


@dataclass(frozen=True)
class Result:
    """What a training came to; of a library's own objective it is not known how long it takes."""

    ndcg: float
    seconds: float
    seconds_in_objective: float | None

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


def measure(library, objective, rate, test):
    """Train with a name of an objective or a callable; measure the training and its model."""
    calls = None
    if callable(objective):
        objective, calls = timed(objective)
    start = time.perf_counter()
    predict = library.train(objective, rate)
    seconds = time.perf_counter() - start
    return Result(ndcg(predict(test.features), test, 10), seconds, None if calls is None else sum(calls))


def candidates(train, threads):
    """Return, by their names in the table, the pairs of a library and an objective."""
    libraries = {
        "LightGBM": LightGBM(train, threads),
        "LightGBM, weights 1 + label": LightGBM(train, threads, 1 + train.labels),
        "XGBoost": XGBoost(train, threads),
    }
    return {
        (name, described): (library, objective)
        for name, library in libraries.items()
        for described, objective in (
            (f"its own {library.own}", library.own),
            ("numbarank", library.ours()),
            ("numbarank, power=2", library.ours(power=2)),
        )
    }


def train_in_turns(candidates, test, repeats):
    """Train all in turns, a first time without measuring; return the results of each at each rate."""
    for library, objective in candidates.values():
        library.train(objective, RATES[0], rounds=1)
    results = {names: {rate: [] for rate in RATES} for names in candidates}
    for _ in range(repeats):
        for names, candidate in candidates.items():
            for rate in RATES:
                results[names][rate].append(measure(*candidate, rate, test))
    return results


def cells(names, at_rates):
    """Return the cells of the table, from the results of a library and objective at each rate."""
    gains = (f"{results[0].ndcg:.3f}" for results in at_rates.values())
    results = at_rates[RATES[-1]]
    seconds = statistics.median(result.seconds for result in results)
    is_own = results[0].seconds_in_objective is None
    share = "-" if is_own else f"{statistics.median(result.share for result in results):.0%}"
    return *names, *gains, f"{seconds:.2f} s", share


def add_options(parser):
    option = parser.add_argument
    option("--queries", type=int, default=500, help="lists to train on (default 500)")
    option("--longest", type=int, default=120, help="documents of the longest list (default 120)")
    option("--features", type=int, default=136, help="features of a document (default 136)")
    option("--threads", type=int, default=numba.get_num_threads(), help="of the library and of numba (default all)")


def prepare(parser, options):
    """Set the threads and make the lists, to train on and to test with."""
    numba.set_num_threads(options.threads)
    if options.quick:
        options.queries, options.longest, options.features = 20, 20, 8
    options.train, options.test = (
        graded_lists(options.queries, options.longest, options.features, seed) for seed in (0, 1)
    )


def conditions(options):
    """Return what is trained on, in words."""
    return f"{options.queries:,} lists, {len(options.train.labels):,} documents, {options.features} features"


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


@benchmark.row("trainings")
def trainings(sweep):
    options = sweep.options
    results = train_in_turns(candidates(options.train, options.threads), options.test, options.repeats)
    for names, at_rates in results.items():
        for rate, trained in at_rates.items():
            sweep.rows += [{"work": ", ".join(names), "rate": rate, **asdict(result)} for result in trained]
        yield Line(cells(names, at_rates))


if __name__ == "__main__":
    benchmark.main()
