"""Write the page of a sweep and its pictures (``ranksim report``)."""

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
_PICTURES = "0[1-7]-*.*"


def write_page(results: dict[str, Any], out: Path, others: Sequence[dict[str, Any]] = ()) -> Path:
    """Write the page of a sweep, and its pictures as SVG and PNG into a folder beside it.

    Equal results give equal bytes. The page is written after its pictures.

    Args:
        results: content of its ``results.json``, in the current format.
        out: the HTML file; the folder has its name without the suffix.
        others: of other sweeps of the same benchmark, which contribute their gaps.

    Returns:
        ``out``.
    """
    folder = out.with_suffix("")
    page = build_page(_with_comparison(results), [_with_comparison(r) for r in others], folder.name)
    files = {f"{picture.name}.svg": picture.svg.encode("utf-8") for picture in page.pictures}
    files |= {f"{picture.name}.png": picture.png for picture in page.pictures}
    for name, content in files.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content)
    for path in folder.glob(_PICTURES):
        if path.name not in files:  # from an earlier page
            path.unlink()
    with atomic_write(out) as partial:
        partial.write_text(page.html, encoding="utf-8", errors="replace")
    return out


def write_report(runs: Sequence[Path], out: Path | None) -> dict[str, Any]:
    """Read the results of sweeps and write their page.

    Args:
        runs: folders of sweeps, or their ``results.json``; the first is the subject of the page.
        out: the page; ``None``: ``report.html`` beside the first results.

    Returns:
        ``page`` and ``pictures``, paths as text.

    Raises:
        DataError: results are missing or damaged.
        UsageError: the sweeps are of different benchmarks, or ``out`` does not end in ``.html``.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out must name an HTML file, got {out}: use a name that ends in .html.")
    first, *others = sweeps = [read_results(run) for run in runs]
    for run, sweep in zip(runs, sweeps, strict=True):
        if sweep["benchmark"] != first["benchmark"]:
            raise UsageError(
                f"{run} is a sweep of {sweep['benchmark']}, but {runs[0]} is one of "
                f"{first['benchmark']}: give sweeps of one benchmark."
            )
    results = results_path(runs[0])
    try:
        page = write_page(first, out or results.with_name(PAGE), others)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"{results} or another given file lacks values that the page shows "
            f"({type(error).__name__}): run the sweep again, or give another folder."
        ) from error
    pictures = sorted(page.with_suffix("").glob(_PICTURES))
    return {"page": str(page), "pictures": [str(path) for path in pictures]}


def _with_comparison(results: dict[str, Any]) -> dict[str, Any]:
    """Return results with the comparison over seeds that formats 1 and 2 did not store."""
    if results.get("baseline") or not results["summary"]:
        return results
    summary = [dict(row) for row in results["summary"]]
    baseline = choose_baseline(summary)
    add_comparison(summary, results["runs"], baseline, None)
    return results | {"baseline": baseline, "summary": summary}
