import copy

import pytest
import torch
from torch import nn

from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def inputs():
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(1))


def same_state(module, before):
    return all(tensor.equal(before[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("published", [False, True])
def test_paper_compat_updates_batchnorm_and_dropout(published):
    frozen = FrozenEncoder(encoder(), paper_compat=published)
    before = copy.deepcopy(frozen.state_dict())
    first, second = frozen(inputs()), frozen(inputs())
    assert first.equal(second) is not published
    assert (first == 0).any() == published
    assert same_state(frozen, before) is not published
    assert frozen.encoder[1].num_batches_tracked == 2 * published


def test_frozen_features_equal_evaluation_mode():
    plain = encoder().eval()
    expected = plain(inputs())
    assert expected.requires_grad
    assert FrozenEncoder(encoder())(inputs()).equal(expected)
    assert FrozenEncoder(encoder(), paper_compat=True).eval()(inputs()).equal(expected)


@pytest.mark.parametrize("published", [False, True])
def test_frozen_encoder_in_training_and_evaluation(published):
    frozen = FrozenEncoder(encoder(), paper_compat=published)
    parent = nn.ModuleList([nn.ModuleList([frozen])])
    for mode in (True, False, True):
        parent.train(mode)
        assert frozen.training is mode
        assert {part.training for part in frozen.encoder.modules()} == {mode and published}
    assert parent.train() is parent
    assert frozen.train() is frozen


@pytest.mark.parametrize("published", [False, True])
def test_no_gradient_reaches_the_encoder(published):
    frozen = FrozenEncoder(encoder(), paper_compat=published)
    features = frozen(inputs().requires_grad_())
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize("published", [False, True])
def test_only_the_head_learns(published):
    network = encoder()
    network.width = 4
    model = Regressor(FrozenEncoder(network, paper_compat=published)).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    prediction, _ = model(inputs())
    prediction.square().mean().backward()
    optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    statistics = {
        f"encoder.encoder.1.{name}"
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert moved == {"head.weight", "head.bias"} | (statistics if published else set())


def test_frozen_encoder_copies_width():
    network = encoder()
    assert not hasattr(FrozenEncoder(network), "width")
    network.width = 4
    assert FrozenEncoder(network).width == 4
    assert Regressor(FrozenEncoder(network)).width == 4


def test_frozen_encoder_with_several_inputs():
    class Pair(nn.Module):
        def forward(self, first, second):
            return first - 2 * second

    assert FrozenEncoder(Pair())(torch.ones(2, 3), torch.ones(2, 3)).equal(-torch.ones(2, 3))


def test_precomputed_features_pass_unchanged():
    features = torch.randn(5, 7, requires_grad=True)
    given = PrecomputedFeatures(7)
    assert given(features) is features
    assert given.width == 7
    assert list(given.parameters()) == []
    assert Regressor(given).width == 7
