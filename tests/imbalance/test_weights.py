import csv
import subprocess
import sys

import numpy as np
import pytest

from ranksim.imbalance import (
    KERNELS,
    LDS,
    DensityWeights,
    LabelBins,
    density_weights,
    silverman_bandwidth,
)
from tests.helpers.pairwise import pairwise
from tests.oracles import balance as oracle

AGES = LabelBins.integers(0, 120)
SCORES = LabelBins.uniform(0.0, 5.0, 50)
SMOOTHINGS = [None, *(LDS(kernel) for kernel in KERNELS), LDS("laplace", 9, 1.5)]
SCHEMES = [
    ("none", None),
    ("inverse", None),
    ("inverse", (5, 1000)),
    ("sqrt_inverse", None),
    ("sqrt_inverse", (5, 1000)),
]


def agedb_ages(folder):
    path = folder / "agedb-dir" / "agedb.csv"
    if not path.is_file():
        pytest.skip("AgeDB-DIR is not here: put agedb.csv into ../shared/data/agedb-dir")
    with path.open(encoding="utf-8", newline="") as file:
        return [int(row["age"]) for row in csv.DictReader(file) if row["split"] == "train"]


def sts_scores(folder, split):
    path = folder / "sts-b-dir" / split / "train_new.tsv"
    with path.open(encoding="utf-8", newline="\n") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        place = next(rows).index("score")
        return [float(row[place]) for row in rows]


def like_agedb():
    draw = np.random.default_rng(0)
    return np.clip(draw.normal(40, 17, 3000), 1, 101).astype(int).tolist()


def like_sts_b():
    draw = np.random.default_rng(1)
    tenths = draw.integers(0, 51, 1500) / 10
    thirds = draw.choice([1 / 3, 2 / 3, 3.75, 4.667, 5.0], 500)
    return [*tenths.tolist(), *thirds.tolist()]


def check(training, bins, scheme, clip, lds):
    edges = bins.edges.tolist()
    outside = [edges[0] - 30, edges[-1] + 30]
    query = [*training, *((bins.edges[:-1] + bins.edges[1:]) / 2).tolist(), *outside]
    kernel = {} if lds is None else {"kernel": lds.kernel, "size": lds.kernel_size}
    kernel |= {} if lds is None else {"sigma": lds.sigma}
    expected = oracle.weights(training, query, edges, scheme, clip, **kernel)
    fitted = DensityWeights.fit(training, bins=bins, scheme=scheme, clip=clip, lds=lds)
    np.testing.assert_allclose(fitted(query), expected, rtol=1e-6, atol=0)
    of_training = density_weights(training, bins=bins, scheme=scheme, clip=clip, lds=lds)
    np.testing.assert_allclose(of_training, expected[: len(training)], rtol=1e-6, atol=0)
    assert of_training.mean() == pytest.approx(1, abs=1e-12)


PUBLISHED = [("inverse", (5, 1000), LDS()), ("sqrt_inverse", None, LDS())]


@pytest.mark.parametrize(("scheme", "clip", "lds"), PUBLISHED, ids=str)
def test_agedb_ages_match_oracle(shared_data, scheme, clip, lds):
    training = agedb_ages(shared_data)
    assert len(training) == 12_208
    check(training, AGES, scheme, clip, lds)


@pytest.mark.parametrize(("scheme", "clip", "lds"), PUBLISHED, ids=str)
@pytest.mark.parametrize("split", ["borealis", "yang"])
def test_sts_b_scores_match_oracle(shared_data, split, scheme, clip, lds):
    training = sts_scores(shared_data, split)
    assert len(training) == 5_249
    check(training, SCORES, scheme, clip, lds)


CASES = [
    *pairwise(labels=[like_agedb, like_sts_b], scheme=SCHEMES[1:], lds=SMOOTHINGS),
    {"labels": like_agedb, "scheme": ("none", (5, 1000)), "lds": None},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, [*case.values()][1:])))
def test_generated_labels_match_oracle(case):
    bins = AGES if case["labels"] is like_agedb else SCORES
    check(case["labels"](), bins, *case["scheme"], case["lds"])


def test_inverse_by_hand():
    weights = density_weights([0, 0, 0, 0, 1], bins=LabelBins.integers(0, 1))
    np.testing.assert_allclose(weights, [0.625] * 4 + [2.5], rtol=1e-14)


def test_root_by_hand():
    labels, bins = [0, 0, 0, 0, 1], LabelBins.integers(0, 1)
    weights = density_weights(labels, bins=bins, scheme="sqrt_inverse")
    np.testing.assert_allclose(weights, np.array([0.5] * 4 + [1]) / 0.6, rtol=1e-14)


def test_clip_comes_before_the_root():
    labels, bins = [0] * 16 + [1], LabelBins.integers(0, 1)
    fitted = DensityWeights.fit(labels, bins=bins, scheme="sqrt_inverse", clip=(4, 9))
    few, many = fitted([1, 0])
    assert few / many == pytest.approx(3 / 2)


@pytest.mark.parametrize(("clip", "ratio"), [(None, 4.5 / 3), ((2, 1000), 5 / 5)])
def test_smoothing_by_hand(clip, ratio):
    # counts 4, 1, 0 by [.5, 1, .5] are 4.5, 3, .5; clipped before, 4, 2, 2 are 5, 5, 3
    fitted = DensityWeights.fit(
        [0, 0, 0, 0, 1], bins=LabelBins.integers(0, 2), clip=clip, lds=LDS("triangular", 3)
    )
    many, few = fitted([0, 1])
    assert few / many == pytest.approx(ratio)


def test_the_root_comes_before_smoothing():
    # roots 2, 1 by [.5, 1, .5] are 2.5, 2
    fitted = DensityWeights.fit(
        [0, 0, 0, 0, 1],
        bins=LabelBins.integers(0, 1),
        scheme="sqrt_inverse",
        lds=LDS("triangular", 3),
    )
    many, few = fitted([0, 1])
    assert few / many == pytest.approx(2.5 / 2)


def test_empty_bin_has_largest_training_weight():
    fitted = DensityWeights.fit([20, 20, 20, 21], bins=AGES)
    assert fitted([70, 0, 120, 300, -5]).tolist() == [fitted([21])[0]] * 5
    smoothed = DensityWeights.fit([20, 20, 20, 21], bins=AGES, lds=LDS())
    assert smoothed([70])[0] == smoothed([21, 20]).max()
    # at 23 the sample at 21 is within reach: 1 / 0.858 of its count
    assert smoothed([23])[0] > smoothed([21])[0]


def test_a_clip_fills_empty_bins():
    fitted = DensityWeights.fit([20] * 10 + [21] * 20, bins=AGES, clip=(5, 1000))
    empty, ten = fitted([70, 20])
    assert empty == pytest.approx(2 * ten)


def test_labels_outside_have_weights_of_end_bins():
    bins = LabelBins.integers(20, 22)
    fitted = DensityWeights.fit([20, 21, 21, 22, 22, 22, 22], bins=bins)
    assert fitted([3, 99]).tolist() == fitted([20, 22]).tolist()


def test_whole_and_real_labels_are_alike():
    ages = like_agedb()
    for kind in (np.uint8, np.int64, np.float32, np.float64):
        weights = density_weights(np.array(ages, dtype=kind), bins=AGES)
        np.testing.assert_array_equal(weights, density_weights(ages, bins=AGES))


def test_weights_follow_the_samples_when_permuted():
    ages = np.array(like_agedb())
    order = np.random.default_rng(2).permutation(len(ages))
    for options in ({"bins": AGES, "lds": LDS()}, {}):
        moved = density_weights(ages[order], **options)
        np.testing.assert_allclose(moved, density_weights(ages, **options)[order], rtol=1e-12)


def test_single_sample_has_weight_one():
    for options in ({"bins": AGES, "lds": LDS()}, {"bandwidth": 1.0}, {"scheme": "none"}):
        assert density_weights([31], **options).tolist() == [1.0]


@pytest.mark.parametrize(
    ("scheme", "clip", "bandwidth"),
    [
        ("inverse", None, None), ("inverse", (5, 100), 0.7),
        ("sqrt_inverse", (5, 100), None), ("sqrt_inverse", None, 0.7),
    ],
)  # fmt: skip
def test_kernel_density_weights_match_oracle(scheme, clip, bandwidth):
    training = like_agedb()[:400]
    h = silverman_bandwidth(training) if bandwidth is None else bandwidth
    x = np.array(oracle.kernel_density(training, h, training))
    if clip is not None:
        x = np.minimum(np.maximum(x, clip[0]), clip[1])
    if scheme == "sqrt_inverse":
        x = x**0.5
    expected = (1 / x) / (1 / x).mean()
    weights = density_weights(training, scheme=scheme, clip=clip, bandwidth=bandwidth)
    np.testing.assert_allclose(weights, expected, rtol=1e-9)
    assert weights.mean() == pytest.approx(1, abs=1e-12)


def test_without_bins_no_label_weighs_more_than_a_training_sample():
    training = np.random.default_rng(0).normal(size=500)
    fitted = DensityWeights.fit(training)
    largest = fitted(training).max()
    query = np.concatenate([np.linspace(-60, 60, 1000), [1e300]])
    assert fitted(query).max() == largest
    assert fitted([1e300])[0] == largest


def test_scheme_none_gives_weight_one():
    fitted = DensityWeights.fit([3.0, 3.0], scheme="none", clip=(5, 1000))
    assert fitted([1.0, 2.0, 99.0]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("alpha", "bandwidth"), [(1.0, None), (0.5, 3.0), (2.0, 1.5), (0.0, None)])
def test_denseweight_follows_its_equation(alpha, bandwidth):
    labels = np.random.default_rng(3).gamma(2.0, 10.0, 60)
    h = silverman_bandwidth(labels) if bandwidth is None else bandwidth
    density = [sum(np.exp(-((y - x) ** 2) / (2 * h**2)) for x in labels) for y in labels]
    low, high = min(density), max(density)
    raw = [max(1 - alpha * (d - low) / (high - low), 1e-6) for d in density]
    expected = np.array(raw) / np.mean(raw)
    options = {"scheme": "denseweight", "alpha": alpha, "bandwidth": bandwidth}
    fitted = DensityWeights.fit(labels, **options)
    assert np.allclose(fitted(labels), expected, rtol=1e-9)
    # no label weighs more than the rarest training label
    assert fitted([1e6])[0] == pytest.approx(1 / np.mean(raw))
    assert np.allclose(
        DensityWeights.fit(labels * 12, scheme="denseweight")(labels * 12),
        DensityWeights.fit(labels, scheme="denseweight")(labels),
    )


def test_empty_labels():
    for options in ({"bins": AGES}, {}, {"scheme": "none"}):
        weights = DensityWeights.fit([20, 21], **options)([])
        assert weights.shape == (0,)
        assert weights.dtype == np.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scheme": "inv"},
            "scheme must be one of none, inverse, sqrt_inverse, denseweight, got 'inv'",
        ),
        (
            {"scheme": "none", "bins": AGES, "lds": LDS()},
            "LDS needs scheme inverse or sqrt_inverse, got 'none'",
        ),
        (
            {"lds": LDS()},
            "LDS smooths counts of bins: pass bins=, or drop lds= for kernel density",
        ),
        (
            {"scheme": "denseweight", "bins": AGES},
            "scheme denseweight takes no bins, clip or lds: it uses a kernel density",
        ),
        ({"alpha": 0.5}, "alpha applies to scheme denseweight only, got 'inverse'"),
        ({"scheme": "denseweight", "alpha": -1}, "alpha must be a number of at least 0, got -1"),
        (
            {"bins": AGES, "bandwidth": 2.0},
            r"bandwidth applies without bins only, got 2\.0 and bins",
        ),
        *(
            (
                {"bins": AGES, "clip": clip},
                r"clip must be \(low, high\) with 0 <= low <= high and high above 0, got .+",
            )
            for clip in [
                (10, 5),
                (-1, 5),
                (0, 0),
                (1, 2, 3),
                (5,),
                5,
                "59",
                ("5", "9"),
                (np.nan, 5),
                (5, np.nan),
                (np.inf, np.inf),
            ]
        ),
    ],
)
def test_rejects_invalid_options(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        density_weights([20, 21], **options)


def test_a_clip_may_be_open_above():
    labels = [20] * 10 + [21]
    weights = density_weights(labels, bins=AGES, clip=(5, np.inf))
    assert weights[-1] / weights[0] == pytest.approx(2)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([], ValueError, "labels must contain at least one label, got none"),
        ([1.0, np.nan], ValueError, "labels must be finite, got 1 NaN and 0 infinite"),
        (
            [[20], [21]],
            ValueError,
            r"labels must have shape \(N,\), got \(2, 1\): pass labels.reshape\(-1\)",
        ),
        (["20", "21"], TypeError, "labels must be real numbers, got text"),
    ],
)
def test_rejects_invalid_training_labels(labels, error, message):
    for options in ({"bins": AGES}, {}, {"scheme": "none"}):
        with pytest.raises(error, match=f"^{message}$"):
            density_weights(labels, **options)


@pytest.mark.parametrize("options", [{"bins": AGES}, {}, {"scheme": "none"}])
def test_rejects_nan_labels_after_fit(options):
    with pytest.raises(ValueError, match="^labels must be finite, got 1 NaN and 0 infinite$"):
        DensityWeights.fit([20, 21], **options)([np.nan])


def test_rejects_invalid_types():
    with pytest.raises(TypeError, match="^bins must be LabelBins or None, got 50: create"):
        density_weights([20, 21], bins=50)
    with pytest.raises(TypeError, match="^lds must be an LDS or None, got True: pass"):
        density_weights([20, 21], bins=AGES, lds=True)


def test_lds_checks_arguments():
    with pytest.raises(
        ValueError, match="^kernel_size must be an odd integer of at least 1, got 4$"
    ):
        LDS(kernel_size=4)
    assert LDS().window.round(3).tolist() == [0.858, 0.946, 1, 0.946, 0.858]


def test_sample_weights_need_numpy_alone():
    code = (
        "import sys, ranksim.imbalance as b\n"
        "b.density_weights([20, 20, 33], bins=b.LabelBins.integers(0, 120), lds=b.LDS())\n"
        "b.density_weights([20, 20, 33])\n"
        "assert not {'torch', 'scipy', 'lightning'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
