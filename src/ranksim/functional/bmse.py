"""Balanced MSE: the likelihood of labels as if they were equally frequent."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive
from ranksim.functional._batch import check_vectors, prepare_batch, weighted_mean
from ranksim.functional._validation import check_tensors

Sigma = float | Tensor


def bmc_loss(
    preds: Tensor, target: Tensor, sigma: Sigma, sample_weight: Tensor | None = None
) -> Tensor:
    r"""Compute Balanced MSE with the labels of the batch as the label distribution (BMC).

    .. math::
        2 \bar\sigma^2 \, \frac 1N \sum_i w_i \Bigl( \frac{\|p_i - y_i\|^2}{2 \sigma^2} + \log
        \sum_j \exp \frac{-\|p_i - y_j\|^2}{2 \sigma^2} \Bigr)

    where :math:`\bar\sigma` passes no gradient: each label competes with the others of the batch,
    duplicates included, so predictions are not drawn to frequent labels.

    Args:
        preds: predictions ``(N,)`` or, with K label dimensions, ``(N, K)``, floating point.
        target: labels of the same shape, real or integer.
        sigma: σ > 0, the noise of labels, in their unit; a tensor without dimensions is learned,
            and is not checked, as this would wait for its device.
        sample_weight: weights ``(N,)``, floating point; they get no gradient.

    Returns:
        A scalar, float64 for float64 predictions, else float32. An empty batch gives a zero with a
        gradient. NaN and infinity propagate.

    Raises:
        ValueError: if the batch has one sample, whose label has no other to compete with; if shapes
            or devices differ, weights require gradients, or a number σ is not above 0.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> preds, ages = torch.tensor([30.0, 42.0, 50.0]), torch.tensor([31, 40, 60])
        >>> round(bmc_loss(preds, ages, sigma=8.0).item(), 2)
        65.29

    References:
        Ren et al., "Balanced MSE for Imbalanced Visual Regression" (CVPR 2022), section 4.3.
        Weights of samples are an addition; they do not weight the sum over j.
    """
    preds, target, sample_weight, dtype = check_vectors(preds, target, sample_weight)
    if len(preds) == 1:
        raise ValueError(
            "preds must have at least 2 samples, got 1: BMC compares the labels of a batch, so "
            "drop a last batch of one sample (drop_last=True)"
        )
    variance = _square(sigma, preds)
    if len(preds) == 0:
        return (preds.sum() * variance).to(dtype)
    # ‖p − y‖² from differences: their expansion into products would cancel
    squared = (preds[:, None, :] - target[None, :, :]).square().sum(dim=2)
    logits = -squared / (2 * variance)
    entropy = torch.logsumexp(logits, dim=1) - logits.diagonal()
    return (2 * variance.detach() * weighted_mean(entropy, sample_weight)).to(dtype)


def gai_loss(
    preds: Tensor,
    target: Tensor,
    sigma: Sigma,
    means: Tensor,
    variances: Tensor,
    weights: Tensor,
    sample_weight: Tensor | None = None,
) -> Tensor:
    r"""Compute Balanced MSE with a Gaussian mixture as the label distribution (GAI).

    .. math::
        2 \bar\sigma^2 \, \frac 1N \sum_i w_i \Bigl( \frac{(p_i - y_i)^2}{2 \sigma^2} + \log \bigl(
        \sqrt{2\pi} \sigma \bigr) + \log \sum_k \pi_k \, \mathcal N(p_i; \mu_k, v_k + \sigma^2)
        \Bigr)

    where :math:`\bar\sigma` passes no gradient. The sum is the density of noisy labels at the
    prediction, so predictions are drawn away from frequent labels. Variances of 0 give the variant
    of bins (BNI), with their centers as means and their frequencies as weights.

    Args:
        preds: predictions ``(N, ...)`` of one label dimension, floating point.
        target: labels of the same shape, real or integer; NaN where a dense label is unknown.
        sigma: σ > 0, the noise of labels, in their unit; a tensor without dimensions is learned,
            and is not checked, as this would wait for its device.
        means: of K components, ``(K,)``.
        variances: of the components, at least 0.
        weights: of the components, at least 0. They need not add up to one.
        sample_weight: weights of the shape of the target, floating point, without gradient.

    Returns:
        A scalar as that of :func:`bmc_loss`, also for one sample.

    Raises:
        ValueError: if shapes or devices differ, weights require gradients, a number σ is not above
            0, or components are not finite, weights or variances below 0 or all weights 0.
        TypeError: if an argument is not a tensor, or has a wrong dtype.

    Example:
        >>> preds, ages = torch.tensor([30.0, 42.0, 50.0]), torch.tensor([31, 40, 60])
        >>> centers, counts = torch.tensor([35.0, 45.0, 65.0]), torch.tensor([90.0, 30.0, 3.0])
        >>> round(gai_loss(preds, ages, 8.0, centers, torch.zeros(3), counts).item(), 2)
        -44.57

    References:
        Ren et al., "Balanced MSE for Imbalanced Visual Regression" (CVPR 2022), section 4.3. The
        constant of the first density is kept, since σ would grow without bound if it were learned.
    """
    check_mixture(means, variances, weights)
    return mixture_loss(preds, target, sigma, (means, variances, weights), sample_weight)


def mixture_loss(
    preds: Tensor,
    target: Tensor,
    sigma: Sigma,
    mixture: tuple[Tensor, Tensor, Tensor],
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Compute :func:`gai_loss` of a mixture that was checked before; the host never waits."""
    preds, target, sample_weight, dtype = prepare_batch(preds, target, sample_weight)
    means, variances, weights = (values.to(preds) for values in mixture)
    variance = _square(sigma, preds)
    if len(preds) == 0:
        return (preds.sum() * variance).to(dtype)
    known = target.isnan().logical_not()
    preds, target = (torch.where(known, values, 0.0) for values in (preds, target))
    errors = (preds - target).square() / (2 * variance) + variance.log() / 2
    spread = variances + variance
    exponents = -(preds[:, None] - means).square() / (2 * spread) - spread.log() / 2
    density = torch.logsumexp(exponents + (weights / weights.sum()).log(), dim=1)
    values = errors + density if sample_weight is None else (errors + density) * sample_weight
    mean = torch.where(known, values, 0.0).sum() / known.sum().clamp_min(1)
    return (2 * variance.detach() * mean).to(dtype)


def check_mixture(means: Tensor, variances: Tensor, weights: Tensor) -> None:
    """Raise an error unless the components ``(K,)`` of a mixture are valid."""
    components = {"means": means, "variances": variances, "weights": weights}
    check_tensors(**components)
    shapes = [tuple(values.shape) for values in components.values()]
    if means.ndim != 1 or shapes != [shapes[0]] * 3 or not len(means):
        raise ValueError(
            "means, variances and weights must be vectors of one length K, got shapes "
            f"{', '.join(map(str, shapes))}"
        )
    for name, values in components.items():
        if not bool(values.isfinite().all()):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    for name in ("variances", "weights"):
        if bool((components[name] < 0).any()):
            lowest = float(components[name].min())
            raise ValueError(f"{name} must be at least 0, got {lowest:g}")
    if not bool((weights > 0).any()):
        raise ValueError("weights must not all be 0: give the frequencies of the components")


def _square(sigma: Sigma, preds: Tensor) -> Tensor:
    """Return σ² as a tensor without dimensions, with the gradient of a learned σ."""
    if isinstance(sigma, Tensor):
        if sigma.ndim:
            raise ValueError(f"sigma must be one number, got shape {tuple(sigma.shape)}")
        return sigma.to(preds.dtype).square()
    return preds.new_tensor(check_positive("sigma", sigma)).square()
