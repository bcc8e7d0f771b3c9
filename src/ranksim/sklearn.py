"""scikit-learn estimators, at a short import path for :mod:`ranksim.integrations.sklearn`.

Example:
    >>> from ranksim.sklearn import DensitySampleWeight
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranksim.integrations.sklearn import DensitySampleWeight, RankSimRegressor

__all__ = ["DensitySampleWeight", "RankSimRegressor"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("ranksim.integrations.sklearn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
