"""Prediction intervals: conformal calibration, plain, by region and under label shift."""

from ranksim.uncertainty.conformal import (
    Band,
    LabelShift,
    RegionConformal,
    conformal_quantile,
    weighted_conformal_quantile,
)

__all__ = [
    "Band",
    "LabelShift",
    "RegionConformal",
    "conformal_quantile",
    "weighted_conformal_quantile",
]
