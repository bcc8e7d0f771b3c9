"""Convert the ``results.json`` files below a folder to the current format, in place.

    python scripts/migrate_results.py [FOLDER]

Files of the current format are left as they are. Numbers do not change: a converted file is
compared with its conversion read back before it replaces the old one.
"""

import json
import sys
from pathlib import Path

from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.evaluation.record import RESULTS, upgrade_results


def migrate(path: Path) -> bool:
    """Convert one file; return True if it changed."""
    content = read_verified_json(path)
    upgraded = json.loads(json.dumps(upgrade_results(content)))
    if upgraded == content:
        return False
    write_json(path, with_digest(upgraded))
    if read_verified_json(path) != upgraded or upgrade_results(upgraded) != upgraded:
        raise SystemExit(f"{path} was not written as converted: restore it.")
    return True


if __name__ == "__main__":
    for file in sorted(Path(*sys.argv[1:] or ["results"]).rglob(RESULTS)):
        print(f"{file}: {'converted' if migrate(file) else 'unchanged'}")
