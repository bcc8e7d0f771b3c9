"""Measure reliability section by section, and write the report.

Usage: ``make reliability``, or ``python -m tests.reliability [SECTION …] [--short] [--write]``.
Without ``--short`` it takes about an hour. ``--write`` stores the figures in
``results/reliability`` and rebuilds ``docs/reliability.md`` from all stored figures. The exit code
is 1 if any check fails.
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
    "intervals",
    "real_tables",
)
ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "results/reliability", ROOT / "docs/reliability.md"
HEADER = """\
# Reliability report

`make reliability` measures everything on this page in about an hour; CI runs a short version. The
figures are stored in `results/reliability/`, and a test compares the page with them. *Failures* are
cases that did not end as promised.
"""


def load_section(name):
    """Import the module of a section."""
    return importlib.import_module(f"tests.reliability.{name}")


def measure_section(name, short):
    """Return the figures of a section with their provenance."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = load_section(name).measure(short, Path(folder))
    seconds = round(time.monotonic() - start)
    return {**figures, "provenance": {"short": short, "seconds": seconds, **collect_provenance()}}


def render_page(results):
    """Render the report from the figures of all sections, by name."""
    parts = [HEADER]
    for name in SECTIONS:
        if name not in results:
            continue
        figures, section = results[name], load_section(name)
        origin = figures["provenance"]
        rows = [
            f"| {row['check']} | {row['cases']:,} | {row['failures']:,} | {row.get('note', '')} |"
            for row in figures["checks"]
        ]
        table = ["| check | cases | failures | note |", "| --- | ---: | ---: | --- |", *rows]
        command = f"`python -m tests.reliability {name} --write`"
        commit = (origin["commit"] or "no commit")[:7]
        parts += [
            f"## {section.TITLE}\n",
            "\n".join(table) + "\n",
            section.describe(figures).strip() + "\n",
            f"*{command}, {origin['seconds']:,} s at {commit}*\n",
        ]
    return "\n".join(parts)


def print_section(console, name, figures):
    """Print the checks of a section as a table."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(load_section(name).TITLE)
    table.add_column("cases", justify="right")
    table.add_column("failures", justify="right")
    table.add_column("")
    for row in figures["checks"]:
        style = "bold red" if row["failures"] else "" if row["cases"] else "dim"
        counts = f"{row['cases']:,}", f"{row['failures']:,}"
        table.add_row(row["check"], *counts, row.get("note", ""), style=style)
    console.print(table)


def main():
    """Parse arguments, measure, print, and write if requested."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--short", action="store_true", help="a version of two minutes")
    parser.add_argument("--write", action="store_true", help="store figures, rebuild the page")
    arguments = parser.parse_args()
    if arguments.short and arguments.write:
        parser.error("--write stores full measurements only: leave out --short")
    console, failures = Console(width=120), 0
    for name in arguments.sections or SECTIONS:
        figures = measure_section(name, arguments.short)
        print_section(console, name, figures)
        failures += sum(row["failures"] for row in figures["checks"])
        if arguments.write:
            write_json(RESULTS / f"{name}.json", figures)
    if arguments.write:
        with atomic_write(PAGE) as temporary:
            temporary.write_text(render_page(load_committed()), encoding="utf-8")
    if failures:
        sys.exit(f"{failures} checks failed.")


def load_committed():
    """Return the committed figures by section."""
    paths = {name: RESULTS / f"{name}.json" for name in SECTIONS}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


if __name__ == "__main__":
    main()
