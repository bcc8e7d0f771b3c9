"""scikit-learn estimators, at a short import path for :mod:`ranksim.integrations.sklearn`.

Example:
    >>> from ranksim.sklearn import DensitySampleWeight
"""

from typing import TYPE_CHECKING

from ranksim._utils.lazy import lazy_attributes

if TYPE_CHECKING:
    from ranksim.integrations.sklearn import DensitySampleWeight, RankSimRegressor

__all__ = ["DensitySampleWeight", "RankSimRegressor"]

__getattr__, __dir__ = lazy_attributes(
    __name__, dict.fromkeys(__all__, "ranksim.integrations.sklearn")
)
