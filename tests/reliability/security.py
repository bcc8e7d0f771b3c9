"""Files that contain executable objects, tried against every reader."""

import os
from pathlib import Path
from typing import Any

from tests.reliability.security_attacks import attacks, run_attack

TITLE = "Security"
SHORT = ("published checkpoint", "old published checkpoint", "storage of a search")
SHORT += ("MATLAB list with an object", "Parquet with a pickled type", "cached tokens")


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Run the attacks and return how many executed code."""
    os.environ["RANKSIM_CACHE"] = str(folder / "cache")
    names = [name for name in attacks() if not short or name in SHORT]
    held = {name: run_attack(name, folder / f"attack {k}")[0] for k, name in enumerate(names)}
    executed = [name for name in names if not held[name]]
    check = "files that hold a pickle"
    note = ", ".join(executed)
    return {
        "checks": [{"check": check, "cases": len(names), "failures": len(executed), "note": note}],
        "attacks": {name: "held" if ok else "not held" for name, ok in held.items()},
    }


def describe(figures: dict[str, Any]) -> str:
    """Describe guarantees, method and scope."""
    rows = "\n".join(f"| {name} | {result} |" for name, result in figures["attacks"].items())
    return f"""\
No pickle is loaded: weights are stored as safetensors, checkpoints are read with
`weights_only=True`, arrays with `allow_pickle=False`, everything else is Parquet, JSON, TOML or
SQLite. Each file below contains an object that creates a file when it is unpickled; none did, and
each reader ended in one sentence or rebuilt the file. ruff's security rules (`S`) reject `pickle`,
`eval`, `shell=True` and unsafe loading in the source.

| file with the object | result |
| --- | --- |
{rows}

Archives cannot write outside their folder (`tests/datasets/`; the section on fuzzing tries more).
Every string from data is escaped on the page, in its figures and in a model card:
`tests/reliability/test_html.py` puts scripts into labels, regions, units, methods, commands and
errors, opens the page in Chromium and uses every control; the page's Content-Security-Policy also
blocks everything that it does not list by hash. `tests/reliability/test_security.py` searches the
files that `compare`, `fit`, `predict` and `inspect` write for folders of the machine and the names of
its user and host.

Downloads are pinned by SHA-256. The archives of IMDB-WIKI have no published checksum: their length is
verified, and their SHA-256 is stored beside them and compared from then on.

Out of scope: the processes of one command exchange pickles, as Python's do, and Ray does so within
its cluster; whoever can reach these processes has the rights of their user. Data sets of the hub are
read by `datasets`, whose version here (5.2) runs none of their code.
"""
