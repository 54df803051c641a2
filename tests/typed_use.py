"""The public face as a user calls it, with the type of each result: mypy holds the hints to it, a test the library."""

from typing import Any, assert_type

import dask.array as da
import numpy as np
import torch
from numpy.typing import NDArray

import numbarank as nr
import numbarank.dask
import numbarank.torch
from numbarank import objectives

Scalar = np.floating[Any]
Array = NDArray[Any]

X1, X2 = np.array([2.0, 1.5, 3.0]), np.array([1.0, 2.0, 1.0])
QUERIES, ITEMS, POSITIVES = np.eye(2), np.array([[2.0, 0.0], [1.5, 1.0], [0.0, 3.0]]), ([0, 1], [0, 2])


def pairs_of_arrays() -> None:
    assert_type(nr.margin_ranking_loss(X1, X2, 1), Scalar)
    assert_type(nr.margin_ranking_loss([2.0, 1.5], [1, 2], [1, -1], 0.5, reduction="sum"), Scalar)
    assert_type(nr.margin_ranking_loss(X1, X2, 1, margin=X2, weights=[1.0, 2.0, 0.0], reduction="none"), Array)
    assert_type(nr.margin_ranking_loss(X1, X2, 1, reduction="none", out=np.empty(3)), Array)
    loss, gradients = nr.margin_ranking_loss_and_grad(X1, X2, np.ones(3), 1.0, reduction="mean", target_grad=True)
    assert_type(loss, Scalar)
    assert_type(gradients, tuple[Array, ...])
    losses, (by_x1, by_x2) = nr.margin_ranking_loss_and_grad(X1, X2, 1, reduction="none", gradient=X1)
    assert_type((losses, by_x1, by_x2), tuple[Array, Array, Array])
    criterion = nr.MarginRankingLoss(margin=0.5, reduction="sum")
    assert_type(criterion.margin, float)
    assert_type(criterion.reduction, str)
    loss = criterion(X1, X2, 1, weights=X2)


def lists_of_arrays() -> None:
    labels, groups = [1, 2, 0], nr.Groups(qid=[7, 7, 9])
    assert_type(nr.pairwise_hinge_loss(X1, labels), Scalar)
    assert_type(nr.pairwise_hinge_loss(X1, labels, group=groups, power=2, losers=0.5, reduction="none"), Array)
    loss, gradient = nr.pairwise_hinge_loss_and_grad(X1, labels, qid=[7, 7, 9], weights=X2, reduction="sum")
    assert_type((loss, gradient), tuple[Scalar, Array])
    loss, gradient, counts = nr.pairwise_hinge_loss_and_grad(X1, labels, group=[3], return_counts=True)
    assert_type((loss, gradient, counts), tuple[Scalar, Array, NDArray[np.float64]])
    assert_type(nr.pairwise_hinge_loss_and_grad(X1, labels, reduction="none"), tuple[Array, ...])
    criterion = nr.PairwiseHingeLoss(1.0, power=2, losers=1)
    assert_type(criterion.margin, float)
    assert_type(criterion.power, int)
    assert_type(criterion.reduction, str)
    assert_type(criterion.losers, int | float | None)
    loss = criterion(X1, labels, group=groups)
    assert_type(groups.offsets, NDArray[np.int64])
    assert_type(groups.sizes, NDArray[np.int64])
    assert_type(groups.longest, int)
    assert_type(groups.rows, int)
    assert_type(len(groups), int)


def embeddings_in_arrays() -> None:
    assert_type(nr.retrieval_hinge_loss(QUERIES, ITEMS, POSITIVES, losers=1), Scalar)
    assert_type(nr.retrieval_hinge_loss(QUERIES, ITEMS, POSITIVES, exclude=POSITIVES, reduction="none"), Array)
    loss, gradients = nr.retrieval_hinge_loss_and_grad(QUERIES, ITEMS, POSITIVES, bias=np.zeros(3), memory=2**20)
    assert_type(loss, Scalar)
    assert_type(gradients, tuple[Array, ...])
    losses, gradients = nr.retrieval_hinge_loss_and_grad(QUERIES, ITEMS, POSITIVES, reduction="none", gradient=[1, 2])
    assert_type(losses, Array)
    found = nr.hard_negatives(QUERIES, ITEMS, 1, positives=POSITIVES, ceiling=0.95, distance=0.1, skip=1)
    indices, scores = found
    assert_type(indices, NDArray[np.int64])
    assert_type(scores, Array)


def tensors() -> None:
    x = nr.tensor([2.0, 1.5, 3.0], dtype="float32", device="cpu", requires_grad=True)
    assert_type(nr.Tensor(X1, requires_grad=True), nr.Tensor)
    assert_type((nr.zeros(2, 3), nr.ones(3), nr.randn(3, seed=1)), tuple[nr.Tensor, nr.Tensor, nr.Tensor])
    loss = nr.margin_ranking_loss(x, X2, 1)
    assert_type(loss, nr.Tensor)
    assert_type(nr.margin_ranking_loss_and_grad(x, X2, 1), tuple[nr.Tensor, tuple[nr.Tensor, ...]])
    assert_type(nr.MarginRankingLoss()(x, X2, 1), nr.Tensor)
    assert_type(nr.pairwise_hinge_loss(x, [1, 2, 0], group=[3]), nr.Tensor)
    assert_type(nr.pairwise_hinge_loss_and_grad(x, [1, 2, 0], return_counts=True), tuple[nr.Tensor, ...])
    assert_type(nr.PairwiseHingeLoss()(x, [1, 2, 0]), nr.Tensor)
    queries = nr.tensor(QUERIES)
    assert_type(nr.retrieval_hinge_loss(queries, ITEMS, POSITIVES), nr.Tensor)
    assert_type(nr.retrieval_hinge_loss_and_grad(queries, ITEMS, POSITIVES), tuple[nr.Tensor, tuple[nr.Tensor, ...]])
    assert_type(2 * loss + 1 - loss / 2, nr.Tensor)
    assert_type(loss.item(), int | float)
    loss.backward()
    assert_type(x.grad, nr.Tensor | None)
    assert_type(x.detach().cpu().sign().numpy(), Array)
    assert_type(np.asarray(x.detach()), Array)
    assert_type(x.shape, tuple[int, ...])
    assert_type(x.device, str)
    assert_type(x.dtype, np.dtype[Any])
    assert_type(x.requires_grad, bool)


def tensors_of_torch() -> None:
    x = torch.tensor([2.0, 1.5, 3.0], requires_grad=True)
    y, labels, queries = torch.zeros(3), torch.tensor([1, 2, 0]), torch.eye(2)
    assert_type(numbarank.torch.margin_ranking_loss(x, y, torch.ones(3), margin=y, weights=y + 1), torch.Tensor)
    assert_type(numbarank.torch.margin_ranking_loss(x, y, 1, margin=[1.0, 2.0, 3.0], weights=[1, 2, 0]), torch.Tensor)
    assert_type(numbarank.torch.MarginRankingLoss()(x, y, [1, -1, 1], weights=2.0), torch.Tensor)
    assert_type(numbarank.torch.pairwise_hinge_loss(x, [1, 2, 0], weights=(1, 2, 1)), torch.Tensor)
    assert_type(numbarank.torch.MarginRankingLoss(1.0, reduction="none")(x, y, torch.ones(3)), torch.Tensor)
    assert_type(numbarank.torch.pairwise_hinge_loss(x, labels, group=[3], losers=1), torch.Tensor)
    assert_type(numbarank.torch.PairwiseHingeLoss(power=2)(x, labels, qid=labels * 0), torch.Tensor)
    assert_type(numbarank.torch.retrieval_hinge_loss(queries, queries, ([0, 1], [0, 1]), bias=y[:2]), torch.Tensor)


def arrays_of_dask() -> None:
    x: da.Array = da.ones(3, chunks=3)
    assert_type(numbarank.dask.margin_ranking_loss(x, X2, 1, margin=0.5), da.Array)
    loss, gradients = numbarank.dask.margin_ranking_loss_and_grad(x, X2, 1)
    assert_type(loss, da.Array)
    assert_type(gradients, tuple[da.Array, ...])
    assert_type(numbarank.dask.pairwise_hinge_loss(x, [1, 2, 0], group=[3]), da.Array)
    assert_type(numbarank.dask.pairwise_hinge_loss_and_grad(x, [1, 2, 0], return_counts=True), tuple[da.Array, ...])
    assert_type(numbarank.dask.align_groups(x, group=[2, 1]), tuple[da.Array, ...])


class Rows:
    """What is asked of a DMatrix."""

    def get_uint_info(self, name: str) -> Array:
        return np.array([0, 3])

    def get_label(self) -> Array:
        return np.array([1.0, 2.0, 0.0])

    def get_weight(self) -> Array:
        return np.array([])


def boosting() -> None:
    lightgbm, xgboost = objectives.lightgbm(margin=0.5, losers=1), objectives.xgboost(power=2)
    assert_type(lightgbm, objectives.LightGBMObjective)
    assert_type(lightgbm([1, 2, 0], X1, None, [3]), tuple[Array, Array])
    assert_type(lightgbm.metric, objectives.LightGBMMetric)
    assert_type(lightgbm.metric([1, 2, 0], X1, None, [3]), tuple[str, float, bool])
    assert_type(xgboost, objectives.XGBoostObjective)
    assert_type(xgboost(X1, Rows()), tuple[Array, Array])
    assert_type(xgboost.metric, objectives.XGBoostMetric)
    assert_type(xgboost.metric(X1, Rows()), tuple[str, float])
    assert_type(xgboost.metric.name, str)
