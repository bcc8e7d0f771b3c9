"""Gradient-boosted trees of scikit-learn, saved and evaluated as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import read_arrays, write_arrays
from ranksim.exceptions import require_optional
from ranksim.models.estimators.base import (
    ITERATIONS,
    Course,
    Estimator,
    TrainingContext,
    read_number,
)
from ranksim.models.estimators.data import EstimatorData, EstimatorSettings, Floats

FILE = "trees.npz"
_SAMPLED = 200_000  # training samples above which scikit-learn draws those that define the bins
_MAX_BINS = 255  # of a column, without the one for missing values
_NAMES = {"squared": "squared_error", "absolute": "absolute_error"}
_SCORERS = {"mse": "neg_mean_squared_error", "mae": "neg_mean_absolute_error"}
# factors of scores that are the loss itself, which is computed many times faster than a scorer
_LOSS_FACTORS = {("squared", "mse"): 2.0, ("absolute", "mae"): 1.0, ("quantile", "pinball"): 1.0}
_NODES = {  # our names of the fields of scikit-learn's nodes
    "value": ("value", np.float64),
    "column": ("feature_idx", np.int64),
    "threshold": ("num_threshold", np.float64),
    "missing_left": ("missing_go_to_left", np.bool_),
    "left": ("left", np.int64),
    "right": ("right", np.int64),
    "is_leaf": ("is_leaf", np.bool_),
    "is_category": ("is_categorical", np.bool_),
    "bitset": ("bitset_idx", np.int64),
}


class ScikitTrees(Estimator):
    """Trees of scikit-learn's ``HistGradientBoostingRegressor``.

    Weights of one and no weights give another median there, so weights are always passed. With
    weights, scikit-learn needs more time for the bins of the columns than for the trees: they are
    computed here, without weights, and the trees read the number of the bin. The trees are kept as
    arrays, so predictions need no private class of scikit-learn and are the same after loading, in
    any version.
    """

    name = "trees"
    library = "sklearn"
    losses = ("squared", "absolute", "gamma", "poisson", "quantile")
    missing_losses = "scikit-learn's HistGradientBoosting does not have it"
    options = ("learning_rate", "max_leaves", "min_samples_leaf", "l2")

    def __init__(self) -> None:
        super().__init__()
        self.edges: list[Floats] = []  # codes of a column of categories, limits of bins of numbers
        self.baseline = 0.0
        self.roots: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.nodes: dict[str, NDArray[Any]] = {}
        self.bitsets: NDArray[np.uint32] = np.zeros((0, 8), dtype=np.uint32)

    @classmethod
    def depends_on_seed(cls, samples: int) -> bool:
        return samples > _SAMPLED

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        ensemble = require_optional("sklearn.ensemble", self.extra)
        pools = require_optional("threadpoolctl", self.extra)
        self.edges = [
            _frequent_codes(column, train.weights) if count else _bin_edges(column)
            for column, count in zip(train.values.T, self.categories, strict=True)
        ]
        values = self._encode(train.values)
        values[:, np.isnan(values).all(axis=0)] = 0.0  # scikit-learn rejects such columns
        factor = _LOSS_FACTORS.get((settings.loss, context.monitor))
        factor = None if context.is_custom else factor
        options = {
            "learning_rate": settings.learning_rate,
            "max_leaf_nodes": settings.max_leaves,
            "min_samples_leaf": settings.min_samples_leaf,
            "l2_regularization": settings.l2,
            "quantile": settings.quantile if settings.loss == "quantile" else None,
        }
        regressor = ensemble.HistGradientBoostingRegressor(
            loss=_NAMES.get(settings.loss, settings.loss),
            max_iter=settings.max_iterations,
            categorical_features=list(range(sum(count > 0 for count in self.categories))),
            early_stopping=True,
            scoring="loss" if factor else self._make_scorer(context, len(val.labels)),
            n_iter_no_change=settings.patience,
            tol=0.0,
            random_state=context.seed,
            **{name: value for name, value in options.items() if value is not None},
        )
        with pools.threadpool_limits(context.threads):
            regressor.fit(
                values,
                train.labels,
                sample_weight=train.weights,
                X_val=self._encode(val.values),
                y_val=val.labels,
                sample_weight_val=val.weights,
            )
        scores = -(factor or 1.0) * regressor.validation_score_
        best = context.choose(scores[1:])
        if ITERATIONS not in context.choices and scores[0] <= scores[best]:
            best = 0  # the first score is that of the baseline, without trees
        self._take_trees(regressor, best)
        return Course(tuple(scores[1:].tolist()), best)

    def _make_scorer(self, context: TrainingContext, count: int) -> Any:
        """Return the negative score of ``count`` samples, scikit-learn's or our own."""
        if not context.is_custom:
            return _SCORERS[context.monitor]

        def score(regressor: Any, values: Any, labels: Floats, sample_weight: Floats) -> float:
            if len(labels) != count:
                return 0.0  # of training samples, which decides nothing
            return -context.score(regressor.predict(values), labels, sample_weight)

        return score

    def _take_trees(self, regressor: Any, count: int) -> None:
        """Copy the first trees of a fitted regressor to arrays."""
        trees = [trees[0] for trees in regressor._predictors[:count]]
        self.baseline = float(regressor._baseline_prediction.item())
        sizes = np.array([len(tree.nodes) for tree in trees], dtype=np.int64)
        bitset_counts = [len(tree.raw_left_cat_bitsets) for tree in trees]
        self.roots = np.cumsum(sizes) - sizes
        offsets = np.repeat(self.roots, sizes)
        self.nodes = {
            name: np.concatenate([np.zeros(0, dtype), *(tree.nodes[key] for tree in trees)]).astype(
                dtype
            )
            for name, (key, dtype) in _NODES.items()
        }
        self.nodes["left"] += offsets
        self.nodes["right"] += offsets
        starts = np.cumsum([0, *bitset_counts])[: len(trees)]
        self.nodes["bitset"] += np.repeat(starts.astype(np.int64), sizes)
        bitsets = [tree.raw_left_cat_bitsets for tree in trees]
        self.bitsets = np.concatenate([np.zeros((0, 8), np.uint32), *bitsets]).astype(np.uint32)

    def _encode(self, values: Floats) -> Floats:
        """Return the bins of the values: columns of categories first, as scikit-learn orders them.

        Categories are numbered in the order of their codes; those that training samples do not
        have count as missing.
        """
        categories: list[Floats] = []
        numbers: list[Floats] = []
        for edges, column, count in zip(self.edges, values.T, self.categories, strict=True):
            bins = np.searchsorted(edges, column).astype(np.float64)
            is_missing = ~np.isin(column, edges) if count else np.isnan(column)
            bins[is_missing] = np.nan
            (categories if count else numbers).append(bins)
        return np.asfortranarray(np.column_stack([*categories, *numbers]))

    def _predict(self, values: Floats, threads: int) -> Floats:
        columns = self._encode(values)
        preds = np.full(len(values), self.baseline)
        nodes = self.nodes
        for root in self.roots.tolist():
            stack = [(root, np.arange(len(values)))]
            while stack:
                node, rows = stack.pop()
                if nodes["is_leaf"][node]:
                    preds[rows] += nodes["value"][node]
                    continue
                left = self._goes_left(node, columns[:, nodes["column"][node]][rows])
                for child, part in ((nodes["left"], rows[left]), (nodes["right"], rows[~left])):
                    if len(part):
                        stack.append((int(child[node]), part))
        return np.exp(preds) if self.loss in ("gamma", "poisson") else preds

    def _goes_left(self, node: int, column: Floats) -> NDArray[np.bool_]:
        """Return for each value of a column whether it belongs to the left child of a node."""
        nodes = self.nodes
        missing = np.isnan(column)
        left: NDArray[np.bool_]
        if nodes["is_category"][node]:
            codes = np.where(missing, 0, column).astype(np.int64)
            words = self.bitsets[nodes["bitset"][node], codes // 32]
            left = (words >> (codes % 32).astype(np.uint32)) & 1 == 1
        else:
            left = column <= nodes["threshold"][node]
        left[missing] = nodes["missing_left"][node]
        return left

    def _details(self) -> dict[str, Any]:
        return {"baseline": self.baseline}

    def _write(self, folder: Path) -> Path:
        edges = {f"edges_{k}": edges for k, edges in enumerate(self.edges)}
        arrays: dict[str, NDArray[Any]] = {
            "roots": self.roots,
            "bitsets": self.bitsets,
            **self.nodes,
            **edges,
        }
        write_arrays(folder / FILE, arrays)
        return folder / FILE

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        arrays = read_arrays(path)
        if arrays is None:
            raise ValueError("its checksum differs")
        self.baseline = read_number(content, "baseline")
        self.roots, self.bitsets = arrays["roots"], arrays["bitsets"]
        self.nodes = {name: arrays[name] for name in _NODES}
        names = [f"edges_{k}" for k in range(len(self.categories))]
        if set(arrays) != {"roots", "bitsets", *_NODES, *names}:
            raise ValueError("its arrays are those of another model")
        self.edges = [arrays[name] for name in names]
        self._check_arrays()

    def _check_arrays(self) -> None:
        """Raise a ValueError unless predictions with the arrays end, and read no other memory."""
        nodes, size = self.nodes, len(self.nodes["value"])
        for name, (_, dtype) in _NODES.items():
            if nodes[name].dtype != dtype or nodes[name].shape != (size,):
                raise ValueError(f"{name} of the nodes is {nodes[name].dtype} {nodes[name].shape}")
        inner, places = ~nodes["is_leaf"], np.arange(size)
        category, columns = nodes["is_category"], len(self.categories)
        first = sum(count > 0 for count in self.categories)
        ranges = (
            (self.roots, 0, size),
            (nodes["left"][inner], places[inner] + 1, size),  # behind its parent: no circle
            (nodes["right"][inner], places[inner] + 1, size),
            (nodes["column"][inner & ~category], first, columns),
            (nodes["column"][inner & category], 0, first),
            (nodes["bitset"][inner & category], 0, len(self.bitsets)),
        )
        valid = all(((low <= values) & (values < high)).all() for values, low, high in ranges)
        types = self.roots.dtype == np.int64 and self.bitsets.dtype == np.uint32
        sorted_edges = all(
            edges.dtype == np.float64
            and edges.ndim == 1
            and len(edges) <= _MAX_BINS
            and (np.diff(edges) > 0).all()
            for edges in self.edges
        )
        if not (valid and types and sorted_edges and self.bitsets.shape[1:] == (8,)):
            raise ValueError("its nodes do not form trees")


def _frequent_codes(column: Floats, weights: Floats) -> Floats:
    """Return the sorted codes of a column; if bins do not suffice, those of most weight."""
    present = ~np.isnan(column)
    codes, positions = np.unique(column[present], return_inverse=True)
    if len(codes) > _MAX_BINS:
        totals = np.bincount(positions, weights[present])
        codes = np.sort(codes[np.argsort(-totals, kind="stable")[:_MAX_BINS]])
    return codes


def _bin_edges(column: Floats) -> Floats:
    """Return the limits of the bins of a column of numbers, as scikit-learn without weights."""
    values = np.sort(column[~np.isnan(column)])
    distinct = np.unique(values)
    if len(distinct) <= _MAX_BINS:
        return np.unique(distinct[:-1] / 2 + distinct[1:] / 2)
    percentiles = np.linspace(0, 100, num=_MAX_BINS + 1)[1:-1]
    return np.unique(np.percentile(values, percentiles, method="averaged_inverted_cdf"))
