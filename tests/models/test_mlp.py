import numpy as np
import pytest
import torch

from ranksim.models import MLPEncoder, Regressor


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_equals_matrix_products(layers):
    torch.manual_seed(0)
    encoder = MLPEncoder(3, hidden=5, layers=layers, dropout=0.5).double().eval()
    vectors = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    features = encoder(vectors)
    expected = vectors.detach().numpy()
    masks = []
    weights = [value.detach().numpy() for value in encoder.parameters()]
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        expected = expected @ weight.T + bias
        masks.append(expected > 0)
        expected = np.maximum(expected, 0)
    assert len(masks) == layers
    assert features.shape == (7, encoder.width) == (7, 5)
    np.testing.assert_allclose(features.detach().numpy(), expected, rtol=1e-12)

    upstream = torch.randn(7, 5, dtype=torch.float64)
    features.backward(upstream)
    gradient = upstream.numpy()
    for mask, weight in zip(reversed(masks), reversed(weights[::2]), strict=True):
        gradient = (gradient * mask) @ weight
    np.testing.assert_allclose(vectors.grad.numpy(), gradient, rtol=1e-10)


def test_dropout_only_in_training():
    torch.manual_seed(0)
    encoder, vectors = MLPEncoder(3, hidden=64, layers=1, dropout=0.5), torch.randn(50, 3)
    learning, plain = encoder(vectors), encoder.eval()(vectors)
    nonzero = learning != 0
    torch.testing.assert_close(learning[nonzero], 2 * plain[nonzero])
    assert 0.4 < nonzero.sum() / (plain != 0).sum() < 0.6


def test_no_row_and_a_regressor():
    prediction, features = Regressor(MLPEncoder(2, hidden=4))(torch.zeros(0, 2))
    assert (prediction.shape, features.shape) == ((0,), (0, 4))


def test_rejects_zero_layers():
    with pytest.raises(ValueError, match="^layers must be at least 1, got 0$"):
        MLPEncoder(2, layers=0)
