"""Loading of the scripts in ``examples``."""

import importlib.util
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "examples"


def load_example(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decimals(line: str) -> list[float]:
    """All numbers with a decimal point in a line."""
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]
