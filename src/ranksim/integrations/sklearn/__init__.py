"""scikit-learn estimators. Needs the extra ``train``; the weights need no torch."""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim.integrations.sklearn.regressor import RankSimRegressor
    from ranksim.integrations.sklearn.weights import DensitySampleWeight

__all__ = ["DensitySampleWeight", "RankSimRegressor"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "DensitySampleWeight": "ranksim.integrations.sklearn.weights",
        "RankSimRegressor": "ranksim.integrations.sklearn.regressor",
    },
)
