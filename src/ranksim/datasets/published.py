"""Published results of 32 methods on three benchmarks, as printed in the RankSim paper."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

_AGES = "published: as printed in the RankSim paper, for ResNet-50 from scratch at 224 pixels"
# conditions of the published figures, shown beside them
NOTES = {
    "agedb-dir": f"{_AGES}; all 544 persons of the test set, and so all of its 2,140 images, have "
    "other images in the training set",
    "imdb-wiki-dir": f"{_AGES}; whether this split is theirs cannot be verified",
    "sts-b-dir": "published: as printed in the RankSim paper, for two layers of 1,500 over GloVe "
    "840B.300d",
}

PublishedTable = dict[str, dict[str, dict[str, float]]]


@cache
def published_table(benchmark: str) -> PublishedTable:
    """Return the published results, ``{method: {metric: {region: value}}}``, of a benchmark.

    Values are as printed: STS-B-DIR MSE and Pearson in percent, ages MAE and GM in years.

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), tables of the three benchmarks.
    """
    file = resources.files("ranksim.datasets") / "published" / f"{benchmark}.csv"
    if not file.is_file():
        return {}
    table: PublishedTable = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        scores = table.setdefault(row.pop("method"), {})
        for column, value in row.items():
            metric, region = column.split("_")
            scores.setdefault(metric, {})[region] = float(value)
    return table
