"""RankSim as published: a loop over anchors, differentiated by PyTorch through a blackbox rank.

Written from PROTOCOL's equations, not from any code. Its perturbation uses whatever gradient
arrives, so it is not linear in an outer factor.
"""

import torch


class BlackboxRank(torch.autograd.Function):
    """Normalised ranks, their gradient that of a linear combinatorial objective."""

    @staticmethod
    def forward(ctx, values, lambda_):
        ranks = normalised_rank(values)
        ctx.save_for_backward(values, ranks)
        ctx.lambda_ = lambda_
        return ranks

    @staticmethod
    def backward(ctx, upstream):
        values, ranks = ctx.saved_tensors
        moved = normalised_rank(values + ctx.lambda_ * upstream)
        return -(ranks - moved) / ctx.lambda_, None


def normalised_rank(values):
    """rk(a)_i / M with rk(a)_i = 1 + |{j : a_j > a_i}|."""
    larger = (values.unsqueeze(0) > values.unsqueeze(1)).sum(dim=1)
    return (1 + larger).to(values.dtype) / len(values)


def ranksim_loop(features, labels, gamma, lambda_):
    """γ · L_RankSim of features (M, D) and labels (M,), one anchor at a time."""
    unit = torch.nn.functional.normalize(features, dim=1)
    similarity = unit @ unit.T
    loss = features.new_zeros(())
    for i in range(len(labels)):
        target = normalised_rank(-(labels - labels[i]).abs().to(features.dtype))
        loss = loss + gamma * (BlackboxRank.apply(similarity[i], lambda_) - target).square().mean()
    return loss
