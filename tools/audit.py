"""Ask for known vulnerabilities of what is installed, by pip-audit.

Usage: ``python -m tools.audit``. It ends with 1 where there is one. What the advisory service does
not know or cannot be asked about is counted and said, and passes.
"""

import json
import subprocess
import sys
from typing import Any

_SECONDS = 120


def audited() -> list[dict[str, Any]] | None:
    """What pip-audit says of each package, or ``None`` where the service cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        found: list[dict[str, Any]] = json.loads(told.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return found


def judged(found: list[dict[str, Any]] | None) -> tuple[str, int]:
    """One line to print, more where something is vulnerable, and the exit code.

    Example:
        >>> judged([{"name": "a", "vulns": []}, {"name": "b", "skip_reason": "unknown"}])
        ('1 packages have no known vulnerability, 1 could not be audited', 0)
    """
    if found is None:
        return "the advisory service cannot be reached here: nothing was audited", 0
    skipped = [each for each in found if "skip_reason" in each]
    wrong = [each for each in found if each.get("vulns")]
    lines = [
        f"{each['name']} {each['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for each in wrong
        for vulnerability in each["vulns"]
    ]
    fine = len(found) - len(skipped) - len(wrong)
    lines.append(
        f"{fine} packages have no known vulnerability, {len(skipped)} could not be audited"
    )
    return "\n".join(lines), int(bool(wrong))


def main() -> None:
    """Carry out the command."""
    told, code = judged(audited())
    print(told)
    sys.exit(code)


if __name__ == "__main__":
    main()
