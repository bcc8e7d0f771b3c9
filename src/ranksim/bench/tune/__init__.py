"""``ranksim tune``: a recipe for one method, searched by validation score alone."""

from ranksim.bench.tune.command import TuneRequest, tune
from ranksim.bench.tune.space import Space
from ranksim.bench.tune.study import RECIPE, STORAGE

__all__ = ["RECIPE", "STORAGE", "Space", "TuneRequest", "tune"]
