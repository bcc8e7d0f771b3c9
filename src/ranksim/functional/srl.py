"""Surrogate-driven representation learning: centroids of label bins along a curve on the sphere."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, describe_value
from ranksim.functional._validation import check_tensors
from ranksim.functional.similarity import normalize_rows


def update_centroids(
    sums: Tensor, counts: Tensor, centroids: Tensor, momentum: float
) -> tuple[Tensor, Tensor]:
    r"""Move the centroids of the label bins in a batch towards its mean unit features.

    .. math::
        c_k \leftarrow \frac{m c_k + (1 - m) \bar z_k}{\lVert m c_k + (1 - m) \bar z_k \rVert_2}

    Args:
        sums: unit features of the batch summed by bin ``(K, D)``.
        counts: samples of the batch by bin ``(K,)``.
        centroids: of earlier batches ``(K, D)``, zeros in bins that had no sample.
        momentum: m in [0, 1).

    Returns:
        New centroids ``(K, D)`` with the gradient of ``sums``, and which bins have one now
        ``(K,)``. A first mean becomes the centroid itself.
    """
    present, observed = counts > 0, centroids.ne(0).any(dim=1)
    means = sums / counts.clamp(min=1).unsqueeze(1)
    mixed = momentum * centroids + (1 - momentum) * means
    moved, _ = normalize_rows(torch.where(observed.unsqueeze(1), mixed, means))
    return torch.where(present.unsqueeze(1), moved, centroids), observed | present


def srl_loss(
    features: Tensor,
    index: Tensor,
    centroids: Tensor,
    observed: Tensor,
    positions: Tensor,
    points: Tensor,
    *,
    weights: tuple[float, float, float] = (0.1, 0.1, 0.1),
    temperature: float = 0.1,
) -> Tensor:
    r"""Compute the weighted sum of homogeneity, enveloping and contrast of centroids.

    .. math::
        \alpha \sum_k \frac{\lVert c_{k+1} - c_k \rVert_2^2}{y_{k+1} - y_k}
        + \beta \frac 1P \sum_u \Bigl( 1 - \sum_k \sigma_k(u) \langle u, c_k \rangle \Bigr)
        - \gamma \frac 1N \sum_i \log \frac{\exp(\langle \hat z_i, c_{k(i)} \rangle / \tau)}
        {\sum_k \exp(\langle \hat z_i, c_k \rangle / \tau)}

    over the bins that have a centroid, with the soft maximum's shares
    :math:`\sigma_k(u) \propto \exp(\langle u, c_k \rangle / \tau)`: steps along the curve of the
    centroids are even, the curve comes near every point of the sphere, and samples gather at it.

    Args:
        features: shape ``(N, D)``, of the dtype of the centroids.
        index: label bin of each sample, int64 ``(N,)``, or -1; samples without a bin, or of bins
            without a centroid, are left out of the contrast.
        centroids: unit vectors ``(K, D)``.
        observed: which bins have a centroid ``(K,)``.
        positions: label of each bin ``(K,)``, ascending, in standard deviations.
        points: P unit vectors ``(P, D)``.
        weights: α, β and γ, at least 0.
        temperature: τ > 0.

    Returns:
        A scalar of the features' dtype; zero, with a gradient, if no bin has a centroid.

    Raises:
        TypeError: if an argument is not a tensor, or the weights are not three numbers.
        ValueError: if a weight or the temperature is outside its range.

    References:
        "Improve Representation for Imbalanced Regression through Geometric Constraints" (CVPR 2025,
        arXiv 2503.00876). The soft maximum as a mean by softmax, τ in it, the gradient through the
        batch's part of the centroids and the momentum are our choices.
    """
    check_tensors(features=features, index=index, centroids=centroids, observed=observed)
    check_tensors(positions=positions, points=points)
    homogeneity, enveloping, contrast = check_weights(weights)
    temperature = check_positive("temperature", temperature)
    unit, _ = normalize_rows(features)
    has_any = observed.any()
    used = observed | ~has_any  # so that no softmax is empty
    hidden = ~used
    total = homogeneity * _homogeneity(centroids, observed, positions)
    similarities = points @ centroids.T
    shares = (similarities / temperature).masked_fill(hidden, -torch.inf).softmax(dim=1)
    total = total + enveloping * (1 - (shares * similarities).sum(dim=1)).mean()
    logits = (unit @ centroids.T / temperature).masked_fill(hidden, -torch.inf)
    place = index.clamp(min=0)
    counted = observed[place] & (index >= 0)
    logits = torch.where(counted.unsqueeze(1), logits, 0.0)
    terms = torch.where(counted, -logits.log_softmax(dim=1).gather(1, place[:, None])[:, 0], 0.0)
    total = total + contrast * terms.sum() / counted.sum().clamp(min=1)
    return torch.where(has_any, total, (unit * 0).sum())


def check_weights(weights: object) -> tuple[float, float, float]:
    """Return three numbers of at least 0; raise an error if the argument is anything else."""
    if not isinstance(weights, tuple | list) or len(weights) != 3:
        raise TypeError(f"weights must be three numbers, got {describe_value(weights)}")
    first, second, third = (check_positive("weights", each, or_zero=True) for each in weights)
    return first, second, third


def _homogeneity(centroids: Tensor, observed: Tensor, positions: Tensor) -> Tensor:
    """Return the squared steps between consecutive centroids per distance of their labels."""
    bins = torch.arange(len(observed), device=observed.device)
    later = torch.where(observed, bins, len(observed)).flip(0).cummin(dim=0).values.flip(0)
    following = torch.cat([later[1:], later.new_full((1,), len(observed))])  # the next bin, or K
    paired = observed & (following < len(observed))
    following = torch.where(paired, following, bins)
    steps = (centroids[following] - centroids).square().sum(dim=1)
    spacing = torch.where(paired, positions[following] - positions, 1.0)
    return torch.where(paired, steps / spacing, 0.0).sum()
