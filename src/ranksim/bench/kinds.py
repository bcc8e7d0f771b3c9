"""What the benchmarks' names say: texts or images, and the scores that stand first."""

from __future__ import annotations

from ranksim.training.recipe import ImageRecipe, Recipe, TextRecipe

TEXTS = ("sts-b-dir", "sentiment-dir")
IMAGES = ("agedb-dir", "imdb-wiki-dir", "images")


def recipe_type(benchmark: str) -> type[Recipe]:
    """The fields that a benchmark's recipes have."""
    return ImageRecipe if benchmark in IMAGES else TextRecipe


def headline(benchmark: str) -> tuple[str, str]:
    """The two scores of its published table; the first is the error that counts."""
    return ("mae", "gm") if benchmark in IMAGES else ("mse", "pearson")
