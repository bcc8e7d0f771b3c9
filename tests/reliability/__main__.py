"""Measure what can be relied on, section by section, and write the page of it.

Usage: ``make trust``, or ``python -m tests.reliability [SECTION …] [--short] [--write]``. Without
``--short`` it takes the better part of an hour. ``--write`` keeps the figures in ``results/trust``
and makes ``docs/trust.md`` of all that are there. It ends with 1 where anything failed.
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write, write_json

SECTIONS = (
    "drift",
    "faults",
    "divergence",
    "fuzz",
    "security",
    "reproduce",
    "compatibility",
    "statistics",
)
ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "results/trust", ROOT / "docs/trust.md"
HEAD = """\
# What can be relied on

Everything on this page was measured by `make trust`, which takes the better part of an hour; a
short part of it runs with each change. `results/trust/` holds the figures, and a test holds the
page against them. *Tried* counts cases, *failed* those of them that did not end as promised.
"""


def section(name):
    """The module of a section."""
    return importlib.import_module(f"tests.reliability.{name}")


def measured(name, short):
    """The figures of a section, and what they were measured with."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = section(name).measure(short, Path(folder))
    made = {"short": short, "seconds": round(time.monotonic() - begun), **collect_provenance()}
    return {**found, "made": made}


def page(results):
    """The page, from the figures of all sections by their names."""
    parts = [HEAD]
    for name in SECTIONS:
        if name not in results:
            continue
        found = results[name]
        made = found["made"]
        rows = [
            f"| {each['what']} | {each['tried']:,} | {each['failed']:,} | {each.get('note', '')} |"
            for each in found["checks"]
        ]
        title = section(name).TITLE
        head = f"| {title.lower()} | tried | failed | |"
        command = f"`python -m tests.reliability {name} --write`"
        parts += [
            f"## {title}\n",
            "\n".join([head, "| --- | ---: | ---: | --- |", *rows]) + "\n",
            section(name).text(found).strip() + "\n",
            f"*{command}, {made['seconds']:,} s at {(made['commit'] or 'no commit')[:7]}*\n",
        ]
    return "\n".join(parts)


def show(console, name, found):
    """The checks of a section, on the terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(section(name).TITLE)
    table.add_column("tried", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("")
    for each in found["checks"]:
        style = "bold red" if each["failed"] else "" if each["tried"] else "dim"
        figures = f"{each['tried']:,}", f"{each['failed']:,}"
        table.add_row(each["what"], *figures, each.get("note", ""), style=style)
    console.print(table)


def main():
    """Measure, show, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--short", action="store_true", help="a part that takes two minutes")
    parser.add_argument("--write", action="store_true", help="keep the figures, make the page")
    given = parser.parse_args()
    if given.short and given.write:
        parser.error("--write keeps figures of whole sections alone: leave --short out")
    console, failed = Console(width=120), 0
    for name in given.sections or SECTIONS:
        found = measured(name, given.short)
        show(console, name, found)
        failed += sum(each["failed"] for each in found["checks"])
        if given.write:
            write_json(RESULTS / f"{name}.json", found)
    if given.write:
        with atomic_write(PAGE) as aside:
            aside.write_text(page(committed()), encoding="utf-8")
    if failed:
        sys.exit(f"{failed} of what was tried failed.")


def committed():
    """The figures that are in the repository, by section."""
    paths = {name: RESULTS / f"{name}.json" for name in SECTIONS}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


if __name__ == "__main__":
    main()
