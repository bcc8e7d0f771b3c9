"""``ranksim inspect``: figures, JSON, and the next command."""

import json
import shlex

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import TableSpec
from ranksim.user_data.split_plan import make_split_plan


@pytest.fixture
def inspect(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_command("inspect", *words)


@pytest.fixture
def ages(tmp_path):
    labels = np.rint(np.random.default_rng(0).normal(42, 9, 3000)).astype(int)
    path = tmp_path / "ages of all.csv"
    path.write_text("id,age\n" + "".join(f"{k},{age}\n" for k, age in enumerate(labels)))
    return path


@pytest.mark.usefixtures("real_pictures")
def test_writes_report_and_figures(inspect, ages, tmp_path):
    outcome = inspect(ages, "--target", "age")
    assert (outcome.code, outcome.err) == (0, "")
    assert "3,000 rows" in outcome.out
    folder = tmp_path / "runs" / "inspect"
    names = ["inspect.json", "inspect.png", "inspect.svg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "inspect.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "inspect.svg").read_text().startswith("<svg")
    content = json.loads((folder / "inspect.json").read_text())
    assert sum(content["bins"]["counts"]) == 3000
    words = shlex.split(content["next"])
    # thresholds of all rows would leave the training rows of compare without a many-shot bin
    expected = ["ranksim", "compare", ages.name, "--target", "age"]
    assert words == expected  # recorded without a folder, printed with it
    assert shlex.join([*words[:2], str(ages), *words[3:]]) in outcome.out


def test_json_holds_all_options(inspect, ages, tmp_path):
    outcome = inspect(
        ages, "--target", "age", "--json", "--out", "else", "--bin-width", 5, "--many", 400,
        "--few", 30, "--drop-labels", "30-40,>60", "--region", "old=>50", "--region", "young=<20",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    content = json.loads(outcome.out)
    recorded = json.loads((tmp_path / "else" / "inspect.json").read_text())
    assert recorded["next"] == content["next"].replace(str(ages), ages.name)
    (proposal,) = content["proposals"]
    proposals = [proposal | {"command": recorded["next"]}]
    expected = {"data": ages.name, "next": recorded["next"], "proposals": proposals}
    assert recorded == content | expected
    assert content["data"] == str(ages)
    assert content["dropped"]["ranges"] == ["30-40", ">60"]
    assert list(content["named"]) == ["old", "young"]
    assert content["suggestion"]["many"] == 400
    assert set(np.diff(content["bins"]["edges"])) == {5}
    assert shlex.split(content["next"])[5:] == [
        "--bin-width", "5", "--many", "400", "--few", "30", "--drop-labels", "30-40,>60",
        "--region", "old=>50", "--region", "young=<20",
    ]  # fmt: skip


def test_next_command_uses_the_bins_of_the_report(inspect, tmp_path):
    labels = np.random.default_rng(0).lognormal(size=300)
    (tmp_path / "t.csv").write_text(
        "y,x\n" + "".join(f"{label},{k}\n" for k, label in enumerate(labels))
    )
    content = json.loads(inspect("t.csv", "--target", "y", "--json").out)
    assert "--bin-width" not in content["next"]
    plan = make_split_plan(load_table("t.csv"), TableSpec(target="y"))
    np.testing.assert_array_equal(np.float32(content["bins"]["edges"]), plan.bins.edges)


@pytest.mark.parametrize("number", ["-9999999", "1234567.5", "-200", "1e+30"])
def test_next_command_keeps_all_digits(inspect, tmp_path, number):
    lines = [f"{k % 40},{k}\n" for k in range(99)] + [f"{number},1\n"]
    (tmp_path / "t.csv").write_text("y,x\n" + "".join(lines))
    words = ("--target", "y", "--missing-target", number, "--bin-width", "0.1234567")
    content = json.loads(inspect("t.csv", *words, "--json").out)
    command = shlex.split(content["next"])
    assert command[command.index("--missing-target") + 1] == number
    assert command[command.index("--bin-width") + 1] == "0.1234567"


def test_next_command_skips_missing_labels(inspect, tmp_path):
    (tmp_path / "t.csv").write_text("y,x\n" + "".join(f"{k % 9},{k}\n" for k in range(99)) + ",1\n")
    content = json.loads(inspect("t.csv", "--target", "y", "--json").out)
    assert "--skip-missing" in shlex.split(content["next"])


def test_reads_a_folder_and_a_hugging_face_data_set(inspect, ages, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "labels.csv").write_bytes(ages.read_bytes())
    assert inspect("folder", "--target", "age").code == 0
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"age": [1, 2, 2, None]}).save_to_disk(str(tmp_path / "set"))
    content = json.loads(inspect("set", "--target", "age", "--json").out)
    assert content["missing"]["lines"] == [4]


@pytest.mark.parametrize(
    ("words", "code", "key_words"),
    [
        ("equal.csv --target age", 1, ["equal.csv", "7", "'age'"]),
        ("words.csv --target age", 1, ["words.csv", "'age'"]),
        ("good.csv --target age --drop-labels forty", 2, ["--drop-labels", "'forty'"]),
        ("good.csv --target age --region old", 2, ["--region", "'old'"]),
        ("good.csv --target age --drop-labels >-9", 1, ["good.csv", ">-9"]),
        ("good.csv --target age --bin-width 0", 2, ["width", "above 0"]),
        ("good.csv --target age --many 1 --few 6", 2, ["few", "many"]),
        ("good.csv --target age --out equal.csv/x", 1, ["equal.csv/x"]),
    ],
)
def test_error_writes_nothing(check_error, tmp_path, monkeypatch, words, code, key_words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.csv").write_text("age\n" + "\n".join(map(str, range(20))))
    (tmp_path / "equal.csv").write_text("age\n7\n7\n")
    (tmp_path / "words.csv").write_text("age\nold\nyoung\n")
    before = sorted(tmp_path.rglob("*"))
    check_error(["inspect", *words.split()], code, *key_words)
    assert sorted(tmp_path.rglob("*")) == before
