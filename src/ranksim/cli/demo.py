"""The command ``ranksim demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksim.api.options import Values
from ranksim.cli.options import AsJson, Out, with_options
from ranksim.cli.train import run_sweep_request
from ranksim.data.spec import DataLocation, SentimentSpec
from ranksim.exceptions import require_optional

if TYPE_CHECKING:
    from rich.table import Table

_METHODS = "vanilla,sqinv+ranksim,trees,trees+sqinv"
_SEEDS = 5
_TABLE, _TARGET, _INPUT = "sentences.parquet", "rating", "words"
_BAR = 40  # characters


@with_options("out jobs data_dir", jobs={"default": 2})
def demo(values: Values, *, out: Out = Path("runs/demo"), as_json: AsJson = False) -> None:
    """Compare methods on rare sentiment scores in two minutes, and explain the result."""
    from rich.console import Console

    from ranksim.experiments.sweep_request import resolve_user_data
    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.training.trainer_config import TrainerConfig

    console = Console(highlight=False, stderr=as_json)
    labels = write_sentences(out / _TABLE, values["data_dir"])
    console.print(
        f"\n[bold]The data.[/] {sum(map(len, labels.values())):,} sentences of tweets and product "
        "reviews, each rated by people from -4 (very negative) to 4 (very positive). Most ratings "
        "are mild; strong ones, which matter most, are rare:\n"
    )
    console.print(_histogram(labels["train"], labels["test"]))
    console.print(
        f"\n[bold]The comparison.[/] From the mean word vector of a sentence: a small network "
        "(vanilla), the same with larger weights of rare ratings and RankSim, which makes features "
        f"of sentences with similar ratings similar (sqinv+ranksim), {_SEEDS} seeds each; boosted "
        "trees without and with weights.\n"
    )
    options = {"target": _TARGET, "features": (_INPUT,), "split": "split", "drop_shared": True}
    request = SweepRequest(
        resolve_user_data(DataLocation(str(out / _TABLE)), options),
        methods=_METHODS,
        seeds=str(_SEEDS),
        trainer=TrainerConfig("cpu"),  # `make demo` installs no Lightning
        jobs=values["jobs"],
        out=out,
        command="ranksim demo",
    )
    results = run_sweep_request(request, as_json)
    console.print(f"\n[bold]How to read it.[/] {explain_results(results)}")
    console.print(
        "\n[bold]Your own data:[/] ranksim compare data.csv --target COLUMN\n"
        "[bold]Whole sentences:[/] ranksim bench sentiment-dir --seeds 5 --jobs 2\n"
        "[bold]With published figures:[/] ranksim bench sts-b-dir --seeds 5 --jobs 2",
        soft_wrap=True,
    )


def write_sentences(path: Path, data_dir: Path | None) -> dict[str, Any]:
    """Write mean word vectors, ratings and parts of the sentences; return the ratings by part."""
    from ranksim._utils.arrays import copy_to_numpy
    from ranksim._utils.storage import atomic_write

    pa, parquet = (require_optional(n, "train") for n in ("pyarrow", "pyarrow.parquet"))

    from ranksim.training.data_source import DataSource
    from ranksim.training.method import parse_method
    from ranksim.training.presets import load_recipe
    from ranksim.training.task_loading import load_task

    spec = SentimentSpec(domains=("tweets", "amazon"))
    recipe = load_recipe(spec.benchmark, "small", parse_method("vanilla", "inverse"))
    _, task = load_task(DataSource(spec, DataLocation(data_dir=data_dir)), recipe)
    assert task.reader is not None
    parts = {"train": task.train, "val": task.val, "test": task.test}
    tables = [
        pa.table(
            {
                _INPUT: list(task.reader.read_vectors(samples).round(4)),
                _TARGET: copy_to_numpy(samples.labels),
                "split": [name] * len(samples),
            }
        )
        for name, samples in parts.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        parquet.write_table(pa.concat_tables(tables), temporary)
    return {name: copy_to_numpy(samples.labels) for name, samples in parts.items()}


def explain_results(results: dict[str, Any]) -> str:
    """Return text that explains the imbalance and the scores which the demo prints."""
    scores = results["summary"][0]["test"]
    many, few = (scores[region]["mae"]["mean"] for region in ("many", "few"))
    text = "few, medium and many are sentences whose ratings are rare or common in training. "
    if many and few:
        text += f"Without weights, the error on rare ratings is {few / many:.1f} times as large. "
    return text + (
        "The verdict above holds for these sentences: a change is called sure only if its 95 % "
        "interval over seeds and test sentences excludes zero."
    )


def _histogram(train: Any, test: Any) -> Table:
    """Return a table of label counts in bins of half a point, with bars for training labels."""
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
