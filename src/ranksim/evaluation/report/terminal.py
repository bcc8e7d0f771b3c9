"""Print the summary of a sweep as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ranksim._utils.formatting import (
    METRIC_TITLES,
    choose_digits,
    format_count,
    format_percent,
    format_signed,
)
from ranksim.evaluation.intervals import MIN_SEEDS, excludes_zero, is_significant
from ranksim.evaluation.largest_errors import describe_units
from ranksim.evaluation.record import run_name
from ranksim.evaluation.region_table import (
    ABOUT_BALANCED,
    BALANCED_TITLE,
    find_balanced,
    list_region_rows,
)
from ranksim.evaluation.summary import describe_failure, failed_runs, share_of_failed, unique_rows
from ranksim.evaluation.views import (
    VIEW_TITLES,
    VIEWS,
    explain_test_set,
    explain_views,
    find_test_set,
    qualify_mean,
    read_view_counts,
    title_of_all,
)

Record = Mapping[str, Any]
_LONG_WORD = 8  # characters; longer words of a column title may be broken
_NAME_WIDTH = 20  # characters of a line below a method's name
_MAX_BLOCKS = 6  # methods with several lines each
_ERRORS = ("mse", "mae", "gm")  # metrics whose change is given in percent
_HIGHER = ("pearson", "spearman", "ccc")  # metrics of which higher values are better
_NO_EFFECT = {"mean": None, "relative": None, "ci_seeds": None, "better": 0, "n": 0}
_BETTER, _WORSE = "*", "!"  # marks of sure changes
_LEGEND = (
    f"{_BETTER} surely better, {_WORSE} surely worse: at 95\u202f%, corrected for the number of "
    "methods"
)
_STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "title_justify": "left"}


def print_summary(results: Record, console: Console, metrics: Sequence[str] = ()) -> None:
    """Print one table per metric: mean scores, published scores and the change by RankSim.

    More than six methods have one line each; details are in ``results.json``. ``metrics`` are by
    default the headline of the results.
    """
    scored = {name for row in results["summary"] for name in row["test"]["all"]}
    for metric in metrics or results["headline"]:
        if metric in scored:
            console.print(_table_of_scores(results, metric))
        else:  # crps without a method that predicts distributions, or older runs
            console.print(f"\nNo method here has {METRIC_TITLES[metric][0]}.", highlight=False)
    if len(results["summary"]) > _MAX_BLOCKS and results["pairs"]["pairs"]:
        console.print(_describe_pairs(results), highlight=False)
    for run in results["runs"]:
        if run["status"] == "failed":
            message = escape(f"{run_name(run)}: {run['result']['error']}")
            console.print(f"[red]failed[/]: {message}", highlight=False, soft_wrap=True)
    if conclusion := results.get("conclusion"):
        compared = [row for row in results["summary"] if row.get("vs_baseline")]
        rows = [row for row in unique_rows(compared) if row["vs_baseline"]["seeds"]]
        # the other tables show the change if only RankSim is compared
        if rows and [row["method"] for row in rows] != [f"{results['baseline']}+ranksim"]:
            console.print(_table_of_changes(results, rows))
        if any(row.get("views") for row in results["summary"]):
            console.print(_table_of_views(results))
        rows = [row for row in unique_rows(results["summary"]) if row.get("intervals")]
        if rows:
            print_coverage({row["method"]: row["intervals"] for row in rows}, console)
        _print_conclusion(conclusion, console)


def _print_conclusion(conclusion: Record, console: Console) -> None:
    """Print the headline, and the points as titles and texts."""
    if "headline" not in conclusion:  # of an earlier version
        console.print(conclusion["sentence"], highlight=False)
        return
    console.print(Text(f"\n{conclusion['headline']}", style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for point in conclusion["points"]:
        table.add_row(Text(point["title"]), Text(point["sentence"]))
    if table.row_count:
        console.print(table)


def print_scores(
    scores: Mapping[str, Record],
    metrics: Sequence[str],
    title: str,
    console: Console,
    *,
    test_set: str | None = None,
) -> None:
    """Print a table with the scores of one network, one line per region.

    ``test_set`` is how its test samples were chosen (see :class:`Benchmark`), if it is known.
    """
    table = Table(title=f"\n{title}", **_STYLE)
    table.add_column("region", no_wrap=True)
    for column in ("samples", *(METRIC_TITLES[metric][0] for metric in metrics)):
        table.add_column(column, justify="right")
    for cells in list_region_rows(scores, metrics, test_set, escape):
        table.add_row(*cells)
    console.print(table)
    if test_set:
        console.print(explain_test_set(test_set), highlight=False, soft_wrap=True)


def print_coverage(described: Mapping[str, Record], console: Console) -> None:
    """Print a table with coverage and width of the prediction intervals of methods, by region.

    More than six methods have two lines each, coverage by predicted region and mean width.
    """
    first = next(iter(described.values()))
    level = format_percent(first["level"], "", 0)
    cells = [each["ways"]["region"]["predicted"] for each in described.values()]
    regions = list(dict.fromkeys(name for each in cells for name in each if name != "zero"))
    title = f"Coverage of {level} prediction intervals, by the region of the prediction"
    caption = (
        f"calibrated on {format_count(first['calibration'], 'sample')}; given the true label, "
        "nothing guarantees coverage, so it is measured"
    )
    table = _make_table(title, caption, regions, 0)
    for name, each in described.items():
        ways, lines = each["ways"], _list_coverage_lines
        table.add_row(f"[bold]{escape(name)}[/]", *lines(ways["region"], "predicted", regions)[0])
        table.add_row("  mean width", *lines(ways["region"], "predicted", regions)[1])
        if len(described) <= _MAX_BLOCKS:
            if "split" in ways:
                coverage, widths = lines(ways["split"], "predicted", regions)
                table.add_row("  one threshold", *coverage)
                table.add_row("  mean width", *widths)
            table.add_row("  by true region", *lines(ways["region"], "true", regions)[0])
            if each.get("as_is"):
                coverage, widths = lines(each["as_is"], "predicted", regions)
                table.add_row("  as in your data", *coverage)
                table.add_row("  mean width", *widths)
            table.add_section()
    console.print(table)


def _list_coverage_lines(
    scores: Record, by: str, regions: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return coverage and mean width of intervals in each region as texts."""
    cells = [scores[by].get(name) for name in regions]
    coverage = ["–" if cell is None else format_percent(cell["coverage"], "", 1) for cell in cells]
    digits = choose_digits("mae", [cell and cell["width"] for cell in cells])
    widths = ["–" if cell is None else _format(cell["width"], digits, "infinite") for cell in cells]
    return coverage, widths


def _format(value: float | None, digits: int, missing: str = "–") -> str:
    return missing if value is None else f"{value:.{digits}f}"


def _make_table(title: str, caption: str | None, columns: Sequence[str], name_width: int) -> Table:
    """Return a table without rows; titles have one word per line, and only long words wrap."""
    table = Table(
        title=f"\n{title}", caption=caption, padding=(0, 0, 0, 1), caption_justify="left", **_STYLE
    )
    table.add_column("method", no_wrap=True, min_width=name_width)
    for name in columns:
        words = name.split(" ")
        is_long = max(map(len, words)) > _LONG_WORD
        table.add_column(
            escape("\n".join(words)), justify="right", no_wrap=not is_long, overflow="fold"
        )
    return table


def _table_of_scores(results: Record, metric: str) -> Table:
    """Return the table of one metric; if there are many methods, each has only one line."""
    summary, is_long = results["summary"], len(results["summary"]) > _MAX_BLOCKS
    regions = [
        region
        for region in summary[0]["test"]
        if any(row["test"].get(region, {}).get(metric, {"n": 0})["n"] for row in summary)
    ]
    if "zero" not in regions:  # then "seen" equals "all"
        regions = [region for region in regions if region != "seen"]
    columns = [(region, metric) for region in regions]
    if any(find_balanced(row["test"], [metric]) for row in summary):
        columns.insert(1, ("all", f"balanced_{metric}"))
    published = [(row["published"] or {}).get(metric, {}).get("all") for row in summary]
    has_published = any(figure is not None for figure in published)
    has_pairs = any(row.get("vs_without_ranksim") for row in summary)
    ensembles = [row.get("ensemble", {}).get("all", {}).get(metric) for row in summary]
    has_ensembles = any(score is not None for score in ensembles)
    extra = [*["publ."] * has_published, *["mean of seeds"] * has_ensembles]
    extra = [*extra, *["RankSim", "better"] * has_pairs] if is_long else []
    direction, test_set = "higher" if metric in _HIGHER else "lower", find_test_set(results)
    title = f"{METRIC_TITLES[metric][0]}, {direction} is better: {_describe_data(results)}"
    is_first = metric == results["headline"][0]
    is_balanced = len(columns) > len(regions)
    notes = (
        *(explain_test_set(test_set) * is_first, ABOUT_BALANCED * (is_first and is_balanced)),
        results.get("published_note"),
    )
    overall = title_of_all(test_set)
    headings = [
        BALANCED_TITLE if name != metric else overall if region == "all" else region
        for region, name in columns
    ]
    caption = " ".join(filter(None, notes)) or None
    table = _make_table(title, caption, [*headings, *extra], 17)
    counts = [
        summary[0]["test"][region]["n"]["mean"] if name == metric else None
        for region, name in columns
    ]
    table.add_row("  test samples", *(_format(n, 0, "") for n in counts), style="dim")
    table.add_section()
    digits = choose_digits(metric, [_read_score(row, ("all", metric))["mean"] for row in summary])
    for row, figure, score in zip(summary, published, ensembles, strict=True):
        failure = _describe_failed_runs(results, row)
        if not is_long:
            _add_block(table, row, metric, digits, columns, failure)
            continue
        missing = "failed" if failure and not row["seeds"] else "–"
        means = (_format(_read_score(row, column)["mean"], digits, missing) for column in columns)
        printed = [f"[dim]{_format(figure, digits, '')}[/]"] * has_published
        printed += [_format(score, digits, "")] * has_ensembles
        effect = _format_effect(row, metric, digits) if has_pairs else ()
        table.add_row("\n".join([row["method"], *failure]), *means, *printed, *effect)
    return table


def _describe_failed_runs(results: Record, row: Record) -> list[str]:
    """Return lines that say how many runs of a method failed and why; empty if none failed."""
    failed = failed_runs(results["runs"], row)
    if not failed:
        return []
    causes = dict.fromkeys(
        describe_failure(run) if run["result"].get("diverged") else "see below" for run in failed
    )
    first = next(iter(causes)).replace("(lr ", "(lr\0")  # keep the number on the same line
    lines = [f"{share_of_failed(failed, row)}failed:"]
    lines += [escape(line.replace("\0", " ")) for line in wrap(first, _NAME_WIDTH)]
    lines += [f"and {len(causes) - 1} more"] * (len(causes) > 1)
    return [f"[red]  {line}[/]" for line in lines]


def _add_block(
    table: Table,
    row: Record,
    metric: str,
    digits: int,
    columns: Sequence[tuple[str, str]],
    failure: Sequence[str],
) -> None:
    """Add the lines of one method: mean, deviation, published scores and change by RankSim."""
    scores = [_read_score(row, column) for column in columns]
    missing = "no data" if row["seeds"] else "failed" if failure else "–"
    means = (f"[bold]{_format(score['mean'], digits, missing)}[/]" for score in scores)
    table.add_row(f"[bold]{row['method']}[/]", *means)
    deviations = (_format(score["sd"], digits, "") for score in scores)
    if row.get("fitted_once"):
        table.add_row("  without a seed")
    else:
        table.add_row(f"  ± over {format_count(len(row['seeds']), 'seed')}", *deviations)
    if (ensemble := row.get("ensemble")) and metric in ensemble["all"]:
        averaged = (_format(ensemble[region].get(name), digits, "") for region, name in columns)
        table.add_row("  mean of seeds", *averaged)
    for line in failure:
        table.add_row(line)
    if row["published"]:
        figures = row["published"].get(metric, {})
        printed = (
            _format(figures.get(region) if name == metric else None, digits, "")
            for region, name in columns
        )
        table.add_row("  published", *printed, style="dim")
    comparison = row.get("vs_without_ranksim")
    if comparison and comparison["seeds"] and metric in comparison["test"]["all"]:
        effects = [comparison["test"][region].get(name, _NO_EFFECT) for region, name in columns]
        lines = {"  by RankSim": [effect["mean"] for effect in effects]}
        if metric in _ERRORS:
            lines["  in percent"] = [effect["relative"] for effect in effects]
        for end, label in enumerate(("  95\u202f% from", "  95\u202f% to")):
            lines[label] = [e["ci_seeds"] and e["ci_seeds"][end] for e in effects]
        for label, values in lines.items():
            is_percent = label == "  in percent"
            changes = (
                "" if v is None else format_percent(v) if is_percent else format_signed(v, digits)
                for v in values
            )
            table.add_row(label, *changes)
        if len(comparison["seeds"]) >= MIN_SEEDS:
            improved = (f"{e['better']} of {e['n']}" if e["n"] else "" for e in effects)
            table.add_row("  seeds better", *improved)
    table.add_section()


def _read_score(row: Record, column: tuple[str, str]) -> Record:
    """Return the summary of a score in a region; without a mean where a row has none."""
    region, name = column
    score: Record = row["test"][region].get(name, {"mean": None, "sd": None})
    return score


def _table_of_changes(results: Record, rows: Sequence[Record]) -> Table:
    """Return a table of changes from the baseline; intervals are shown for few methods only."""
    conclusion, baseline = results["conclusion"], results["baseline"]
    regions, error = conclusion["regions"], conclusion["error"]
    effects = [[row["vs_baseline"]["test"][region][error] for region in regions] for row in rows]
    has_intervals = any(effect["ci_total"] for line in effects for effect in line)
    is_short = len(rows) <= _MAX_BLOCKS
    caption = _LEGEND
    if is_short:
        units = describe_units(results)
        source = f"seeds and {units}"
        if all(row["vs_baseline"].get("fitted_once") for row in rows):
            source = f"{units} alone, as these methods need no seed"
        elif any(row["vs_baseline"].get("fitted_once") for row in rows):
            source += f", and over {units} alone if both methods need no seed"
        caption += f"; below: 95\u202f% intervals over {source}"
    title = f"Change of {METRIC_TITLES[error][0]} from {baseline}"
    heading = title_of_all(find_test_set(results))
    headings = [heading if region == "all" else region for region in regions]
    table = _make_table(title, caption if has_intervals else None, headings, 0)
    for row, line in zip(rows, effects, strict=True):
        table.add_row(f"[bold]{row['method']}[/]", *map(_format_change, line))
        if has_intervals and is_short:
            for end, label in enumerate(("  from", "  to")):
                ends = (_format_relative(e, e["ci_total"] and e["ci_total"][end]) for e in line)
                table.add_row(label, *ends, style="dim")
            table.add_section()
    return table


def _table_of_views(results: Record) -> Table:
    """Return a table of the main error and its change from the baseline in each test view."""
    error, counts = results["conclusion"]["error"], read_view_counts(results["labels"])
    title = f"{METRIC_TITLES[error][0]} by the labels of the test data"
    title += f", and change from {results['baseline']}"
    caption = "" if counts is None else explain_views(counts)
    table = _make_table(title, f"{_LEGEND}. {caption}", [], 0)
    for view in VIEWS:
        table.add_column(VIEW_TITLES[view], no_wrap=True)
    rows = [row for row in results["summary"] if row.get("views")]
    means = [row["views"][view][error]["mean"] for row in rows for view in VIEWS]
    digits = choose_digits(error, means)
    width = max(len(_format(mean, digits)) for mean in means)
    for row in rows:
        cells = []
        for view in VIEWS:
            effect = row.get("vs_baseline", {}).get("views", {}).get(view, {}).get(error)
            change = _format_change(effect) if effect else ""
            score = _format(row["views"][view][error]["mean"], digits)
            cells.append(f"{score:>{width}} {change:>10}")
        table.add_row(f"[bold]{row['method']}[/]", *cells)
    return table


def _format_change(effect: Record) -> str:
    """Format a change of an error as a percentage, with a mark if it is sure."""
    mark = ""
    if is_significant(effect):
        mark = _WORSE if effect["mean"] > 0 else _BETTER
    return _format_relative(effect, effect["mean"]) + (mark or " ")


def _format_relative(effect: Record, value: float | None) -> str:
    """Format a difference as a percentage of the baseline's error."""
    if value is None or not effect["relative"]:
        return "–"
    return format_percent(value * effect["relative"] / effect["mean"])


def _format_effect(row: Record, metric: str, digits: int) -> tuple[str, str]:
    """Format the change by RankSim over all samples, and the number of seeds it improves."""
    comparison = row.get("vs_without_ranksim")
    effect = comparison["test"]["all"].get(metric) if comparison else None
    if effect is None or effect["mean"] is None:
        return "", ""
    has_seeds = effect["n"] >= MIN_SEEDS
    star = " "
    if has_seeds and excludes_zero(effect["ci_seeds"]):
        star = _BETTER if (effect["mean"] < 0) == (metric in _ERRORS) else _WORSE
    if metric in _ERRORS:
        change = _format_relative(effect, effect["mean"])
    else:
        change = format_signed(effect["mean"], digits)
    return change + star, f"{effect['better']}/{effect['n']}" if has_seeds else "–"


def _describe_pairs(results: Record) -> str:
    pairs, error = results["pairs"], METRIC_TITLES[results["headline"][0]][0]
    aliases = ""
    if pairs["pairs"] > pairs["distinct"]:
        aliases = f" ({pairs['improved_distinct']} of {pairs['distinct']} without aliases)"
    test_samples = qualify_mean("all test samples", find_test_set(results))
    return (
        f"RankSim lowers {error} over {test_samples} in {pairs['improved']} of {pairs['pairs']} "
        f"pairs{aliases}; {_BETTER} and {_WORSE} mark a 95\u202f% interval that excludes zero: "
        f"{pairs['significantly_better']} lower, {pairs['significantly_worse']} higher."
    )


def _describe_data(results: Record) -> str:
    options = results.get("options", {})
    split = "target" if results["benchmark"] == "images" else "split"
    names = ("benchmark", split, "domains", "protocol", "preset")
    values = [value for name in names if (value := options.get(name, results.get(name)))]
    return ", ".join("+".join(value) if isinstance(value, list) else value for value in values)
