import io

import pytest
from rich.console import Console

from ranksim.cli.demo import explain_results
from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.report.terminal import print_summary
from ranksim.evaluation.summary import count_pairs, summarise
from tests.helpers.records import run_record

REGIONS = ("all", "many", "medium", "few", "zero")


def record(method, seed, mse, few_samples=5):
    def scores(n, value):
        known = value if n else None
        return {"n": n} | dict.fromkeys(("mae", "mse", "gm", "pearson", "spearman"), known)

    regions = {r: scores(20, mse) for r in REGIONS}
    regions["few"], regions["zero"] = scores(few_samples, 3 * mse), scores(0, mse)
    metrics = {"test": regions, "val": regions}
    return run_record(method, seed, seconds=60.0, epochs=9, metrics=metrics)


def results(few_samples=5, seeds=3):
    runs = [record("vanilla", s, 1.0 + s / 10, few_samples) for s in range(seeds)]
    runs += [record("vanilla+ranksim", s, 0.8 + s / 9, few_samples) for s in range(seeds)]
    return {
        "benchmark": "sts-b-dir", "options": {"split": "yang"}, "preset": "small",
        "headline": ["mse", "pearson"], "conclusion": None,
        "runs": runs, "summary": summarise(runs, "sts-b-dir"),
    }  # fmt: skip


def printed(content, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    print_summary(content, console)
    return console.export_text().replace("\u202f%", "%")


def test_the_table_says_it_all_in_eighty_columns():
    text = printed(results())
    mse = text[: text.index("Pearson")]
    rows = {line[1:19].strip(): line[19:].split() for line in mse.splitlines() if line.strip()}
    assert rows["method"] == ["all", "many", "medium", "few"]
    assert rows["vanilla"] == ["1.100", "1.100", "1.100", "3.300"]
    assert rows["vanilla+ranksim"] == ["0.911", "0.911", "0.911", "2.733"]
    assert rows["by RankSim"] == ["−0.189", "−0.189", "−0.189", "−0.567"]
    assert rows["in per cent"] == ["−17.2%"] * 4
    assert rows["test samples"] == ["20", "20", "20", "5"]
    assert "0.767" in rows["published"]
    assert "3 of 3" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def many_results():
    """Three pairs, one of them under two names; RankSim lowers MSE in one and raises it in one."""
    runs = [
        record(method + with_, seed, 1.0 + seed / 100 + change * bool(with_))
        for method, change in (("vanilla", -0.2), ("inv", 0.3), ("inv+lds", -0.001))
        for with_ in ("", "+ranksim")
        for seed in range(3)
    ]
    runs[-1] = record("inv+lds+ranksim", 2, 1.5)
    rows = {name: name for name in dict.fromkeys(run["identity"]["method"] for run in runs)}
    rows |= {f"vanilla+lds{w}": f"inv+lds{w}" for w in ("", "+ranksim")}
    summary = summarise(runs, "sts-b-dir", rows)
    return {
        "benchmark": "sts-b-dir", "options": {"split": "yang"}, "preset": "small",
        "headline": ["mse", "pearson"], "conclusion": None,
        "runs": runs, "summary": summary, "pairs": count_pairs(summary),
    }  # fmt: skip


def test_many_methods_have_a_line_each():
    text = printed(many_results())
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    mse = text[: text.index("Pearson")]
    lines = {line.split()[0]: line.split()[1:] for line in mse.splitlines() if line.strip()}
    assert lines["method"] == ["all", "many", "medium", "few", "publ.", "RankSim", "better"]
    assert lines["vanilla"] == ["1.010", "1.010", "1.010", "3.030", "0.974"]
    assert lines["vanilla+ranksim"] == [
        "0.810", "0.810", "0.810", "2.430", "0.873", "−19.8%*", "3/3",
    ]  # fmt: skip
    assert lines["inv+ranksim"][-2:] == ["+29.7%*", "0/3"]
    assert lines["vanilla+lds+ranksim"][:4] == lines["inv+lds+ranksim"][:4]
    assert max(len(line) for line in text.splitlines()) <= 80
    assert (
        "RankSim lowers MSE all in 1 of 4 pairs (1 of 3 without those that are one method under "
        "two names); * marks a 95% interval on one side of zero: 1 lower, 1 higher."
        in " ".join(text.split())
    )


def test_a_benchmark_without_a_published_table_has_no_column_for_it():
    content = many_results()
    for row in content["summary"]:
        row["published"] = None
    text = printed(content)
    assert "publ." not in text
    assert "−19.8%*" in text


def test_pairs_are_counted():
    assert many_results()["pairs"] == {
        "pairs": 4, "improved": 1, "different": 3, "improved_different": 1, "shown": 1, "worse": 1,
    }  # fmt: skip
    assert results()["summary"][1]["vs_without_ranksim"]["test"]["all"]["mse"]["mean"] < 0
    assert count_pairs([]) == dict.fromkeys(many_results()["pairs"], 0)


def test_a_region_without_samples_is_left_out_or_no_data():
    text = printed(results(few_samples=0))
    assert " few" not in text
    mixed = results()
    mixed["summary"][0]["test"]["few"]["mse"] = {"mean": None, "sd": None, "n": 0}
    assert "no data" in printed(mixed)


def diverged(method, seed, step=120, **more):
    error, detail = f"Diverged on [b] of {seed}.", {"step": step, "lr": 0.1, **more}
    return run_record(method, seed, status="failed", error=error, diverged=detail)


@pytest.mark.parametrize("many", [False, True])
def test_a_row_says_that_its_runs_failed_and_where(many):
    """All of them, some of them, in stage one; few methods, and many."""
    runs = results()["runs"] + [diverged("vanilla", 7), diverged("vanilla", 8, step=99)]
    runs += [diverged("inv", 0), diverged("rrt", 0, stage_one="vanilla seed 0")]
    runs += [record(name, 0, 1.0) for name in ("sqinv", "focal-r", "sqinv+lds") if many]
    summary = summarise(runs, "sts-b-dir")
    content = results() | {"runs": runs, "summary": summary, "pairs": count_pairs(summary)}
    text = printed(content)
    for method, told in {
        "vanilla": "2 of 5 failed: diverged at step 120 (lr 0.1) and 1 more",
        "inv": "failed: diverged at step 120 (lr 0.1)",
        "rrt": "failed: diverged in stage one at step 120 (lr 0.1)",
    }.items():
        lines = text[text.index(f"\n  {method} ") :].splitlines()[2:9]
        words = " ".join(line[:25].strip() for line in lines if "±" not in line)
        assert words.startswith(told), words
    assert "failed: inv seed 0: Diverged on [b] of 0." in text
    assert "no data" not in text


def test_failed_runs_are_told():
    content = results()
    content["runs"].append(
        run_record("vanilla", 9, status="failed", error="Training diverged: no.")
    )
    assert "failed: vanilla seed 9: Training diverged: no." in printed(content)


def test_the_reading_is_no_more_certain_than_its_seeds():
    sure = explain_results(results()).replace("\u202f%", "%")
    assert "the error on rare feelings (few-shot) is 3.0 times" in sure
    assert "RankSim lowers the MSE on all sentences by 17.2%, better in 3 of 3 seeds" in sure
    assert "lies on one side of zero" in sure
    for seeds in (1, 2):
        assert "to show an effect, at least 3 seeds are needed." in explain_results(results(seeds=seeds))
        assert "better" not in explain_results(results(seeds=seeds))
        text = printed(results(seeds=seeds))
        assert "seeds better" not in text
    assert "seeds better" in printed(results())
    content = results(seeds=3)
    content["summary"][1]["vs_without_ranksim"]["test"]["all"]["mse"] |= {"ci_seeds": [-0.5, 0.1]}
    assert "includes zero: no effect is shown" in explain_results(content)


def answered(methods, seeds=3):
    """Results with an answer; each method's error is that of the baseline times a number."""
    content = results(seeds=seeds)
    runs = [
        record(method, s, (1.0 + s / 10) * factor + s * s / 900 * (method != "vanilla"))
        for method, factor in methods.items()
        for s in range(seeds)
    ]
    summary = summarise(runs, "sentiment-dir")
    add_comparison(summary, runs, "vanilla", None)
    for row in summary[1:]:
        for scores in row["vs_baseline"]["test"].values():
            for metric in ("mae", "mse"):
                mean = scores[metric]["mean"]
                if mean is not None:
                    ends = [mean - 0.01, mean + 0.01]
                    scores[metric] |= {"ci_total": ends, "ci_adjusted": ends}
    own = {"baseline": "vanilla", "conclusion": draw_conclusion(summary, "vanilla", "mse")}
    return content | {"runs": runs, "summary": summary, "pairs": count_pairs(summary)} | own


def test_the_answer_stands_under_the_tables():
    text = printed(answered({"vanilla": 1.0, "inv": 0.8, "focal-r": 1.0}))
    told = text[text.index("Change of MSE against vanilla") :]
    lines = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.strip()}
    assert lines["method"] == ["all", "many", "medium", "few"]
    assert lines["inv"][0] == "−19.8%*"
    assert lines["focal-r"][0] == "+0.2%"
    assert "from" in lines
    assert "Against vanilla, inv lowers MSE by 19.8% in all" in " ".join(told.split())
    assert max(len(line) for line in text.splitlines()) <= 80


def test_one_pair_is_not_told_twice():
    content = answered({"vanilla": 1.0, "vanilla+ranksim": 0.8})
    text = printed(content)
    assert "Change of MSE" not in text
    assert "Against vanilla, vanilla+ranksim lowers MSE" in " ".join(text.split())
    alone = printed(answered({"vanilla": 1.0}))
    assert "There is nothing to compare with vanilla" in " ".join(alone.split())
    content["conclusion"] = None  # the sweep is not finished
    assert "Against" not in printed(content)


def test_many_methods_have_a_line_each_in_the_answer():
    methods = {"vanilla": 1.0, **{f"m{k}": 1 + k / 10 for k in range(7)}}
    text = printed(answered(methods))
    told = text[text.index("Change of MSE against vanilla") :]
    assert not any(line.split()[:1] == ["from"] for line in told.splitlines())
    assert "m6" in told


def test_without_intervals_changes_stand_alone():
    content = answered({"vanilla": 1.0, "inv": 0.8}, seeds=1)
    for scores in content["summary"][1]["vs_baseline"]["test"].values():
        scores["mse"] |= dict.fromkeys(("ci_total", "ci_adjusted"))
    text = printed(content)
    told = text[text.index("Change of MSE against vanilla") :]
    assert "−20.0%" in told
    assert "from" not in told.split("One seed")[0]
    assert "sure" not in told.split("One seed")[0]


def test_named_regions_have_columns_of_their_own():
    content = results()
    for row in content["summary"]:
        row["test"]["severe hypo [b]"] = row["test"]["few"]
        if "vs_without_ranksim" in row:
            row["vs_without_ranksim"]["test"]["severe hypo [b]"] = row["vs_without_ranksim"]["test"]["few"]
    text = printed(content)
    lines = [line.split() for line in text.splitlines()]
    head = lines.index(["method", "all", "many", "medium", "few", "[b]"])
    assert lines[head - 2 : head] == [["severe"], ["hypo"]]
    assert max(len(line) for line in text.splitlines()) <= 80


def test_long_names_of_regions_cut_no_figure():
    """The regions of glucose, with a gap in its training labels, are eight."""
    content = results()
    for row in content["summary"]:
        scores = [row["test"], *([row["vs_without_ranksim"]["test"]] if "vs_without_ranksim" in row else [])]
        for test in scores:
            for name in ("zero", "seen", "hypoglycaemia", "severe hyperglycaemia"):
                test[name] = test["few"]
    content["headline"] = ["pearson"]
    text = printed(content).split("Change")[0]
    assert "…" not in text
    figures = next(line for line in text.splitlines() if line.split()[:1] == ["vanilla"]).split()
    assert len(figures) == 9
    assert figures[4:] == figures[4:5] * 5  # few, and the four that are like it here
    assert max(len(line) for line in text.splitlines()) <= 80
