"""The card of a model: what it predicts, how it was made, and where it has seen little."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, choose_digits
from ranksim.inference.density import regions_of
from ranksim.metrics import REGION_NAMES, ShotRegions

_ROWS, _BAR, _RANGES = 20, 24, 12  # most rows, width of the fullest one, most ranges that are named
_READS = {
    "table": "an MLP over columns of a table",
    "text": "a BiLSTM over word vectors",
    "sentences": "a pretrained sentence encoder",
    "images": "a vision model over images",
    "series": "a network over windows of a series",
}


def model_card(
    config: Mapping[str, Any], metrics: Mapping[str, Any], shown: Sequence[str], name: str
) -> str:
    """The card of a model as Markdown.

    Args:
        config: the content of its ``config.json``.
        metrics: that of its ``metrics.json``.
        shown: the metrics that stand in the card.
        name: of its folder.
    """
    data, regions = config["data"], regions_of(config["density"])
    train, val, test = data["counts"]
    target, inputs = _code(config["target"]), ", ".join(map(_code, data["inputs"]))
    tested = metrics["test"]
    return f"""# {name}

Predicts {target} from {inputs}: {_READS[config["kind"]]}, trained with the method
`{config["method"]}` on {_code(data["name"])} (SHA-256 `{data["sha256"][:16]}`; {train:,} training,
{val:,} validation and {test:,} test samples).

## How it was trained

    {" ".join(config["command"].split())}

The weights are those of epoch {metrics["best_epoch"]} of {metrics["epochs"]}, which had the lowest
validation {config["recipe"]["monitor"].upper()}. Seed {config["seed"]}; ranksim
{config["ranksim"]}, torch {config["versions"]["torch"]}. All settings are in `config.json`.

## What it has seen

Training samples by their {target}; more than {config["density"]["many"]:,} in a label bin are
many-shot, fewer than {config["density"]["few"]:,} few-shot.

{_distribution(regions)}

{_little(regions)}

## How well it predicts

On test samples, by the region of their label; further metrics are in `metrics.json`.

{_scores(tested, shown)}

These are figures of one training and one test set: another seed gives others, and
`ranksim compare` says how much others.

## How to use it

    ranksim predict {name} DATA --out predictions.csv

```python
import ranksim

model = ranksim.load_model("{name}")
made = model.predict("data.csv")  # or columns by their names, or a data frame
made.prediction, made.region, made.zero_shot
```

## Limits

- It knows the label range above and nothing beyond; what it reads should come from where the
  training data came from.
- `region` and `zero_shot` of a prediction are those of the predicted label, which may be wrong.
- The licence of the model follows from that of its data, and is left to who fitted it.
"""


def _code(text: str) -> str:
    """Any text as it is: on one line, in a code span that it cannot leave."""
    plain = " ".join(text.replace("`", "'").split())
    return f"`{plain}`"


def _number(edge: float) -> str:
    return f"{float(str(np.float32(edge))):.6g}"


def _distribution(regions: ShotRegions) -> str:
    """Label bins, merged to at most twenty rows, their training samples, and a bar."""
    edges, counts = regions.bins.edges, regions.counts
    width = math.ceil(len(counts) / _ROWS)
    first = np.arange(0, len(counts), width)
    last = np.append(first[1:], len(counts))
    sums = np.add.reduceat(counts, first)
    rows = []
    for low, high, count in zip(first, last, sums, strict=True):
        within = f"{_number(edges[low])} to {_number(edges[high])}"
        bar = "▇" * math.ceil(_BAR * count / max(sums.max(), 1))
        names = dict.fromkeys(regions.names[low:high])
        told = "never seen" if count == 0 else ", ".join(names)
        rows.append(f"| {within} | {count:,} | {told} | {bar} |")
    return "\n".join(["| label | samples | region | |", "| ---: | ---: | --- | --- |", *rows])


def _little(regions: ShotRegions) -> str:
    """Where predictions are extrapolation."""
    counts, few = regions.counts, np.array([name == "few" for name in regions.names])
    never, rare = _ranges(regions, counts == 0), _ranges(regions, few & (counts > 0))
    told = [f"It has seen no label in {never}: predictions there are extrapolation."] * bool(never)
    told += [f"It has seen few labels in {rare}: predictions there rest on little."] * bool(rare)
    ends = f"{_number(regions.bins.edges[0])} and above {_number(regions.bins.edges[-1])}"
    return "\n".join([*told, f"Below {ends} it has seen nothing."])


def _ranges(regions: ShotRegions, where: np.ndarray) -> str:
    """Runs of bins as ranges of labels."""
    bins, edges = np.flatnonzero(where), regions.bins.edges
    runs = np.split(bins, np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    told = [f"{_number(edges[run[0]])} to {_number(edges[run[-1] + 1])}" for run in runs]
    more = f" and {len(told) - _RANGES} further ranges" if len(told) > _RANGES else ""
    return ", ".join(told[:_RANGES]) + more


def _scores(scores: Mapping[str, Any], shown: Sequence[str]) -> str:
    digits = {metric: choose_digits(metric, [scores["all"][metric]]) for metric in shown}
    lines = [f"| region | samples | {' | '.join(METRIC_TITLES[metric][0] for metric in shown)} |"]
    lines.append("| --- | ---: |" + " ---: |" * len(shown))
    for region, found in scores.items():
        if found["n"] and (region != "seen" or scores["zero"]["n"]):
            told = (
                "–" if found[metric] is None else f"{found[metric]:.{digits[metric]}f}"
                for metric in shown
            )
            name = region if region in REGION_NAMES else _code(region).replace("|", "\\|")
            lines.append(f"| {name} | {found['n']:,} | {' | '.join(told)} |")
    return "\n".join(lines)
