"""Reading the page: what a finished comparison says, from its ``results.json``.

The comparison is one of this repository's: the age of abalones, whose old ones are rare. Run it
with ``python examples/reading.py [PICTURE]``.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from matplotlib.figure import Figure

import ranksim

FOLDER = Path(__file__).resolve().parents[1] / "results/tables/abalone"


def main(picture: str | None = None) -> None:
    """Print the conclusion, the scores, and one interval; draw the errors over the labels."""
    result = ranksim.Comparison.load(FOLDER)
    print(textwrap.fill(f"1. The conclusion: {result.conclusion}", 100))

    scores = result.to_frame()
    means = scores.groupby(["method", "region"], sort=False)["mae"].mean().unstack()
    print("2. MAE by region, the mean over seeds:")
    print(means[["all", "many", "medium", "few"]].round(2).to_string())

    rows = {row["method"]: row for row in result.results["summary"]}
    effect = rows["sqinv"]["vs_baseline"]["test"]["few"]["mae"]
    low, high = effect["ci_total"]
    text = (
        f"3. sqinv changes the few-shot MAE by {effect['mean']:.2f} rings, 95 % interval {low:.2f} "
        f"to {high:.2f}, which excludes zero: no accident of seeds or test samples."
    )
    print(textwrap.fill(text, 100))
    effect = rows["sqinv"]["vs_baseline"]["test"]["many"]["mae"]
    print(f"4. Its price: {effect['mean']:+.2f} rings for common ages.")
    print(f"5. To use: {result.best}")
    if picture is not None:
        figure = Figure(figsize=(7, 3))
        result.plot_errors(figure.subplots())
        figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
