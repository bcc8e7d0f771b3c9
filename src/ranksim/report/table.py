"""The summary of a sweep as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ranksim.metrics.regions import REGIONS

# the two figures of each published table; the rest is in results.json
SHOWN = {"mse": ("MSE", 3), "pearson": ("Pearson, %", 1)}


def print_summary(results: dict[str, Any], console: Console) -> None:
    """One table a metric: mean ± sd, published figure, paired effect of RankSim."""
    for metric, (title, digits) in SHOWN.items():
        console.print(_table(results, metric, title, digits))
    failed = [run for run in results["runs"] if run["status"] == "failed"]
    for run in failed:
        console.print(f"[red]failed[/] {run['method']} seed {run['seed']}: {run['error']}")


def _table(results: dict[str, Any], metric: str, title: str, digits: int) -> Table:
    summary = results["summary"]
    regions = [r for r in REGIONS if any(row["test"][r][metric]["n"] for row in summary)]
    better = "higher" if metric == "pearson" else "lower"
    where = " · ".join(
        str(results[key] if not isinstance(results[key], list) else ", ".join(results[key]))
        for key in ("benchmark", "split", "domains", "preset")
        if key in results
    )
    table = Table(title=f"{title} on the test set ({better} is better) — {where}", min_width=72)
    table.add_column("method", no_wrap=True)
    for region in regions:
        table.add_column(region, justify="right", no_wrap=True)
    for row in summary:
        cells = [_spread(row["test"][region][metric], digits) for region in regions]
        table.add_row(f"[bold]{row['method']}[/] ({len(row['seeds'])})", *cells)
        if row["published"]:
            figures = row["published"].get(metric, {})
            cells = [f"{figures[r]:.{digits}f}" if r in figures else "" for r in regions]
            table.add_row("  published", *cells, style="dim")
        if row.get("versus") and row["versus"]["seeds"]:
            effect = [row["versus"]["test"][region][metric] for region in regions]
            table.add_row(
                "  Δ without RankSim",
                *(_difference(d, digits) for d in effect),
            )
            table.add_row("  95 % interval", *(_interval(d, digits) for d in effect))
            table.add_row("  seeds better", *(f"{d['better']} of {d['n']}" for d in effect))
        table.add_section()
    return table


def _spread(score: dict[str, Any], digits: int) -> str:
    if score["mean"] is None:
        return "no data"
    sd = "" if score["sd"] is None else f" ± {score['sd']:.{digits}f}"
    return f"{score['mean']:.{digits}f}{sd}"


def _difference(d: dict[str, Any], digits: int) -> str:
    if d["mean"] is None:
        return ""
    return f"{d['mean']:+.{digits}f} ({d['relative']:+.1%})"


def _interval(d: dict[str, Any], digits: int) -> str:
    return "" if d["low"] is None else f"{d['low']:+.{digits}f} … {d['high']:+.{digits}f}"
