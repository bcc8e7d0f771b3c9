"""The card of a model: what it predicts, how it was trained, and where labels were scarce."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, choose_digits
from ranksim.inference.density import density_from_dict
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
    config: Mapping[str, Any], metrics: Mapping[str, Any], names: Sequence[str], name: str
) -> str:
    """Return the card of a model as Markdown.

    Args:
        config: the content of its ``config.json``.
        metrics: the content of its ``metrics.json``.
        names: names of the metrics to report.
        name: name of its folder.
    """
    data, regions = config["data"], density_from_dict(config["density"])
    train, val, test = data["counts"]
    target, inputs = _code(config["target"]), ", ".join(map(_code, data["inputs"]))
    return f"""# {name}

Predicts {target} from {inputs}: {_NETWORKS[config["kind"]]}, trained with the method
`{config["method"]}` on {_code(data["name"])} (SHA-256 `{data["sha256"][:16]}`; {train:,} training,
{val:,} validation and {test:,} test samples).

## Training

    {" ".join(config["command"].split())}

The weights are those of epoch {metrics["best_epoch"]} of {metrics["epochs"]}, which had the lowest
validation {config["recipe"]["monitor"].upper()}. Seed {config["seed"]}; ranksim
{config["ranksim"]}, torch {config["versions"]["torch"]}. All settings are in `config.json`.

## Training labels

Training samples by their {target}; label bins with more than {config["density"]["many"]:,} samples
are many-shot, bins with fewer than {config["density"]["few"]:,} few-shot.

{_distribution(regions)}

{_scarce_ranges(regions)}

## Test scores

By the region of the label; further metrics are in `metrics.json`.

{_score_table(metrics["test"], names)}

These are the scores of one training on one test set. Other seeds give other scores; `ranksim
compare` estimates how much they vary.

## Usage

    ranksim predict {name} DATA --out predictions.csv

```python
import ranksim

model = ranksim.load_model("{name}")
predictions = model.predict("data.csv")  # or a dictionary of columns, or a data frame
predictions.preds, predictions.region, predictions.zero_shot
```

## Limits

- The model cannot predict labels outside the range above, and its inputs should come from the same
  source as the training data.
- `region` and `zero_shot` of a prediction refer to the predicted label, which may be wrong.
- The license of the model depends on that of its data and is the responsibility of its author.
"""


def _code(text: str) -> str:
    """Return text as a Markdown code span on one line."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _number(edge: float) -> str:
    """Return a bin edge with six digits."""
    return f"{float(str(np.float32(edge))):.6g}"


def _distribution(regions: ShotRegions) -> str:
    """Return a table of training counts by label, merged to at most twenty rows."""
    edges, counts = regions.bins.edges, regions.counts
    starts = np.arange(0, len(counts), math.ceil(len(counts) / _MAX_ROWS))
    ends = np.append(starts[1:], len(counts))
    sums = np.add.reduceat(counts, starts)
    lines = ["| label | samples | region | |", "| ---: | ---: | --- | --- |"]
    for low, high, count in zip(starts, ends, sums, strict=True):
        bar = "▇" * math.ceil(_BAR_LENGTH * count / max(sums.max(), 1))
        region = ", ".join(dict.fromkeys(regions.names[low:high])) if count else "no samples"
        span = f"{_number(edges[low])} to {_number(edges[high])}"
        lines.append(f"| {span} | {count:,} | {region} | {bar} |")
    return "\n".join(lines)


def _scarce_ranges(regions: ShotRegions) -> str:
    """Return sentences on the label ranges with few or no training samples."""
    counts, few = regions.counts, np.array([name == "few" for name in regions.names])
    empty, rare = _ranges(regions, counts == 0), _ranges(regions, few & (counts > 0))
    lines = []
    if empty:
        lines.append(f"No training label lies in {empty}: predictions there are extrapolation.")
    if rare:
        lines.append(f"Few training labels lie in {rare}: predictions there are unreliable.")
    low, high = _number(regions.bins.edges[0]), _number(regions.bins.edges[-1])
    return "\n".join([*lines, f"No training label lies below {low} or above {high}."])


def _ranges(regions: ShotRegions, selected: np.ndarray) -> str:
    """Return the selected bins as label ranges, adjacent bins joined."""
    bins, edges = np.flatnonzero(selected), regions.bins.edges
    runs = np.split(bins, np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    ranges = [f"{_number(edges[run[0]])} to {_number(edges[run[-1] + 1])}" for run in runs]
    n_more = len(ranges) - _MAX_RANGES
    return ", ".join(ranges[:_MAX_RANGES]) + (f" and {n_more} more ranges" if n_more > 0 else "")


def _score_table(scores: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return a table with one row per region and one column per metric."""
    digits = {metric: choose_digits(metric, [scores["all"][metric]]) for metric in names}
    lines = [f"| region | samples | {' | '.join(METRIC_TITLES[metric][0] for metric in names)} |"]
    lines.append("| --- | ---: |" + " ---: |" * len(names))
    for region, values in scores.items():
        if values["n"] and (region != "seen" or scores["zero"]["n"]):
            cells = " | ".join(
                "–" if values[metric] is None else f"{values[metric]:.{digits[metric]}f}"
                for metric in names
            )
            name = region if region in REGION_NAMES else _code(region).replace("|", "\\|")
            lines.append(f"| {name} | {values['n']:,} | {cells} |")
    return "\n".join(lines)
