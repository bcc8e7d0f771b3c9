"""``ranksim demo``: sentiment-dir in a short form, and what it shows in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ranksim._utils.formatting import MIN_SEEDS, format_percent
from ranksim.data import TextSamples
from ranksim.datasets import sentiment_dir
from ranksim.datasets.base import Benchmark
from ranksim.experiments.sweep_request import BenchRequest, run_benchmark
from ranksim.imbalance import LabelBins

SEEDS, EPOCHS = 2, 10
_BAR = 40  # characters


def demo(*, out: Path, jobs: int, data_dir: Path | None, as_json: bool = False) -> dict[str, Any]:
    """Show the imbalance, train with and without RankSim, and read the table."""
    console = Console(highlight=False, stderr=as_json)
    data = sentiment_dir.load(data_dir=data_dir)
    console.print(
        f"\n[bold]The data.[/] {len(data.train):,} sentences from tweets and product reviews, "
        "each rated by people from −4 (very negative) to 4 (very positive). Most feelings are "
        "mild; the strong ones, which matter most, are rare:\n"
    )
    console.print(_distribution(data))
    console.print(
        f"\n[bold]The comparison.[/] The same small network, {SEEDS} seeds, {EPOCHS} epochs each: "
        "plain MSE (vanilla), and MSE + RankSim, which asks that sentences with similar ratings "
        "have similar features.\n"
    )
    results = run_benchmark(
        BenchRequest(
            benchmark=sentiment_dir.NAME,
            options={"domains": ("tweets", "amazon")},
            methods="vanilla,vanilla+ranksim",
            seeds=str(SEEDS),
            jobs=jobs,
            out=out,
            data_dir=data_dir,
            max_epochs=EPOCHS,
        ),
        as_json=as_json,
    )
    console.print("\n[bold]How to read it.[/] " + reading(results))
    console.print(
        "\n[bold]In earnest:[/] .venv/bin/ranksim bench sentiment-dir --seeds 5 --jobs 2\n"
        "[bold]Beside published figures:[/] .venv/bin/ranksim bench sts-b-dir --seeds 5 --jobs 2"
    )
    return results


def reading(results: dict[str, Any]) -> str:
    """The table in words, with no more certainty than its seeds allow."""
    rows = {row["method"]: row for row in results["summary"]}
    plain = rows["vanilla"]["test"]
    if plain["all"]["mse"]["mean"] is None or "vanilla+ranksim" not in rows:
        return "Not enough runs ended well to say anything."
    parts = []
    if plain["many"]["mse"]["mean"] and plain["few"]["mse"]["mean"]:
        ratio = plain["few"]["mse"]["mean"] / plain["many"]["mse"]["mean"]
        parts.append(
            f"Without RankSim, the error on rare feelings (few-shot) is {ratio:.1f} times that on "
            "common ones (many-shot): that is what imbalance does."
        )
    effects = rows["vanilla+ranksim"]["vs_without_ranksim"]["test"]
    for region, called in (("all", "all sentences"), ("few", "rare feelings")):
        effect = effects[region]["mse"]
        if effect["mean"] is None:
            continue
        change = "lowers" if effect["mean"] < 0 else "raises"
        told = (
            f"RankSim {change} the MSE on {called} by {format_percent(abs(effect['relative']), '')}"
        )
        if effect["n"] < MIN_SEEDS:
            parts.append(f"{told}; to show an effect, at least {MIN_SEEDS} seeds are needed.")
            continue
        certain = math.prod(effect["ci_seeds"]) > 0
        parts.append(
            f"{told}, better in {effect['better']} of {effect['n']} seeds; the 95\u202f% interval "
            + ("lies on one side of zero." if certain else "includes zero: no effect is shown.")
        )
    parts.append(
        f"Trainings cut to {EPOCHS} epochs and {SEEDS} seeds show the way, not the size, of an "
        "effect."
    )
    return " ".join(parts)


def _distribution(data: Benchmark[TextSamples]) -> Table:
    """Training samples in bins of half a point, as bars."""
    bins = LabelBins.uniform(-4.0, 4.0, 16)
    train, test = bins.histogram(data.train.labels), bins.histogram(data.test.labels)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for title in ("rating", "train", "", "test, balanced"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for k in range(len(bins)):
        bar = "█" * int(np.ceil(_BAR * train[k] / train.max()))
        edges = f"{bins.edges[k]:+.1f} … {bins.edges[k + 1]:+.1f}"
        table.add_row(edges, str(train[k]), f"[cyan]{bar}[/]", str(test[k]))
    return table
