"""Test views: one test set, weighted as if its labels were balanced, as in the data, or rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim.data.splitting import MAX_PER_BIN
from ranksim.datasets.base import Benchmark
from ranksim.imbalance import LabelBins

VIEWS = ("balanced", "as_is", "inverse")
_MAX_BINS = 1_000
VIEW_TITLES = {"balanced": "balanced", "as_is": "as in your data", "inverse": "rare first"}
AS_IS = "as is"
WHOLE_DATA, FILE = "whole", "file"  # what is scored if it is no test set
_BALANCED_SET, _FILE_SET = "balanced by label", "labels as in the file"
# what the plain mean over all samples is: in a column heading, behind a number, in a sentence
_TEST_SETS = {
    "balanced": (
        "balanced",
        _BALANCED_SET,
        f"the test set is {_BALANCED_SET}, unlike your data",
    ),
    "random": (
        AS_IS,
        "labels as in your data",
        "the test set is drawn at random, with labels as in your data",
    ),
    "latest": ("latest", "the latest rows", "the test set has the latest rows"),
    "given": ("as given", "test set as given", "the test set is the one that the data names"),
    WHOLE_DATA: (
        AS_IS,
        "labels as in your data",
        "each sample is tested once, so that labels are as in your data",
    ),
    FILE: ("as in the file", _FILE_SET, "every row of the file counts alike, whatever its label"),
}
_BALANCED = ("sts-b-dir", "sentiment-dir", "glucose", "agedb-dir", "imdb-wiki-dir")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ViewCounts:
    r"""Rows and test samples per label bin, from which the weights of the test views follow.

    Let :math:`N_b` be the rows of the data with a label in bin b, in whatever part they are,
    :math:`n_b` the test samples in it, n all test samples, and B the bins with :math:`n_b > 0`. A
    view gives the bins of B the shares :math:`p_b`, which sum to 1, and so each test sample of
    bin b the weight

    .. math::  w_i = \frac{n \, p_b}{n_b}, \qquad \frac{1}{n} \sum_i w_i = 1

    Its mean absolute error is :math:`\frac{1}{n} \sum_i w_i |\hat y_i - y_i|`. The views are

    - ``balanced``: :math:`p_b \propto \min(n_b, c)`, as if at most c test samples of each bin had
      been drawn. For a test set that was drawn balanced, c has no limit, and this is the plain
      mean; otherwise c is the median of :math:`n_b` over B, at most 30, as in
      :func:`ranksim.data.splitting.balance_held_out`.
    - ``as_is``: :math:`p_b \propto N_b`, the frequencies of the labels in the data. For a test set
      drawn at random without balancing, which has them already, this is the plain mean.
    - ``inverse``: :math:`p_b \propto \min(n_b, c) / N_b`, the balanced view in which each sample
      counts the less, the more rows have its label: rare labels first.

    Rows in bins without a test sample, such as labels that occur once, cannot be represented: the
    shares are those of the other bins, and ``uncovered`` is the share of the rows left out.

    Args:
        edges: edges of the label bins of the split, ``(K + 1,)``. More than 1,000 bins are merged
            into equal groups.
        rows: :math:`N_b`, ``(K,)``.
        test: :math:`n_b`, ``(K,)``.
        test_set: how test samples were chosen, see :class:`ranksim.datasets.base.Benchmark`.
    """

    edges: Floats
    rows: NDArray[np.int64]
    test: NDArray[np.int64]
    test_set: str

    @classmethod
    def from_benchmark(cls, benchmark: Benchmark[Any]) -> ViewCounts:
        """Count the rows and the test samples of a benchmark in its label bins."""
        bins = benchmark.bins
        starts = np.arange(0, len(bins), -(-len(bins) // _MAX_BINS))
        counts = (benchmark.count_labels(), bins.histogram(benchmark.test.labels))
        rows, test = (np.add.reduceat(count, starts) for count in counts)
        edges = np.append(bins.edges[starts], bins.edges[-1]).astype(np.float64)
        return cls(edges, rows, test, benchmark.test_set)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ViewCounts:
        """Create the counts from the result of :meth:`to_dict`."""
        rows, test = (np.asarray(content[name], dtype=np.int64) for name in ("rows", "test"))
        return cls(np.asarray(content["edges"], np.float64), rows, test, content["test_set"])

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("edges", "rows", "test")}
        return {"test_set": self.test_set, **arrays}

    @property
    def main_view(self) -> str | None:
        """The view that equals the plain mean over all test samples, or None."""
        return {"balanced": "balanced", "random": "as_is"}.get(self.test_set)

    @property
    def uncovered(self) -> float:
        """The share of the rows whose label bin contains no test sample."""
        total = int(self.rows.sum())
        return float(self.rows[self.test == 0].sum() / total) if total else 0.0

    def shares(self) -> dict[str, Floats]:
        """Return the share of each label bin in each view, ``(K,)``, which sum to one."""
        is_used, test = self.test > 0, self.test.astype(np.float64)
        limit = np.inf
        if self.test_set != "balanced":
            limit = min(MAX_PER_BIN, max(1, int(np.median(self.test[is_used]))))
        balanced = np.minimum(test, limit)
        rows = np.maximum(self.rows, self.test)  # a test sample is a row
        as_is = test if self.test_set == "random" else np.where(is_used, rows, 0.0)
        inverse = np.divide(balanced, rows, out=np.zeros_like(test), where=is_used)
        shares = {"balanced": balanced, "as_is": as_is, "inverse": inverse}
        return {view: share / share.sum() for view, share in shares.items()}

    def weights(self, labels: ArrayLike) -> dict[str, Floats] | None:
        """Return the weights of the test samples ``(N,)`` in each view, with mean one.

        The result is None if these are not the labels that were counted.
        """
        bins = LabelBins(self.edges.astype(np.float32))
        index = bins.digitize(labels)
        if not len(index) or not np.array_equal(bins.histogram(labels), self.test):
            return None
        per_sample = np.divide(len(index), self.test, where=self.test > 0, out=np.zeros(len(bins)))
        return {view: (share * per_sample)[index] for view, share in self.shares().items()}


def read_view_counts(labels: Mapping[str, Any] | None) -> ViewCounts | None:
    """Read the counts from the label axis of results; None for results of earlier versions."""
    content = (labels or {}).get("views")
    return ViewCounts.from_dict(content) if content else None


def describe_test_set(test_set: str | None) -> str:
    """Return what the mean over all test samples is, in a word or two; empty if it is not known.

    Example:
        >>> [describe_test_set(name) for name in ("balanced", "random", "given", None)]
        ['balanced', 'as is', 'as given', '']
    """
    return _TEST_SETS[test_set][0] if test_set else ""


def title_of_all(test_set: str | None) -> str:
    """Return the heading of the mean over all test samples, such as ``all, balanced``."""
    return f"all, {describe_test_set(test_set)}" if test_set else "all"


def explain_test_set(test_set: str | None) -> str:
    """Return a sentence on the mean over all test samples; empty if it is not known."""
    return f"{title_of_all(test_set)}: {_TEST_SETS[test_set][2]}." if test_set else ""


def describe_mean(test_set: str | None) -> str:
    """Return what the mean over all samples is, as an addition to a figure; empty if unknown."""
    return _TEST_SETS[test_set][1] if test_set else ""


def qualify_mean(text: str, test_set: str | None) -> str:
    """Return a figure with what the mean over all test samples is, if it is known.

    Example:
        >>> qualify_mean("MAE 2.3", "balanced"), qualify_mean("MAE 2.3", None)
        ('MAE 2.3 (balanced by label)', 'MAE 2.3')
    """
    return f"{text} ({describe_mean(test_set)})" if test_set else text


def explain_views(counts: ViewCounts) -> str:
    """Return sentences on the test views, and on the rows that they cannot represent."""
    text = (
        "The same predictions on three kinds of test data. balanced: common and rare labels count "
        "alike; as in your data: each label counts as often as it occurs there; rare first: the "
        "rarer a label, the more it counts."
    )
    if counts.uncovered:
        left_out = int(counts.rows[counts.test == 0].sum())
        text += (
            f" {left_out:,} of {int(counts.rows.sum()):,} rows have labels without a test sample, "
            "and count in none."
        )
    return text


def find_test_set(results: Mapping[str, Any]) -> str | None:
    """Return how the test samples of results were chosen; None if it is not recorded.

    Results of earlier versions say whether a drawn split was balanced, and the test sets of the
    published benchmarks are.
    """
    if (counts := read_view_counts(results.get("labels"))) is not None:
        return counts.test_set
    if results["benchmark"] in _BALANCED:
        return "balanced"
    done = [run for run in results["runs"] if run["status"] == "done"]
    return read_test_set(done[0]["provenance"].get("data", {}) if done else {})


def read_test_set(facts: Mapping[str, Any]) -> str | None:
    """Return how the test samples of user data were chosen, by the facts of an earlier version."""
    if facts.get("balanced"):
        return "balanced"
    return "random" if facts.get("split_by") in ("random", "group", "day") else None
