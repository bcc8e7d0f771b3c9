import io

import pytest
from rich.console import Console

from ranksim.cli.demo import explain_results
from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.report.terminal import print_summary
from ranksim.evaluation.summary import count_pairs, summarize
from tests.helpers.records import failed_record, make_record


def make_content(runs, aliases=None, benchmark="sts-b-dir"):
    summary = summarize(runs, benchmark, aliases)
    return {
        "benchmark": "sts-b-dir", "options": {"split": "yang"}, "preset": "small", "runs": runs,
        "summary": summary, "pairs": count_pairs(summary), "headline": ["mse", "pearson"],
    }  # fmt: skip


def make_pair(few_samples=5, seeds=3):
    """One pair of methods; RankSim lowers the MSE by 17.2 %."""
    runs = [make_record("vanilla", s, 1.0 + s / 10, few_samples) for s in range(seeds)]
    runs += [make_record("vanilla+ranksim", s, 0.8 + s / 9, few_samples) for s in range(seeds)]
    return make_content(runs)


def make_four_pairs():
    """Four pairs, one of them an alias; RankSim lowers MSE in one and raises it in one."""
    runs = [
        make_record(method + suffix, seed, 1.0 + seed / 100 + change * bool(suffix))
        for method, change in (("vanilla", -0.2), ("inv", 0.3), ("inv+lds", -0.001))
        for suffix in ("", "+ranksim")
        for seed in range(3)
    ]
    runs[-1] = make_record("inv+lds+ranksim", 2, 1.5)
    aliases = {name: name for name in dict.fromkeys(run["identity"]["method"] for run in runs)}
    aliases |= {f"vanilla+lds{suffix}": f"inv+lds{suffix}" for suffix in ("", "+ranksim")}
    return make_content(runs, aliases)


def make_compared(factors, seeds=3, has_intervals=True):
    """Results with a conclusion; each method's error is that of the baseline times a factor."""
    runs = [
        make_record(method, s, (1.0 + s / 10) * factor + s * s / 900 * (method != "vanilla"))
        for method, factor in factors.items()
        for s in range(seeds)
    ]
    content = make_content(runs, benchmark="sentiment-dir")
    add_comparison(content["summary"], runs, "vanilla", None)
    for row in content["summary"][1:]:
        for scores in row["vs_baseline"]["test"].values():
            mean = scores["mse"]["mean"]
            if mean is not None and has_intervals:
                interval = [mean - 0.01, mean + 0.01]
                scores["mse"] |= {"ci_total": interval, "ci_adjusted": interval}
    conclusion = draw_conclusion(content["summary"], "vanilla", "mse")
    return content | {"baseline": "vanilla", "conclusion": conclusion}


def printed(content, width=80, metrics=()):
    console = Console(width=width, record=True, file=io.StringIO())
    print_summary(content, console, metrics)
    text = console.export_text().replace("\u202f%", "%")
    assert max(map(len, text.splitlines())) <= width
    return text


def test_table_of_two_methods_fits_80_columns():
    text = printed(make_pair())
    mse = text[: text.index("Pearson")]
    rows = {line[1:19].strip(): line[19:].split() for line in mse.splitlines() if line.strip()}
    assert rows["method"] == ["balanced", "many", "medium", "few"]  # below "all,"
    assert rows["vanilla"] == ["1.100", "1.100", "1.100", "3.300"]
    assert rows["vanilla+ranksim"] == ["0.911", "0.911", "0.911", "2.733"]
    assert rows["by RankSim"] == ["−0.189", "−0.189", "−0.189", "−0.567"]
    assert rows["in percent"] == ["−17.2%"] * 4
    assert rows["test samples"] == ["20", "20", "20", "5"]
    assert "0.767" in rows["published"]
    assert "3 of 3" in text
    assert "…" not in text


def test_many_methods_have_one_line_each():
    text = printed(make_four_pairs())
    mse = text[: text.index("Pearson")]
    lines = {line.split()[0]: line.split()[1:] for line in mse.splitlines() if line.strip()}
    assert lines["method"] == ["balanced", "many", "medium", "few", "publ.", "RankSim", "better"]
    assert lines["vanilla"] == ["1.010", "1.010", "1.010", "3.030", "0.974"]
    assert lines["vanilla+ranksim"][4:] == ["0.873", "−19.8%*", "3/3"]
    assert lines["inv+ranksim"][-2:] == ["+29.7%!", "0/3"]
    assert lines["vanilla+lds+ranksim"][:4] == lines["inv+lds+ranksim"][:4]
    text = " ".join(text.split())
    assert "RankSim lowers MSE over all test samples (balanced by label) in 1 of 4 pairs" in text
    assert "(1 of 3 without aliases)" in text
    assert "1 lower, 1 higher" in text


def test_column_of_published_figures_needs_figures():
    content = make_four_pairs()
    for row in content["summary"]:
        row["published"] = None
    text = printed(content)
    assert "publ." not in text
    assert "−19.8%*" in text


def test_count_pairs():
    counts = make_four_pairs()["pairs"]
    assert counts == {
        "pairs": 4, "improved": 1, "distinct": 3, "improved_distinct": 1,
        "significantly_better": 1, "significantly_worse": 1,
    }  # fmt: skip
    assert count_pairs([]) == dict.fromkeys(counts, 0)


def test_region_without_samples_is_left_out():
    assert " few" not in printed(make_pair(few_samples=0))
    content = make_pair()
    content["summary"][0]["test"]["few"]["mse"] = {"mean": None, "sd": None, "n": 0}
    assert "no data" in printed(content)


@pytest.mark.parametrize("is_long", [False, True])
def test_rows_name_failed_runs_and_causes(is_long):
    runs = make_pair()["runs"] + [failed_record("vanilla", 7), failed_record("vanilla", 8, step=99)]
    runs += [failed_record("inv", 0), failed_record("rrt", 0, stage_one="vanilla seed 0")]
    runs += [make_record(name, 0, 1.0) for name in ("sqinv", "focal-r", "sqinv+lds") if is_long]
    text = printed(make_content(runs))
    for method, start in {
        "vanilla": "2 of 5 failed: diverged at step 120 (lr 0.1) and 1 more",
        "inv": "failed: diverged at step 120 (lr 0.1)",
        "rrt": "failed: diverged in stage one at step 120 (lr 0.1)",
    }.items():
        lines = text[text.index(f"\n  {method} ") :].splitlines()[2:9]
        words = " ".join(line[:25].strip() for line in lines if "±" not in line)
        assert words.startswith(start), words
    assert "failed: inv seed 0: Diverged on [b] of 0." in text
    assert "no data" not in text


def test_paired_effect_needs_three_seeds():
    assert "3.0 times" in explain_results(make_pair())
    for seeds in (1, 2):
        assert "seeds better" not in printed(make_pair(seeds=seeds))
    assert "seeds better" in printed(make_pair())


def test_conclusion_follows_tables():
    text = printed(make_compared({"vanilla": 1.0, "inv": 0.8, "focal-r": 1.0}))
    changes = text[text.index("Change of MSE from vanilla") :]
    lines = {line.split()[0]: line.split()[1:] for line in changes.splitlines() if line.strip()}
    assert lines["method"] == ["balanced", "many", "medium", "few"]
    assert lines["inv"][0] == "−19.8%*"
    assert lines["focal-r"][0] == "+0.2%"
    assert "from" in lines
    assert "inv lowers MSE by 19.8% for rare labels (few)" in " ".join(changes.split())


def test_sure_losses_have_another_mark_than_gains():
    text = printed(make_compared({"vanilla": 1.0, "inv": 0.8, "rrt": 1.3}))
    changes = text[text.index("Change of MSE from vanilla") :]
    lines = {line.split()[0]: line.split()[1:] for line in changes.splitlines() if line.strip()}
    assert all(cell.endswith("*") for cell in lines["inv"])
    assert all(cell.endswith("!") for cell in lines["rrt"])
    assert "* surely better, ! surely worse" in " ".join(changes.split())


def with_views(content):
    """Add views of the errors, in which the first method after the baseline pays a price."""
    edges = [0.0, 1.0, 2.0, 3.0]
    views = {"test_set": "balanced", "edges": edges, "rows": [90, 9, 2], "test": [3, 3, 0]}
    for k, row in enumerate(content["summary"]):
        scores = {"balanced": 1.0 - 0.1 * k, "as_is": 0.5 + 0.2 * k, "inverse": 12.0 - k}
        row["views"] = {
            view: {"mse": {"mean": value, "sd": 0.1, "n": 3}} for view, value in scores.items()
        }
        if k:
            interval = {"ci_total": None, "seeds_needed": None}
            row["vs_baseline"]["views"] = {
                "balanced": {"mse": {"mean": -0.1, "relative": -0.1, "ci_adjusted": None}},
                "as_is": {"mse": {"mean": 0.2, "relative": 0.4, "ci_adjusted": [0.1, 0.3]}},
                "inverse": {"mse": {"mean": -1.0, "relative": -1 / 12, "ci_adjusted": [-2, -0.5]}},
            }
            for effects in row["vs_baseline"]["views"].values():
                effects["mse"] |= interval
    content["labels"] = {"views": views, "named": {}}
    content["conclusion"] = draw_conclusion(content["summary"], "vanilla", "mse", content["labels"])
    return content


def test_views_stand_in_one_line_per_method():
    text = printed(with_views(make_compared({"vanilla": 1.0, "inv": 0.8, "rrt": 1.3})))
    views = text[text.index("MSE by the labels of the test data") :]
    lines = {line.split()[0]: line.split()[1:] for line in views.splitlines() if line.strip()}
    assert lines["method"] == ["balanced", "as", "in", "your", "data", "rare", "first"]
    assert lines["vanilla"] == ["1.000", "0.500", "12.000"]
    assert lines["inv"] == ["0.900", "−10.0%", "0.700", "+40.0%!", "11.000", "−8.3%*"]
    words = " ".join(views.split())
    assert "2 of 101 rows have labels without a test sample" in words
    assert "raises it by 40.0% with labels as in your data" in words


def test_heading_says_how_the_test_set_was_chosen():
    content = make_pair()
    for test_set, word in {"random": "is", "latest": "latest", "given": "given"}.items():
        views = {"test_set": test_set, "edges": [0, 1], "rows": [9], "test": [3]}
        text = printed(content | {"labels": {"views": views}})
        (line, *_) = (line for line in text.splitlines() if line.split()[:1] == ["method"])
        assert line.split()[1] == word
        assert "the test set" in text
    old = printed(content | {"benchmark": "table"})
    assert next(line for line in old.splitlines() if "method" in line).split()[1] == "all"


def make_balanced(methods=("vanilla", "inv"), *, without=()):
    """Runs of two methods with the mean over label bins, and without it of an earlier version."""
    runs = [make_record(method, seed, 1.0) for method in methods for seed in range(2)]
    for k, run in enumerate(runs):
        if run["identity"]["method"] not in without:
            run["result"]["metrics"]["test"]["all"] |= {"balanced_mse": 7.0 + k, "ccc": 0.25 * k}
    return make_content(runs)


@pytest.mark.parametrize("count", [2, 8])
def test_mean_over_label_bins_is_a_column_of_its_metric(count):
    methods = ("vanilla", "inv", *(f"inv+{name}" for name in "abcdef"))[:count]
    content = make_balanced(methods)
    text = printed(content)
    first, second = text.split("Pearson")[:2]
    assert "bins" in first.split("test samples")[0]
    assert "7.500" in next(line for line in first.splitlines() if line.split()[:1] == ["vanilla"])
    note = "balanced bins: each label bin with test samples counts the same."
    assert note in " ".join(first.split())
    assert "bins" not in second


def test_rows_of_earlier_versions_have_no_mean_over_label_bins():
    text = printed(make_balanced(without=("vanilla",)))
    rows = {line.split()[0]: line for line in text.split("Pearson")[0].splitlines() if line.split()}
    assert "9.500" in rows["inv"]
    assert rows["vanilla"].count(".") == rows["inv"].count(".") - 1
    assert "bins" not in printed(make_balanced(without=("vanilla", "inv")))


def test_chosen_metrics_have_tables():
    text = printed(make_balanced(without=("inv",)), metrics=("ccc", "mae", "crps"))
    assert "CCC, higher is better" in text
    assert "MAE, lower is better" in text
    assert "Pearson" not in text
    assert "No method here has CRPS." in text
    table = text.split("MAE, lower")[0]
    assert "0.125" in table
    assert "no data" in next(line for line in table.splitlines() if line.split()[:1] == ["inv"])


def test_conclusions_of_earlier_versions_are_printed():
    content = make_compared({"vanilla": 1.0, "inv": 0.8})
    content["conclusion"] = {k: content["conclusion"][k] for k in ("error", "sentence", "regions")}
    assert "Compared with vanilla, inv lowers" in " ".join(printed(content).split())


def test_one_pair_has_no_table_of_changes():
    content = make_compared({"vanilla": 1.0, "vanilla+ranksim": 0.8})
    text = printed(content)
    assert "Change of MSE" not in text
    assert "vanilla+ranksim lowers MSE" in " ".join(text.split())
    alone = printed(make_compared({"vanilla": 1.0}))
    assert "Nothing can be compared" in " ".join(alone.split())
    content["conclusion"] = None  # the sweep is not finished
    assert "Compared with" not in printed(content)


def test_changes_of_many_methods_have_no_intervals():
    factors = {"vanilla": 1.0, **{f"m{k}": 1 + k / 10 for k in range(7)}}
    text = printed(make_compared(factors))
    changes = text[text.index("Change of MSE from vanilla") :]
    assert not any(line.split()[:1] == ["from"] for line in changes.splitlines())
    assert "m6" in changes


def test_changes_without_intervals():
    text = printed(make_compared({"vanilla": 1.0, "inv": 0.8}, seeds=1, has_intervals=False))
    changes = text[text.index("Change of MSE from vanilla") :].split("One seed")[0]
    assert "−20.0%" in changes
    assert "from " not in changes.replace("from vanilla", "")
    assert "surely" not in changes


def test_long_region_names_do_not_truncate_numbers():
    """With eight regions, as glucose with a gap has."""
    content = make_pair()
    for row in content["summary"]:
        comparison = row.get("vs_without_ranksim")
        for test in (row["test"], *([comparison["test"]] if comparison else [])):
            for name in ("zero", "seen", "hypoglycaemia", "severe [b] hyperglycaemia"):
                test[name] = test["few"]
    content["headline"] = ["pearson"]
    text = printed(content)
    assert "…" not in text
    assert "[b]" in text
    numbers = next(line for line in text.splitlines() if line.split()[:1] == ["vanilla"]).split()
    assert len(numbers) == 9
    assert numbers[4:] == numbers[4:5] * 5
