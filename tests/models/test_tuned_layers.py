import math

import pytest
import torch
import transformers

from ranksim.exceptions import UsageError
from ranksim.models import SentenceEncoder
from ranksim.models.tuned_layers import split_encoder
from tests.helpers.language import BERT_CONFIG, save_bert


def make_encoder(tmp_path, model=None, texts=2, **settings):
    """Return an encoder of a small pretrained model, of three layers by default."""
    if model is None:
        return SentenceEncoder(
            save_bert(tmp_path, num_hidden_layers=3), texts=texts, **settings
        ).eval()
    torch.manual_seed(0)
    model.save_pretrained(tmp_path)
    return SentenceEncoder(str(tmp_path), texts=texts, **settings).eval()


def batch(count=20):
    draw = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 9, (2, count), generator=draw)
    return torch.randint(1, 11, (2, count, int(lengths.max())), generator=draw), lengths


def encode_in_two_steps(parts, tokens, lengths):
    lower, upper = parts
    states, means = lower(tokens.flatten(0, 1), lengths.flatten())
    states, means = (each.unflatten(0, tokens.shape[:2]) for each in (states, means))
    return upper.eval()(states, lengths, means)


@pytest.mark.slow
@pytest.mark.parametrize("pair_features", ["all", "symmetric"])
@pytest.mark.parametrize("pooled_layers", ["last", "all"])
@pytest.mark.parametrize("tuned_layers", [1, 2, 3])
def test_both_parts_together_equal_the_encoder(
    tmp_path, tuned_layers, pooled_layers, pair_features
):
    encoder = make_encoder(tmp_path, pair_features=pair_features, pooled_layers=pooled_layers)
    parts = split_encoder(encoder, tuned_layers, "bert")
    tokens, lengths = batch()
    expected = encoder(tokens, lengths)
    features = encode_in_two_steps(parts, tokens, lengths)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    features.backward(gradient)
    upper = dict(parts[1].backbone.named_parameters())
    first = 3 - tuned_layers
    names = [name for name in upper if name.startswith("encoder.layer.")]
    assert len(names) == 16 * tuned_layers
    for name in names:
        head, place, rest = name.partition("layer.")[0], "layer.", name.split("layer.", 1)[1]
        number, _, tail = rest.partition(".")
        other = encoder.backbone.get_parameter(f"{head}{place}{int(number) + first}.{tail}")
        torch.testing.assert_close(upper[name].grad, other.grad, rtol=1e-3, atol=1e-5)
    assert not any(p.requires_grad for p in parts[0].parameters())
    assert not any("embeddings" in name for name in upper)


CONFIGS = {
    "roberta": lambda shape: transformers.RobertaModel(transformers.RobertaConfig(**shape)),
    "distilbert": lambda shape: transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=11, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24
        )
    ),
    "mpnet": lambda shape: transformers.MPNetModel(transformers.MPNetConfig(**shape)),
    "electra": lambda shape: transformers.ElectraModel(
        transformers.ElectraConfig(**shape, embedding_size=16)
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_models_of_other_families(tmp_path, name):
    encoder = make_encoder(tmp_path, CONFIGS[name](BERT_CONFIG))
    tokens, lengths = batch()
    features = encode_in_two_steps(split_encoder(encoder, 1, name), tokens, lengths)
    torch.testing.assert_close(features, encoder(tokens, lengths), rtol=1e-4, atol=1e-5)


def test_a_model_whose_layers_need_more_than_states(tmp_path):
    shape = {**BERT_CONFIG, "embedding_size": 8}
    encoder = make_encoder(tmp_path, transformers.AlbertModel(transformers.AlbertConfig(**shape)))
    with pytest.raises(
        UsageError, match=r"^The upper layers of albert cannot .* tuned_layers to 0"
    ):
        split_encoder(encoder, 1, "albert")


def test_more_layers_than_the_model_has(tmp_path):
    with pytest.raises(UsageError, match=r"^tuned_layers is 4, but the encoder has 3 layers\.$"):
        split_encoder(make_encoder(tmp_path), 4, "bert")


def test_symmetric_features_ignore_the_order_and_the_length_of_vectors(tmp_path):
    encoder = make_encoder(tmp_path, pair_features="symmetric")
    alone = make_encoder(tmp_path, texts=1)
    tokens, lengths = batch()
    features = encoder(tokens, lengths)
    assert features.shape == (20, encoder.width) == (20, 32)
    torch.testing.assert_close(encoder(tokens.flip(0), lengths.flip(0)), features)
    u, v = (alone(tokens[k : k + 1], lengths[k : k + 1]) for k in (0, 1))
    u, v = (math.sqrt(16) * x / x.norm(dim=1, keepdim=True) for x in (u, v))
    torch.testing.assert_close(features, torch.cat([(u - v).abs(), u * v], dim=1))


@pytest.mark.parametrize("texts", [1, 2])
def test_all_layers_are_pooled_one_after_the_other(tmp_path, texts):
    encoder = make_encoder(tmp_path, texts=texts, pooled_layers="all")
    alone = make_encoder(tmp_path, texts=1)
    tokens, lengths = batch(3)
    tokens, lengths = tokens[:texts], lengths[:texts]
    features = encoder(tokens, lengths)
    pooled = []
    for text, count in zip(tokens.flatten(0, 1), lengths.flatten().tolist(), strict=True):
        outputs = alone.backbone(input_ids=text[None, :count], output_hidden_states=True)
        pooled.append(torch.cat([states[0].mean(0) for states in outputs.hidden_states]))
    rows = torch.stack(pooled)
    assert rows.shape[1] == 4 * 16
    if texts == 2:
        u, v = rows.chunk(2)
        rows = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
    assert encoder.width == rows.shape[1]
    torch.testing.assert_close(features, rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pair_features": "both"}, "^pair_features must be one of all, symmetric, got 'both'$"),
        ({"pooled_layers": "first"}, "^pooled_layers must be last or all, got 'first'$"),
    ],
)
def test_unknown_settings(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        SentenceEncoder(str(tmp_path), texts=2, **settings)
