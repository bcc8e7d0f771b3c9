"""The leaderboard: what it reads from results and recipes, its tables and its sentences."""

import json
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ranksim._utils.storage import with_digest, write_json
from ranksim.evaluation.intervals import excludes_zero
from ranksim.evaluation.leaderboard import REGIONS, Cell, read_leaderboard
from ranksim.evaluation.report.leaderboard import (
    LEGEND,
    describe_missing,
    draw_leaderboard,
    list_changes,
    list_findings,
    list_markdown,
    list_methods,
    list_setup,
)
from ranksim.exceptions import DataError, UsageError
from ranksim.training.presets import Search
from tests.helpers.results import make_results

RNC = "vanilla+rnc"
METHODS = ("vanilla", "inv", "vanilla+bmse", RNC)
GAIN, LOSS = {"all": 0.2}, {"all": 4.0}
RECIPE = """# validation score 0.8, best of 6 trials, 1 pruned, seeds 100,101; 0.9 before
[methods."vanilla+bmse"]
lr = 0.001

# validation score 0.7, best of 1 trial, 0 pruned; 0.9 before
[methods."inv"]
lr = {lr}
"""


def write_results(folder, methods=METHODS, *, path=None, **settings):
    """Write the results of a sweep, and return them."""
    settings = {"test_set": "balanced", "samples": 200, "tsne": False} | settings
    content = make_results(methods, published=False, **settings)
    content["options"] = {"split": path or folder.name}
    for run in content["runs"]:
        if run["identity"]["method"] == RNC and run["status"] == "done":
            run["identity"]["stage_one"] = {
                "method": "encoder+rnc",
                "seed": run["identity"]["seed"],
            }
    folder.mkdir(parents=True)
    save(folder, content)
    return json.loads(json.dumps(content))


def save(folder, content):
    content.pop("digest", None)
    write_json(folder / "results.json", with_digest(content))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three sweeps: texts and a table with gains and losses, and a random test set."""
    out = tmp_path_factory.mktemp("leaderboard")
    contents = {
        "texts": write_results(out / "texts", factors={"inv": GAIN, "vanilla+bmse": LOSS}),
        "homes": write_results(
            out / "homes",
            (*METHODS[:2], "vanilla+ranksim"),
            benchmark="table",
            factors={"inv": GAIN},
            failed=[("vanilla+ranksim", seed) for seed in range(3)],
        ),
        "random": write_results(out / "random", METHODS[:2], benchmark="table", test_set="random"),
        "texts-again": write_results(
            out / "texts-again", ("vanilla", "inv", "inv+ranksim"), path="texts", seeds=2
        ),
    }
    for name, rate in (("texts", 0.002), ("homes", 0.001)):
        recipe = out / "recipes" / name / "inv" / "recipe.toml"
        recipe.parent.mkdir(parents=True)
        recipe.write_text(RECIPE.format(lr=rate))
    return out, contents


@pytest.fixture(scope="module")
def board(results):
    return read_leaderboard([results[0]])


def row_of(board, method):
    return next(row for row in board.rows if row.method == method)


def test_columns_are_data_sets_and_rows_are_methods(board):
    assert [each.name for each in board.data_sets] == ["homes", "random", "texts"]
    assert [each.kind for each in board.data_sets] == ["tables", "tables", "texts"]
    assert [row.method for row in board.rows] == [
        "vanilla+ranksim", "inv", "inv+ranksim", "vanilla+bmse", RNC,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "method"), [("homes", "inv"), ("texts", "inv"), ("texts", RNC), ("random", "inv")]
)
@pytest.mark.parametrize("region", REGIONS)
def test_cells_are_the_recorded_comparisons(results, board, name, method, region):
    """A cell repeats change and intervals of results.json, as fractions of vanilla's error."""
    rows = {row["method"]: row for row in results[1][name]["summary"]}
    part, place = ("test", region) if region == "few" else ("views", region)
    effect = rows[method]["vs_baseline"][part][place]["mse"]
    base = rows["vanilla"][part][place]["mse"]["mean"]
    cell = row_of(board, method).cells[name][region]
    assert cell.change == pytest.approx(effect["mean"] / base)
    assert cell.interval == pytest.approx([end / base for end in effect["ci_total"]])
    assert cell.is_sure == excludes_zero(effect["ci_adjusted"])
    assert cell.seeds == 3
    data_set = next(each for each in board.data_sets if each.name == name)
    assert data_set.vanilla[region] == pytest.approx(base)


def test_gains_and_losses_are_counted(board):
    assert row_of(board, "inv").count("balanced") == (2, 0)
    assert row_of(board, "vanilla+bmse").count("balanced") == (0, 1)
    gain = row_of(board, "inv").cells["texts"]["balanced"]
    assert gain.is_gain
    assert not gain.is_loss
    assert not replace(gain, is_sure=False).is_gain
    assert Cell(0.1, None, True, 3).is_loss


def test_equal_data_is_one_column_with_the_row_of_most_seeds(board):
    assert row_of(board, "inv").cells["texts"]["few"].seeds == 3
    assert row_of(board, "inv+ranksim").cells["texts"]["few"].seeds == 2
    (few,) = [line for line in list_changes(board, "few") if line.startswith("| `inv+ranksim`")]
    assert "; 2 seeds)" in few
    assert board.runs == 12 + 9 + 6 + 2  # of inv+ranksim


def test_missing_cells_have_a_reason(board):
    missing = row_of(board, "vanilla+ranksim").missing
    assert missing == {"homes": "Diverged", "random": "not trained", "texts": "not trained"}
    text = describe_missing(board)
    assert "Diverged on homes: `vanilla+ranksim`" in text
    assert (
        "not trained on homes and random: `inv+ranksim`, `vanilla+bmse` and `vanilla+rnc`" in text
    )
    (few,) = [line for line in list_changes(board, "few") if line.startswith("| `vanilla+ranksim`")]
    assert few == "| `vanilla+ranksim` |  |  |  | 0 / 0 |"


def test_cost_is_relative_to_vanilla_and_includes_the_first_stage(results, board):
    seconds = {
        name: [run["result"]["seconds"] for run in content["runs"]
               if run["identity"]["method"] == "inv"]
        for name, content in results[1].items() if name != "texts-again"
    }  # fmt: skip
    ratios = [statistics.median(each) / 31.0 for each in seconds.values()]
    assert row_of(board, "inv").total_cost == pytest.approx(statistics.median(ratios))
    assert row_of(board, "inv").step_cost == pytest.approx(statistics.median(ratios))
    assert row_of(board, RNC).total_cost is None  # the record of the first stage is not there


def test_first_stage_counts_in_the_cost(tmp_path):
    content = write_results(tmp_path / "texts", ("vanilla", RNC))
    stages = [
        {
            **run,
            "identity": {"method": "encoder+rnc", "seed": run["identity"]["seed"], "recipe": {}},
            "result": run["result"] | {"seconds": 100.0, "steps": 901},
        }
        for run in content["runs"]
        if run["identity"]["method"] == RNC
    ]
    content["runs"] += stages
    save(tmp_path / "texts", content)
    (row,) = read_leaderboard([tmp_path]).rows
    assert row.total_cost == pytest.approx((100 + 36) / 31)
    assert row.step_cost == pytest.approx((100 + 36) / 1000 / (31 / 99))


def test_members_count_in_the_cost_of_an_average(tmp_path):
    """It trains nothing itself, and has the recipe of the method that it averages."""
    content = write_results(tmp_path / "texts", ("vanilla", "inv", "average+inv"))
    for run in content["runs"]:
        if run["identity"]["method"] == "average+inv":
            names, seed = ("vanilla", "inv"), run["identity"]["seed"]
            run["identity"]["members"] = [{"method": name, "seed": seed} for name in names]
            run["identity"]["data"] = {}  # of a current record
            run["result"] |= {"seconds": 1.0, "steps": 0}
    save(tmp_path / "texts", content)
    recipe = tmp_path / "recipes" / "texts.toml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE.format(lr=0.001))
    row = row_of(read_leaderboard([tmp_path]), "average+inv")
    assert row.total_cost == pytest.approx((1 + 31 + 36) / 31)
    assert row.step_cost == pytest.approx((1 + 31 + 36) / 198 / (31 / 99))
    assert row.searches == {"texts": Search(1, 0, None)}


def test_tuning_is_that_whose_values_the_runs_have(board):
    """The runs have a learning rate of 0.001, which was found on homes."""
    assert {each.name: each.tuning for each in board.data_sets} == dict.fromkeys(
        ("homes", "random", "texts"), "homes"
    )
    searches = row_of(board, "vanilla+bmse").searches
    assert searches == dict.fromkeys(("homes", "texts"), Search(6, 1, (100, 101)))
    lines = {line.split("`")[1]: line for line in list_methods(board) if "`" in line}
    assert "6 trials of 2 seeds on homes; 6 trials of 2 seeds on texts" in lines["vanilla+bmse"]
    assert "| 1 trial on homes; 1 trial on texts |" in lines["inv"]
    assert "as without RankSim" in lines["inv+ranksim"]
    assert lines[RNC].startswith("| `vanilla+rnc` |  |  |  |")  # neither cost nor tuning
    assert "| MIT | Ren et al., Balanced MSE" in lines["vanilla+bmse"]
    assert "| none known | Zha et al." in lines[RNC]


def test_runs_of_other_values_are_not_tuned(results, tmp_path):
    write_results(tmp_path / "homes", METHODS[:2])
    recipe = tmp_path / "recipes" / "other.toml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE.format(lr=0.5))
    read = read_leaderboard([tmp_path])
    assert read.data_sets[0].tuning is None
    assert [tuning.name for tuning in read.tunings] == ["other"]
    assert "presets alone" in " ".join(list_setup(read))


def test_sentences_name_what_helps_and_what_does_not(results, board):
    findings = " ".join(list_findings(board))
    assert "over all labels `inv` (" in findings
    assert "are surely better" not in findings
    assert ", surely worse `vanilla+bmse`" in findings
    assert "Tables (homes and random): no method surely lowers the error for rare" in findings
    assert "Surely worse somewhere and surely better nowhere: `vanilla+bmse`." in findings
    assert "Never surely better nor worse than vanilla on any of these data sets: " in findings
    homes = " ".join(list_findings(read_leaderboard([results[0] / "homes"])))
    assert "Tables (homes): the error for rare labels falls surely with `inv`; without a" in homes
    assert "sure rise over all labels on any: `inv`." in homes
    setup = list(list_setup(board))
    assert setup[0] == (
        "29 trainings: vanilla and 3 methods alone, 2 with RankSim, on 3 data sets."
    )
    assert "3 seeds of 3 methods, 2 seeds of 1 method" in setup[3]


def test_pairs_with_ranksim_may_be_in_two_folders(tmp_path):
    """Rows with RankSim that were trained apart are compared with the method in another folder."""
    alone = write_results(tmp_path / "texts", ("vanilla", "inv", "inv+lds"), seeds=5)
    joined = write_results(
        tmp_path / "texts-ranksim", ("vanilla", "vanilla+ranksim", "inv+ranksim"), path="texts"
    )
    (data_set,) = read_leaderboard([tmp_path]).data_sets
    runs = [*alone["runs"], *joined["runs"][3:]]
    errors = {(run["identity"]["method"], run["identity"]["seed"]):
              run["result"]["metrics"]["test"]["all"]["mse"] for run in runs}  # fmt: skip
    changes = {
        base: np.array([errors[f"{base}+ranksim", seed] - errors[base, seed] for seed in range(3)])
        for base in ("vanilla", "inv")
    }
    assert data_set.pairs["pairs"] == 2
    assert data_set.pairs["improved"] == sum(each.mean() < 0 for each in changes.values())
    intervals = [
        stats.t.interval(0.95, 2, each.mean(), stats.sem(each)) for each in changes.values()
    ]
    sure = [low < high < 0 for low, high in intervals]
    assert data_set.pairs["significantly_better"] == sum(sure)
    sentences = " ".join(list_findings(read_leaderboard([tmp_path])))
    lower = data_set.pairs["improved"]
    assert f"lowers the mean error over all labels in {lower} of 2 pairs of a method" in sentences
    assert f"surely falls in {sum(sure)}, and surely rises in 0" in sentences


def test_unfinished_sweeps_have_no_intervals(tmp_path):
    """Until a sweep has ended, its results hold no intervals over test samples."""
    write_results(tmp_path / "texts", test_set=None)
    read = read_leaderboard([tmp_path])
    for row in read.rows:
        assert row.cells["texts"].keys() == {"few", "balanced"}
    content = json.loads((tmp_path / "texts" / "results.json").read_text())
    for row in content["summary"]:
        for effects in row.get("vs_baseline", {"test": {}})["test"].values():
            effects["mse"] |= {"ci_total": None, "ci_adjusted": None}
    save(tmp_path / "texts", content)
    (line,) = [each for each in list_changes(read_leaderboard([tmp_path]), "few") if "bmse" in each]
    assert "% (no interval yet)" in line
    findings = list(list_findings(read_leaderboard([tmp_path])))
    reason = "unfinished trainings give no intervals, so that no change is sure."
    assert findings[0] == f"texts: {reason}"
    assert not [each for each in findings if each.startswith("Texts")]


def test_one_seed_has_no_intervals(tmp_path):
    write_results(tmp_path / "texts", METHODS[:2], seeds=1)
    first, *_ = list_findings(read_leaderboard([tmp_path]))
    assert first == "texts: one seed gives no intervals, so that no change is sure."


def test_rows_without_a_search_name_none(tmp_path):
    write_results(tmp_path / "texts", ("vanilla", "inv", "inv+ranksim"))
    (line,) = [each for each in list_methods(read_leaderboard([tmp_path])) if "+ranksim" in each]
    assert line.split("|")[4].strip() == ""


def test_first_stage_of_a_member_counts_in_the_cost(tmp_path):
    content = write_results(tmp_path / "texts", ("vanilla", RNC, "average+rnc"))
    runs = {(run["identity"]["method"], run["identity"]["seed"]): run for run in content["runs"]}
    for (method, seed), run in runs.items():
        if method == "average+rnc":
            members = (runs[name, seed]["identity"] for name in ("vanilla", RNC))
            run["identity"] |= {"members": [*members], "data": {}}
            run["result"] |= {"seconds": 0.0, "steps": 0}
    for seed in range(3):
        first = json.loads(json.dumps(runs["vanilla", seed]))
        first["identity"]["method"] = "encoder+rnc"
        first["result"]["seconds"] = 500.0
        content["runs"].append(first)
    save(tmp_path / "texts", content)
    read = read_leaderboard([tmp_path])
    costs = [row_of(read, name).total_cost for name in (RNC, "average+rnc")]
    assert costs[1] == pytest.approx(costs[0] + 1)


def test_names_of_columns_are_distinct(tmp_path):
    for name in ("a", "b"):
        write_results(tmp_path / name / "tuned", METHODS[:2], path=name)
    read = read_leaderboard([tmp_path / "a", tmp_path / "b"])
    assert [each.name for each in read.data_sets] == ["tuned", "b/tuned"]


def test_content_is_json_and_markdown_and_a_picture(board):
    content = board.to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["tunings"] == ["homes", "texts"]
    row = next(row for row in content["rows"] if row["method"] == "inv")
    assert row["cells"]["texts"]["few"].keys() == {"change", "interval", "is_sure", "seeds"}
    text = "\n".join(list_markdown(board))
    assert LEGEND in text
    assert text.count("| `inv` |") == 3
    widths = {line.count("|") for line in list_changes(board, "few")}
    assert widths == {len(board.data_sets) + 3}
    picture = draw_leaderboard(board)
    assert picture.name == "leaderboard"
    assert "vanilla" in picture.description


@pytest.mark.usefixtures("real_pictures")
def test_picture_marks_sure_changes(board):
    pytest.importorskip("matplotlib")
    svg = draw_leaderboard(board).svg
    gains, losses = (
        sum(row.count(region)[k] for row in board.rows for region in REGIONS) for k in range(2)
    )
    marks = [text.strip() for text in re.findall(r">([^<]*)</text>", svg)]
    assert (marks.count("✓"), marks.count("✗")) == (gains, losses)
    cells = sum(len(row.cells.get(each.name, {})) for row in board.rows for each in board.data_sets)
    assert marks.count("·") == len(board.rows) * len(board.data_sets) * len(REGIONS) - cells
    assert all(name in marks for name in ("inv", "homes", "rare labels (few-shot)"))


def test_folders_without_results_or_vanilla_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no results.json: give a folder of results of sweeps"):
        read_leaderboard([tmp_path])
    write_results(tmp_path / "texts", ("inv", "sqinv"))
    message = "The results in texts are compared with inv, not with vanilla: train vanilla in"
    with pytest.raises(UsageError, match=message):
        read_leaderboard([tmp_path])
    recipe = tmp_path / "recipes" / "texts.toml"
    recipe.parent.mkdir()
    recipe.write_text("lr = [")
    with pytest.raises(DataError, match=r"texts.toml is not a recipe file: give one that ranksim"):
        read_leaderboard([tmp_path])


def test_results_with_another_preset_are_another_column(tmp_path):
    write_results(tmp_path / "texts", METHODS[:2])
    content = write_results(tmp_path / "texts-minilm", METHODS[:2], path="texts")
    save(tmp_path / "texts-minilm", content | {"preset": "minilm"})
    columns = read_leaderboard([tmp_path]).data_sets
    assert [(each.name, each.preset) for each in columns][1] == ("texts-minilm", "minilm")
    assert columns[0].preset != "minilm"
