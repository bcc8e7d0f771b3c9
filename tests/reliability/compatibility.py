"""The package in empty environments, and the public API."""

from pathlib import Path
from typing import Any

from tools.api import FILE, listed, lost, names
from tools.api import text as api_text

import ranksim
from tools.matrix import EXTRAS, TESTS, Made, build, environments, make

TITLE = "Compatibility"


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """The API file; whole, every environment that can be made here too."""
    content, now = FILE.read_text(encoding="utf-8"), set(names())
    wrong = int(content != api_text(listed(content)[1]))
    gone = len(lost(content, now, ranksim.__version__))
    checks = [
        {"what": "public names and options", "tried": len(now), "failed": wrong + gone, "note": ""}
    ]
    rows: list[Made] = []
    wheel = build(folder / "dist")  # it lacks nothing and holds nothing else, or this fails
    checks.append({"what": "the wheel", "tried": 1, "failed": 0, "note": ""})
    if not short:
        rows = [make(*each, wheel, folder / "-".join(each)) for each in environments("all")]
    for made in rows:
        tried, failed = int(made.ok is not None), int(made.ok is False)
        note = made.told if made.ok is None else ", ".join((*made.checks, made.tests)).strip(", ")
        checks.append({"what": made.name, "tried": tried, "failed": failed, "note": note})
    environment = {made.name: made.told for made in rows if made.ok is not None}
    return {"checks": checks, "environments": environment}


def text(found: dict[str, Any]) -> str:
    """What was installed where, and what was done there."""
    rows = "\n".join(f"| {name} | {told} |" for name, told in found["environments"].items())
    return f"""\
The wheel is made of the source distribution, installed into an empty environment outside the
checkout, and used there. *Alone*: with torch and numpy, where the loss works and each missing extra
is one sentence. *Pinned*: the extra `train` in the versions of `constraints.txt`. *Lowest*: the
lowest versions that `pyproject.toml` allows; *newest*: the newest that can be had. But for the
first, each compares two methods on a generated table, fits a model and predicts; lowest and
newest also run {len(TESTS)} files and folders of the suite, with the extras {", ".join(EXTRAS)}.
Ray was not tried at its lowest version.

| environment | versions |
| --- | --- |
{rows}

`docs/api.txt` lists the public names with their arguments, the commands with their options, the
exit codes and the formats of files; a test holds it against the code. What goes is kept for two
minor versions with a DeprecationWarning.
"""
