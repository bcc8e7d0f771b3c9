"""The benchmarks of images, from raw layouts to results, on drawn faces."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch
from rich.console import Console

from ranksim.cli.train import run_sweep_request
from ranksim.datasets.image_benchmarks import prepare_split
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.checkpoint_scores import score_checkpoint
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.throughput import (
    METHODS,
    ThroughputRequest,
    TimedRankSim,
    measure_throughput,
    print_throughput,
)
from ranksim.losses import RankSimLoss
from ranksim.models import ImageEncoder, Regressor, vision
from ranksim.training import task_loading
from ranksim.training.method import parse_method, parse_methods
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import ImageRecipe, recipe_type
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers import faces
from tests.helpers.requests import make_request
from tests.helpers.small_runs import SMALL_RESNET

pytestmark = pytest.mark.slow

MORE = "vanilla,inv+lds,focal-r,vanilla+ranksim"
FEW = "vanilla,rrt+fds+ranksim"
SMALL = ("image_size=16", "batch_size=16")
COUNTS = dict.fromkeys(range(1, 102), 3) | {25: 60, 26: 50, 30: 40, 40: 30}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Faces in all three layouts; every age of 1..101, some of them common."""
    root = tmp_path_factory.mktemp("faces")
    for layout in (faces.write_agedb, faces.write_imdb_wiki, faces.write_user_data):
        layout(root, COUNTS, size=24)
    return root


@pytest.fixture
def small_network(monkeypatch):
    """A small network under the name of ResNet-18."""
    monkeypatch.setitem(vision.RESNETS, "resnet18", SMALL_RESNET)


def request(benchmark, root, out, *, data=None, **changes):
    defaults = {"changes": SMALL, "max_steps": 4, "max_epochs": 2}
    if benchmark != "images":
        return make_request(benchmark, out, **{"data_dir": root, **defaults, **changes})
    options = {"target": "years", "image": "file"} | changes.pop("options", {})
    data = data or root / "labels.csv"
    return make_request(data, out, image_root=root, options=options, **defaults | changes)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(("benchmark", "methods"), [("agedb-dir", MORE), ("imdb-wiki-dir", FEW)])
def test_raw_layout_to_results(benchmark, methods, drawn, tmp_path, capsys):
    prepared = prepare_split(benchmark, drawn)
    assert sum(prepared.counts) == sum(COUNTS.values())
    content = run_sweep_request(request(benchmark, drawn, tmp_path, methods=methods), as_json=False)
    names = methods.split(",")
    assert [row["method"] for row in content["summary"]][: len(names)] == names
    assert all(run["status"] == "done" for run in content["runs"])
    assert content["headline"] == ["mae", "gm"]
    assert content["runs"][0]["provenance"]["data"]["counts"] == list(prepared.counts)
    # drawn faces stand beside no published figure
    assert all(row["published"] is None for row in content["summary"])
    assert content["published_note"] is None
    scores = {row["method"]: row["test"]["all"]["mae"]["mean"] for row in content["summary"]}
    assert len(set(scores.values())) >= len(names) - 2
    output = capsys.readouterr().out
    assert "MAE, lower is better" in output
    assert "publ." not in output


@pytest.mark.usefixtures("small_network")
def test_own_images_to_results(drawn, tmp_path):
    content = run_benchmark(request("images", drawn, tmp_path, methods=FEW))
    assert all(run["status"] == "done" for run in content["runs"])
    assert content["options"]["target"] == "years"
    assert str(drawn) not in json.dumps(content)


def test_a_network_learns_the_age(drawn, tmp_path):
    long = {
        "max_steps": None,
        "max_epochs": 9,
        "changes": ("image_size=16", "batch_size=20", "patience=0"),
    }
    content = run_benchmark(request("images", drawn, tmp_path, **long))
    test = content["runs"][0]["result"]["metrics"]["test"]["all"]
    assert test["pearson"] > 60
    assert test["mae"] < 15


@pytest.mark.usefixtures("small_network")
def test_other_data_under_the_same_name_is_refused(drawn, tmp_path):
    run_benchmark(request("images", drawn, tmp_path / "out"))
    changed = tmp_path / "labels.csv"
    lines = (drawn / "labels.csv").read_text().splitlines()
    changed.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UsageError, match=r"table_sha256 '\w+'.*'\w+'.*--out"):
        run_benchmark(request("images", drawn, tmp_path / "out", data=changed))


@pytest.mark.usefixtures("small_network")
def test_zero_shot_reports_inside_and_outside(drawn, tmp_path, capsys):
    crowd = tmp_path / "crowd"
    faces.write_agedb(crowd, dict.fromkeys(range(20, 33), 60), size=16)
    prepare_split("agedb-dir", crowd, protocol="extrapolation")
    content = run_sweep_request(
        request("agedb-dir", crowd, tmp_path / "out", options={"protocol": "extrapolation"}),
        as_json=False,
    )
    test = content["runs"][0]["result"]["metrics"]["test"]
    assert test["zero"]["n"] > 0
    assert test["seen"]["n"] > 0
    assert test["zero"]["n"] + test["seen"]["n"] == test["all"]["n"] == 13 * 50
    assert content["options"]["protocol"] == "extrapolation"
    output = capsys.readouterr().out
    assert "seen" in output
    assert "zero" in output
    with pytest.raises(
        DataError, match="does not contain agedb.csv: .*ranksim data prepare agedb-dir"
    ):
        run_benchmark(request("agedb-dir", crowd, tmp_path / "other"))


@pytest.mark.usefixtures("small_network")
def test_broken_images_end_the_command_before_any_training(drawn, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(drawn / "photos", root / "photos")
    shutil.copy(drawn / "labels.csv", root)
    (root / "photos" / "0.png").write_bytes(b"")
    whole = (root / "photos" / "1.png").read_bytes()
    (root / "photos" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of \d+ images.*photos/0\.png"):
        run_benchmark(request("images", root, tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.ckpt"))
    content = run_benchmark(
        request("images", root, tmp_path / "out", options={"skip_broken": True})
    )
    assert content["runs"][0]["provenance"]["data"]["n_skipped"] == 2
    note = content["data_report"]["notes"]["Skipped"]
    assert re.search(r"2 of \d+ images cannot be used: .*1\.png .*is damaged", note)


@pytest.mark.usefixtures("small_network")
def test_evaluate_repeats_a_run(drawn, tmp_path):
    content = run_benchmark(request("images", drawn, tmp_path / "out"))
    best = tmp_path / "out" / "runs" / "vanilla" / "seed-0" / "best.ckpt"
    sweep_request = request("images", drawn, tmp_path / "again")
    result = score_checkpoint(best, sweep_request)
    assert result["encoder"] == "resnet18"
    recorded = content["runs"][0]["result"]["metrics"]["test"]["all"]
    scores = result["test"]["all"]
    assert scores == pytest.approx({name: recorded[name] for name in scores})
    assert {"n", "mae", "mse", "gm"} <= set(scores)
    before, after = (
        pyarrow.parquet.read_table(folder / "predictions.parquet")
        for folder in (best.parent, tmp_path / "again")
    )
    np.testing.assert_allclose(after["prediction"], before["prediction"], rtol=1e-5)
    assert after.drop(["prediction"]) == before.drop(["prediction"])
    assert json.loads((tmp_path / "again" / "evaluation.json").read_text()) == result


@pytest.mark.usefixtures("real_resnet18")
def test_evaluate_takes_published_names(drawn, tmp_path):
    prepare_split("agedb-dir", drawn)
    torch.manual_seed(0)
    from tests.oracles.resnet import ResNet

    network = ResNet(18)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    state["module.FDS.running_mean"] = torch.zeros(100, 512)
    torch.save({"epoch": 3, "best_loss": np.float64(7.5), "state_dict": state}, tmp_path / "a.pth")
    result = score_checkpoint(tmp_path / "a.pth", request("agedb-dir", drawn, tmp_path / "out"))
    table = pyarrow.parquet.read_table(tmp_path / "out" / "predictions.parquet")
    error = np.abs(np.array(table["prediction"]) - np.array(table["label"]))
    assert result["test"]["all"]["mae"] == pytest.approx(error.mean())


def test_throughput_tells_where_time_goes(tmp_path, capsys):
    changes = ("encoder=resnet18", "image_size=16", "batch_size=8")
    trainer = TrainerConfig("cpu")
    request = ThroughputRequest(changes, 4, 2, trainer, tmp_path / "figures.json")
    result = measure_throughput(request)
    print_throughput(result, Console(width=100))
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == result["rows"]
    assert [row["method"] for row in result["rows"]] == list(METHODS)
    for row in result["rows"]:
        assert row["images_per_second"] > 0
        assert row["steps"] == 4
        assert 0 < row["waiting_for_data"] < 1
    assert result["rows"][0]["ranksim"] == 0
    assert 0 < result["rows"][1]["ranksim"] < 1
    assert {run["images"] for run in result["whole_runs"]} == {12_208, 191_509}
    assert "images/s" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"one device only: remove --devices"):
        measure_throughput(ThroughputRequest(changes, 1, 0, TrainerConfig("cpu", "2")))


def test_timing_changes_neither_value_nor_gradient():
    torch.manual_seed(0)
    features, labels = torch.randn(12, 5), torch.randint(0, 9, (12,))
    results = []
    for wrap in (lambda term: term, TimedRankSim):
        term = wrap(RankSimLoss(100.0, 2.0, generator=torch.Generator().manual_seed(1)))
        leaf = features.clone().requires_grad_()
        value = term(leaf, labels)
        (3.0 * value + leaf.square().sum()).backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0])
    assert term.seconds > 0


def test_the_paper_presets_are_the_published_recipes():
    for benchmark, epochs, batch, lr in (
        ("agedb-dir", 120, 64, 2.5e-4),
        ("imdb-wiki-dir", 90, 256, 1e-3),
    ):
        vanilla, ranksim = (
            load_recipe(benchmark, "paper", parse_method(name, "sqrt_inverse"))
            for name in ("vanilla", "vanilla+ranksim")
        )
        assert isinstance(vanilla, ImageRecipe)
        assert (vanilla.encoder, vanilla.image_size, vanilla.pad) == ("resnet50", 224, 16)
        assert (vanilla.lr, vanilla.batch_size, vanilla.max_validations) == (1e-3, 256, 90)
        assert (ranksim.lr, ranksim.batch_size, ranksim.max_validations) == (lr, batch, epochs)
        for recipe in (vanilla, ranksim):
            assert (recipe.lr_milestones, recipe.lr_factor, recipe.monitor) == (
                (60, 80),
                0.1,
                "mae",
            )
            assert (recipe.loss, recipe.focal_beta, recipe.label_scale) == ("l1", 0.2, 1.0)
            assert (recipe.gamma, recipe.lambda_, recipe.weighting) == (100, 2, "sqrt_inverse")
            assert (recipe.min_count, recipe.max_count) == (5, 1000)
            assert (recipe.fds_min_ratio, recipe.fds_max_ratio, recipe.patience) == (0.1, 10, 0)
            covered = (3, 100, 97) if benchmark == "agedb-dir" else (0, 100, 100)
            assert (recipe.fds_min_label, recipe.fds_max_label, recipe.fds_bins) == covered
    assert recipe_type("images") is ImageRecipe


@pytest.mark.parametrize("benchmark", ["agedb-dir", "imdb-wiki-dir"])
def test_the_published_names_of_ages_are_methods(benchmark):
    methods = parse_methods("all", benchmark, "sqrt_inverse")
    assert len(methods) == 32
    for method in methods:
        load_recipe(benchmark, "paper", method)


@pytest.mark.usefixtures("real_resnet18")
def test_the_network_of_a_preset_fits_its_images():
    recipe = load_recipe("agedb-dir", "small", parse_method("vanilla", "sqrt_inverse"))
    model = Regressor(ImageEncoder(recipe.encoder))
    side = recipe.image_size
    prediction, features = model(torch.zeros(2, side, side, 3, dtype=torch.uint8))
    assert prediction.shape == (2,)
    assert features.shape == (2, 512)


@pytest.mark.usefixtures("small_network")
def test_a_run_on_other_images_is_not_set_beside_finished_ones(drawn, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(drawn / "photos", root / "photos")
    shutil.copy(drawn / "labels.csv", root)
    whole = (root / "photos" / "0.png").read_bytes()
    (root / "photos" / "0.png").write_bytes(b"")
    run_benchmark(request("images", root, tmp_path / "out", options={"skip_broken": True}))
    (root / "photos" / "0.png").write_bytes(whole)
    task_loading._load_cached.cache_clear()  # as a new command begins
    with pytest.raises(UsageError, match=r"counts \[\d+, \d+, \d+\].*--out"):
        run_benchmark(
            request("images", root, tmp_path / "out", options={"skip_broken": True}, seeds="2")
        )


@pytest.mark.usefixtures("small_network")
def test_evaluate_takes_the_image_size_of_the_run(drawn, tmp_path):
    content = run_benchmark(request("images", drawn, tmp_path / "out"))
    best = tmp_path / "out" / "runs" / "vanilla" / "seed-0" / "best.ckpt"
    sweep_request = request(
        "images", drawn, tmp_path / "again", changes=()
    )  # the preset's is another
    result = score_checkpoint(best, sweep_request)
    assert result["image_size"] == 16
    recorded = content["runs"][0]["result"]["metrics"]["test"]["all"]
    scores = result["test"]["all"]
    assert scores == pytest.approx({name: recorded[name] for name in scores})
    assert {"n", "mae", "mse", "gm"} <= set(scores)


def test_labels_of_one_bin_are_refused_before_any_training(drawn, tmp_path):
    lines = (drawn / "labels.csv").read_text().splitlines()
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([lines[0], *(line.split(",")[0] + ",5" for line in lines[1:])]))
    with pytest.raises(DataError, match=r"only the label 5"):
        run_benchmark(request("images", drawn, tmp_path / "out", data=table))
    assert not list((tmp_path / "out").rglob("*.ckpt"))


def test_a_wrong_encoder_is_refused_before_images_are_decoded(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    wrong = {"changes": (*SMALL, f"encoder={tmp_path / 'nothing'}")}
    with pytest.raises(UsageError, match=r"could not be read as an encoder of images: name resnet"):
        run_benchmark(request("images", drawn, tmp_path / "out", **wrong))
    assert not (tmp_path / "cache" / "images").exists()
