import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from ranksim.imbalance import KERNELS, kernel_window, smooth
from tests.helpers.pairwise import pairwise
from tests.oracles import balance as oracle


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("gaussian", [0.858, 0.946, 1, 0.946, 0.858]),
        ("gaussian-textbook", [0.607, 0.882, 1, 0.882, 0.607]),
        ("triangular", [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        ("laplace", [np.exp(-1), np.exp(-0.5), 1, np.exp(-0.5), np.exp(-1)]),
    ],
)
def test_windows_of_size_5_and_sigma_2(kernel, expected):
    window = kernel_window(kernel)
    assert window.dtype == np.float64
    np.testing.assert_allclose(window, expected, atol=5e-4)


WINDOWS = pairwise(kernel=KERNELS, size=[1, 3, 5, 9, 41], sigma=[0.1, 1, 2.0, 7.4])


@pytest.mark.parametrize("case", WINDOWS, ids=lambda case: "-".join(map(str, case.values())))
def test_windows_match_oracle(case):
    kernel, size, sigma = case.values()
    window = kernel_window(kernel, size, sigma)
    np.testing.assert_allclose(window, oracle.window(kernel, size, sigma), rtol=1e-12, atol=1e-300)
    assert window.shape == (size,)
    assert window.max() == 1
    if kernel != "gaussian" or sigma <= size:  # wider, its cut tails favour the ends by 1e-4
        assert window[size // 2] == 1
    np.testing.assert_allclose(window, window[::-1], rtol=1e-14)


@pytest.mark.parametrize(("size", "sigma"), [(1, 2.0), (3, 7.4), (5, 2.0), (9, 1), (41, 0.1)])
def test_gaussian_window_is_filtered_impulse(size, sigma):
    impulse = np.zeros(size)
    impulse[size // 2] = 1
    filtered = gaussian_filter1d(impulse, sigma, mode="reflect", truncate=4.0)
    window = kernel_window("gaussian", size, sigma)
    np.testing.assert_allclose(window, filtered / filtered.max(), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("kernel", ["gaussian", "gaussian-textbook", "laplace"])
def test_tiny_sigma_gives_impulse(kernel):
    assert kernel_window(kernel, 5, 1e-320).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("boxcar",),
            "kernel must be one of gaussian, gaussian-textbook, triangular, laplace, got 'boxcar'",
        ),
        (("gaussian", 4), "kernel_size must be an odd integer of at least 1, got 4"),
        (("gaussian", -1), "kernel_size must be an odd integer of at least 1, got -1"),
        (("gaussian", 5.0), r"kernel_size must be an odd integer of at least 1, got 5\.0"),
        (("laplace", 5, 0), r"sigma must be above 0 and at most 1e\+06 bins, got 0"),
        (("gaussian", 5, -2.0), r"sigma must be above 0 and at most 1e\+06 bins, got -2\.0"),
        (("gaussian", 5, np.nan), r"sigma must be above 0 and at most 1e\+06 bins, got nan"),
        (("gaussian", 5, 1e9), r"sigma must be above 0 and at most 1e\+06 bins, got 1000000000\.0"),
        (("gaussian", 5, "2"), r"sigma must be above 0 and at most 1e\+06 bins, got '2'"),
    ],
)
def test_kernel_window_rejects_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        kernel_window(*arguments)


SMOOTHINGS = pairwise(boundary=["zero", "reflect"], bins=[1, 2, 5, 121], size=[1, 3, 5, 41])


@pytest.mark.parametrize("case", SMOOTHINGS, ids=lambda case: "-".join(map(str, case.values())))
def test_smoothing_matches_oracle(case):
    boundary, bins, size = case.values()
    draw = np.random.default_rng(bins * size)
    values, window = draw.normal(size=(bins, 3)), draw.uniform(size=size)  # not symmetric
    out = smooth(values, window, boundary)
    for d in range(3):
        expected = oracle.smooth(values[:, d], window, boundary)
        np.testing.assert_allclose(out[:, d], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(smooth(values[:, d], window, boundary), out[:, d], rtol=1e-14)


def test_reflection_mirrors_the_edge_itself():
    far = [0, 0, 0, 0, 0, 0, 1]  # out_k = values_{k−3}
    assert smooth([1, 2, 3, 4], far, "reflect").tolist() == [3, 2, 1, 1]
    assert smooth([1, 2, 3, 4], far, "zero").tolist() == [0, 0, 0, 1]


def test_a_normalized_window_keeps_a_constant_inside_reflection():
    window = kernel_window() / kernel_window().sum()
    np.testing.assert_allclose(smooth(np.full(4, 7.0), window, "reflect"), 7, rtol=1e-14)
    assert smooth(np.full(4, 7.0), window, "zero")[0] < 7


def test_smoothing_takes_other_layouts_and_leaves_its_input():
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    before = values.copy()
    out = smooth(values.T, [1, 2, 1], "reflect")
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, smooth(values.T.copy(), [1, 2, 1], "reflect"))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1.0]), r"values must have shape \(K,\) or \(K, D\) with K >= 1, got \(0,\)"),
        ((3.0, [1.0]), r"values must have shape \(K,\) or \(K, D\) with K >= 1, got \(\)"),
        (([1.0], [1.0, 1.0]), r"window must have shape \(S,\) with S odd, got \(2,\)"),
        (([1.0], [[1.0]]), r"window must have shape \(S,\) with S odd, got \(1, 1\)"),
        (([1.0], [1.0], "wrap"), "boundary must be one of zero, reflect, got 'wrap'"),
    ],
)
def test_smooth_rejects_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        smooth(*arguments)
