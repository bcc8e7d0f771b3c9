"""Regression metrics by region. ``RegionMetrics`` needs the extra ``train`` (torchmetrics)."""

from typing import Any

from ranksim.metrics.scores import METRICS, regression_scores
from ranksim.metrics.shot_regions import REGION_NAMES, ShotRegions

__all__ = ["METRICS", "REGION_NAMES", "RegionMetrics", "ShotRegions", "regression_scores"]


def __getattr__(name: str) -> Any:
    if name == "RegionMetrics":
        from ranksim.metrics.region_metrics import RegionMetrics

        return RegionMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
