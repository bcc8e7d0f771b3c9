"""Rows of the table of scores by region of one model, for the terminal, model cards and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ranksim._utils.formatting import METRIC_TITLES, choose_digits
from ranksim.evaluation.views import title_of_all
from ranksim.metrics import REGION_NAMES

Scores = Mapping[str, Mapping[str, Any]]  # region, then metric
BALANCED_TITLE = "balanced bins"  # heading of the mean over label bins
ABOUT_BALANCED = f"{BALANCED_TITLE}: each label bin with test samples counts the same."


def list_region_rows(
    scores: Scores,
    metrics: Sequence[str],
    test_set: str | None,
    format_name: Callable[[str], str] = str,
) -> Iterator[tuple[str, ...]]:
    """Yield the heading, the number of samples and the formatted scores of each region.

    The mean over label bins follows all samples, if the scores have it. Regions without samples
    are left out, and so is ``seen`` if it equals ``all``.

    Args:
        scores: by region and metric.
        metrics: of the columns.
        test_set: how the test samples were chosen (see :class:`Benchmark`), if it is known.
        format_name: formats the name of a region of the user.
    """
    digits = [choose_digits(metric, [scores["all"][metric]]) for metric in metrics]
    for region, values in scores.items():
        if not values["n"] or (region == "seen" and not scores["zero"]["n"]):
            continue
        title = region if region in REGION_NAMES else format_name(region)
        title = title_of_all(test_set) if region == "all" else title
        yield title, f"{values['n']:,}", *_format(map(values.get, metrics), digits, "–")
        if region == "all" and (balanced := find_balanced(scores, metrics)) is not None:
            yield BALANCED_TITLE, "", *_format(balanced, digits, "")


def find_balanced(scores: Scores, metrics: Sequence[str]) -> list[Any] | None:
    """Return the balanced score of each metric, the mean over label bins; None where it has none.

    The result is None if no metric has one, as in results of earlier versions.

    Example:
        >>> find_balanced({"all": {"mae": 2.0, "balanced_mae": 3.0}}, ("mae", "pearson"))
        [3.0, None]
    """
    values = [scores["all"].get(f"balanced_{metric}") for metric in metrics]
    return values if any(value is not None for value in values) else None


def describe_scores(scores: Mapping[str, Any], metrics: Sequence[str]) -> str:
    """Return a sentence with the scores of all samples that are there; else an empty string.

    Example:
        >>> describe_scores({"mae": 2.0, "ccc": 0.8137, "sera": None}, ("ccc", "sera"))
        'Over all samples: CCC 0.814.'
    """
    parts = [
        f"{METRIC_TITLES[name][0]} {scores[name]:.{choose_digits(name, [scores[name]])}f}"
        for name in metrics
        if scores.get(name) is not None
    ]
    return f"Over all samples: {', '.join(parts)}." if parts else ""


def _format(
    values: Iterator[Any] | list[Any], digits: Sequence[int], missing: str
) -> Iterator[str]:
    for value, places in zip(values, digits, strict=True):
        yield missing if value is None else f"{value:.{places}f}"
