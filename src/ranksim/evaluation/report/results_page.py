"""``ranksim report``: the page of a sweep, and its pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranksim._utils.storage import atomic_write
from ranksim.evaluation.comparison import add_comparison, choose_baseline
from ranksim.evaluation.record import read_results, results_path
from ranksim.evaluation.report.page import build_page
from ranksim.exceptions import DataError, UsageError

PAGE = "report.html"


def write_page(results: dict[str, Any], out: Path, more: Sequence[dict[str, Any]] = ()) -> Path:
    """Write the page of a sweep, and its pictures as SVG and PNG into a folder beside it.

    The same results give the same bytes. The page itself is written last.

    Args:
        results: the content of its ``results.json``.
        out: the HTML file; the folder has its name without the ending.
        more: of other sweeps of the same benchmark, which add what they hold of gaps.

    Returns:
        ``out``.
    """
    folder = out.with_suffix("")
    page = build_page(_completed(results), [_completed(each) for each in more], folder.name)
    made = {}
    for picture in page.pictures:
        made[f"{picture.name}.svg"] = picture.svg.encode("utf-8")
        made[f"{picture.name}.png"] = picture.png
    for name, content in made.items():
        with atomic_write(folder / name) as aside:
            aside.write_bytes(content)
    for left in folder.glob("0[1-7]-*.*"):  # of an earlier page
        if left.name not in made:
            left.unlink()
    with atomic_write(out) as aside:
        aside.write_text(page.html, encoding="utf-8", errors="replace")
    return out


def report(runs: Sequence[Path], out: Path | None) -> dict[str, Any]:
    """Carry out ``ranksim report``.

    Args:
        runs: folders of sweeps, or their ``results.json``; the first is the page's.
        out: the page; ``None``: ``report.html`` beside the first one's results.

    Returns:
        ``page`` and ``pictures``, paths as text.

    Raises:
        DataError: there are no results, or a file that is not one of them.
        UsageError: the sweeps are of different benchmarks, or ``out`` does not end in ``.html``.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out must name an HTML file, got {out}: let it end in .html.")
    first, *more = found = [read_results(run) for run in runs]
    for run, other in zip(runs, found, strict=True):
        if other["benchmark"] != first["benchmark"]:
            raise UsageError(
                f"{run} is a sweep of {other['benchmark']}, {runs[0]} one of "
                f"{first['benchmark']}: give sweeps of one benchmark."
            )
    try:
        page = write_page(first, out or results_path(runs[0]).with_name(PAGE), more)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"{results_path(runs[0])} or one beside it does not hold what a page shows "
            f"({type(error).__name__}): make it again, or give another folder."
        ) from error
    pictures = sorted(page.with_suffix("").glob("0[1-7]-*.*"))
    return {"page": str(page), "pictures": [str(path) for path in pictures]}


def _completed(results: dict[str, Any]) -> dict[str, Any]:
    """With the comparison against the baseline that formats before 3 lack, over seeds alone."""
    if results["baseline"] is not None or not results["summary"]:
        return results
    summary = [dict(row) for row in results["summary"]]
    baseline = choose_baseline(summary)
    add_comparison(summary, results["runs"], baseline, None)
    return results | {"baseline": baseline, "summary": summary}
