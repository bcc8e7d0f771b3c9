import pytest

from ranksim.evaluation.conclusion import draw_conclusion

REGIONS = ("all", "many", "few", "zero", "seen", "named")


def make_effect(change, half, needed=9):
    """Return a difference from a baseline error of 2; without ``half`` there are no intervals."""
    mean = 2 * change
    interval = half is not None and (lambda width: [mean - width * half, mean + width * half])
    return {
        "mean": mean, "relative": change, "seeds_needed": needed if interval else None,
        "ci_total": interval(1) if interval else None,
        "ci_adjusted": interval(1.5) if interval else None,
    }  # fmt: skip


def make_summary(changes, half=0.02, seeds=3, baseline="vanilla", **needed):
    """Return rows from the relative change of each method by region, 0 by default."""
    n = {region: {"n": {"mean": 0 if region == "zero" else 9}} for region in REGIONS}
    rows = [{"method": baseline, "test": n, "seeds": [0, *range(1, seeds)], "failed": 0}]
    for method, by_region in changes.items():
        test = {
            region: {"mse": make_effect(by_region.get(region, 0.0), half, needed.get(region, 9))}
            for region in REGIONS
        }
        test["zero"] = {"mse": dict.fromkeys(test["all"]["mse"])}
        comparison = {"method": baseline, "seeds": list(range(seeds)), "test": test}
        seeds_done = comparison["seeds"]
        rows.append(rows[0] | {"method": method, "seeds": seeds_done, "vs_baseline": comparison})
    return rows


def conclude(changes, **options):
    rows = make_summary(changes, **options)
    return conclude_rows(rows)


def conclude_rows(rows):
    conclusion = draw_conclusion(rows, rows[0]["method"], "mse")
    for part in (conclusion, *conclusion["regions"].values()):
        part["sentence"] = part["sentence"].replace("\u202f%", "%")
    return conclusion


def without_effects(rows):
    for row in rows[1:]:
        for scores in row["vs_baseline"]["test"].values():
            scores["mse"] = dict.fromkeys(scores["mse"])
    return rows


def assert_mentions(text, *parts):
    """Check that all parts are in the text, in this order."""
    position = 0
    for part in parts:
        assert part in text[position:], (part, text)
        position = text.index(part, position) + len(part)


def test_better_method_is_named_with_its_regions():
    conclusion = conclude(
        {"inv": {"all": -0.05, "few": -0.2, "named": -0.3}, "rrt": {"all": -0.01}}
    )
    parts = (
        "vanilla",
        "inv lowers MSE",
        "30.0% in your region named",
        "20.0% for rare labels (few)",
        "nowhere",
    )
    assert_mentions(conclusion["sentence"], *parts)
    assert "rrt" not in conclusion["sentence"]
    assert list(conclusion["regions"]) == ["all", "many", "few", "named"]
    few, many = conclusion["regions"]["few"], conclusion["regions"]["many"]
    assert (few["best"], few["relative"], few["better"], few["worse"]) == ("inv", -0.2, ["inv"], [])
    assert_mentions(few["sentence"], "inv lowers MSE", "20.0%", "−21.0%", "−19.0%")
    assert (many["best"], many["lowest"], many["relative"]) == (None, "vanilla", None)
    assert_mentions(many["sentence"], "vanilla has the lowest MSE")


def test_loss_is_named_with_gain():
    conclusion = conclude({"inv": {"few": -0.2, "many": 0.1}})
    parts = ("inv lowers MSE", "20.0% for rare labels (few)", "but raises", "10.0% for common")
    assert_mentions(conclusion["sentence"], *parts)
    assert_mentions(conclusion["regions"]["many"]["sentence"], "Worse", "inv (+10.0%)")


def test_no_better_method():
    conclusion = conclude({"inv": {"few": -0.01, "all": 0.1}, "rrt": {"all": 0.2}}, few=17)
    assert_mentions(
        conclusion["sentence"],
        *("No method", "vanilla", "inv", "1.0% less MSE for rare labels (few)"),
        *("raises it by 10.0% in all", "may be chance", "17 seeds"),
        *("surely worse: rrt (+20.0%) and inv (+10.0%)",),
    )
    few = conclusion["regions"]["few"]
    assert (few["best"], few["lowest"]) == (None, "inv")
    parts = ("inv has the lowest MSE", "1.0%", "−2.0%", "+0.0%", "chance", "17 seeds")
    assert_mentions(few["sentence"], *parts)
    hopeless = conclude({"inv": {"few": -0.01}}, few=None)
    assert_mentions(hopeless["sentence"], "few test samples", "more seeds would not confirm")
    assert_mentions(hopeless["regions"]["few"]["sentence"], "few test samples", "not confirm")


@pytest.mark.parametrize("is_two_seeds", [False, True])
def test_difference_within_adjusted_interval_may_be_chance(is_two_seeds):
    """One method alone would be significant; with two seeds there is no adjusted interval."""
    rows = make_summary({"inv": {"few": -0.025}}, half=0.04, seeds=2 if is_two_seeds else 3)
    for scores in rows[1]["vs_baseline"]["test"].values() if is_two_seeds else ():
        scores["mse"] |= {"ci_adjusted": None}
    conclusion = conclude_rows(rows)
    few = conclusion["regions"]["few"]
    assert (few["best"], few["better"]) == (None, [])
    parts = ("2.5%", "−4.5%", "−0.5%", "chance", "number of methods", "9 seeds")
    assert_mentions(few["sentence"], *parts)
    assert conclusion["sentence"].startswith("Two seeds" if is_two_seeds else "No method")


def test_one_seed_has_no_conclusion():
    conclusion = conclude({"inv": {"all": -0.5}}, half=None, seeds=1)
    assert_mentions(conclusion["sentence"], "One seed", "at least 3", "--seeds")
    assert conclusion["regions"]["all"]["best"] is None
    assert_mentions(conclusion["regions"]["all"]["sentence"], "50.0%", "no interval", "chance")


def test_missing_predictions_have_no_conclusion():
    conclusion = conclude({"inv": {"all": -0.5}}, half=None)
    assert_mentions(conclusion["sentence"], "No difference can be judged", "predictions")


@pytest.mark.parametrize("rows", [make_summary({}), make_summary({"inv": {}}, seeds=0)])
def test_nothing_to_compare(rows):
    conclusion = conclude_rows(without_effects(rows))
    assert_mentions(conclusion["sentence"], "vanilla", "no other method has a finished run")
    assert all("no method" in r["sentence"] for r in conclusion["regions"].values())


def test_failed_baseline():
    rows = without_effects(make_summary({"inv": {}}))
    rows[0] |= {"seeds": [], "failed": 3}
    conclusion = conclude_rows(rows)
    assert_mentions(conclusion["sentence"], "vanilla has no finished run", "vanilla 3 of 3")
    assert conclusion["regions"]["all"]["lowest"] is None
    rows[0] |= {"seeds": [7], "failed": 0}
    assert "no other method has a seed in common" in conclude_rows(rows)["sentence"]


def test_unjudged_and_failed_methods_are_named():
    rows = make_summary({"inv": {"all": -0.2}, "rrt": {"all": -0.5}, "focal-r": {}})
    rows[3] |= {"failed": 2}
    for scores in rows[2]["vs_baseline"]["test"].values():
        if scores["mse"]["mean"] is not None:
            scores["mse"] |= {"ci_adjusted": None}
    parts = ("20.0% in all", "to judge rrt", "Failed", "focal-r 2 of 5")
    assert_mentions(conclude_rows(rows)["sentence"], *parts)


def test_baseline_without_error():
    """Relative changes are undefined, but a method with an error is worse."""
    rows = make_summary({"inv": {"few": 0.1}, "rrt": {}})
    for row in rows[1:]:
        row["vs_baseline"]["test"]["few"]["mse"]["relative"] = None
    few = conclude_rows(rows)["regions"]["few"]
    assert_mentions(few["sentence"], "vanilla has the lowest MSE", "Worse: inv (+inf")
    assert (few["best"], few["worse"], few["relative"]) == (None, ["inv"], None)


def test_at_most_three_methods_are_described():
    rows = make_summary({f"m{k}": {"all": -0.1 - k / 100} for k in range(6)})
    rows.append(rows[1] | {"method": "twin", "alias_of": "m0"})
    conclusion = conclude_rows(rows)
    parts = ("m5 lowers MSE", "15.0%", "m4", "14.0%", "m3", "13.0%", "The table has further")
    assert_mentions(conclusion["sentence"], *parts)
    region = conclusion["regions"]["all"]
    assert region["better"] == ["m5", "m4", "m3", "m2", "m1", "m0"]
    assert_mentions(region["sentence"], "m5 lowers MSE by 15.0%")
    assert "twin" not in str(conclusion)


def test_other_baseline_is_named():
    assert "better than inv" in conclude({"inv+fds": {"all": 0.0}}, baseline="inv")["sentence"]


def test_gain_at_the_price_of_rare_labels_is_no_success():
    """The method is not the chosen one, and its gain stands beside its loss."""
    conclusion = conclude({"inv": {"many": -0.2, "few": 0.3}, "rrt": {"few": -0.01}})
    assert_mentions(conclusion["headline"], "No method", "without being surely worse for rare")
    points = {point["title"]: point["sentence"] for point in conclusion["points"]}
    price = points["At a price"].replace("\u202f%", "%")
    assert_mentions(price, "inv lowers MSE by 20.0%", "but raises it by 30.0% for rare labels")
    assert points["Nearest"].startswith("rrt has")
    assert conclusion["chosen"] == "rrt"


def test_rare_labels_decide_which_method_is_named():
    conclusion = conclude({"inv": {"all": -0.5, "few": -0.1}, "rrt": {"few": -0.2}})
    assert conclusion["chosen"] == "rrt"
    assert_mentions(conclusion["sentence"], "rrt lowers", "20.0% for rare", "inv lowers", "10.0%")
    named = conclude({"inv": {"named": -0.1}, "rrt": {"few": -0.2}})
    assert named["chosen"] == "inv"


@pytest.mark.parametrize(("span", "is_rare"), [([0, 1], False), ([9, None], True)])
def test_named_region_with_many_training_samples_is_not_rare(span, is_rare):
    rows = make_summary({"inv": {"named": -0.3}, "rrt": {"few": -0.2}})
    labels = {"edges": [0, 2, 10, 12], "train": [90, 5, 5], "named": {"named": span}}
    conclusion = draw_conclusion(rows, "vanilla", "mse", labels)
    assert conclusion["chosen"] == ("inv" if is_rare else "rrt")
