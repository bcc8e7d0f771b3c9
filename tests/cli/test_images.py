"""Command-line options for images: parsed requests and error messages."""

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
def requests(monkeypatch):
    """Requests that the command hands to ``run_benchmark``."""
    from ranksim.experiments import sweep_request

    received = []

    def bench(request, *, as_json):
        assert not as_json
        received.append(request)
        return {}

    monkeypatch.setattr(sweep_request, "run_benchmark", bench)
    return received


def run(*words):
    output = CliRunner().invoke(app, list(map(str, words)))
    if output.exception is not None and not isinstance(output.exception, SystemExit):
        raise output.exception
    return output


def fails(monkeypatch, capsys, *words):
    """Return exit code and error message of a command."""
    monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr().err
    assert "Traceback" not in output
    return end.value.code, output


def test_bench_ages_passes_all_options(requests, tmp_path):
    run(
        *("bench", "agedb-dir", "--data-dir", tmp_path, "--protocol", "blindspot", "--gather"),
        *("--devices", 2, "--num-nodes", 3, "--encoder", "resnet34", "--image-size", 96),
        *("--channels-last", "--compile", "--precision", "bf16-mixed", "--set", "lr=1e-4"),
        *("--skip-broken", "--cache-dir", tmp_path / "c"),
    )
    (request,) = requests
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


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my labels.csv"
    path.write_text("file,years\n" + "".join(f"{k}.png,{k % 9}\n" for k in range(90)))
    return path


def test_compare_reads_images(requests, table, tmp_path):
    run(
        *("compare", table, "--image", "file", "--image-root", tmp_path, "--target", "years"),
        *("--bin-width", 2.5, "--cap", 7, "--split-seed", 3, "--skip-broken", "--image-size", 16),
        *("--encoder", "resnet34", "--cache-dir", tmp_path / "c", "--no-channels-last"),
    )
    (request,) = requests
    assert request.benchmark == "images"
    expected = {"target": "years", "image": "file", "bin_width": 2.5, "cap": 7, "split_seed": 3}
    assert request.options == expected
    assert request.changes == ("encoder=resnet34", "image_size=16")
    assert (request.skip_broken, request.cache_dir) == (True, tmp_path / "c")
    assert request.channels_last is False
    command = request.command([3])
    assert command.startswith("ranksim compare 'my labels.csv' --image-root ")
    assert "--bin-width 2.5 --encoder resnet34 --image-size 16 --skip-broken" in command
    assert str(tmp_path) not in command


def test_compare_finds_the_image_column(requests, table, tmp_path):
    run("compare", table, "--image-root", tmp_path, "--target", "years", "--protocol", "blindspot")
    (request,) = requests
    assert request.options == {"target": "years", "image": "file", "protocol": "blindspot"}


def test_evaluate_needs_one_kind_of_data(monkeypatch, capsys, table, tmp_path):
    checkpoint = tmp_path / "x.ckpt"
    code, message = fails(monkeypatch, capsys, "evaluate", checkpoint, "--data", table)
    assert (code, "give --target" in message) == (2, True)
    words = ("evaluate", checkpoint, "--data", table, "--benchmark", "agedb-dir")
    code, message = fails(monkeypatch, capsys, *words)
    assert (code, "got --benchmark and --data" in message) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("data", "prepare", "agedb-dir", "--root", "R"), 1, "has no readable folder AgeDB"),
        (("data", "prepare", "imdb-wiki-dir", "--root", "R"), 1, "holds no imdb_crop/imdb.mat"),
        (("data", "prepare", "agedb-dir", "--root", "R", "--download"), 2, "with --archive AgeDB"),
        (("bench", "agedb-dir", "--data-dir", "R"), 1, "ranksim data prepare agedb-dir --root"),
        (("evaluate", "R/x.pth", "--benchmark", "agedb-dir"), 1, "There is no checkpoint R/x.pth"),
        (("tune", "data", "R/t.csv", "--method", "vanilla", "--target", "y"), 1, "R/t.csv"),
        (("bench", "agedb-dir", "--image-size", 16, "--set", "image_size=20"), 2,
         "image_size is set to 16 and to 20: set it once."),
        (("throughput", "--devices", "2", "--accelerator", "cpu"), 2, "times one device"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(words, code, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("R").mkdir()
    got, output = fails(monkeypatch, capsys, *words)
    assert got == code
    assert message in output
    assert output.count("\n") == 1
    assert output.startswith("Error: ")
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
