"""Training by Lightning: recipes, the module, one run, callbacks. Needs the extra ``bench``."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranksim.training.callbacks import (
        FDSCallback,
        RankSimCallback,
        RetrainHeadCallback,
        WeightsCallback,
    )

__all__ = ["FDSCallback", "RankSimCallback", "RetrainHeadCallback", "WeightsCallback"]


def __getattr__(name: str) -> Any:
    # Lightning is imported when a callback is used, so that the command line answers at once
    if name in __all__:
        return getattr(importlib.import_module("ranksim.training.callbacks"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
