"""Tables: boosted trees and networks, plain and with weights, on the same split.

Run it with ``python examples/tables.py``.
"""

from __future__ import annotations

import textwrap

import numpy as np

import ranksim


def houses(count: int, seed: int = 0) -> dict[str, list[float] | list[str]]:
    """Generate houses as columns; few of them are expensive."""
    draw = np.random.default_rng(seed)
    area = draw.gamma(6.0, 20.0, count).round()
    rooms = np.clip((area / 28 + draw.normal(0, 0.7, count)).round(), 1, None)
    place = draw.choice(["country", "town", "lake"], count, p=[0.5, 0.42, 0.08])
    factor = np.select([place == "lake", place == "town"], [2.6, 1.3], 1.0)
    price = (area**1.2 * factor * np.exp(draw.normal(0, 0.15, count))).round()
    return {
        "area": area.tolist(),
        "rooms": rooms.tolist(),
        "place": place.tolist(),
        "price": price.tolist(),
    }


def main(count: int = 1500, epochs: int | None = None) -> None:
    """Inspect the labels, compare four rows over three seeds, and print what it shows."""
    data = houses(count)
    report = ranksim.inspect(data, target="price")
    print(textwrap.fill(report.conclusion, 100))
    result = ranksim.compare(
        data,
        target="price",
        methods=["vanilla", "sqinv", "trees", "trees+sqinv"],
        seeds=3,
        max_epochs=epochs,
        set={"hidden": 64},
        accelerator="cpu",
        progress=False,
    )
    scores = result.to_frame().groupby(["method", "region"], sort=False)["mae"].mean().unstack()
    print(scores[["all", "many", "medium", "few"]].round(1).to_string())
    print(textwrap.fill(result.conclusion, 100))


if __name__ == "__main__":
    main()
