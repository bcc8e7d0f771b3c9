"""Write the model card: prediction target, training, scores, and ranges with few labels."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, choose_digits, format_percent
from ranksim.data.data_report import format_data_report
from ranksim.evaluation.region_table import list_region_rows
from ranksim.evaluation.views import explain_test_set
from ranksim.exceptions import require_optional
from ranksim.inference.held_out import describe_scores, list_member_scores
from ranksim.inference.saved_model import density_from_dict
from ranksim.metrics import REGION_NAMES, ShotRegions

_MAX_ROWS, _BAR_LENGTH, _MAX_RANGES = 20, 24, 12
_NETWORKS = {
    "table": "an MLP over columns of a table",
    "text": "a BiLSTM over word vectors",
    "sentences": "a pretrained sentence encoder",
    "images": "a vision model over images",
    "series": "a network over windows of a series",
}


def model_card(
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    metric_names: Sequence[str],
    name: str,
    estimator: str = "",
) -> str:
    """Return a Markdown model card from the content of ``config.json`` and ``metrics.json``.

    ``estimator`` describes the estimator, if the model is no network.
    """
    regions = density_from_dict(config["density"])
    few = np.array([region == "few" for region in regions.names])
    card: str = _load_template().render(
        name=name,
        config=config,
        metrics=metrics,
        data=config["data"],
        network=estimator or _describe_network(config),
        is_network=not estimator,
        has_samples=config.get("technique", {}).get("estimator") == "knn",
        inputs=", ".join(map(_code, config["data"]["inputs"])),
        code=_code,
        distribution=list(_distribution_rows(regions)),
        empty_ranges=_label_ranges(regions, regions.counts == 0),
        rare_ranges=_label_ranges(regions, few & (regions.counts > 0)),
        lowest=_number(regions.bins.edges[0]),
        highest=_number(regions.bins.edges[-1]),
        titles=[METRIC_TITLES[metric][0] for metric in metric_names],
        scores=list(
            list_region_rows(metrics["test"], metric_names, config.get("test_set"), _table_code)
        ),
        about_mean=explain_test_set(config.get("test_set")),
        members=list(_member_rows(metrics, metric_names)),
        about_scores=describe_scores(config),
        about_training=_describe_training(config, metrics),
        intervals=list(_coverage_rows(metrics)),
        level=format_percent(metrics["coverage"]["level"], "", 0) if "coverage" in metrics else "",
        coverage=metrics.get("coverage", {}),
        data_report=format_data_report(config.get("data_report", {})),
    )
    return card


@functools.cache
def _load_template() -> Any:
    """Return the template; compiling it takes a tenth of a second."""
    jinja2 = require_optional("jinja2", "train")
    template = (resources.files(__package__) / "card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template)


def _describe_network(config: Mapping[str, Any]) -> str:
    """Describe the network of a model by its kind of data, or by the function that builds it."""
    if (network := config.get("network")) is None:
        return _NETWORKS[config["kind"]]
    return f"a network that {_code(network['module'] + ':' + network['name'])} builds"


def _describe_training(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Describe how long a model of several members, or one of all rows, was trained; or ``""``."""
    sentences, members = [], config.get("members", ())
    if members:
        first, last = members[0]["seed"], members[-1]["seed"]
        seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
        methods = dict.fromkeys(_code(each["method"]) for each in members if "method" in each)
        names = f" ({' and '.join(methods)})" if methods else ""
        sentences.append(f"A prediction is the mean of {len(members)} members{names}, of {seeds}.")
    lengths = []
    for training in metrics.get("refit", ()):
        parts = training.get("members", [training])
        values = training.get("choices") or [each.get("limits", {}) for each in parts]
        words = [f"{name} {value:g}" for each in values for name, value in each.items() if value]
        lengths.append(" and ".join(words))
    if "refit" in config:
        chosen = (
            "chosen by the validation samples of the folds"
            if "folds" in config
            else ("chosen by the validation samples before")
        )
        text = "Trained on all samples without early stopping"
        if any(lengths):
            text += f", for the length {chosen}: {', '.join(dict.fromkeys(lengths))}"
        sentences.append(f"{text}.")
    return " ".join(sentences)


def _code(text: str) -> str:
    """Format text as a Markdown code span on one line."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _table_code(text: str) -> str:
    """Format text as a Markdown code span in a table cell."""
    return _code(text).replace("|", "\\|")


def _number(edge: float) -> str:
    """Format a bin edge with six significant digits."""
    return f"{float(str(np.float32(edge))):.6g}"


def _distribution_rows(regions: ShotRegions) -> Iterator[tuple[str, ...]]:
    """Yield table rows of the label histogram: label range, count, regions and bar."""
    edges, counts = regions.bins.edges, regions.counts
    starts = np.arange(0, len(counts), math.ceil(len(counts) / _MAX_ROWS))
    ends = np.append(starts[1:], len(counts))
    sums = np.add.reduceat(counts, starts)
    for low, high, count in zip(starts, ends, sums, strict=True):
        bar = "▇" * math.ceil(_BAR_LENGTH * count / max(sums.max(), 1))
        region = ", ".join(dict.fromkeys(regions.names[low:high])) if count else "no samples"
        yield f"{_number(edges[low])} to {_number(edges[high])}", f"{count:,}", region, bar


def _label_ranges(regions: ShotRegions, selected: np.ndarray) -> str:
    """Format the selected bins as label ranges; adjacent bins are merged."""
    bins, edges = np.flatnonzero(selected), regions.bins.edges
    runs = np.split(bins, np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    ranges = [f"{_number(edges[run[0]])} to {_number(edges[run[-1] + 1])}" for run in runs]
    n_more = len(ranges) - _MAX_RANGES
    return ", ".join(ranges[:_MAX_RANGES]) + (f" and {n_more} more ranges" if n_more > 0 else "")


def _coverage_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield table rows of the intervals: coverage and mean width by predicted and true region."""
    scores = metrics["coverage"]["ways"]["region"] if "coverage" in metrics else {"predicted": {}}
    for region, cell in scores["predicted"].items():
        true = scores["true"].get(region)
        title = region if region in REGION_NAMES else _table_code(region)
        width = "infinite" if cell["width"] is None else f"{cell['width']:.4g}"
        shares = (
            "–" if each is None else format_percent(each["coverage"], "", 1)
            for each in (cell, true)
        )
        yield title, *shares, width


def _member_rows(metrics: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield table rows of the members and their mean: overall validation and test scores."""
    rows = list_member_scores(metrics)
    columns = [
        _format_column(name, [scores[part][name] for _, scores in rows])
        for part in ("val", "test")
        for name in names
    ]
    yield from zip([title for title, _ in rows], *columns, strict=True)


def _format_column(metric: str, values: Sequence[float | None]) -> list[str]:
    """Format the scores of a column with equal decimals."""
    digits = choose_digits(metric, values)
    return ["–" if value is None else f"{value:.{digits}f}" for value in values]
