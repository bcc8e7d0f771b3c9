"""Time series: forecasts of a level that is rarely high.

The level of a river is measured every hour; it rises for a day after rain. Run it with
``python examples/series.py``.
"""

from __future__ import annotations

import textwrap
from datetime import datetime, timedelta

import numpy as np

import ranksim


def river(hours: int, seed: int = 0) -> dict[str, list[object]]:
    """Generate hourly levels in centimeters and rain in millimeters, as columns."""
    draw = np.random.default_rng(seed)
    rain = np.where(draw.random(hours) < 0.03, draw.gamma(2.0, 6.0, hours), 0.0).round(1)
    level = np.empty(hours)
    water = 0.0
    for k in range(hours):
        water = 0.93 * water + rain[max(k - 4, 0)]
        level[k] = 80 + 3 * water + draw.normal(0, 2)
    start = datetime(2026, 1, 1)
    return {
        "time": [(start + timedelta(hours=k)).isoformat() for k in range(hours)],
        "level": level.round().tolist(),
        "rain": rain.tolist(),
    }


def main(hours: int = 2000, epochs: int = 6) -> None:
    """Compare forecasts three hours ahead, from the last twelve hours."""
    result = ranksim.compare(
        river(hours),
        target="level",
        time="time",
        window=12,
        horizon=3,
        methods=["vanilla", "sqinv", "trees", "last-value"],
        seeds=3,
        max_epochs=epochs,
        accelerator="cpu",
        progress=False,
    )
    scores = result.to_frame().groupby(["method", "region"], sort=False)["mae"].mean().unstack()
    print(scores[["all", "many", "medium", "few"]].round(2).to_string())
    print(textwrap.fill(result.conclusion, 100))


if __name__ == "__main__":
    main()
