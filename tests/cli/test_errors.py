"""Invalid input: one sentence with the place, an exit code, and no half-written output."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from ranksim._utils.storage import read_verified_json
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from tests.helpers import user_data
from tests.helpers.requests import make_request

HEADER = "x,kind,y,group,when,part"
PARTS = ("train", "train", "train", "val", "test")


def rows(count=60, **columns):
    """Return the lines of a valid table, with some columns replaced."""
    draw = np.random.default_rng(0)
    values = {
        "x": [f"{v:.2f}" for v in draw.normal(size=count)],
        "kind": draw.choice(["a", "b", "c"], count).tolist(),
        "y": [k % 12 for k in range(count)],
        "group": [k // 6 for k in range(count)],
        "when": [f"2024-03-{1 + k // 24:02} {k % 24:02}:00" for k in range(count)],
        "part": [PARTS[k % 5] for k in range(count)],
    } | columns
    return [",".join(map(str, row)) for row in zip(*values.values(), strict=True)]


def text(lines, header=HEADER):
    return "\n".join([header, *lines]) + "\n"


def with_line(index, line):
    """Return a valid table with one line replaced."""
    lines = rows()
    lines[index] = line
    return text(lines)


def photos(folder, more=""):
    """Write a folder of images and its table."""
    root = folder / "photos"
    root.mkdir()
    for k in range(36):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(root / f"{k}.png")
    lines = [f"{k}.png,{k % 3}" for k in range(36)]
    (root / "labels.csv").write_text(text([*lines, *more.split()], "file,y"))


def change_model(folder, change):
    path = folder / "model/config.json"
    path.write_text(json.dumps(read_verified_json(path) | change))


def two_tables(folder):
    (folder / "both").mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / "both" / name).write_text(text(rows()))


COMPARE = "compare bad.csv --target y --methods vanilla --seeds 1 --max-epochs 1 --out out"
GOOD = COMPARE.replace("bad", "good")
FIT = "fit bad.csv --target y --max-epochs 1 --out out"
INSPECT = "inspect {} --target y --out out"
SERIES = "--window 3 --time when"
PREDICT, EVALUATE = "predict model bad.csv --out out.csv", "evaluate bad.csv --out out"
PREDICTIONS = "prediction,label\n1,2\n2,3\n"

# name: (content of bad.csv or function that prepares the folder, command, exit code, key words)
CASES = {
    # files
    "missing file": (None, INSPECT.format("no.csv"), 1, ["no.csv does not exist"]),
    "two tables": (two_tables, INSPECT.format("both"), 1, ["a.csv", "b.csv"]),
    "empty": ("", COMPARE, 1, ["bad.csv is empty"]),
    "header only": (HEADER, COMPARE, 1, ["bad.csv", "no rows"]),
    "ragged row": (with_line(3, "1,a,2"), COMPARE, 1, ["line 5"]),
    "same column twice": (text(rows(), "x,kind,y,group,y,part"), COMPARE, 1, ["two columns 'y'"]),
    "latin-1": (
        with_line(5, "1,caf\xe9,2,1,2024-01-01,val").encode("latin-1"), COMPARE, 1,
        ["line 7", "UTF-8"]),
    "damaged gzip": (
        lambda at: (at / "bad.csv.gz").write_bytes(gzip.compress(b"x,y\n" * 99)[:-20]),
        INSPECT.format("bad.csv.gz"), 1, ["damaged"]),
    "damaged parquet": (
        lambda at: (at / "bad.parquet").write_bytes(b"PAR1" + bytes(90)),
        INSPECT.format("bad.parquet"), 1, ["Parquet"]),
    "spreadsheet": (
        lambda at: (at / "bad.xlsx").write_bytes(b"PK"), INSPECT.format("bad.xlsx"), 1, ["CSV"]),
    # columns
    "unknown target": (None, "inspect good.csv --target Y --out out", 1, ["no column 'Y'"]),
    "unknown feature": (None, f"{GOOD} --features x,z", 1, ["no column 'z'"]),
    "unknown group": (None, f"{GOOD} --split-by group --group z", 1, ["no column 'z'"]),
    "unknown category": (None, f"{GOOD} --categories z", 2, ["--categories", "'z'"]),
    # labels
    "text label": (
        with_line(7, "1,a,much,1,2024-01-01,val"), FIT, 1, ["line 9", "'y'", "'much'"]),
    "ambiguous number": (
        with_line(7, '1,a,"1,512",1,2024-01-01,val'), FIT, 1,
        ["line 9", "'y'", "1512", "1.512", "--decimal ','"]),
    "missing header": ("\n".join(rows()), FIT, 1, ["line 1", "no header"]),
    "near name": (
        None, GOOD.replace("--target y", "--target Y"), 1, ["no column 'Y'", "did you mean 'y'"]),
    "invalid decimal sign": (None, f"{GOOD} --decimal ;", 2, ["--decimal", "';'"]),
    "sentinel that is no number": (None, f"{GOOD} --missing-target much", 2, ["'much'"]),
    "infinite label": (with_line(7, "1,a,inf,1,2024-01-01,val"), COMPARE, 1, ["'inf'"]),
    "missing label": (
        with_line(7, "1,a,NaN,1,2024-01-01,val"), COMPARE, 1, ["line 9", "no value"]),
    "equal labels": (text(rows(y=[3] * 60)), COMPARE, 1, ["label 3", "'y'"]),
    "too few rows": (text(rows()[:3]), COMPARE, 1, ["set", "no samples"]),
    "million bins": (None, f"{GOOD} --bin-width 1e-6", 2, ["11,000,000 bins"]),
    "zero bin width": (None, f"{GOOD} --bin-width 0", 2, ["width", "above 0"]),
    "few above many": (None, f"{GOOD} --many 5 --few 9", 2, ["few", "many", "9", "5"]),
    "invalid region": (None, f"{GOOD} --region low=cold", 2, ["--region", "'cold'"]),
    "reserved region": (None, f"{GOOD} --region many=>3", 2, ["region", "many"]),
    "all labels dropped": (None, f"{GOOD} --drop-labels >-9", 2, ["-9"]),
    "backward range": (None, f"{GOOD} --drop-labels 9-3", 2, ["--drop-labels", "9-3"]),
    # splits
    "row in two parts": (
        with_line(4, rows()[0].replace("train", "test")), f"{COMPARE} --split part", 1,
        ["another part"]),
    "part without rows": (
        text(rows(part=["train", "val"] * 30)), f"{COMPARE} --split part", 1, ["test set"]),
    "unknown part": (
        text(rows(part=["train", "exam"] * 30)), f"{COMPARE} --split part", 1,
        ["train, val or test"]),
    "one group": (
        text(rows(group=[1] * 60)), f"{COMPARE} --split-by group --group group", 1, ["1 group"]),
    # series, texts, images
    "no window without a gap": (None, f"{GOOD} --window 59 --time when", 1, ["gap"]),
    "invalid time": (text(rows(when=["noon"] * 60)), f"{COMPARE} {SERIES}", 1, ["'noon'"]),
    "missing time": (
        with_line(7, "1,a,2,1,,val"), f"{COMPARE} {SERIES}", 1, ["line 9", "'when'"]),
    "empty text": (with_line(7, "1,a,2,1,,val"), f"{COMPARE} --text when", 1, ["line 9", "'when'"]),
    "missing image": (
        lambda at: photos(at, "c.png,3"), FIT.replace("bad.csv", "photos"), 1, ["c.png"]),
    "image outside": (
        lambda at: photos(at, "../good.csv,3"), FIT.replace("bad.csv", "photos"), 1,
        ["line 38", "'..'"]),
    # settings
    "unknown encoder": (None, f"{GOOD} --text when --encoder no/encoder", 2, ["no/encoder"]),
    "unknown method": (None, GOOD.replace("vanilla", "magic"), 2, ["'magic'"]),
    "methods for fit": (None, f"{FIT.replace('bad', 'good')} --method inv,rrt", 2, ["rrt"]),
    "unknown field": (None, f"{GOOD} --set rate=3", 2, ["'rate'"]),
    "no value of a field": (None, f"{GOOD} --set lr", 2, ["--set", "FIELD=VALUE"]),
    "invalid value of a field": (None, f"{GOOD} --set lr=-1", 2, ["lr", "above 0"]),
    "no seeds": (None, GOOD.replace("--seeds 1", "--seeds 0"), 2, ["--seeds"]),
    "missing recipe file": (None, f"{GOOD} --recipe no.toml", 2, ["--recipe no.toml"]),
    "out is a file": (None, f"{GOOD[:-3]}good.csv", 1, ["good.csv"]),
    "model over another folder": (
        photos, "fit good.csv --target y --out photos", 2, ["photos", "model"]),
    # models and predictions
    "missing model": (None, "predict nowhere good.csv --out out.csv", 1, ["nowhere"]),
    "model of a later version": (
        lambda at: change_model(at, {"format": 9}), PREDICT.replace("bad", "good"), 1,
        ["format 9"]),
    "damaged weights": (
        lambda at: (at / "model/model.safetensors").write_bytes(b"x"),
        PREDICT.replace("bad", "good"), 1, ["model.safetensors", "damaged"]),
    "data without a column": ("x\n1\n", PREDICT, 1, ["no column 'size'"]),
    "text among numbers": (
        "size,kind,built\n1,a,2020-01-01\nbig,a,2020-01-01\n", PREDICT, 1,
        ["line 3", "'size'", "'big'"]),
    "predictions over the data": (
        "size,kind,built\n1,a,2020-01-01\n", PREDICT.replace("out.csv", "bad.csv"), 2, ["bad.csv"]),
    "no column of predictions": ("a,label\n1,2\n", f"{EVALUATE} --model model", 1, ["'pred'"]),
    "missing prediction": (
        "pred,label\n,1\n", f"{EVALUATE} --model model", 1, ["line 2", "'pred'"]),
    "no label density": (PREDICTIONS, EVALUATE, 2, ["--train", "--model", "got none"]),
    "two label densities": (
        PREDICTIONS, f"{EVALUATE} --model model --train good.csv", 2,
        ["got --train and --model"]),
    "two kinds of data": (
        None, f"{EVALUATE} --data good.csv --benchmark agedb-dir", 2,
        ["got --benchmark and --data"]),
    "training data without a target": (
        PREDICTIONS, f"{EVALUATE} --train good.csv", 2, ["--train", "give it with --target"]),
    "bins with a model": (
        PREDICTIONS, f"{EVALUATE} --model model --bin-width 2", 2, ["--bin-width", "--model"]),
    "missing checkpoint": (None, f"{EVALUATE} --benchmark agedb-dir", 1, ["bad.csv"]),
    # benchmarks and results
    "lds without weights": (
        None, "bench sts-b-dir --methods vanilla+lds --set weighting=none", 2, ["weighting"]),
    "fds over one bin": (
        None, "bench sts-b-dir --methods vanilla+fds --set fds_bins=1", 2, ["fds_bins"]),
    "missing benchmark data": (
        None, "bench sts-b-dir --data-dir no", 1, ["no does not contain sts-b-dir/borealis"]),
    "unprepared benchmark": (
        None, "bench agedb-dir --data-dir .", 1, ["ranksim data prepare agedb-dir --root"]),
    "unprepared raw data": (None, "data prepare agedb-dir --root .", 1, ["AgeDB"]),
    "unknown domain": (None, "bench sentiment-dir --domains news", 1, ["'news'"]),
    "throughput of two devices": (None, "throughput --devices 2 --accelerator cpu", 2, ["device"]),
    "nothing to tune": (
        None, "tune data good.csv --target y --method median --out out", 2, ["median"]),
    "no results": (None, "report nowhere", 1, ["results.json"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    options, network = user_data.OPTIONS["table"], user_data.SMALL_NETWORK["table"]
    data, out = user_data.write_table(folder), folder / "model"
    request = make_request(
        data,
        out,
        options=options,
        methods="vanilla",
        seeds="0,",
        changes=network[1::2],
        max_steps=3,
    )
    fit_model(FitRequest(request, "vanilla", 0))
    return out


@pytest.mark.parametrize("case", CASES)
def test_error_is_one_sentence_and_nothing_is_half_written(
    case, request, check_error, tmp_path, monkeypatch
):
    bad, command, code, key_words = CASES[case]
    (tmp_path / "good.csv").write_text(text(rows()))
    if " model" in command:
        shutil.copytree(request.getfixturevalue("model"), tmp_path / "model")
    if callable(bad):
        bad(tmp_path)
    elif bad is not None:
        (tmp_path / "bad.csv").write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    before = content(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_error(command.split(), code, *key_words)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "code", "key_word"),
    [
        ("bench sts-b-dir --methods inv --set max_count=1", 2, "Weights"),
        ("tune sts-b-dir --method inv+lds --fields gamma", 2, "'gamma'"),
        ("bench sts-b-dir --accelerator abacus", 2, "abacus"),
        ("bench sts-b-dir --precision 7", 2, "--precision 7"),
        ("bench sts-b-dir --out /dev/null/x", 1, "/dev/null/x"),
        ("bench sts-b-dir --preset paper", 1, "word vectors"),
    ],
)
def test_error_of_a_benchmark(words, code, key_word, small_sts, check_error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_error([*words.split(), "--data-dir", small_sts], code, key_word)
    assert not list(tmp_path.rglob("record.json"))


def content(folder: Path):
    """Return every file below a folder, and every folder."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
