"""Objectives for LightGBM and XGBoost: the pairwise hinge loss with the derivatives that boosting wants.

Neither library is imported here: each hands in its own data set.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import numbarank as nr


@dataclass(frozen=True, eq=False, repr=False)
class _PairwiseHinge:
    """The settings that an objective and its metric share: those of the loss, which checks them, and the discount."""

    margin: float = 1.0
    power: int = 1
    losers: int | float | None = None
    discount: bool = False

    def __post_init__(self) -> None:
        checked = nr.PairwiseHingeLoss(**self._loss_settings)
        for name in self._loss_settings:
            object.__setattr__(self, name, getattr(checked, name))
        if not isinstance(self.discount, bool | np.bool_):
            raise TypeError(f"discount is {self.discount!r}; it must be True or False")
        object.__setattr__(self, "discount", bool(self.discount))

    @property
    def _loss_settings(self):
        return {name: value for name, value in vars(self).items() if name != "discount"}

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None and value is not False]
        return f"{type(self).__name__}({', '.join(given)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)  # one loser, 1, is not all of them, 1.0

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def name(self) -> str:
        """What the metric is called in the libraries' logs."""
        return "pairwise_hinge" if self.power == 1 else "pairwise_squared_hinge"

    def _weighed(self, rows):
        """Return the keywords of the loss with the discounts, if wanted, among the rows' weights."""
        if not self.discount:
            return rows
        discounts = _discounts(rows["scores"], rows["group"])
        return rows | {"weights": discounts if rows["weights"] is None else discounts * rows["weights"]}

    def _mean(self, rows):
        return float(nr.pairwise_hinge_loss(**self._weighed(rows), **self._loss_settings))

    def _derivatives(self, rows):
        """Return the gradient and the hessian of the sum over all pairs.

        The hinge has no second derivative: the active pairs of a row stand in for it, or one pair where it has none.
        """
        rows = self._weighed(rows)
        _, gradient, active = nr.pairwise_hinge_loss_and_grad(
            **rows, **self._loss_settings, reduction="sum", return_counts=True
        )
        if self.power == 2:
            return gradient, 2 * active
        one_pair = 1.0 if rows["weights"] is None else np.square(rows["weights"], dtype=np.float64)
        return gradient, np.where(active > 0, active, one_pair)


class LightGBMMetric(_PairwiseHinge):
    """The mean over all pairs, as LightGBM calls its metrics; made by :attr:`LightGBMObjective.metric`.

    Parameters
    ----------
    margin, power, losers, discount
        As in :func:`lightgbm`.

    Examples
    --------
    >>> from numbarank import objectives
    >>> metric = objectives.lightgbm(power=2).metric
    >>> metric([1, 0], [0.5, 1.0], None, [2])
    ('pairwise_squared_hinge', 2.25, False)
    """

    def __call__(
        self, y_true: ArrayLike, y_pred: Any, weight: ArrayLike | None = None, group: ArrayLike | None = None
    ) -> tuple[str, float, bool]:
        """Return the name, the mean and that higher is not better; the arguments are those of the objective."""
        return self.name, self._mean(_lightgbm_rows(y_true, y_pred, weight, group)), False


class LightGBMObjective(_PairwiseHinge):
    """Pairwise hinge loss as an objective of LightGBM; made by :func:`lightgbm`.

    Parameters
    ----------
    margin, power, losers, discount
        As in :func:`lightgbm`.

    Examples
    --------
    >>> from numbarank import objectives
    >>> objective = objectives.lightgbm(margin=0.5)
    >>> objective([1, 0], [0.5, 1.0], None, [2])
    (array([-1.,  1.]), array([1., 1.]))
    """

    def __call__(
        self, y_true: ArrayLike, y_pred: Any, weight: ArrayLike | None = None, group: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient and the hessian.

        Estimators pass labels, scores, weights and the sizes of the groups; ``lightgbm.train`` passes the scores first
        and its Dataset second, and nothing else.
        """
        return self._derivatives(_lightgbm_rows(y_true, y_pred, weight, group))

    @property
    def metric(self) -> LightGBMMetric:
        """The mean loss of a pair, for ``train(feval=...)`` and ``fit(eval_metric=...)``."""
        return LightGBMMetric(**vars(self))


class XGBoostMetric(_PairwiseHinge):
    """The mean over all pairs, as XGBoost calls its metrics; made by :attr:`XGBoostObjective.metric`.

    Parameters
    ----------
    margin, power, losers, discount
        As in :func:`lightgbm`.

    Examples
    --------
    xgboost.train calls it with scores and a DMatrix:

    >>> import numpy as np
    >>> from numbarank import objectives
    >>> class Rows:  # what is asked of a DMatrix
    ...     def get_uint_info(self, name):
    ...         return np.array([0, 2])  # where groups start and end
    ...     def get_label(self):
    ...         return np.array([1.0, 0.0])
    ...     def get_weight(self):
    ...         return np.array([])
    >>> objectives.xgboost().metric(np.array([0.5, 1.0]), Rows())
    ('pairwise_hinge', 1.5)
    """

    def __call__(self, predt: np.ndarray, dtrain: Any) -> tuple[str, float]:
        """Return the name and the mean of scores for a DMatrix."""
        return self.name, self._mean(_xgboost_rows(predt, dtrain))


class XGBoostObjective(_PairwiseHinge):
    """Pairwise hinge loss as an objective of XGBoost; made by :func:`xgboost`.

    Parameters
    ----------
    margin, power, losers, discount
        As in :func:`lightgbm`.

    Examples
    --------
    xgboost.train calls it with scores and a DMatrix:

    >>> import numpy as np
    >>> from numbarank import objectives
    >>> class Rows:  # what is asked of a DMatrix
    ...     def get_uint_info(self, name):
    ...         return np.array([0, 2])  # where groups start and end
    ...     def get_label(self):
    ...         return np.array([1.0, 0.0])
    ...     def get_weight(self):
    ...         return np.array([])
    >>> objectives.xgboost()(np.array([0.5, 1.0]), Rows())
    (array([-1.,  1.]), array([1., 1.]))
    """

    def __call__(self, predt: np.ndarray, dtrain: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient and the hessian at scores for a DMatrix."""
        return self._derivatives(_xgboost_rows(predt, dtrain))

    @property
    def metric(self) -> XGBoostMetric:
        """The mean loss of a pair, for ``train(custom_metric=...)``."""
        return XGBoostMetric(**vars(self))


def lightgbm(
    margin: float = 1.0, power: int = 1, losers: int | float | None = None, discount: bool = False
) -> LightGBMObjective:
    """Return the pairwise hinge loss as an objective for LightGBM.

    Parameters
    ----------
    margin : float, default 1.0
        The distance, in units of the scores, that a pair in the right order must keep.
    power : {1, 2}, default 1
        1 for the hinge, 2 for the squared hinge.
    losers : int or float, optional
        Which rows of lower label each row meets, all by default: so many of the highest-scoring ones of its query, or
        that share of them, as in :func:`numbarank.pairwise_hinge_loss`.
    discount : bool, default False
        Whether the top counts more: each row weighs the discount that DCG [1]_ gives to its place in the order of the
        scores of its query, ``1 / log2(1 + place)``, with the places counted from 1.

    Returns
    -------
    LightGBMObjective
        For ``params["objective"]`` of ``lightgbm.train`` and for ``LGBMRanker(objective=...)``. It can be hashed,
        compared and pickled. Its ``metric`` goes to ``feval`` or ``eval_metric``.

    Raises
    ------
    TypeError, ValueError
        For a margin that is no finite number, another power, losers that are no choice, or a discount that is no bool.
        When called: ValueError for data without groups.

    Notes
    -----
    The gradient is that of the sum over all pairs; a pair weighs the product of its rows' weights. With power 2 the
    hessian is exact: a row has 2 for each active pair. With power 1 the second derivative is 0 everywhere, and the
    number of active pairs stands in for it, or 1 where there are none. Weights make that the sum of the pairs' weights,
    or the square of the row's.

    With ``losers``, gradient, hessian and metric are those of the chosen pairs, and the choice is made anew for the
    scores of each step. The libraries' own objectives truncate otherwise, by the rank of the higher-placed row of a
    pair. Unlike there, a query may have any number of rows (LightGBM's lambdarank takes 10,000), and labels are any
    real numbers, not integers that index gains.

    With ``discount``, the weights are made anew for the scores of each step, and multiply those of the data; rows of
    equal score share the mean of their places. A pair weighs the product of its rows' discounts, in the gradient, the
    hessian and the metric. LambdaMART [2]_ weighs a pair by what exchanging its rows changes of NDCG, the difference of
    the discounts times that of the gains.

    References
    ----------
    .. [1] Järvelin, Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002.
    .. [2] Burges, "From RankNet to LambdaRank to LambdaMART: an overview", Microsoft Research MSR-TR-2010-82, 2010.

    Examples
    --------
    Called as LGBMRanker calls it. The pair is in the wrong order, and the third row is alone in its group:

    >>> from numbarank import objectives
    >>> objective = objectives.lightgbm()
    >>> objective
    LightGBMObjective(margin=1.0, power=1)
    >>> gradient, hessian = objective([1, 0, 2], [0.5, 1.0, 0.0], None, [2, 1])
    >>> gradient
    array([-1.,  1.,  0.])
    >>> hessian
    array([1., 1., 1.])
    >>> objective.metric([1, 0, 2], [0.5, 1.0, 0.0], None, [2, 1])
    ('pairwise_hinge', 1.5, False)
    >>> objectives.lightgbm(losers=1)
    LightGBMObjective(margin=1.0, power=1, losers=1)

    The places of the scores 0.5, 1 and 0 are 2, 1 and 3, and their discounts 0.63, 1 and 0.5:

    >>> gradient, hessian = objectives.lightgbm(discount=True)([1, 0, 0], [0.5, 1.0, 0.0], None, [3])
    >>> gradient.round(2)
    array([-0.95,  0.63,  0.32])
    """
    return LightGBMObjective(margin, power, losers, discount)


def xgboost(
    margin: float = 1.0, power: int = 1, losers: int | float | None = None, discount: bool = False
) -> XGBoostObjective:
    """Return the pairwise hinge loss as an objective for XGBoost.

    Parameters
    ----------
    margin, power, losers, discount
        As in :func:`lightgbm`.

    Returns
    -------
    XGBoostObjective
        For ``xgboost.train(obj=...)`` with a DMatrix that has groups. It can be hashed, compared and pickled. Its
        ``metric`` goes to ``custom_metric``.

    Raises
    ------
    TypeError, ValueError
        As :func:`lightgbm`. When called: TypeError for anything but a DMatrix, ValueError for one without groups.

    Notes
    -----
    As for :func:`lightgbm`, except that XGBoost has one weight for each group, which multiplies all that comes from its
    pairs.

    Examples
    --------
    >>> from numbarank import objectives
    >>> objectives.xgboost(power=2)
    XGBoostObjective(margin=1.0, power=2)
    >>> objectives.xgboost(power=2).metric.name
    'pairwise_squared_hinge'
    """
    return XGBoostObjective(margin, power, losers, discount)


def _discounts(scores, group):
    """Return the discount of DCG at each row's place in its query; rows of equal score share the mean of their places.

    With the scores as labels of rows that are all tied every pair is active, so a row's slope is the number of rows
    above it minus the number of those below.
    """
    sizes = np.asarray(group)
    tied = np.where(np.isfinite(scores), 0.0, scores)  # NaN is refused as a score, not as a label
    _, above_minus_below = nr.pairwise_hinge_loss_and_grad(tied, scores, group=sizes, reduction="sum")
    places = (np.repeat(sizes, sizes) + 1 + above_minus_below) / 2
    return 1 / np.log2(1 + places)


def _lightgbm_rows(first, second, weight, group):
    """Return the keywords of the loss from (labels, scores, weight, group) or from (scores, Dataset)."""
    labels, scores = first, second
    if hasattr(second, "get_group"):
        scores, labels, weight, group = first, second.get_label(), second.get_weight(), second.get_group()
    if group is None:
        raise ValueError(
            "the data has no query groups, and only rows of one query make pairs: pass group, the number of rows of "
            "each query in their order, to lightgbm.Dataset or to LGBMRanker.fit"
        )
    return {"scores": scores, "labels": labels, "weights": weight, "group": group}


def _xgboost_rows(scores, matrix):
    """Return the keywords of the loss from a DMatrix, whose weights are one for each group."""
    if not hasattr(matrix, "get_uint_info"):
        raise TypeError(
            f"the second argument is a {type(matrix).__name__}; it must be the DMatrix that xgboost.train passes, "
            "because estimators hand no query groups to an objective: use xgboost.train(obj=...)"
        )
    group = np.diff(matrix.get_uint_info("group_ptr"))
    if not group.size:
        raise ValueError(
            "the DMatrix has no query groups, and only rows of one query make pairs: pass qid, an id for each row, or "
            "group, the number of rows of each query in their order, to xgboost.DMatrix"
        )
    weight = matrix.get_weight()
    of_rows = np.sqrt(np.repeat(weight, group), dtype=np.float64) if weight.size else None  # a pair weighs a product
    return {"scores": scores, "labels": matrix.get_label(), "weights": of_rows, "group": group}
