"""Features and labels of a batch in the most precise dtype, their distances and joined views."""

import torch
from torch import Tensor

from ranksim.functional._validation import check_tensors, to_matrices
from ranksim.functional.similarity import pairwise_similarity, working_dtype

_EQUAL = 64.0  # rounding errors within which squared distances count as zero


def prepare_features(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    """Check features and labels, and return them in float64 with the dtype of the result.

    Returns:
        Features ``(N, D)`` and labels ``(N, K)`` without gradient, float32 where the device has
        no float64, and float64 for float64 features, else float32.
    """
    features, labels = to_matrices(features, labels)
    exact = working_dtype(features.device)
    dtype = torch.promote_types(features.dtype, torch.float32)
    return features.to(exact), labels.detach().to(exact), dtype


def join_views(first: Tensor, second: Tensor, name: str) -> Tensor:
    """Append the second view of the samples, or raise an error that names both."""
    check_tensors(**{name: first, f"{name}_2": second})
    if first.shape != second.shape or first.device != second.device:
        raise ValueError(
            f"{name}_2 must have the shape and device of {name}, got {tuple(second.shape)} on "
            f"{second.device} and {tuple(first.shape)} on {first.device}"
        )
    return torch.cat([first, second.to(first.dtype)])


def label_distances(labels: Tensor) -> Tensor:
    """Return the distances ``(N, N)`` of labels ``(N, K)``, summed over their K dimensions."""
    return -pairwise_similarity(labels, labels, "neg_l1")


def propagate_nan(loss: Tensor, features: Tensor, *inputs: Tensor) -> Tensor:
    """Return the loss, or NaN with a NaN gradient if a feature or other input is not finite.

    Comparisons with NaN are false, so that a term of pairs would leave such samples out silently.
    """
    finite = torch.stack([each.isfinite().all() for each in (features, *inputs)]).all()
    factor = torch.where(finite, 0.0, torch.nan).to(features.dtype)
    return loss + (features * factor).sum()


def pairwise_distances(rows: Tensor) -> Tensor:
    """Return the Euclidean distances ``(N, N)`` of rows ``(N, D)``, as matrix products.

    Distances within rounding errors are 0 and have no gradient.
    """
    rows = rows - rows.detach().mean(dim=0)  # differences of far rows would cancel
    products = rows @ rows.T
    squares = products.diagonal()
    totals = squares.unsqueeze(1) + squares
    squared = totals - 2 * products
    equal = squared.detach() <= _EQUAL * torch.finfo(rows.dtype).eps * totals.detach()
    return squared.masked_fill(equal, 1.0).sqrt().masked_fill(equal, 0.0)
