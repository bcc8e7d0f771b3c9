"""Commands that train models, search hyperparameters, or predict with a saved model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranksim.api.options import (
    DATA,
    DEFAULT_METHOD,
    HARDWARE,
    INPUTS,
    NETWORK,
    READING,
    ROWS,
    RUN,
    SPLIT,
    SWEEP,
    UserDataOptions,
    Values,
    load_network,
)
from ranksim.cli.options import AsJson, Data, Out, print_json, sweep_request, with_options
from ranksim.data.spec import SPEC_TYPES, DataLocation, ReadOptions

if TYPE_CHECKING:
    from rich.console import Console

    from ranksim.experiments.sweep_settings import SweepRequest
    from ranksim.inference.fit_request import FitRequest

_AGES = "drop_labels protocol skip_broken cache_dir preset data_dir split_file"
# one command of bench and tune per benchmark: its help, and the names of its data options
_BENCHMARKS = {
    "sts-b-dir": (
        "Sentence pairs with a similarity of 0..5 (5,249 / 1,000 / 1,000 pairs).",
        "drop_labels split preset encoder data_dir regions_from glove",
    ),
    "sentiment-dir": (
        "Sentences with a human-rated sentiment in -4..4; strong sentiments are rare.",
        "drop_labels domains preset encoder data_dir",
    ),
    "glucose": (
        "Blood glucose 30 minutes ahead (one person, 52,281 readings); low values are rare.",
        "drop_labels horizon data_dir",
    ),
    "agedb-dir": (
        "Faces with ages (12,208 / 2,140 / 2,140); needs ranksim data prepare agedb-dir.",
        f"{_AGES} split_by",
    ),
    "imdb-wiki-dir": (
        "Faces with ages (191,509 / 11,022 / 11,022); needs ranksim data prepare imdb-wiki-dir.",
        _AGES,
    ),
}
bench_app = typer.Typer(
    help="Train methods on a benchmark and compare the result with the published table.",
    no_args_is_help=True,
)
tune_app = typer.Typer(
    help="Search a recipe for one method by validation score (extra: tune).",
    no_args_is_help=True,
)


@with_options(
    f"data {INPUTS} methods seeds budget tune out network interval metrics",
    *(DATA, READING, SPLIT, ROWS, SWEEP, HARDWARE),
    owner=UserDataOptions,
    methods={
        "default": "default",
        "help": "Names separated by commas (see ranksim methods), all, or default: networks, "
        "trees and reference rows that suit the data.",
    },
)
def compare(
    values: Values,
    *,
    data: Data,
    out: Out = Path("runs/compare"),
    as_json: AsJson = False,
) -> None:
    """Train methods on the same splits and seeds of your data, and report which one helps."""
    run_sweep_request(sweep_request(data, out, values), as_json, values["metrics"])


@with_options(
    f"data {INPUTS} method seed out network refit ensemble cross_validate interval",
    *(DATA, READING, SPLIT, RUN, HARDWARE),
    owner=UserDataOptions,
    method={"default": DEFAULT_METHOD},
)
def fit(
    values: Values,
    *,
    data: Data,
    out: Annotated[
        Path, typer.Option(help="Folder for the model; a model in it is replaced.")
    ] = Path("runs/model"),
    as_json: AsJson = False,
) -> None:
    """Train one model on your data and save it with everything that predictions need."""
    from rich.console import Console

    from ranksim.inference.fit_request import FitRequest

    options = {name: values[name] for name in ("refit", "ensemble", "cross_validate")}

    def make_request(bench: SweepRequest) -> FitRequest:
        return FitRequest(bench, values["method"], values["seed"], **options)

    bench = sweep_request(data, out, values, check=lambda draft: make_request(draft).check())

    from ranksim.inference.fit import fit_model

    request, console = make_request(bench), Console(stderr=as_json)
    result = fit_model(request, console, progress_bar=console.is_terminal and not as_json)
    _print_held_out(request, result, console)
    console.print(f"Model: {out}", markup=False, highlight=False, soft_wrap=True)
    print_json(result, as_json)


def _print_held_out(request: FitRequest, result: dict[str, Any], console: Console) -> None:
    """Print the held-out scores of a model, and which model they belong to."""
    from ranksim.cli.results import print_member_scores, print_region_table
    from ranksim.evaluation.report.terminal import print_scores
    from ranksim.evaluation.views import title_of_all
    from ranksim.training.recipe import headline

    metrics, method, test_set = result["metrics"], result["method"], result["test_set"]
    names = headline(request.bench.benchmark)
    seeds = f"seed {result['seed']}"
    if request.ensemble > 1:
        seeds = f"mean of seeds {request.seeds[0]} to {request.seeds[-1]}"
    if request.cross_validate:
        title = f"\n{method}, {seeds}, all rows in {request.cross_validate} folds"
        print_region_table(metrics | {"test_set": test_set}, title, console)
    else:
        title = f"{method}, {seeds}, test" + (", before the refit" if request.refit else "")
        print_scores(metrics["test"], names, title, console, test_set=test_set)
    if "members" in metrics:
        print_member_scores(metrics, names, console)
        titles = {"all": title_of_all(test_set), "few": "few"}
        gains = [
            f"{mean['mae']:.4g} instead of {alone['mae']:.4g} over {title}"
            for name, title in titles.items()
            for mean, alone in [(metrics["test"][name], metrics["members"][name])]
            if mean["n"]
        ]
        console.print(f"MAE of the mean and of one member on average: {'; '.join(gains)}.")
    if "coverage" in metrics:
        from ranksim.evaluation.report.terminal import print_coverage

        print_coverage({method: metrics["coverage"]}, console)
    if result["scores_of"]:
        console.print(
            result["scores_of"], style="yellow", markup=False, highlight=False, soft_wrap=True
        )


@with_options(
    "model data out image_root encoder network accelerator skip_missing strict as_json",
    READING,
    owner=DataLocation,
    skip_missing={"help": "Leave out rows without a text, a readable image, a time or a group."},
)
def predict(
    values: Values,
    *,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Folder of ranksim fit, or a released model such as ranksim/glucose.",
            show_default=False,
        ),
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="Table for the predictions, .csv or .parquet.")] = Path(
        "runs/predictions.csv"
    ),
    as_json: AsJson = False,
) -> None:
    """Predict new data with a saved model, and report where training labels were scarce."""
    from rich.console import Console

    from ranksim.data.reading import require_source

    require_source(data)

    from ranksim.inference.prediction import PredictRequest, predict_data

    console = Console(stderr=as_json)
    if values["network"] is not None:
        values["network"] = load_network(values["network"])
    names = [item.name for item in fields(ReadOptions)]
    reading = {name: value for name in names if (value := values.pop(name)) not in (None, ())}
    result = predict_data(PredictRequest(model, data, out, reading=reading, **values), console)
    _print_predictions(result, console)
    print_json(result, as_json)


def _print_predictions(result: dict[str, Any], console: Console) -> None:
    """Print the number of predictions in each region, and the path of the predictions file."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ranksim._utils.formatting import format_percent

    title = f"{result['predictions']:,} predictions of {escape(result['target'])}"
    title = f"\n{title} by {result['method']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("predicted label in", "predictions", "share", "training samples"):
        table.add_column(name, justify="left" if name.endswith("in") else "right")
    training = result["training"]
    for name, count in result["regions"].items():
        if count or name in training:
            samples = f"{training[name]:,}" if name in training else "0" if name == "zero" else ""
            share = format_percent(count / result["predictions"], "")
            table.add_row(escape(name), f"{count:,}", share, samples)
    console.print(table)
    if result["warning"]:
        console.print(result["warning"], style="yellow", markup=False, highlight=False)
    lines = [f"Predictions: {result['out']}"]
    if result["mae"] is not None:
        words = ["ranksim", "evaluate", str(result["out"]), "--model", str(result["model"])]
        command = shlex.join(words)
        lines.insert(0, f"{_describe_errors(result)}; by region: {command}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _describe_errors(result: dict[str, Any]) -> str:
    """Describe the mean error of held-out samples first, then that of all samples."""
    from ranksim.evaluation.views import qualify_mean

    parts, held_out = result["parts"], result["held_out"]
    if not parts["train"] and not parts["val"]:
        return qualify_mean(f"MAE {result['mae']:.4g}", held_out["test_set"])
    if held_out["mae"] is None:
        return f"MAE {result['mae']:.4g} on the samples of the training, which is no test"
    return (
        qualify_mean(
            f"MAE {held_out['mae']:.4g} on {held_out['samples']:,} held-out samples",
            held_out["test_set"],
        )
        + f", {result['mae']:.4g} with the samples of the training"
    )


def run_sweep_request(
    request: SweepRequest, as_json: bool, metrics: Sequence[str] = ()
) -> dict[str, Any]:
    """Train the runs of a request, and print the summary as tables, or as JSON if ``as_json``.

    ``metrics`` names the tables, see :func:`print_summary`.
    """
    from rich.console import Console

    from ranksim.api.comparison import run_comparison
    from ranksim.evaluation.record import RESULTS
    from ranksim.evaluation.report.results_page import PAGE
    from ranksim.evaluation.report.terminal import print_summary

    console = Console(stderr=as_json)
    results = run_comparison(request, console).results
    print_summary(results, console, metrics)
    written = {"Results": request.out / RESULTS, "Page": request.out / PAGE}
    for title, path in written.items():
        if path.is_file():
            console.print(f"{title}: {path}", highlight=False, soft_wrap=True, markup=False)
    summary = {name: value for name, value in results.items() if name != "runs"}
    print_json(summary | {"out": str(request.out)}, as_json)
    return results


@tune_app.command("data")
@with_options(
    f"data method {INPUTS} trials seeds out",
    *(DATA, READING, SPLIT, ("Methods", "fields"), SWEEP, HARDWARE),
    owner=UserDataOptions,
    seeds={"default": "2"},
)
def tune_user_data(
    values: Values,
    *,
    data: Data,
    out: Out = Path("runs", "tune", "data"),
    as_json: AsJson = False,
) -> None:
    """Search a recipe for your own data."""
    _search(data, out, values, as_json)


def _search(data: str, out: Path, values: Values, as_json: bool, *, user_data: bool = True) -> None:
    """Search hyperparameters, and print the best values and their validation score."""
    from rich.console import Console

    from ranksim.experiments.search_space import TuneRequest

    def make_request(bench: SweepRequest) -> TuneRequest:
        return TuneRequest(bench, values["trials"], values["fields"])

    bench = sweep_request(
        data,
        out,
        values,
        user_data=user_data,
        check=lambda draft: make_request(draft).check(),
    )

    from ranksim.experiments.tune import tune

    printed = partial(Console(stderr=as_json).print, highlight=False, soft_wrap=True)
    result = tune(make_request(bench), printed)
    best = ", ".join(f"{name} {value}" for name, value in result.values.items())
    command = (
        "ranksim compare DATA" if bench.source.is_user_data else f"ranksim bench {bench.benchmark}"
    )
    printed(
        f"{result.describe_score()} with {best}.\n"
        f"Recipe: {result.recipe} ({command} --recipe {result.recipe})"
    )
    print_json({"method": bench.methods, "best": result.values, "out": str(bench.out)}, as_json)


def _add_benchmark(benchmark: str, text: str, data_options: str) -> None:
    """Register the commands ``bench BENCHMARK`` and ``tune BENCHMARK`` of one benchmark."""
    panels = [("Data", f"{data_options} strict"), SWEEP, HARDWARE]
    bench_panels = [*panels, ROWS]
    changes: dict[str, Any] = {}
    if data_options.startswith(_AGES):
        panels.insert(1, NETWORK)
        bench_panels.insert(1, NETWORK)
        location = "The --root of ranksim data prepare. Default: RANKSIM_DATA."
        changes = {"preset": {"default": "paper"}, "data_dir": {"help": location}}
    elif "encoder" in data_options.split():
        changes = {"encoder": {"help": "Text model of the hub, or a folder, for a minilm preset."}}
    owner = SPEC_TYPES[benchmark]

    @bench_app.command(benchmark, help=text)
    @with_options(
        "methods seeds budget out interval metrics", *bench_panels, owner=owner, **changes
    )
    def bench_command(
        values: Values, *, out: Out = Path("runs", benchmark), as_json: AsJson = False
    ) -> None:
        request = sweep_request(benchmark, out, values, user_data=False)
        run_sweep_request(request, as_json, values["metrics"])

    @tune_app.command(benchmark, help=text)
    @with_options(
        "method trials fields seeds out",
        *panels,
        owner=owner,
        seeds={"default": "2"},
        **changes,
    )
    def tune_command(
        values: Values, *, out: Out = Path("runs", "tune", benchmark), as_json: AsJson = False
    ) -> None:
        _search(benchmark, out, values, as_json, user_data=False)


for _name, (_text, _data_options) in _BENCHMARKS.items():
    _add_benchmark(_name, _text, _data_options)
