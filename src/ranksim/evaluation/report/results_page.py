"""Write the HTML page of a sweep and its pictures (``ranksim report``)."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import format_count
from ranksim._utils.storage import atomic_write
from ranksim.data.data_report import format_data_report
from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.record import read_results, results_path
from ranksim.evaluation.report.page.elements import (
    Section,
    SweepResults,
    format_exact,
    format_rounded,
)
from ranksim.evaluation.report.page.features import features_section, ranks_section
from ranksim.evaluation.report.page.intervals import intervals_section
from ranksim.evaluation.report.page.label_axis import error_section, gaps_section, labels_section
from ranksim.evaluation.report.page.scores import (
    explain_views_table,
    scores_section,
    views_table,
)
from ranksim.evaluation.report.page.training import training_section
from ranksim.evaluation.summary import choose_baseline
from ranksim.evaluation.views import title_of_all
from ranksim.exceptions import DataError, UsageError, require_optional

PAGE = "report.html"
_PICTURES = "0[1-8]-*.*"


def write_page(results: dict[str, Any], out: Path, others: Sequence[dict[str, Any]] = ()) -> Path:
    """Write the HTML page of a sweep to ``out``, and its pictures to a folder beside it.

    Equal results, in the current format, give equal bytes. Other sweeps of the same benchmark
    contribute their gaps. The page is written after its pictures.
    """
    folder = out.with_suffix("")
    sweep, *other_sweeps = (SweepResults(_upgrade(each)) for each in (results, *others))
    scores, score_tables = scores_section(sweep)
    sections = [
        labels_section(sweep),
        scores,
        error_section(sweep),
        gaps_section(sweep, other_sweeps),
        ranks_section(sweep),
        features_section(sweep),
        training_section(sweep, other_sweeps),
        *filter(None, [intervals_section(sweep)]),
    ]
    html = _render_html(
        sweep=sweep,
        sections=sections,
        score_tables=score_tables,
        views=views_table(sweep),
        views_note=explain_views_table(sweep),
        facts=list(_list_facts(sweep)),
        conclusion=_split_conclusion(sweep, scores),
        folder=folder.name,
    )
    files = {}
    for section in sections:
        for picture in (*section.pictures, *section.collapsed):
            files[f"{picture.name}.svg"] = picture.svg.encode("utf-8")
            files[f"{picture.name}.png"] = picture.png
    for name, content in files.items():
        with atomic_write(folder / name) as partial:
            partial.write_bytes(content)
    for path in folder.glob(_PICTURES):
        if path.name not in files:  # from an earlier page
            path.unlink()
    with atomic_write(out) as partial:
        partial.write_text(html, encoding="utf-8", errors="replace")
    return out


def write_report(runs: Sequence[Path], out: Path | None) -> dict[str, Any]:
    """Read the results of sweeps, write the page of the first, and return the written paths.

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
            f"{results}, or another of the given results, lacks values that the page shows "
            f"({type(error).__name__}): run the sweep again, or give another folder."
        ) from error
    pictures = sorted(page.with_suffix("").glob(_PICTURES))
    return {"page": str(page), "pictures": [str(path) for path in pictures]}


def _upgrade(results: dict[str, Any]) -> dict[str, Any]:
    """Add what results of earlier versions lack: the comparison, and a conclusion with losses."""
    if not results["summary"]:
        return results
    if not results.get("baseline"):
        summary = [dict(row) for row in results["summary"]]
        baseline = choose_baseline(summary)
        add_comparison(summary, results["runs"], baseline, None)
        results = results | {"baseline": baseline, "summary": summary}
    conclusion = results.get("conclusion")
    if conclusion and "headline" not in conclusion:
        names = (results["summary"], results["baseline"], conclusion["error"], results["labels"])
        results = results | {"conclusion": draw_conclusion(*names)}
    return results


def _render_html(**content: Any) -> str:
    """Render the page template; its security policy contains digests of style and script."""
    markup = require_optional("markupsafe", "train").Markup
    style, script = _read_resource("style.css"), _read_resource("script.js")
    html: str = _load_template().render(
        **content,
        style=markup(style),
        script=markup(script),
        digests={"style": _digest(style), "script": _digest(script)},
        exact=format_exact,
        pretty=format_rounded,
        svg=lambda picture: markup(picture.svg),
    )
    return html


@functools.cache
def _load_template() -> Any:
    """Return the template; compiling it takes a fifth of a second."""
    jinja2 = require_optional("jinja2", "train")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read_resource("page.html.j2"))


def _read_resource(name: str) -> str:
    return (resources.files(f"{__package__}.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _split_conclusion(sweep: SweepResults, scores: Section) -> dict[str, Any]:
    """Return the headline of the conclusion, its points or further sentences, and its regions."""
    conclusion = sweep.content.get("conclusion")
    if not conclusion:
        first, *rest = scores.findings
        return {"headline": first, "lead": " ".join(rest), "points": [], "regions": {}}
    sentences = {
        title_of_all(sweep.test_set) if name == "all" else name: region["sentence"]
        for name, region in conclusion["regions"].items()
    }
    return {**conclusion, "lead": "", "regions": sentences}


def _list_facts(sweep: SweepResults) -> Iterator[tuple[str, str]]:
    """Yield the data and settings of the sweep as pairs of name and value."""
    content = sweep.content
    yield "data", sweep.file or content["benchmark"]
    if date := content.get("date"):
        yield "date", date
    settings = {"preset": content.get("preset"), "regions from": content.get("regions_from")}
    for name, value in {**content.get("options", {}), **settings}.items():
        if isinstance(value, bool) or name.endswith("sha256"):
            continue
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            yield name.replace("_", " "), ", ".join(value)
        elif isinstance(value, (str, int, float)):
            yield name.replace("_", " "), str(value)
    if sweep.labels is not None:
        train, test = sum(sweep.labels["train"]), sum(sweep.labels["test"])
        yield "labels", f"{sweep.quantity}: {train:,} training, {test:,} test"
    for title, text in format_data_report(content.get("data_report") or {}):
        yield title.lower(), text
    methods, seeds = len(sweep.rows), len(sweep.seeds)
    yield "compared", f"{format_count(methods, 'method')}, {format_count(seeds, 'seed')}"
    if (units := content.get("interval_units")) and units["unit"] != "samples":
        counts = [f"{n:,} in {name}" for name, n in units["counts"].items() if n and name != "seen"]
        yield "intervals over", f"{units['unit']} of the test set: {', '.join(counts)}"
    if sweep.failed:
        yield "failed", format_count(len(sweep.failed), "run")
    yield "error", f"{sweep.error_name}, lower is better"
