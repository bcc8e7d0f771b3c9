"""Resamplers of tables for regression: random over- and under-sampling, WERCS, SMOTER, SMOGN."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.checks import check_choice, check_positive, check_size, describe_value
from ranksim.imbalance.bins import to_real_array
from ranksim.imbalance.relevance import RelevanceFunction, fit_relevance
from ranksim.imbalance.resampling.columns import (
    as_label_column,
    as_table,
    join_columns,
    overwrite,
    read_labels,
    table_columns,
    take_rows,
)
from ranksim.imbalance.resampling.neighbors import FeatureColumns, heom_distance, nearest_neighbors

ResamplerName = Literal["over", "under", "wercs", "smoter", "smogn"]
RESAMPLERS: tuple[ResamplerName, ...] = get_args(ResamplerName)
RandomState = int | np.random.RandomState | np.random.Generator | None
_ROUNDING = 1e-9  # a relevance this close to the threshold reaches it


class _Bump(NamedTuple):
    """Samples that follow each other along the labels and are all rare, or all common."""

    rows: NDArray[np.int64]
    is_rare: bool


@dataclass(frozen=True, eq=False)
class _SyntheticRows:
    """S new rows: each value is copied from a row of the table, or a number."""

    base: NDArray[np.int64]  # first parent (S,)
    neighbor: NDArray[np.int64]  # second parent, −1 where there is none, (S,)
    source: NDArray[np.int64]  # row that each value is copied from, (F, S)
    values: NDArray[np.float64]  # number to write over the copy, NaN for none, (F, S)
    labels: NDArray[np.float64]  # (S,), NaN where the label of the base row is copied


@dataclass(kw_only=True, eq=False)
class Resampler(ABC):
    """Base class of all resamplers: checks the input, draws, and assembles the result."""

    relevance: RelevanceFunction | None = None
    random_state: RandomState = None

    def __post_init__(self) -> None:
        if self.relevance is not None and not callable(self.relevance):
            raise TypeError(
                "relevance must be None or a function of labels, got "
                f"{describe_value(self.relevance)}: pass for example a PchipRelevance"
            )
        _check_random_state(self.random_state)

    @abstractmethod
    def _choose(
        self,
        table: Any,
        labels: NDArray[np.float64],
        relevance: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], list[_SyntheticRows]]:
        """Return the rows to copy, and new rows."""

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:  # noqa: N803
        """Return a resampled table and its labels.

        Args:
            X: features, an array, nested lists or a pandas DataFrame, shape ``(N, F)``.
            y: labels, an array, a list or a pandas Series, shape ``(N,)``, matched by position;
                an index is not used.

        Returns:
            Features ``(M, F)`` and labels ``(M,)`` in the types of the input; lists become arrays,
            and the index of a pandas object becomes 0 … M − 1. Copied rows come first, in the
            order of the table, then new rows.

        Raises:
            TypeError: the input is no table of values, or the labels are no real numbers.
            ValueError: shapes do not match, labels are not finite or all equal, or no label is rare
                or none is common.
        """
        self.__post_init__()  # attributes may have been set since
        table, column = as_table(X), as_label_column(y)
        labels = read_labels(column)
        if table.shape[0] != len(labels):
            raise ValueError(
                f"X and y must have the same number of rows, got {table.shape[0]} and {len(labels)}"
            )
        self.relevance_ = fit_relevance(labels) if self.relevance is None else self.relevance
        relevance = _evaluate_relevance(self.relevance_, labels)
        rows, synthetic = self._choose(table, labels, relevance, _make_generator(self.random_state))
        rows = np.sort(rows, kind="stable")
        self.sample_indices_ = np.concatenate([rows, *(part.base for part in synthetic)])
        self.is_synthetic_ = np.arange(len(self.sample_indices_)) >= len(rows)
        self.neighbor_indices_ = np.concatenate(
            [np.full(len(rows), -1), *(part.neighbor for part in synthetic)]
        )
        return _assemble(table, rows, synthetic), _assemble_labels(column, rows, synthetic)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, as scikit-learn's ``clone`` needs them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **params: Any) -> Resampler:
        """Set arguments of the constructor; return the resampler."""
        names = list(self.get_params())
        for name, value in params.items():
            check_choice("the name of a parameter", name, names)
            setattr(self, name, value)
        self.__post_init__()
        return self


@dataclass(kw_only=True, eq=False)
class _BumpResampler(Resampler):
    """Resamplers that divide the labels at a threshold of the relevance."""

    threshold: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not check_positive("threshold", self.threshold) <= 1:
            raise ValueError(f"threshold must be at most 1, got {self.threshold!r}")


@dataclass(kw_only=True, eq=False)
class RandomOverSampler(_BumpResampler):
    """Repeat samples with rare labels until there are as many as samples with common labels.

    Labels are rare where their relevance φ(y) reaches the threshold. Sorted by label, the samples
    fall into bumps that are rare or common throughout, for example two rare tails and a common
    center. With C common samples and B rare bumps, rows of each rare bump are drawn with
    replacement and added until it has C / B rows. No row is removed.

    Args:
        relevance: function from labels ``(N,)`` to relevances from 0 to 1; None for
            :func:`ranksim.imbalance.fit_relevance` of the labels.
        threshold: smallest relevance of a rare label, above 0 and at most 1.
        random_state: seed, or a generator that is advanced; None for another result each time.

    Attributes:
        sample_indices_: original row of each row, int64 ``(M,)``.
        is_synthetic_: which rows are new, all False here, bool ``(M,)``.
        neighbor_indices_: second parent of each new row, −1 everywhere here, int64 ``(M,)``.
        relevance_: the relevance function that was used.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is outside its range.

    Example:
        >>> X, y = [[k] for k in range(8)], [1, 2, 3, 4, 5, 6, 7, 30]
        >>> X, y = RandomOverSampler(random_state=0).fit_resample(X, y)
        >>> y.tolist()
        [1, 2, 3, 4, 5, 6, 7, 7, 30, 30, 30, 30]

    References:
        Branco, Torgo, Ribeiro, "Pre-processing approaches for imbalanced distributions in
        regression" (Neurocomputing 2019).
    """

    def _choose(
        self,
        table: Any,
        labels: NDArray[np.float64],
        relevance: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], list[_SyntheticRows]]:
        bumps = _find_bumps(labels, relevance, self.threshold)
        rare = [bump.rows for bump in bumps if bump.is_rare]
        size = round((len(labels) - sum(map(len, rare))) / len(rare))
        repeats = [rng.choice(rows, max(size - len(rows), 0)) for rows in rare]
        return np.concatenate([np.arange(len(labels)), *repeats]), []


@dataclass(kw_only=True, eq=False)
class RandomUnderSampler(_BumpResampler):
    """Remove samples with common labels until there are as many as samples with rare labels.

    Rare labels and bumps are those of :class:`RandomOverSampler`. With R rare samples and B common
    bumps, R / B rows of each common bump, drawn without replacement, remain. Rare rows all remain.
    Arguments, attributes and errors are those of :class:`RandomOverSampler`.

    Example:
        >>> X, y = [[k] for k in range(8)], [1, 2, 3, 4, 5, 6, 7, 30]
        >>> resampler = RandomUnderSampler(random_state=0)
        >>> resampler.fit_resample(X, y)[1].tolist(), resampler.sample_indices_.tolist()
        ([4, 5, 7, 30], [3, 4, 6, 7])

    References:
        Torgo et al., "Resampling strategies for regression" (Expert Systems 2015).
    """

    def _choose(
        self,
        table: Any,
        labels: NDArray[np.float64],
        relevance: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], list[_SyntheticRows]]:
        bumps = _find_bumps(labels, relevance, self.threshold)
        rare = sum(len(bump.rows) for bump in bumps if bump.is_rare)
        size = round(rare / sum(not bump.is_rare for bump in bumps))
        rows = [bump.rows if bump.is_rare else _draw(bump.rows, size, rng) for bump in bumps]
        return np.concatenate(rows), []


@dataclass(kw_only=True, eq=False)
class WERCS(Resampler):
    """Weighted relevance-based combination of sampling: no threshold between rare and common.

    Of N rows, ``over`` · N are added, drawn with replacement with probabilities φ(y_i) / Σ φ, and
    ``under`` · N are removed, drawn without replacement with weights 1 − φ(y_i). A row of relevance
    1 is never removed, one of relevance 0 never added.

    Args:
        relevance: as in :class:`RandomOverSampler`.
        over: share of rows to add, at least 0.
        under: share of rows to remove, from 0 to 1.
        random_state: as in :class:`RandomOverSampler`.

    Attributes and errors are those of :class:`RandomOverSampler`.

    Example:
        >>> X, y = [[k] for k in range(8)], [1, 2, 3, 4, 5, 6, 7, 30]
        >>> WERCS(random_state=0).fit_resample(X, y)[1].tolist()
        [1, 3, 5, 6, 6, 7, 30, 30]

    References:
        Branco, Torgo, Ribeiro, "Pre-processing approaches for imbalanced distributions in
        regression" (Neurocomputing 2019).
    """

    over: float = 0.5
    under: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("over", self.over, or_zero=True)
        if check_positive("under", self.under, or_zero=True) > 1:
            raise ValueError(f"under must be at most 1, got {self.under!r}")

    def _choose(
        self,
        table: Any,
        labels: NDArray[np.float64],
        relevance: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], list[_SyntheticRows]]:
        count, total = len(labels), relevance.sum()
        if total == 0:
            raise ValueError(f"y must have rare labels, all {count} have relevance 0")
        added = rng.choice(count, round(self.over * count), p=relevance / total)
        removable = np.flatnonzero(relevance < 1)
        if len(removable) == 0:
            raise ValueError(f"y must have common labels, all {count} have relevance 1")
        size = min(round(self.under * count), len(removable))
        chance = (1 - relevance)[removable]
        removed = rng.choice(removable, size, replace=False, p=chance / chance.sum())
        return np.concatenate([np.delete(np.arange(count), removed), added]), []


@dataclass(kw_only=True, eq=False)
class SMOTER(_BumpResampler):
    """SMOTE for regression: new samples between rare neighbors, fewer common samples.

    Rare labels and bumps are those of :class:`RandomOverSampler`. With N samples in B bumps, a rare
    bump with fewer than N / B samples grows to N / B, a common bump with more shrinks to N / B.

    A new sample lies between a base row a, each row of its bump in turn, and b, drawn from the k
    nearest rows of the same bump. With u uniform in [0, 1)::

        number    x = (1 − u) a + u b; integers are rounded
        category  that of a or of b, drawn evenly; likewise a number that is missing in one of them
        label     y = (d(x, b) y_a + d(x, a) y_b) / (d(x, a) + d(x, b)),  (y_a + y_b) / 2 if both
                  distances are 0

    d is the heterogeneous Euclidean-overlap distance. Over the c of F columns that are present in
    both rows, d(a, b)² = F / c · Σ δ²; δ is |a_j − b_j| in units of the range of the column in the
    whole table, and 0 or 1 for equal or different categories. If c = 0, d = √F.

    Labels of an integer type are rounded. A bump of one sample has no neighbor, and this sample is
    repeated.

    Args:
        relevance: as in :class:`RandomOverSampler`.
        threshold: as in :class:`RandomOverSampler`.
        k_neighbors: number of nearest rows to draw from; fewer if the bump is smaller.
        categorical_features: columns to treat as categories besides those that hold no numbers: a
            mask ``(F,)``, or positions or names. Booleans, text and dates are categories, and in an
            array of objects each column with a value that is no number.
        random_state: as in :class:`RandomOverSampler`.

    Attributes:
        sample_indices_: original row of each row, of a new row its base row, int64 ``(M,)``.
        is_synthetic_: which rows are new, bool ``(M,)``.
        neighbor_indices_: second parent of each new row, −1 for a row without, int64 ``(M,)``.
        relevance_: the relevance function that was used.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is outside its range.

    Example:
        >>> X, y = [[float(k)] for k in range(9)], [1, 2, 3, 4, 5, 6, 7, 30, 40]
        >>> resampler = SMOTER(threshold=1.0, random_state=0)
        >>> X, y = resampler.fit_resample(X, y)
        >>> y.tolist(), X[-1].round(3).tolist()
        ([2, 3, 4, 5, 7, 30, 40, 28], [6.913])
        >>> int(resampler.sample_indices_[-1]), int(resampler.neighbor_indices_[-1])
        (6, 7)

    References:
        Torgo et al., "SMOTE for regression" (EPIA 2013); numbers of new samples: "balance" in
        Branco, Torgo, Ribeiro (Neurocomputing 2019); distance: Wilson, Martinez, "Improved
        heterogeneous distance functions" (JAIR 1997).
    """

    k_neighbors: int = 5
    categorical_features: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size("k_neighbors", self.k_neighbors, "neighbors")

    def _choose(
        self,
        table: Any,
        labels: NDArray[np.float64],
        relevance: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], list[_SyntheticRows]]:
        bumps = _find_bumps(labels, relevance, self.threshold)
        features = FeatureColumns.read(table, self.categorical_features)
        size = round(len(labels) / len(bumps))
        rows, synthetic = [], []
        for bump in bumps:
            missing = size - len(bump.rows)
            if not bump.is_rare:
                rows.append(_draw(bump.rows, size, rng))
            elif len(bump.rows) == 1:
                rows.append(np.repeat(bump.rows, max(size, 1)))
            else:
                rows.append(bump.rows)
                if missing > 0:
                    synthetic += self._synthesize(features, labels, bump.rows, missing, rng)
        return np.concatenate(rows), synthetic

    def _synthesize(
        self,
        features: FeatureColumns,
        labels: NDArray[np.float64],
        rows: NDArray[np.int64],
        count: int,
        rng: np.random.Generator,
    ) -> list[_SyntheticRows]:
        """Return ``count`` new rows of a bump with at least two rows."""
        base = _draw_bases(len(rows), count, rng)
        distinct, inverse = np.unique(base, return_inverse=True)
        near = nearest_neighbors(features.rows(rows), distinct, self.k_neighbors)
        pick = rng.integers(near.positions.shape[1], size=count)
        neighbor, distance = near.positions[inverse, pick], near.distances[inverse, pick]
        radius = near.median[inverse] / 2
        close = self._is_close(distance, radius)
        pairs = rows[base[close]], rows[neighbor[close]]
        parts = [_interpolate(features, labels, *pairs, rng)]
        if not close.all():
            scale = self._noise_scale(radius[~close])
            parts.append(_add_noise(features, labels, rows, base[~close], scale, rng))
        return parts

    def _is_close(
        self, distance: NDArray[np.float64], radius: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return which pairs are interpolated (S,)."""
        return np.ones(len(distance), dtype=bool)

    def _noise_scale(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the noise around other base rows, in standard deviations, (S,)."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class SMOGN(SMOTER):
    """SMOTER between close neighbors, and Gaussian noise around a base row otherwise.

    Numbers of samples, bumps, base rows and neighbors are those of :class:`SMOTER`. With the radius
    r, half of the median distance from the base row a to the other rows of its bump, the new sample
    is interpolated as in SMOTER if d(a, b) < r. Otherwise it is a with noise::

        x = a + min(r, perturbation) · s · ε,   ε ~ N(0, 1)

    for each number and for the label, where s is the standard deviation in the bump. Integers are
    rounded, results outside the range of the column or of the labels are set to its end, and
    categories and missing values stay those of a. (In the paper, categories are drawn by their
    frequency in the bump; here each comes from a parent.)

    Args:
        relevance: as in :class:`RandomOverSampler`.
        threshold: as in :class:`RandomOverSampler`.
        k_neighbors: as in :class:`SMOTER`.
        categorical_features: as in :class:`SMOTER`.
        perturbation: largest noise, in standard deviations, above 0.
        random_state: as in :class:`RandomOverSampler`.

    Attributes and errors are those of :class:`SMOTER`.

    Example:
        >>> X, y = [[float(k)] for k in range(9)], [1, 2, 3, 4, 5, 6, 7, 30, 40]
        >>> resampler = SMOGN(threshold=1.0, random_state=0)
        >>> X, y = resampler.fit_resample(X, y)
        >>> y.tolist(), X[-1].round(3).tolist()
        ([2, 3, 4, 5, 7, 30, 40, 7], [6.007])

    References:
        Branco, Torgo, Ribeiro, "SMOGN: a pre-processing approach for imbalanced regression"
        (LIDTA, PMLR 74, 2017).
    """

    perturbation: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("perturbation", self.perturbation)

    def _is_close(
        self, distance: NDArray[np.float64], radius: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        return distance < radius

    def _noise_scale(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.minimum(radius, self.perturbation)


def make_resampler(name: ResamplerName, random_state: RandomState = None) -> Resampler:
    """Return a resampler with its defaults by its short name.

    Args:
        name: ``"over"``, ``"under"``, ``"wercs"``, ``"smoter"`` or ``"smogn"``.
        random_state: as in :class:`RandomOverSampler`.

    Raises:
        TypeError: the random state is none.
        ValueError: the name is none of these.

    Example:
        >>> make_resampler("smogn", random_state=0).perturbation
        0.02
    """
    check_choice("name", name, RESAMPLERS)
    classes: Mapping[str, type[Resampler]] = {
        "over": RandomOverSampler,
        "under": RandomUnderSampler,
        "wercs": WERCS,
        "smoter": SMOTER,
        "smogn": SMOGN,
    }
    return classes[name](random_state=random_state)


def _find_bumps(
    labels: NDArray[np.float64], relevance: NDArray[np.float64], threshold: float
) -> list[_Bump]:
    """Divide samples, sorted by label, where they change between rare and common."""
    is_rare = relevance >= threshold - _ROUNDING
    if not is_rare.any():
        raise ValueError(
            f"y must have rare labels, the largest relevance of {len(labels)} is "
            f"{relevance.max():.3g}: pass a threshold below {threshold:g}, or another relevance"
        )
    if is_rare.all():
        raise ValueError(
            f"y must have common labels, all {len(labels)} have a relevance of at least "
            f"{threshold:g}: pass a larger threshold, or another relevance"
        )
    order = np.argsort(labels, kind="stable")
    changes = np.flatnonzero(np.diff(is_rare[order])) + 1
    return [_Bump(rows, bool(is_rare[rows[0]])) for rows in np.split(order, changes)]


def _draw(rows: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return at most ``size`` of the rows, drawn without replacement."""
    return rng.choice(rows, min(size, len(rows)), replace=False)


def _draw_bases(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions below ``size``, each equally often, and a drawn remainder."""
    rest = rng.choice(size, count % size, replace=False)
    return np.concatenate([np.repeat(np.arange(size), count // size), rest])


def _interpolate(
    features: FeatureColumns,
    labels: NDArray[np.float64],
    base: NDArray[np.int64],
    neighbor: NDArray[np.int64],
    rng: np.random.Generator,
) -> _SyntheticRows:
    """Return new rows between pairs of rows."""
    count = len(features.number_places) + len(features.code_places)
    share = rng.random(len(base))
    source = np.where(rng.random((count, len(base))) < 0.5, base, neighbor)
    a, b = features.numbers[:, base], features.numbers[:, neighbor]
    numbers = _round_whole(features, (1 - share) * a + share * b)
    numbers = np.clip(numbers, np.minimum(a, b), np.maximum(a, b))
    # NaN where a or b is missing
    source[features.number_places] = np.where(
        np.isnan(numbers), source[features.number_places], base
    )
    copied = features.numbers[np.arange(len(a))[:, None], source[features.number_places]]
    codes = features.codes[np.arange(len(features.codes))[:, None], source[features.code_places]]
    new = features.scale(np.where(np.isnan(numbers), copied, numbers), codes)
    to_base = heom_distance(new, features.rows(base))
    to_neighbor = heom_distance(new, features.rows(neighbor))
    total = to_base + to_neighbor
    weight = np.where(total > 0, to_base / np.where(total > 0, total, 1.0), 0.5)
    y_a, y_b = labels[base], labels[neighbor]
    y = np.clip((1 - weight) * y_a + weight * y_b, np.minimum(y_a, y_b), np.maximum(y_a, y_b))
    values = _spread(features, _unless_equal(numbers, a))
    return _SyntheticRows(base, neighbor, source, values, _unless_equal(y, y_a))


def _add_noise(
    features: FeatureColumns,
    labels: NDArray[np.float64],
    rows: NDArray[np.int64],
    positions: NDArray[np.int64],
    scale: NDArray[np.float64],
    rng: np.random.Generator,
) -> _SyntheticRows:
    """Return rows of a bump with Gaussian noise, by their positions in the bump."""
    base = rows[positions]
    a, y_a = features.numbers[:, base], labels[base]
    noise = rng.standard_normal((len(a) + 1, len(base))) * scale
    numbers = a + noise[:-1] * _deviation(features.numbers[:, rows])[:, None]
    numbers = _round_whole(features, numbers)
    numbers = np.clip(numbers, features.low[:, None], features.high[:, None])
    y = np.clip(y_a + noise[-1] * _deviation(labels[None, rows]), labels.min(), labels.max())
    values = _spread(features, _unless_equal(numbers, a))
    source = np.tile(base, (len(values), 1))
    return _SyntheticRows(base, np.full(len(base), -1), source, values, _unless_equal(y, y_a))


def _spread(features: FeatureColumns, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns of numbers (P, S) at their positions in the table (F, S), others NaN."""
    count = len(features.number_places) + len(features.code_places)
    values = np.full((count, numbers.shape[1]), np.nan)
    values[features.number_places] = numbers
    return values


def _deviation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of the present values of each row (P,), 0 for fewer than 2."""
    present = ~np.isnan(values)
    count = present.sum(axis=1, keepdims=True)
    mean = np.where(present, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    squares = np.where(present, values - mean, 0.0) ** 2
    deviation: NDArray[np.float64] = np.sqrt(squares.sum(axis=1) / np.maximum(count[:, 0] - 1, 1))
    return deviation


def _round_whole(features: FeatureColumns, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round the columns of integers."""
    return np.where(features.whole[:, None], np.rint(numbers), numbers)


def _unless_equal(
    values: NDArray[np.float64], original: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Replace values that equal the original by NaN: these are copied, in their own precision."""
    return np.where(values == original, np.nan, values)


def _assemble(table: Any, rows: NDArray[np.int64], synthetic: list[_SyntheticRows]) -> Any:
    """Return copied rows followed by new rows."""
    if not synthetic:
        return take_rows(table, rows)
    base = np.concatenate([rows, *(part.base for part in synthetic)])
    sources = np.concatenate([part.source for part in synthetic], axis=1)
    values = np.concatenate([part.values for part in synthetic], axis=1)
    columns = [
        _copy_and_overwrite(column, np.concatenate([rows, source]), numbers)
        for column, source, numbers in zip(table_columns(table), sources, values, strict=True)
    ]
    return join_columns(table, base, columns)


def _assemble_labels(column: Any, rows: NDArray[np.int64], synthetic: list[_SyntheticRows]) -> Any:
    """Return copied labels followed by new labels."""
    base = np.concatenate([rows, *(part.base for part in synthetic)])
    labels = np.concatenate([np.empty(0), *(part.labels for part in synthetic)])
    return _copy_and_overwrite(column, base, labels)


def _copy_and_overwrite(
    column: Any, source: NDArray[np.int64], numbers: NDArray[np.float64]
) -> Any:
    """Return rows of a column, the last ones replaced by the numbers that are not NaN."""
    places = np.flatnonzero(~np.isnan(numbers))
    start = len(source) - len(numbers)
    return overwrite(take_rows(column, source), start + places, numbers[places])


def _evaluate_relevance(
    function: RelevanceFunction, labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the relevance (N,) of labels; raise an error unless all are from 0 to 1."""
    relevance = to_real_array(function(labels), "relevance").astype(np.float64)
    valid = (relevance >= 0) & (relevance <= 1)
    if relevance.shape != labels.shape or not valid.all():
        raise ValueError(
            f"relevance must return {len(labels)} numbers from 0 to 1, one per label, got "
            f"{describe_value(relevance)}"
        )
    return relevance


def _check_random_state(random_state: object) -> None:
    known = int | np.integer | np.random.RandomState | np.random.Generator
    if random_state is None or (
        isinstance(random_state, known) and not isinstance(random_state, bool)
    ):
        if not isinstance(random_state, int | np.integer) or random_state >= 0:
            return
        raise ValueError(f"random_state must be at least 0, got {random_state!r}")
    raise TypeError(
        "random_state must be None, a whole number, or a RandomState or Generator of NumPy, got "
        f"{describe_value(random_state)}"
    )


def _make_generator(random_state: RandomState) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):  # drawn from, so that it advances
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(random_state)  # of a Generator, this one
