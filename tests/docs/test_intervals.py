"""The guide on prediction intervals quotes the simulation, and its code runs."""

import re

import numpy as np
import pytest

from scripts.interval_tables import PAGE, PICTURE, fill_page, find_way, read_figures
from tests.reliability import intervals as simulation

TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_tables_and_summary_are_those_of_the_results():
    assert fill_page(TEXT, read_figures()) == TEXT
    assert PICTURE.is_file()


def test_the_recommendation_follows_from_the_figures():
    """By predicted region, the recommended way is nearer to the level than one threshold."""
    figures = read_figures()
    for count in simulation.SIZES:
        for score in ("residual", "quantiles"):  # a scale alone is right in every region
            best, split = (
                find_way(figures, count, score, rule)["predicted"]
                for rule in (simulation.RECOMMENDED, "split")
            )
            gaps = [max(abs(way[name] - 0.9) for name in way) for way in (best, split)]
            assert gaps[0] <= gaps[1] + 0.02
        rare = find_way(figures, count, "residual", simulation.RECOMMENDED)
        assert rare["infinite"]["few"] == 0
    scale = find_way(figures, simulation.SIZES[1], "scale", simulation.RECOMMENDED)
    residual = find_way(figures, simulation.SIZES[1], "residual", simulation.RECOMMENDED)
    assert scale["true"]["few"] > residual["true"]["few"]


def test_short_simulation_agrees_with_the_results():
    """Forty draws give the coverage over all samples within the error of so few."""
    pool = simulation.Pool(simulation.Samples.draw(np.random.default_rng(0), 100_000))
    figures, rows = read_figures(), simulation.simulate(10, 200, pool)
    for row in rows:
        way = find_way(figures, 200, row["score"], row["rule"])
        assert row["predicted"]["all"] == pytest.approx(way["predicted"]["all"], abs=0.03)


@pytest.mark.parametrize("number", range(2))
def test_code_runs(number):
    assert len(BLOCKS) == 2
    scope = {}
    exec(BLOCKS[number], scope)
    lower, upper = scope.get("lower"), scope.get("upper")
    if number == 0:
        lower, upper = scope["predictions"].lower, scope["predictions"].upper
        frame = scope["model"].coverage_frame()
        assert set(frame["by"]) == {"predicted", "true"}
    assert len(lower) == 5
    assert (lower < upper).all()
