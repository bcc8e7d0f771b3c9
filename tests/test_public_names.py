"""A package that imports what it exports when it is used keeps its promises."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ranksim
from ranksim import losses
from ranksim.exceptions import install_command

LAZY = ["ranksim", "ranksim.imbalance", "ranksim.integrations.sklearn", "ranksim.sklearn"]


@pytest.mark.parametrize("name", LAZY)
def test_public_names_can_be_imported(name):
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, exported) is not None for exported in package.__all__)
    with pytest.raises(AttributeError, match=f"^module '{name}' has no attribute 'Nothing'$"):
        _ = package.Nothing


@pytest.mark.parametrize("name", LAZY)
def test_type_checkers_see_public_names(name):
    """By its imports, those under TYPE_CHECKING included."""
    package = importlib.import_module(name)
    code = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in froms if node.module.startswith("ranksim") and "._" not in node.module]
    imported = {alias.name for node in ours for alias in node.names}
    assert imported == set(package.__all__) - {"__version__"}


def test_every_loss_is_a_public_name():
    assert set(losses.__all__) <= set(ranksim.__all__)
    assert ranksim.HuberLoss is losses.HuberLoss


def test_import_ranksim_loads_neither_torch_nor_numpy():
    code = """
import sys
import ranksim
print({"numpy", "torch"} & set(sys.modules))
ranksim.LDS, ranksim.LabelBins, ranksim.density_weights
print({"numpy", "torch"} & set(sys.modules))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["set()", "{'numpy'}"]


def test_import_training_without_lightning():
    code = """
import sys
import ranksim.training
from ranksim.training import method
assert not {"lightning", "torchmetrics"} & set(sys.modules)
sys.modules["lightning"] = None
try:
    import ranksim.integrations.lightning
except ImportError as error:
    print(type(error).__name__, error)
try:
    import ranksim.integrations.lightning.weights
except ImportError as error:
    print(type(error).__name__, error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    command = install_command("train")
    sentence = f"MissingDependencyError lightning is not installed: run {command}."
    assert out.stdout.splitlines() == [sentence, sentence]
