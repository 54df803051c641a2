# %% [markdown]
# # Search results with grades
#
# For each of 400 queries a judge has graded twenty results, from 0 (useless) to 4 (just what was meant). Ten features
# describe a result. We look for one weight for each feature, so that in every list the better result scores higher.

# %%
import numbarank as nr
import numpy as np
from matplotlib.figure import Figure

# %% [markdown]
# The data is made up by a fixed generator: three features say something about the relevance, the others nothing. Each
# query shifts the features of all its results, which no order within a list depends on. Half of the queries test.

# %%
rng = np.random.default_rng(0)
queries, length = 400, 20
truth = np.array([1.0, 0.7, -0.5, 0, 0, 0, 0, 0, 0, 0])
features = rng.standard_normal((queries, length, 10))
relevance = features @ truth + rng.normal(0, 0.7, (queries, length))
grades = np.digitize(relevance, [0.5, 1.2, 1.9, 2.6])
features += rng.normal(0, 2, (queries, 1, 10))
train, test = slice(None, 200), slice(200, None)
print("results of each grade, 0 to 4:", *np.bincount(grades.ravel()))

# %% [markdown]
# NDCG@10 looks at the first ten results of a list: a result gains `2 ** grade - 1`, less the further down it stands,
# and 1 is the best order there is. The baseline is the best feature by itself.


# %%
def ndcg(scores, grades):
    discounts = 1 / np.log2(np.arange(2, 12))
    by_score, by_grade = (np.argsort(-order, axis=-1)[:, :10] for order in (scores, grades))
    gain, ideal = (
        (2.0 ** np.take_along_axis(grades, top, axis=1) - 1) @ discounts
        for top in (by_score, by_grade)
    )
    return np.mean(gain[ideal > 0] / ideal[ideal > 0])


best = max(range(10), key=lambda feature: ndcg(features[train, :, feature], grades[train]))
before = ndcg(features[test, :, best], grades[test])
print(f"NDCG@10 of feature {best} by itself: {before:.3f}")

# %% [markdown]
# Scores and grades of all lists stand in one array, row after row, and `Groups` says where a list ends. It is made
# once, since every step asks for the same lists. `pairwise_hinge_loss_and_grad` takes all pairs of different grades of
# each list, and never forms them: its time is that of sorting the lists.

# %%
rows, labels = features[train].reshape(-1, 10), grades[train].ravel()
groups = nr.Groups(group=np.full(200, length))
weights = np.zeros(10)
for _ in range(50):
    loss, by_score = nr.pairwise_hinge_loss_and_grad(
        rows @ weights, labels, group=groups, power=2
    )
    weights -= 0.1 * by_score @ rows
after = ndcg(features[test] @ weights, grades[test])
print(f"loss of a pair {loss:.3f}; NDCG@10 on the test queries {after:.3f}")
print("truth  ", *(f"{weight:6.2f}" for weight in truth / truth[0]))
print("weights", *(f"{weight:6.2f}" for weight in weights / weights[0]))

# %% [markdown]
# Only the order counts, so the weights are known up to a factor; divided by the first one, they come near those that
# made the data. Where do the good results stand now?

# %%
orders = {
    "one feature": features[test, :, best],
    "trained weights": features[test] @ weights,
    "best possible": grades[test],
}
places = {}
for name, scores in orders.items():
    by_score = np.argsort(-scores, axis=1)
    places[name] = np.take_along_axis(grades[test], by_score, axis=1).mean(axis=0)
    print(f"{name:15}  mean grade of the first three:", places[name][:3].round(2))

# %%
figure = Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
for (name, means), line in zip(places.items(), ("dashed", "solid", "dotted"), strict=True):
    axes.plot(np.arange(1, length + 1), means, color="black", linestyle=line, label=name)
axes.set(xlabel="place in the list (1 is the top)", ylabel="mean grade (0 to 4)")
axes.set_title("Where the good results of 200 test queries stand")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("search_results.png", dpi=150)

# %% [markdown]
# ![Mean grade over the place in the list. It falls for all three orders; with the trained weights the top places come
# near the best possible order, with one feature they stay far below it.](search_results.png)
#
# For trees instead of weights there are [objectives for LightGBM and XGBoost](../boosting.md), and [the comparison with
# other packages](../benchmarks.md) has larger lists, where weights are not enough.
