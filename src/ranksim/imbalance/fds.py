"""Feature distribution smoothing."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksim._utils.checks import (
    check_choice,
    check_flag,
    check_size,
    describe_value,
)
from ranksim._utils.precise_module import PreciseModule
from ranksim.imbalance.bins import LabelBins, check_bins
from ranksim.imbalance.smoothing import Kernel, kernel_window, smooth

EmptyBins = Literal["neighbours", "zeros"]
EMPTY_BINS: tuple[EmptyBins, ...] = ("neighbours", "zeros")
_CHUNK = 1024  # samples per pass, so that their features stay in the processor's cache


class FDS(PreciseModule):
    r"""Calibrates features so that their statistics change smoothly along the labels.

    For each label bin b, the mean :math:`\mu_b` and variance :math:`\sigma_b^2` (n − 1) of the
    features are tracked over epochs with momentum, and smoothed over bins by a kernel with sum one
    and reflecting boundary to :math:`\tilde\mu_b` and :math:`\tilde\sigma_b^2`. A feature z whose
    label lies in bin b becomes

    .. math::  (z - \mu_b) \sqrt{\mathrm{clip}(\tilde\sigma_b^2 / \sigma_b^2)} + \tilde\mu_b

    Statistics come from one pass over all training samples at the end of an epoch
    (:meth:`fit_epoch`, or :meth:`accumulate` per batch and :meth:`update` once), and are used in
    the next epoch. Before the first update, and in evaluation mode, features pass unchanged.

    Dense targets: features ``(N, D, ...)`` with labels ``(N, 1, ...)`` on the same positions are
    calibrated and counted position by position. Positions with a NaN label pass unchanged and are
    not counted.

    Args:
        num_features: D, the number of features.
        bins: label bins, at least two; labels outside belong to the first or last bin.
        kernel: ``"gaussian"`` (as published), ``"gaussian-textbook"``, ``"triangular"`` or
            ``"laplace"``; see :func:`ranksim.imbalance.kernel_window`.
        kernel_size: length of the kernel in bins, odd.
        sigma: standard deviation or scale of the kernel in bins, in (0, 1e6].
        momentum: weight of a bin's previous statistics in an update, in [0, 1); the first
            statistics of a bin are used as they are.
        clip: smallest and largest variance ratio; published: (0.1, 10) for ages, (0.5, 2) for
            STS-B. A ratio 0 / 0 is 1.
        empty_bins: statistics of bins that never contained a sample: ``"neighbours"`` interpolates
            between the nearest nonempty bins; ``"zeros"``, as published for ages, leaks zeros into
            neighboring bins, and features in an empty bin pass unchanged.
        paper_compat: follow the published code: statistics come from smoothed features in training
            mode, and RankSim should be given smoothed features. By default they come from raw
            features in evaluation mode, and RankSim should be given raw features.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> fds = FDS(2, LabelBins.integers(0, 9))
        >>> features, ages = torch.randn(64, 2), torch.arange(64) % 10
        >>> fds.accumulate(features, ages)
        >>> fds.update()
        >>> fds(features, ages).shape
        torch.Size([64, 2])

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), equations 3 to 5.
        The result is a new tensor; the published code overwrites the features.
    """

    def __init__(
        self,
        num_features: int,
        bins: LabelBins,
        *,
        kernel: Kernel = "gaussian",
        kernel_size: int = 5,
        sigma: float = 2.0,
        momentum: float = 0.9,
        clip: tuple[float, float] = (0.1, 10.0),
        empty_bins: EmptyBins = "neighbours",
        paper_compat: bool = False,
    ) -> None:
        super().__init__()
        num_features = check_size("num_features", num_features, "features")
        check_bins(bins)
        if len(bins) < 2:
            raise ValueError(f"bins must be at least 2, as FDS smooths over them, got {len(bins)}")
        momentum = _check_momentum(momentum)
        clip = _check_clip(clip)
        check_choice("empty_bins", empty_bins, EMPTY_BINS)
        paper_compat = check_flag("paper_compat", paper_compat)
        window = kernel_window(kernel, kernel_size, sigma)
        self.num_features, self.momentum, self.clip = num_features, momentum, clip
        self.empty_bins, self.paper_compat = empty_bins, paper_compat
        count = len(bins)
        smoothing = smooth(np.eye(count), window / window.sum(), "reflect")
        self.edges = nn.Buffer(torch.from_numpy(bins.edges[1:-1].copy()))
        self.window = nn.Buffer(torch.from_numpy(smoothing).float())  # (K, K), rows sum to one
        self.numbers = nn.Buffer(torch.arange(count + 1))
        self.observed = nn.Buffer(torch.zeros(count, dtype=torch.bool))
        self.mean, self.var = (nn.Buffer(torch.zeros(count, num_features)) for _ in range(2))
        self.scale = nn.Buffer(torch.ones(count, num_features))
        self.offset = nn.Buffer(torch.zeros(count, num_features))
        self.updates = nn.Buffer(torch.zeros((), dtype=torch.int64))
        # accumulated since the last update, per bin: the count, one sample as an anchor, and the
        # sums of deviations from it and of their squares, which do not cancel
        self.new_count = nn.Buffer(torch.zeros(count, dtype=torch.int64))
        self.new_anchor, self.new_sum, self.new_square = (
            nn.Buffer(torch.zeros(count, num_features)) for _ in range(3)
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}seen" in state_dict:  # name of the buffer in older checkpoints
            state_dict[f"{prefix}observed"] = state_dict.pop(f"{prefix}seen")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def bin_index(self, labels: Tensor) -> Tensor:
        """Return the bin of each label ``(N,)`` or ``(N, 1)``, compared in float32."""
        return torch.bucketize(labels.flatten().float(), self.edges, right=True)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return calibrated features in training mode, and unchanged ones in evaluation mode."""
        return self.calibrate(features, labels) if self.training else features

    def calibrate(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return calibrated features as a new tensor, unchanged before the first update.

        Args:
            features: ``(N, D)``, or dense ``(N, D, ...)``.
            labels: ``(N,)`` or ``(N, 1)``, or dense ``(N, 1, ...)``.
        """
        rows, flat = flatten_positions(features, labels, self.num_features)
        b = self.bin_index(flat)
        # z · √r + (μ̃ − μ √r), the equation with its constants collected
        calibrated = torch.addcmul(F.embedding(b, self.offset), rows, F.embedding(b, self.scale))
        calibrated = calibrated.to(features.dtype)
        if labels.ndim > 2:
            calibrated = torch.where(flat.isnan().unsqueeze(1), rows, calibrated)
        return calibrated.view(len(features), *features.shape[2:], self.num_features).movedim(-1, 1)

    @torch.no_grad()
    def accumulate(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch to the statistics of the next :meth:`update`.

        The result does not depend on the batch size, up to rounding.

        Args:
            features: ``(N, D)``, or dense ``(N, D, ...)``.
            labels: ``(N,)`` or ``(N, 1)``, or dense ``(N, 1, ...)``.
        """
        rows_and_labels = flatten_positions(features, labels, self.num_features)
        dense, (features, labels) = labels.ndim > 2, rows_and_labels
        if dense:
            known = labels.isnan().logical_not()
            features, labels = features[known], labels[known]
        chunk = _CHUNK if features.device.type == "cpu" else max(len(features), 1)
        buffer = self.new_sum.new_empty(min(chunk, len(features)), self.num_features)
        b = self.bin_index(labels)
        for rows, bins in zip(torch.split(features, chunk), torch.split(b, chunk), strict=True):
            ordered, order = torch.sort(bins)
            bounds = torch.searchsorted(ordered, self.numbers)
            start, count = bounds[:-1], bounds.diff()
            first = ((self.new_count == 0) & (count > 0)).nonzero().squeeze(1)
            self.new_anchor[first] = rows[order[start[first]]].to(self.new_anchor.dtype)
            deviation = torch.index_select(self.new_anchor, 0, bins, out=buffer[: len(rows)])
            torch.sub(rows, deviation, out=deviation)
            self.new_count.add_(count)
            self.new_sum.add_(F.embedding_bag(order, deviation, start, mode="sum"))
            self.new_square.add_(F.embedding_bag(order, deviation.square_(), start, mode="sum"))

    @torch.no_grad()
    def merge_statistics(self, other: FDS) -> None:
        """Add the statistics that another FDS has accumulated since its last update.

        Raises:
            ValueError: the bins or the number of features differ.
        """
        if not isinstance(other, FDS):
            raise TypeError(f"statistics must be those of an FDS, got {describe_value(other)}")
        if self.new_sum.shape != other.new_sum.shape or not self.edges.equal(
            other.edges.to(self.edges.device)
        ):
            raise ValueError("statistics merge only for the same bins and num_features")
        self._add(*(part.to(self.new_sum.device) for part in other._accumulated()))

    @torch.no_grad()
    def update(self) -> None:
        """End an epoch: update the running statistics and smooth them, over all processes.

        Raises:
            RuntimeError: nothing was accumulated since the last update.
        """
        self._all_gather()
        count = self.new_count
        if not count.any():
            raise RuntimeError("FDS.update() needs features: call accumulate() on an epoch first")
        shift = self.new_sum / count.clamp_min(1).unsqueeze(1)
        mean = self.new_anchor + shift
        square = self.new_square - self.new_sum * shift
        var = square / (count - 1).clamp_min(1).unsqueeze(1)
        nonempty = count > 0
        momentum = (self.momentum * (self.observed & nonempty)).unsqueeze(1)
        self.observed.logical_or_(nonempty)
        nonempty = nonempty.unsqueeze(1)
        for running, new in ((self.mean, mean), (self.var, var)):
            running.copy_(torch.where(nonempty, momentum * running + (1 - momentum) * new, running))
        self._reset()
        self.updates.add_(1)
        self._set_calibration()

    def fit_epoch(
        self, encoder: Callable[[Any], Tensor], batches: Iterable[tuple[Any, Tensor]]
    ) -> None:
        """Accumulate the statistics of a whole epoch and update.

        Anything accumulated before, for example by an interrupted call, is discarded.

        Args:
            encoder: maps inputs to features ``(N, D)``; a module is in evaluation mode during the
                pass (``paper_compat``: its mode is not changed).
            batches: inputs and labels of all training samples, in any order.
        """
        self._reset()
        modes = {}
        if isinstance(encoder, nn.Module) and not self.paper_compat:
            modes = {part: part.training for part in encoder.modules()}
            encoder.eval()
        try:
            with torch.no_grad():
                for inputs, labels in batches:
                    features = encoder(inputs)
                    if self.paper_compat:
                        features = self.calibrate(features, labels)
                    self.accumulate(features, labels)
        finally:
            for part, mode in modes.items():
                part.training = mode
        self.update()

    def _accumulated(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.new_count, self.new_anchor, self.new_sum, self.new_square

    def _reset(self) -> None:
        for part in self._accumulated():
            part.zero_()

    def _add(self, count: Tensor, anchor: Tensor, total: Tensor, square: Tensor) -> None:
        """Add sums of deviations, converted to the reference samples of this FDS."""
        empty = (self.new_count == 0).unsqueeze(1)
        self.new_anchor.copy_(torch.where(empty, anchor, self.new_anchor))
        shift = anchor - self.new_anchor
        correction = count.unsqueeze(1) * shift
        self.new_square.add_(square + shift * (2 * total + correction))
        self.new_sum.add_(total + correction)
        self.new_count.add_(count)

    def _all_gather(self) -> None:
        """Sum the accumulated statistics over all processes of a distributed training."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        gathered = []
        for part in self._accumulated():
            gathered.append([torch.empty_like(part) for _ in range(distributed.get_world_size())])
            distributed.all_gather(gathered[-1], part)
        self._reset()
        for parts in zip(*gathered, strict=True):
            self._add(*parts)

    def _set_calibration(self) -> None:
        """Compute the scale and offset of each bin from the running statistics."""
        mean: Tensor = self.mean
        var: Tensor = self.var
        if self.empty_bins == "neighbours" and not self.observed.all():
            low, high, share = _nearest_nonempty(self.observed)
            share = share.to(mean)
            mean = torch.lerp(mean[low], mean[high], share)
            var = torch.lerp(var[low], var[high], share)
        with torch.autocast(mean.device.type, enabled=False):  # products stay in float32
            smooth_mean, smooth_var = self.window @ mean, self.window @ var
        ratio = smooth_var / var
        scale = ratio.nan_to_num(nan=1.0).clamp(*self.clip).sqrt()
        offset = smooth_mean - mean * scale
        if self.empty_bins == "zeros":
            empty = ~self.observed.unsqueeze(1)
            scale, offset = scale.masked_fill(empty, 1.0), offset.masked_fill(empty, 0.0)
        self.scale.copy_(scale)
        self.offset.copy_(offset)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, bins={len(self.observed)}, momentum={self.momentum}, "
            f"clip={self.clip}, empty_bins={self.empty_bins!r}, paper_compat={self.paper_compat}"
        )


def _check_momentum(momentum: Any) -> float:
    """Return the momentum; raise a ValueError unless it is in [0, 1)."""
    if not isinstance(momentum, numbers.Real) or not 0 <= float(momentum) < 1:
        raise ValueError(f"momentum must be in [0, 1), got {describe_value(momentum)}")
    return float(momentum)


def _check_clip(clip: Any) -> tuple[float, float]:
    """Return the limits of the variance ratio; raise a ValueError if they are invalid."""
    try:
        low, high = map(float, clip)
        valid = 0 < low <= 1 <= high < float("inf")
    except (TypeError, ValueError):
        valid = False
    if not valid:
        value = describe_value(clip)
        raise ValueError(f"clip must be (low, high) with 0 < low <= 1 <= high, got {value}")
    return low, high


def _nearest_nonempty(observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nearest nonempty bins below and above each bin, and the upper one's weight.

    A nonempty bin is its own neighbor on both sides; beyond the outermost ones, both are that one.
    """
    nonempty = np.flatnonzero(observed.cpu().numpy())
    position = np.interp(np.arange(len(observed)), nonempty, np.arange(len(nonempty)))
    low, high = (
        torch.from_numpy(nonempty[rounded(position).astype(int)]).to(observed.device)
        for rounded in (np.floor, np.ceil)
    )
    return low, high, torch.from_numpy(position % 1).float().unsqueeze(1)


def flatten_positions(features: Tensor, labels: Tensor, num_features: int) -> tuple[Tensor, Tensor]:
    """Return features ``(P, D)`` and labels ``(P,)`` of a batch, D being ``num_features``.

    Features are ``(N, D)`` or ``(N, D, 1, ...)`` with labels ``(N,)`` or ``(N, 1)``, or dense:
    features ``(N, D, ...)`` with labels ``(N, 1, ...)`` on the same positions, at least three axes.
    """
    for name, value in (("features", features), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {describe_value(value)}")
    if features.device != labels.device:
        raise ValueError(
            f"features and labels must be on one device, got features on {features.device} and "
            f"labels on {labels.device}"
        )
    dense, shape = labels.ndim > 2, tuple(features.shape)
    matches = features.ndim > 1 and features.shape[1] == num_features
    if not matches or not (dense or features[:1].numel() in (0, num_features)):
        raise ValueError(f"features must have shape (N, {num_features}), got {shape}")
    if dense:
        expected = (len(features), 1, *features.shape[2:])
        if labels.shape != expected:
            raise ValueError(f"dense labels must have shape {expected}, got {tuple(labels.shape)}")
        return features.movedim(1, -1).reshape(-1, num_features), labels.flatten()
    if labels.shape not in ((len(features),), (len(features), 1)):
        raise ValueError(
            f"labels must have shape ({len(features)},) or ({len(features)}, 1), got "
            f"{tuple(labels.shape)}"
        )
    return features.flatten(1), labels.flatten()
