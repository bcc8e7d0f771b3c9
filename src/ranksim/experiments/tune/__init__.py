"""``ranksim tune``: a recipe for one method, searched by validation score alone."""

from ranksim.experiments.tune.command import TuneRequest, tune
from ranksim.experiments.tune.space import Space
from ranksim.experiments.tune.study import RECIPE, STORAGE

__all__ = ["RECIPE", "STORAGE", "Space", "TuneRequest", "tune"]
