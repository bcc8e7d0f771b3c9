"""From the words of a command to a typed request."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ranksim.api.options import parse_metrics, parse_seconds
from ranksim.cli.options import portable_command, with_options
from ranksim.data.spec import (
    AgeDbSpec,
    DataLocation,
    GlucoseSpec,
    ImageSpec,
    SentimentSpec,
    SeriesSpec,
    StsBSpec,
    TableSpec,
    option,
)
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import parse_method
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers import faces


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my labels.csv"
    path.write_text("file,years\n" + "".join(f"{k}.png,{k % 9}\n" for k in range(90)))
    return path


def test_bench_of_ages(run_command, requests, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", "")
    run_command(
        *("bench", "agedb-dir", "--data-dir", tmp_path, "--protocol", "blindspot"),
        *("--devices", 2, "--num-nodes", 3, "--encoder", "resnet34", "--image-size", 96),
        *("--channels-last", "yes", "--compile", "--precision", "bf16-mixed", "--set", "lr=1e-4"),
        *("--skip-broken", "--cache-dir", tmp_path / "c", "--gather-across-devices"),
        *("--max-steps", 7, "--seeds", "3,", "--out", tmp_path / "out"),
    )
    (request,) = requests
    assert request.source.spec == AgeDbSpec(protocol="blindspot", skip_broken=True)
    assert request.source.location == DataLocation(data_dir=tmp_path)
    assert request.changes == ("encoder=resnet34", "image_size=96", "lr=1e-4")
    assert request.trainer == TrainerConfig(
        devices="2", num_nodes=3, compile=True, precision="bf16-mixed", channels_last=True,
        gather_across_devices=True,
    )  # fmt: skip
    assert request.limits == TrainingLimits(steps=7)
    assert (request.preset, request.seeds) == ("paper", "3,")
    assert request.out == tmp_path / "out"
    assert os.environ["RANKSIM_CACHE"] == str(tmp_path / "c")
    assert str(tmp_path) not in request.command
    assert "--protocol blindspot" in request.command


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ("sts-b-dir", StsBSpec(split="borealis", regions_from="published")),
        (
            "sts-b-dir --split yang --regions-from rule --drop-labels 1.5..2",
            StsBSpec(split="yang", drop_labels=("1.5-2",)),
        ),
        ("sentiment-dir --domains nyt,movies", SentimentSpec(domains=("nyt", "movies"))),
        ("glucose", GlucoseSpec(horizon=30)),
    ],
)
def test_data_of_a_benchmark(run_command, requests, words, spec):
    run_command("bench", *words.split())
    run_command("tune", *words.split(), "--method", "inv")
    assert [request.source.spec for request in requests] == [spec, spec]
    assert [request.methods for request in requests] == ["vanilla,vanilla+ranksim", "inv"]


@pytest.mark.parametrize(
    ("words", "spec", "changes"),
    [
        (
            "--image file --bin-width 2.5 --max-per-bin 7 --split-seed 3 --skip-broken "
            "--image-size 16 --encoder resnet34",
            ImageSpec(
                target="years", image="file", bin_width=2.5, max_per_bin=7, split_seed=3,
                skip_broken=True,
            ),
            ("encoder=resnet34", "image_size=16"),
        ),
        (
            "--image-root . --protocol blindspot",  # finds the column of the images
            ImageSpec(target="years", image="file", protocol="blindspot"),
            (),
        ),
        (
            "--features file --no-balanced --split-by random --region low=<3 --encoder mlp",
            TableSpec(
                target="years", features=("file",), balanced=False, split_by="random",
                region=("low=<3",),
            ),
            (),
        ),
        (
            "--window 4 --horizon 2 --encoder gru --set hidden=4",
            SeriesSpec(target="years", window=4, horizon=2),
            ("encoder=gru", "hidden=4"),
        ),
    ],
)  # fmt: skip
def test_user_data(run_command, requests, table, words, spec, changes):
    outcome = run_command("compare", table, "--target", "years", *words.split())
    assert outcome.code == 0, outcome.err
    (request,) = requests
    assert request.source.spec == spec
    assert request.source.location.data == str(table)
    assert request.changes == changes
    assert request.command.startswith("ranksim compare 'my labels.csv' --target years ")


@pytest.mark.parametrize(
    ("words", "key_words"),
    [
        ("--features file --image-size 16", ["--image-size", "--image"]),
        ("--horizon 3", ["--horizon", "--window"]),
        ("--text file --features file", ["--features", "texts"]),
        ("--text file --image file", ["--text", "--image"]),
        ("--split file --max-per-bin 3", ["--max-per-bin", "--split"]),
        ("--no-balanced --max-per-bin 3", ["--max-per-bin", "--no-balanced"]),
        ("--test-per-bin 3", ["--test-per-bin", "--protocol"]),
        ("--window 3 --protocol blindspot", ["--protocol", "--window"]),
        ("--window 3 --split-by random", ["overlap", "--split-by time"]),
        ("--split-by day", ["--split-by day", "--time"]),
        ("--features file,years", ["'years'", "target"]),
        ("--features file --encoder gru", ["--encoder gru", "mlp"]),
        ("--features file --channels-last no", ["--channels-last", "--image"]),
        ("--budget soon", ["--budget", "10m"]),
        ("--drop-labels old", ["--drop-labels", "'old'"]),
    ],
)
def test_options_that_do_nothing_or_contradict(check_error, table, words, key_words):
    check_error(["compare", table, "--target", "years", *words.split()], 2, *key_words)


def test_prepared_benchmark(run_command, tmp_path):
    faces.write_agedb(tmp_path, dict.fromkeys(range(20, 33), 60), size=8)
    words = ("data", "prepare", "agedb-dir", "--root", tmp_path, "--protocol", "extrapolation")
    outcome = run_command(*words, "--test-per-bin", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)
    assert f"Train: ranksim bench agedb-dir --data-dir {tmp_path} --protocol" in outcome.err
    assert list(tmp_path.glob("*.csv"))
    check = run_command("data", "prepare", "agedb-dir", "--root", tmp_path, "--download")
    assert "agedb-dir cannot be downloaded" in check.err


def test_bench_of_ages_by_identity(run_command, requests, tmp_path):
    words = ("bench", "agedb-dir", "--data-dir", tmp_path, "--out", tmp_path / "out")
    run_command(*words, "--split-by", "identity")
    (request,) = requests
    assert request.source.spec == AgeDbSpec(split_by="identity")
    other = run_command("bench", "imdb-wiki-dir", "--data-dir", tmp_path, "--split-by", "identity")
    assert other.code == 2


def test_image_size_given_twice(check_error, tmp_path):
    words = ["bench", "agedb-dir", "--data-dir", tmp_path, "--image-size", 16]
    check_error([*words, "--set", "image_size=20"], 2, "image_size", "16", "20")


def test_recorded_command_names_no_folder(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "t.csv").touch()
    monkeypatch.chdir(tmp_path)
    words = ["compare", "sub/t.csv", "--target", "a/b", "--out", f"{tmp_path}/o", "--json"]
    words += [
        f"--data-dir={tmp_path}/d",
        "--set",
        f"encoder={Path.home()}/bert",
        "--region",
        "a=<3",
    ]
    assert portable_command(words) == (
        "ranksim compare t.csv --target a/b --data-dir=d --set encoder=bert --region 'a=<3'"
    )
    assert portable_command(["compare", str(Path.home())]) == "ranksim compare ."


def test_seconds():
    assert [parse_seconds(text) for text in ("10m", "90s", "1.5h")] == [600, 90, 5400]
    for text in ("", "m", "10", "-1s", "infs", "nanm"):
        with pytest.raises(UsageError, match="--budget"):
            parse_seconds(text)


def test_owner_and_changes_decide_help_and_default():
    @dataclasses.dataclass
    class Owner:
        size: int = option("first", 1)
        words: tuple[str, ...] = option("several", ())

    calls = []

    @with_options("size words", ("Data", "balanced jobs"), owner=Owner, jobs={"default": 4})
    def command(values, *, count: int = 3) -> None:
        calls.append((values, count))

    app = typer.Typer()
    app.command()(command)
    CliRunner().invoke(app, [])
    CliRunner().invoke(app, ["--size", "5", "--count", "7", "--words", "a,b", "--no-balanced"])
    assert calls == [
        ({"size": 1, "words": (), "balanced": True, "jobs": 4}, 3),
        ({"size": 5, "words": ("a", "b"), "balanced": False, "jobs": 4}, 7),
    ]


@pytest.mark.parametrize("preset", ["frozen", "finetuned"])
@pytest.mark.parametrize("command", ["compare", "tune data --method vanilla"])
def test_presets_of_user_data(command, preset, run_command, requests, table):
    run_command(
        *(*command.split(), table, "--image", "file", "--target", "years", "--preset", preset),
        *("--encoder", "owner/model", "--image-size", "16"),
    )
    (request,) = requests
    method = parse_method("vanilla", "inverse")
    recipe = SweepSettings.from_request(request).recipe(method)
    assert (request.preset, recipe.frozen) == (preset, preset == "frozen")
    assert (recipe.encoder, recipe.image_size) == ("owner/model", 16)


def test_presets_that_the_data_does_not_have(check_error, table):
    words = "compare", table, "--target", "years", "--preset", "frozen"
    check_error(words, 2, "table has no preset 'frozen': choose from small.")


@pytest.mark.parametrize(
    ("text", "names"),
    [("mae", ("mae",)), ("mae,ccc", ("mae", "ccc")), ("ccc,mae,ccc", ("ccc", "mae")), ("", ())],
)
def test_each_score_has_one_table(text, names):
    assert parse_metrics(text) == names


@pytest.mark.parametrize("text", ["r2", "mae,rmse", "balanced_mae", "coverage"])
def test_unknown_scores_are_refused(text):
    with pytest.raises(UsageError, match=r"--metrics takes some of mse.*, got "):
        parse_metrics(text)
