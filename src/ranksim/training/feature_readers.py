"""Inputs of estimators: columns of a table, or numeric features of texts, images and windows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.frames import make_frame
from ranksim.data.batch import BatchDataset
from ranksim.exceptions import UsageError
from ranksim.training.method_rules import NEEDS_SERIES
from ranksim.user_data.columns import CategoryColumn
from ranksim.user_data.features import TableFeatures

if TYPE_CHECKING:
    import pandas as pd

_BATCH_SIZE = 256
_MAX_READINGS = 64  # last readings of a window that are features of their own
_FREQUENCIES = 12  # of the luminance of an image, in each direction
_COLOR_FREQUENCIES = 4
_CELLS = 8  # of an image, in each direction
_DIRECTIONS = 8  # of edges
_LEAST_EDGE = 1e-3  # mean change of the luminance, from 0 to 1, below which a cell is flat

Floats = NDArray[np.float64]


class FeatureReader(ABC):
    """Reads samples as numbers for estimators, which take neither texts nor pixels nor windows."""

    @property
    def categories(self) -> tuple[int, ...] | None:
        """The number of categories of each column, 0 for numbers; None if all are numbers."""
        return None

    def read_columns(self, samples: BatchDataset) -> Floats:
        """Return the columns of N samples, float64 ``(N, D)``; NaN is missing, -1 unknown."""
        return self.read_vectors(samples)

    @abstractmethod
    def read_vectors(self, samples: BatchDataset) -> Floats:
        """Return finite numeric features of N samples, float64 ``(N, F)``."""

    def read_last(self, samples: BatchDataset) -> Floats:
        """Return the last reading of the target before each forecast, float64 ``(N,)``."""
        raise UsageError(NEEDS_SERIES)


@dataclass(frozen=True)
class TableReader(FeatureReader):
    """Reads the columns of a table, or the vectors that a network reads."""

    features: TableFeatures

    @property
    def categories(self) -> tuple[int, ...]:
        return self.features.num_categories

    def read_columns(self, samples: BatchDataset) -> Floats:
        return copy_to_numpy(samples.get_raw_inputs(torch.arange(len(samples)))[0])

    def read_vectors(self, samples: BatchDataset) -> Floats:
        vectors = samples.get_inputs(torch.arange(len(samples)))[0]
        return copy_to_numpy(vectors).astype(np.float64)

    def read_frame(self, samples: BatchDataset) -> pd.DataFrame:
        """Return the columns of N samples by name: numbers, dates in days, categories as texts.

        Categories that training samples lack are ``unknown``, rare ones ``other``.
        """
        values = self.read_columns(samples)
        columns: dict[str, Any] = {}
        for column in self.features.columns:
            width = len(column.num_categories)
            part, values = values[:, :width], values[:, width:]
            if isinstance(column, CategoryColumn):
                names = (*column.values, "other", "unknown")  # whose code is -1
                codes = part[:, 0].tolist()
                columns[column.name] = [None if c != c else names[int(c)] for c in codes]
            elif width == 1:
                columns[column.name] = part[:, 0]
            else:
                columns |= {f"{column.name} {k}": part[:, k] for k in range(width)}
        return make_frame(columns)

    def encode(self, columns: Floats) -> NDArray[np.float32]:
        """Return the vectors of a network for columns ``(N, D)``."""
        return self.features.encode(columns)


@dataclass(frozen=True)
class VectorReader(FeatureReader):
    """Reads vectors, such as the features of a frozen encoder."""

    def read_vectors(self, samples: BatchDataset) -> Floats:
        vectors = samples.get_inputs(torch.arange(len(samples)))[0]
        return copy_to_numpy(vectors).astype(np.float64)


@dataclass(frozen=True, eq=False)
class TextReader(FeatureReader):
    """Reads the mean word vector of each text; of two texts, also their product and difference."""

    vectors: Tensor  # (V, E); row 0 is the padding

    def read_vectors(self, samples: BatchDataset) -> Floats:
        return _map_batches(samples, self._average)

    def _average(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(tokens.shape[2])
        mask = (steps < lengths.unsqueeze(2)).double()  # (texts, B, T)
        words = self.vectors.double()[tokens]
        means = (words * mask.unsqueeze(3)).sum(2) / mask.sum(2, keepdim=True).clamp(min=1)
        if len(means) == 1:
            return means[0]
        first, second = means
        return torch.cat([first, second, first * second, (first - second).abs()], dim=1)


@dataclass(frozen=True)
class SeriesReader(FeatureReader):
    """Reads the last readings of each window, and statistics of all of them by channel."""

    mean: float  # of the target, channel 0, which networks read standardized
    deviation: float

    def read_vectors(self, samples: BatchDataset) -> Floats:
        return _map_batches(samples, _describe_windows)

    def read_last(self, samples: BatchDataset) -> Floats:
        last = _map_batches(samples, lambda windows: windows[:, -1, :1])[:, 0]
        return last * self.deviation + self.mean


def _describe_windows(windows: Tensor) -> Tensor:
    """Return features of windows ``(B, W, C)``: last readings, mean, deviation, range, slope."""
    windows = windows.double()
    length = windows.shape[1]
    time = torch.linspace(-1, 1, length, dtype=torch.float64) if length > 1 else torch.zeros(1)
    slope = (windows * time[:, None]).mean(1)
    statistics = [windows.mean(1), windows.std(1, correction=0), windows.amin(1), windows.amax(1)]
    last = windows[:, -_MAX_READINGS:].flatten(1)
    return torch.cat([last, *statistics, slope], dim=1)


@dataclass(frozen=True)
class ImageReader(FeatureReader):
    """Reads the low frequencies and edges of each image, or the features of a frozen encoder.

    The frequencies are the lowest coefficients of the discrete cosine transform: 12 × 12 of the
    luminance and 4 × 4 of two color differences. The edges are the strength of 8 directions in
    8 × 8 cells, as in a histogram of oriented gradients.

    References:
        Dalal, Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005).
    """

    encoder: str = ""

    def read_vectors(self, samples: BatchDataset) -> Floats:
        if self.encoder:
            from ranksim.models import ImageEncoder

            network = ImageEncoder(self.encoder).eval()
            return _map_batches(samples, network)
        return _map_batches(samples, _describe_images)


def _describe_images(images: Tensor) -> Tensor:
    """Return low frequencies and edges ``(B, 688)`` of images, uint8 ``(B, S, S, 3)``."""
    red, green, blue = (images.double() / 255).unbind(3)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [
        (luminance, _FREQUENCIES),
        (blue - luminance, _COLOR_FREQUENCIES),
        (red - luminance, _COLOR_FREQUENCIES),
    ]
    parts = []
    for plane, count in planes:
        basis = _cosine_basis(plane.shape[1], count)
        parts.append((basis @ plane @ basis.T).flatten(1))
    if luminance.shape[1] > 2:
        parts.append(_measure_edges(luminance.float()).double())
    return torch.cat(parts, dim=1)


def _measure_edges(luminance: Tensor) -> Tensor:
    """Return the strength of edges by direction and cell, ``(B, 512)``, of planes ``(B, S, S)``.

    It is the mean over a cell of the gradient in a direction where that is positive, divided by
    the root mean square over the 3 × 3 cells around, so that it does not depend on the contrast.
    """
    across = luminance[:, 1:-1, 2:] - luminance[:, 1:-1, :-2]
    down = luminance[:, 2:, 1:-1] - luminance[:, :-2, 1:-1]
    angles = [2 * math.pi * k / _DIRECTIONS for k in range(_DIRECTIONS)]
    edges = [(across * math.cos(a) + down * math.sin(a)).clamp(min=0) for a in angles]
    cells = functional.adaptive_avg_pool2d(torch.stack(edges, dim=1), _CELLS)
    squares = (cells**2).sum(1, keepdim=True)
    around = functional.avg_pool2d(squares, 3, stride=1, padding=1, count_include_pad=False)
    return (cells / (around + _LEAST_EDGE**2).sqrt()).flatten(1)


def _cosine_basis(size: int, count: int) -> Tensor:
    """Return the first rows of the orthonormal cosine transform, ``(min(count, size), size)``."""
    positions = torch.arange(size, dtype=torch.float64) + 0.5
    rows = torch.arange(min(count, size), dtype=torch.float64)
    basis: Tensor = torch.cos(torch.pi / size * rows[:, None] * positions) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


def _map_batches(samples: BatchDataset, function: Any) -> Floats:
    """Apply a function of network inputs to all samples; return its results ``(N, F)``."""
    order = samples.length_order()
    with torch.inference_mode():
        batches = (samples.get_inputs(rows) for rows in torch.split(order, _BATCH_SIZE))
        results = [function(*inputs).double() for inputs in batches]
    values = torch.cat(results)[order.argsort()]
    return copy_to_numpy(values)
