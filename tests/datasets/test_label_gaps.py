import numpy as np
import pytest
import torch

from ranksim.data import TextSamples
from ranksim.data.text import TokenDataset
from ranksim.datasets.base import Benchmark
from ranksim.datasets.label_gaps import Subset, drop_labels, rows_outside
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import parse_ranges
from ranksim.training.data_loader import SeededSampler, make_loader

LABELS = np.array([10.0, 30.0, 35.5, 40.0, 41.0, 80.0, 81.0, 99.0])


def dataset(labels=LABELS, seed=0):
    draw = np.random.default_rng(seed)
    tokens = draw.integers(1, 30, (2, len(labels), 9), dtype=np.int32)
    return TokenDataset(tokens, draw.integers(1, 10, (2, len(labels))), labels)


def benchmark(train=LABELS, val=LABELS, **more):
    parts = [TextSamples(([""] * len(labels),), labels) for labels in (train, val, LABELS)]
    lists = {"many": frozenset({1}), "medium": frozenset({2})}
    return Benchmark(
        "data", *parts, LabelBins.uniform(0.0, 100.0, 10),
        published_shots=lists, facts={"sha256": "0"}, **more,
    )  # fmt: skip


def dropped(text, train=LABELS, val=LABELS):
    data = benchmark(train, val)
    return drop_labels(data, [dataset(part.labels) for part in data.parts], parse_ranges(text))


@pytest.mark.parametrize("text", ["30-40,>80", ">=80", "<30,35-36", "41-41"])
def test_rows_outside_ranges_match_a_loop(text):
    low, high = -np.inf, np.inf
    inside = {
        "30-40,>80": lambda y: 30 <= y <= 40 or 80 < y <= high,
        ">=80": lambda y: y >= 80,
        "<30,35-36": lambda y: low <= y < 30 or 35 <= y <= 36,
        "41-41": lambda y: y == 41,
    }[text]
    expected = [row for row, label in enumerate(LABELS) if not inside(label)]
    rows = rows_outside(LABELS, parse_ranges(text))
    assert rows.tolist() == expected
    assert rows.dtype == np.int64


def test_drops_training_and_validation_labels_but_no_test_labels():
    data, (train, val, test) = dropped("30-40,>80")
    for part, samples in ((data.train, train), (data.val, val)):
        assert part.labels.tolist() == samples.labels.tolist() == [10.0, 41.0, 80.0]
        assert len(part) == len(samples) == 3
    assert data.test.labels.tolist() == test.labels.tolist() == LABELS.tolist()
    assert data.facts == {"sha256": "0", "dropped": ["30-40", ">80"], "counts": [3, 3, 8]}
    assert not data.comparable
    zero = data.regions("published").masks(LABELS)["zero"]
    assert LABELS[zero].tolist() == [
        30.0,
        35.5,
        99.0,
    ]  # bins 40 to 50 and 80 to 90 have training samples
    assert set(data.regions("published").names) == {"few"}  # the list refers to all data


def test_no_range_changes_nothing():
    data = benchmark()
    parts = [dataset(part.labels) for part in data.parts]
    again, same = drop_labels(data, parts, ())
    assert again is data
    assert all(one is other for one, other in zip(same, parts, strict=True))


@pytest.mark.parametrize(
    ("text", "val", "message"),
    [
        ("50-60", LABELS, "50-60 has no effect"),
        (">80,50-60", LABELS, "50-60 has no effect"),
        ("0-100", LABELS, "0-100 removes all training samples"),
        ("30-40,>80", LABELS[1:3], "30-40,>80 removes all validation samples"),
    ],
)  # fmt: skip
def test_rejects_ranges_that_drop_nothing_or_everything(text, val, message):
    with pytest.raises(UsageError, match=f"^--drop-labels {message}"):
        dropped(text, val=val)


def test_subset_equals_a_data_set_of_its_samples():
    whole, rows = dataset(np.arange(50.0)), np.array([3, 7, 8, 20, 33, 49])
    subset = Subset(whole, rows)
    alone = TokenDataset(
        whole.tokens[:, rows].numpy(), whole.lengths[:, rows].numpy(), whole.labels[rows].numpy()
    )
    for order in ([0], [5, 1, 1, 3], list(range(6))):
        one, two = subset.__getitems__(order), alone.__getitems__(order)
        assert torch.equal(one["label"], two["label"])
        assert torch.equal(one["index"], two["index"])
        assert all(map(torch.equal, one["inputs"], two["inputs"]))
    assert torch.equal(subset[2]["label"], whole.labels[8:9])
    assert torch.equal(subset.length_order(), alone.length_order())
    order = SeededSampler(len(subset), 0, 2)
    order_of_samples = torch.cat([batch["index"] for batch in make_loader(subset, 2, order)])
    assert sorted(order_of_samples.tolist()) == list(range(6))
    assert not subset.on_disk
    whole.on_disk = True
    assert Subset(whole, rows).on_disk
