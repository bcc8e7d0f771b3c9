"""What people get wrong: one sentence, an exit code, and nothing half-written."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from ranksim._utils.storage import read_verified_json
from ranksim.cli import main
from tests.helpers import user_data
from tests.inference.test_model import fitted

HEADER = "x,kind,y,group,when,part"
TARGET = "--target y"
PARTS = ("train", "train", "train", "val", "test")


def rows(count=60, **columns):
    """Lines of a good table; columns by name replace its own."""
    draw = np.random.default_rng(0)
    own = {
        "x": [f"{v:.2f}" for v in draw.normal(size=count)],
        "kind": draw.choice(["a", "b", "c"], count).tolist(),
        "y": [k % 12 for k in range(count)],
        "group": [k // 6 for k in range(count)],
        "when": [f"2024-03-{1 + k // 24:02} {k % 24:02}:00" for k in range(count)],
        "part": [PARTS[k % 5] for k in range(count)],
    } | columns
    return [",".join(map(str, row)) for row in zip(*own.values(), strict=True)]


def text(lines, header=HEADER):
    return "\n".join([header, *lines]) + "\n"


def with_line(at, line):
    """A good table, one of whose lines of values is another one."""
    lines = rows()
    lines[at] = line
    return text(lines)


def photos(folder, also=""):
    """A folder of images and its table."""
    root = folder / "photos"
    root.mkdir()
    for k in range(36):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(root / f"{k}.png")
    lines = [f"{k}.png,{k % 3}" for k in range(36)]
    (root / "labels.csv").write_text(text([*lines, *also.split()], "file,y"))


def changed_model(folder, change):
    path = folder / "model/config.json"
    path.write_text(json.dumps(read_verified_json(path) | change))


def two_tables(folder):
    (folder / "both").mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / "both" / name).write_text(text(rows()))


def results(folder, content):
    (folder / "swept").mkdir()
    (folder / "swept/results.json").write_text(content)


TRAIN = "--methods vanilla --seeds 1 --max-epochs 1 --out out"
COMPARE, FIT = f"compare bad.csv {TARGET} {TRAIN}", f"fit bad.csv {TARGET} --max-epochs 1 --out out"
GOOD, SERIES = f"compare good.csv {TARGET} {TRAIN}", "--window 3 --time when"
PREDICT, EVALUATE = "predict model", "evaluate bad.csv --out out"
MADE = "prediction,label\n1,2\n2,3\n"

# name: (content of bad.csv or what prepares the folder, command, exit code, part of the sentence)
CASES = {
    # the file
    "no file": (None, f"inspect nowhere.csv {TARGET}", 1, "nowhere.csv does not exist: give"),
    "no data set": (None, f"fit nowhere {TARGET} --out out", 1, "nowhere"),
    "no table in the folder": (
        lambda at: (at / "none").mkdir(), f"inspect none {TARGET} --out out", 1,
        "none contains no table: add labels.csv"),
    "several tables": (
        two_tables, f"inspect both {TARGET} --out out", 1, "contains several tables (a.csv, b.csv)"),
    "empty": ("", COMPARE, 1, "bad.csv is empty: write a header and one row"),
    "a header alone": (HEADER, COMPARE, 1, "has a header but no rows"),
    "a ragged row": (with_line(3, "1,a,2"), COMPARE, 1, "line 5: the number of values differs"),
    "an open quote": (with_line(9, '1,"a,2,3,4,5'), COMPARE, 1, "line 11: unexpected end of data"),
    "two columns of one name": (
        text(rows(), "x,kind,y,group,y,part"), COMPARE, 1, "has two columns 'y': rename one"),
    "utf-16": (text(rows()).encode("utf-16"), COMPARE, 1, "line 1: not UTF-8"),
    "latin-1": (
        with_line(5, "1,caf\xe9,2,1,2024-01-01,val").encode("latin-1"), COMPARE, 1,
        "line 7: the text is not UTF-8"),
    "damaged gzip": (
        lambda at: (at / "bad.csv.gz").write_bytes(gzip.compress(b"x,y\n" * 99)[:-20]),
        f"inspect bad.csv.gz {TARGET} --out out", 1, "is a damaged .gz file"),
    "damaged parquet": (
        lambda at: (at / "bad.parquet").write_bytes(b"PAR1" + bytes(90)),
        f"inspect bad.parquet {TARGET} --out out", 1, "is not a readable Parquet file"),
    "a spreadsheet": (
        lambda at: (at / "bad.xlsx").write_bytes(b"PK"), f"inspect bad.xlsx {TARGET} --out out", 1,
        "is a spreadsheet: export the sheet as CSV"),
    "another kind of file": (
        lambda at: (at / "bad.txt").write_text("x"), f"inspect bad.txt {TARGET} --out out", 1,
        "is not a supported table"),
    # columns
    "no such target": (None, "inspect good.csv --target Y --out out", 1, "has no column 'Y'"),
    "no such feature": (None, f"{GOOD} --features x,z", 1, "has no column 'z': choose one of"),
    "no such text": (None, f"{GOOD} --text z", 1, "has no column 'z'"),
    "no such image": (None, f"{GOOD} --image z", 1, "has no column 'z'"),
    "no such group": (None, f"{GOOD} --group z", 1, "has no column 'z'"),
    "no such time": (None, f"{GOOD} --split-by time --time z", 1, "has no column 'z'"),
    "no such split": (None, f"{GOOD} --split z", 1, "has no column 'z'"),
    "no such category": (None, f"{GOOD} --categories z", 2, "'z', which is not an input"),
    # the target
    "text in the target": (
        with_line(7, "1,a,much,1,2024-01-01,val"), FIT, 1,
        "line 9: column 'y' contains 'much', which is not a number"),
    "a decimal comma": (
        with_line(7, '1,a,"1,5",1,2024-01-01,val'), FIT, 1, "write decimals with a point"),
    "infinity": (
        with_line(7, "1,a,inf,1,2024-01-01,val"), COMPARE, 1, "contains 'inf', which is infinite"),
    "a missing target": (
        with_line(7, "1,a,NaN,1,2024-01-01,val"), COMPARE, 1,
        "line 9: column 'y' has no value; fill it in"),
    "all missing": (text(rows(y=[""] * 60)), f"{COMPARE} --skip-missing", 1, "no label"),
    "all equal": (text(rows(y=[3] * 60)), COMPARE, 1, "only the label 3"),
    "all equal, inspected": (text(rows(y=[3] * 60)), f"inspect bad.csv {TARGET} --out out", 1, "3"),
    "one row": (text(rows()[:1]), COMPARE, 1, "only the label"),
    "too few rows": (text(rows()[:3]), COMPARE, 1, "part has no samples"),
    # the label axis
    "a million bins": (None, f"{GOOD} --bin-width 1e-6", 2, "makes 11,000,000 bins"),
    "bins of no width": (None, f"{GOOD} --bin-width 0", 2, "width must be a finite number above 0"),
    "bins of less": (None, f"inspect good.csv {TARGET} --bin-width -1 --out out", 2, "above 0"),
    "a million bins of labels": (
        text((f"1,{k}" for k in range(0, 10**6, 10)), "x,y"),
        f"{COMPARE} --bin-width 1", 2, "bins over column 'y': use a width"),
    "few above many": (None, f"{GOOD} --many 5 --few 9", 2, "few must be at most many"),
    "no range": (None, f"{GOOD} --region low=cold", 2, "--region 'low=cold': 'cold' is no range"),
    "a region of a known name": (None, f"{GOOD} --region many=>3", 2, "cannot be called many"),
    "labels that are not there": (None, f"{GOOD} --drop-labels >99", 2, "99"),
    "all labels dropped": (None, f"{FIT.replace('bad', 'good')} --drop-labels >-9", 2, "-9"),
    "a backward range": (None, f"{GOOD} --drop-labels 9-3", 2, "ends before it begins"),
    # splits
    "the same row in two parts": (
        with_line(4, rows()[0].replace("train", "test")), f"{COMPARE} --split part", 1,
        "occurs in another part"),
    "a part without rows": (
        text(rows(part=["train", "val"] * 30)), f"{COMPARE} --split part", 1,
        "The test part has no samples"),
    "an unknown part": (
        text(rows(part=["train", "exam"] * 30)), f"{COMPARE} --split part", 1,
        "is not train, val or test"),
    "groups without a column": (None, f"{GOOD} --split-by group", 2, "give --group"),
    "one group": (text(rows(group=[1] * 60)), f"{COMPARE} --group group", 1, "1 group cannot be"),
    "a split drawn and given": (None, f"{GOOD} --split part --cap 3", 2, "--cap does nothing"),
    # series
    "a random split of windows": (None, f"{GOOD} {SERIES} --split-by random", 2, "overlap"),
    "a horizon without a window": (None, f"{GOOD} --horizon 3", 2, "give --window too"),
    "no window without a gap": (None, f"{GOOD} --window 59 --time when", 1, "fill the gaps"),
    "times that are none": (
        text(rows(when=["noon"] * 60)), f"{COMPARE} {SERIES}", 1,
        "contains 'noon', which is not a date"),
    "times that stand still": (
        text(rows(when=["2024-01-01"] * 60)), f"{COMPARE} {SERIES}", 1, "different time"),
    "a missing time": (
        with_line(7, "1,a,2,1,,val"), f"{COMPARE} {SERIES}", 1, "line 9: column 'when' has no time"),
    # texts and images
    "a text that is empty": (
        with_line(7, "1,a,2,1,,val"), f"{COMPARE} --text when", 1,
        "line 9: column 'when' holds no text"),
    "an image that is missing": (
        lambda at: photos(at, also="c.png,3"), f"fit photos {TARGET} --out out", 1, "c.png"),
    "an image that is broken": (
        lambda at: (photos(at), (at / "photos/7.png").write_bytes(b"no")),
        f"fit photos {TARGET} --out out", 1, "7.png"),
    "an image outside": (
        lambda at: photos(at, also="../good.csv,3"), f"fit photos {TARGET} --out out", 1,
        "line 38: the path of the image is absolute or holds '..' or a NUL"),
    # the command
    "texts and images": (None, f"{GOOD} --text kind --image x", 2, "say two things of the inputs"),
    "the target as input": (None, f"{GOOD} --features x,y", 2, "is the target and an input"),
    "another network's encoder": (None, f"{GOOD} --encoder gru", 2, "does not read a table"),
    "no such encoder": (
        None, f"{GOOD} --text when --encoder no/encoder", 2, "no/encoder is no text model"),
    "no such method": (None, f"{GOOD.replace('vanilla', 'magic')}", 2, "unknown part 'magic'"),
    "methods to fit": (None, f"fit good.csv {TARGET} --method vanilla,rrt --out out", 2, "rrt"),
    "no such field": (None, f"{GOOD} --set rate=3", 2, "A recipe has no field 'rate'"),
    "no value": (None, f"{GOOD} --set lr", 2, "--set takes FIELD=VALUE"),
    "a bad value": (None, f"{GOOD} --set lr=-1", 2, "Recipe field lr must be above 0"),
    "no time": (None, f"{GOOD} --budget soon", 2, "--budget takes a time such as 10m"),
    "no seeds": (None, GOOD.replace("--seeds 1", "--seeds 0"), 2, "--seeds takes a number above 0"),
    "out is a file": (None, f"{GOOD[:-3]}good.csv", 1, "good.csv"),
    "a model over a file": (None, f"fit good.csv {TARGET} --out good.csv", 2, "is a file, and a"),
    "a model over a folder": (
        lambda at: photos(at), f"fit good.csv {TARGET} --out photos", 2, "holds what is no model"),
    # models
    "no model": (None, "predict nowhere good.csv --out out.csv", 1, "There is no model nowhere"),
    "a folder that is no model": (
        lambda at: photos(at), "predict photos good.csv --out out.csv", 1,
        "config.json is missing"),
    "a model of another version": (
        lambda at: changed_model(at, {"format": 9}), f"{PREDICT} good.csv --out out.csv", 1,
        "has model format 9, and this version of ranksim reads 1"),
    "a model of an unknown reader": (
        lambda at: changed_model(at, {"kind": "x"}), f"{PREDICT} good.csv --out out.csv", 1,
        "describes what this version of ranksim cannot make"),
    "damaged weights": (
        lambda at: (at / "model/model.safetensors").write_bytes(b"x"),
        f"{PREDICT} good.csv --out out.csv", 1, "model.safetensors is damaged"),
    "data without a column": (
        "x\n1\n", f"{PREDICT} bad.csv --out out.csv", 1, "has no column 'size'"),
    "text among numbers": (
        "size,kind,built\n1,a,2020-01-01\nbig,a,2020-01-01\n", f"{PREDICT} bad.csv --out out.csv",
        1, "line 3: column 'size' holds 'big', which is no finite number"),
    "predictions over the data": (
        "size,kind,built\n1,a,2020-01-01\n", f"{PREDICT} bad.csv --out bad.csv", 2,
        "is the data, which would be lost"),
    "predictions as a sheet": (None, f"{PREDICT} good.csv --out a.xlsx", 2, "a .csv or .parquet"),
    # predictions
    "no prediction": (
        "a,label\n1,2\n", f"{EVALUATE} --model model", 1, "no column 'prediction' or 'pred'"),
    "no label": ("pred,x\n1,2\n", f"{EVALUATE} --model model", 1, "no column 'label' or 'target'"),
    "labels all missing": ("pred,label\n1,\n", f"{EVALUATE} --model model", 1, "has no label in"),
    "a missing prediction": (
        "pred,label\n,1\n", f"{EVALUATE} --model model", 1, "line 2: column 'pred' has no value"),
    "neither density": (MADE, EVALUATE, 2, "one of --train and --model for predictions, got none"),
    "both densities": (
        MADE, f"{EVALUATE} --model model --train good.csv", 2, "got --train and --model"),
    "training data without a target": (
        MADE, f"{EVALUATE} --train good.csv", 2, "--train needs the column of its label"),
    "bins beside a model": (
        MADE, f"{EVALUATE} --model model --bin-width 2", 2, "--bin-width does nothing with"),
    "nothing to train on": (
        MADE, f"{EVALUATE} --train good.csv {TARGET} --split kind", 1, "to train on"),
    # pages
    "no results": (None, "report nowhere", 1, "results.json is not there"),
    "damaged results": (lambda at: results(at, "{"), "report swept", 1, "not the results.json of"),
    "results that are none": (
        lambda at: results(at, '{"format": 3}'), "report swept", 1, "not the results.json of"),
    "results to come": (
        lambda at: results(
            at, '{"format": 99, "benchmark": "x", "runs": [], "summary": []}'),
        "report swept", 1, "is of a later version"),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    return fitted(user_data.table(folder), user_data.TABLE, folder / "model")


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_nothing_half_written(case, model, tmp_path, monkeypatch, capsys):
    bad, command, code, sentence = CASES[case]
    (tmp_path / "good.csv").write_text(text(rows()))
    if " model" in command:
        shutil.copytree(model, tmp_path / "model")
    if callable(bad):
        bad(tmp_path)
    elif bad is not None:
        (tmp_path / "bad.csv").write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "argv", ["ranksim", *command.split()])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    assert left.value.code == code, told.err
    assert told.err.startswith("Error: ")
    assert sentence in told.err
    assert len(told.err.splitlines()) == 1
    assert told.err.rstrip().endswith(".")
    assert not told.out
    assert content(tmp_path) == before


def content(folder: Path):
    """Every file below a folder, and every folder."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
