"""The page of a sweep: one HTML file that needs nothing else, made from ``results.json`` alone."""

from __future__ import annotations

from ranksim.evaluation.report.page.build import Page, build_page

__all__ = ["Page", "build_page"]
