import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ranksim.models import BiLSTM, Regressor, TextEncoder


def packed_twin(ours: BiLSTM, inputs: int, hidden: int, layers: int) -> nn.LSTM:
    """PyTorch's bidirectional LSTM with the same weights."""
    twin = nn.LSTM(inputs, hidden, layers, bidirectional=True, batch_first=True)
    weights = {}
    for layer in range(layers):
        for module, suffix in ((ours.ahead[layer], ""), (ours.back[layer], "_reverse")):
            for name, value in module.state_dict().items():
                weights[name.replace("_l0", f"_l{layer}{suffix}")] = value
    twin.load_state_dict(weights)
    return twin


@pytest.mark.parametrize("layers", [1, 2])
def test_equals_a_packed_bidirectional_lstm(layers):
    torch.manual_seed(0)
    ours = BiLSTM(5, 7, layers).double()
    twin = packed_twin(ours, 5, 7, layers).double()
    steps = torch.randn(6, 11, 5, dtype=torch.float64)
    lengths = torch.tensor([11, 1, 4, 11, 7, 2])
    packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(twin(packed)[0], batch_first=True)
    inside = (torch.arange(11) < lengths.unsqueeze(1)).unsqueeze(-1)
    outputs = ours(steps, lengths)
    torch.testing.assert_close(outputs * inside, expected * inside, rtol=1e-12, atol=1e-12)

    (outputs * inside).square().sum().backward()
    (expected * inside).square().sum().backward()
    for layer in range(layers):
        torch.testing.assert_close(
            ours.back[layer].weight_hh_l0.grad, getattr(twin, f"weight_hh_l{layer}_reverse").grad
        )
        torch.testing.assert_close(
            ours.ahead[layer].weight_ih_l0.grad, getattr(twin, f"weight_ih_l{layer}").grad
        )


def encoder(texts=2):
    torch.manual_seed(0)
    return TextEncoder(torch.randn(20, 5), texts=texts, hidden=4).eval()


def test_padding_changes_nothing():
    model = encoder()
    tokens = torch.randint(1, 20, (2, 3, 6))
    lengths = torch.tensor([[6, 2, 5], [1, 6, 3]])
    longer = torch.nn.functional.pad(tokens, (0, 4), value=13)
    torch.testing.assert_close(model(longer, lengths), model(tokens, lengths))


def test_pair_feature():
    model = encoder()
    tokens, lengths = torch.randint(1, 20, (2, 3, 6)), torch.full((2, 3), 6)
    features = model(tokens, lengths)
    assert features.shape == (3, model.width) == (3, 32)
    u, v, distance, product = features.chunk(4, dim=1)
    torch.testing.assert_close(distance, (u - v).abs())
    torch.testing.assert_close(product, u * v)
    alone = encoder(texts=1)
    alone.load_state_dict(model.state_dict())
    torch.testing.assert_close(alone(tokens[:1], lengths[:1]), u)


def test_word_vectors_are_frozen_and_not_saved():
    model = Regressor(encoder())
    assert not any("vectors" in name for name in model.state_dict())
    assert not any("vectors" in name for name, _ in model.named_parameters())
    prediction, features = model(torch.randint(0, 20, (2, 3, 6)), torch.full((2, 3), 6))
    assert prediction.shape == (3,)
    assert features.shape == (3, 32)


def test_rejects_three_texts():
    with pytest.raises(ValueError, match="^texts must be 1 or 2, got 3$"):
        TextEncoder(torch.randn(3, 2), texts=3, hidden=2)
