"""Summarize the study of RankSim's mechanism as tables and a picture.

    python -m benchmarks.mechanism.report --write

fills the tables of docs/mechanism.md from results/mechanism/runs.json and draws its picture.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.mechanism.__main__ import PERTURBATIONS, RELATIVE, RUNS, WEIGHTS

PAGE, PICTURE = Path("docs/mechanism.md"), Path("docs/img/mechanism.svg")
_BLOCK = re.compile(r"(<!-- (grid|variants|chosen) -->\n).*?(<!-- end -->)", re.DOTALL)
Runs = Mapping[str, Sequence[Mapping[str, Any]]]  # by variant, of one task
PUBLISHED = {"relative": False, "annealed": False, "control": "", "centered": False,
             "before_relu": False}  # fmt: skip


def read_runs(path: Path = RUNS) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the records by task and variant, in order of seeds; "null" is vanilla."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        runs[record["task"]][json.dumps(record["term"])].append(record)
    for variants in runs.values():
        for records in variants.values():
            records.sort(key=lambda record: record["seed"])
    return runs


def list_variants(runs: Runs, **fields: Any) -> list[str]:
    """Return the variants of RankSim whose fields have these values."""
    chosen = []
    for key in runs:
        term = json.loads(key)
        if term is not None and all(term[name] == value for name, value in fields.items()):
            chosen.append(key)
    return chosen


def choose_best(runs: Runs, variants: Sequence[str]) -> str:
    """Return the variant with the lowest mean validation error."""
    return min(variants, key=lambda key: float(np.mean([run["val"] for run in runs[key]])))


def compare(runs: Runs, variant: str, score: str) -> tuple[float, float]:
    """Return the mean change from vanilla with the same seeds, and half its 95 % interval.

    Errors are compared in percent, agreements as differences; the interval is Student's over seeds.
    """
    plain = {run["seed"]: run[score] for run in runs["null"]}
    is_error = not score.endswith("agreement")
    changes = [
        100 * (run[score] / plain[run["seed"]] - 1) if is_error else run[score] - plain[run["seed"]]
        for run in runs[variant]
    ]
    half = stats.t.ppf(0.975, len(changes) - 1) * stats.sem(changes)
    return float(np.mean(changes)), float(half)


def format_change(change: tuple[float, float], *, is_error: bool) -> str:
    """Format a change with its interval; bold if the interval excludes zero."""
    mean, half = change
    unit, digits = (" %", 1) if is_error else ("", 2)
    text = f"{mean:+.{digits}f}{unit} (±{half:.{digits}f})".replace("-", "−")
    return f"**{text}**" if abs(mean) > half else text


def list_grid(runs: Mapping[str, Runs]) -> Iterator[str]:
    """Return the lines of the table of perturbations and weights."""
    yield "| data | γλ | " + " | ".join(f"weight {weight:g}" for weight in WEIGHTS) + " |"
    yield "| --- | --- |" + " --- |" * len(WEIGHTS)
    for task, variants in runs.items():
        for relative, values in ((False, PERTURBATIONS), (True, RELATIVE)):
            for value in values:
                cells = []
                for weight in WEIGHTS:
                    fields = PUBLISHED | {"relative": relative, "perturbation": value}
                    (key,) = list_variants(variants, weight=weight, **fields)
                    error, _ = compare(variants, key, "test")
                    agreement = np.mean([run["test_agreement"] for run in variants[key]])
                    cells.append(f"{error:+.1f} %, {agreement:.2f}".replace("-", "−"))
                name = f"{value:g} σ" if relative else f"{value:g}"
                yield f"| {task} | {name} | {' | '.join(cells)} |"


def list_variant_rows(runs: Mapping[str, Runs]) -> Iterator[str]:
    """Return the lines of the table of controls and other features, at equal weights."""
    yield "| data | variant | weight | error | rarest tenth | agreement, training | test |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for task, variants in runs.items():
        plain = variants["null"]
        scores = [np.mean([run[f"{part}_agreement"] for run in plain]) for part in PARTS]
        yield f"| {task} | vanilla | | | | {scores[0]:.2f} | {scores[1]:.2f} |"
        for name, fields in VARIANTS.items():
            for key in list_variants(variants, **(PUBLISHED | fields)):
                weight = json.loads(key)["weight"]
                if weight != SHOWN_WEIGHT:
                    continue
                yield _variant_row(task, name, variants, key)


def list_chosen(runs: Mapping[str, Runs]) -> Iterator[str]:
    """Return the lines of the table of settings chosen by validation."""
    yield "| data | family | chosen | error | rarest tenth | agreement, training | test |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    families: dict[str, Callable[[Runs], list[str]]] = {
        "published": lambda v: list_variants(v, **PUBLISHED),
        "relative": lambda v: list_variants(v, **PUBLISHED | {"relative": True}),
        "permuted labels": lambda v: list_variants(v, control="permuted labels"),
        "random ranks": lambda v: list_variants(v, control="random ranks"),
        "noise": lambda v: list_variants(v, control="noise"),
    }
    for task, variants in runs.items():
        for name, find in families.items():
            key = choose_best(variants, find(variants))
            term = json.loads(key)
            unit = " σ" if term["relative"] else ""
            setting = f"weight {term['weight']:g}, {term['perturbation']:g}{unit}"
            cells = _format_scores(variants, key)
            yield f"| {task} | {name} | {setting} | {' | '.join(cells)} |"


PARTS = ("train", "test")
SHOWN_WEIGHT = 0.1
_TWO = {"perturbation": 2.0}
_ONE = {"perturbation": 1.0, "relative": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "published, γλ = 2": _TWO,
    "permuted labels": {**_TWO, "control": "permuted labels"},
    "random ranks": {**_TWO, "control": "random ranks"},
    "noise of the same norm": {**_TWO, "control": "noise"},
    "centered features": {**_TWO, "centered": True},
    "before the last ReLU": {**_TWO, "before_relu": True},
    "relative, 1 σ": _ONE,
    "relative, annealed": {**_ONE, "annealed": True},
    "relative, centered": {**_ONE, "centered": True},
    "relative, permuted labels": {**_ONE, "control": "permuted labels"},
    "relative, random ranks": {**_ONE, "control": "random ranks"},
    "relative, noise": {**_ONE, "control": "noise"},
}


def _variant_row(task: str, name: str, variants: Runs, key: str) -> str:
    weight = json.loads(key)["weight"]
    return f"| {task} | {name} | {weight:g} | {' | '.join(_format_scores(variants, key))} |"


def _format_scores(variants: Runs, key: str) -> list[str]:
    errors = [
        format_change(compare(variants, key, score), is_error=True) for score in ("test", "rare")
    ]
    agreements = [f"{part}_agreement" for part in PARTS]
    return errors + [
        format_change(compare(variants, key, score), is_error=False) for score in agreements
    ]


def draw(runs: Mapping[str, Runs], path: Path) -> None:
    """Draw agreement and error over the perturbation for each weight."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "ranksim"
    figure, axes = plt.subplots(2, len(runs), figsize=(4 * len(runs), 6), sharex=True)
    colors = plt.get_cmap("viridis")(np.linspace(0.15, 0.8, len(WEIGHTS)))
    for column, (task, variants) in zip(axes.T, runs.items(), strict=True):
        for weight, color in zip(WEIGHTS, colors, strict=True):
            keys = [
                list_variants(variants, weight=weight, **PUBLISHED, perturbation=value)[0]
                for value in PERTURBATIONS
            ]
            agreements = [np.mean([run["test_agreement"] for run in variants[k]]) for k in keys]
            changes = [compare(variants, key, "test") for key in keys]
            column[0].plot(PERTURBATIONS, agreements, "o-", color=color, label=f"weight {weight:g}")
            means, halves = np.transpose(changes)
            column[1].errorbar(PERTURBATIONS, means, halves, fmt="o-", color=color, capsize=2)
        plain = np.mean([run["test_agreement"] for run in variants["null"]])
        column[0].axhline(plain, color="gray", linestyle="--", label="vanilla")
        column[1].axhline(0, color="gray", linestyle="--")
        column[0].set_title(task, fontsize=10)
        column[1].set_xlabel("perturbation γλ")
        column[1].set_xscale("log")
    axes[0, 0].set_ylabel("agreement of ranks, test")
    axes[1, 0].set_ylabel("change of the error, %")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def fill(text: str, runs: Mapping[str, Runs]) -> str:
    """Return the page with its tables filled in."""
    tables = {"grid": list_grid, "variants": list_variant_rows, "chosen": list_chosen}

    def replace(match: re.Match[str]) -> str:
        return match[1] + "\n".join(tables[match[2]](runs)) + "\n" + match[3]

    return _BLOCK.sub(replace, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page and its picture")
    arguments = parser.parse_args()
    runs = read_runs()
    if not arguments.write:
        print("\n".join(list_chosen(runs)))
        return
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), runs), encoding="utf-8")
    draw(runs, PICTURE)


if __name__ == "__main__":
    main()
