import json

import pytest

from ranksim.evaluation import conclusion as answers

REGIONS = ("all", "many", "few", "zero", "seen", "own")


def effect(change, half, needed=9):
    """Of a baseline error of 2; without ``half`` one seed was trained."""
    mean = 2 * change
    known = half is not None
    return {
        "mean": mean, "relative": change, "seeds_needed": needed if known else None,
        "ci_total": [mean - half, mean + half] if known else None,
        "ci_adjusted": [mean - 1.5 * half, mean + 1.5 * half] if known else None,
    }  # fmt: skip


def make_answer(*given):
    """With plain spaces before the sign of per cent."""
    told = json.dumps(answers.draw_conclusion(*given), ensure_ascii=False)
    assert " %" not in told
    return json.loads(told.replace("\u202f%", " %"))


def summary(changes, half=0.02, seeds=3, baseline="vanilla", **needed):
    """Rows from the relative change of each method in each region, 0 where none is given."""
    n = {region: {"n": {"mean": 0 if region == "zero" else 9}} for region in REGIONS}
    rows = [{"method": baseline, "test": n, "seeds": [0, *range(1, seeds)], "failed": 0}]
    for method, own in changes.items():
        test = {
            region: {"mse": effect(own.get(region, 0.0), half, needed.get(region, 9))}
            for region in REGIONS
        }
        test["zero"] = {"mse": dict.fromkeys(test["all"]["mse"])}
        against = {"method": baseline, "seeds": list(range(seeds)), "test": test}
        own = {"method": method, "seeds": against["seeds"], "vs_baseline": against}
        rows.append(rows[0] | own)
    return rows


def answer(changes, **more):
    rows = summary(changes, **more)
    return make_answer(rows, rows[0]["method"], "mse")


def test_a_method_that_helps_is_told_with_its_places():
    told = answer({"inv": {"all": -0.05, "few": -0.2, "own": -0.3}, "focal-r": {"all": -0.01}})
    assert told["sentence"] == (
        "Against vanilla, inv lowers MSE by 5.0 % in all, 20.0 % in few and 30.0 % in own."
    )
    assert list(told["regions"]) == ["all", "many", "few", "own"]
    few = told["regions"]["few"]
    assert (few["best"], few["relative"], few["better"], few["worse"]) == ("inv", -0.2, ["inv"], [])
    assert few["sentence"] == "inv lowers MSE by 20.0 % (95 % from −21.0 % to −19.0 %)."
    many = told["regions"]["many"]
    assert (many["best"], many["lowest"], many["relative"]) == (None, "vanilla", None)
    assert many["sentence"] == "vanilla has the lowest MSE."


def test_a_gain_is_told_with_its_price():
    told = answer({"inv": {"few": -0.2, "many": 0.1}})
    assert told["sentence"] == (
        "Against vanilla, inv lowers MSE by 20.0 % in few, and raises it by 10.0 % in many."
    )
    assert told["regions"]["many"]["sentence"] == (
        "vanilla has the lowest MSE. Worse: inv (+10.0 %)."
    )


def test_no_method_is_better():
    told = answer({"inv": {"few": -0.01, "all": 0.1}, "rrt": {"all": 0.2}}, few=17)
    assert told["sentence"] == (
        "No method is better than vanilla here, as far as these runs can tell. "
        "inv comes nearest, with 1.0 % less MSE in few: about 17 seeds "
        "would show it if it stayed so. Worse in all: rrt (+20.0 %), inv (+10.0 %)."
    )
    assert told["regions"]["few"]["best"] is None
    assert told["regions"]["few"]["lowest"] == "inv"
    assert told["regions"]["few"]["sentence"] == (
        "inv has the lowest MSE, by 1.0 % (95 % from −2.0 % to +0.0 %), which may be chance: "
        "about 17 seeds would show it if it stayed so."
    )
    none = answer({"inv": {"few": -0.01}}, few=None)
    assert none["sentence"] == (
        "No method is better than vanilla here, as far as these runs can tell."
    )
    assert none["regions"]["few"]["sentence"].endswith(
        "chance: no number of seeds would show it on so few test samples."
    )


def test_what_would_be_sure_of_one_method_alone_may_be_chance_among_many():
    few = answer({"inv": {"few": -0.025}}, half=0.04)["regions"]["few"]
    assert few["best"] is None
    assert few["sentence"] == (
        "inv has the lowest MSE, by 2.5 % (95 % from −4.5 % to −0.5 %), which may be chance "
        "with several methods compared: about 9 seeds would show it if it stayed so."
    )


def test_one_seed_says_nothing():
    told = answer({"inv": {"all": -0.5}}, half=None, seeds=1)
    assert told["sentence"] == (
        "One seed cannot tell a better method from chance: give at least 3, better 5, with --seeds."
    )
    assert told["regions"]["all"]["best"] is None
    assert told["regions"]["all"]["sentence"] == (
        "inv has the lowest MSE, by 50.0 %: chance is unknown."
    )


def test_without_predictions_nothing_is_sure():
    told = answer({"inv": {"all": -0.5}}, half=None)
    assert told["sentence"].startswith("Nothing can be said for sure: predictions of some runs")


@pytest.mark.parametrize("rows", [summary({}), summary({"inv": {}}, seeds=0)])
def test_nothing_to_compare(rows):
    for row in rows[1:]:
        for scores in row["vs_baseline"]["test"].values():
            scores["mse"] = dict.fromkeys(scores["mse"])
    told = make_answer(rows, "vanilla", "mse")
    assert told["sentence"] == (
        "There is nothing to compare with vanilla: no other method has a finished run."
    )
    assert all(
        each["sentence"] == "Nothing is there to compare." for each in told["regions"].values()
    )


def test_a_baseline_that_failed_is_told_so():
    rows = summary({"inv": {}})
    rows[0] |= {"seeds": [], "failed": 3}
    for scores in rows[1]["vs_baseline"]["test"].values():
        scores["mse"] = dict.fromkeys(scores["mse"])
    told = make_answer(rows, "vanilla", "mse")
    assert told["sentence"] == (
        "There is nothing to compare with: vanilla has no finished run. Runs that failed are left "
        "out: vanilla 3 of 3."
    )
    assert told["regions"]["all"]["lowest"] is None
    rows[0] |= {"seeds": [7], "failed": 0}
    told = make_answer(rows, "vanilla", "mse")
    assert told["sentence"].endswith("no other method has a seed in common with it.")


def test_what_was_left_out_is_told():
    rows = summary({"inv": {"all": -0.2}, "rrt": {"all": -0.5}, "focal-r": {}})
    rows[3] |= {"failed": 2}
    for scores in rows[2]["vs_baseline"]["test"].values():
        if scores["mse"]["mean"] is not None:
            scores["mse"] |= {"ci_adjusted": None}
    assert make_answer(rows, "vanilla", "mse")["sentence"] == (
        "Against vanilla, inv lowers MSE by 20.0 % in all. Seeds or predictions do not suffice "
        "to judge rrt. Runs that failed are left out: focal-r 2 of 5."
    )


def test_a_baseline_without_any_error():
    """No share can be taken of nothing, yet what adds an error is worse."""
    rows = summary({"inv": {"few": 0.1}, "rrt": {}})
    for row in rows[1:]:
        row["vs_baseline"]["test"]["few"]["mse"]["relative"] = None
    few = make_answer(rows, "vanilla", "mse")["regions"]["few"]
    assert few["sentence"].startswith("vanilla has the lowest MSE. Worse: inv (+inf")
    assert (few["best"], few["worse"], few["relative"]) == (None, ["inv"], None)


def test_many_methods_are_not_all_told():
    changes = {f"m{k}": {"all": -0.1 - k / 100} for k in range(6)}
    rows = summary(changes)
    rows.append(rows[1] | {"method": "twin", "alias_of": "m0"})
    told = make_answer(rows, "vanilla", "mse")
    assert told["sentence"] == (
        "Against vanilla, m5 lowers MSE by 15.0 % in all. m4 lowers MSE by 14.0 % in all. m3 "
        "lowers MSE by 13.0 % in all. Better somewhere too: m2, m1, m0."
    )
    assert told["regions"]["all"]["better"] == ["m5", "m4", "m3", "m2", "m1", "m0"]
    assert told["regions"]["all"]["sentence"].endswith(
        "Better too: m4 (−14.0 %), m3 (−13.0 %), m2 (−12.0 %) and 2 more."
    )


def test_the_baseline_is_named():
    told = answer({"inv+fds": {"all": 0.0}}, baseline="inv")
    assert told["sentence"].startswith("No method is better than inv here, as far")


def test_two_seeds_are_not_enough():
    rows = summary({"inv": {"all": -0.5}}, seeds=2)
    for scores in rows[1]["vs_baseline"]["test"].values():
        scores["mse"] |= {"ci_adjusted": None}
    told = make_answer(rows, "vanilla", "mse")
    assert told["sentence"] == (
        "Two seeds cannot tell a better method from chance: give at least 3, better 5, with "
        "--seeds."
    )
    assert told["regions"]["all"]["better"] == []
    assert told["regions"]["all"]["sentence"] == (
        "inv has the lowest MSE, by 50.0 % (95 % from −51.0 % to −49.0 %), which may be chance "
        "with several methods compared: about 9 seeds would show it if it stayed so."
    )
