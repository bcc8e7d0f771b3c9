import json
import shlex
import sys

import numpy as np
import pytest

from ranksim.cli import main


@pytest.fixture
def inspect(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ranksim", "inspect", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return left.value.code or 0, told.out, told.err

    return run


@pytest.fixture
def ages(tmp_path):
    labels = np.rint(np.random.default_rng(0).normal(42, 9, 3000)).astype(int)
    path = tmp_path / "ages of all.csv"
    path.write_text("id,age\n" + "".join(f"{k},{age}\n" for k, age in enumerate(labels)))
    return path


def test_a_page_a_picture_and_a_file(inspect, ages, tmp_path):
    code, out, err = inspect(ages, "--target", "age")
    assert (code, err) == (0, "")
    assert "3,000 rows" in out
    folder = tmp_path / "runs" / "inspect"
    assert sorted(path.name for path in folder.iterdir()) == [
        "inspect.json", "inspect.png", "inspect.svg",
    ]  # fmt: skip
    assert (folder / "inspect.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "inspect.svg").read_text().startswith("<svg")
    content = json.loads((folder / "inspect.json").read_text())
    assert sum(content["bins"]["counts"]) == 3000
    words = shlex.split(content["next"])
    assert words[:5] == ["ranksim", "compare", ages.name, "--target", "age"]
    chosen = content["suggestion"]
    # thresholds of all rows would leave the training rows of compare without a many-shot bin
    assert words[5:] == ["--bin-width", f"{chosen['width']:g}"]
    typed = shlex.join([*words[:2], str(ages), *words[3:]])  # what is kept names no folder
    assert f"Next: {typed}" in out


def test_json_alone(inspect, ages, tmp_path):
    code, out, err = inspect(
        ages, "--target", "age", "--json", "--out", "else", "--bin-width", 5, "--many", 400,
        "--few", 30, "--drop-labels", "30-40,>60", "--region", "old=>50", "--region", "young=<20",
    )  # fmt: skip
    assert (code, err) == (0, "")
    content = json.loads(out)
    kept = json.loads((tmp_path / "else" / "inspect.json").read_text())
    assert kept["next"] == content["next"].replace(str(ages), ages.name)
    assert kept == content | {"data": ages.name, "next": kept["next"]}
    assert content["data"] == str(ages)
    assert content["dropped"]["ranges"] == ["30-40", ">60"]
    assert list(content["named"]) == ["old", "young"]
    assert content["suggestion"]["many"] == 400
    assert np.diff(content["bins"]["edges"]).tolist() == [5] * (len(content["bins"]["edges"]) - 1)
    assert shlex.split(content["next"])[5:] == [
        "--bin-width", "5", "--many", "400", "--few", "30", "--drop-labels", "30-40,>60",
        "--region", "old=>50", "--region", "young=<20",
    ]  # fmt: skip


def test_the_width_is_left_out_where_it_alone_would_not_make_these_bins(inspect, tmp_path):
    labels = [*np.random.default_rng(0).normal(size=300), 1e7]
    (tmp_path / "t.csv").write_text("y\n" + "\n".join(map(str, labels)))
    code, out, _ = inspect("t.csv", "--target", "y", "--json")
    assert code == 0
    assert "--bin-width" not in json.loads(out)["next"]


def test_rows_without_a_target_are_left_out_by_the_next_command(inspect, tmp_path):
    (tmp_path / "t.csv").write_text("y,x\n" + "".join(f"{k % 9},{k}\n" for k in range(99)) + ",1\n")
    code, out, _ = inspect("t.csv", "--target", "y", "--json")
    assert code == 0
    assert "--skip-missing" in shlex.split(json.loads(out)["next"])


def test_a_folder_and_a_data_set(inspect, ages, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "labels.csv").write_bytes(ages.read_bytes())
    assert inspect("folder", "--target", "age")[0] == 0
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"age": [1, 2, 2, None]}).save_to_disk(str(tmp_path / "set"))
    code, out, _ = inspect("set", "--target", "age", "--json")
    assert code == 0
    assert json.loads(out)["missing"]["lines"] == [4]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["none.csv", "--target", "age"], 1, "none.csv does not exist: check the "
         "path."),
        (["DATA", "--target", "years"], 1, "DATA has no column 'years': choose one of id, age."),
        (["empty.csv", "--target", "age"], 1, "empty.csv has a header but no rows: add one row "
         "per sample."),
        (["equal.csv", "--target", "age"], 1, "equal.csv has only the value 7 in column 'age': "
         "choose a column with at least two different labels."),
        (["words.csv", "--target", "age"], 1, "words.csv has no numbers in column 'age': choose a "
         "column with at least two different labels."),
        (["DATA", "--target", "age", "--drop-labels", "forty"], 2, "--drop-labels: 'forty' is no "
         "range of labels: write ranges as 30-40, >80, >=80, <-2 or <=-2, parted by commas."),
        (["DATA", "--target", "age", "--region", "old"], 2, "--region: 'old' is no named range: "
         "write NAME=RANGE, as in rare=>80."),
        (["DATA", "--target", "age", "--drop-labels", ">-9"], 1, "All labels of column 'age' of "
         "DATA lie in >-9: drop fewer of them."),
        (["DATA", "--target", "age", "--bin-width", "0"], 2, "These bins or thresholds cannot be "
         "used: width must be a finite number above 0, got 0.0."),
        (["DATA", "--target", "age", "--many", "5", "--few", "6"], 2, "These bins or thresholds "
         "cannot be used: few must be at most many, got 6 and 5."),
        (["DATA", "--target", "age", "--out", "equal.csv/x"], 1, "equal.csv/x/inspect.json "
         "could not be written (Not a directory); move away what is in its place, or choose a "
         "writable folder."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(inspect, ages, tmp_path, words, code, sentence):
    (tmp_path / "empty.csv").write_text("age\n")
    (tmp_path / "equal.csv").write_text("age\n7\n7\n")
    (tmp_path / "words.csv").write_text("age\nold\nyoung\n")
    before = sorted(tmp_path.rglob("*"))
    told = inspect(*(str(ages) if word == "DATA" else word for word in words))
    assert told == (code, "", f"Error: {sentence.replace('DATA', str(ages))}\n")
    assert sorted(tmp_path.rglob("*")) == before
