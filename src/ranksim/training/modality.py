"""Names of the data sets and kinds of user data, and what depends on them."""

from __future__ import annotations

from ranksim.training.recipe import (
    ImageRecipe,
    Recipe,
    SentenceRecipe,
    SeriesRecipe,
    TableRecipe,
    TextRecipe,
)

TEXTS = ("sts-b-dir", "sentiment-dir")
GLUCOSE = "glucose"
# kinds of user data
TABLE, TEXT, SENTENCES, IMAGE, SERIES = "table", "text", "sentences", "images", "series"
IMAGES = ("agedb-dir", "imdb-wiki-dir", IMAGE)

_RECIPES: dict[str, type[Recipe]] = {
    **dict.fromkeys((*TEXTS, TEXT), TextRecipe),
    **dict.fromkeys(IMAGES, ImageRecipe),
    **dict.fromkeys((GLUCOSE, SERIES), SeriesRecipe),
    TABLE: TableRecipe,
    SENTENCES: SentenceRecipe,
}


def recipe_type(benchmark: str) -> type[Recipe]:
    """Return the recipe class of a benchmark or kind of user data."""
    return _RECIPES[benchmark]


def headline(benchmark: str) -> tuple[str, str]:
    """Return the two main scores of a benchmark, the error that decides first."""
    if benchmark in TEXTS:
        return "mse", "pearson"
    return ("mae", "gm") if benchmark in IMAGES else ("mae", "pearson")
