"""What the benchmarks' names say: what a network reads, and the scores that stand first."""

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
# kinds of anyone's own data
TABLE, TEXT, SENTENCES, IMAGE, SERIES = "table", "text", "sentences", "images", "series"
IMAGES = ("agedb-dir", "imdb-wiki-dir", IMAGE)
ONE_PRESET = ("sentiment-dir", GLUCOSE)
BILSTM, MLP = "bilstm", "mlp"

_RECIPES: dict[str, type[Recipe]] = {
    **dict.fromkeys((*TEXTS, TEXT), TextRecipe),
    **dict.fromkeys(IMAGES, ImageRecipe),
    **dict.fromkeys((GLUCOSE, SERIES), SeriesRecipe),
    TABLE: TableRecipe,
    SENTENCES: SentenceRecipe,
}


def recipe_type(benchmark: str) -> type[Recipe]:
    """The fields that a benchmark's recipes have."""
    return _RECIPES[benchmark]


def headline(benchmark: str) -> tuple[str, str]:
    """The two scores of its table; the first is the error that counts."""
    if benchmark in TEXTS:
        return "mse", "pearson"
    return ("mae", "gm") if benchmark in IMAGES else ("mae", "pearson")
