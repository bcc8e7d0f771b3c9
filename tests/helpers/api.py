"""Small comparisons through the Python interface, and results without what may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUIET: dict[str, Any] = {"target": "price", "progress": False}
SMALL: dict[str, Any] = {"max_epochs": 1, "set": {"hidden": 8}, "progress": False}
"""Arguments of calls that train a network in a moment."""
SMALL_OPTIONS = ["--max-epochs", "1", "--set", "hidden=8"]
"""The same as options of a command."""
_VARYING = {
    "seconds", "seconds_median", "peak_memory_mb", "command", "date", "digest", "machine", "name",
    "sha256", "table_sha256", "threads", "line",
}  # fmt: skip


def read_numbers(results: Path | dict[str, Any]) -> Any:
    """Return results without times, machine, and the name, digest and lines of the data."""
    content = json.loads(results.read_text()) if isinstance(results, Path) else results
    return _strip(json.loads(json.dumps(content)))


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strip(each) for key, each in value.items() if key not in _VARYING}
    return [_strip(each) for each in value] if isinstance(value, list) else value
