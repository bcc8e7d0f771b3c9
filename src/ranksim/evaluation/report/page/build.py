"""Build the HTML page of a sweep from its results."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ranksim._utils.formatting import format_count
from ranksim.evaluation.report.page.elements import Section, format_exact, format_rounded
from ranksim.evaluation.report.page.errors import error_section, gaps_section
from ranksim.evaluation.report.page.features import features_section
from ranksim.evaluation.report.page.labels import labels_section
from ranksim.evaluation.report.page.ranks import ranks_section
from ranksim.evaluation.report.page.scores import scores_section
from ranksim.evaluation.report.page.sweep_results import SweepResults
from ranksim.evaluation.report.page.training import training_section
from ranksim.evaluation.report.plotting import Picture
from ranksim.exceptions import require_optional


@dataclass(frozen=True)
class Page:
    """The HTML document of a page, and its pictures in order."""

    html: str
    pictures: Sequence[Picture]


def build_page(results: dict[str, Any], others: Sequence[dict[str, Any]], folder: str) -> Page:
    """Build the page of a sweep.

    Args:
        results: content of its ``results.json``.
        others: of other sweeps of the same benchmark, which contribute their gaps.
        folder: relative path of the picture files.
    """
    sweep, other_sweeps = SweepResults(results), [SweepResults(content) for content in others]
    scores, score_tables = scores_section(sweep)
    sections = [
        labels_section(sweep),
        scores,
        error_section(sweep),
        gaps_section(sweep, other_sweeps),
        ranks_section(sweep),
        features_section(sweep),
        training_section(sweep, other_sweeps),
    ]
    jinja2 = require_optional("jinja2", "train")
    markup = require_optional("markupsafe", "train").Markup
    template, style, script = (
        (resources.files(__package__) / name).read_text(encoding="utf-8")
        for name in ("page.html.j2", "style.css", "script.js")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(template).render(
        sweep=sweep,
        sections=sections,
        score_tables=score_tables,
        facts=list(_list_facts(sweep)),
        conclusion=_split_conclusion(sweep, scores),
        folder=folder,
        style=markup(style),
        script=markup(script),
        digests={"style": _digest(style), "script": _digest(script)},
        exact=format_exact,
        pretty=format_rounded,
        svg=lambda picture: markup(picture.svg),
    )
    pictures = [picture for it in sections for picture in (*it.pictures, *it.collapsed)]
    return Page(html, pictures)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _split_conclusion(sweep: SweepResults, scores: Section) -> dict[str, Any]:
    """Return the headline, the sentences after it, and one sentence per region."""
    conclusion = sweep.content.get("conclusion")
    if not conclusion:
        first, *rest = scores.findings
        return {"headline": first, "lead": " ".join(rest), "regions": {}}
    first, stop, rest = conclusion["sentence"].partition(". ")
    sentences = {name: region["sentence"] for name, region in conclusion["regions"].items()}
    return {"headline": f"{first}{stop.strip()}", "lead": rest, "regions": sentences}


def _list_facts(sweep: SweepResults) -> Iterator[tuple[str, str]]:
    """List the data and settings of the sweep as names and values."""
    content = sweep.content
    yield "data", content["benchmark"]
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
    methods, seeds = len(sweep.rows), len(sweep.seeds)
    yield "compared", f"{format_count(methods, 'method')}, {format_count(seeds, 'seed')}"
    if sweep.failed:
        yield "failed", format_count(len(sweep.failed), "run")
    yield "error", f"{sweep.error_name}, lower is better"
