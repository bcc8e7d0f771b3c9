import numpy as np
import pytest

from ranksim.evaluation.diagnostics import pca, project_features


def test_pca_equals_eigenvectors_of_covariance():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 6)) @ np.diag([5, 3, 1, 0.5, 0.2, 0.1]) + 7
    values, vectors = np.linalg.eigh(np.cov(features.T))
    points = pca(features)
    for k in range(2):
        direction = vectors[:, -1 - k]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        assert points[:, k] == pytest.approx((features - features.mean(0)) @ direction)
        assert points[:, k].var(ddof=1) == pytest.approx(values[-1 - k])
    assert pca(-features)[:, 0] == pytest.approx(-points[:, 0])


def test_pca_of_one_column_or_row():
    column = np.arange(5.0)[:, None]
    points = pca(column)
    assert (points[:, 1] == 0).all()
    assert points[:, 0] == pytest.approx(column[:, 0] - 2.0)
    assert pca(np.ones((1, 3))).tolist() == [[0.0, 0.0]]


def test_tsne_separates_clusters_deterministically():
    generator = np.random.default_rng(0)
    centers = np.repeat(generator.normal(0, 20, (3, 8)), 12, axis=0)
    features, labels = (
        centers + generator.normal(size=centers.shape),
        np.repeat([0.0, 1.0, 2.0], 12),
    )
    points = project_features(labels, features)["tsne"]
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    assert np.array_equal(project_features(labels, features)["tsne"], points)


def test_degenerate_features():
    generator = np.random.default_rng(0)
    few = project_features(np.arange(9.0), generator.normal(size=(9, 4)))
    assert few["tsne"] is None
    assert few["pca"].shape == (9, 2)
    assert project_features(np.arange(20.0), np.ones((20, 4)))["tsne"] is None
    column = project_features(np.arange(10.0), generator.normal(size=(10, 1)))
    assert column["tsne"].shape == (10, 2)
    repeated = np.repeat(generator.normal(size=(6, 4)), 3, axis=0)
    assert np.isfinite(project_features(np.arange(18.0), repeated)["tsne"]).all()
    infinite = generator.normal(size=(20, 4))
    infinite[3, 2] = np.inf
    assert project_features(np.arange(20.0), infinite) is None
