"""Pictures from results. Needs the extra ``plot`` (matplotlib)."""

from __future__ import annotations

from ranksim.evaluation.report.figures.regions import pairs_figure, region_figure
from ranksim.evaluation.report.figures.style import COLOURS

__all__ = ["COLOURS", "pairs_figure", "region_figure"]
