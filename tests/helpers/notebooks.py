"""Execution of notebooks cell by cell, without Jupyter."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_notebook(path: Path, replacements: Mapping[str, str]) -> tuple[dict[str, Any], list[Any]]:
    """Run the code cells of a notebook in one scope.

    Args:
        path: of the notebook.
        replacements: texts that each occur in the code, by what replaces them.

    Returns:
        The scope, and the value of the last expression of each cell, None if there is none.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for old, new in replacements.items():
        assert any(old in code for code in codes), old
        codes = [code.replace(old, new) for code in codes]
    scope: dict[str, Any] = {}
    values = []
    for code in codes:
        tree = ast.parse(code)
        last = tree.body[-1]
        value = None
        if isinstance(last, ast.Expr):
            tree.body.pop()
            exec(compile(tree, str(path), "exec"), scope)
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), scope)
        else:
            exec(compile(tree, str(path), "exec"), scope)
        values.append(value)
    return scope, values
