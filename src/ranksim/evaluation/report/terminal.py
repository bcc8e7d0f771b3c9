"""The summary of a sweep as tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranksim._utils.formatting import (
    METRIC_TITLES,
    MIN_SEEDS,
    choose_digits,
    describe_failure,
    format_count,
    format_percent,
    format_signed,
    is_significant,
)
from ranksim.evaluation.record import run_name

_LONG = 8  # characters of a word at the head of a column; hardly a figure has more
_NARROW = 20  # characters of a line under a method's name
_FEW = 6  # so many methods have a block of lines each
_NONE = {"n": 0}
_ERRORS = ("mse", "mae", "gm")  # whose change is told in per cent
_LOOK: dict[str, Any] = {
    "box": box.SIMPLE_HEAD,
    "title_justify": "left",
    "padding": (0, 0, 0, 1),
    "caption_justify": "left",
}
_OF_ANY_UNIT = ("mae", "gm")


def print_summary(results: dict[str, Any], console: Console) -> None:
    """One table a metric: mean and sd over seeds, published figure, paired effect of RankSim.

    Many methods have a line each; the rest is in ``results.json``.
    """
    many = len(results["summary"]) > _FEW
    for metric in results["headline"]:
        title = METRIC_TITLES[metric][0]
        means = [row["test"]["all"][metric]["mean"] for row in results["summary"]]
        digits = choose_digits(metric, means)
        made = _line_each if many else _block_each
        console.print(made(results, metric, title, digits))
    if many:
        error = METRIC_TITLES[results["headline"][0]][0]
        console.print(_pairs(results["pairs"], error), highlight=False)
    for run in results["runs"]:
        if run["status"] == "failed":
            told = escape(f"{run_name(run)}: {run['result']['error']}")
            console.print(f"[red]failed[/]: {told}", highlight=False, soft_wrap=True)
    cut = [run_name(run) for run in results["runs"] if "truncated" in run["result"]]
    if cut:
        shown = ", ".join(cut[:5]) + (f" and {len(cut) - 5} more" if len(cut) > 5 else "")
        console.print(
            f"[yellow]The budget cut {format_count(len(cut), 'run')} short[/] ({shown}): the same command "
            "with a larger --budget goes on with them.",
            highlight=False,
            soft_wrap=True,
        )
    if results["conclusion"]:
        print_answer(results, console)


def print_answer(results: dict[str, Any], console: Console) -> None:
    """The answer in words; and by method and region the change of the error, with its interval.

    With and without RankSim alone, the tables have said that already.
    """
    answer, rows = results["conclusion"], results["summary"]
    compared = {
        row.get("alias_of", row["method"]): row for row in reversed(rows) if row.get("vs_baseline")
    }
    told = [row for row in reversed(compared.values()) if row["vs_baseline"]["seeds"]]
    if [row["method"] for row in told] != [f"{results['baseline']}+ranksim"] and told:
        console.print(_changes(answer, told, results["baseline"]))
    console.print(answer["sentence"], highlight=False)


def print_scores(
    scores: dict[str, dict[str, Any]], metrics: Sequence[str], title: str, console: Console
) -> None:
    """The scores of one network, a line a region."""
    shown = [region for region in scores if scores[region]["n"]]
    if "zero" not in shown:  # all is seen
        shown.remove("seen")
    table = Table(title=f"\n{title}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("region")
    table.add_column("samples", justify="right")
    for metric in metrics:
        table.add_column(METRIC_TITLES[metric][0], justify="right")
    digits = {metric: choose_digits(metric, [scores["all"][metric]]) for metric in metrics}
    for region in shown:
        told = (scores[region][metric] for metric in metrics)
        table.add_row(
            region,
            f"{scores[region]['n']:,}",
            *(
                "–" if value is None else f"{value:.{digits[metric]}f}"
                for metric, value in zip(metrics, told, strict=True)
            ),
        )
    console.print(table)


def _block_each(results: dict[str, Any], metric: str, title: str, digits: int) -> Table:
    table, regions = _begun(results, metric, title)
    for row in results["summary"]:
        _add_method(table, row, metric, digits, regions, _failure(results, row))
    return table


def _line_each(results: dict[str, Any], metric: str, title: str, digits: int) -> Table:
    printed = [(row["published"] or {}).get(metric, {}).get("all") for row in results["summary"]]
    known = any(figure is not None for figure in printed)
    more = (*(["publ."] if known else []), "RankSim", "better")
    table, regions = _begun(results, metric, title, *more)
    for row, figure in zip(results["summary"], printed, strict=True):
        published = [f"[dim]{figure:.{digits}f}[/]" if figure is not None else ""] * known
        means = [row["test"][region][metric]["mean"] for region in regions]
        failure = _failure(results, row)
        nothing = "failed" if failure and not row["seeds"] else "–"
        told = (nothing if mean is None else f"{mean:.{digits}f}" for mean in means)
        name = "\n".join([row["method"], *failure])
        table.add_row(name, *told, *published, *_effect(row, metric, digits))
    return table


def _failure(results: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Lines under the name of a row some or all of whose runs failed."""
    key = row.get("alias_of", row["method"])
    own = [r for r in results["runs"] if r["identity"]["method"] == key and r["status"] == "failed"]
    if not own:
        return []
    which = f"{len(own)} of {len(own) + len(row['seeds'])} " if row["seeds"] else ""
    why = list(
        dict.fromkeys(
            describe_failure(r) if r["result"].get("diverged") else "see below" for r in own
        )
    )
    whole = why[0].replace("(lr ", "(lr\0")  # a number stays with its name
    lines = [line.replace("\0", " ") for line in wrap(whole, _NARROW)]
    told = [*lines, *([f"and {len(why) - 1} more"] if why[1:] else [])]
    return [f"[red]  {which}failed:[/]", *(f"[red]  {escape(line)}[/]" for line in told)]


def _changes(answer: dict[str, Any], rows: list[dict[str, Any]], baseline: str) -> Table:
    """A line a method, a column a region; few methods have their intervals under them."""
    regions, error = answer["regions"], answer["error"]
    effects = [[row["vs_baseline"]["test"][region][error] for region in regions] for row in rows]
    known = any(effect["ci_total"] is not None for own in effects for effect in own)
    table = Table(
        title=f"\nChange of {METRIC_TITLES[error][0]} against {baseline}",
        caption="* sure at 95\u202f% for all methods together"
        + "; 95\u202f% over seeds and test samples below" * (len(rows) <= _FEW)
        if known
        else None,
        **_LOOK,
    )
    table.add_column("method", no_wrap=True)
    for region in regions:
        _add_region(table, region)
    for row, own in zip(rows, effects, strict=True):
        table.add_row(f"[bold]{row['method']}[/]", *map(_change, own))
        if known and len(rows) <= _FEW:
            for end, label in enumerate(("  from", "  to")):
                ends = (None if e["ci_total"] is None else e["ci_total"][end] for e in own)
                table.add_row(label, *map(_per_cent, own, ends), style="dim")
            table.add_section()
    return table


def _add_region(table: Table, name: str) -> None:
    """A column of figures, a word a line at its head; where it is tight, long words break first."""
    words = name.split(" ")
    long = max(map(len, words)) > _LONG
    table.add_column(
        escape("\n".join(words)),
        justify="right",
        no_wrap=not long,
        overflow="fold",
    )


def _change(effect: dict[str, Any]) -> str:
    return _per_cent(effect, effect["mean"]) + ("*" if is_significant(effect) else " ")


def _per_cent(effect: dict[str, Any], value: float | None) -> str:
    """A difference as a part of the baseline's error."""
    if value is None or not effect["relative"]:
        return "–"
    return format_percent(value * effect["relative"] / effect["mean"])


def _effect(row: dict[str, Any], metric: str, digits: int) -> tuple[str, str]:
    """What RankSim does to the score over all, and in how many seeds it is better."""
    effect = (
        row["vs_without_ranksim"]["test"]["all"][metric] if row.get("vs_without_ranksim") else None
    )
    if effect is None or effect["mean"] is None:
        return "", ""
    enough = effect["n"] >= MIN_SEEDS
    star = "*" if enough and math.prod(effect["ci_seeds"]) > 0 else " "
    in_per_cent = metric in _ERRORS
    change = (
        _per_cent(effect, effect["mean"]) if in_per_cent else format_signed(effect["mean"], digits)
    )
    return change + star, f"{effect['better']}/{effect['n']}" if enough else "–"


def _pairs(pairs: dict[str, int], error: str) -> str:
    twice = pairs["pairs"] - pairs["different"]
    return (
        f"RankSim lowers {error} all in {pairs['improved']} of {pairs['pairs']} pairs"
        + (f" ({pairs['improved_different']} of {pairs['different']}" if twice else "")
        + (" without those that are one method under two names)" if twice else "")
        + f"; * marks a 95\u202f% interval on one side of zero: {pairs['shown']} lower, "
        f"{pairs['worse']} higher."
    )


def _begun(results: dict[str, Any], metric: str, title: str, *more: str) -> tuple[Table, list[str]]:
    """A table with its columns and the number of test samples; and the regions it shows."""
    summary = results["summary"]
    regions = [
        region
        for region in summary[0]["test"]
        if any(row["test"].get(region, {}).get(metric, _NONE)["n"] for row in summary)
    ]
    if "zero" not in regions:  # all is seen
        regions = [region for region in regions if region != "seen"]
    better = "higher" if metric == "pearson" else "lower"
    table = Table(
        title=f"\n{title}, {better} is better: {_where(results)}",
        caption=results.get("published_note"),
        **_LOOK,
    )
    table.add_column("method", no_wrap=True, min_width=17)
    for name in (*regions, *more):
        _add_region(table, name)
    counts = [summary[0]["test"][region]["n"]["mean"] for region in regions]
    table.add_row("  test samples", *("" if n is None else f"{n:.0f}" for n in counts), style="dim")
    table.add_section()
    return table, regions


def _add_method(
    table: Table,
    row: dict[str, Any],
    metric: str,
    digits: int,
    regions: list[str],
    failure: Sequence[str],
) -> None:
    scores = [row["test"][region][metric] for region in regions]
    nothing = "no data" if row["seeds"] else "failed" if failure else "–"
    table.add_row(
        f"[bold]{row['method']}[/]",
        *(nothing if s["mean"] is None else f"[bold]{s['mean']:.{digits}f}[/]" for s in scores),
    )
    table.add_row(
        f"  ± over {format_count(len(row['seeds']), 'seed')}",
        *("" if s["sd"] is None else f"{s['sd']:.{digits}f}" for s in scores),
    )
    for line in failure:
        table.add_row(line)
    if row["published"]:
        figures = row["published"].get(metric, {})
        table.add_row(
            "  published",
            *(f"{figures[r]:.{digits}f}" if r in figures else "" for r in regions),
            style="dim",
        )
    if row.get("vs_without_ranksim") and row["vs_without_ranksim"]["seeds"]:
        effects = [row["vs_without_ranksim"]["test"][region][metric] for region in regions]
        ends = [e["ci_seeds"] or (None, None) for e in effects]
        for label, values in (
            ("  by RankSim", [e["mean"] for e in effects]),
            *([("  in per cent", [e["relative"] for e in effects])] if metric in _ERRORS else []),
            ("  95\u202f% from", [low for low, _ in ends]),
            ("  95\u202f% to", [high for _, high in ends]),
        ):
            written = partial(format_signed, digits=digits)
            if label == "  in per cent":
                written = format_percent  # type: ignore[assignment]
            table.add_row(label, *("" if v is None else written(v) for v in values))
        if len(row["vs_without_ranksim"]["seeds"]) >= MIN_SEEDS:
            table.add_row("  seeds better", *(f"{e['better']} of {e['n']}" for e in effects))
    table.add_section()


def _where(results: dict[str, Any]) -> str:
    keys = ["split", "domains", "protocol"]
    if results["benchmark"] == "images":
        keys[0] = "target"  # its split is a column
    options = [results["options"][key] for key in keys if key in results["options"]]
    named = [results["benchmark"], *options, results["preset"]]
    return ", ".join("+".join(n) if isinstance(n, list) else n for n in named)
