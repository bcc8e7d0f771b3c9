"""Regression metrics by region. ``RegionMetrics`` needs the extra ``bench`` (torchmetrics)."""

from typing import Any

from ranksim.metrics.regions import REGIONS, Regions
from ranksim.metrics.scores import METRICS, regression_scores

__all__ = ["METRICS", "REGIONS", "RegionMetrics", "Regions", "regression_scores"]


def __getattr__(name: str) -> Any:
    if name == "RegionMetrics":
        from ranksim.metrics.regression import RegionMetrics

        return RegionMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
