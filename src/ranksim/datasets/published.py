"""The published tables: 32 methods each."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

_AGES = "published: as printed in the RankSim paper, for ResNet-50 from scratch at 224 pixels"
# what a reader must know to set our figures beside the published ones
NOTES = {
    "agedb-dir": _AGES,
    "imdb-wiki-dir": f"{_AGES}; whether this split is theirs cannot be verified",
    "sts-b-dir": "published: as printed in the RankSim paper, for two layers of 1,500 over GloVe "
    "840B.300d",
}

PublishedTable = dict[str, dict[str, dict[str, float]]]


@cache
def published_table(benchmark: str) -> PublishedTable:
    """``{method: {metric: {region: value}}}`` of a benchmark; empty where none was published.

    Values stand as printed: STS-B-DIR MSE and Pearson in per cent, ages MAE and GM in years.

    Source: Gong, Mori, Tung (ICML 2022), tables of the three benchmarks.

    Example:
        >>> published_table("sts-b-dir")["vanilla+ranksim"]["mse"]["few"]
        0.705
    """
    file = resources.files("ranksim.datasets") / "published" / f"{benchmark}.csv"
    if not file.is_file():
        return {}
    table: PublishedTable = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        cells: dict[str, dict[str, float]] = {}
        for column, value in row.items():
            if column != "method":
                metric, region = column.split("_")
                cells.setdefault(metric, {})[region] = float(value)
        table[row["method"]] = cells
    return table
