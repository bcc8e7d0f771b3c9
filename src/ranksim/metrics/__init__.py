"""Regression metrics by shot region. ``RegionMetrics`` needs the extra ``train``."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes
from ranksim.metrics.coverage import covers, interval_score
from ranksim.metrics.distributions import (
    crps_gaussian,
    crps_laplace,
    crps_samples,
    pinball_loss,
)
from ranksim.metrics.imbalanced import (
    balanced_errors,
    concordance,
    detection_scores,
    imbalanced_scores,
    sera,
    sera_curve,
)
from ranksim.metrics.scores import METRICS, regression_scores
from ranksim.metrics.shot_regions import REGION_NAMES, SHOT_NAMES, ShotRegions

if TYPE_CHECKING:
    from ranksim.metrics.region_metrics import RegionMetrics

__all__ = [
    "METRICS",
    "REGION_NAMES",
    "SHOT_NAMES",
    "RegionMetrics",
    "ShotRegions",
    "balanced_errors",
    "concordance",
    "covers",
    "crps_gaussian",
    "crps_laplace",
    "crps_samples",
    "detection_scores",
    "imbalanced_scores",
    "interval_score",
    "pinball_loss",
    "regression_scores",
    "sera",
    "sera_curve",
]

__getattr__, __dir__ = lazy_attributes(
    __name__, {"RegionMetrics": "ranksim.metrics.region_metrics"}
)
