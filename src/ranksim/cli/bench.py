"""``ranksim bench``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import (
    BENCHMARKS,
    AsJson,
    Budgeted,
    Compared,
    Dropped,
    Group,
    Machine,
    Out,
    Trained,
    request,
    taking,
    tell,
)

bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)


def _add(benchmark: str, told: str, own: tuple[type[Group], ...]) -> None:
    @bench_app.command(benchmark, help=told)
    @taking(Compared, *own, Dropped, Budgeted, Trained, Machine)
    def command(
        what: Compared,
        *groups: Group,
        out: Out = Path("runs", benchmark),
        as_json: AsJson = False,
    ) -> None:
        from ranksim.experiments.sweep_request import bench, brief

        asked = request(benchmark, out, what.methods, what.seeds, *groups)
        tell(brief(bench(asked, as_json=as_json), out), as_json)


for _name, (_told, _own) in BENCHMARKS.items():
    _add(_name, _told, _own)
