"""``ranksim tune``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ranksim.cli.options import (
    BENCHMARKS,
    AsJson,
    Data,
    Group,
    HardwareOptions,
    LabelGapOptions,
    Out,
    SweepOptions,
    TuneOptions,
    UserInputOptions,
    UserSplitOptions,
    print_json,
    request,
    split_csv,
    with_options,
)

if TYPE_CHECKING:
    from ranksim.experiments.sweep_request import BenchRequest

tune_app = typer.Typer(
    help="Search a recipe for one method by validation score (extra: tune).",
    no_args_is_help=True,
)


def _add(benchmark: str, told: str, own: tuple[type[Group], ...]) -> None:
    @tune_app.command(benchmark, help=told)
    @with_options(TuneOptions, *own, LabelGapOptions, SweepOptions, HardwareOptions)
    def command(
        what: TuneOptions,
        *groups: Group,
        out: Out = Path("runs", "tune", benchmark),
        as_json: AsJson = False,
    ) -> None:
        _search(request(benchmark, out, what.method, what.seeds, *groups), what, as_json)


@tune_app.command("data")
@with_options(
    TuneOptions, UserInputOptions, UserSplitOptions, LabelGapOptions, SweepOptions, HardwareOptions
)
def tune_user_data(
    what: TuneOptions,
    *groups: Group,
    data: Data,
    out: Out = Path("runs", "tune", "data"),
    as_json: AsJson = False,
) -> None:
    """Search a recipe for your own data, which is given as to ranksim compare."""
    from ranksim.experiments.user_data import own_request

    bench = own_request(data, request("own", out, what.method, what.seeds, *groups))
    _search(bench, what, as_json)


def _search(bench: BenchRequest, options: TuneOptions, as_json: bool) -> None:
    """Run the search and print the best recipe fields."""
    from ranksim.experiments.tune import TuneRequest, tune

    request = TuneRequest(bench, options.trials, split_csv(options.fields))
    best = tune(request, as_json=as_json)
    print_json({"method": options.method, "best": best, "out": str(bench.out)}, as_json)


for _name, (_told, _own) in BENCHMARKS.items():
    _add(_name, _told, _own)
