"""What the extra ``cpu`` installs is enough for comparisons and models on a CPU."""

import json
import subprocess
import sys

import pytest

from ranksim.exceptions import install_command
from tests.helpers.user_data import write_table

ABSENT = ("lightning", "pytorch_lightning", "torchmetrics", "tensorboard", "transformers")
SENTENCE = f"lightning is not installed: run {install_command('train')}."


@pytest.fixture
def without_lightning(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("ranksim.") and "lightning" in n]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "ranksim.experiments.throughput", raising=False)
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_lightning")
@pytest.mark.parametrize("option", ["--precision=bf16-mixed", "--devices=2"])
def test_what_needs_lightning_names_its_extra(check_error, tmp_path, option):
    data = write_table(tmp_path)
    words = ("compare", data, "--target", "price", option, "--accelerator", "cpu")
    check_error((*words, "--seeds", "1", "--out", tmp_path / "out"), 1, SENTENCE)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_lightning")
def test_throughput_names_its_extra(check_error):
    check_error(("throughput",), 1, SENTENCE)


def test_provenance_lists_installed_packages_alone(monkeypatch):
    from ranksim._utils import provenance

    monkeypatch.setattr(provenance, "find_spec", lambda name: name != "lightning" or None)
    versions = provenance.collect_provenance.__wrapped__()["versions"]
    assert "lightning" not in versions
    assert {"ranksim", "python", "torch", "numpy", "nltk"} <= versions.keys()


@pytest.mark.slow
def test_compare_fit_and_predict_need_the_cpu_extra_alone(tmp_path):
    data = write_table(tmp_path)
    script = f"""
import json
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
from ranksim.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["ranksim", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
"""
    common = ("--target", "price", "--set", "hidden=8", "--max-steps", "6", "--accelerator", "cpu")
    methods = ("--methods", "vanilla,inv+fds+ranksim,trees", "--seeds", "1", "--jobs", "1")
    commands = (
        ("compare", str(data), *common, *methods, "--out", str(tmp_path / "sweep")),
        ("fit", str(data), *common, "--out", str(tmp_path / "model")),
        ("predict", str(tmp_path / "model"), str(data), "--out", str(tmp_path / "p.csv")),
    )
    process = (sys.executable, "-W", "ignore", "-c", script, json.dumps(commands))
    run = subprocess.run(process, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "p.csv").is_file()
    results = json.loads((tmp_path / "sweep/results.json").read_text(encoding="utf-8"))
    assert [run["status"] for run in results["runs"]] == ["done"] * 3
    assert not list(tmp_path.rglob("events.out.tfevents.*"))
