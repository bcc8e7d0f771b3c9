"""``ranksim demo``: a short comparison on Sentiment-DIR, explained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksim.cli.options import AsJson, Out, Values, with_options
from ranksim.cli.train import run_sweep_request
from ranksim.data.spec import DataLocation, SentimentSpec

if TYPE_CHECKING:
    from rich.table import Table

SEEDS, EPOCHS = 2, 10
_BAR = 40  # characters


@with_options("out jobs data_dir", jobs={"default": 2})
def demo(values: Values, *, out: Out = Path("runs/demo"), as_json: AsJson = False) -> None:
    """Train with and without RankSim on rare sentiment scores, and explain the result."""
    from rich.console import Console

    from ranksim.datasets import sentiment_dir
    from ranksim.experiments.sweep_request import SweepRequest
    from ranksim.training.fit import TrainingLimits
    from ranksim.training.task_loading import DataSource

    console = Console(highlight=False, stderr=as_json)
    location = DataLocation(data_dir=values["data_dir"])
    data = sentiment_dir.load(data_dir=location.data_dir)
    console.print(
        f"\n[bold]The data.[/] {len(data.train):,} sentences from tweets and product reviews, "
        "each rated by people from -4 (very negative) to 4 (very positive). Most ratings are "
        "mild; strong ones, which matter most, are rare:\n"
    )
    console.print(_histogram(data.train.labels, data.test.labels))
    console.print(
        f"\n[bold]The comparison.[/] The same small network, {SEEDS} seeds, {EPOCHS} epochs each: "
        "plain MSE (vanilla), and MSE + RankSim, which makes features of sentences with similar "
        "ratings similar.\n"
    )
    request = SweepRequest(
        DataSource(SentimentSpec(domains=("tweets", "amazon")), location),
        methods="vanilla,vanilla+ranksim",
        seeds=str(SEEDS),
        jobs=values["jobs"],
        out=out,
        limits=TrainingLimits(epochs=EPOCHS),
        command="ranksim demo",
    )
    results = run_sweep_request(request, as_json)
    console.print(f"\n[bold]How to read it.[/] {explain_results(results)}")
    console.print(
        "\n[bold]Full run:[/] ranksim bench sentiment-dir --seeds 5 --jobs 2\n"
        "[bold]With published figures:[/] ranksim bench sts-b-dir --seeds 5 --jobs 2"
    )


def explain_results(results: dict[str, Any]) -> str:
    """Explain the imbalance in the table of the demo; the table itself ends with the effect."""
    scores = results["summary"][0]["test"]
    many, few = (scores[region]["mse"]["mean"] for region in ("many", "few"))
    text = "few, medium and many are sentences whose ratings are rare or common in training. "
    if many and few:
        text += f"Without RankSim, the error on rare ratings is {few / many:.1f} times as large. "
    return text + (
        f"With {EPOCHS} epochs and {SEEDS} seeds, the demo shows how to compare, not whether "
        "RankSim helps."
    )


def _histogram(train: Any, test: Any) -> Table:
    """Return the labels in bins of half a point, with bars for training."""
    from rich.table import Table

    from ranksim.imbalance import LabelBins

    bins = LabelBins.uniform(-4.0, 4.0, 16)
    counts, test_counts = bins.histogram(train), bins.histogram(test)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for title in ("rating", "train", "", "test, balanced"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for k, (count, test_count) in enumerate(zip(counts, test_counts, strict=True)):
        bar = "█" * -(-_BAR * int(count) // int(counts.max()))
        edges = f"{bins.edges[k]:+.1f} … {bins.edges[k + 1]:+.1f}"
        table.add_row(edges, str(count), f"[cyan]{bar}[/]", str(test_count))
    return table
