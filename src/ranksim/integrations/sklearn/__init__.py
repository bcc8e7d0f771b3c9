"""Estimators for scikit-learn. Needs the extra ``train``."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranksim.integrations.sklearn.regressor import RankSimRegressor
    from ranksim.integrations.sklearn.weights import DensitySampleWeight

__all__ = ["DensitySampleWeight", "RankSimRegressor"]


def __getattr__(name: str) -> Any:
    # weights need no torch, and what is not used is not imported
    if name in __all__:
        part = "regressor" if name == "RankSimRegressor" else "weights"
        return getattr(importlib.import_module(f"ranksim.integrations.sklearn.{part}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
