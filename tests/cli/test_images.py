"""Options of images, from words to requests, and what their errors say."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ranksim.cli import main
from ranksim.cli.app import app
from ranksim.cli.options import with_options


@pytest.fixture
def asked(monkeypatch):
    """What ``bench`` would be asked to do."""
    from ranksim.experiments import sweep_request

    requests = []

    def bench(request, *, as_json):
        assert not as_json
        requests.append(request)
        return {}

    monkeypatch.setattr(sweep_request, "run_benchmark", bench)
    return requests


def run(*words):
    told = CliRunner().invoke(app, list(map(str, words)))
    if told.exception is not None and not isinstance(told.exception, SystemExit):
        raise told.exception
    return told


def fails(monkeypatch, capsys, *words):
    """The exit code and the sentence of a command."""
    monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return end.value.code, told


def test_ages(asked, tmp_path):
    run(
        *("bench", "agedb-dir", "--data-dir", tmp_path, "--protocol", "blindspot", "--gather"),
        *("--devices", 2, "--num-nodes", 3, "--encoder", "resnet34", "--image-size", 96),
        *("--channels-last", "--compile", "--precision", "bf16-mixed", "--set", "lr=1e-4"),
        *("--skip-broken", "--cache-dir", tmp_path / "c"),
    )
    (request,) = asked
    assert request.options == {"protocol": "blindspot"}
    assert request.files == {"split_file": None}
    assert (request.preset, request.data_dir) == ("paper", tmp_path)
    assert request.changes == ("encoder=resnet34", "image_size=96", "lr=1e-4")
    assert request.hardware == {
        "accelerator": "auto", "devices": "2", "precision": "bf16-mixed", "num_nodes": 3,
        "compile": True, "channels_last": True, "gather": True,
    }  # fmt: skip
    assert (request.skip_broken, request.cache_dir) == (True, tmp_path / "c")
    assert request.command([0, 1]) == (
        "ranksim bench agedb-dir --protocol blindspot --skip-broken "
        "--methods vanilla,vanilla+ranksim --preset paper --seeds 2 --jobs 1 "
        "--set encoder=resnet34 --set image_size=96 --set lr=1e-4 --devices 2 "
        "--precision bf16-mixed --num-nodes 3 --compile --channels-last --gather"
    )


def test_own_images(asked, tmp_path):
    run(
        *("bench", "images", "--table", tmp_path / "my labels.csv", "--image-root", tmp_path),
        *("--target", "years", "--bin-width", 2.5, "--cap", 7, "--split-seed", 3),
    )
    (request,) = asked
    given = {"target": "years", "bin_width": 2.5, "cap": 7, "split_seed": 3}
    assert {k: v for k, v in request.options.items() if v is not None} == given
    assert request.preset == "small"
    sweep_request = request.command([3])
    assert sweep_request.startswith("ranksim bench images --table 'my labels.csv' --image-root ")
    assert "--bin-width 2.5 --cap 7 --split-seed 3 --methods" in sweep_request
    assert str(tmp_path) not in sweep_request


def test_what_must_be_given_is_asked_for(monkeypatch, capsys, tmp_path):
    code, told = fails(monkeypatch, capsys, "bench", "images", "--target", "years")
    assert code == 2
    assert "Missing option '--table'" in told
    words = ("evaluate", tmp_path / "x.ckpt", "--benchmark", "images")
    code, told = fails(monkeypatch, capsys, *words)
    assert (code, told) == (
        2,
        "Error: --benchmark images needs --table, --image-root, --target: give them.\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("data", "prepare", "agedb-dir", "--root", "R"), 1, "has no readable folder AgeDB"),
        (("data", "prepare", "imdb-wiki-dir", "--root", "R"), 1, "holds no imdb_crop/imdb.mat"),
        (("data", "prepare", "agedb-dir", "--root", "R", "--download"), 2, "with --archive AgeDB"),
        (("bench", "agedb-dir", "--data-dir", "R"), 1, "ranksim data prepare agedb-dir --root"),
        (("bench", "images", "--table", "R/t.csv", "--image-root", "R", "--target", "y"), 1,
         "is not a file: name one with --table."),
        (("evaluate", "R/x.pth", "--benchmark", "agedb-dir"), 1, "There is no checkpoint R/x.pth"),
        (("bench", "images", "--table", "R", "--image-root", "R", "--target", "y"), 1, "--table."),
        (("bench", "agedb-dir", "--image-size", 16, "--set", "image_size=20"), 2,
         "image_size is set to 16 and to 20: set it once."),
        (("throughput", "--devices", "2", "--accelerator", "cpu"), 2, "times one device"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(words, code, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("R").mkdir()
    got, told = fails(monkeypatch, capsys, *words)
    assert got == code
    assert message in told
    assert told.count("\n") == 1
    assert told.startswith("Error: ")
    assert not list(Path("R").iterdir())


def test_of_an_option_in_two_groups_the_first_one_counts():
    first = dataclasses.make_dataclass("first", [("size", Annotated[int, typer.Option()], 1)])
    second = dataclasses.make_dataclass(
        "second", [("size", Annotated[int, typer.Option()], 2), ("name", str, "x")]
    )
    seen = []

    @with_options(first, second)
    def sweep_request(a, b, *, own: int = 3) -> None:
        seen.append((a.size, b.size, b.name, own))

    here = typer.Typer()
    here.command()(sweep_request)
    CliRunner().invoke(here, [])
    CliRunner().invoke(here, ["--size", "5", "--own", "7"])
    assert seen == [(1, 1, "x", 3), (5, 5, "x", 7)]
