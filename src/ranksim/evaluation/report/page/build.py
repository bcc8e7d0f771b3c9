"""The page from a sweep's results."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ranksim.evaluation.report.figures.style import Picture
from ranksim.evaluation.report.page.errors import along_part, gaps_part
from ranksim.evaluation.report.page.labels import labels_part
from ranksim.evaluation.report.page.parts import Section, count, format_exact, format_rounded
from ranksim.evaluation.report.page.ranks import maps_part, ranks_part
from ranksim.evaluation.report.page.sweep import Sweep, score_name
from ranksim.evaluation.report.page.table import table_part
from ranksim.evaluation.report.page.training import training_part
from ranksim.exceptions import require_optional


@dataclass(frozen=True)
class Page:
    """A page and the pictures that stand in it.

    Args:
        html: the whole document.
        pictures: in their order.
    """

    html: str
    pictures: Sequence[Picture]


def build_page(results: dict[str, Any], more: Sequence[dict[str, Any]], folder: str) -> Page:
    """The page of a sweep.

    Args:
        results: the content of its ``results.json``.
        more: of other sweeps of the same benchmark, which add what they hold of gaps.
        folder: where the pictures lie beside the page.
    """
    sweep, others = Sweep(results), [Sweep(each) for each in more]
    methods, boards = table_part(sweep)
    parts = [
        labels_part(sweep),
        methods,
        along_part(sweep),
        gaps_part(sweep, others),
        ranks_part(sweep),
        maps_part(sweep),
        training_part(sweep, others),
    ]
    jinja2, markup = (
        require_optional("jinja2", "train"),
        require_optional("markupsafe", "train").Markup,
    )
    style, script = (
        (resources.files(__package__) / name).read_text(encoding="utf-8")
        for name in ("style.css", "script.js")
    )
    template = (resources.files(__package__) / "page.html.j2").read_text(encoding="utf-8")
    made = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = made.from_string(template).render(
        sweep=sweep,
        parts=parts,
        boards=boards,
        facts=list(_facts(sweep)),
        answer=_answer(sweep, methods),
        folder=folder,
        style=markup(style),
        script=markup(script),
        digests={"style": _digest(style), "script": _digest(script)},
        exact=format_exact,
        pretty=format_rounded,
        drawn=lambda picture: markup(picture.svg),
    )
    pictures = [each for part in parts for each in (*part.pictures, *part.folded)]
    return Page(html, pictures)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _answer(sweep: Sweep, methods: Section) -> dict[str, Any]:
    """What is said in large, what follows it, and what is said region by region."""
    answer = sweep.results["conclusion"]
    if not answer:
        return {"sentence": methods.told[0], "more": " ".join(methods.told[1:]), "regions": {}}
    first, stop, more = answer["sentence"].partition(". ")
    each = {r: told["sentence"] for r, told in answer["regions"].items() if told["sentence"]}
    return {"sentence": f"{first}{stop.strip()}", "more": more, "regions": each}


def _facts(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """What was compared on what: names and values."""
    results = sweep.results
    yield "data", results["benchmark"]
    shared = {name: results[name] for name in ("preset", "regions_from")}
    for name, value in (results["options"] | shared).items():
        if isinstance(value, bool) or name.endswith("sha256"):
            continue
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            yield name.replace("_", " "), ", ".join(value)
        elif isinstance(value, (str, int, float)):
            yield name.replace("_", " "), str(value)
    if sweep.labels is not None:
        train, test = sum(sweep.labels["train"]), sum(sweep.labels["test"])
        yield "labels", f"{sweep.quantity}: {train:,} training, {test:,} test"
    seeds = len(sweep.seeds)
    yield "compared", f"{count(len(sweep.rows), 'method')}, {count(seeds, 'seed')}"
    if sweep.failed:
        yield "failed", count(len(sweep.failed), "run")
    yield "error", f"{score_name(sweep.error)}, lower is better"
