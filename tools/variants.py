"""Markdown table of sweeps that differ in one setting: validation beside test, mean ± sd.

Usage: ``python tools/variants.py ordinal=results/sts-b-dir/borealis average=...`` (name=folder).
"""

import json
import sys
from pathlib import Path

REGIONS = ("all", "many", "medium", "few")


def main() -> None:
    """Print a row for each folder, and one for vanilla where a folder has it."""
    print("| | validation MSE | test MSE all | many | medium | few | epochs | s a run |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for word in sys.argv[1:]:
        name, folder = word.split("=", 1)
        results = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
        for row in results["summary"]:
            called = name if row["method"] == "vanilla+ranksim" else f"{row['method']} ({name})"
            cells = [_spread(row["val"]["all"]["mse"])]
            cells += [_spread(row["test"][region]["mse"]) for region in REGIONS]
            cells += [f"{row['epochs_median']:.0f}", f"{row['seconds_median']:.0f}"]
            print(f"| {called} | {' | '.join(cells)} |")


def _spread(score: dict[str, float | None]) -> str:
    return f"{score['mean']:.3f} ± {score['sd']:.3f}"


if __name__ == "__main__":
    main()
