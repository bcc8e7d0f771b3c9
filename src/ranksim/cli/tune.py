"""``ranksim tune``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    BENCHMARKS,
    AsJson,
    Group,
    HardwareOptions,
    LabelGapOptions,
    Out,
    SweepOptions,
    TuneOptions,
    print_json,
    request,
    split_csv,
    with_options,
)

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
        from ranksim.experiments.tune import TuneRequest, tune

        bench = request(benchmark, out, what.method, what.seeds, *groups)
        asked = TuneRequest(bench, what.trials, split_csv(what.fields))
        found = tune(asked, as_json=as_json)
        print_json({"method": what.method, "best": found, "out": str(out)}, as_json)


for _name, (_told, _own) in BENCHMARKS.items():
    _add(_name, _told, _own)
