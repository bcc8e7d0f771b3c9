"""Grammar of method names."""

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
    without_ranksim,
)

STS = "sts-b-dir"
BENCHMARKS = (("agedb-dir", "sqrt_inverse"), ("imdb-wiki-dir", "sqrt_inverse"), (STS, "inverse"))
TECHNIQUES = {
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


@pytest.mark.parametrize("name", TECHNIQUES)
def test_parses_technique(name):
    assert parse_method(name, "inverse").technique == TECHNIQUES[name]


@pytest.mark.parametrize("benchmark", [name for name, _ in BENCHMARKS])
def test_published_tables_are_complete(benchmark):
    table = published_table(benchmark)
    assert len(table) == 32
    for cells in table.values():
        assert len(cells) == 2
        assert all(set(row) == {"all", "many", "medium", "few"} for row in cells.values())
    assert published_table("sentiment-dir") == {}


@pytest.mark.parametrize(("benchmark", "weighting"), BENCHMARKS)
def test_methods_with_two_names_have_equal_published_errors(benchmark, weighting):
    methods = parse_methods("all", benchmark, weighting)
    table, error = published_table(benchmark), "mse" if benchmark == STS else "mae"
    assert [method.name for method in methods] == list(table)
    assert len({method.key for method in methods}) == 28
    aliases = [method.name for method in methods if method.name != method.key]
    assert aliases == [f"vanilla+lds{rest}" for rest in ("", "+ranksim", "+fds", "+fds+ranksim")]
    for method in methods:
        assert table[method.name][error] == table[method.key][error]


@pytest.mark.parametrize("weighting", ["inverse", "sqrt_inverse"])
def test_key_identifies_technique(weighting):
    techniques = {}
    for base in ("vanilla", "inv", "sqinv", "focal-r", "focal-r+inv", "rrt", "rrt+sqinv"):
        for rest in ("", "+lds", "+fds", "+lds+fds", "+ranksim", "+lds+fds+ranksim"):
            method = parse_method(base + rest, weighting)
            assert techniques.setdefault(method.key, method.technique) == method.technique
            by_key = parse_method(method.key, weighting)
            assert by_key == dataclasses.replace(method, name=method.key)
    assert len(set(techniques.values())) == len(techniques)


ESTIMATORS = {
    "trees": Technique(estimator="trees"),
    "sqinv+trees": Technique(estimator="trees", weighting="sqrt_inverse"),
    "lightgbm+lds": Technique(estimator="lightgbm", weighting="inverse", lds=True),
    "xgboost+denseweight": Technique(estimator="xgboost", weighting="denseweight"),
    "trees+average+inv": Technique(estimator="trees", weighting="inverse", average=True),
    "catboost+smogn": Technique(estimator="catboost", resampling="smogn"),
    "trees(log)": Technique(estimator="trees", transform="log"),
    "vanilla+ranksim(yeo-johnson)": Technique(ranksim=True, transform="yeo-johnson"),
    "median(log)": Technique(estimator="median"),
    "over": Technique(resampling="over"),
    "denseweight+fds": Technique(weighting="denseweight", fds=True),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_transforms_and_resampling(name):
    method = parse_method(name, "inverse")
    assert method.technique == ESTIMATORS[name]
    assert parse_method(method.key, "inverse").technique == ESTIMATORS[name]
    assert parse_method(method.key, "inverse").key == method.key
    assert Technique(**method.technique.to_dict()) == method.technique
    assert describe_method(method, "l1")


def test_method_without_ranksim():
    names = ("vanilla+ranksim", "inv+fds+ranksim(log)", "trees(log)", "vanilla")
    assert [without_ranksim(name) for name in names] == ["vanilla", "inv+fds(log)", None, None]


def test_techniques_of_earlier_records_are_unchanged():
    names = ["focal_r", "weighting", "lds", "fds", "ranksim", "two_stage"]
    assert list(Technique(fds=True).to_dict()) == names


def test_transform_of_a_request_is_that_of_names_without_one():
    methods = parse_methods("vanilla,trees(quantile),median", "table", "inverse", "log")
    assert [method.key for method in methods] == ["vanilla(log)", "trees(quantile)", "median"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trees+ranksim", "needs the features of a network"),
        ("trees+fds", "needs the features of a network"),
        ("trees+rrt", "contains rrt and trees|contains trees and rrt"),
        ("trees+lightgbm", "contains trees and lightgbm"),
        ("median+inv", "cannot be modified"),
        ("trees+average", "averages a plain and a weighted estimator"),
        ("vanilla+average", "averages the plain network and another one"),
        ("trees+smogn+inv", "resamples and weights"),
        ("rrt+smogn", "resamples and weights"),
        ("over+under", "contains over and under"),
        ("denseweight+lds", "smooths the counts of bins"),
        ("trees(cube)", "unknown transform 'cube'"),
        ("trees()", "unknown transform ''"),
    ],
)
def test_contradictory_estimators_are_rejected(name, words):
    with pytest.raises(UsageError, match=words):
        parse_method(name, "inverse")


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("ranksim", "vanilla+ranksim"),
        ("ranksim+vanilla", "vanilla+ranksim"),
        ("ranksim+fds+sqinv", "sqinv+fds+ranksim"),
        ("ranksim+lds+vanilla", "vanilla+lds+ranksim"),
        ("lds", "inv+lds"),
        ("lds+inv+rrt", "rrt+inv+lds"),
    ],
)
def test_parts_are_put_in_canonical_order(name, canonical):
    assert parse_method(name, "inverse").name == canonical


def test_two_stage_methods_share_first_stages():
    first_stages = {}
    for method in parse_methods("all", STS, "inverse"):
        first = first_stage(method)
        assert (first is None) == (not method.name.startswith("rrt"))
        if first is not None:
            first_stages.setdefault(first.key, []).append(method.name)
    assert first_stages == {
        "vanilla": ["rrt", "rrt+lds"],
        "vanilla+ranksim": ["rrt+ranksim", "rrt+lds+ranksim"],
        "vanilla+fds": ["rrt+fds", "rrt+lds+fds"],
        "vanilla+fds+ranksim": ["rrt+fds+ranksim", "rrt+lds+fds+ranksim"],
    }


def test_list_keeps_order_and_drops_duplicates():
    methods = parse_methods(" vanilla+ranksim, Vanilla,vanilla", STS, "inverse")
    assert [method.name for method in methods] == ["vanilla+ranksim", "vanilla"]
    assert len(parse_methods("sqinv+fds,all,vanilla", STS, "inverse")) == 33
    assert published_method_names("sentiment-dir") == list(published_table(STS))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("", "--methods is empty"),
        ("best", "'best' has an unknown part 'best'"),
        ("inv++fds", "unknown part ''"),
        ("inv+fds+fds", "contains 'fds' twice"),
        ("inv+sqinv", "contains inv and sqinv"),
        ("rrt+focal-r", "contains rrt and focal-r"),
        ("vanilla+inv", "contains vanilla and inv"),
    ],
)
def test_invalid_names_are_rejected(names, words):
    with pytest.raises(UsageError) as error:
        parse_methods(names, STS, "inverse")
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["vanilla+lds", "rrt"])
def test_weighting_none_is_rejected_if_weights_are_needed(name):
    with pytest.raises(UsageError, match="recipe's weighting is none"):
        parse_method(name, "none")
    assert parse_method(f"{name}+sqinv".removeprefix("vanilla+"), "none").key


def test_descriptions_distinguish_all_methods():
    methods = parse_methods("all", STS, "inverse")
    descriptions = {method.key: describe_method(method, "mse") for method in methods}
    assert len(set(descriptions.values())) == 28
    for word in ("head", "1/n", "LDS", "RRT"):
        assert word in descriptions["rrt+lds"]
