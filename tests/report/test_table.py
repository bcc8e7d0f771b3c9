import io

from rich.console import Console

from ranksim.bench.demo import reading
from ranksim.bench.summary import summarise
from ranksim.report.table import print_summary

REGIONS = ("all", "many", "medium", "few", "zero")


def record(method, seed, mse, few_samples=5):
    def scores(n, value):
        known = value if n else None
        return {"n": n} | dict.fromkeys(("mae", "mse", "gm", "pearson", "spearman"), known)

    regions = {r: scores(20, mse) for r in REGIONS}
    regions["few"], regions["zero"] = scores(few_samples, 3 * mse), scores(0, mse)
    return {
        "method": method, "seed": seed, "status": "done", "seconds": 60.0, "epochs": 9,
        "metrics": {"test": regions, "val": regions},
    }  # fmt: skip


def results(few_samples=5, seeds=3):
    runs = [record("vanilla", s, 1.0 + s / 10, few_samples) for s in range(seeds)]
    runs += [record("vanilla+ranksim", s, 0.8 + s / 9, few_samples) for s in range(seeds)]
    return {
        "benchmark": "sts-b-dir", "split": "yang", "preset": "small",
        "runs": runs, "summary": summarise(runs, "sts-b-dir"),
    }  # fmt: skip


def printed(content, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    print_summary(content, console)
    return console.export_text()


def test_the_table_says_it_all_in_eighty_columns():
    text = printed(results())
    mse = text[: text.index("Pearson")]
    rows = {line[1:19].strip(): line[19:].split() for line in mse.splitlines() if line.strip()}
    assert rows["method"] == ["all", "many", "medium", "few"]
    assert rows["vanilla"] == ["1.100", "1.100", "1.100", "3.300"]
    assert rows["vanilla+ranksim"] == ["0.911", "0.911", "0.911", "2.733"]
    assert rows["by RankSim"] == ["-0.189", "-0.189", "-0.189", "-0.567"]
    assert rows["in per cent"] == ["-17.2%"] * 4
    assert rows["test samples"] == ["20", "20", "20", "5"]
    assert "0.767" in rows["published"]
    assert "3 of 3" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_region_without_samples_is_left_out_or_no_data():
    text = printed(results(few_samples=0))
    assert " few" not in text
    mixed = results()
    mixed["summary"][0]["test"]["few"]["mse"] = {"mean": None, "sd": None, "n": 0}
    assert "no data" in printed(mixed)


def test_failed_runs_are_told():
    content = results()
    content["runs"].append(
        {"method": "vanilla", "seed": 9, "status": "failed", "error": "Training diverged: no."}
    )
    assert "failed: vanilla seed 9: Training diverged: no." in printed(content)


def test_the_reading_is_no_more_certain_than_its_seeds():
    sure = reading(results())
    assert "the error on rare feelings (few-shot) is 3.0 times" in sure
    assert "RankSim lowers the MSE on all sentences by 17.2%, better in 3 of 3 seeds" in sure
    assert "lies on one side of zero" in sure
    assert "includes zero: no effect is shown" in reading(results(seeds=1))
    content = results(seeds=2)
    content["summary"][1]["versus"]["test"]["all"]["mse"] |= {"low": -0.5, "high": 0.1}
    assert "includes zero: no effect is shown" in reading(content)
