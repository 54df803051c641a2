# %% [markdown]
# # Siamese embeddings with a margin for each pair
#
# People were shown three objects and asked: which of these two is more like the first one, and *by how much*? From 400
# such answers we learn a map in which similar objects are near. The same weights embed all three objects, which is what
# makes a model siamese; and each answer brings a margin of its own, which the loss takes as an array.

# %%
import numbarank as nr
import numpy as np
from matplotlib.figure import Figure

# %% [markdown]
# The answers are made up, so that there is a truth to compare with. An object has a place in the plane that nobody
# sees, and twenty measurements that bend with it. An answer is the difference of two distances: how much farther away
# one of the objects is. Between one and five people agreed on it; the more they were, the smaller its error.

# %%
rng = np.random.default_rng(0)
places = rng.uniform(-1, 1, (200, 2))
measured = np.tanh(2 * places @ rng.standard_normal((2, 20)) + rng.standard_normal(20))
measured += 0.05 * rng.standard_normal((200, 20))
first, near, far = rng.permuted(np.tile(np.arange(200), (3000, 1)), axis=1)[:, :3].T
farther = np.linalg.norm(places[first] - places[far], axis=1)
farther -= np.linalg.norm(places[first] - places[near], axis=1)
near, far = np.where(farther > 0, near, far), np.where(farther > 0, far, near)
truth, judges = abs(farther), rng.integers(1, 6, 3000)
answers = np.maximum(truth + rng.normal(0, 0.1, 3000) / np.sqrt(judges), 0)
few, more, test = slice(400), slice(1000), slice(1000, None)
print(f"answers from {answers.min():.1f} to {answers.max():.1f}, mean {answers.mean():.2f}")

# %% [markdown]
# The similarity of two objects is their distance in the map, negated. The nearer pair should have the higher one, by
# the margin, and an answer weighs as much as it has judges. `margin_ranking_loss_and_grad` returns the gradients by
# both similarities; from there they go back to the weights by the chain rule, the same way for both pairs.


# %%
def similarity(weights, one, other):
    difference = measured[one] - measured[other]
    embedded = difference @ weights
    distance = np.linalg.norm(embedded, axis=1)
    slopes = embedded / distance[:, None]
    return -distance, lambda upstream: -difference.T @ (slopes * upstream[:, None])


def fit(asked, margin):
    weights = 0.1 * np.random.default_rng(1).standard_normal((20, 2))
    for _ in range(500):
        to_near, near_back = similarity(weights, first[asked], near[asked])
        to_far, far_back = similarity(weights, first[asked], far[asked])
        _, (by_near, by_far) = nr.margin_ranking_loss_and_grad(
            to_near, to_far, 1, margin=margin, weights=judges[asked]
        )
        weights -= 0.1 * (near_back(by_near) + far_back(by_far) + 0.01 * weights)
    return weights


# %% [markdown]
# Three maps. The first two ask for the same distance in every answer, their average, and the second one sees 1,000
# answers instead of 400. The third one asks for the distance that was named.

# %%
maps = {
    "one margin": fit(few, answers[few].mean()),
    "one margin, 1,000 answers": fit(more, answers[more].mean()),
    "a margin for each pair": fit(few, answers[few]),
}
gaps, agreement = {}, {}
for name, weights in maps.items():
    to_near, _ = similarity(weights, first[test], near[test])
    to_far, _ = similarity(weights, first[test], far[test])
    gaps[name] = to_near - to_far
    agreement[name] = np.corrcoef(gaps[name], truth[test])[0, 1]
    order = np.mean(gaps[name] > 0)
    print(f"{name:25}  {order:.1%} of new pairs in order, correlation {agreement[name]:.3f}")

# %% [markdown]
# The correlation is that of the differences of distances, in the map and in truth. An answer with its margin says more
# than which object is nearer: 400 of them make as good a map as 1,000 without.

# %%
figure = Figure(figsize=(7.5, 3.6), layout="constrained")
panels = figure.subplots(1, 2, sharex=True, sharey=True)
for axes, name in zip(panels, ("one margin", "a margin for each pair"), strict=True):
    axes.plot(truth[test], gaps[name], ".", color="black", markersize=2, alpha=0.4)
    axes.axline((0, 0), slope=1, color="0.5", linestyle="dashed")
    axes.set(title=f"{name}: {agreement[name]:.2f}", xlabel="truth (units of the plane)")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("map (units of the margin)")
figure.suptitle("How much farther an object is, in 2,000 new answers; correlation")
figure.savefig("embeddings.png", dpi=150)

# %% [markdown]
# ![Two clouds of points, the differences of distances in the map over the true ones. With one margin the cloud is wide,
# with a margin for each pair it is narrower and nearer to the diagonal.](embeddings.png)
#
# On the dashed line a difference in the map is as large as the true one; the hinge pulls up what is smaller. A network
# in the place of the weights takes the same two gradients; in PyTorch, `numbarank.torch` hands them to
# [autograd](../torch.md) by itself.
