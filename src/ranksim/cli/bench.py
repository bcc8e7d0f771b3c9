"""``ranksim bench``: a command for each benchmark."""

from __future__ import annotations

from pathlib import Path

import typer

from ranksim.cli.options import BENCHMARKS, Compared, Group, Machine, Out, Trained, request, taking

bench_app = typer.Typer(
    help="Train methods on a benchmark and set the result beside the published table.",
    no_args_is_help=True,
)


def _add(benchmark: str, told: str, own: tuple[type[Group], ...]) -> None:
    @bench_app.command(benchmark, help=told)
    @taking(Compared, *own, Trained, Machine)
    def command(what: Compared, *groups: Group, out: Out = Path("runs", benchmark)) -> None:
        from ranksim.bench.command import bench

        bench(request(benchmark, out, what.methods, what.seeds, *groups))


for _name, (_told, _own) in BENCHMARKS.items():
    _add(_name, _told, _own)
