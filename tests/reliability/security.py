"""What an attacker tries: files that want to be executed, archives, strings, paths."""

import os
from pathlib import Path
from typing import Any

from tests.reliability.security_attacks import attacks, carried_out
from tests.reliability.security_source import faults, sources
from tools.audit import audited, judged
from tools.secrets import kept, scanned

TITLE = "Security"
ROOT = Path(__file__).parents[2]
SHORT = ("published checkpoint", "published checkpoint of old", "storage of a search")
SHORT += ("MATLAB list with an object", "Parquet with a pickled type", "cached tokens")


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Attacks, and what the source, the repository and the installed packages hold."""
    os.environ["RANKSIM_CACHE"] = str(folder / "cache")
    names = [name for name in attacks() if not short or name in SHORT]
    tried = {name: carried_out(name, folder / f"attack {k}") for k, name in enumerate(names)}
    executed = [name for name, (held, _) in tried.items() if not held]
    unsafe = faults(ROOT)
    files = kept()
    secrets = list(scanned(files))
    packages = None if short else audited()
    told, vulnerable = judged(packages)
    asked = [each for each in packages or [] if "skip_reason" not in each]
    return {
        "checks": [
            _check("files that hold a pickle", len(names), len(executed), ", ".join(executed)),
            _check("source files that load what could run", len(sources(ROOT)), len(unsafe)),
            _check("files of the repository with a secret", len(files), len(secrets)),
            _check(
                "packages with a known vulnerability", len(asked), vulnerable,
                "asked for in the whole measurement alone" if short else told.splitlines()[-1],
            ),
        ],
        "attacks": {name: "held" if held else "not held" for name, (held, _) in tried.items()},
    }  # fmt: skip


def _check(what: str, tried: int, failed: int, note: str = "") -> dict[str, Any]:
    return {"what": what, "tried": tried, "failed": failed, "note": note}


def text(found: dict[str, Any]) -> str:
    """What is guaranteed, how it was tried, and what is out of scope."""
    rows = "\n".join(f"| {name} | {held} |" for name, held in found["attacks"].items())
    return f"""\
No pickle is loaded: weights come as safetensors, checkpoints with `weights_only=True`, arrays with
`allow_pickle=False`, all else as Parquet, JSON, TOML or SQLite. Each file below holds an object
that writes a file as it is unpickled; none did, and each ended in one sentence or was made anew. A
walk over the syntax tree of every source file finds no call that could do it, `eval`, `shell=True`,
`extractall` and code of the hub among them.

| what held the pickle | |
| --- | --- |
{rows}

Archives cannot write outside their folder (`tests/data/test_extract.py`; the section on fuzzing
tries more). Every string of the data is text on the page, in its pictures and in a model's card:
`tests/trust/test_html.py` puts scripts into labels, regions, units, methods, commands and errors,
opens the page in Chromium and uses every control; the page also forbids by its
Content-Security-Policy whatever it does not hold by hash. `tests/trust/test_security.py` searches
what `bench images`, `compare`, `fit`, `predict` and `inspect` write for the folders of the machine
and the names of its user and host.

Downloads are pinned by SHA-256. The archives of IMDB-WIKI have no published checksum: their length
is verified, their SHA-256 kept beside them and compared from then on.

Out of scope: processes of one command send each other pickles, as Python's do, and Ray does so
within its cluster: who can reach these can do what their user can. A data set of the hub is read by
`datasets`, whose version here (5.2) runs no code of it.
"""
