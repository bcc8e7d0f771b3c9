"""The leaderboard as tables, sentences and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ranksim._utils.formatting import METRIC_TITLES, format_count, format_percent, join_names
from ranksim.evaluation.leaderboard import REGIONS, Cell, DataSet, Leaderboard, Row
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.summary import BASELINE
from ranksim.training.presets import Search

TITLES = {"few": "rare labels (few-shot)", "balanced": "all labels, balanced"}
MARKS = "✓ surely lower and ✗ surely higher, corrected for the number of methods of the data set."
_SHORT_LEGEND = f"Change of the test error from {BASELINE}, lower is better."
LEGEND = (
    f"{_SHORT_LEGEND} In brackets: its 95 % interval over seeds and test samples, and the number "
    f"of seeds if {BASELINE} has more. {MARKS}"
)
_PHRASES = {"few": "for rare labels", "balanced": "over all labels"}
_REACH = 0.3  # change at which the colors of the picture end
_ANY = 100  # names in a sentence


def print_leaderboard(board: Leaderboard, console: Console) -> None:
    """Print a table of changes for each region, and the sentences."""
    for region in REGIONS:
        table = Table(title=f"\n{TITLES[region]}", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("method", no_wrap=True)
        for data_set in board.data_sets:
            table.add_column(data_set.name, justify="right")
        table.add_column("✓/✗", justify="right")
        vanilla = [_describe_error(data_set, region) for data_set in board.data_sets]
        table.add_row(BASELINE, *vanilla, "", style="dim")
        for row in board.rows:
            cells = [_find_cell(row, data_set.name, region) for data_set in board.data_sets]
            changes = ["–" if cell is None else _describe_change(cell) for cell in cells]
            table.add_row(row.method, *changes, "/".join(map(str, row.count(region))))
        console.print(table)
    console.print(f"{_SHORT_LEGEND} {MARKS}", highlight=False, soft_wrap=True)
    for sentence in list_findings(board):
        console.print(sentence.replace("`", ""), highlight=False, markup=False, soft_wrap=True)


def list_markdown(board: Leaderboard) -> Iterator[str]:
    """Yield the lines of all tables and sentences in Markdown."""
    for region in REGIONS:
        yield f"## {TITLES[region].capitalize()}"
        yield ""
        yield from list_changes(board, region)
        yield ""
    yield f"{LEGEND} {describe_missing(board)}".rstrip()
    yield ""
    for sentence in list_findings(board):
        yield f"- {sentence}"
    yield ""
    yield "## Methods"
    yield ""
    yield from list_methods(board)


def list_changes(board: Leaderboard, region: str) -> Iterator[str]:
    """Yield the lines of a Markdown table with the changes of all methods in a region."""
    yield f"| method | {' | '.join(each.name for each in board.data_sets)} | ✓ / ✗ |"
    yield "| --- |" + " ---: |" * (len(board.data_sets) + 1)
    errors = [_describe_error(data_set, region) for data_set in board.data_sets]
    yield f"| `{BASELINE}` | {' | '.join(errors)} | |"
    for row in board.rows:
        cells = [_describe_cell(row, data_set, region) for data_set in board.data_sets]
        cells.append(" / ".join(map(str, row.count(region))))
        yield f"| `{row.method}` | {' | '.join(cells)} |"


def list_methods(board: Leaderboard) -> Iterator[str]:
    """Yield the lines of a Markdown table with cost, tuning, license and paper of each method."""
    yield "| method | step | training | tuned with | license of the authors' code | paper |"
    yield "| --- | ---: | ---: | --- | --- | --- |"
    for row in board.rows:
        costs = ["" if c is None else f"{c:.1f} ×" for c in (row.step_cost, row.total_cost)]
        searches = "; ".join(f"{_describe_search(s)} on {k}" for k, s in row.searches.items())
        if not searches and row.has_ranksim and board.tunings:
            searches = "as without RankSim, and its fields as alone"
        cells = [*costs, searches, row.license or "none known", row.paper or ""]
        yield f"| `{row.method}` | {' | '.join(cells)} |"


def list_setup(board: Leaderboard) -> Iterator[str]:
    """Yield sentences on how the leaderboard was measured."""
    alone = [row for row in board.rows if not row.has_ranksim]
    paired = [row for row in board.rows if row.has_ranksim]
    yield (
        f"{format_count(board.runs, 'training')}: {BASELINE} and {len(alone)} methods alone, "
        f"{len(paired)} with RankSim, on {format_count(len(board.data_sets), 'data set')}."
    )
    for data_set in board.data_sets:
        seeds: dict[int, list[str]] = {}
        for row in board.rows:
            if cells := row.cells.get(data_set.name):
                seeds.setdefault(next(iter(cells.values())).seeds, []).append(f"`{row.method}`")
        counts = [
            f"{format_count(count, 'seed')} of {format_count(len(methods), 'method')}"
            for count, methods in sorted(seeds.items(), reverse=True)
        ]
        recipe = "presets alone" if data_set.tuning is None else f"tuned on {data_set.tuning}"
        yield (
            f"{data_set.name} ({data_set.kind}): {METRIC_TITLES[data_set.error][0]}, preset "
            f"`{data_set.preset}`, {recipe}; {', '.join(counts)}."
        )


def list_findings(board: Leaderboard) -> Iterator[str]:
    """Yield sentences on which methods help on which kind of data, and which help nowhere."""
    kinds: dict[str, list[str]] = {}
    for data_set in board.data_sets:
        if not _has_intervals(board, data_set.name):
            reason = "one seed gives" if data_set.seeds == 1 else "unfinished trainings give"
            yield f"{data_set.name}: {reason} no intervals, so that no change is sure."
            continue
        kinds.setdefault(data_set.kind, []).append(data_set.name)
        parts = [_describe_region(board, data_set.name, region) for region in REGIONS]
        yield f"{data_set.name}: {'; '.join(parts)}."
    for kind, names in kinds.items():
        yield _describe_kind(board, kind, names)
    yield from _describe_pairs(board)
    most = max((row.count("few")[0] for row in board.rows), default=0)
    if most:
        names = [row.method for row in board.rows if row.count("few")[0] == most]
        yield (
            f"Most often surely better for rare labels, on {most} of "
            f"{format_count(len(board.data_sets), 'data set')}: {_join(names)}."
        )
    gains, losses = (
        [row.method for row in board.rows if any(row.count(region)[k] for region in REGIONS)]
        for k in range(2)
    )
    rest = [row.method for row in board.rows if row.method not in (*gains, *losses)]
    yield f"Never surely better nor worse than {BASELINE} on any of these data sets: {_join(rest)}."
    only = [method for method in losses if method not in gains]
    yield f"Surely worse somewhere and surely better nowhere: {_join(only)}."


def _describe_region(board: Leaderboard, name: str, region: str) -> str:
    """Describe which methods surely change the error of a region on a data set."""
    cells = {
        row.method: cell
        for row in board.rows
        if (cell := _find_cell(row, name, region)) is not None
    }
    if not cells:
        return f"{_PHRASES[region]} nothing is compared"
    gains = sorted((cell.change, method) for method, cell in cells.items() if cell.is_gain)
    change, lowest = min((cell.change, method) for method, cell in cells.items())
    if gains:
        named = [f"`{method}` ({format_percent(size)})" for size, method in gains]
        text = f"{join_names(named)} {'is' if len(gains) == 1 else 'are'} surely better"
    elif change < 0:
        text = f"no method is surely better, and `{lowest}` has the lowest mean "
        text += f"({format_percent(change)}, 95\u202f%: {_describe_interval(cells[lowest])})"
    else:
        text = f"no method has a lower mean than {BASELINE}"
    losses = [f"`{method}`" for method, cell in cells.items() if cell.is_loss]
    worse = f", surely worse {join_names(losses)}" if losses else ""
    return f"{_PHRASES[region]} {text}{worse}"


def _describe_kind(board: Leaderboard, kind: str, names: Sequence[str]) -> str:
    """Describe which methods help rare labels on most data sets of a kind, at what cost."""
    gains = {
        row.method: sum((cell := _find_cell(row, name, "few")) is not None and cell.is_gain
                        for name in names)
        for row in board.rows
    }  # fmt: skip
    usual = [row for row in board.rows if 2 * gains[row.method] > len(names)]
    place = _capitalize(f"{kind} ({join_names(names, _ANY)})")
    if not usual:
        most = " on most of them" * (len(names) > 1)
        return f"{place}: no method surely lowers the error for rare labels{most}."
    free = [
        row.method
        for row in usual
        if not any(
            (cell := _find_cell(row, name, "balanced")) is not None and cell.is_loss
            for name in names
        )
    ]
    most = "on most, " * (len(names) > 1)
    return (
        f"{place}: {most}the error for rare labels falls surely with "
        f"{_join([row.method for row in usual])}; without a sure rise over all labels on any: "
        f"{_join(free)}."
    )


def _describe_pairs(board: Leaderboard) -> Iterator[str]:
    """Yield a sentence on methods with and without RankSim, if there are such pairs."""
    pairs: Counter[str] = sum((Counter(each.pairs) for each in board.data_sets), Counter())
    if pairs["pairs"]:
        yield (
            f"Adding RankSim lowers the mean error over all labels in {pairs['improved']} of "
            f"{format_count(pairs['pairs'], 'pair')} of a method and a data set; by the 95\u202f% "
            f"intervals over seeds it surely falls in {pairs['significantly_better']}, and surely "
            f"rises in {pairs['significantly_worse']}."
        )


def draw_leaderboard(board: Leaderboard) -> plot.Picture:
    """Draw the changes of all methods as colors, one panel per region; sure ones are marked."""
    rows, names = board.rows, [data_set.name for data_set in board.data_sets]
    height = 0.155 * len(rows) + 1.1
    description = (
        f"Change of the test error from {BASELINE} by method and data set, for "
        f"{' and '.join(TITLES.values())}; ✓ and ✗ mark sure changes."
    )

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(REGIONS), sharex=True, sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.22, right=0.99, top=1 - 0.3 / height, bottom=0.8 / height, wspace=0.05
        )
        for axis, region in zip(axes, REGIONS, strict=True):
            _paint_changes(axis, board, region)
            axis.set_title(TITLES[region])
            axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
        axes[0].set_yticks(range(len(rows)), [plot.shorten(row.method, 30) for row in rows])
        axes[0].tick_params(axis="y", labelcolor=plot.INK)
        axes[0].set(xlim=(-0.5, len(names) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        note = f"change from {BASELINE}; green: lower, red: higher, full at "
        note += (
            f"{format_percent(_REACH, '', 0)}; ✓ and ✗: sure, corrected for the number of methods"
        )
        figure.text(0.5, 0.01, note, ha="center", va="bottom", color=plot.GRAY, fontsize=7)

    return plot.render_picture("leaderboard", description, (plot.WIDTH, height), paint)


def _paint_changes(axis: Any, board: Leaderboard, region: str) -> None:
    """Paint the changes in a region as colored boxes, which also fit a dark page."""
    for i, row in enumerate(board.rows):
        for j, data_set in enumerate(board.data_sets):
            if (cell := _find_cell(row, data_set.name, region)) is None:
                axis.text(j, i, "·", ha="center", va="center", color=plot.GRAY)
                continue
            color = plot.BETTER if cell.change < 0 else plot.WORSE
            strength = min(abs(cell.change) / _REACH, 1.0)
            axis.broken_barh(
                [(j - 0.48, 0.96)], (i - 0.46, 0.92), color=color, alpha=strength, linewidth=0
            )
            mark = "✓" if cell.is_gain else "✗" if cell.is_loss else ""
            axis.text(j, i, mark, ha="center", va="center", fontsize=6.5)


def _has_intervals(board: Leaderboard, name: str) -> bool:
    """Return whether a sweep has ended, which computes the intervals of all its cells."""
    cells = [cell for row in board.rows for cell in row.cells.get(name, {}).values()]
    return any(cell.interval is not None for cell in cells)


def _find_cell(row: Row, name: str, region: str) -> Cell | None:
    return row.cells.get(name, {}).get(region)


def _describe_error(data_set: DataSet, region: str) -> str:
    """Describe the error of vanilla on a data set."""
    value, title = data_set.vanilla[region], METRIC_TITLES[data_set.error][0]
    if value is None:
        return "no samples"
    return f"{title} {value:,.0f}" if value >= 1_000 else f"{title} {value:#.3g}"


def _describe_change(cell: Cell) -> str:
    mark = " ✓" if cell.is_gain else " ✗" if cell.is_loss else ""
    return f"{format_percent(cell.change)}{mark}"


def _describe_interval(cell: Cell) -> str:
    if cell.interval is None:
        return "no interval yet"
    return " to ".join(format_percent(end) for end in cell.interval)


def _describe_cell(row: Row, data_set: DataSet, region: str) -> str:
    """Describe a change with its interval, and its seeds if vanilla has more."""
    if (cell := _find_cell(row, data_set.name, region)) is None:
        return ""
    notes = [_describe_interval(cell)]
    if cell.seeds < data_set.seeds:
        notes.append(format_count(cell.seeds, "seed"))
    text = f"{_describe_change(cell)} ({'; '.join(notes)})".replace("\u202f", " ")
    return f"**{text}**" if cell.is_sure else text


def describe_missing(board: Leaderboard) -> str:
    """Return a sentence on which cells are empty, and why; empty if all are there."""
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for row in board.rows:
        for reason in dict.fromkeys(row.missing.values()):
            names = tuple(name for name, each in row.missing.items() if each == reason)
            reasons.setdefault((reason, names), []).append(row.method)
    parts = [
        f"{reason} on {join_names(names, _ANY)}: {_join(methods)}"
        for (reason, names), methods in reasons.items()
    ]
    return f"Empty cells: {'; '.join(parts)}." if parts else ""


def _describe_search(search: Search) -> str:
    """Describe how a recipe was searched, such as ``6 trials of 2 seeds``."""
    text = format_count(search.trials, "trial")
    return text if search.seeds is None else f"{text} of {format_count(len(search.seeds), 'seed')}"


def _join(methods: Sequence[str]) -> str:
    return join_names([f"`{method}`" for method in methods], _ANY) or "none"


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
