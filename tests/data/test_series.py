import pickle

import numpy as np
import pytest
import torch

from ranksim.data.series import (
    SeriesDataset,
    SeriesSamples,
    SeriesScaling,
    make_series_datasets,
)


@pytest.mark.parametrize("seed", range(2))
def test_scaling_uses_training_windows_only(seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(100, 3, (50, 3))
    values[:, 2] = 7.0
    ends = np.sort(draw.choice(np.arange(3, 50), 6, replace=False))
    covered = sorted({k for end in ends for k in range(end - 3, end + 1)})
    values[[k for k in range(50) if k not in covered]] = np.nan  # never used
    scaling = SeriesScaling.fit(values, ends, window=4)
    mean = values[covered].sum(axis=0) / len(covered)
    deviation = np.sqrt(((values[covered] - mean) ** 2).sum(axis=0) / len(covered))
    deviation[2] = 1.0
    np.testing.assert_allclose(scaling.mean, mean)
    np.testing.assert_allclose(scaling.deviation, deviation)
    made = scaling(values)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[covered], (values[covered] - mean) / deviation, atol=1e-5)
    assert SeriesScaling.from_dict(scaling.to_dict()) == scaling


def test_dataset_returns_windows():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(40, 3)).astype(np.float32)
    ends, labels = np.array([4, 39, 20, 21]), np.array([1.0, 2.0, 3.0, 4.0])
    data = SeriesDataset(values, ends, labels, window=5)
    rows = [2, 1, 1, 0]
    batch = data.__getitems__(rows)
    (inputs,) = batch["inputs"]
    expected = np.stack([values[ends[row] - 4 : ends[row] + 1] for row in rows])
    assert inputs.dtype == torch.float32
    np.testing.assert_array_equal(inputs.numpy(), expected)
    assert batch["label"].tolist() == [3.0, 2.0, 2.0, 1.0]
    assert batch["index"].tolist() == rows
    assert data[3]["inputs"][0].shape == (1, 5, 3)
    assert (len(data), data.length_order().tolist()) == (4, [0, 1, 2, 3])
    again = pickle.loads(pickle.dumps(data))  # sent to a loader process
    np.testing.assert_array_equal(again.__getitems__(rows)["inputs"][0].numpy(), expected)


def test_parts_share_one_array():
    values = np.arange(20.0)[:, None] * 2
    train, test = (
        SeriesSamples(values, np.arange(*ends), np.arange(float(ends[1] - ends[0])), 3)
        for ends in ((2, 8), (12, 20))
    )
    scaling = train.scaling()
    assert scaling == SeriesScaling.fit(values, train.ends, window=3)
    ours, theirs = make_series_datasets([train, test], scaling)
    assert ours.values.data_ptr() == theirs.values.data_ptr()
    assert (len(train), len(theirs)) == (6, 8)
    np.testing.assert_allclose(
        theirs[0]["inputs"][0][0, :, 0], (values[10:13, 0] - scaling.mean) / scaling.deviation
    )
