import re
import sys
from pathlib import Path

import pytest
import torch
import transformers

from ranksim.exceptions import MissingDependencyError, UsageError, install_command
from ranksim.models import FrozenEncoder, Regressor, SentenceEncoder, load_tokenizer
from tests.helpers.language import BERT_CONFIG, save_bert


@pytest.fixture
def bert(tmp_path):
    return save_bert(tmp_path / "bert")


def batch(texts=1):
    torch.manual_seed(1)
    lengths = torch.tensor([[6, 1, 3], [2, 4, 6]])[:texts]
    return torch.randint(1, 11, (texts, 3, 6)), lengths


def test_the_mean_over_each_texts_own_tokens(bert):
    encoder = SentenceEncoder(bert, texts=1)
    assert encoder.training
    assert encoder.backbone.training
    tokens, lengths = batch()
    features = encoder.eval()(tokens, lengths)
    assert features.shape == (3, encoder.width) == (3, 16)
    model = transformers.BertModel.from_pretrained(bert).eval()
    for row, length in enumerate(lengths[0]):  # alone, without any padding
        hidden = model(input_ids=tokens[0, row : row + 1, :length]).last_hidden_state
        torch.testing.assert_close(features[row], hidden[0].mean(dim=0))
    longer = torch.nn.functional.pad(tokens, (0, 5), value=7)
    torch.testing.assert_close(encoder(longer, lengths), features)


def test_pair_feature(bert):
    encoder, alone = (SentenceEncoder(bert, texts=n).eval() for n in (2, 1))
    tokens, lengths = batch(2)
    features = encoder(tokens, lengths)
    assert features.shape == (3, encoder.width) == (3, 64)
    u, v = alone(tokens[:1], lengths[:1]), alone(tokens[1:], lengths[1:])
    torch.testing.assert_close(features, torch.cat([u, v, (u - v).abs(), u * v], dim=1))
    with pytest.raises(ValueError, match="^texts must be 1 or 2, got 3$"):
        SentenceEncoder(bert, texts=3)


def test_regressor_trains(bert):
    torch.manual_seed(0)
    encoder = SentenceEncoder(bert, texts=2)
    prediction, _ = Regressor(encoder)(*batch(2))
    prediction.sum().backward()
    learns = {name for name, p in encoder.named_parameters() if p.grad is not None}
    assert learns == {name for name, _ in encoder.named_parameters() if "pooler" not in name}
    assert encoder.may_have_unused
    assert not FrozenEncoder(encoder)(*batch(2)).requires_grad


def test_a_causal_model_without_padding(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=11,
        n_positions=24,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2Model(config).eval()
    model.save_pretrained(tmp_path)
    encoder = SentenceEncoder(str(tmp_path), texts=1).eval()
    tokens, lengths = batch()
    expected = model(input_ids=tokens[0, 2:, :3]).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(encoder(tokens, lengths)[2:], expected)


def one_sentence(load, name, match):
    with pytest.raises(UsageError, match=match) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def encoder_of(name):
    return SentenceEncoder(name, texts=1)


def test_missing_models(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing", "a b/c", "../../x", str(tmp_path), "/no/where", ""):
        for load in (encoder_of, load_tokenizer):
            one_sentence(load, name, "could not be read as an encoder of texts: name a local")


def test_rejects_models_of_other_modalities(tmp_path):
    match = "is not an encoder of texts: name a local folder"
    vit = {
        k: v for k, v in BERT_CONFIG.items() if k not in ("vocab_size", "max_position_embeddings")
    }
    transformers.ViTConfig(**vit).save_pretrained(tmp_path / "vit")
    one_sentence(encoder_of, str(tmp_path / "vit"), match)
    transformers.T5Config(d_model=16, num_layers=1).save_pretrained(tmp_path / "t5")
    one_sentence(encoder_of, str(tmp_path / "t5"), match)


def test_weights_that_are_missing_or_pickled(bert):
    weights = Path(bert) / "model.safetensors"
    content = weights.read_bytes()
    transformers.BertConfig(**BERT_CONFIG | {"num_hidden_layers": 3}).save_pretrained(bert)
    one_sentence(
        encoder_of, bert, r"has no weights for encoder.layer.2.* \(16 in total\): name a mod"
    )
    transformers.BertConfig(**BERT_CONFIG).save_pretrained(bert)
    weights.write_bytes(content[:1000])
    one_sentence(
        encoder_of, bert, "^The weights of .* could not be loaded: name a model with complete"
    )
    weights.unlink()
    torch.save({}, Path(bert) / "pytorch_model.bin")
    one_sentence(
        encoder_of, bert, "^The weights of .* could not be loaded: .* in safetensors format"
    )


def test_code_of_models_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "own.py").write_text(f"open({str(trace)!r}, 'w')\n", "utf-8")
    for kind in ("config", "tokenizer_config"):
        (tmp_path / f"{kind}.json").write_text(
            '{"model_type": "own", "auto_map": {"AutoConfig": "own.A", "AutoModel": "own.B", '
            '"AutoTokenizer": ["own.C", null]}}',
            "utf-8",
        )
    for load in (encoder_of, load_tokenizer):
        one_sentence(load, str(tmp_path), "could not be read as an encoder of texts")
    assert not trace.exists()


def test_loading_is_quiet(bert, capfd):
    capfd.readouterr()
    SentenceEncoder(bert, texts=2)
    load_tokenizer(bert)
    assert capfd.readouterr() == ("", "")


def test_missing_transformers_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingDependencyError,
        match=rf"^transformers is not .*: run {re.escape(install_command('sentences'))}\.$",
    ):
        SentenceEncoder("any", texts=1)
