"""Method names, as in the published tables, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from ranksim.bench.published import published_table
from ranksim.errors import UsageError

SUFFIX = "+ranksim"


@dataclass(frozen=True)
class Method:
    """A row of a table.

    Args:
        name: as in the published tables, for example ``vanilla+ranksim``.
        ranksim: whether RankSim is added to the loss.
    """

    name: str
    ranksim: bool


METHODS = {name: Method(name, SUFFIX in name) for name in ("vanilla", "vanilla" + SUFFIX)}


def parse_methods(names: str) -> list[Method]:
    """Methods from their names, parted by commas, each one once and in that order.

    Raises:
        UsageError: no name, or one that is unknown.

    Example:
        >>> [method.name for method in parse_methods("vanilla,vanilla+ranksim")]
        ['vanilla', 'vanilla+ranksim']
    """
    wanted = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UsageError(f"--methods names no method: choose from {', '.join(METHODS)}.")
    for name in wanted:
        if name in METHODS:
            continue
        known = name in published_table("sts-b-dir")
        what = "in the published tables but not built yet" if known else "unknown"
        raise UsageError(f"Method {name!r} is {what}: choose from {', '.join(METHODS)}.")
    return [METHODS[name] for name in wanted]
