import functools
import re
from pathlib import Path

import numpy as np
import pytest

from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.families import find_family
from ranksim.evaluation.record import read_results
from tests.helpers.results import make_results
from tests.helpers.verdict_truth import (
    check_losses_beside_gains,
    check_numbers,
    list_changes,
    list_scopes,
    phrase,
    to_plain,
)

ROOT = Path(__file__).resolve().parents[2]
METHODS = (
    "vanilla", "sqinv", "vanilla+ranksim", "trees", "trees+inv", "trees+average+inv",
    "trees(log)", "linear", "median", "theirs",
)  # fmt: skip
RARE = ("few", "zero", "inverse", "high")
TEST_SETS = ("balanced", "random", "latest", "given")


@functools.cache
def make_sweep(number):
    """Make a sweep whose methods have errors of other sizes in each region."""
    draw = np.random.default_rng(number)
    methods = METHODS[: draw.integers(2, len(METHODS) + 1)]
    factors = {
        method: {
            region: float(draw.choice([0.4, 0.7, 1.0, 1.0, 1.5]))
            for region in ("many", "medium", "few", "high")
        }
        for method in methods[1:]
    }
    return make_results(
        methods, seeds=int(draw.choice([1, 2, 3, 3, 5])), bins=20, samples=120, factors=factors,
        named={"high": (4.0, None)} if number % 2 else None, test_set=TEST_SETS[number % 4],
        num_groups=int(draw.choice([0, 0, 50])), failed=[("linear", 0)] if number % 5 else [],
        dropped=[(2.0, 2.6)] if number % 3 == 0 else [],
    )  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[pytest.param(number, marks=[pytest.mark.slow] * (number > 2)) for number in range(8)],
)
def sweep(request):
    return make_sweep(request.param)


def test_numbers_of_sentences_are_results(sweep):
    check_numbers(sweep)


def test_losses_stand_beside_gains(sweep):
    check_losses_beside_gains(sweep)


@pytest.mark.slow
def test_generated_sweeps_contain_gains_losses_and_numbers():
    """Otherwise the tests above would prove nothing."""
    sweeps = [make_sweep(number) for number in range(8)]
    assert sum(map(check_losses_beside_gains, sweeps)) > 30
    assert sum(map(check_numbers, sweeps)) > 100


def test_checks_detect_wrong_numbers_and_missing_losses():
    results = make_sweep(2)
    conclusion = results["conclusion"]
    assert "but" in conclusion["headline"]
    wrong = {"headline": conclusion["headline"].split(", but")[0] + "."}
    with pytest.raises(AssertionError):
        check_losses_beside_gains(results | {"conclusion": conclusion | wrong})
    digit = next(c for c in conclusion["headline"] if c.isdigit())
    wrong = {"headline": conclusion["headline"].replace(digit, str((int(digit) + 1) % 10))}
    with pytest.raises(AssertionError):
        check_numbers(results | {"conclusion": conclusion | wrong})


def is_worse_for_rare_labels(results, method):
    row = next(row for row in results["summary"] if row["method"] == method)
    changes = list_changes(results, row["vs_baseline"], results["conclusion"]["error"])
    return any(sign > 0 and name in RARE for (_, name), (_, sign) in changes.items())


def test_chosen_method_is_surely_worse_for_no_rare_labels(sweep):
    conclusion = sweep["conclusion"]
    chosen = conclusion["chosen"]
    if chosen is None:
        assert "surely better" in conclusion["headline"] or len(sweep["runs"]) < 99
        return
    assert not is_worse_for_rare_labels(sweep, chosen)
    named = [p["sentence"] for p in conclusion["points"] if p["title"] == "Nearest"]
    text = [conclusion["headline"], *named][-1]
    assert chosen in text or "seed" in conclusion["headline"]


def test_chosen_method_gains_in_the_rarest_region_that_any_gains_in(sweep):
    """Of the sure gains, one in the user's region comes before few, zero and the view."""
    conclusion = sweep["conclusion"]
    order = ["high", "few", "zero", "inverse"]
    order += [] if any(name == "few" for _, name in list_scopes(sweep)) else ["medium"]
    gains = {}
    for row in sweep["summary"]:
        if row.get("vs_baseline") and not is_worse_for_rare_labels(sweep, row["method"]):
            changes = list_changes(sweep, row["vs_baseline"], conclusion["error"])
            sure = [name for (_, name), (_, sign) in changes.items() if sign < 0]
            gains[row["method"]] = min(
                (order.index(name) for name in sure if name in order), default=9
            )
    if gains and min(gains.values()) < 9:
        assert gains[conclusion["chosen"]] == min(gains.values())


def test_families_are_called_better_only_if_all_comparisons_are_sure(sweep):
    text = next(
        (p["sentence"] for p in sweep["conclusion"]["points"] if p["title"] == "Families"), ""
    )
    comparisons = {(e["reference"], e["method"]): e for e in sweep["comparisons"]}
    for row in sweep["summary"]:
        if row.get("vs_baseline"):
            comparisons[sweep["baseline"], row["method"]] = row["vs_baseline"]
    for sentence in to_plain(text).split(". "):
        if "is surely better than" not in sentence:
            continue
        leader = re.search(r"\((\S+)\) is surely", sentence)[1]
        beaten = sentence.split("is surely better than ")[1].split(", but not")[0]
        (scope,) = (s for s in list_scopes(sweep) if sentence.lower().startswith(phrase(*s)))
        for row in sweep["summary"]:
            if row["seeds"] and f"any {find_family(row['method'])}" in beaten:
                changes = list_changes(sweep, comparisons[row["method"], leader], "mse")
                assert changes[scope][1] < 0


def make_pair_of_families(better):
    factors = {m: {"all": 0.5 if better else 1.0} for m in ("trees", "trees+inv")}
    methods = ("vanilla", "sqinv", "trees", "trees+inv")
    return make_results(methods, seeds=5, bins=20, samples=300, factors=factors, test_set="random")


def test_a_better_family_is_named():
    sentence = find_point(make_pair_of_families(better=True), "Families")
    assert "In all (as is), a tree (" in sentence
    assert "is surely better than any network" in sentence
    unsure = find_point(make_pair_of_families(better=False), "Families")
    assert "Whether networks or trees are better is not sure" in unsure


def test_models_from_elsewhere_are_a_family():
    factors = {"theirs": {"all": 0.4}}
    results = make_results(
        ("vanilla", "sqinv", "theirs"), seeds=5, bins=20, samples=300, factors=factors,
        test_set="balanced",
    )  # fmt: skip
    sentence = find_point(results, "Families")
    expected = "With labels as in your data, a model from elsewhere (theirs) is surely better than"
    assert f"{expected} any network." in sentence
    results["summary"][2]["vs_baseline"]["views"]["as_is"]["mse"]["ci_adjusted"] = None
    conclusion = draw_conclusion(
        results["summary"], "vanilla", "mse", results["labels"], results["comparisons"]
    )
    assert "models from elsewhere or networks" in conclusion["sentence"]


def test_headline_denies_a_gain_only_if_there_is_none(sweep):
    headline = sweep["conclusion"]["headline"]
    signs = [
        sign
        for row in sweep["summary"]
        if row.get("vs_baseline")
        for _, sign in list_changes(sweep, row["vs_baseline"], "mse").values()
    ]
    if headline.endswith("in these runs."):
        assert -1 not in signs
    if "lowers" in headline:
        assert -1 in signs


def find_point(results, title):
    return " ".join(
        to_plain(point["sentence"])
        for point in results["conclusion"]["points"]
        if point["title"] == title
    )


def make_averages(factor_of_average, common=1.9):
    """Make trees whose weights help rare labels and harm common ones, and their average."""
    factors = {
        "trees+inv": {"few": 0.3, "many": 2.2},
        "trees+average+inv": {"few": factor_of_average, "many": common - 0.8},
    }
    methods = ("vanilla", "trees", "trees+inv", "trees+average+inv")
    return make_results(methods, bins=20, samples=600, seeds=5, factors=factors, test_set="given")


def test_average_keeps_a_gain_at_a_lower_price():
    results = make_averages(0.5)
    sentence = find_point(results, "Averages")
    comparisons = {(e["reference"], e["method"]): e for e in results["comparisons"]}
    size = {
        pair: 100 * abs(comparisons[pair][part][name]["mse"]["relative"])
        for pair, part, name in (
            (("trees", "trees+average+inv"), "test", "few"),
            (("trees", "trees+inv"), "test", "few"),
            (("trees+inv", "trees+average+inv"), "views", "as_is"),
        )
    }
    part, gain, saving = size.values()
    assert sentence.startswith(
        f"trees+average+inv keeps a part of the gain of trees+inv: {part:.1f} % instead of "
        f"{gain:.1f} % less MSE than trees for rare labels (few); with labels as in your data it "
        f"has {saving:.1f} % less than trees+inv"
    )
    changes = list_changes(results, comparisons["trees", "trees+average+inv"], "mse")
    for scope, (change, _) in changes.items():
        if change >= 5e-4:
            assert f"{100 * change:.1f} % {phrase(*scope)}" in sentence


def test_average_without_a_sure_gain_is_not_praised():
    assert "is not sure" in find_point(make_averages(1.0), "Averages")


@pytest.mark.parametrize("name", ["abalone", "ames", "bike-hour", "wine-white"])
def test_conclusions_of_committed_tables_name_all_losses(name):
    results = read_results(ROOT / "results/tables" / name)
    results["conclusion"] = draw_conclusion(
        results["summary"],
        results["baseline"],
        results["conclusion"]["error"],
        results["labels"],
        results.get("comparisons", ()),
    )
    check_losses_beside_gains(results)
    assert check_numbers(results) > 5


def test_largest_errors_are_those_of_the_mean_prediction():
    results = make_results(("vanilla", "inv"), bins=20, samples=100, test_set="balanced")
    content = results["largest_errors"]
    assert len(content["samples"]) == 10
    errors = [abs(s["predictions"][0] - s["label"]) for s in content["samples"]]
    assert errors == sorted(errors, reverse=True)
    assert {"row", "line", "label", "region", "predictions"} == content["samples"][0].keys()
    assert all(sample["line"] == sample["row"] + 1 for sample in content["samples"])
    assert content["methods"][-1] == "vanilla"
