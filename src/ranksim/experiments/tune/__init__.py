"""``ranksim tune``: search the recipe of one method by its validation score."""

from ranksim.experiments.tune.command import TuneRequest, TuneResult, tune
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import RECIPE, STORAGE

__all__ = ["RECIPE", "STORAGE", "Space", "TuneRequest", "TuneResult", "tune"]
