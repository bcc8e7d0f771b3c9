"""Look for secrets in all files that git keeps: keys, tokens, passwords, private keys.

Usage: ``python -m tools.secrets``. It prints where each stands, never the secret, and ends with 1
where there is one.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[1]
# entropy alone finds checksums and samples of data by the thousand, and keys have forms
_ENTROPY = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
_LONG = 20_000  # characters of a line: beyond, it holds numbers of results or of a page
# a line with none of these holds no secret of any form: most of results are such lines
_MAY = re.compile(
    r"(?i)pass|pwd|secret|token|key|auth|private|://"
    r"|(?<![\w+/=-])(?=[\d+/_=-]*[a-z])[\w+/=-]{16}"
)
_ALLOWED = re.compile('password="open sesame"')  # of an archive that tests make


def scanned(paths: Iterable[Path]) -> Iterator[tuple[Path, int, str]]:
    """File, line and kind of all that looks like a secret."""
    kinds = get_mapping_from_secret_type_to_class().values()
    names = sorted({kind.__name__ for kind in kinds} - _ENTROPY)
    with transient_settings({"plugins_used": [{"name": name} for name in names]}):
        for path in paths:
            text = path.read_text(encoding="utf-8", errors="replace")
            for number, line in enumerate(text.splitlines(), start=1):
                if len(line) > _LONG or not _MAY.search(line) or _ALLOWED.search(line):
                    continue
                for found in scan_line(line):
                    yield path, number, found.type


def kept() -> list[Path]:
    """The files that git keeps here."""
    told = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True
    )
    return [path for name in told.stdout.split("\0") if (path := ROOT / name).is_file()]


def main() -> None:
    """Carry out the command."""
    paths = kept()
    found = list(scanned(paths))
    for path, number, kind in found:
        print(f"{path.relative_to(ROOT)}:{number}: {kind}")
    print(f"{len(paths)} files looked through, {len(found)} secrets found")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
