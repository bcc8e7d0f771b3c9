import pytest

from ranksim.bench.methods import parse_methods
from ranksim.bench.published import published_table
from ranksim.errors import UsageError


def test_names_are_those_of_the_published_tables():
    table = published_table("sts-b-dir")
    assert len(table) == 32
    for method in parse_methods(" vanilla, Vanilla+RankSim,vanilla"):
        assert method.name in table
    assert [m.name for m in parse_methods("vanilla+ranksim,vanilla,vanilla")] == [
        "vanilla+ranksim",
        "vanilla",
    ]


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "agedb-dir", "imdb-wiki-dir"])
def test_published_tables_are_complete(benchmark):
    table = published_table(benchmark)
    assert len(table) == 32
    for cells in table.values():
        assert len(cells) == 2
        assert all(set(row) == {"all", "many", "medium", "few"} for row in cells.values())
    assert published_table("sentiment-dir") == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", "--methods names no method: choose from vanilla, vanilla"),
        ("inv", "Method 'inv' is in the published tables but not built yet: choose from"),
        ("best", "Method 'best' is unknown: choose from vanilla"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(UsageError, match=message):
        parse_methods(names)
