"""Sampling of a batch: one sample per distinct label, and positions of dense targets."""

import numpy as np
import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, check_size
from ranksim.functional._kernels.cpu.library import LABEL_TYPES, Result, load_library
from ranksim.functional._validation import check_generator, check_tensors
from ranksim.functional.similarity import working_dtype


def draw_unique(
    labels: Tensor, label_width: float | None = None, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw one sample per distinct label, uniformly, and return the indices in ascending order.

    Args:
        labels: shape ``(N,)`` or ``(N, K)``, real or integer.
        label_width: bin width in units of the label; labels in the same bin count as equal. Bin k
            covers [k·width, (k+1)·width), edges accurate to 1e-4 of a width. ``None``: labels are
            equal if their values are.
        generator: random generator of the draw; ``None`` is PyTorch's default one.

    Returns:
        int64 indices of shape ``(M,)``, where M is the number of distinct labels.

    Example:
        >>> draw_unique(torch.tensor([20, 21, 23]))
        tensor([0, 1, 2])
        >>> draw_unique(torch.tensor([0.12, 0.31, 0.17]), 0.1).numel()
        2

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), section 3: the step removes ties and raises the
        share of rare labels.
    """
    check_tensors(labels=labels)
    check_generator(generator)
    if labels.ndim not in (1, 2) or labels.is_complex():
        raise ValueError(
            f"labels must be real numbers of shape (N,) or (N, K), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    width = None if label_width is None else check_positive("label_width", label_width)
    return unique_mask(labels, width, generator=generator).nonzero().squeeze(1)


def unique_mask(
    labels: Tensor,
    label_width: float | None = None,
    *,
    generator: torch.Generator | None = None,
    num_preferred: int | None = None,
) -> Tensor:
    """Draw one sample per distinct label as a boolean mask of shape ``(N,)``.

    Unlike :func:`draw_unique` it never synchronizes the host with the device. Of each label, the
    first ``num_preferred`` samples of the batch are drawn before all others.
    """
    count, device = labels.shape[0], labels.device
    if label_width is not None:
        labels = labels.to(working_dtype(device))
        labels = (labels / label_width).round(decimals=4).floor()
    draw_device = generator.device if generator is not None else device
    first = count if num_preferred is None else num_preferred
    order = torch.randperm(first, generator=generator, device=draw_device)
    if first < count:
        rest = torch.randperm(count - first, generator=generator, device=draw_device)
        order = torch.cat([order, rest + first])
    order = order.to(device)
    if device.type == "cpu" and type(labels) is Tensor and not torch.compiler.is_compiling():
        mask = _mark_unique(labels, order)
        return _unique_mask_numpy(labels, order) if mask is None else mask
    columns = labels.unsqueeze(1) if labels.ndim == 1 else labels
    # after a stable sort by all columns, the first of each run of equal labels is a uniform draw
    for column in reversed(range(columns.shape[1])):
        order = order[columns[order, column].argsort(stable=True)]
    ordered = columns[order]
    differs = (ordered[1:] != ordered[:-1]).any(dim=1)
    starts = torch.cat([torch.ones_like(differs[:1]), differs]) if count > 1 else order == order
    return torch.zeros(count, dtype=torch.bool, device=device).scatter(0, order, starts)


def _mark_unique(labels: Tensor, shuffled: Tensor) -> Tensor | None:
    """Select the first sample of each label by compiled code; ``None`` if it cannot do that."""
    count = len(labels)
    if labels.numel() != count or labels.dtype not in LABEL_TYPES or not labels.is_contiguous():
        return None
    try:
        library = load_library(is_tiny=True)
    except OSError:
        return None
    mask = torch.empty(count, dtype=torch.bool)
    result = library.mark_unique(
        *(labels.data_ptr(), LABEL_TYPES[labels.dtype], shuffled.data_ptr(), count),
        mask.data_ptr(),
    )
    return mask if result == Result.OK else None


def _unique_mask_numpy(labels: Tensor, shuffled: Tensor) -> Tensor:
    """Select the first sample of each label in shuffled order."""
    if labels.dtype in (torch.bfloat16, torch.bool):
        labels = labels.float()
    columns = labels.detach().numpy().reshape(len(labels), -1 if labels.numel() else 1)
    order = shuffled.numpy()
    order = order[np.lexsort(columns[order].T[::-1])]
    ordered = columns[order]
    mask = np.ones(len(order), dtype=bool)
    mask[order[1:]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return torch.from_numpy(mask)


def sample_positions(
    features: Tensor,
    labels: Tensor,
    num_positions: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw positions of dense features and labels, uniformly and without replacement.

    The positions of all samples form one pool: from 8 images of 480 × 640 pixels, 256 positions
    give 256 samples, as a batch of 256 images would. Positions without a label (any of its K
    numbers is NaN) are never drawn. Gradients flow to the drawn positions.

    Args:
        features: shape ``(N, D, H, W)``, ``(N, D, T)`` or any other position axes, in any memory
            format; only the drawn positions are copied.
        labels: shape ``(N, K, H, W)``, ``(N, K, T)``, …, on the same positions; K is usually 1.
        num_positions: number of positions to draw, at least 1; all if fewer have a label.
        generator: random generator of the draw; its next state does not depend on NaN labels.

    Returns:
        Features ``(P, D)`` and labels ``(P, K)`` with P ≤ ``num_positions``, in batch order.

    Raises:
        TypeError: if an argument is not a tensor or ``num_positions`` is not a whole number.
        ValueError: if shapes or devices do not match, or ``num_positions`` is below 1.

    Example:
        >>> depth = torch.full((2, 1, 4, 4), torch.nan)  # meters, known at three pixels
        >>> depth[0, 0, 1, :3] = torch.tensor([1.0, 2.5, 7.0])
        >>> features, labels = sample_positions(torch.randn(2, 8, 4, 4), depth, 16)
        >>> features.shape, labels.flatten().tolist()
        (torch.Size([3, 8]), [1.0, 2.5, 7.0])
    """
    check_positions(features, labels)
    index = draw_positions(labels, num_positions, generator)
    return features.movedim(1, -1)[index], labels.movedim(1, -1)[index]


def check_positions(features: Tensor, labels: Tensor) -> None:
    """Raise an error unless features and labels are dense tensors on the same positions."""
    check_tensors(features=features, labels=labels)
    shape, label_shape = features.shape, labels.shape
    if not (3 <= features.ndim == labels.ndim) or (
        (*shape[:1], *shape[2:]) != (*label_shape[:1], *label_shape[2:])
    ):
        raise ValueError(
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            f"positions, got features {tuple(shape)} and labels {tuple(label_shape)}"
        )


def check_position_weight(sample_weight: Tensor, target: Tensor) -> None:
    """Raise an error unless dense labels ``(N, K, ...)`` have one weight per position."""
    check_tensors(target=target, sample_weight=sample_weight)
    shape = (len(target), 1, *target.shape[2:])
    if sample_weight.shape != shape:
        raise ValueError(
            f"sample_weight must have one weight per position, shape {shape}, got "
            f"{tuple(sample_weight.shape)} for target {tuple(target.shape)}"
        )


def draw_positions(
    labels: Tensor, num_positions: int, generator: torch.Generator | None
) -> tuple[Tensor, ...]:
    """Draw positions of dense labels ``(N, K, ...)`` as indices ``(P,)`` of all axes but K."""
    num_positions = check_size("num_positions", num_positions, "positions")
    check_generator(generator)
    valid = labels.isnan().any(dim=1).logical_not()
    draw_device = labels.device if generator is None else generator.device
    order = torch.randperm(valid.numel(), generator=generator, device=draw_device)
    order = order.to(labels.device)
    drawn = order[valid.flatten()[order]][:num_positions].sort().values
    return torch.unravel_index(drawn, valid.shape)
