"""Part 1: the label distribution, its regions and what is never seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranksim._utils.formatting import format_percent
from ranksim.evaluation.report.figures.labels import labels_figure
from ranksim.evaluation.report.page.parts import DataTable, Section, count, format_number, listed
from ranksim.evaluation.report.page.sweep import Sweep, commands
from ranksim.imbalance.label_range import parse_ranges

_TITLE = "What training sees"


def labels_part(sweep: Sweep) -> Section:
    """The picture, the shares of the regions, the runs of bins without a training sample."""
    labels = sweep.labels
    if labels is None:
        return Section(
            "labels",
            _TITLE,
            (),
            missing="This results.json holds no label distribution: it is of an earlier version. "
            "The same command in a new folder makes one that holds all seven parts:",
            commands=commands([sweep]),
        )
    edges, train, test = sweep.edges, np.asarray(labels["train"]), np.asarray(labels["test"])
    never = _runs_of(train == 0)
    dropped = [
        (text, each.low, each.high) for text in labels["dropped"] for each in parse_ranges(text)
    ]
    sheet = DataTable(
        "labels",
        "Samples in each bin",
        ("from", "to", "training samples", "test samples", "region"),
        [
            (
                float(edges[k]),
                float(edges[k + 1]),
                int(train[k]),
                int(test[k]),
                labels["regions"][k] + (", never seen" if train[k] == 0 else ""),
            )
            for k in range(len(train))
        ],
    )
    spans = [(float(edges[a]), float(edges[b])) for a, b in never]
    return Section(
        "labels",
        _TITLE,
        _told(sweep, labels, train, test, spans),
        (labels_figure(labels, dropped, spans),),
        sheets=(sheet,),
        note=_rule(labels),
    )


def _told(sweep: Sweep, labels: Any, train: Any, test: Any, never: Any) -> list[str]:
    seen = train[train > 0]
    if not len(seen):
        return ["There is no training sample in any bin."]
    edges = sweep.edges
    top = int(train.argmax())
    told = [
        f"{count(int(train.sum()), 'training label')}, densest near "
        f"{format_number(float(edges[top : top + 2].mean()))}: the fullest bin holds {seen.max():,} "
        f"samples, the median one {int(np.median(seen)):,}, the rarest {seen.min():,}."
    ]
    few = np.array([region == "few" for region in labels["regions"]])
    if few.any() and test.sum():
        told.append(
            f"Few-shot bins hold {format_percent(train[few].sum() / train.sum(), '')} of the training "
            f"samples and {format_percent(test[few].sum() / test.sum(), '')} of the test samples."
        )
    blind = int(test[train == 0].sum())
    if labels["dropped"]:
        told.append(f"Training was kept from {listed(labels['dropped'])}.")
    if blind:
        places = listed((f"{format_number(a)} to {format_number(b)}" for a, b in never), 3)
        told.append(
            f"{count(blind, 'test sample')} of {int(test.sum()):,} "
            f"{'lies' if blind == 1 else 'lie'} in bins that training never saw ({places})."
        )
    else:
        told.append("Every test sample lies in a bin that training has seen.")
    return told


def _rule(labels: Any) -> str:
    if labels["many"] is None or labels["few"] is None:
        return "Which bins are many-, medium- and few-shot follows the published list."
    return (
        f"Many-shot: more than {labels['many']:,} training samples in a bin; few-shot: fewer "
        f"than {labels['few']:,}; medium-shot: between."
    )


def _runs_of(mask: Any) -> list[tuple[int, int]]:
    """From and behind each run of true values."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(int)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]
