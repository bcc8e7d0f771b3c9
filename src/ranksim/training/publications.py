"""The papers of the methods, and the licenses of their authors' code (no PyTorch)."""

from __future__ import annotations

from ranksim.training.method import (
    AVERAGE,
    AVERAGE_PAPER,
    RANKSIM_SUFFIX,
    Method,
    without_ranksim,
)
from ranksim.training.parts import PARTS

_YANG = "Yang et al., Delving into Deep Imbalanced Regression, ICML 2021"
_GONG = "Gong et al., RankSim, ICML 2022"
_STEININGER = "Steininger et al., Density-based weighting for imbalanced regression, 2021"
_YANG_PARTS = ("inv", "sqinv", "lds", "fds", "focal-r", "rrt")
_PAPERS = {
    **dict.fromkeys(_YANG_PARTS, _YANG),
    "ranksim": _GONG,
    "denseweight": _STEININGER,
    **{name: part.paper for name, part in PARTS.items()},
    AVERAGE: AVERAGE_PAPER,
}
_NON_COMMERCIAL = "CC BY-NC-SA"
_LICENSES = {
    **dict.fromkeys((*_YANG_PARTS, "denseweight", "bmse"), "MIT"),
    **dict.fromkeys(("ranksim", "conr"), _NON_COMMERCIAL),
}


def find_paper(method: Method) -> str | None:
    """Return the paper of what a method adds to plain training; None for plain training.

    A method with RankSim is named by its other parts.

    Example:
        >>> from ranksim.training.method import parse_method
        >>> find_paper(parse_method("vanilla+ranksim", "inverse"))
        'Gong et al., RankSim, ICML 2022'
    """
    return _PAPERS.get(_main_part(method.name))


def find_license(method: Method) -> str | None:
    """Return the license of the authors' code of a method; None if none is known.

    Example:
        >>> from ranksim.training.method import parse_method
        >>> find_license(parse_method("vanilla+bmse+ranksim", "inverse"))
        'MIT'
    """
    return _LICENSES.get(_main_part(method.name))


def _main_part(name: str) -> str:
    """Return the part of a method's name that it is known by, the last one before RankSim."""
    if name.startswith(f"{AVERAGE}+"):
        return AVERAGE
    base = without_ranksim(name) or name
    last = base.partition("(")[0].split("+")[-1]
    return RANKSIM_SUFFIX[1:] if last == "vanilla" and base != name else last
