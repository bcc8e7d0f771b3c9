"""Feature distribution smoothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksim.imbalance._flatten import flatten_positions
from ranksim.imbalance.bins import LabelBins
from ranksim.imbalance.smoothing import Kernel, kernel_window, smooth

Empty = Literal["neighbours", "zeros"]
EMPTY: tuple[Empty, ...] = ("neighbours", "zeros")
_ROWS = 1024  # samples that one pass takes: their features then stay in a processor's cache


class FDS(nn.Module):
    r"""Calibrates features so that neighbouring labels have similar feature statistics.

    Per label bin b, the mean :math:`\mu_b` and variance :math:`\sigma_b^2` (n − 1) of the
    features are tracked with momentum over epochs and smoothed over bins by a kernel that sums to
    one, with reflecting boundary, to :math:`\tilde\mu_b` and :math:`\tilde\sigma_b^2`. A feature
    z whose label lies in bin b becomes

    .. math::  (z - \mu_b) \sqrt{\mathrm{clip}(\tilde\sigma_b^2 / \sigma_b^2)} + \tilde\mu_b

    Statistics come from one pass over all training samples at the end of an epoch
    (:meth:`refresh`, or :meth:`collect` on each batch and :meth:`update` once), and serve the next
    epoch. Before the first update, and in evaluation mode, features pass unchanged.

    Dense targets: features ``(N, D, ...)`` with labels ``(N, 1, ...)`` on the same positions are
    calibrated, and counted, position by position, all of them: what a pass holds beside the
    features is one more batch of them. A NaN is no label: its position passes unchanged and counts
    for nothing.

    Args:
        width: D, the number of features.
        bins: label bins, at least two; labels outside belong to the end bins.
        kernel, size, sigma: the smoothing window (see :func:`ranksim.imbalance.kernel_window`).
        momentum: what is kept of a bin's old statistics, in [0, 1); its first ones are taken as
            they are.
        clip: smallest and largest variance ratio; published: (0.1, 10) for ages, (0.5, 2) for
            STS-B. A ratio 0 / 0 is 1.
        empty: statistics of bins that never had a sample: ``"neighbours"``, interpolated between
            the nearest bins that have some, or ``"zeros"``, which leak into their neighbours (as
            published for ages); features in such a bin then pass unchanged.
        published: statistics are gathered in training mode and from smoothed features, and RankSim
            is meant to see smoothed features, as in the published code. By default statistics
            are gathered in evaluation mode and from raw features, which RankSim sees too.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> fds = FDS(2, LabelBins.integers(0, 9))
        >>> features, ages = torch.randn(64, 2), torch.arange(64) % 10
        >>> fds.collect(features, ages)
        >>> fds.update()
        >>> fds(features, ages).shape
        torch.Size([64, 2])

    Source: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), equations 3 to 5.
    Features are calibrated into a new tensor; the published code wrote over them.
    """

    edges: Tensor
    window: Tensor
    numbers: Tensor
    seen: Tensor
    mean: Tensor
    var: Tensor
    scale: Tensor
    offset: Tensor
    updates: Tensor
    new_count: Tensor
    new_anchor: Tensor
    new_sum: Tensor
    new_square: Tensor

    def __init__(
        self,
        width: int,
        bins: LabelBins,
        *,
        kernel: Kernel = "gaussian",
        size: int = 5,
        sigma: float = 2.0,
        momentum: float = 0.9,
        clip: tuple[float, float] = (0.1, 10.0),
        empty: Empty = "neighbours",
        published: bool = False,
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width!r}")
        if len(bins) < 2:
            raise ValueError(f"FDS smooths over bins: it needs at least 2, got {len(bins)}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum!r}")
        if not 0 < clip[0] <= 1 <= clip[1] < float("inf"):
            raise ValueError(f"clip must be two numbers around 1, above 0, got {clip!r}")
        if empty not in EMPTY:
            raise ValueError(f"empty must be one of {', '.join(EMPTY)}, got {empty!r}")
        window = kernel_window(kernel, size, sigma)
        self.width, self.momentum, self.clip = width, momentum, clip
        self.empty, self.published = empty, published
        count = len(bins)
        across = smooth(np.eye(count), window / window.sum(), "reflect")
        for name, value in {
            "edges": torch.from_numpy(bins.edges[1:-1].copy()),
            "window": torch.from_numpy(across).float(),  # (K, K), rows sum to one
            "numbers": torch.arange(count + 1),
            "seen": torch.zeros(count, dtype=torch.bool),
            "mean": torch.zeros(count, width),
            "var": torch.zeros(count, width),
            "scale": torch.ones(count, width),
            "offset": torch.zeros(count, width),
            "updates": torch.zeros((), dtype=torch.int64),
            # collected since the last update: per bin a count, one of its samples, and the sums
            # of deviations from that one and of their squares, where nothing large cancels
            "new_count": torch.zeros(count, dtype=torch.int64),
            "new_anchor": torch.zeros(count, width),
            "new_sum": torch.zeros(count, width),
            "new_square": torch.zeros(count, width),
        }.items():
            self.register_buffer(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FDS:
        """What moves a module, except that statistics and edges stay in float32 at least."""

        def at_least_float32(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            half = moved.dtype in (torch.float16, torch.bfloat16)
            return tensor.to(moved.device) if half else moved

        super()._apply(at_least_float32, recurse)  # type: ignore[no-untyped-call]
        return self

    def bin_of(self, labels: Tensor) -> Tensor:
        """Bin of each label ``(N,)`` or ``(N, 1)``, compared in float32 as the field does."""
        return torch.bucketize(labels.flatten().float(), self.edges, right=True)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Calibrated features in training, unchanged ones in evaluation."""
        return self.smooth(features, labels) if self.training else features

    def smooth(self, features: Tensor, labels: Tensor) -> Tensor:
        """Calibrate features ``(N, D)`` by their labels ``(N,)``, or dense ones, into a new tensor.

        Before the first update they come back as they are.

        Raises:
            ValueError: shapes that do not fit.
        """
        rows, flat = flatten_positions(features, labels, self.width)
        b = self.bin_of(flat)
        # z · √r + (μ̃ − μ √r), which is the equation with its constants gathered
        calibrated = torch.addcmul(F.embedding(b, self.offset), rows, F.embedding(b, self.scale))
        calibrated = calibrated.to(features.dtype)
        if labels.ndim > 2:
            calibrated = torch.where(flat.isnan().unsqueeze(1), rows, calibrated)
        return calibrated.view(len(features), *features.shape[2:], self.width).movedim(-1, 1)

    @torch.no_grad()
    def collect(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch, features ``(N, D)`` and labels ``(N,)``, to what the next update uses.

        Exact however samples are cut into batches, up to rounding.

        Raises:
            ValueError: shapes that do not fit.
        """
        dense = labels.ndim > 2
        features, labels = flatten_positions(features, labels, self.width)
        if dense:
            known = labels.isnan().logical_not()
            features, labels = features[known], labels[known]
        step = _ROWS if features.device.type == "cpu" else max(len(features), 1)
        block = self.new_sum.new_empty(min(step, len(features)), self.width)
        b = self.bin_of(labels)
        for rows, bins in zip(torch.split(features, step), torch.split(b, step), strict=True):
            ordered, order = torch.sort(bins)
            bounds = torch.searchsorted(ordered, self.numbers)
            start, count = bounds[:-1], bounds.diff()
            first = ((self.new_count == 0) & (count > 0)).nonzero().squeeze(1)
            self.new_anchor[first] = rows[order[start[first]]].to(self.new_anchor.dtype)
            apart = torch.index_select(self.new_anchor, 0, bins, out=block[: len(rows)])
            torch.sub(rows, apart, out=apart)
            self.new_count += count
            self.new_sum += F.embedding_bag(order, apart, start, mode="sum")
            self.new_square += F.embedding_bag(order, apart.square_(), start, mode="sum")

    @torch.no_grad()
    def merge(self, other: FDS) -> None:
        """Add what another FDS has collected since its last update, for example on other data."""
        if self.new_sum.shape != other.new_sum.shape or not self.edges.equal(
            other.edges.to(self.edges.device)
        ):
            raise ValueError("an FDS merges only with one of the same bins and width")
        self._add(*(part.to(self.new_sum.device) for part in other._collected()))

    @torch.no_grad()
    def update(self) -> None:
        """End an epoch: running statistics, then their smoothing; over all processes, if several.

        Raises:
            RuntimeError: nothing was collected since the last update.
        """
        self._share()
        count = self.new_count
        if not count.any():
            raise RuntimeError("FDS.update() found no features: collect() those of an epoch first")
        apart = self.new_sum / count.clamp_min(1).unsqueeze(1)
        mean = self.new_anchor + apart
        square = self.new_square - self.new_sum * apart
        var = square / (count - 1).clamp_min(1).unsqueeze(1)
        has = count > 0
        kept = (self.momentum * (self.seen & has)).unsqueeze(1)
        has = has.unsqueeze(1)
        self.mean.copy_(torch.where(has, kept * self.mean + (1 - kept) * mean, self.mean))
        self.var.copy_(torch.where(has, kept * self.var + (1 - kept) * var, self.var))
        self.seen |= has.squeeze(1)
        self._forget()
        self.updates += 1
        self._calibrate()

    def refresh(
        self,
        encoder: Callable[[Any], Tensor],
        batches: Iterable[tuple[Any, Tensor]],
    ) -> None:
        """Collect a whole epoch and update: what ends an epoch of training.

        What was collected before, perhaps by a call that was interrupted, does not count.

        Args:
            encoder: maps inputs to features ``(N, D)``; a module is put into evaluation mode
                meanwhile (``published``: it stays in its mode).
            batches: inputs and labels of all training samples, in any order.
        """
        self._forget()
        modes = {}
        if isinstance(encoder, nn.Module) and not self.published:
            modes = {part: part.training for part in encoder.modules()}
            encoder.eval()
        try:
            with torch.no_grad():
                for inputs, labels in batches:
                    features = encoder(inputs)
                    if self.published:
                        features = self.smooth(features, labels)
                    self.collect(features, labels)
        finally:
            for part, mode in modes.items():
                part.training = mode
        self.update()

    def _collected(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.new_count, self.new_anchor, self.new_sum, self.new_square

    def _forget(self) -> None:
        for part in self._collected():
            part.zero_()

    def _add(self, count: Tensor, anchor: Tensor, total: Tensor, square: Tensor) -> None:
        """Add sums of deviations from other anchors, moved to the own ones."""
        unknown = (self.new_count == 0).unsqueeze(1)
        self.new_anchor.copy_(torch.where(unknown, anchor, self.new_anchor))
        apart = anchor - self.new_anchor
        moved = count.unsqueeze(1) * apart
        self.new_square += square + apart * (2 * total + moved)
        self.new_sum += total + moved
        self.new_count += count

    def _share(self) -> None:
        """Let all processes of a distributed training have what each has collected."""
        spread = torch.distributed
        if not (spread.is_available() and spread.is_initialized()):
            return
        parts = []
        for own in self._collected():
            parts.append([torch.empty_like(own) for _ in range(spread.get_world_size())])
            spread.all_gather(parts[-1], own)
        self._forget()
        for part in zip(*parts, strict=True):
            self._add(*part)

    def _calibrate(self) -> None:
        """The factor and offset of each bin from the running statistics."""
        mean, var = self.mean, self.var
        if self.empty == "neighbours" and not self.seen.all():
            low, high, share = _neighbours(self.seen)
            share = share.to(mean)
            mean = torch.lerp(mean[low], mean[high], share)
            var = torch.lerp(var[low], var[high], share)
        with torch.autocast(mean.device.type, enabled=False):  # products stay in float32
            smooth_mean, smooth_var = self.window @ mean, self.window @ var
        ratio = smooth_var / var
        scale = ratio.nan_to_num(nan=1.0).clamp(*self.clip).sqrt()
        offset = smooth_mean - mean * scale
        if self.empty == "zeros":
            unseen = ~self.seen.unsqueeze(1)
            scale, offset = scale.masked_fill(unseen, 1.0), offset.masked_fill(unseen, 0.0)
        self.scale.copy_(scale)
        self.offset.copy_(offset)

    def extra_repr(self) -> str:
        return (
            f"{self.width}, bins={len(self.seen)}, momentum={self.momentum}, clip={self.clip}, "
            f"empty={self.empty!r}, published={self.published}"
        )


def _neighbours(seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest bins seen below and above each bin, and the share ``(K, 1)`` of the upper one.

    A bin that was seen is its own; beyond the first or last one, that is both.
    """
    known = np.flatnonzero(seen.cpu().numpy())
    place = np.interp(np.arange(len(seen)), known, np.arange(len(known)))
    low, high = known[np.floor(place).astype(int)], known[np.ceil(place).astype(int)]
    share = torch.from_numpy(place % 1).float().unsqueeze(1)
    return torch.from_numpy(low).to(seen.device), torch.from_numpy(high).to(seen.device), share
