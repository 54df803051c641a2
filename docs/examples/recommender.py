# %% [markdown]
# # A recommender
#
# Six hundred people, four hundred films, and who liked what: nothing else is known. A film that somebody liked should
# score above the films that this person has not seen. The data is made up, so that nobody's terms are touched and we
# know that there is something to find; [Recommending films](../recommending.md) does the same with real ratings.

# %%
import numpy as np
from matplotlib.figure import Figure

import numbarank as nr

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
# The model is one embedding of 16 numbers for each person and each film, and a bias for each film. A score is a dot
# product plus the bias. `retrieval_hinge_loss_and_grad` takes the embeddings, forms the scores by itself, and meets
# each liked film with the fifty highest-scoring films that the person has not liked: few of the 376 are a threat, and
# those that are matter for a list of ten. The gradients come back in the shapes of the embeddings.

# %%
parameters = [rng.normal(0, 0.1, (600, 16)), rng.normal(0, 0.1, (400, 16)), np.zeros(400)]
positives = np.nonzero(liked)  # which person, which film


def loss_and_gradients():
    persons, items, bias = parameters
    return nr.retrieval_hinge_loss_and_grad(persons, items, positives, bias=bias, losers=50, reduction="sum")


loss, gradients = loss_and_gradients()
print(f"loss of a pair before the training: {loss / positives[0].size / 50:.2f} (the margin is 1)")
print("gradients:", *(gradient.shape for gradient in gradients))

# %% [markdown]
# Adagrad divides each step by the root of all squared gradients so far, so that one rate suits all three. The
# embeddings decay a little towards 0: with 24 likes each, they would soon learn the persons by heart.

# %%
squares = [np.full_like(parameter, 1e-8) for parameter in parameters]
decays = 30.0, 30.0, 0.0
recalls = []
for _ in range(100):
    _, gradients = loss_and_gradients()
    for parameter, gradient, square, decay in zip(parameters, gradients, squares, decays, strict=True):
        gradient += decay * parameter
        square += gradient**2
        parameter -= 0.1 * gradient / np.sqrt(square)
    persons, items, bias = parameters
    recalls.append(recall(persons @ items.T + bias))
print(f"recall after 100 steps: {recalls[-1]:.3f}, {recalls[-1] / baseline:.1f} times the baseline's")
print(f"recall of the interest itself, which nobody knows: {recall(people @ films.T + popularity):.3f}")

# %% [markdown]
# The last line is what somebody could reach who knew every taste and every character; the rest is chance.

# %%
figure = Figure(figsize=(6, 3.4), layout="constrained")
axes = figure.subplots()
axes.plot(np.arange(1, 101), recalls, color="black", label="embeddings")
axes.axhline(baseline, color="black", linestyle="dashed", label="popularity")
axes.set(xlabel="training step", ylabel="recall of held-out films\namong ten (share)", ylim=(0, None))
axes.set_title("What the embeddings learn beyond popularity")
axes.legend(frameon=False, loc="lower right")
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("recommender.png", dpi=150)

# %% [markdown]
# ![Recall over 100 training steps: it starts near the dashed line of popularity, leaves it within a few steps, and
# levels off far above it.](recommender.png)
#
# Fewer losers than fifty chase the held-out films themselves, more spend the push on films that were never in question;
# [how many](../recommending.md#how-many-losers) is measured on real ratings.
