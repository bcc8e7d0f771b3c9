import numpy as np
import pytest
from scipy import stats

from ranksim.metrics.distributions import LEVELS, Distribution, name_level, pinball_loss

PREDS, LABELS = np.array([1.0, -3.0, 40.0]), np.array([0.5, -3.0, 900.0])
SCALE = np.array([0.1, 2.0, 300.0])
KINDS = {"gaussian": stats.norm, "laplace": stats.laplace}


def make_quantiles(levels=LEVELS):
    values = np.sort(np.random.default_rng(0).normal(size=(3, len(levels))), axis=1)
    return Distribution("quantiles", quantiles=values, levels=levels)


@pytest.mark.parametrize("family", KINDS)
def test_quantiles_of_a_scale(family):
    levels = (0.001, 0.05, 0.5, 0.8, 0.999)
    expected = KINDS[family].ppf(np.array(levels), PREDS[:, None], SCALE[:, None])
    values = Distribution(family, SCALE).at_levels(PREDS, levels)
    np.testing.assert_allclose(values, expected, rtol=1e-9)


@pytest.mark.parametrize("family", KINDS)
def test_scores_of_a_scale_are_integrals(family):
    scores = Distribution(family, SCALE).score(PREDS, LABELS)
    levels = (np.arange(20_000) + 0.5) / 20_000
    grid = KINDS[family].ppf(levels, PREDS[:, None], SCALE[:, None])
    rest = LABELS[:, None] - grid
    losses = np.maximum(levels * rest, (levels - 1) * rest)
    assert scores["crps"] == pytest.approx(2 * losses.mean(), rel=1e-3)  # CRPS by quantiles
    exact = KINDS[family].ppf(np.array(LEVELS), PREDS[:, None], SCALE[:, None])
    assert scores["pinball"] == pytest.approx(
        np.mean([pinball_loss(exact[:, k], LABELS, tau) for k, tau in enumerate(LEVELS)])
    )


def test_scores_of_quantiles():
    distribution = make_quantiles()
    losses = [
        pinball_loss(distribution.quantiles[:, k], LABELS, tau) for k, tau in enumerate(LEVELS)
    ]
    assert distribution.score(PREDS, LABELS) == {"crps": None, "pinball": np.mean(losses)}
    few = make_quantiles((0.1, 0.5, 0.7))
    middle = few.quantiles[:, [0, 0, 1, 1, 2, 2]]
    middle[:, 3] = few.quantiles[:, 1:].mean(axis=1)
    np.testing.assert_allclose(few.at_levels(PREDS, (0.05, 0.1, 0.5, 0.6, 0.7, 0.9)), middle)
    assert few.take(slice(0)).score(PREDS[:0], LABELS[:0]) == {"crps": None, "pinball": None}


def test_columns_round_trip():
    for distribution in (
        *(Distribution(family, SCALE) for family in KINDS),
        make_quantiles((0.0001, 0.025, 0.05, 0.5, 1 / 3 + 0.25, 0.975)),
    ):
        columns = {"row": [1, 2, 3], "quantity": [0, 0, 0], **distribution.columns()}
        again = Distribution.from_columns(distribution.family, columns)
        assert again.family == distribution.family
        assert again.levels == pytest.approx(distribution.levels, abs=1e-9)
        for name in ("scale", "quantiles"):
            assert np.array_equal(getattr(again, name), getattr(distribution, name))
    assert list(make_quantiles().columns()) == ["q05", "q50", "q95"]
    assert [name_level(level) for level in (0.001, 0.1, 0.975)] == ["q00.1", "q10", "q97.5"]


@pytest.mark.parametrize("family", KINDS)
def test_mean_has_the_mean_quantiles(family):
    members = [Distribution(family, SCALE), Distribution(family, 3 * SCALE)]
    preds = [PREDS, 2 * PREDS]
    mean = Distribution.mean(members)
    expected = np.mean([m.at_levels(p, LEVELS) for m, p in zip(members, preds, strict=True)], 0)
    np.testing.assert_allclose(mean.at_levels(np.mean(preds, axis=0), LEVELS), expected)


def test_mean_of_different_members():
    quantiles = make_quantiles()
    double = Distribution("quantiles", quantiles=3 * quantiles.quantiles, levels=LEVELS)
    mean = Distribution.mean([quantiles, double])
    np.testing.assert_allclose(mean.quantiles, 2 * quantiles.quantiles)
    assert mean.levels == LEVELS
    for others in ([], [None], [None, quantiles], [Distribution("laplace", SCALE), quantiles]):
        assert Distribution.mean(others) is None
    assert Distribution.mean([quantiles, make_quantiles((0.1, 0.5, 0.9))]) is None
    assert Distribution.mean([Distribution("laplace", SCALE), Distribution("gaussian", SCALE)]) is (
        None
    )


def test_take_and_length():
    for distribution in (Distribution("laplace", SCALE), make_quantiles()):
        part = distribution.take(np.array([True, False, True]))
        assert (len(distribution), len(part)) == (3, 2)
        assert list(part.columns()) == list(distribution.columns())
        for name, values in distribution.columns().items():
            assert np.array_equal(part.columns()[name], values[[0, 2]])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("cauchy", SCALE), "family must be one of gaussian, laplace, quantiles, got 'cauchy'"),
        (("laplace",), "family laplace takes scale alone"),
        (("quantiles", SCALE), "family quantiles takes quantiles alone"),
        (("quantiles", None, np.ones((3, 2)), (0.5,)), "one column for each of 1 levels"),
    ],
)
def test_wrong_distributions(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        Distribution(*arguments)


@pytest.mark.parametrize("family", ["gaussian", "laplace", "quantiles"])
@pytest.mark.parametrize("given", [(), ("scale",), ("quantiles",), ("scale", "quantiles")])
def test_a_family_takes_its_parameter_alone(family, given):
    needed = "quantiles" if family == "quantiles" else "scale"
    arguments = {"scale": np.ones(2), "quantiles": np.ones((2, 1)), "levels": (0.5,)}
    arguments = {name: arguments[name] for name in (*given, "levels")}
    if given == (needed,):
        assert len(Distribution(family, **arguments)) == 2
    else:
        with pytest.raises(ValueError, match=f"family {family} takes {needed} alone"):
            Distribution(family, **arguments)


@pytest.mark.parametrize("level", [0, 1, 1.5, float("nan"), "0.5"])
@pytest.mark.parametrize(
    "distribution",
    [
        Distribution("laplace", np.ones(2)),
        Distribution("quantiles", quantiles=np.ones((2, 2)), levels=(0.1, 0.5)),
    ],
)
def test_wrong_levels(distribution, level):
    with pytest.raises(ValueError, match="level must be a number above 0 and below 1, got"):
        distribution.at_levels(np.zeros(2), (0.5, level))
