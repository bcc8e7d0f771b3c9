"""``ranksim bench``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    BENCHMARKS,
    AsJson,
    BudgetOptions,
    Group,
    HardwareOptions,
    LabelGapOptions,
    MethodOptions,
    Out,
    SweepOptions,
    print_json,
    request,
    with_options,
)

bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)


def _add(benchmark: str, told: str, own: tuple[type[Group], ...]) -> None:
    @bench_app.command(benchmark, help=told)
    @with_options(
        MethodOptions, *own, LabelGapOptions, BudgetOptions, SweepOptions, HardwareOptions
    )
    def command(
        what: MethodOptions,
        *groups: Group,
        out: Out = Path("runs", benchmark),
        as_json: AsJson = False,
    ) -> None:
        from ranksim.experiments.sweep_request import run_benchmark, summary_json

        asked = request(benchmark, out, what.methods, what.seeds, *groups)
        print_json(summary_json(run_benchmark(asked, as_json=as_json), out), as_json)


for _name, (_told, _own) in BENCHMARKS.items():
    _add(_name, _told, _own)
