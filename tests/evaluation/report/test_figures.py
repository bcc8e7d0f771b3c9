import numpy as np
import pytest

from ranksim.datasets import sts_b_dir
from ranksim.metrics import ShotRegions
from tests.evaluation.report.test_terminal import many_results, results

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


def test_the_picture_shows_the_numbers_of_the_results(tmp_path):
    from ranksim.evaluation.report.figures import region_figure

    regions = ShotRegions.from_counts(sts_b_dir.BINS, np.linspace(0, 5, 2000) ** 2 / 5)
    content = results()
    figure = region_figure(content, regions)
    left, right = figure.axes
    assert sum(bar.get_height() for bar in left.patches) == 2000
    heights = [bar.get_height() for bar in right.patches]
    expected = [1.1, 1.1, 1.1, 3.3, 0.9111, 0.9111, 0.9111, 2.7333]
    assert heights == pytest.approx(expected, 1e-3)
    ticks = [text.get_text() for text in right.get_xticklabels()]
    assert ticks[0].startswith("all\n-17.2%\n[")
    figure.savefig(tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").stat().st_size > 1000
    matplotlib.pyplot.close(figure)


def test_the_picture_of_pairs_shows_each_pair_once(tmp_path):
    from ranksim.evaluation.report.figures import pairs_figure

    figure = pairs_figure(many_results())
    panels = figure.axes
    assert [text.get_text() for text in panels[0].get_yticklabels()] == [
        "vanilla", "inv", "inv+lds",
    ]  # fmt: skip
    dots = [line for line in panels[0].lines if line.get_marker() == "o"]
    changes = [float(np.ravel(line.get_xdata())[0]) for line in dots]
    # per pair: ours, then as published (0.873 / 0.974, 1.091 / 1.005, 0.889 / 0.914)
    expected = [-0.2 / 1.01, 0.873 / 0.974 - 1, 0.3 / 1.01, 1.091 / 1.005 - 1]
    assert changes[:4] == pytest.approx(expected)
    assert len(changes) == 6
    figure.savefig(tmp_path / "pairs.svg")
    matplotlib.pyplot.close(figure)
