"""RankSim: deep regression where the labels that matter are rare."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranksim import functional
    from ranksim.losses import RankSimLoss

__all__ = ["RankSimLoss", "__version__", "functional"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # torch is imported when a name is used, so that the command line answers at once
    if name == "RankSimLoss":
        return importlib.import_module("ranksim.losses").RankSimLoss
    if name == "functional":
        return importlib.import_module("ranksim.functional")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
