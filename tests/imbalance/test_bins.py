import numpy as np
import pytest

from ranksim.imbalance import LabelBins


def test_each_label_falls_between_its_edges():
    bins = LabelBins.uniform(-4.0, 4.0, 80)
    labels = np.random.default_rng(0).uniform(-4, 4, 1000).astype(np.float32)
    index = bins.digitize(labels)
    assert (bins.edges[index] <= labels).all()
    assert (labels < bins.edges[index + 1]).all()
    assert bins.histogram(labels).sum() == 1000


def test_decimals_on_an_edge_belong_to_the_upper_bin():
    labels = np.arange(50) / 10
    assert LabelBins.uniform(0.0, 5.0, 50).digitize(labels).tolist() == list(range(50))


def test_labels_outside_edges():
    assert LabelBins.uniform(0.0, 5.0, 50).digitize([-3.0, 5.0, 99.0]).tolist() == [0, 49, 49]


@pytest.mark.parametrize("edges", [[0.0], [1.0, 0.0], [0.0, 0.0, 1.0], [[0.0, 1.0]]])
def test_edges_must_ascend(edges):
    with pytest.raises(ValueError, match="^edges must be at least two numbers, ascending"):
        LabelBins(np.array(edges))


def test_uniform_needs_a_range():
    with pytest.raises(ValueError, match=r"need low < high and count >= 1, got 1\.0, 1\.0, 3"):
        LabelBins.uniform(1.0, 1.0, 3)


def test_whole_labels_and_width_one_give_one_bin_each():
    bins = LabelBins.from_width([20, 22, 21], 1)
    assert bins.edges.tolist() == [20, 21, 22, 23]
    assert bins.histogram([20, 22, 21]).tolist() == [1, 1, 1]
    assert LabelBins.from_width([7], 1).edges.tolist() == [7, 8]


@pytest.mark.parametrize("width", [0.1, 0.25, 0.3, 1, 5, 1 / 3])
@pytest.mark.parametrize("low", [-40, 0, 13])
def test_edges_of_a_width_are_its_multiples_around_the_labels(width, low):
    labels = np.random.default_rng(0).uniform(low, low + 20, 200)
    bins = LabelBins.from_width(labels, width)
    multiples = bins.edges / width
    np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-4)
    np.testing.assert_allclose(np.diff(bins.edges), width, rtol=1e-4)
    smallest, largest = np.float32(labels.min()), np.float32(labels.max())
    assert bins.edges[0] <= smallest < bins.edges[1]
    assert bins.edges[-2] <= largest < bins.edges[-1]


def test_a_label_on_a_multiple_starts_a_bin():
    for tenths in range(-60, 60):
        bins = LabelBins.from_width([tenths / 10], 0.1)
        assert len(bins) == 1
        assert bins.edges[0] == np.float32(tenths / 10)


def test_integers_give_one_bin_each():
    bins = LabelBins.integers(0, 120)
    assert len(bins) == 121
    assert bins.digitize(np.arange(121)).tolist() == list(range(121))
    assert bins.digitize([-3, 20.9, 121, 500]).tolist() == [0, 20, 120, 120]
    assert LabelBins.integers(np.int8(-128), np.int8(127)).edges[[0, -1]].tolist() == [-128, 128]


def test_from_count_spans_labels():
    labels = [3.0, -1.0, 0.5]
    bins = LabelBins.from_count(labels, 8)
    np.testing.assert_array_equal(bins.edges, np.arange(-1, 3.5, 0.5, dtype=np.float32))
    assert bins.digitize(labels).tolist() == [7, 0, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelBins.from_width([], 1), "labels must contain at least one label, got none"),
        (
            lambda: LabelBins.from_width([1, np.nan, np.inf], 1),
            "labels must be finite, got 1 NaN and 1 infinite",
        ),
        (
            lambda: LabelBins.from_width([[1.0]], 1),
            r"labels must have shape \(N,\), got \(1, 1\): pass labels.reshape\(-1\)",
        ),
        (lambda: LabelBins.from_width([1], 0), "width must be a finite number above 0, got 0"),
        (
            lambda: LabelBins.from_width([1], -0.5),
            r"width must be a finite number above 0, got -0\.5",
        ),
        (
            lambda: LabelBins.from_width([1], np.nan),
            "width must be a finite number above 0, got nan",
        ),
        (lambda: LabelBins.from_width([1], "1"), "width must be a finite number above 0, got '1'"),
        (
            lambda: LabelBins.from_width([0, 1e9], 1),
            "at most 10,000,000 bins are allowed, got 1,000,000,000: use fewer or wider bins",
        ),
        (
            lambda: LabelBins.from_width([1.7e9, 1.7e9 + 9], 1),
            "width must be large enough for float32 to distinguish labels of 1700000000.0 to "
            "1700000009.0, got 1",
        ),
        (
            lambda: LabelBins.from_width([5.0], 5e-324),
            r"width must be large enough for float32 to distinguish labels of 5\.0 to 5\.0, "
            "got 5e-324",
        ),
        (
            lambda: LabelBins.from_width([0, 1e300], 1e299),
            r"labels must be finite in float32, got 0\.0 to 1e\+300",
        ),
        (lambda: LabelBins.from_count([], 3), "labels must contain at least one label, got none"),
        (
            lambda: LabelBins.from_count([3, 3], 4),
            r"labels must differ to span 4 bins, all are 3\.0",
        ),
        (
            lambda: LabelBins.from_count([1, 3], 0),
            r"need low < high and count >= 1, got 1\.0, 3\.0, 0",
        ),
        (
            lambda: LabelBins.from_count([1, 3], 10**12),
            "at most 10,000,000 bins are allowed, got 1,000,000,000,000: use fewer or wider bins",
        ),
        (
            lambda: LabelBins.from_count([1e6, 1e6 + 1], 100),
            r"edges must be at least two numbers, ascending in float32, got array[^$]*",
        ),
        (
            lambda: LabelBins.uniform(0.0, np.inf, 3),
            r"labels must be finite in float32, got 0\.0 to inf",
        ),
        (lambda: LabelBins.integers(3, 2), "need integers low <= high, got 3 and 2"),
        (lambda: LabelBins.integers(0, 2.5), r"need integers low <= high, got 0 and 2\.5"),
        (
            lambda: LabelBins.integers(0, 10**9),
            "at most 10,000,000 bins are allowed, got 1,000,000,001: use fewer or wider bins",
        ),
        (
            lambda: LabelBins.integers(2**26, 2**26 + 9),
            r"edges must be at least two numbers, ascending in float32, got array[^$]*",
        ),
        (
            lambda: LabelBins.integers(0, 2).digitize([1, np.nan]),
            "labels must not be NaN, got 1 NaN",
        ),
        (lambda: LabelBins.integers(0, 2).histogram([np.nan]), "labels must not be NaN, got 1 NaN"),
    ],
)
def test_rejects_invalid_bins(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_count_must_be_whole():
    with pytest.raises(TypeError, match=r"^count must be a whole number of bins, got 2\.5$"):
        LabelBins.from_count([1, 3], 2.5)


@pytest.mark.parametrize("labels", [["1", "2"], [None, 1.0], [1j]])
def test_labels_must_be_numbers(labels):
    for use in (
        LabelBins.integers(0, 2).digitize,
        lambda given: LabelBins.from_width(given, 1),
        lambda given: LabelBins.from_count(given, 2),
    ):
        with pytest.raises(
            TypeError, match="^labels must be real numbers, got (text|objects|comp.+)$"
        ):
            use(labels)


def test_bins_of_the_same_edges_are_equal_and_one_key():
    ages, same = LabelBins.integers(0, 2), LabelBins(np.array([-0.0, 1, 2, 3]))
    assert ages == same
    assert hash(ages) == hash(same)
    others = [LabelBins.integers(0, 3), LabelBins(np.array([0.0, 1, 2, 4])), ages.edges.tolist()]
    assert all(ages != other for other in others)
    assert len({ages, same, *others[:2]}) == 3


def test_edges_are_read_only_copy():
    given = np.array([0.0, 1.0, 2.0], dtype=np.float32)
    bins = LabelBins(given)
    given[0] = -5
    assert bins == LabelBins.integers(0, 1)
    with pytest.raises(ValueError, match="^assignment destination is read-only$"):
        bins.edges[0] = -5


def test_infinite_and_huge_labels_are_outside():
    bins = LabelBins.integers(0, 2)
    assert bins.digitize([-np.inf, -1e300, 1e300, np.inf]).tolist() == [0, 0, 2, 2]
    assert bins.digitize([]).shape == (0,)
    assert bins.histogram([]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 3])
def test_masked_labels_are_rejected(count):
    labels = np.ma.masked_array(np.arange(5.0), np.arange(5) < count)
    with pytest.raises(ValueError, match=f"labels must not be masked, got {count} masked values"):
        LabelBins.from_count(labels, 2)
    plain = np.ma.masked_array(np.arange(5.0))
    assert LabelBins.from_count(plain, 2) == LabelBins.from_count(np.arange(5.0), 2)
