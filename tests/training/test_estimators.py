"""Estimators as rows: what they read, their weights, and their results against plain scripts."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from ranksim.data.batch import VectorDataset
from ranksim.data.series import SeriesDataset
from ranksim.data.text import TokenDataset
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.imbalance import density_weights
from ranksim.models.estimators import EstimatorData, estimator_type
from ranksim.training.feature_readers import ImageReader, SeriesReader, TextReader, VectorReader
from ranksim.training.fit_estimator import ESTIMATOR, FittedEstimator, fit_estimator
from ranksim.training.method import ESTIMATORS, RESAMPLERS, parse_method
from ranksim.training.prepare import prepare_task
from ranksim.training.task import TrainingOptions
from ranksim.training.task_loading import load_task
from tests.helpers import user_data
from tests.helpers.requests import make_request
from tests.oracles.image_features import edge_strengths, low_frequencies


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"), rows=200)


def load(data, method, out, **options):
    """Return the prepared task, recipe and technique of a method on user data."""
    request = make_request(data, out, options=user_data.OPTIONS[user_data.TABLE], **options)
    settings = SweepSettings.from_request(request)
    run = make_runs(request, settings)(parse_method(method, settings.weighting), 0)
    benchmark, task = load_task(run.source, run.recipe)
    return benchmark, prepare_task(task, run.recipe, run.method.technique, 0), run


def train(data, method, out, **options):
    _, task, run = load(data, method, out, **options)
    technique = run.method.technique
    result = fit_estimator(task, run.recipe, technique, out, TrainingOptions(seed=0))
    return task, result


@pytest.mark.slow
@pytest.mark.parametrize("method", ["trees", "trees+inv", "trees(log)"])
def test_trees_equal_a_plain_script(homes, tmp_path, method):
    task, result = train(homes, method, tmp_path)
    parts = [task.reader.read_columns(part) for part in (task.train, task.val, task.test)]
    y, y_val = task.train.labels.numpy(), task.val.labels.numpy()
    is_log, is_weighted = method.endswith("(log)"), "inv" in method
    weight = density_weights(y, bins=task.bins) if is_weighted else np.ones(len(y))
    val_weight = np.ones(len(y_val))
    if is_weighted:
        density = dict(zip(task.bins.digitize(y).tolist(), weight, strict=True))
        val_weight = np.array([density[k] for k in task.bins.digitize(y_val).tolist()])
    z = np.log(y) if is_log else y
    shift, scale = z.mean(), z.std()
    model = HistGradientBoostingRegressor(
        categorical_features=[count > 0 for count in task.reader.categories],
        early_stopping=False,
        max_iter=result.best_epoch,
        random_state=0,
    ).fit(parts[0], (z - shift) / scale, sample_weight=weight / weight.mean())

    def invert(preds):
        preds = preds * scale + shift
        return np.clip(np.exp(preds), y.min(), y.max()) if is_log else preds

    assert np.allclose(result.preds, invert(model.predict(parts[2])), rtol=1e-6)
    # the number of trees has the lowest weighted validation score of all, in the label's unit
    errors = [
        np.average(np.abs(invert(preds) - y_val), weights=val_weight)
        for preds in model.staged_predict(parts[1])
    ]
    assert np.argmin(errors) == result.best_epoch - 1


def test_linear_equals_ridge_on_the_vectors_of_networks(homes, tmp_path):
    task, result = train(homes, "linear", tmp_path, changes=("l2=2.0",))
    parts = [part.features.double().numpy() for part in (task.train, task.test)]
    center, spread = parts[0].mean(axis=0), parts[0].std(axis=0)
    spread[spread == 0] = 1
    x, x_test = ((part - center) / spread for part in parts)
    y = task.train.labels.numpy()
    expected = Ridge(alpha=2.0 * len(y)).fit(x, y).predict(x_test)
    assert np.allclose(result.preds, expected, rtol=1e-4)


def test_average_is_the_mean_of_plain_and_weighted(homes, tmp_path):
    plain, weighted, average = (
        train(homes, method, tmp_path / method)[1].preds
        for method in ("trees", "trees+inv", "trees+average+inv")
    )
    assert np.allclose(average, (plain + weighted) / 2)
    assert not np.allclose(plain, weighted)


@pytest.mark.parametrize("method", ["trees+average+sqinv", "knn(quantile)", "median"])
def test_saved_estimator_predicts_the_same(homes, tmp_path, method):
    task, result = train(homes, method, tmp_path)
    loaded = FittedEstimator.load(tmp_path / ESTIMATOR)
    assert np.array_equal(loaded.predict(task.reader, task.test), result.preds)


def test_damaged_estimator_is_rejected(homes, tmp_path):
    train(homes, "median", tmp_path)
    path = tmp_path / ESTIMATOR / "model.json"
    path.write_text(path.read_text().replace("median", "linear"))
    with pytest.raises(DataError, match="is damaged"):
        FittedEstimator.load(tmp_path / ESTIMATOR)


@pytest.mark.parametrize("name", RESAMPLERS)
def test_resampled_rows_are_encoded_as_the_table_is(homes, tmp_path, name):
    _, plain, _ = load(homes, "vanilla", tmp_path)
    _, task, _ = load(homes, name, tmp_path)
    columns, categories = task.train.columns.numpy(), task.reader.categories
    original = plain.train.columns.numpy()
    assert len(task.sample_ids.numbers) == len(task.train)
    low, high = plain.train.labels.min(), plain.train.labels.max()
    assert ((task.train.labels >= low) & (task.train.labels <= high)).all()
    for column, count in enumerate(categories):
        if count:
            known = set(original[:, column].tolist())
            assert set(columns[:, column].tolist()) <= known
    assert torch.equal(task.train.features, torch.from_numpy(task.reader.features.encode(columns)))
    assert np.array_equal(task.test.labels, plain.test.labels)
    again = load(homes, name, tmp_path)[1]
    assert torch.equal(again.train.columns.nan_to_num(-9), task.train.columns.nan_to_num(-9))


def test_mean_word_vectors_leave_out_the_padding():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
    tokens = np.array([[[1, 2, 0], [2, 0, 0]]], dtype=np.int32)
    samples = TokenDataset(tokens, np.array([[2, 1]]), np.zeros(2))
    assert TextReader(vectors).read_vectors(samples).tolist() == [[2.0, 3.0], [3.0, 5.0]]
    pair = TokenDataset(np.repeat(tokens, 2, axis=0), np.array([[2, 1], [1, 1]]), np.zeros(2))
    features = TextReader(vectors).read_vectors(pair)
    assert features[0].tolist() == [2.0, 3.0, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0]


def test_windows_are_described_and_the_last_reading_is_restored():
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    samples = SeriesDataset(values, np.array([2, 5]), np.zeros(2), window=3)
    reader = SeriesReader(mean=100.0, deviation=10.0)
    assert reader.read_last(samples).tolist() == [140.0, 200.0]
    features = reader.read_vectors(samples)
    window = values[:3].astype(float)
    slope = (window * np.array([-1.0, 0.0, 1.0])[:, None]).mean(0)
    parts = [window.ravel(), window.mean(0), window.std(0), window.min(0), window.max(0), slope]
    assert np.allclose(features[0], np.concatenate(parts))


class Images(VectorDataset):
    """Images (N, S, S, 3) as an image network reads them."""

    def __init__(self, images):
        super().__init__(np.zeros((len(images), 1)), np.zeros(len(images)))
        self.images = torch.from_numpy(images)

    def get_inputs(self, index):
        return (self.images[index],)


def draw_images(size, count=2):
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 30])
def test_image_features_are_low_frequencies_and_edges(size):
    images = draw_images(size)
    features = ImageReader().read_vectors(Images(images))
    for image, row in zip(images, features, strict=True):
        frequencies = low_frequencies(image)
        edges = edge_strengths(image) if size > 2 else []
        assert np.allclose(row, [*frequencies, *edges], atol=1e-5)
    assert len(features[0]) == 688 or size < 12


def test_edges_depend_neither_on_brightness_nor_on_contrast():
    image = draw_images(24, 1) // 2
    brighter = image + 60
    stronger = image * 2
    edges = [ImageReader().read_vectors(Images(each))[0, 176:] for each in (image, brighter)]
    assert np.allclose(*edges, atol=1e-4)
    edges[1] = ImageReader().read_vectors(Images(stronger))[0, 176:]
    assert np.allclose(*edges, atol=1e-3)
    flat = np.full((1, 24, 24, 3), 90, np.uint8)
    assert not ImageReader().read_vectors(Images(flat))[0, 176:].any()


def test_a_model_of_other_features_is_refused(tmp_path):
    images, labels = draw_images(16, 30), np.arange(30.0)
    data = EstimatorData(np.array([low_frequencies(image) for image in images]), (0,) * 176, labels)
    ridge = estimator_type("linear")()
    ridge.fit(data, data)
    with pytest.raises(DataError, match="176 features, but .* reads 688"):
        FittedEstimator("linear", (ridge,)).predict(ImageReader(), Images(images))


def test_last_value_needs_a_series(homes, tmp_path):
    with pytest.raises(UsageError, match="last-value repeats the last reading of a series"):
        train(homes, "last-value", tmp_path)
    vectors = VectorDataset(np.ones((3, 2)), np.zeros(3))
    assert VectorReader().read_columns(vectors).tolist() == [[1.0, 1.0]] * 3


@pytest.mark.parametrize(
    ("method", "loss", "words"),
    [
        ("linear", "gamma", "linear has no loss gamma .*: set loss to one of mse.$"),
        ("linear", "l1", "linear has no loss l1 .*: set loss to one of mse.$"),
        ("trees", "huber", "trees has no loss huber .*: set loss to one of mse, l1, gamma"),
    ],
)
def test_losses_of_other_estimators_are_refused(homes, tmp_path, method, loss, words):
    with pytest.raises(UsageError, match=words):
        train(homes, method, tmp_path, changes=(f"loss={loss}",))


def test_every_estimator_of_the_grammar_exists():
    for name in ESTIMATORS:
        if name != "last-value":
            assert estimator_type(name).name == name
