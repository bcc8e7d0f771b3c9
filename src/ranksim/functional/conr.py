"""ConR: samples that are predicted alike but labeled apart are contrasted."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, describe_value
from ranksim.functional._features import (
    join_views,
    label_distances,
    prepare_features,
    propagate_nan,
)
from ranksim.functional._validation import check_tensors, to_matrices
from ranksim.functional.similarity import normalize_rows


def conr_loss(
    features: Tensor,
    labels: Tensor,
    preds: Tensor,
    *,
    width: float,
    sample_weight: Tensor | None = None,
    view_2: tuple[Tensor, Tensor] | None = None,
    temperature: float = 0.2,
    label_std: float = 1.0,
) -> Tensor:
    r"""Compute the contrastive regularizer ConR.

    .. math::
        \frac 1N \sum_j -\log \frac{\frac{1}{|P_j|} \sum_{i \in P_j} e_{ji}}
        {\sum_{i \in P_j} e_{ji} + \sum_{q \in Q_j} S_{jq} e_{jq}}, \qquad
        e_{ji} = \exp(\langle \hat z_j, \hat z_i \rangle / \tau), \quad
        S_{jq} = w_j |y_j - y_q| / \sigma

    with unit features :math:`\hat z`. Positives :math:`P_j` are other samples with
    :math:`|y_i - y_j| < \omega`, negatives :math:`Q_j` have :math:`|y_q - y_j| \ge \omega` but
    :math:`|p_q - p_j| < \omega`. Anchors without a positive or without a negative contribute 0.

    Args:
        features: shape ``(N, ...)``, flattened to (N, D); any floating-point dtype.
        labels: shape ``(N,)``, ``(N, 1)`` or ``(N, K)``, real or integer; distances are summed over
            K.
        preds: predictions of the shape and unit of the labels. They get no gradient.
        width: ω > 0, the difference from which labels count as different, such as a bin's width.
        sample_weight: density weights w ``(N,)`` of the samples, at least 0, such as 1/n; None: 1.
        view_2: features and predictions of a second view of the samples, of the same shapes; both
            views are samples, so that N doubles.
        temperature: τ > 0.
        label_std: σ > 0, standard deviation of the training labels.

    Returns:
        A scalar, float64 for float64 features, else float32. A batch without negatives gives a
        zero with a gradient. Features, labels, predictions or weights that are not finite give NaN,
        with a NaN gradient.

    Raises:
        ValueError: if shapes do not match, or an argument or a weight is outside its range.
        TypeError: if features are not floating point, or an argument is not a tensor.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], requires_grad=True)
        >>> ages, preds = torch.tensor([20, 20, 60]), torch.tensor([21.0, 22.0, 21.5])
        >>> round(conr_loss(features, ages, preds, width=5, label_std=20).item(), 4)
        2.8067

    References:
        Keramati et al., "ConR: Contrastive Regularizer for Deep Imbalanced Regression" (ICLR 2024),
        from the paper alone. The form of S, the published mean over samples that counts anchors
        without negatives as 0, and labels of K dimensions are our reading.
    """
    width, temperature = check_positive("width", width), check_positive("temperature", temperature)
    label_std = check_positive("label_std", label_std)
    to_matrices(features, labels)
    _check_preds(preds, labels)
    _check_weight(sample_weight, labels)
    if view_2 is not None:
        _check_pair(view_2)
        features = join_views(features, view_2[0], "features")
        preds = join_views(preds, view_2[1], "preds")
        labels = torch.cat([labels, labels])
        sample_weight = None if sample_weight is None else sample_weight.repeat(2)
    features, labels, dtype = prepare_features(features, labels)
    distance = label_distances(labels)
    preds = preds.detach().reshape(labels.shape).to(labels.dtype)
    likeness = label_distances(preds)
    weight = torch.ones_like(labels[:, 0]) if sample_weight is None else sample_weight
    weight = weight.detach().to(labels.dtype)
    push = weight.unsqueeze(1) * distance / label_std
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (distance < width) & others
    negative = (distance >= width) & (likeness < width) & (push != 0)
    unit, _ = normalize_rows(features)
    terms = _contrast(unit @ unit.T / temperature, positive, negative, push)
    loss = terms.sum() / max(len(labels), 1)
    return propagate_nan(loss, features, labels, preds, weight).to(dtype)


def _contrast(logits: Tensor, positive: Tensor, negative: Tensor, push: Tensor) -> Tensor:
    """Return the term of each anchor ``(N,)``, from matrices ``(N, N)``."""
    anchor = positive.any(dim=1) & negative.any(dim=1)
    near = _sum_exp(logits, positive, anchor)
    far = _sum_exp(logits + torch.where(negative, push, 1.0).log(), negative, anchor)
    log_mean = near - positive.sum(dim=1).clamp(min=1).to(near.dtype).log()
    return torch.where(anchor, torch.logaddexp(near, far) - log_mean, 0.0)


def _check_preds(preds: Tensor, labels: Tensor) -> None:
    """Raise an error unless the predictions are a tensor of the labels' shape."""
    check_tensors(labels=labels, preds=preds)
    if preds.numel() != labels.numel() or preds.shape[:1] != labels.shape[:1]:
        raise ValueError(
            f"preds must have the shape of labels, got {tuple(preds.shape)} for "
            f"{tuple(labels.shape)}"
        )


def _check_weight(sample_weight: Tensor | None, labels: Tensor) -> None:
    """Raise an error unless the weights are a tensor ``(N,)`` of at least 0, or None."""
    if sample_weight is None:
        return
    check_tensors(labels=labels, sample_weight=sample_weight)
    if sample_weight.shape != labels.shape[:1]:
        raise ValueError(
            f"sample_weight must have shape (N,), got {tuple(sample_weight.shape)} for labels "
            f"{tuple(labels.shape)}"
        )
    # a compiled graph has no branch on values; there, negative weights give NaN
    if not torch.compiler.is_compiling() and bool((sample_weight < 0).any()):
        smallest = sample_weight[sample_weight < 0].min().item()
        raise ValueError(
            f"sample_weight must be at least 0, got {smallest:g}: use weights such as 1/n"
        )


def _check_pair(view_2: object) -> None:
    """Raise a TypeError unless the second view is a pair of tensors."""
    is_pair = isinstance(view_2, tuple | list) and len(view_2) == 2
    if not is_pair or not all(isinstance(each, Tensor) for each in view_2):  # type: ignore[attr-defined]
        raise TypeError(
            "view_2 must be a pair of tensors, features and predictions of the second view, got "
            f"{describe_value(view_2)}"
        )


def _sum_exp(logits: Tensor, mask: Tensor, anchor: Tensor) -> Tensor:
    """Return log-sum-exps over the masked entries of each row ``(N,)``; 0 of other rows."""
    masked = torch.where(mask, logits, -torch.inf)
    return torch.where(anchor.unsqueeze(1), masked, 0.0).logsumexp(dim=1)
