"""The trainings of the leaderboard: what is tuned, and which commands run."""

from pathlib import Path

import pytest

from benchmarks import leaderboard
from ranksim.training.method import family_method_names


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("vanilla", ["lr"]),
        ("denseweight", ["lr", "denseweight_alpha"]),
        ("vanilla+lds", ["lr", "lds_kernel_size", "lds_sigma"]),
        ("vanilla+ranksim", ["lr", "ranksim_weight", "gamma"]),
        ("vanilla+bmse", ["lr", "bmse_sigma", "bmse_variant"]),
    ],
)
def test_fields_of_a_method_are_tuned(method, fields):
    assert leaderboard.list_fields(method) == fields


def test_commands_of_a_small_leaderboard(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(leaderboard, "run", lambda each: commands.append(each) or True)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    for method in ("vanilla", "vanilla+ranksim", "sqinv"):
        recipe = out / "recipes/abalone" / method / "recipe.toml"
        recipe.parent.mkdir(parents=True)
        recipe.write_text(f'# best of 6 trials\n[methods."{method}"]\nlr = 0.1\n')
    for folder in ("abalone", "abalone-ranksim"):
        (out / folder).mkdir()
        (out / folder / "results.json").write_text("{}")
    arguments = ["--tables", "tables", "--data-dir", "data", "--out", str(out), "--write"]
    monkeypatch.setattr("sys.argv", ["leaderboard", *arguments, "--data-sets", "abalone"])
    leaderboard.main()
    *searches, alone, paired = commands
    assert {command[0] for command in searches} == {"tune"}
    tuned = [command[command.index("--method") + 1] for command in searches]
    assert set(tuned) == set(family_method_names()) - {*leaderboard.OTHER_HEADS, "average+sqinv"}
    assert alone[:4] == ["compare", "tables/abalone.csv", "--target", "rings"]
    assert "--share-ranksim" in paired
    names = paired[paired.index("--methods") + 1].split(",")
    assert {"vanilla", "vanilla+ranksim", "sqinv+ranksim", "average+sqinv+ranksim"} <= set(names)
    merged = Path("results/leaderboard/recipes/abalone.toml").read_text()
    assert merged.count("best of 6 trials") == 3
    assert Path("results/leaderboard/abalone-ranksim/results.json").is_file()
