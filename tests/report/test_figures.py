import numpy as np
import pytest

from ranksim.data import sts_b_dir
from ranksim.metrics import Regions
from tests.report.test_table import results

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")


def test_the_picture_shows_the_numbers_of_the_results(tmp_path):
    from ranksim.report.figures import region_figure

    regions = Regions.by_rule(sts_b_dir.BINS, np.linspace(0, 5, 2000) ** 2 / 5)
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
