"""Bootstrap intervals of error scores."""

import numpy as np

from ranksim.inference.prediction import error_intervals


def test_intervals_equal_a_loop():
    errors = np.random.default_rng(5).normal(0.3, 1, 40)
    intervals, draw = error_intervals(errors), np.random.default_rng(9)
    samples = [draw.integers(0, 40, 40) for _ in range(4_000)]
    size = abs(errors)
    for name, values in {"mae": size, "mse": size**2, "gm": np.log(size)}.items():
        ratios = [(values[d].mean() - values.mean()) / values[d].std() for d in samples]
        ends = values.mean() - values.std() * np.quantile(ratios, [0.975, 0.025])
        plain = np.quantile([values[d].mean() for d in samples], [0.025, 0.975])
        ends = [min(ends[0], plain[0]), max(ends[1], plain[1])]
        expected = np.exp(ends) if name == "gm" else ends
        np.testing.assert_allclose(intervals[name], expected, rtol=0.06)
    assert error_intervals(np.array([0.0, 1.0]))["mae"][0] == 0.0
    assert error_intervals(np.array([0.0, 1.0]))["gm"] is None
    assert error_intervals(np.array([2.0])) == {"mae": None, "mse": None, "gm": None}
