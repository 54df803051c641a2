"""The objectives for LightGBM and XGBoost: derivatives worked out by hand, and whole trainings by the libraries."""

import copy
import importlib
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from helpers import imported

import numbarank as nr
from numbarank import objectives

pytestmark = pytest.mark.usefixtures("cpu")

SCRIPTS = Path(__file__).parents[1] / "scripts"
FACTORIES = pytest.mark.parametrize("factory", [objectives.lightgbm, objectives.xgboost], ids=["lightgbm", "xgboost"])
QUIET = {"verbosity": -1, "num_threads": 1}
SIZES = [3, 1, 8, 0, 20] * 6
ROUNDS = 5


@pytest.fixture(scope="module")
def lightgbm():
    return imported("lightgbm")


@pytest.fixture(scope="module")
def xgboost():
    return imported("xgboost")


def graded(seed=0, sizes=SIZES):
    """Features, labels from 0 to 3 that follow one of them, and weights of rows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((sum(sizes), 4))
    labels = np.digitize(x[:, 0] + 0.5 * rng.standard_normal(len(x)), [-0.5, 0.5, 1.5])
    return x, labels, rng.integers(1, 5, len(x)) / 2


# ---------------------------------------------------------------- the objects


def of_factory(factory, **settings):
    objective = factory(0.5, power=2, **settings)
    return [objective, objective.metric]


@FACTORIES
def test_objectives_and_metrics_are_values(factory):
    for value in of_factory(factory):
        twins = [pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)]
        assert all(twin == value and hash(twin) == hash(value) for twin in twins)
        assert value != type(value)(0.5, 1)
        with pytest.raises(AttributeError, match="cannot assign"):
            value.margin = 1.0


@FACTORIES
def test_an_objective_shows_its_settings(factory):
    assert repr(factory()).endswith("Objective(margin=1.0, power=1)")
    assert repr(factory(0)).endswith("Objective(margin=0.0, power=1)")
    assert repr(factory(2, power=2).metric).endswith("Metric(margin=2.0, power=2)")
    assert factory().metric != factory()


@pytest.mark.parametrize("discount", [False, True])
def test_a_score_that_is_not_finite_is_named(discount):
    objective = objectives.lightgbm(discount=discount)
    with pytest.raises(ValueError, match=r"^scores\[1\] is nan; scores must be finite"):
        objective([1, 0, 0], [0.5, np.nan, 0.0], None, [3])


@FACTORIES
def test_losers_are_part_of_the_value(factory):
    for value, more in zip(of_factory(factory, losers=1), of_factory(factory, losers=0.5), strict=True):
        assert repr(value).endswith("(margin=0.5, power=2, losers=1)")
        twins = [pickle.loads(pickle.dumps(value)), copy.deepcopy(value), type(value)(0.5, 2, np.int8(1))]
        assert all(twin == value and hash(twin) == hash(value) and twin.losers == 1 for twin in twins)
        others = [more, *(type(value)(0.5, 2, losers) for losers in (None, 2, 1.0))]  # 1.0 is all of them
        assert len({value, *twins, *others}) == 5
        assert value != (0.5, 2, 1)


@FACTORIES
def test_the_discount_is_part_of_the_value(factory):
    for plain, value in zip(of_factory(factory), of_factory(factory, discount=np.True_), strict=True):
        assert repr(value).endswith("(margin=0.5, power=2, discount=True)")
        assert value != plain and value == type(value)(0.5, 2, discount=True) == pickle.loads(pickle.dumps(value))
        assert plain == type(plain)(0.5, 2, discount=False)


@FACTORIES
def test_settings_are_checked_when_made(factory):
    with pytest.raises(ValueError, match=r"^power is 3; it must be 1 for the hinge or 2 for the squared hinge$"):
        factory(power=3)
    with pytest.raises(ValueError, match=r"^margin is nan; it must be finite$"):
        factory(margin=float("nan"))
    with pytest.raises(TypeError, match="margin"):
        factory(margin="1")
    with pytest.raises(ValueError, match=r"^losers is 0; it must be None for all rows of lower label"):
        factory(losers=0)
    with pytest.raises(TypeError, match=r"^discount is 'log2'; it must be True or False$"):
        factory(discount="log2")


def test_signatures_are_those_that_the_libraries_count():
    for value in of_factory(objectives.lightgbm):
        assert list(inspect.signature(value).parameters) == ["y_true", "y_pred", "weight", "group"]
    for value in of_factory(objectives.xgboost):
        assert len(inspect.signature(value).parameters) == 2


def test_neither_library_is_imported():
    script = (
        "import sys; from numbarank import objectives; objectives.xgboost(); "
        "objectives.lightgbm()([1, 0], [0.5, 1.0], None, [2]); "
        "print({'lightgbm', 'xgboost', 'sklearn'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"


# ---------------------------------------------------------------- derivatives


def test_derivatives_of_the_hinge_by_hand():
    labels, scores, group = [1, 0, 2, 0], np.array([0.0, 0.5, 2.0, 9.0]), [3, 1]
    gradient, hessian = objectives.lightgbm(margin=2.0)(labels, scores, None, group)
    # all three pairs are active: row 2 over row 0 is right at the margin, and row 3 has no partner
    assert gradient.tolist() == [-1 + 1, 1 + 1, -1 - 1, 0]
    assert hessian.tolist() == [2, 2, 2, 1]


def test_derivatives_of_the_squared_hinge_by_hand():
    labels, scores, group = [1, 0, 2, 0], np.array([0.0, 0.5, 2.0, 9.0]), [3, 1]
    gradient, hessian = objectives.lightgbm(margin=2.0, power=2)(labels, scores, None, group)
    # row 0 over row 1 lacks 2.5, row 2 over row 0 nothing, row 2 over row 1 0.5
    assert gradient.tolist() == [-2 * 2.5, 2 * 2.5 + 2 * 0.5, -2 * 0.5, 0]
    assert hessian.tolist() == [2 * 2, 2 * 2, 2 * 2, 0]


@pytest.mark.parametrize("power", [1, 2])
def test_derivatives_of_the_hardest_losers_by_hand(power):
    labels, scores, group = [1, 0, 0, 2, 0], np.array([0.0, 0.5, 2.0, 3.0, 9.0]), [4, 1]
    objective = objectives.lightgbm(margin=2.0, power=power, losers=1)
    gradient, hessian = objective(labels, scores, None, group)
    # row 0 meets row 2 alone, and lacks 4; row 3 meets row 2 alone, and lacks 1
    if power == 1:
        assert gradient.tolist() == [-1, 0, 1 + 1, -1, 0]
        assert hessian.tolist() == [1, 1, 2, 1, 1]
    else:
        assert gradient.tolist() == [-2 * 4, 0, 2 * 4 + 2 * 1, -2 * 1, 0]
        assert hessian.tolist() == [2, 0, 2 * 2, 2, 0]
    assert objective.metric(labels, scores, None, group)[1] == (4**power + 1) / 2


def test_a_pair_weighs_the_product_of_its_rows():
    labels, scores, weights = [1, 0, 2, 0], np.array([0.0, 0.5, 2.0, 9.0]), np.array([2, 3, 0.5, 4], np.float32)
    gradient, hessian = objectives.lightgbm(margin=2.0)(labels, scores, weights, [3, 1])
    assert gradient.tolist() == [-2 * 3 + 2 * 0.5, 2 * 3 + 3 * 0.5, -2 * 0.5 - 3 * 0.5, 0]
    assert hessian.tolist() == [2 * 3 + 2 * 0.5, 2 * 3 + 3 * 0.5, 2 * 0.5 + 3 * 0.5, 4 * 4]


def of_all_pairs(labels, scores, weights, group, power, margin=1.0):
    """Gradient, hessian and mean of discounted pairs, pair by pair."""
    queries = np.repeat(np.arange(len(group)), group)
    same = queries[:, None] == queries
    above, tied = same & (scores > scores[:, None]), same & (scores == scores[:, None])
    places = 1 + above.sum(axis=1) + (tied.sum(axis=1) - 1) / 2
    weights = weights / np.log2(1 + places)
    gradient, hessian, losses, of_pairs = np.zeros(len(labels)), np.zeros(len(labels)), [], []
    for winner, loser in np.argwhere(same & (labels[:, None] > labels)):
        weight, lacks = weights[winner] * weights[loser], margin - (scores[winner] - scores[loser])
        of_pairs.append(weight)
        losses.append(weight * max(lacks, 0) ** power)
        if lacks >= 0:
            slope = weight * power * lacks ** (power - 1)
            gradient[[winner, loser]] += -slope, slope
            hessian[[winner, loser]] += power * weight
    if power == 1:
        hessian = np.where(hessian > 0, hessian, weights**2)
    return gradient, hessian, sum(losses) / sum(of_pairs)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("power", [1, 2])
def test_discounted_derivatives_are_those_of_all_pairs(power, weighted):
    _, labels, weights = graded()
    weights = weights if weighted else None
    scores = np.round(4 * np.random.default_rng(1).standard_normal(len(labels))) / 4  # ties, and pairs at the margin
    objective = objectives.lightgbm(power=power, discount=True)
    gradient, hessian = objective(labels, scores, weights, SIZES)
    *expected, mean = of_all_pairs(labels, scores, 1.0 if weights is None else weights, SIZES, power)
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(hessian, expected[1], rtol=1e-6)
    assert objective.metric(labels, scores, weights, SIZES)[1] == pytest.approx(mean, rel=1e-6)


def test_a_discount_of_tied_rows_is_that_of_their_mean_place():
    gradient, hessian = objectives.lightgbm(discount=True)([1, 0, 0], np.zeros(3), None, [3])
    weight = 1 / np.log2(1 + 2) ** 2
    np.testing.assert_allclose(gradient, [-2 * weight, weight, weight], rtol=1e-12)
    np.testing.assert_allclose(hessian, [2 * weight, weight, weight], rtol=1e-12)


def test_a_discount_goes_with_losers():
    labels, scores, group = [1, 0, 0, 2], np.array([0.0, 0.5, 2.0, 3.0]), [4]
    gradient, _ = objectives.lightgbm(margin=2.0, losers=1, discount=True)(labels, scores, None, group)
    by_row = 1 / np.log2(1 + np.array([4, 3, 2, 1]))
    first, second = by_row[0] * by_row[2], by_row[3] * by_row[2]  # rows 0 and 3 meet row 2
    np.testing.assert_allclose(gradient, [-first, 0, first + second, -second], rtol=1e-12)


def test_a_discount_names_the_rows_that_do_not_fit():
    with pytest.raises(ValueError, match="the counts in group add up to 2 and scores has 3 rows"):
        objectives.lightgbm(discount=True)([1, 0, 2], np.zeros(3), None, [2])


@pytest.mark.parametrize("power", [1, 2])
def test_all_weights_times_a_factor_change_no_step(power):
    _, labels, weights = graded()
    scores, objective = np.random.default_rng(1).standard_normal(len(labels)), objectives.lightgbm(power=power)
    for one, other in zip(
        objective(labels, scores, weights, SIZES), objective(labels, scores, 2**-10 * weights, SIZES), strict=True
    ):
        np.testing.assert_allclose(other, 2**-20 * one, rtol=1e-12)


def derivative(function, scores, row, step=1e-4):
    """Central differences by one score."""
    up, down = scores.copy(), scores.copy()
    up[row] += step
    down[row] -= step
    return (function(up) - function(down)) / (2 * step)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_derivatives_of_the_squared_hinge_by_finite_differences(weighted):
    _, labels, weights = graded(sizes=[20])
    weights = weights if weighted else None
    # on a grid of 1/8, or 1/32 beside it: no pair is closer than 1/32 to the margin
    scores = np.round(8 * np.random.default_rng(1).standard_normal(20)) / 8 + np.arange(20) % 2 / 32
    objective = objectives.lightgbm(margin=0.9375, power=2)
    gradient, hessian = objective(labels, scores, weights, [20])

    def loss(scores):
        return float(nr.pairwise_hinge_loss(scores, labels, margin=0.9375, power=2, weights=weights, reduction="sum"))

    assert (hessian > 0).sum() >= 15
    for row in range(20):
        assert derivative(loss, scores, row) == pytest.approx(gradient[row], rel=1e-6, abs=1e-6)
        slope = derivative(lambda scores, row=row: objective(labels, scores, weights, [20])[0][row], scores, row)
        assert slope == pytest.approx(hessian[row], rel=1e-9, abs=1e-9)


# ---------------------------------------------------------------- LightGBM


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_one_object_for_train_and_for_the_ranker(lightgbm, weighted):
    imported("sklearn")
    x, labels, weights = graded()
    weights = weights if weighted else None
    objective = objectives.lightgbm()
    data = lightgbm.Dataset(x, labels, group=SIZES, weight=weights)
    booster = lightgbm.train({**QUIET, "objective": objective, "min_data_in_leaf": 5}, data, ROUNDS)
    ranker = lightgbm.LGBMRanker(objective=objective, n_estimators=ROUNDS, min_child_samples=5, verbosity=-1, n_jobs=1)
    ranker.fit(x, labels, group=SIZES, sample_weight=weights)
    scores = booster.predict(x)
    assert np.unique(scores).size > 5
    np.testing.assert_array_equal(ranker.predict(x), scores)


def test_weights_change_what_lightgbm_learns(lightgbm):
    x, labels, weights = graded()
    parameters = {**QUIET, "objective": objectives.lightgbm(), "min_data_in_leaf": 5}
    plain, weighted = (
        lightgbm.train(parameters, lightgbm.Dataset(x, labels, group=SIZES, weight=w), ROUNDS).predict(x)
        for w in (None, weights)
    )
    assert not np.array_equal(plain, weighted)


@pytest.mark.parametrize(("power", "name"), [(1, "pairwise_hinge"), (2, "pairwise_squared_hinge")])
def test_the_metric_of_lightgbm_is_the_mean_loss(lightgbm, power, name):
    x, labels, weights = graded()
    objective = objectives.lightgbm(power=power)
    data, seen = lightgbm.Dataset(x, labels, group=SIZES, weight=weights), {}
    again = lightgbm.Dataset(x, labels, group=SIZES, weight=weights, reference=data)
    booster = lightgbm.train(
        {**QUIET, "objective": objective, "metric": "None", "min_data_in_leaf": 5},
        data,
        ROUNDS,
        valid_sets=[again],
        feval=objective.metric,
        callbacks=[lightgbm.record_evaluation(seen), lightgbm.early_stopping(3, verbose=False)],
    )
    logged = seen["valid_0"][name]
    expected = nr.pairwise_hinge_loss(booster.predict(x), labels, group=SIZES, power=power, weights=weights)
    assert len(logged) == ROUNDS and logged == sorted(logged, reverse=True)
    assert logged[-1] == pytest.approx(float(expected), rel=1e-6)
    assert booster.best_iteration == ROUNDS


def test_lightgbm_trains_on_the_hardest_losers(lightgbm):
    x, labels, weights = graded()
    objective = objectives.lightgbm(losers=0.25)
    data, seen = lightgbm.Dataset(x, labels, group=SIZES, weight=weights), {}
    parameters = {**QUIET, "objective": objective, "metric": "None", "min_data_in_leaf": 5}
    keywords = {"feval": objective.metric, "callbacks": [lightgbm.record_evaluation(seen)]}
    scores = lightgbm.train(parameters, data, ROUNDS, valid_sets=[data], **keywords).predict(x)
    logged = seen["training"]["pairwise_hinge"]
    expected = nr.pairwise_hinge_loss(scores, labels, group=SIZES, weights=weights, losers=0.25)
    assert logged[-1] == pytest.approx(float(expected), rel=1e-6) and logged[-1] < logged[0]
    every = lightgbm.train({**parameters, "objective": objectives.lightgbm()}, data, ROUNDS).predict(x)
    assert not np.array_equal(scores, every)


def test_queries_and_labels_that_lambdarank_of_lightgbm_refuses(lightgbm):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((10_001, 2)), rng.standard_normal(10_001)
    objective = objectives.lightgbm(losers=0.01)
    settings = {"group": [len(x)], "params": QUIET}
    booster = lightgbm.train({**QUIET, "objective": objective}, lightgbm.Dataset(x, labels, **settings), 1)
    assert np.ptp(booster.predict(x)) > 0
    for group, words in (([5000, 5001], "label should be int type"), ([10_001], "10001 exceeds upper limit of 10000")):
        data = lightgbm.Dataset(x, labels, group=group, params=QUIET)
        with pytest.raises(lightgbm.basic.LightGBMError, match=words):
            lightgbm.train({**QUIET, "objective": "lambdarank"}, data, 1)


def test_a_ranker_is_measured_cloned_and_pickled(lightgbm):
    base = imported("sklearn.base")
    x, labels, _ = graded()
    objective = objectives.lightgbm()
    ranker = lightgbm.LGBMRanker(objective=objective, n_estimators=ROUNDS, min_child_samples=5, verbosity=-1, n_jobs=1)
    ranker = base.clone(ranker)
    assert ranker.objective == objective
    ranker.fit(x, labels, group=SIZES, eval_X=(x,), eval_y=(labels,), eval_group=[SIZES], eval_metric=objective.metric)
    scores = ranker.predict(x)
    expected = float(nr.pairwise_hinge_loss(scores, labels, group=SIZES))
    (logged,) = (values["pairwise_hinge"] for values in ranker.evals_result_.values())
    assert logged[-1] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ranker)).predict(x), scores)


def test_cross_validation_of_lightgbm_with_folds_of_queries(lightgbm):
    selection = imported("sklearn.model_selection")
    x, labels, _ = graded()
    objective, queries = objectives.lightgbm(), np.repeat(np.arange(len(SIZES)), SIZES)
    parameters = {**QUIET, "objective": objective, "metric": "None", "min_data_in_leaf": 5}
    data, folds = lightgbm.Dataset(x, labels, group=SIZES), selection.GroupKFold(3)
    results = lightgbm.cv(parameters, data, ROUNDS, folds=folds, feval=objective.metric, return_cvbooster=True)
    boosters = results["cvbooster"].boosters
    losses = [
        float(nr.pairwise_hinge_loss(booster.predict(x[rows]), labels[rows], qid=queries[rows]))
        for booster, (_, rows) in zip(boosters, folds.split(x, groups=queries), strict=True)
    ]
    assert results["valid pairwise_hinge-mean"][-1] == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_saved_lightgbm_model_needs_no_objective(lightgbm, tmp_path):
    x, labels, _ = graded()
    parameters = {**QUIET, "objective": objectives.lightgbm(), "min_data_in_leaf": 5}
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, labels, group=SIZES), ROUNDS)
    booster.save_model(tmp_path / "model.txt")
    np.testing.assert_array_equal(lightgbm.Booster(model_file=tmp_path / "model.txt").predict(x), booster.predict(x))
    more = lightgbm.train(
        parameters, lightgbm.Dataset(x, labels, group=SIZES), ROUNDS, init_model=tmp_path / "model.txt"
    )
    first, last = (nr.pairwise_hinge_loss(model.predict(x), labels, group=SIZES) for model in (booster, more))
    assert last < first


def test_a_lightgbm_dataset_without_groups_is_refused(lightgbm):
    x, labels, _ = graded()
    objective = objectives.lightgbm()
    for callback in (objective, objective.metric):
        with pytest.raises(ValueError, match=r"no query groups.*pass group, .* to lightgbm\.Dataset or to LGBMRanker"):
            callback(np.zeros(len(x)), lightgbm.Dataset(x, labels, params=QUIET).construct())
        with pytest.raises(ValueError, match="no query groups"):
            callback(labels, np.zeros(len(x)))


# ---------------------------------------------------------------- XGBoost


def xgboost_train(xgboost, data, objective, **keywords):
    parameters = {"objective": "rank:pairwise", "eval_metric": "ndcg@10", "nthread": 1}
    return xgboost.train(parameters, data, ROUNDS, obj=objective, verbose_eval=False, **keywords)


def test_xgboost_takes_groups_from_ids_and_counts(xgboost):
    x, labels, _ = graded()
    rows = np.repeat(np.arange(len(SIZES)), SIZES)
    scores = [
        xgboost_train(xgboost, data, objectives.xgboost()).predict(xgboost.DMatrix(x))
        for data in (
            xgboost.DMatrix(x, labels, group=SIZES),
            xgboost.DMatrix(x, labels, qid=rows),
            xgboost.QuantileDMatrix(x, labels, qid=rows),
        )
    ]
    assert np.unique(scores[0]).size > 5
    np.testing.assert_array_equal(scores[1], scores[0])
    assert nr.pairwise_hinge_loss(scores[2], labels, group=SIZES) == pytest.approx(
        nr.pairwise_hinge_loss(scores[0], labels, group=SIZES), rel=0.2
    )


@pytest.mark.parametrize("discount", [False, True])
@pytest.mark.parametrize("power", [1, 2])
def test_xgboost_derivatives_are_those_of_lightgbm_times_the_weight_of_the_group(xgboost, power, discount):
    x, labels, _ = graded()
    weights = np.random.default_rng(2).integers(0, 6, len(SIZES)).astype(np.float32)
    scores = np.round(8 * x[:, 1]).astype(np.float32) / 8
    settings = {"power": power, "discount": discount}
    plain = objectives.lightgbm(**settings)(labels, scores, None, SIZES)
    of_rows = np.repeat(weights, SIZES)
    for weight, factor in ((None, 1), (weights, of_rows)):
        data = xgboost.DMatrix(x, labels, group=SIZES, weight=weight)
        derivatives = objectives.xgboost(**settings)(scores, data)
        for ours, expected in zip(derivatives, plain, strict=True):
            np.testing.assert_allclose(ours, factor * expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("power", "name"), [(1, "pairwise_hinge"), (2, "pairwise_squared_hinge")])
def test_the_metric_of_xgboost_is_the_mean_loss(xgboost, power, name):
    x, labels, _ = graded()
    weights = np.arange(len(SIZES)) % 3
    objective = objectives.xgboost(power=power)
    data, seen = xgboost.DMatrix(x, labels, group=SIZES, weight=weights), {}
    booster = xgboost_train(
        xgboost,
        data,
        objective,
        evals=[(data, "train")],
        evals_result=seen,
        custom_metric=objective.metric,
        early_stopping_rounds=3,
    )
    logged = seen["train"][name]
    pairs = {"labels": labels, "group": SIZES, "power": power}
    losses = nr.pairwise_hinge_loss(booster.predict(data), **pairs, reduction="none")
    counts = nr.pairwise_hinge_loss(np.zeros(len(x)), **pairs, reduction="none")  # each pair lacks 1
    assert len(logged) == ROUNDS and logged == sorted(logged, reverse=True)
    assert logged[-1] == pytest.approx(weights @ losses / (weights @ counts), abs=2e-6)  # xgboost logs six digits
    assert booster.best_iteration == ROUNDS - 1


def test_xgboost_trains_on_the_hardest_losers(xgboost):
    x, labels, _ = graded()
    objective = objectives.xgboost(losers=0.25)
    data, seen = xgboost.DMatrix(x, labels, group=SIZES), {}
    keywords = {"evals": [(data, "train")], "evals_result": seen, "custom_metric": objective.metric}
    scores = xgboost_train(xgboost, data, objective, **keywords).predict(data)
    logged, expected = seen["train"]["pairwise_hinge"], nr.pairwise_hinge_loss(scores, labels, group=SIZES, losers=0.25)
    assert logged[-1] == pytest.approx(float(expected), abs=2e-6) and logged[-1] < logged[0]
    assert not np.array_equal(scores, xgboost_train(xgboost, data, objectives.xgboost()).predict(data))


def test_a_saved_xgboost_model_needs_no_objective(xgboost, tmp_path):
    x, labels, _ = graded()
    data = xgboost.DMatrix(x, labels, group=SIZES)
    booster = xgboost_train(xgboost, data, objectives.xgboost())
    booster.save_model(tmp_path / "model.json")
    loaded = xgboost.Booster(model_file=tmp_path / "model.json")
    np.testing.assert_array_equal(loaded.predict(data), booster.predict(data))
    more = xgboost_train(xgboost, data, objectives.xgboost(), xgb_model=loaded)
    first, last = (nr.pairwise_hinge_loss(model.predict(data), labels, group=SIZES) for model in (booster, more))
    assert last < first


def test_cross_validation_of_xgboost_keeps_queries_together(xgboost):
    x, labels, _ = graded()
    objective, sizes_seen = objectives.xgboost(), []

    def spy(scores, matrix):
        sizes_seen.extend(np.diff(matrix.get_uint_info("group_ptr")))
        return objective(scores, matrix)

    data = xgboost.DMatrix(x, labels, group=SIZES)
    results = xgboost.cv({"nthread": 1}, data, 1, nfold=3, obj=spy, custom_metric=objective.metric, as_pandas=False)
    assert sorted(sizes_seen) == sorted(2 * SIZES)
    assert results["train-pairwise_hinge-mean"][0] < 1


def test_a_dmatrix_without_groups_is_refused(xgboost):
    x, labels, _ = graded()
    with pytest.raises(ValueError, match=r"the DMatrix has no query groups.*pass qid, .* to xgboost\.DMatrix"):
        xgboost_train(xgboost, xgboost.DMatrix(x, labels), objectives.xgboost())


def test_estimators_of_xgboost_are_refused(xgboost):
    imported("sklearn")
    x, labels, _ = graded()
    with pytest.raises(ValueError, match="custom objective function not supported by XGBRanker"):
        xgboost.XGBRanker(objective=objectives.xgboost())
    with pytest.raises(TypeError, match=r"is a ndarray; it must be the DMatrix .* use xgboost\.train\(obj=\.\.\.\)"):
        xgboost.XGBRegressor(objective=objectives.xgboost(), n_estimators=1, n_jobs=1).fit(x, labels)


# ---------------------------------------------------------------- both


def easy():
    """Pairs that are all in order as soon as anything was learned."""
    labels = np.arange(400) % 2
    return np.column_stack([labels, np.zeros(400)]), labels, {"group": [20] * 20}


@pytest.mark.parametrize("power", [1, 2])
def test_nothing_left_to_learn_in_lightgbm(lightgbm, power):
    x, labels, group = easy()
    parameters = {**QUIET, "objective": objectives.lightgbm(power=power), "learning_rate": 0.6}
    data = lightgbm.Dataset(x, labels, **group)
    scores = lightgbm.train({**parameters, "min_sum_hessian_in_leaf": 0}, data, 8).predict(x)
    np.testing.assert_allclose(np.unique(scores), [-0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize("power", [1, 2])
def test_nothing_left_to_learn_in_xgboost(xgboost, power):
    x, labels, group = easy()
    data = xgboost.DMatrix(x, labels, **group)
    parameters = {"nthread": 1, "eta": 0.6, "lambda": 0, "min_child_weight": 0, "base_score": 0}
    scores = xgboost.train(parameters, data, 8, obj=objectives.xgboost(power=power)).predict(data)
    np.testing.assert_allclose(np.unique(scores), [-0.6, 0.6], rtol=1e-6)


TWO_POOLS = """
import sys
import threading
import numpy as np
{imports}
from numbarank import objectives

rng = np.random.default_rng(0)
x = rng.standard_normal((6000, 3))
y = np.digitize(x[:, 0], [0, 1])
group = np.full(60, 100)
scores = {{}}

def with_lightgbm():
    data = lightgbm.Dataset(x, y, group=group, params={{"verbosity": -1}})
    settings = {{"objective": objectives.lightgbm(), "num_threads": 2, "verbosity": -1}}
    scores["lightgbm"] = lightgbm.train(settings, data, 3).predict(x)

def with_xgboost():
    data = xgboost.DMatrix(x, y, group=group)
    scores["xgboost"] = xgboost.train({{"nthread": 2}}, data, 3, obj=objectives.xgboost()).predict(data)

with_lightgbm()
with_xgboost()
alone = scores.copy()
scores.clear()
threads = [threading.Thread(target=train) for train in (with_lightgbm, with_xgboost)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert all(np.array_equal(alone[name], scores[name]) and np.ptp(alone[name]) > 0.1 for name in ("lightgbm", "xgboost"))
print("done")
"""


@pytest.mark.parametrize("imports", ["import lightgbm, xgboost", "import numbarank, xgboost, lightgbm"])
def test_thread_pools_live_beside_each_other(lightgbm, xgboost, imports):
    finished = subprocess.run(
        [sys.executable, "-c", TWO_POOLS.format(imports=imports)], capture_output=True, text=True, timeout=300
    )
    assert (finished.returncode, finished.stdout) == (0, "done\n"), finished.stderr


@pytest.fixture
def script(monkeypatch):
    """The timing script, everything on one thread: then shares of the time are the same on a busy machine."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield importlib.import_module("time_objectives")
    numba.set_num_threads(before)


@pytest.mark.parametrize("name", ["LightGBM", "XGBoost"])
def test_as_good_as_the_librarys_own_at_a_fifth_of_the_training_time(script, name, capsys):
    imported(name.lower())
    train, test = (script.graded_lists(300, 80, 136, seed) for seed in (0, 1))
    library = getattr(script, name)(train, threads=1)
    own = script.measure(library, library.own[0], 0.1, 60, test)  # of the two rates, its better one
    library.train(library.ours(), 0.3, rounds=1)  # compiles
    for power in (1, 2):
        ours = script.measure(library, library.ours(power=power), 0.3, 60, test)
        with capsys.disabled():
            print(
                f"\n{name}, power {power}: NDCG@10 {ours.ndcg:.3f}, {library.own[0]} {own.ndcg:.3f}; "
                f"{ours.share:.0%} of the training in the objective"
            )
        assert ours.ndcg > own.ndcg - 0.03
        assert ours.share < 0.2


@pytest.mark.parametrize("name", ["LightGBM", "XGBoost"])
def test_discounts_close_the_gap_of_a_short_training(script, name, capsys):
    imported(name.lower())
    gains = []
    for seed in (0, 2):
        train, test = (script.graded_lists(200, 120, 40, seed) for seed in (seed, seed + 1))
        library = getattr(script, name)(train, threads=1)
        ours = ({}, {"discount": True}, {"discount": True, "power": 2})
        candidates = library.own[0], *(library.ours(**settings) for settings in ours)
        gains.append([script.measure(library, objective, 0.1, 60, test).ndcg for objective in candidates])
    own, plain, hinge, squared = np.mean(gains, axis=0)
    with capsys.disabled():
        print(f"\n{name}: NDCG@10 {plain:.3f}, with discounts {hinge:.3f}, squared {squared:.3f}, its own {own:.3f}")
    gap = own - plain
    assert gap > 0.02  # else there is nothing to close
    assert hinge > plain + gap / 3
    assert squared > plain + gap / 2
