"""The whole table as a page shows it: one Markdown row a pair, and the picture of all pairs.

Usage: ``python tools/pairs.py results/sts-b-dir/all --out docs/img/sts-b-dir-pairs.svg`` (a PNG is
written beside it, the table goes to standard output).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from ranksim.evaluation.report.figures import pairs_figure

REGIONS = ("all", "many", "medium", "few")


def main() -> None:
    """Read the results, print the table, write SVG and PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder with results.json")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    results = json.loads((given.results / "results.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in results["summary"]}
    print("| pair | without | with | change, 95 % interval | seeds | many | medium | few | publ. |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows.values():
        if row.get("vs_without_ranksim") and row["vs_without_ranksim"]["test"]["all"]["mse"]["n"]:
            print(f"| {' | '.join(_cells(row, rows[row['versus']['method']]))} |")
    figure = pairs_figure(results)
    for suffix in (".svg", ".png"):
        figure.savefig(given.out.with_suffix(suffix), dpi=160)
    plt.close(figure)


def _cells(row: dict[str, Any], base: dict[str, Any]) -> list[str]:
    effect = row["vs_without_ranksim"]["test"]["all"]["mse"]
    same = f" (= {base['alias_of']})" if base.get("alias_of") else ""
    before = effect["mean"] / effect["relative"]
    interval = "one seed"
    if effect["low"] is not None:
        interval = f"{effect['low'] / before:+.1%} … {effect['high'] / before:+.1%}"
        if effect["low"] * effect["high"] > 0:
            interval = f"**{interval}**"
    published = "–"
    if row["published"] and base["published"]:
        change = row["published"]["mse"]["all"] / base["published"]["mse"]["all"] - 1
        published = f"{change:+.1%}"
    changes = [row["vs_without_ranksim"]["test"][region]["mse"]["relative"] for region in REGIONS]
    return [
        f"`{base['method']}`{same}",
        *(f"{r['test']['all']['mse']['mean']:.3f}" for r in (base, row)),
        f"{effect['relative']:+.1%} ({interval})",
        f"{effect['better']}/{effect['n']}",
        *(f"{change:+.1%}" for change in changes[1:]),
        published,
    ]


if __name__ == "__main__":
    main()
