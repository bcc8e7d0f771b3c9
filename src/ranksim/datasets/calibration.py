"""Separate half of the validation samples of a benchmark, for the calibration of intervals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim.data.batch import BatchDataset
from ranksim.data.data_report import DataReport
from ranksim.data.series import SeriesSamples
from ranksim.data.splitting import draw_calibration
from ranksim.datasets.base import Benchmark, LabelSamples
from ranksim.datasets.label_gaps import Subset
from ranksim.exceptions import DataError

SEED = 666  # of the splits that the published benchmarks draw


def separate_calibration(
    benchmark: Benchmark[Any], val: BatchDataset, mask: NDArray[np.bool_]
) -> tuple[Benchmark[Any], BatchDataset, BatchDataset]:
    """Divide validation into samples that choose checkpoints and samples that calibrate intervals.

    Training and test samples, label bins and regions stay what they are.

    Args:
        benchmark: with the labels of all parts.
        val: the validation samples as a network reads them.
        mask: which of them calibrate intervals ``(N,)``.

    Returns:
        The benchmark, no longer comparable with published scores, the validation samples and the
        calibration samples.

    Raises:
        DataError: there is no sample of one or the other.
    """
    rows, calibration = np.flatnonzero(~mask), np.flatnonzero(mask)
    if not len(rows) or not len(calibration):
        raise DataError(
            f"{benchmark.name} has {format_count(len(mask), 'validation sample')}, which cannot be "
            "divided for --interval: use more data, or drop fewer labels."
        )
    labels = benchmark.val.labels
    counts = [len(benchmark.train), len(rows), len(benchmark.test)]
    reduced = dataclasses.replace(
        benchmark,
        val=LabelSamples(labels[rows]),
        calibration=LabelSamples(labels[calibration]),
        facts=benchmark.facts | {"counts": counts, "calibration": len(calibration)},
        comparable=False,
        label_counts=benchmark.count_labels(),
    )
    return reduced, Subset.select(val, rows), Subset.select(val, calibration)


def choose_calibration(
    benchmark: Benchmark[Any], horizon: int = 0
) -> tuple[NDArray[np.bool_], DataReport]:
    """Choose half of the validation samples of a published benchmark, and report their number.

    They are drawn by label bin. Of a series, whole stretches without a common reading are drawn.

    Args:
        benchmark: the data.
        horizon: readings from the last one of a window of a series to its target.
    """
    val = benchmark.val
    units = np.arange(len(val))
    bins: NDArray[np.int64] | None = benchmark.bins.digitize(val.labels)
    if isinstance(val, SeriesSamples):
        order = np.argsort(val.ends, kind="stable")
        is_apart = np.diff(val.ends[order], prepend=val.ends[order[0]]) >= val.window + horizon
        units[order], bins = np.cumsum(is_apart), None
    mask = draw_calibration(units, bins, seed=SEED)
    text = (
        f"{mask.sum():,} of {len(val):,} validation samples calibrate intervals, and choose no "
        "checkpoint"
    )
    return mask, DataReport(notes={"Calibration": text})
