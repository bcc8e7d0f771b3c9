import dataclasses

import pytest

from ranksim.datasets.published import published_table
from ranksim.exceptions import UsageError
from ranksim.training.method import (
    Technique,
    describe_method,
    first_stage,
    parse_method,
    parse_methods,
    published_method_names,
)

AGES, STS = "agedb-dir", "sts-b-dir"


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "agedb-dir", "imdb-wiki-dir"])
def test_published_tables_are_complete(benchmark):
    table = published_table(benchmark)
    assert len(table) == 32
    for cells in table.values():
        assert len(cells) == 2
        assert all(set(row) == {"all", "many", "medium", "few"} for row in cells.values())
    assert published_table("sentiment-dir") == {}


def test_a_name_says_what_is_trained():
    """Each part by hand, from the field's definitions."""
    cases = {
        "vanilla": Technique(),
        "vanilla+ranksim": Technique(ranksim=True),
        "sqinv": Technique(weighting="sqrt_inverse"),
        "inv+fds": Technique(weighting="inverse", fds=True),
        "vanilla+lds": Technique(weighting="inverse", lds=True),
        "focal-r+lds+fds+ranksim": Technique(
            focal_r=True, weighting="inverse", lds=True, fds=True, ranksim=True
        ),
        "focal-r+sqinv": Technique(focal_r=True, weighting="sqrt_inverse"),
        "rrt+fds": Technique(weighting="inverse", fds=True, two_stage=True),
        "rrt+sqinv+lds": Technique(weighting="sqrt_inverse", lds=True, two_stage=True),
    }
    for name, technique in cases.items():
        assert parse_method(name, "inverse").technique == technique, name


@pytest.mark.parametrize(
    ("benchmark", "weighting", "different"),
    # ages: vanilla + lds is sqinv + lds; STS-B: inv + lds; each with fds and ranksim or without
    [(AGES, "sqrt_inverse", 28), ("imdb-wiki-dir", "sqrt_inverse", 28), (STS, "inverse", 28)],
)
def test_all_rows_and_those_that_are_one_method(benchmark, weighting, different):
    methods = parse_methods("all", benchmark, weighting)
    assert [method.name for method in methods] == list(published_table(benchmark))
    keys = {method.key for method in methods}
    assert len(keys) == different
    twice = [method.name for method in methods if method.name != method.key]
    assert twice == [f"vanilla+lds{more}" for more in ("", "+ranksim", "+fds", "+fds+ranksim")]
    # the published errors of one method under two names are the same, which shows it is one
    table, error = published_table(benchmark), "mse" if benchmark == STS else "mae"
    for method in methods:
        assert table[method.name][error] == table[method.key][error]


def test_one_key_is_one_technique_and_a_key_names_itself():
    for weighting in ("inverse", "sqrt_inverse"):
        found = {}
        for base in ("vanilla", "inv", "sqinv", "focal-r", "focal-r+inv", "rrt", "rrt+sqinv"):
            for more in ("", "+lds", "+fds", "+lds+fds", "+ranksim", "+lds+fds+ranksim"):
                method = parse_method(base + more, weighting)
                assert found.setdefault(method.key, method.technique) == method.technique
                assert parse_method(method.key, weighting) == dataclasses.replace(
                    method, name=method.key
                )
        assert len(set(found.values())) == len(found)


def test_order_and_base_are_free_and_rows_are_named_in_one_order():
    for name in ("ranksim", "ranksim+vanilla", "vanilla+ranksim"):
        method = parse_method(name, "inverse")
        assert method.name == method.key == "vanilla+ranksim"
    assert parse_method("ranksim+fds+sqinv", "inverse").name == "sqinv+fds+ranksim"
    assert parse_method("ranksim+lds+vanilla", "inverse").name == "vanilla+lds+ranksim"
    assert parse_method("lds", "inverse").name == "inv+lds"
    assert parse_method("lds+inv+rrt", "inverse").name == "rrt+inv+lds"


def test_stage_one_is_shared_by_all_rows_that_have_the_same_one():
    firsts = {}
    for method in parse_methods("all", STS, "inverse"):
        first = first_stage(method)
        assert (first is None) == (not method.name.startswith("rrt"))
        if first is not None:
            firsts.setdefault(first.key, []).append(method.name)
    assert firsts == {
        "vanilla": ["rrt", "rrt+lds"],
        "vanilla+ranksim": ["rrt+ranksim", "rrt+lds+ranksim"],
        "vanilla+fds": ["rrt+fds", "rrt+lds+fds"],
        "vanilla+fds+ranksim": ["rrt+fds+ranksim", "rrt+lds+fds+ranksim"],
    }


def test_lists_are_read_in_their_order_and_once():
    methods = parse_methods(" vanilla+ranksim, Vanilla,vanilla", STS, "inverse")
    assert [method.name for method in methods] == ["vanilla+ranksim", "vanilla"]
    assert len(parse_methods("sqinv+fds,all,vanilla", STS, "inverse")) == 33
    assert published_method_names("sentiment-dir") == list(published_table(STS))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("", r"^--methods names no method: give names .* or all; ranksim methods lists them\.$"),
        ("best", r"^Method 'best' has an unknown part 'best': a name is one of vanilla, sqinv,"),
        ("inv++fds", r"^Method 'inv\+\+fds' has an unknown part '': "),
        ("inv+fds+fds", r"^Method 'inv\+fds\+fds' names 'fds' twice: name it once\.$"),
        ("inv+sqinv", r"^Method 'inv\+sqinv' asks for both inv and sqinv: choose one\.$"),
        ("rrt+focal-r", r"^Method 'rrt\+focal-r' asks for both rrt and focal-r: choose one\.$"),
        ("vanilla+inv", "^Method 'vanilla.inv' asks for the plain loss and for weights: leave"),
    ],
)
def test_nonsense_is_refused(names, message):
    with pytest.raises(UsageError, match=message):
        parse_methods(names, STS, "inverse")


@pytest.mark.parametrize("name", ["vanilla+lds", "rrt"])
def test_weights_that_are_switched_off_are_refused(name):
    with pytest.raises(
        UsageError, match=r"weighs samples, but the recipe's weighting is none: set"
    ):
        parse_method(name, "none")
    assert parse_method(f"{name}+sqinv".removeprefix("vanilla+"), "none").key


def test_explanations_tell_all_methods_apart():
    methods = parse_methods("all", STS, "inverse")
    words = {method.key: describe_method(method, "mse") for method in methods}
    assert len(set(words.values())) == 28
    assert words["rrt+lds"] == "MSE; then the head again, weights 1/n, n smoothed over labels " \
        "(LDS) (RRT)"  # fmt: skip
    assert (
        describe_method(parse_method("focal-r+sqinv", "inverse"), "l1")
        == "Focal-R (L1), weights 1/√n"
    )
