"""``ranksim demo``: a short comparison on Sentiment-DIR, explained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranksim.cli.options import DATA_DIR, AsJson, Out
from ranksim.cli.requests import portable_command
from ranksim.cli.train import run_sweep_request

if TYPE_CHECKING:
    from rich.table import Table

    from ranksim.data import TextSamples
    from ranksim.datasets.base import Benchmark

SEEDS, EPOCHS = 2, 10
_BAR = 40  # characters


def demo(
    out: Out = Path("runs/demo"),
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = 2,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR)] = None,
    as_json: AsJson = False,
) -> None:
    """Train with and without RankSim on rare sentiment scores, and explain the result."""
    from rich.console import Console

    from ranksim.data.spec import DataLocation, SentimentSpec
    from ranksim.datasets import sentiment_dir
    from ranksim.experiments.sweep_request import SweepRequest
    from ranksim.training.fit import TrainingLimits
    from ranksim.training.task_loading import DataSource

    console = Console(highlight=False, stderr=as_json)
    data = sentiment_dir.load(data_dir=data_dir)
    console.print(
        f"\n[bold]The data.[/] {len(data.train):,} sentences from tweets and product reviews, "
        "each rated by people from -4 (very negative) to 4 (very positive). Most ratings are "
        "mild; strong ones, which matter most, are rare:\n"
    )
    console.print(_histogram(data))
    console.print(
        f"\n[bold]The comparison.[/] The same small network, {SEEDS} seeds, {EPOCHS} epochs each: "
        "plain MSE (vanilla), and MSE + RankSim, which makes features of sentences with similar "
        "ratings similar.\n"
    )
    spec = SentimentSpec(domains=("tweets", "amazon"))
    request = SweepRequest(
        DataSource(spec, DataLocation(data_dir=data_dir)),
        methods="vanilla,vanilla+ranksim",
        seeds=str(SEEDS),
        jobs=jobs,
        out=out,
        limits=TrainingLimits(epochs=EPOCHS),
        command=portable_command(["demo"]),
    )
    results = run_sweep_request(request, as_json)
    console.print("\n[bold]How to read it.[/] " + explain_results(results))
    console.print(
        "\n[bold]Full run:[/] ranksim bench sentiment-dir --seeds 5 --jobs 2\n"
        "[bold]With published figures:[/] ranksim bench sts-b-dir --seeds 5 --jobs 2"
    )


def explain_results(results: dict[str, Any]) -> str:
    """Explain the table of the demo, with no more certainty than its seeds allow."""
    from ranksim._utils.formatting import format_percent
    from ranksim.evaluation.intervals import MIN_SEEDS

    rows = {row["method"]: row for row in results["summary"]}
    scores = rows["vanilla"]["test"]
    if scores["all"]["mse"]["mean"] is None or "vanilla+ranksim" not in rows:
        return "Too few runs finished to compare the methods."
    sentences = []
    many, few = (scores[region]["mse"]["mean"] for region in ("many", "few"))
    if many and few:
        sentences.append(
            f"Without RankSim, the error on rare ratings (few-shot) is {few / many:.1f} times the "
            "error on common ones (many-shot), because of the imbalance."
        )
    effects = rows["vanilla+ranksim"]["vs_without_ranksim"]["test"]
    for region, title in (("all", "all sentences"), ("few", "rare ratings")):
        effect = effects[region]["mse"]
        if effect["mean"] is None:
            continue
        change = "lowers" if effect["mean"] < 0 else "raises"
        percent = format_percent(abs(effect["relative"]), "")
        sentence = f"RankSim {change} the MSE on {title} by {percent}"
        if effect["n"] < MIN_SEEDS:
            sentences.append(f"{sentence}; an effect can be shown from {MIN_SEEDS} seeds on.")
            continue
        significant = math.prod(effect["ci_seeds"]) > 0
        sentences.append(
            f"{sentence}, better in {effect['better']} of {effect['n']} seeds; the 95\u202f% "
            + ("interval excludes zero." if significant else "interval includes zero: no effect.")
        )
    sentences.append(
        f"With {EPOCHS} epochs and {SEEDS} seeds this shows the direction of an effect, not its "
        "size."
    )
    return " ".join(sentences)


def _histogram(data: Benchmark[TextSamples]) -> Table:
    """Return training samples in bins of half a point, as bars."""
    import numpy as np
    from rich.table import Table

    from ranksim.imbalance import LabelBins

    bins = LabelBins.uniform(-4.0, 4.0, 16)
    train, test = bins.histogram(data.train.labels), bins.histogram(data.test.labels)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for title in ("rating", "train", "", "test, balanced"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for k in range(len(bins)):
        bar = "█" * int(np.ceil(_BAR * train[k] / train.max()))
        edges = f"{bins.edges[k]:+.1f} … {bins.edges[k + 1]:+.1f}"
        table.add_row(edges, str(train[k]), f"[cyan]{bar}[/]", str(test[k]))
    return table
