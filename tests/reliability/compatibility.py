"""The wheel and the tests in fresh environments, created by nox."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TITLE = "Compatibility"
ROOT = Path(__file__).parents[2]
SESSIONS = ("wheel", "lowest", "tests-3.11", "tests-3.12", "tests-3.13")


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Run the nox sessions and return their outcome; the short version builds the wheel only."""
    rows, versions = [], {}
    for name in SESSIONS[:1] if short else SESSIONS:
        command = [sys.executable, "-m", "nox", "--session", name, "--envdir", str(folder / "nox")]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        output = result.stdout + result.stderr
        skipped = "not found" in output or "was skipped" in output
        summary = re.findall(r"\d+ passed.*? in", output)
        note = "this Python is not installed" if skipped else ", ".join(summary).removesuffix(" in")
        failed = int(result.returncode != 0 and not skipped)
        rows.append({"check": name, "cases": int(not skipped), "failures": failed, "note": note})
    return {"checks": rows, "environments": versions}


def describe(figures: dict[str, Any]) -> str:
    """Describe the environments."""
    rows = "\n".join(f"| {name} | {text} |" for name, text in figures["environments"].items())
    table = f"\n| environment | versions |\n| --- | --- |\n{rows}\n" if rows else ""
    return f"""\
`noxfile.py` builds the wheel from the source distribution and installs it into fresh environments
outside the checkout. *wheel*: torch and numpy only; the loss works, and each missing extra is reported
in one sentence. *lowest*: the lowest versions that `pyproject.toml` allows; portable tests, then a
comparison of two methods on a generated table, a fitted model and its predictions. *tests*: the fast
tests with the newest versions. Ray was not tried at its lowest version.
{table}
`nox -s api` lists changes of the public API since the latest release.
"""
