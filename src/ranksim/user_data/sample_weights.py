"""Sample weights from a column of user data."""

from __future__ import annotations

import numpy as np

from ranksim._utils.formatting import format_compact
from ranksim.data.data_report import DataReport
from ranksim.data.splitting import Split
from ranksim.data.table import Floats, Ints, Table, read_labels
from ranksim.exceptions import DataError


def read_sample_weights(table: Table, name: str, rows: Ints) -> Floats:
    """Read the weights of the samples in some rows of a table, at least 0 each.

    Raises:
        DataError: a weight is missing, negative or not a finite number; the lines are named.
    """
    samples = table.take(rows)
    weights = read_labels(samples, name)
    samples.raise_for_rows(
        np.flatnonzero(weights < 0).tolist(),
        f"column {name!r} contains a negative weight",
        "give each sample a weight of at least 0",
    )
    return weights


def drop_weightless(
    split: Split, weights: Floats, table: Table, name: str
) -> tuple[Split, DataReport]:
    """Remove training samples of weight 0; return the split and a report.

    Raises:
        DataError: no training sample has a weight above 0.
    """
    training = weights[split.train]
    positive = training[training > 0]
    if len(positive) == 0:
        raise DataError(
            f"{table.name} has no training sample with a weight above 0 in column {name!r}: "
            "correct the column, or remove --weights."
        )
    text = f"column {name!r}, {format_compact(positive.min())} to {format_compact(positive.max())}"
    if n_dropped := len(training) - len(positive):
        text += f"; {n_dropped:,} training samples of weight 0 are left out"
    report = DataReport(notes={"Weights": f"{text}; scores are not weighted"})
    return split._replace(train=split.train[training > 0]), report
