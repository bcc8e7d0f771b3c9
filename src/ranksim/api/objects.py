"""Objects of the user's code: import them by name, and send them to other processes."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import single_line
from ranksim.exceptions import UsageError


def split_name(text: str) -> tuple[str, str]:
    """Return the name of a row and the object of ``[NAME=]PACKAGE.MODULE:OBJECT``.

    Example:
        >>> split_name("models:Ridge"), split_name("mine=models:ridge")
        (('ridge', 'models:Ridge'), ('mine', 'models:ridge'))
    """
    name, equals, target = text.partition("=")
    if equals:
        return name.strip(), target.strip()
    return text.rpartition(":")[2].rpartition(".")[2].strip().lower(), text.strip()


def load_object(text: str, option: str) -> Any:
    """Import an object given as ``package.module:object``, also from the current folder.

    Raises:
        UsageError: there is no such module or object, or importing it failed.
    """
    module_name, colon, path = text.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{option} takes package.module:object, got {text!r}.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as for scripts in it; other processes inherit it
    try:
        value = importlib.import_module(module_name)
    except Exception as error:  # of the user's code
        reason = single_line(error) or type(error).__name__
        raise UsageError(
            f"{option} {text}: the module {module_name} could not be imported ({reason}): correct "
            "it, or run the command in its folder."
        ) from error
    for part in path.split("."):
        if not hasattr(value, part):
            raise UsageError(f"{option} {text}: {module_name} has no {path}: correct the name.")
        value = getattr(value, part)
    return value


def check_transferable(value: Any, label: str) -> None:
    """Raise a UsageError if an object cannot be sent to the processes of ``jobs`` above 1."""
    module = getattr(value, "__module__", None) or type(value).__module__
    main = sys.modules.get("__main__")
    is_interactive = module == "__main__" and not getattr(main, "__file__", None)
    try:
        pickle.dumps(value)
    except Exception as error:  # of any class
        reason = single_line(error)
        raise UsageError(_describe_problem(label, f"it cannot be pickled: {reason}")) from error
    if is_interactive:
        raise UsageError(_describe_problem(label, "it is defined in a notebook or shell"))


def _describe_problem(label: str, reason: str) -> str:
    return (
        f"{label} cannot be sent to other processes ({reason.rstrip('.')}): define it in a module "
        "that is imported, or use --jobs 1."
    )
