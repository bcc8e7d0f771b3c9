"""Commands on results and speed: ``evaluate``, ``report``, ``leaderboard`` and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranksim.api.options import HARDWARE, NETWORK, READING, Values, trainer_config
from ranksim.cli.options import AsJson, print_json, sweep_request, with_options
from ranksim.data.spec import DataLocation, option, reject_unused
from ranksim.exceptions import UsageError, require_optional

if TYPE_CHECKING:
    from ranksim.experiments.sweep_settings import SweepRequest


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a sweep, or its results.json; further ones add their label gaps.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file. Default: report.html in the first sweep's folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of a sweep: one HTML file, and its figures as SVG and PNG."""
    from ranksim.evaluation.report.results_page import write_report

    written = write_report(runs, out)
    print_json(written, as_json)
    if not as_json:
        typer.echo(f"Page: {written['page']}")


def leaderboard(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders of sweeps, or folders that hold such folders, and recipes of ranksim "
            "tune below recipes/NAME.",
        ),
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the tables to stdout as Markdown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what methods change on several data sets, with intervals, cost and tuning."""
    from ranksim.evaluation.leaderboard import read_leaderboard
    from ranksim.evaluation.report.leaderboard import list_markdown, print_leaderboard

    if markdown and as_json:
        raise UsageError("--markdown and --json are two formats of stdout: give one of them.")
    board = read_leaderboard(folders)
    print_json(board.to_dict(), as_json)
    if markdown:
        typer.echo("\n".join(list_markdown(board)))
    elif not as_json:
        print_leaderboard(board, Console())


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(DataLocation):
    """The options of ``reproduce``: row and seed to train again, and the location of the data."""

    row: str | None = option("Row of its table: a number from 1, or a method's name.")
    seed: int | None = option("One seed of the row. Default: all.")


@with_options(
    "results out as_json row seed data data_dir glove image_root split_file encoder accelerator",
    owner=ReproduceOptions,
)
def reproduce(
    values: Values,
    *,
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="A sweep's results.json, or its folder.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to train in. Default: a temporary one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a row of a results.json again and compare the numbers (exit code 1: they differ)."""
    from ranksim.experiments import reproduce as engine

    location = DataLocation(**{item.name: values.pop(item.name) for item in fields(DataLocation)})
    request = engine.ReproduceRequest(results, location=location, out=out, **values)
    reports, console = [], Console(stderr=as_json)
    for report in engine.reproduce(request):
        _print_report(report, console)
        reports.append(report)
    matches = all(report["matches"] for report in reports)
    print_json({"method": reports[0]["method"], "matches": matches, "runs": reports}, as_json)
    if not matches:
        raise typer.Exit(1)


def _print_report(report: dict[str, Any], console: Console) -> None:
    """Print whether a reproduced run equals its record, and where they differ."""
    name = f"{report['method']} seed {report['seed']}"
    if report["matches"] is None:
        lines = [f"{name}: {report['note']}."]
    elif report["matches"]:
        lines = [f"{name}: identical to the last bit."]
    else:
        scores = ", ".join(f"{k} {v:.2g}" for k, v in report["largest"].items()) or "none"
        first, n_more = ", ".join(report["differ"][:5]), len(report["differ"]) - 5
        more = f" and {n_more} more" if n_more > 0 else ""
        lines = [
            f"{name}: different ({first}{more}); largest relative difference of a test score: "
            f"{scores}."
        ]
    for part in ("made_by", "data"):
        changes = report.get(part, {}).items()
        text = "; ".join(f"{key} was {old}, is {new}" for key, (old, new) in changes)
        lines += [f"  Changed: {text}."] if text else []
    if report.get("assumed"):
        names = ", ".join(report["assumed"])
        lines.append(f"  Not recorded, taken from the preset: {names}.")
    if report["matches"] is not None and report["note"]:
        lines.append(f"  The run failed: {report['note']}.")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


@dataclass(kw_only=True)
class EvaluateOptions:
    """The options of ``evaluate``: test data of a checkpoint, or columns of a predictions table."""

    data: str | None = option("Test a checkpoint on the test part of these images.")
    target: str | None = option("Column of the label, for --data and --train.", None, "COLUMN")
    image: str | None = option("Column of image paths.", None, "COLUMN")
    split: str | None = option("Column of train, val and test.", None, "COLUMN")
    train: str | None = option("The training data of the predictions, as for compare.")
    model: Path | None = option("Instead of --train: the model, a folder of ranksim fit.")
    prediction: str | None = option("Default: prediction, pred or y_pred.", None, "COLUMN")
    label: str | None = option("Default: label, target, y_true or the target.", None, "COLUMN")
    rare: str | None = option("Score how well such labels are found, as in '>250'.", None, "RANGE")
    image_size: int | None = option("Side in pixels. Default: the run's, or the preset's.", min=1)
    data_dir: Path | None = option("The --root of ranksim data prepare. Default: RANKSIM_DATA.")


_IMAGES = "drop_labels protocol skip_broken cache_dir"
_AGES = "preset data_dir split_file"
_USER_IMAGES = "image image_root split bin_width max_per_bin split_seed test_per_bin"
_CHECKPOINT = "image_size accelerator precision"
_READING = READING[1]
_USED = {
    "benchmark": f"{_IMAGES} {_AGES} {_CHECKPOINT}",
    "data": f"target {_IMAGES} {_USER_IMAGES} {_CHECKPOINT}",
    "train": f"target split bin_width many few region prediction label missing_target rare "
    f"{_READING}",
    "model": "prediction label rare",
}


@with_options(
    "what benchmark data train model target out",
    ("Data", f"{_IMAGES} {_AGES} {_USER_IMAGES}"),
    ("Predictions", f"prediction label rare many few region missing_target {_READING}"),
    ("Checkpoint", _CHECKPOINT),
    owner=EvaluateOptions,
    preset={"default": "paper"},
)
def evaluate(
    values: Values,
    *,
    context: typer.Context,
    what: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT|PREDICTIONS",
            help="With --benchmark or --data: a published ResNet checkpoint, or best.ckpt of an "
            "image run. With --train or --model: a table of predictions of any model.",
            show_default=False,
        ),
    ],
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir"] | None,
        typer.Option(help="Test a checkpoint on agedb-dir or imdb-wiki-dir.", metavar="WORD"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the result; an old result is replaced.")] = (
        Path("runs/evaluate")
    ),
    as_json: AsJson = False,
) -> None:
    """Score an image checkpoint on a test set, or predictions of any model, by region."""
    modes = {"benchmark": benchmark, **{name: values[name] for name in ("data", "train", "model")}}
    chosen = [name for name, value in modes.items() if value is not None]
    if len(chosen) != 1:
        raise UsageError(
            "Give --benchmark or --data for a checkpoint, or --train or --model for predictions, "
            f"got {' and '.join(f'--{name}' for name in chosen) or 'none of them'}."
        )
    (mode,) = chosen
    given = [name for name in values if _is_given(context, name)]
    reject_unused(given, (mode, *_USED[mode].split()), f"--{mode}")
    if mode in ("train", "data") and values["target"] is None:
        raise UsageError(f"--{mode} needs the name of the label column: give it with --target.")
    console = Console(stderr=as_json, highlight=False)
    if mode in ("train", "model"):
        result = _score_predictions(what, values, out, console)
    else:
        values = {name: values[name] for name in _USED[mode].split()}
        request = sweep_request(modes[mode], out, values, user_data=mode == "data")
        result = _score_checkpoint(what, request, console)
    console.print(f"Result: {out / 'evaluation.json'}", markup=False, soft_wrap=True)
    print_json(result, as_json)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _score_predictions(path: Path, values: Values, out: Path, console: Console) -> dict[str, Any]:
    """Score the predictions in a table, and print scores by region."""
    from ranksim.inference.prediction import ScoreRequest, score_predictions

    columns = {
        name: values[name] for name in ("train", "model", "target", "prediction", "label", "rare")
    }
    names = f"many few split bin_width region missing_target {_READING}".split()
    options = {name: values[name] for name in names}
    result = score_predictions(ScoreRequest(path, options=options, out=out, **columns))
    _print_intervals(result, console)
    return result


def _print_intervals(result: dict[str, Any], console: Console) -> None:
    """Print tables of errors and confidence intervals by region, of held-out samples first."""
    from ranksim.inference.seen_samples import describe_parts

    file = result["predictions"]
    name, label = escape(file["name"]), escape(file["label"])
    text, scores = describe_parts(file["parts"]), {name: result}
    if text is not None:
        console.print(f"Training data: {text}.", style="yellow", markup=False, soft_wrap=True)
        scores = {f"{name}, with the samples of the training": result}
        if result["held_out"]["test"]["all"]["n"]:
            scores = {f"{name}, held-out samples": result["held_out"], **scores}
    for title, part in scores.items():
        print_region_table(part, f"\n{title}, by region of {label}", console)
    if "coverage" in result:
        from ranksim.evaluation.report.terminal import print_coverage

        print_coverage({name: result["coverage"]}, console)
    if "detection" in result:
        console.print(_describe_detection(result["detection"], label), soft_wrap=True)
    if file["without_label"]:
        console.print(f"{file['without_label']:,} rows without a label are left out.")


def _describe_detection(scores: dict[str, Any], label: str) -> str:
    """Describe how well rare labels are found, in a sentence."""
    if not scores["rare"]:
        return f"No label {scores['range']} in column {label}."
    percent = {
        name: "none" if scores[name] is None else f"{100 * scores[name]:.1f} %"
        for name in ("precision", "recall", "pr_auc")
    }
    tops = [
        f"{value:.1f} times in the top {name.removeprefix('enrichment_')} %"
        for name, value in scores.items()
        if name.startswith("enrichment_")
    ]
    return (
        f"Labels {escape(scores['range'])}: {scores['rare']:,} of {scores['samples']:,} samples; "
        f"precision {percent['precision']}, recall {percent['recall']}, PR-AUC "
        f"{percent['pr_auc']}; enriched {', '.join(tops)}."
    )


def print_region_table(result: dict[str, Any], title: str, console: Console) -> None:
    """Print a table of the errors of some samples by region, and what their mean is."""
    from ranksim._utils.formatting import METRIC_TITLES, choose_digits
    from ranksim.evaluation.largest_errors import describe_units
    from ranksim.evaluation.region_table import BALANCED_TITLE, describe_scores, find_balanced
    from ranksim.evaluation.views import explain_test_set, title_of_all

    scores, test_set = result["test"], result["test_set"]
    notes = [explain_test_set(test_set)]
    if result.get("interval_units", {}).get("unit", "samples") != "samples":
        notes.append(f"Intervals are over {describe_units(result)}.")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("region", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    digits = {metric: choose_digits(metric, [scores["all"][metric]]) for metric in ("mae", "gm")}
    for metric in digits:
        table.add_column(METRIC_TITLES[metric][0], justify="right", no_wrap=True)
        table.add_column("95\u202f%", style="dim", no_wrap=True)
    for region, values in scores.items():
        if not values["n"] or (region == "seen" and not scores["zero"]["n"]):
            continue
        cells = []
        for metric, places in digits.items():
            ends = result["intervals"][region][metric]
            cells.append(f"{values[metric]:.{places}f}")
            cells.append("" if ends is None else " to ".join(f"{end:.{places}f}" for end in ends))
        heading = title_of_all(test_set) if region == "all" else escape(region)
        table.add_row(heading, f"{values['n']:,}", *cells)
        if region == "all" and (balanced := find_balanced(scores, ["mae"])) is not None:
            table.add_row(BALANCED_TITLE, "", f"{balanced[0]:.{digits['mae']}f}")
    console.print(table)
    if further := describe_scores(scores["all"], ("balanced_mse", "ccc", "sera")):
        notes.insert(0, further)
    if any(notes):
        text = " ".join(filter(None, notes))
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_member_scores(metrics: dict[str, Any], names: Sequence[str], console: Console) -> None:
    """Print a table of the overall validation and test scores of the members of an ensemble."""
    from ranksim._utils.formatting import METRIC_TITLES, choose_digits
    from ranksim.inference.held_out import list_member_scores

    rows = list_member_scores(metrics)
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("member", no_wrap=True)
    digits = {name: choose_digits(name, [scores["test"][name] for _, scores in rows])
              for name in names}  # fmt: skip
    cells: list[list[str]] = [[title] for title, _ in rows]
    for part, heading in (("val", "validation"), ("test", "test")):
        for name in names:
            table.add_column(f"{heading} {METRIC_TITLES[name][0]}", justify="right")
            for row, (_, scores) in zip(cells, rows, strict=True):
                value = scores[part][name]
                row.append("–" if value is None else f"{value:.{digits[name]}f}")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _score_checkpoint(path: Path, request: SweepRequest, console: Console) -> dict[str, Any]:
    """Score an image checkpoint on test data, and print scores by region."""
    from ranksim.evaluation.report.terminal import print_scores
    from ranksim.experiments.checkpoint_scores import score_checkpoint
    from ranksim.training.recipe import headline

    result = score_checkpoint(path, request)
    name = result["benchmark"]
    print_scores(
        result["test"],
        headline(name),
        f"{result['encoder']} on {name}, test",
        console,
        test_set=result["test_set"],
    )
    return result


@dataclass(kw_only=True)
class StepOptions:
    """The options of ``throughput``: numbers of timed steps and of warmup steps."""

    batch_size: int | None = option("Images per step. Default: the preset's.", min=1)
    steps: int = option("Steps to time for each method.", 50, min=1)
    warmup_steps: int = option("Untimed steps before them.", 10, min=0)


@with_options(
    "out as_json preset batch_size steps warmup_steps",
    *(NETWORK, HARDWARE),
    owner=StepOptions,
    preset={"default": "paper"},
)
def throughput(
    values: Values,
    *,
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure images per second, the time waiting for data, and RankSim's share of a step."""
    require_optional("lightning.pytorch", "train")
    from ranksim.experiments import throughput as engine

    changes = {name: values[name] for name in ("encoder", "image_size", "batch_size")}
    request = engine.ThroughputRequest(
        tuple(f"{name}={value}" for name, value in changes.items() if value is not None),
        values["steps"],
        values["warmup_steps"],
        trainer_config(values),
        out,
        values["preset"],
    )
    result = engine.measure_throughput(request)
    engine.print_throughput(result, Console(stderr=as_json))
    if out is not None and not as_json:
        typer.echo(f"Figures: {out}")
    print_json(result, as_json)
