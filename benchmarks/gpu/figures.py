"""Figures with targets, the file that collects them, and their tables."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranksim._utils.provenance import find_commit
from ranksim._utils.storage import atomic_write, write_json

COMPLETE, RUNNING, SKIPPED = "complete", "running", "skipped"
MARKS = "<!-- made by benchmarks/gpu -->", "<!-- until here -->"
NO_FILE = (
    "**`results/gpu` contains no file yet**: no GPU was available, so nothing has been timed on\n"
    "one, and it is not known whether these goals are reached."
)


@dataclass(frozen=True)
class Settings:
    """Where the parts run, and how much of each; ``smoke`` runs tiny ones on a CPU."""

    smoke: bool = False
    data: Path | None = None  # folder of faces-64.zip

    @property
    def device(self) -> str:
        """Return the device of the measured tensors."""
        return "cpu" if self.smoke else "cuda"


@dataclass(frozen=True)
class Figure:
    """One figure, in a row and a column of its part's table, and its target."""

    row: str
    column: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, and whether the target was reached."""
        content = {name: value for name, value in asdict(self).items() if value is not None}
        if self.at_least is not None:
            content["reached"] = self.value >= self.at_least
        if self.at_most is not None:
            content["reached"] = self.value <= self.at_most
        return content


class ResultFile:
    """A JSON file that is complete after each figure, so that a killed run loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, settings: Settings, commit: str | None) -> None:
        """Begin a new file, with what identifies the machine."""
        machine = describe_machine(settings, commit)
        write_json(self.path, {**machine, "smoke": settings.smoke, "parts": {}})

    def read(self) -> dict[str, Any]:
        """Return the content."""
        content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return content

    def update(self, part: str, **changes: Any) -> None:
        """Change fields of a part."""
        content = self.read()
        content["parts"].setdefault(part, {"figures": []}).update(changes)
        write_json(self.path, content)

    def add(self, part: str, figure: Figure) -> None:
        """Append a figure to a part."""
        figures = self.read()["parts"].get(part, {}).get("figures", [])
        self.update(part, figures=[*figures, figure.to_dict()])


def describe_machine(settings: Settings, commit: str | None) -> dict[str, Any]:
    """Return card, driver, versions, commit and date."""
    on_gpu = settings.device == "cuda"
    return {
        "card": torch.cuda.get_device_name() if on_gpu else "CPU",
        "driver": _find_driver() if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "commit": commit or find_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def file_name(card: str) -> str:
    """Return the name of a card's file.

    Example:
        >>> file_name("NVIDIA H100 80GB HBM3")
        'nvidia-h100-80gb-hbm3.json'
    """
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in card.lower()).split()
    return "-".join(words) + ".json"


def _find_driver() -> str | None:
    """Return the version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.split("\n")[0].strip() or None


def format_results(content: dict[str, Any]) -> str:
    """Return the tables of a file as Markdown."""
    names = ("driver", "torch", "cuda", "commit", "date")
    facts = ", ".join(f"{name} {content[name]}" for name in names if content[name])
    parts = [format_part(name, part) for name, part in content["parts"].items()]
    return "\n\n".join([f"**{content['card']}** ({facts}):", *parts])


def format_part(name: str, part: dict[str, Any]) -> str:
    """Return status and table of a part as Markdown."""
    status = part["status"] + (f": {part['reason']}" if part.get("reason") else "")
    seconds = f", {part['seconds']:.0f} s" if "seconds" in part else ""
    head = f"*{name}* ({status}{seconds})"
    return "\n\n".join([head, *([format_table(part["figures"])] if part["figures"] else [])])


def format_table(figures: list[dict[str, Any]]) -> str:
    """Return rows and columns of figures as a Markdown table.

    Example:
        >>> figure = Figure("M = 64", "× the loop", 312.4, at_least=100)
        >>> print(format_table([figure.to_dict()]))
        |  | × the loop |
        | --- | ---: |
        | M = 64 | 312 (≥ 100: reached) |
    """
    rows = list(dict.fromkeys(figure["row"] for figure in figures))
    columns = list(dict.fromkeys(figure["column"] for figure in figures))
    cells = {(figure["row"], figure["column"]): format_figure(figure) for figure in figures}
    lines = [["", *columns], ["---", *["---:"] * len(columns)]]
    lines += [[row, *(cells.get((row, column), "") for column in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_figure(figure: dict[str, Any]) -> str:
    """Return a value with its unit and its target."""
    value = figure["value"]
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    text += f" {figure['unit']}" if figure["unit"] else ""
    if "reached" not in figure:
        return text
    sign, limit = ("≥", "at_least") if "at_least" in figure else ("≤", "at_most")
    return f"{text} ({sign} {figure[limit]:g}: {'' if figure['reached'] else 'not '}reached)"


def describe_folder(folder: Path) -> str:
    """Return the text of docs/speed.md on all files of a folder."""
    paths = sorted(folder.glob("*.json"))
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return "\n\n".join(map(format_results, contents)) if contents else NO_FILE


def write_page(page: Path, folder: Path) -> None:
    """Replace what lies between the marks of a page by the results of a folder."""
    start, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, end = rest.partition(MARKS[1])
    text = f"{start}{MARKS[0]}\n{describe_folder(folder)}\n{MARKS[1]}{end}"
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
