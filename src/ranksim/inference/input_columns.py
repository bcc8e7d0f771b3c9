"""What a model reads of each sample as a few columns of numbers and categories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import BatchDataset, VectorDataset
from ranksim.data.images.facts import examine_images
from ranksim.data.images.table import image_paths
from ranksim.data.table import Ints, Table
from ranksim.evaluation.drift import CategorySummary, Change, Measure, NumberSummary, Summary
from ranksim.training.adapters import (
    DataAdapter,
    ImageAdapter,
    SeriesAdapter,
    TableAdapter,
    TextAdapter,
)
from ranksim.user_data.columns import CategoryColumn, EmbeddingColumn, NumberColumn

_BATCH = 4_096
_UNKNOWN_WORD = 1  # token of ranksim.data.text.encode_texts
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InputColumn:
    """One property of the inputs of N samples.

    Args:
        name: of the column, or of what is measured of it.
        values: ``(N,)``; NaN where missing. Codes of categories count from 0, and new ones are -1.
        categories: their names; None for numbers.
        measure: what the numbers are.
    """

    name: str
    values: Floats
    categories: tuple[str, ...] | None = None
    measure: Measure = "number"

    def summarize(self, points: int) -> Summary:
        """Return the distribution of the values, of numbers by at most ``points`` quantiles."""
        if self.categories is not None:
            return CategorySummary.from_codes(self.values, self.categories)
        return NumberSummary.from_values(self.values, points=points, measure=self.measure)

    def compare(self, before: Summary) -> Change:
        """Compare the values with an earlier distribution."""
        return before.compare(self.name, self.values)


def measure_inputs(
    adapter: DataAdapter, table: Table, rows: Ints, samples: BatchDataset, *, is_new: bool = False
) -> list[InputColumn]:
    """Return the columns of the inputs of N samples.

    - A table: its numbers, dates and categories; of a column of lists, their distance from the
      training mean, as the root mean square of their standardized numbers.
    - Texts: words of each, and the share of those without a word vector.
    - Images: width, height, and mean and standard deviation of the pixels as the network gets them,
      unless it reads features of a frozen encoder.
    - A series: the last reading of each window.

    Args:
        adapter: of the model.
        table: the data.
        rows: of the samples in the table ``(N,)``.
        samples: what the network reads.
        is_new: the samples may have categories that training data does not have.
    """
    if isinstance(adapter, TableAdapter):
        return _measure_table(adapter, table.take(rows) if is_new else None, samples)
    if isinstance(adapter, TextAdapter):
        return _measure_texts(adapter, table, rows, samples)
    if isinstance(adapter, ImageAdapter):
        return _measure_images(adapter, table, rows, samples)
    assert isinstance(adapter, SeriesAdapter)
    scaling = adapter.scaling
    last = np.concatenate([windows[:, -1] for (windows,) in _read_batches(samples)])
    readings = last * np.array(scaling.deviation) + np.array(scaling.mean)
    return [InputColumn(name, readings[:, k]) for k, name in enumerate(adapter.names)]


def _measure_table(
    adapter: TableAdapter, table: Table | None, samples: BatchDataset
) -> list[InputColumn]:
    """Measure the columns of a table, with new categories of the ``table`` if it is given."""
    values = np.concatenate([batch[0] for batch in _read_batches(samples)])
    columns, start = [], 0
    for column in adapter.features.columns:
        width = len(column.num_categories)
        part = values[:, start : start + width].astype(np.float64)
        start += width
        if isinstance(column, NumberColumn):
            measure: Measure = "date" if column.dates else "number"
            columns.append(InputColumn(column.name, part[:, 0], measure=measure))
        elif isinstance(column, CategoryColumn):
            codes = part[:, 0].copy()
            if table is not None:
                codes[column.find_unknown(table)] = -1.0  # which read may count among the others
            names = column.values + ("all others",) * column.other
            columns.append(InputColumn(column.name, codes, names))
        else:
            distances = _measure_distance(column, part)
            columns.append(InputColumn(f"{column.name} (distance from the mean)", distances))
    return columns


def _measure_distance(column: EmbeddingColumn, vectors: Floats) -> Floats:
    """Return the root mean square of standardized lists ``(N, D)``, NaN where missing."""
    mean, deviation = np.array(column.mean), np.array(column.deviation)
    is_used = deviation > 0
    scaled = (vectors[:, is_used] - mean[is_used]) / deviation[is_used]
    distances: Floats = np.sqrt(np.square(scaled).sum(axis=1) / max(is_used.sum(), 1))
    return distances


def _measure_texts(
    adapter: TextAdapter, table: Table, rows: Ints, samples: BatchDataset
) -> list[InputColumn]:
    columns = []
    for name in adapter.names:
        values = table.column(name)
        counts = [len(str(values[row]).split()) for row in rows.tolist()]
        columns.append(InputColumn(f"{name} (words)", np.array(counts, dtype=np.float64)))
    if type(adapter) is TextAdapter:  # tokens of other encoders have no unknown ones
        shares = np.concatenate(
            [
                (tokens == _UNKNOWN_WORD).sum(axis=2) / np.maximum(lengths, 1)
                for tokens, lengths in _read_batches(samples)
            ],
            axis=1,
        )
        columns += [
            InputColumn(f"{name} (share of unknown words)", share)
            for name, share in zip(adapter.names, shares, strict=True)
        ]
    return columns


def _measure_images(
    adapter: ImageAdapter, table: Table, rows: Ints, samples: BatchDataset
) -> list[InputColumn]:
    assert table.root is not None
    paths = image_paths(table.take(rows), adapter.name)
    sizes = examine_images(table.root, paths).sizes.astype(np.float64)
    properties = {"width": sizes[:, 0], "height": sizes[:, 1]}
    if isinstance(samples, VectorDataset):  # features of a frozen encoder, without pixels
        return [InputColumn(f"{adapter.name} ({k})", values) for k, values in properties.items()]
    pixels = [
        (batch.mean(axis=(1, 2, 3)), batch.std(axis=(1, 2, 3)))
        for (batch,) in _read_batches(samples, _BATCH // 16)
    ]
    means, deviations = (np.concatenate(part) for part in zip(*pixels, strict=True))
    properties |= {"mean of pixels": means, "deviation of pixels": deviations}
    return [InputColumn(f"{adapter.name} ({k})", values) for k, values in properties.items()]


def _read_batches(samples: BatchDataset, size: int = _BATCH) -> Iterator[list[np.ndarray]]:
    """Yield the inputs of estimators, batch by batch, as arrays."""
    for start in range(0, len(samples), size):
        index = torch.arange(start, min(start + size, len(samples)))
        yield [copy_to_numpy(each) for each in samples.get_raw_inputs(index)]
