"""Build the HTML page of a sweep. Needs the extras ``train`` and ``plot``."""

from __future__ import annotations

from ranksim.evaluation.report.page.build import build_page

__all__ = ["build_page"]
