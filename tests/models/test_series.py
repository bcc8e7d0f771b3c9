import numpy as np
import pytest
import torch

from ranksim.models import ConvEncoder, GRUEncoder, Regressor


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slow_gru(gru, windows):
    """The last state, one step after the other, from the equations of Cho et al."""
    parameters = {name: value.detach().numpy() for name, value in gru.named_parameters()}
    steps = windows
    for layer in range(gru.num_layers):
        into, back = parameters[f"weight_ih_l{layer}"], parameters[f"weight_hh_l{layer}"]
        bias, bias_back = parameters[f"bias_ih_l{layer}"], parameters[f"bias_hh_l{layer}"]
        state = np.zeros((len(steps), gru.hidden_size))
        states = []
        for t in range(steps.shape[1]):
            r, z, n = np.split(steps[:, t] @ into.T + bias, 3, axis=1)
            r_back, z_back, n_back = np.split(state @ back.T + bias_back, 3, axis=1)
            update = sigmoid(z + z_back)
            new = np.tanh(n + sigmoid(r + r_back) * n_back)
            state = (1 - update) * new + update * state
            states.append(state)
        steps = np.stack(states, axis=1)
    return state


@pytest.mark.parametrize("layers", [1, 2])
def test_gru_returns_last_state(layers):
    torch.manual_seed(0)
    encoder = GRUEncoder(2, hidden=5, layers=layers, dropout=0.3).double().eval()
    windows = torch.randn(4, 7, 2, dtype=torch.float64)
    features = encoder(windows)
    assert features.shape == (4, encoder.width) == (4, 5)
    expected = slow_gru(encoder.gru, windows.numpy())
    np.testing.assert_allclose(features.detach().numpy(), expected, rtol=1e-10)


def slow_conv(encoder, windows):
    """Every output from its three inputs, zeros before the window."""
    states = windows
    for level, convolution in enumerate(encoder.convolutions):
        weight, bias = (value.detach().numpy() for value in convolution.parameters())
        convolved = np.zeros((*states.shape[:2], len(bias)))
        for t in range(states.shape[1]):
            convolved[:, t] = bias
            for tap in range(3):
                source = t - (2 - tap) * 2**level
                if source >= 0:
                    convolved[:, t] += states[:, source] @ weight[:, :, tap].T
        states = np.maximum(convolved, 0)
    return states[:, -1]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("length", [1, 4, 20])
def test_causal_convolutions(layers, length):
    torch.manual_seed(0)
    encoder = ConvEncoder(2, hidden=5, layers=layers, dropout=0.3).double().eval()
    windows = torch.randn(3, length, 2, dtype=torch.float64, requires_grad=True)
    features = encoder(windows)
    assert features.shape == (3, encoder.width) == (3, 5)
    expected = slow_conv(encoder, windows.detach().numpy())
    np.testing.assert_allclose(features.detach().numpy(), expected, rtol=1e-10)
    features.sum().backward()
    sees = 2 * (2**layers - 1) + 1
    reached = windows.grad.abs().sum(dim=(0, 2)) > 0
    assert not reached[: max(length - sees, 0)].any()
    assert reached[-1]


@pytest.mark.parametrize("encoder_type", [GRUEncoder, ConvEncoder])
def test_dropout_seeds_strides_and_no_window(encoder_type):
    torch.manual_seed(0)
    encoder = encoder_type(2, hidden=32, layers=1, dropout=0.5)
    windows = torch.randn(8, 6, 2)
    learning, plain = encoder(windows), encoder.eval()(windows)
    nonzero = learning != 0
    torch.testing.assert_close(learning[nonzero], 2 * plain[nonzero])
    assert 0.3 < nonzero.sum() / (plain != 0).sum() < 0.7
    torch.testing.assert_close(encoder(windows.transpose(1, 2).contiguous().mT), plain)
    torch.testing.assert_close(encoder(windows[:1]), plain[:1])
    prediction, _ = Regressor(encoder)(windows[:0])
    assert prediction.shape == (0,)


def test_rejects_zero_layers():
    with pytest.raises(ValueError, match="^layers must be at least 1, got 0$"):
        ConvEncoder(1, layers=0)
