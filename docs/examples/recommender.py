# %% [markdown]
# # A recommender
#
# Six hundred people, four hundred films, and who liked what: nothing else is known. A film that somebody liked should
# score above the films that this person has not seen. The data is made up, so that nobody's terms are touched and we
# know that there is something to find; [Recommending films](../recommending.md) does the same with real ratings.

# %%
import numbarank as nr
import numpy as np
from matplotlib.figure import Figure

# %% [markdown]
# Everybody has a taste and every film a character, six numbers each, which the training never sees. Some films are also
# popular with everybody. Each person likes thirty films; six of these are held out to measure the recommendations.

# %%
rng = np.random.default_rng(0)
people, films = rng.standard_normal((600, 6)), rng.standard_normal((400, 6))
popularity = rng.standard_normal(400)
interest = people @ films.T + popularity + rng.gumbel(size=(600, 400))
favourites = rng.permuted(np.argsort(-interest, axis=1)[:, :30], axis=1)
liked, held_out = np.zeros((2, 600, 400), bool)
np.put_along_axis(liked, favourites[:, 6:], True, axis=1)
np.put_along_axis(held_out, favourites[:, :6], True, axis=1)
print(f"{liked.sum():,} likes to learn from, {held_out.sum():,} held out")

# %% [markdown]
# Ten films are recommended to each person, none that is known to be liked. Recall is the share of the six held-out
# films among them. The baseline recommends to everybody what most people like:


# %%
def recall(scores):
    recommended = np.argsort(-np.where(liked, -np.inf, scores), axis=1)[:, :10]
    return np.take_along_axis(held_out, recommended, axis=1).sum() / held_out.sum()


baseline = recall(np.broadcast_to(liked.sum(axis=0), liked.shape))
print(f"recall of the ten most popular films: {baseline:.3f}")

# %% [markdown]
# The model is one embedding of eight numbers for each person and each film, and a bias for each film. A score is a dot
# product plus the bias. `retrieval_hinge_loss_and_grad` takes the embeddings, forms the scores by itself, and meets
# each liked film with the hundred highest-scoring films that the person has not liked: few of the 376 are a threat, and
# those that are matter for a list of ten. The gradients come back in the shapes of the embeddings.

# %%
parameters = [rng.normal(0, 0.1, (600, 8)), rng.normal(0, 0.1, (400, 8)), np.zeros(400)]
positives = np.nonzero(liked)  # which person, which film
persons, items, bias = parameters
loss, gradients = nr.retrieval_hinge_loss_and_grad(
    persons, items, positives, bias=bias, losers=100, reduction="mean"
)
print(f"loss of a pair before the training: {loss:.2f} (the margin is 1)")
print("shapes of the gradients:", *(gradient.shape for gradient in gradients))

# %% [markdown]
# Adagrad divides each step by the root of all squared gradients so far, so that one rate suits all three. The
# embeddings decay a little towards 0, and are short: long ones would learn the 24 likes of each person by heart.

# %%
squares = [np.full_like(parameter, 1e-8) for parameter in parameters]
decays = 100.0, 100.0, 0.0
recalls = []
for _ in range(100):
    _, gradients = nr.retrieval_hinge_loss_and_grad(
        persons, items, positives, bias=bias, losers=100, reduction="sum"
    )
    parts = zip(parameters, gradients, squares, decays, strict=True)
    for parameter, gradient, square, decay in parts:
        gradient += decay * parameter
        square += gradient**2
        parameter -= 0.1 * gradient / np.sqrt(square)
    recalls.append(recall(persons @ items.T + bias))
best = recall(people @ films.T + popularity)
print(
    f"recall after 100 steps: {recalls[-1]:.3f}, {recalls[-1] / baseline:.1f} times as much"
)
print(f"recall of the interest itself, which nobody knows: {best:.3f}")

# %% [markdown]
# The last line is what somebody could reach who knew every taste and every character; the rest is chance.

# %%
figure = Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
axes.plot(np.arange(1, 101), recalls, color="black", label="embeddings")
axes.axhline(baseline, color="black", linestyle="dashed", label="popularity")
axes.set(xlabel="training step", ylabel="recall among ten (share)", ylim=(0, None))
axes.set_title("What the embeddings learn beyond popularity")
axes.legend(frameon=False, loc="lower right")
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("recommender.png", dpi=150)

# %% [markdown]
# ![Recall over 100 training steps: it passes the dashed line of popularity within a few steps, and levels off far above
# it.](recommender.png)
#
# Far fewer losers chase the held-out films themselves, all of them spend the push on films that were never in question;
# [how many](../recommending.md#how-many-losers) is measured on real ratings.
